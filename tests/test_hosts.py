"""One training on two hosts: two processes of this machine, which share each batch as those of two machines do."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_dataset

import util
from inception2_module import adapting, hosts, networkfile
from inception2_module.experiments import Experiment

pytestmark = pytest.mark.slow  # networks are trained, processes started
pytest.importorskip("jax", reason="needs the package jax")

ROOT = Path(__file__).parents[1]
# What both processes run: a training with a checkpoint at every second update, in which a signal may come.
SCRIPT = """
import os
import sys
from dataclasses import replace

import util
from inception2_module import hosts

sys.modules["tensorflow"] = None  # JAX can do without, and its import takes as long as the training
run_dir, batch_size, signal_at, number = sys.argv[1], *map(int, sys.argv[2:])

def main():
    with hosts.joined():
        from inception2_module import batches, training
        from test_training import FEW, pair
        draw_batch = batches.draw_batch

        def draw_and_end(tiles, update, *others):
            if update == signal_at:
                os.kill(os.getpid(), number)
            return draw_batch(tiles, update, *others)

        batches.draw_batch = draw_and_end
        experiment = replace(FEW, model="srcnn535", dropout=0.2, batch_size=batch_size, n_updates=8)
        model = training.train(experiment, pair(), pair(2), run_dir, "data")
    assert model.count_params()
    print("process", *hosts.part())

sys.exit(util.run_cli(main))
"""


def start(place, run_dir, processes=2, signal_at=(), number=0, batch_sizes=(2, 2)):
    """Run the script in one or two processes; return the status and the output of each."""
    (place / "script.py").write_text(SCRIPT)
    # Elsewhere there is nothing of the run: all that process 1 knows of it comes from process 0.
    folders = [place / run_dir, place / "elsewhere" / "run"]
    return run_all([
        ([place / "script.py", folders[i], batch_sizes[i], signal_at[1] if signal_at[:1] == (i,) else -1, number], None)
        for i in range(processes)
    ])


def run_all(commands):
    """Run Python, (arguments, current folder) for each process; return the status and the output of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for i, (arguments, folder) in enumerate(commands):
        environment = os.environ | {
            "KERAS_BACKEND": "jax", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles in a moment
        }
        if len(commands) > 1:
            environment |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(i)}
        started.append(subprocess.Popen(
            [sys.executable, *map(str, arguments)], env=environment, cwd=folder, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ))
    outputs = [process.communicate(timeout=900)[0] for process in started]
    return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]


def test_two_processes_train_as_one_does_and_go_on_after_either_has_ended(tmp_path):
    def weights(run_dir):
        return networkfile.load_model(tmp_path / run_dir / "model.keras").get_weights()

    [(status, output)] = start(tmp_path, "one", processes=1)
    assert status == 0, output
    first, second = start(tmp_path, "two", signal_at=(1, 3), number=signal.SIGKILL)
    assert second[0] == -signal.SIGKILL
    assert first[0] == 2, first[1]
    first, second = start(tmp_path, "two", signal_at=(0, 5), number=signal.SIGINT)
    assert first[0] == util.INTERRUPTED, first[1]
    assert "goes on from here" in first[1]
    assert second[0] == 2, second[1]
    assert "another process of this training has ended, or cannot be reached: see what it says" in second[1]
    for i, (status, output) in enumerate(start(tmp_path, "two")):
        assert status == 0, output
        assert "4/8" in output  # the last checkpoint
        assert f"process {i} 2" in output
    for one, two in zip(weights("one"), weights("two"), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert not (tmp_path / "elsewhere").exists()


def test_the_command_trains_on_two_hosts_and_the_first_one_measures(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        write_dataset(folder / "datasets")
    command = [ROOT / "inception2.py", "--dataset", "tiny", "--n-train", "8", "--n-updates", "2", "--batch-size", "2",
               "--model", "srcnn535", "--width", "4"]
    first, second = run_all([(command, folder) for folder in folders])
    assert first[0] == 0, first[1]
    assert second[0] == 0, second[1]
    assert "trained: process 0 measures the network and has all files" in second[1]
    path, = (folders[0] / "results").glob("tiny-*.json")
    result = util.read_json(path)
    assert result["n_updates"] == 2
    assert result["device"].startswith("2 times ")
    assert f"written: results/{path.name}" in first[1]
    assert not list((folders[1] / "results").glob("*.json"))
    assert not list((folders[1] / "runs").rglob("model.keras"))


@pytest.mark.parametrize(("batch_sizes", "sentence"), [
    ((2, 4), "process 1 has batch_size 4, process 0 has 2: give all hosts the same"),
    ((3, 3), "a batch of 3 cannot be shared evenly by 2 devices: give a multiple of their number, --batch-size"),
])
def test_what_processes_cannot_share_is_one_sentence_in_each(tmp_path, batch_sizes, sentence):
    for status, output in start(tmp_path, "run", batch_sizes=batch_sizes):
        assert status == 2, output
        assert sentence in output
        assert "Traceback" not in output


def test_what_is_not_for_several_hosts_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "part", lambda: (0, 2))
    with pytest.raises(util.UserError, match="run it on one, without JAX_COORDINATOR_ADDRESS"):
        adapting.adapt(Experiment(start="photo_sr_x4"), None, None, tmp_path, "data")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:9")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(util.UserError, match="set KERAS_BACKEND=jax"), hosts.joined():
        pass
