"""What native libraries write to stderr themselves, past Python, kept from the person at the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_STDERR = threading.RLock()
"""Held while file descriptor 2 leads nowhere."""


@contextlib.contextmanager
def quiet_native_output() -> Iterator[None]:
    """Send what is written to file descriptor 2 while the block runs, which no option stops, nowhere.

    Errors come as exceptions all the same. Not for use while other threads write to stderr.
    """
    # Two at once would each take the other's nowhere for stderr, and put that back.
    with _STDERR:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError, AttributeError):
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
