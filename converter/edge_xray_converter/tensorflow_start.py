"""TensorFlow, started without the lines that it writes about processors and missing GPUs, and its errors in one."""

from __future__ import annotations

import os
from typing import Any

from edge_xray.native_output import quiet_native_output


def import_tensorflow() -> Any:
    """Import TensorFlow with its start-up messages off; costs seconds, so only when needed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_output():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
    return tf


def error_line(error: Exception, which: int) -> str:
    """One line of a message, which is often a page long, shortened.

    Args:
        error: of TensorFlow or Keras.
        which: 0 for the first line, where Keras says what happened; -1 for the last, where TensorFlow does.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[which] if lines else type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
