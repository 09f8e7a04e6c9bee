"""Keeping TensorFlow's C++ talk away from the person at the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def import_tensorflow() -> Any:
    """Import TensorFlow with its start-up messages off; costs seconds, so only when needed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
    return tf


@contextmanager
def quiet() -> Iterator[None]:
    """Send what native code writes to file descriptor 2 into the void while the block runs.

    TensorFlow's converter writes to the descriptor itself, past `sys.stderr`. Errors are exceptions
    and pass through.
    """
    try:
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        saved = os.dup(descriptor)
    except (OSError, ValueError):
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as void:
        os.dup2(void.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, descriptor)
            os.close(saved)
