"""edge-xray on the device: decode a film, prepare it, score it, and say what to do about it.

A screening aid, never a diagnosis. Nothing here imports the trainer, the converter or tensorflow.
"""

from __future__ import annotations

__version__ = "0.1.0"
