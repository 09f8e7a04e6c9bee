"""TensorFlow, started without the lines that it writes about processors and missing GPUs."""

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
