"""What a DICOM file says before any pixel of it is decoded: whether it is one picture, and a whole one."""

from __future__ import annotations

import re
from typing import Any, Final

from edge_xray.decode import check_size
from edge_xray.dicom_numbers import read_number
from edge_xray.dicom_tags import read_tags
from edge_xray.errors import FilmError

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
_UNCOMPRESSED: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG})

_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

_PIXEL_TAGS: Final = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")
"""PixelData (7FE0,0010) in a file, little and big endian."""

_SEQUENCE_ENDS: Final = (b"\xfe\xff\xdd\xe0" + bytes(4), b"\xff\xfe\xe0\xdd" + bytes(4))
"""The item that ends a sequence of undefined length, little and big endian (PS3.5 7.5)."""

_PICTURELESS_CLASS: Final = re.compile(
    r"1\.2\.840\.10008\.(1\.3\.10|5\.1\.4\.1\.1\."
    r"(9(\..+)?|1[01](\..+)?|66(\.[12356])?|67|78\..+|88\..+|104\..+|200\..+"
    r"|481\.([3-9]|1\d|2[0125])))"
)
"""SOP classes without pixels (PS3.4 table B.5-1): directory, waveforms, presentation states, raw data,
registrations, measurements, reports, documents, protocols, and all of radiotherapy but its images and doses."""

_PICTURELESS_MODALITIES: Final = frozenset(
    {
        *("SR", "PR", "KO", "REG", "FID", "RWV", "PLAN", "DOC", "SMR", "M3D"),
        *("RTPLAN", "RTSTRUCT", "RTRECORD", "RTINTENT", "RTRAD"),
        *("AU", "ECG", "EPS", "EEG", "EMG", "EOG", "HD", "RESP"),
    }
)
"""Modality (0008,0060) of such objects, PS3.3 C.7.3.1.1.1."""

_PICTURES: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("30", "66.4", "481.2")
)
"""SOP classes with pixels whose names do not say Image: parametric map, segmentation, dose."""


_FOR_PROCESSING: Final = "FOR PROCESSING"
"""PresentationIntentType (0008,0068) of raw data, and how the names of their SOP classes end."""

_GREY: Final = ("MONOCHROME1", "MONOCHROME2")


def fill_in(dataset: Any) -> tuple[str, ...]:
    """Fill in what a grey film's file leaves out of how its samples are stored, and put in order how it is written.

    Returns:
        What was assumed, in plain words.
    """
    if "PixelData" not in dataset:
        return ()
    photometric = str(dataset.get("PhotometricInterpretation") or "").strip(" \0").upper()
    if photometric:
        dataset.PhotometricInterpretation = photometric
    if photometric not in ("", *_GREY) or dataset.get("SamplesPerPixel") not in (None, 1):
        return ()
    assumed = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsStored": dataset.get("BitsAllocated"),
        "PixelRepresentation": 0,
    }
    missing = {
        keyword: value for keyword, value in assumed.items() if dataset.get(keyword) in (None, "")
    }
    for keyword, value in missing.items():
        setattr(dataset, keyword, value)
    return tuple(
        f"the DICOM file does not say its {keyword}; the film was read as if it were {value}"
        for keyword, value in missing.items()
    )


def raw_data(dataset: Any) -> tuple[str, ...]:
    """A doubt about a film that is no film yet: what the detector measured, for a program to make one of."""
    kind = f"{dataset.get('PresentationIntentType')} {_sop_class(dataset).name}"
    if _FOR_PROCESSING not in kind.upper():
        return ()
    return (
        "the file holds the detector's raw data; export the film as the X-ray machine shows it",
    )


