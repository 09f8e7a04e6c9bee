"""How a command is stopped: as by Ctrl-C, also when the machine shuts down or the terminal of a POSIX system is closed."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


def stop_signals() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP of a closed terminal unless it is ignored, as ``nohup`` asks for; on Windows Ctrl-Break.

    A window of Windows that is closed raises SIGBREAK as well, but ends the process before Python hears of it.
    """
    if sys.platform == "win32":
        return [signal.SIGTERM, signal.SIGBREAK]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, signal.SIGHUP]


@contextmanager
def stops_as_interrupt() -> Iterator[None]:
    """Turn `stop_signals` into `KeyboardInterrupt` while the block runs: what is done is kept, and said."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with ExitStack() as stack:
        for number in stop_signals():
            stack.callback(signal.signal, number, signal.signal(number, interrupt))
        yield
