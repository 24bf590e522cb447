"""Ctrl-C and SIGTERM: when they end a command at once, and when they have to wait. Loads in a moment: no libraries."""

import os
import signal
import threading
from contextlib import contextmanager

STATUS = 130
SENTENCE = "\ninterrupted: the same command goes on from here\n"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_is_command = False  # whether this process is one of our commands, and not somebody's notebook


def at_once():
    """Let the signals end this command at once, with one line: its libraries load, and there is nothing to lose."""
    global _is_command
    _is_command = True
    _handle(_end)


def as_exception():
    """Let the signals raise `KeyboardInterrupt`, now that there are things to put in order before the end."""
    _handle(signal.default_int_handler)


def ignored():
    """Let the signals do nothing: this process is about to end, and a second Ctrl-C would only add a traceback."""
    if _is_command:
        _handle(signal.SIG_IGN)


@contextmanager
def loading(stderr):
    """Let the signals end a command at once during the block, and hold them back in any other process.

    `stderr` is the file descriptor of the line that is said then, for a block that has turned 2 elsewhere.
    """
    if not _is_command:
        with held():
            yield
        return
    _handle(lambda *_: _end(stderr=stderr))
    try:
        yield
    finally:
        as_exception()


@contextmanager
def held():
    """Hold the signals back until the block has ended.

    For what must not be torn: half-imported libraries lose the interrupt or crash. Processes started in the block
    keep SIGINT blocked, so that Ctrl-C is the parent's business alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread is interrupted, or may set handlers
        return
    came = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, lambda *_: came.append(True))
    # The handler alone is not inherited, the mask alone leaves the signal to other threads of this process.
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else None
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _handle(handler):
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # in the background of a shell, or under nohup
            signal.signal(number, handler)


def _end(*_, stderr=2):
    os.write(stderr, SENTENCE.encode())
    os._exit(STATUS)