def check_header(dataset: Any, stream: bytes) -> tuple[int, int]:
    """Refuse what is no single picture of a sane size.

    Args:
        dataset: a pydicom dataset; its number of frames is taken out.
        stream: what it was read from.

    Returns:
        The picture's width and height.
    """
    if not any(name in dataset for name in _PIXELS):
        raise _without_pixels(dataset, stream)
    if dataset.get("Rows") is None or dataset.get("Columns") is None:
        raise FilmError(
            "damaged", "the DICOM file does not say its picture's size; export it again"
        )
    width, height = int(dataset.Columns), int(dataset.Rows)
    check_size(width, height)
    frames = int(read_number(dataset, "NumberOfFrames") or 1)
    if frames > 1:
        raise FilmError(
            "several_frames",
            f"the DICOM file holds {frames} frames; export one film as a file of its own",
        )
    if "NumberOfFrames" in dataset:
        # pydicom would stumble over one that cannot be read.
        del dataset.NumberOfFrames
    lies_high(dataset)
    return width, height


def check_length(dataset: Any) -> None:
    """Refuse uncompressed pixels that are fewer than the file says, or more by half a row that is not all zero."""
    from pydicom.pixels.utils import get_expected_length

    expected = get_expected_length(dataset)
    pixels = max((dataset[name].value or b"" for name in _PIXELS if name in dataset), key=len)
    got = len(pixels)
    if got < expected:
        raise FilmError(
            "truncated",
            f"the DICOM file has {got} bytes of pixels of {expected}; copy or export it again",
        )
    if 2 * len(pixels[expected:].rstrip(b"\0")) >= expected // int(dataset.Rows):
        raise FilmError(
            "damaged",
            f"the DICOM file has {got} bytes of pixels and says that there are {expected}; export it again",
        )


def sample_count(dataset: Any) -> int:
    """Samples a pixel; one if the file does not say."""
    return int(dataset.get("SamplesPerPixel") or 1)


def lies_high(dataset: Any) -> bool:
    """Whether the samples leave the lowest bits unused, as those of old CR units do.

    Raises:
        FilmError: HighBit (0028,0102) puts them where they cannot be, or where no decoder finds them.
    """
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    high = dataset.get("HighBit")
    if not all(isinstance(value, int) for value in (allocated, stored, high)):
        return False
    if stored >= allocated or high == stored - 1:
        return False
    compressed = str(dataset.file_meta.TransferSyntaxUID) not in _UNCOMPRESSED
    if compressed or sample_count(dataset) != 1 or not stored <= high < allocated:
        raise FilmError(
            "unsupported_mode",
            f"DICOM pixels of {stored} bits in {allocated} with HighBit {high} are not read; "
            f"export the film uncompressed with HighBit {stored - 1}, or as JPEG",
        )
    return True


def _without_pixels(dataset: Any, stream: bytes) -> FilmError:
    sop_class = _sop_class(dataset)
    if "Image" not in sop_class.name and sop_class not in _PICTURES:
        modality = read_tags(dataset).modality
        known = _PICTURELESS_CLASS.fullmatch(sop_class) or modality in _PICTURELESS_MODALITIES
        if known or (sop_class and "Rows" not in dataset and _is_whole(dataset, stream)):
            return FilmError(
                "no_picture",
                "the DICOM file holds no picture (a report or a plan); export the film",
            )
    # pydicom gives nothing at all of a file that ends within compressed pixels.
    # A tag with no room for a length after it is where the file was cut.
    if len(dataset) and any(stream.find(tag, 0, len(stream) - 4) >= 0 for tag in _PIXEL_TAGS):
        return FilmError(
            "damaged",
            "the DICOM file's header is damaged and does not lead to its pixels; copy it again",
        )
    return FilmError("truncated", "the DICOM file ends before its pixels; copy it again")


def _sop_class(dataset: Any) -> Any:
    from pydicom.uid import UID

    said = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")
    return UID(str(said or ""))


def _is_whole(dataset: Any, stream: bytes) -> bool:
    """Whether the last element ends where the file does; so does a file that was cut between two."""
    from pydicom.dataelem import RawDataElement

    if not len(dataset):
        return False
    last = dataset.get_item(max(dataset.keys()))
    if isinstance(last, RawDataElement):
        return bool(last.value_tell + last.length == len(stream))
    return stream.endswith(_SEQUENCE_ENDS)
