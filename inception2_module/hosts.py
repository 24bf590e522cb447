"""One training on several hosts, by JAX: each runs the same command, and an update's batch is shared among them.

    KERAS_BACKEND=jax JAX_COORDINATOR_ADDRESS=HOST:PORT JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 python3 inception2.py

HOST is that of process 0. All processes do the same in the same order. The files of process 0 are the run; the others
begin with a copy of them and keep what they write to themselves. What Keras has no word for is asked of JAX, here only.
A process that is alone does not load it.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from contextlib import contextmanager

import numpy as np

import util
from inception2_module import provenance

_LOST = ("another process of this training has ended, or cannot be reached: see what it says, then run the same "
         "command on all hosts again, and it goes on from the last checkpoint")
_joined = False


@contextmanager
def joined():
    """Meet the other processes that JAX_COORDINATOR_ADDRESS tells of for the block, before JAX is used.

    Where the block fails this process ends at once, for JAX would first wait for the others, who wait for it.
    """
    global _joined
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if not address:
        yield
        return
    if os.environ.get("KERAS_BACKEND") != "jax":
        raise util.UserError("JAX_COORDINATOR_ADDRESS is set, and several hosts need JAX: set KERAS_BACKEND=jax too, "
                             "or unset it")
    try:
        with util.loading(2):
            import jax
    except ImportError as error:
        raise util.UserError(f"a training on several hosts needs JAX ({error}): pip install jax") from error
    try:
        _meet(jax, address)
        _joined = True
        yield
        jax.distributed.shutdown()  # waits for all, so that process 0 is alone in what it does next
    except BaseException as error:
        is_of_jax = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
        _end_with(util.UserError(f"{_LOST} ({util.first_line(error)})") if is_of_jax else error)


def _end_with(error):
    def main():
        raise error

    status = 1
    try:
        status = util.run_cli(main)
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _meet(jax, address):
    ctypes.CDLL(None).signal(signal.SIGABRT, _end)
    print(f"waits for the other processes at {address}", flush=True)
    failed = []

    def initialize():
        try:  # what is not set JAX may find out by itself, under SLURM for one
            count, number = (int(value) if (value := os.environ.get(name)) else None
                             for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
            jax.distributed.initialize(address, count, number)
        except Exception as error:  # JAX raises whatever the broken part raised
            failed.append(error)

    thread = threading.Thread(target=initialize, daemon=True)  # apart, so that Ctrl-C is heard here
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if failed:
        raise util.UserError(f"the processes have not met at {address} ({util.first_line(failed[0])}): check "
                             "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, and start all of them "
                             "within five minutes")


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _end(_):
    """Say a sentence and end with status 2 where JAX aborts the process, because it has heard nothing of another."""
    os.write(2, f"\n{_LOST}\n".encode())
    os._exit(2)


def part():
    """Which part of each batch is this process's: (its number, the number of processes)."""
    if not _joined:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_first():
    """Whether this is process 0, whose files are the run, or alone."""
    return part()[0] == 0


@contextmanager
def together():
    """Let an error of one process in the block, which uses no other process, be an error of all."""
    error = None
    try:
        yield
    except (util.UserError, OSError) as raised:
        error = raised
    said = _gather({"error": error and util.describe_error(error)})
    if error:
        raise error
    for i, other in enumerate(said):
        if other["error"]:
            raise util.UserError(f"process {i}: {other['error']}")


def check_equal(settings):
    """Refuse processes of different settings (a dict for JSON), versions or devices, who would not compute the same."""
    if not _joined:
        return
    import jax

    first, *others = _gather(settings | {
        "versions": provenance.versions(), "git_commit": provenance.git_commit(),
        "devices": [device.device_kind for device in jax.local_devices()],
    })
    for i, other in enumerate(others, 1):
        for key, value in first.items():
            if other.get(key) != value:
                raise util.UserError(f"process {i} has {key} {other.get(key)}, process 0 has {value}: give all hosts "
                                     "the same command, data, code and packages")


def copy_from_first(directory, names):
    """Copy those files of process 0's `directory` that there are into that of every other process."""
    if not _joined:
        return
    from jax.experimental.multihost_utils import broadcast_one_to_all

    for name in names:
        path = directory / name
        content = path.read_bytes() if is_first() and path.exists() else b""
        n = _gather(len(content))[0]
        padded = np.zeros(n, np.uint8)
        padded[: len(content)] = np.frombuffer(content, np.uint8)
        received = np.asarray(broadcast_one_to_all(padded), np.uint8).tobytes()
        if n and not is_first():
            path.write_bytes(received)


def _gather(value):
    """Return the values (for JSON) of all processes, by their numbers."""
    if not _joined:
        return [value]
    from jax.experimental.multihost_utils import process_allgather

    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = process_allgather(np.array(len(text)))
    texts = process_allgather(np.pad(text, (0, lengths.max() - len(text))))
    return [json.loads(text[:n].tobytes()) for text, n in zip(texts, lengths, strict=True)]
