"""How a command is stopped: as by Ctrl-C, also when the machine shuts down or the terminal of a POSIX system is closed, and by a reader who leaves."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Final

from edge_xray.errors import OutputError
from edge_xray.progress import silent

AGAIN_SECONDS: Final = 0.01
"""Until a stop that fell into a finalizer is raised again: by then it is done, mostly; else once more."""


def stop_signals() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP of a closed terminal unless it is ignored, as ``nohup`` asks for; on Windows Ctrl-Break.

    A window of Windows that is closed raises SIGBREAK as well, but ends the process before Python hears of it.
    """
    if sys.platform == "win32":
        return [signal.SIGTERM, signal.SIGBREAK]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, signal.SIGHUP]


def _wanted() -> list[signal.Signals]:
    """`stop_signals` and Ctrl-C, unless it is ignored, as in the background of a shell script."""
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return stop_signals() if ignored else [*stop_signals(), signal.SIGINT]


@contextmanager
def stops_as_interrupt() -> Iterator[None]:
    """Turn Ctrl-C and `stop_signals` into `KeyboardInterrupt` while the block runs: what is done is kept, and said.

    Also where it met code of a library that gave it as an error of its own, as matplotlib's and other C code does, and
    where it fell into a finalizer, which can raise nothing: then it is raised again behind that. Where what is done cannot
    be kept, that `OutputError` goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[signal.Signals] = []
    report, guard = sys.unraisablehook, threading.Lock()

    def interrupt(number: int, _: object) -> None:
        told.append(signal.Signals(number))
        raise KeyboardInterrupt

    def raise_again() -> None:
        time.sleep(AGAIN_SECONDS)
        with guard:
            if sys.unraisablehook is heard:
                if sys.platform == "win32":
                    _thread.interrupt_main(told[-1])
                else:
                    os.kill(os.getpid(), told[-1])  # which also ends a wait

    def heard(lost: sys.UnraisableHookArgs) -> None:
        if not told:
            report(lost)
        elif lost.exc_type is KeyboardInterrupt:
            # A `threading.Thread` would wait for a lock that may be held here.
            _thread.start_new_thread(raise_again, ())

    def end() -> None:
        with guard:
            sys.unraisablehook = report

    with ExitStack() as stack:
        for number in _wanted():
            stack.callback(signal.signal, number, signal.signal(number, interrupt))
        sys.unraisablehook = heard
        stack.callback(end)
        try:
            yield
        except BaseException as error:
            if told:
                _end_what_was_begun(error)
                # That what is done could not be kept is told: no library makes that of a signal.
                if isinstance(error, Exception) and not isinstance(error, OutputError):
                    raise KeyboardInterrupt from error
            raise


def _end_what_was_begun(error: BaseException | None) -> None:
    """Finalize what an interrupt left half made while `sys.unraisablehook` is still: its finalizers may fail."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


@contextmanager
def stops_between_steps() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C and `stop_signals` back until the block has them raised; a second Ctrl-C is raised where it comes.

    For work inside a library that bears no exception wherever a signal falls: one in a finalizer is lost, and
    tensorflow's C++ code loses others, or ends the process.

    Yields:
        A function to call between two steps; it raises `KeyboardInterrupt` if a signal came, and the end of the
        block does so too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield silent
        return
    told: list[int] = []
    outer = signal.getsignal(signal.SIGINT)

    def hold(number: int, frame: FrameType | None) -> None:
        if told and number == signal.SIGINT:
            if callable(outer):
                # It raises, and knows of it where that is lost or made another error.
                outer(number, frame)
            raise KeyboardInterrupt
        told.append(number)

    def raise_held() -> None:
        if told:
            raise KeyboardInterrupt

    with ExitStack() as stack:
        for number in _wanted():
            stack.callback(signal.signal, number, signal.signal(number, hold))
        yield raise_held
    raise_held()


def reader_left(error: OSError) -> bool:
    """Whether whoever read stdout had enough, as ``head`` or ``more`` have.

    Windows calls a pipe that nobody reads an invalid argument.
    """
    if isinstance(error, BrokenPipeError):
        return True
    if sys.platform != "win32" or error.errno != errno.EINVAL or error.filename is not None:
        return False
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False
