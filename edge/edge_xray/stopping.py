"""How a command is stopped: as by Ctrl-C, also when the machine shuts down or the terminal is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


def stop_signals() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP of a closed terminal; without SIGHUP where it is ignored, as ``nohup`` asks for."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, hangup]


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
