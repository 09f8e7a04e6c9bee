"""edge-xray on the device: decode a film, prepare it, score it, and say what to do about it.

A screening aid, never a diagnosis. Nothing here imports the trainer or the converter, nor tensorflow but as
a runtime where no other is found.
"""

from __future__ import annotations

import sys

__version__ = "0.1.0"

if sys.platform == "win32":
    # Before the runtime or TensorFlow is imported, whoever does it.
    from edge_xray.windows import add_cpp_runtime

    add_cpp_runtime()
