"""Keras, started without the lines that its backend writes about processors and missing GPUs."""

from __future__ import annotations

import os

from edge_xray.native_output import quiet_native_output


def start_keras() -> None:
    """Import Keras and its backend quietly; costs seconds, so only when needed.

    To be called before any module that imports Keras. What fails is an exception all the same.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_output():
        import keras  # noqa: F401
