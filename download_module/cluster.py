"""Map a function over jobs: in this process, or on the machines of a Dask cluster (package distributed).

    python3 -m dask scheduler                                     # somewhere, once
    python3 -m dask worker tcp://HOST:8786 --nthreads 1           # in the folder of this program, on each machine
    python3 inception2.py restore folder --weights mars_sr_x4 --scheduler tcp://HOST:8786

The workers have the packages of requirements.txt and see the files that are read and written under the same paths. A
job whose worker dies is done by another one. Jobs are dropped when the process that gave them ends.
"""

import contextlib
import logging
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from tqdm import tqdm

import util

ROOT = Path(__file__).parents[1]
PATIENCE = 30  # seconds that a scheduler is waited for


def outcomes(function, jobs, scheduler=None, place="."):
    """Yield (job, value, error) of every job: what `function(*job)` returned, or its `UserError` or OSError.

    Parameters
    ----------
    function : that stands at the top of a module other than `__main__`, or a partial of one
    jobs : list of tuples
    scheduler : str, address of a Dask scheduler: then they come as they end. None: one after the other, done here
    place : path of a folder that each worker has to see

    Raises
    ------
    util.UserError
        When the package is missing, or nothing answers at the address.
    """
    if scheduler is None:
        for job in jobs:
            yield job, *_outcome(function, job)
        return
    try:
        import distributed
    except ImportError as error:
        raise util.UserError("--scheduler needs the package distributed: pip install distributed") from error
    for name in ("distributed", "distributed.client"):  # what concerns the user gets a sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    gone = util.UserError(f"no Dask scheduler answers at {scheduler}: start it, then run the same command again")
    try:
        client = distributed.Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise gone from error
    marker = util.temporary_beside(Path(place).resolve() / "seen")
    with client, _marked(marker), tqdm(total=len(jobs), unit="job", desc=scheduler, dynamic_ncols=True,
                                       mininterval=util.bar_interval()) as bar:
        if not client.scheduler_info()["workers"]:
            bar.write(f"{scheduler} has no workers yet: python3 -m dask worker {scheduler} --nthreads 1")
        futures = client.map(partial(_outcome_there, marker, function), jobs, pure=False)
        job_of = dict(zip(futures, jobs, strict=True))
        for future in distributed.as_completed(futures):
            try:
                value, error = future.result()
            except distributed.KilledWorker:
                value, error = None, util.UserError(f"{_named(job_of[future])}: four workers died while they were at "
                                                    "it: see their logs, they may need more memory")
            except distributed.CancelledError as error:
                raise gone from error
            bar.update()
            with bar.external_write_mode():
                yield job_of[future], value, error


def _outcome(function, job):
    try:
        return function(*job), None
    except (util.UserError, OSError) as error:
        return None, error


def _outcome_there(marker, function, job):
    """On a worker: `_outcome`, if this machine sees the files of the one that gave the job."""
    if not marker.exists():
        return None, util.UserError(f"{_named(job)}: a worker does not see {marker.parent}: it needs the same files, "
                                    "under the same path")
    return _outcome(function, job)


def _named(job):
    return util.terminal_text(job[0])


@contextlib.contextmanager
def _marked(marker):
    marker.touch()
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def run_command(name, place, script, *arguments):
    """On a worker: run a command of this program in a process of its own, which ends when the worker does.

    Parameters
    ----------
    name : str, what to call it
    place : path, the folder to run it in
    script : str, "inception2.py" for one
    arguments : list of str

    Raises
    ------
    util.UserError
        When it fails: with the last line that it said.
    """
    with tempfile.TemporaryFile() as said:
        # It ends at the end of its stdin, which this process holds: a lock of it must not outlive the worker.
        process = subprocess.Popen(
            [sys.executable, "-m", "download_module.cluster", str(ROOT / script), *arguments],
            cwd=place, stdin=subprocess.PIPE, stderr=said, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        while process.poll() is None:
            if not _is_wanted():
                process.terminate()
            time.sleep(0.2)
        process.stdin.close()
        said.seek(0)
        lines = said.read().decode(errors="replace").split("\n")
    if process.returncode:
        last = next((line for line in reversed(lines) if line.strip()), f"exit status {process.returncode}")
        raise util.UserError(f"{name}: {last.split(': error: ')[-1]}")


def _is_wanted():
    """Whether the job of this thread of a worker is still wanted: not where its client was stopped."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is not None and task.state == "executing"


def _end_with_stdin():
    while os.read(0, 1):  # sys.stdin has a lock, for which the interpreter would wait at its end
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
