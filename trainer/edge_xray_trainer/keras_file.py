"""Networks out of ``.keras`` files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_xray.errors import ModelError
from edge_xray_trainer.keras_start import start_keras

if TYPE_CHECKING:
    import keras


def load_keras(path: Path) -> keras.Model:
    """Load a network.

    Args:
        path: a ``.keras`` file.

    Raises:
        ModelError: there is none, or Keras cannot load it.
    """
    start_keras()
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # a damaged zip, HDF5 file or configuration: no common base
        words = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ModelError(
            f"model {path}: Keras {keras.__version__} cannot load it ({words}); copy it again if it is "
            "damaged, train it again, or use the version that its record names"
        ) from error
