"""Jobs on the workers of a Dask cluster: a scheduler and two workers, processes of this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import inception2
import util
from download_module import cluster, tilefile
from inception2_module import networkfile, training
from inception2_module.experiments import with_recipe
from inception2_module.known import read_log
from inception2_module.tileset import TileSet
from wi2_paper import reproduce

pytestmark = pytest.mark.slow  # networks are trained, processes started
ROOT = Path(__file__).parents[1]
N_UPDATES = 1200


class Cluster:
    """A scheduler and two workers, which know neither the folder nor the libraries of the test."""

    def __init__(self, place):
        self.place, self.log = place, (place / "log").open("w")
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file",
                                    place / "address")
        self.address = waited_for(self.read_address)
        self.workers = [self.start("worker", self.address, "--no-nanny", "--nthreads", "1") for _ in range(2)]

    def read_address(self):
        try:
            return json.loads((self.place / "address").read_text())["address"]
        except (OSError, ValueError):  # not yet there, or half written
            return None

    def start(self, what, *arguments):
        return subprocess.Popen([sys.executable, "-m", "dask", what, *arguments, "--no-dashboard"],
                                cwd=self.place, stdout=self.log, stderr=self.log, env=os.environ | {"PYTHONPATH": ROOT})

    def close(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def waited_for(condition, seconds=900):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing has happened"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    pytest.importorskip("distributed", reason="needs the package distributed")
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


def run(*arguments):
    return util.run_cli(lambda: inception2.main([str(argument) for argument in arguments]))


def test_a_folder_is_restored_on_two_workers_as_it_is_here(workplace, two_workers, capfd):
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 48, 3), np.uint8)
        tilefile.write_image(workplace / "images" / "deep" / f"{i}.png", pixels)
    (workplace / "images" / "broken.png").write_bytes(b"no image")
    command = ["restore", "images", "--weights", "mars_sr_x4"]
    said = []
    for arguments in (["here"], ["there", "--scheduler", two_workers.address]):
        assert run(*command, "--out", *arguments) == 2  # for the broken one
        lines = capfd.readouterr().err.replace(f"{workplace}/", "").splitlines()
        said.append([line for line in lines if line.startswith("images/broken.png ") or ": error: 1 of 5" in line])
    assert len(said[0]) == 2
    assert said[0] == said[1]
    files = {path.relative_to("here"): path.read_bytes() for path in Path("here").rglob("*.png")}
    assert len(files) == 4
    assert files == {path.relative_to("there"): path.read_bytes() for path in Path("there").rglob("*.png")}
    assert not list(Path("there").glob(".*"))


def test_a_command_ends_when_nobody_waits_for_it_any_more(tmp_path, two_workers):
    import psutil  # distributed needs it

    (tmp_path / "quick").write_text("")
    (tmp_path / "slow").write_text("import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\n"
                                   "time.sleep(3600)")
    jobs = [(name, tmp_path, str(tmp_path / name)) for name in ("slow", "quick")]
    outcomes = cluster.outcomes(cluster.run_command, jobs, two_workers.address, tmp_path)
    assert next(outcomes) == (jobs[1], None, None)
    pid = int(waited_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    outcomes.close()  # as Ctrl-C does
    waited_for(lambda: not psutil.pid_exists(pid))


def test_a_scheduler_that_ends_is_one_sentence(tmp_path):
    pytest.importorskip("distributed", reason="needs the package distributed")
    started = Cluster(tmp_path)
    try:
        (tmp_path / "quick").write_text("")
        (tmp_path / "slow").write_text("import time\ntime.sleep(3600)")
        jobs = [(name, tmp_path, str(tmp_path / name)) for name in ("slow", "quick")]
        outcomes = cluster.outcomes(cluster.run_command, jobs, started.address, tmp_path)
        assert next(outcomes) == (jobs[1], None, None)
        started.scheduler.kill()
        with pytest.raises(util.UserError, match="no Dask scheduler answers"):
            next(outcomes)
    finally:
        started.close()


def test_the_last_line_of_a_command_that_fails_is_said(tmp_path, two_workers):
    job = ("first", tmp_path, "inception2.py", "restore", "none.png", "--weights", "mars_sr_x4")
    [(_, _, error)] = cluster.outcomes(cluster.run_command, [job], two_workers.address, tmp_path)
    assert str(error) == "first: 1 of 1 images could not be restored, see above"


def test_what_is_missing_for_a_cluster_is_one_sentence(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(util.UserError, match="pip install distributed"):
        patch.setitem(sys.modules, "distributed", None)
        list(cluster.outcomes(print, [()], "tcp://127.0.0.1:9"))
    pytest.importorskip("distributed", reason="needs the package distributed")
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    for address in ("tcp://127.0.0.1:9", "nothing://there"):
        with pytest.raises(util.UserError, match=f"no Dask scheduler answers at {address}"):
            list(cluster.outcomes(print, [()], address, tmp_path))
    _, error = cluster._outcome_there(tmp_path / "none", print, ["job"])
    assert str(error).startswith(f"job: a worker does not see {tmp_path}")


def test_the_experiment_of_a_killed_worker_is_taken_over(workplace, two_workers):
    """The worker that has the longer of two experiments is killed; the other one ends both."""
    import psutil  # distributed needs it

    experiments = [with_recipe("paper", dataset="tiny", model="srcnn535", n_train=12, n_updates=n, width=4)
                   for n in (N_UPDATES, 4)]
    run_dir = Path("runs") / experiments[0].name
    found = []

    def kill_one():
        waited_for(lambda: (run_dir / "log.jsonl").exists())
        for worker in two_workers.workers:
            commands = psutil.Process(worker.pid).children()
            if any(str(N_UPDATES) in command.cmdline() for command in commands):
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                found.append((read_log(run_dir / "log.jsonl")[-1]["update"], *commands))

    killer = threading.Thread(target=kill_one)
    killer.start()
    reproduce.run_on_cluster(experiments, two_workers.address)
    killer.join()
    [(update, command)] = found
    assert update < N_UPDATES
    assert not command.is_running()  # it ended with its worker, and let go the lock of the run
    assert all(reproduce.has_result(experiment) for experiment in experiments)
    data = TileSet("datasets", "tiny", "sr_x4")
    undisturbed = training.train(experiments[0], *data.read_train(12, 0), "undisturbed", data.id)
    taken_over = networkfile.load_model(run_dir / "model.keras")
    for a, b in zip(undisturbed.get_weights(), taken_over.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
