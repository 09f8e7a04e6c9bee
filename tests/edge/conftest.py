"""Films as the bytes of files: every format, and DICOM with any tags. Shared by the device's tests."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from numpy.typing import NDArray
from PIL import Image

Encode = Callable[..., bytes]

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"


def _encode(pixels: NDArray[Any] | Image.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _to_dicom(
    pixels: NDArray[Any],
    *,
    syntax: str = EXPLICIT_LITTLE,
    frame: bytes | None = None,
    preamble: bool = True,
    **tags: Any,
) -> bytes:
    """A DICOM file of grey or RGB pixels; `tags` overrule everything, and None leaves a tag out."""
    pydicom = pytest.importorskip("pydicom")
    bits = 8 * pixels.dtype.itemsize
    elements: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "AP",
        "PatientAge": "004Y",
        "PatientID": "patient-17",
        "PatientName": "Doe^Jane",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    if pixels.ndim == 3:
        elements["PlanarConfiguration"] = 0
    elements |= tags
    elements.setdefault("HighBit", elements["BitsStored"] - 1)
    dataset = pydicom.Dataset()
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if frame is not None:
        dataset.PixelData = pydicom.encaps.encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif "PixelData" not in tags:
        stored = pixels.byteswap() if syntax == EXPLICIT_BIG else pixels
        dataset.PixelData = stored.tobytes() + b"\0" * (pixels.nbytes % 2)
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    buffer = io.BytesIO()
    if preamble:
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        dataset.save_as(buffer, enforce_file_format=True)
    else:
        dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode() -> Encode:
    """``encode(pixels or image, "PNG", **options of Pillow's save) -> bytes``."""
    return _encode


@pytest.fixture(scope="session")
def to_dicom() -> Encode:
    """``to_dicom(pixels, syntax=..., frame=None, preamble=True, **tags) -> bytes``."""
    return _to_dicom
