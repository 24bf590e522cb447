"""Processes that share the work, and end quietly: after Ctrl-C, an error in one of them, or a kill of the parent.

Not multiprocessing.Pool: that waits for ever for the result of a process that was killed.
"""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context, parent_process

from util import UserError, signals_held


@contextmanager
def worker_pool(n_workers, module):
    """Yield a pool of processes, or None for one worker: then the work is done in this process.

    module : str, name of the one whose functions they will run; it is imported once for all of them
    """
    if n_workers == 1:
        yield None
        return
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([module])
    stop = context.RawValue("b", 0)  # no lock, which a killed process would keep
    pool = ProcessPoolExecutor(n_workers, context, _start_worker, (stop,))
    pool.stop = stop
    try:
        with signals_held():  # the processes inherit that, or each would print a traceback at Ctrl-C
            pool.submit(int).result()
        yield pool
    except BrokenProcessPool as error:
        raise UserError("a worker process was killed: free some memory, then run the same command again") from error
    finally:
        pool.shutdown(cancel_futures=True)


def stopping():
    """Whether the parent wants no more results: then a long job should return at once, whatever it has."""
    return _stop is not None and bool(_stop.value)


_stop = None  # of this process, if it is a worker


def _start_worker(stop):
    """Leave Ctrl-C to the parent, and end when it is gone (a queue would wait for ever)."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    parent_process().join()
    os._exit(1)


def results(pool, function, jobs):
    """Yield `function(job)` of every job as it comes; on leaving early the other jobs are dropped, see `stopping`.

    `function` can be sent to other processes: it stands at the top of a module.
    """
    if pool is None:
        yield from map(function, jobs)
        return
    with signals_held():  # the first jobs start the processes: one half started would print a traceback
        futures = [pool.submit(function, job) for job in jobs]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.stop.value = 1
        for future in futures:
            future.cancel()
        wait(futures)
        pool.stop.value = 0
