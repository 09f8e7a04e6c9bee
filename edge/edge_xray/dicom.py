"""A DICOM file to pixels and to the few facts that decide whether the film may be scored.

pydicom is imported on first use; without it a DICOM film gets a reason that names the fix. Headers
are read and checked before any pixel is decoded; a deflated file is inflated only so far.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge_xray import headers
from edge_xray.decode import (
    MAX_PIXELS,
    DecodedFilm,
    decoder_errors,
    finish,
    load_jpeg,
)
from edge_xray.dicom_header import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    check_header,
    check_length,
    fill_in,
    lies_high,
    raw_data,
    sample_count,
)
from edge_xray.dicom_numbers import unread_numbers
from edge_xray.dicom_tags import DicomTags, read_tags
from edge_xray.errors import FilmError, broken_data
from edge_xray.film_file import HEAD_BYTES, is_dicom, read_file
from edge_xray.input_spec import InputSpec
from edge_xray.jpeg_lossless import decode_jpeg_lossless
from edge_xray.jpeg_whole import JpegStream, check_jpeg_data
from edge_xray.preprocess import reduction_factor
from edge_xray.run_lengths import check_run_lengths

MAX_INFLATED_BYTES: Final = 3 * MAX_PIXELS
"""Most that a deflated file may unpack to: the largest film in three bytes a pixel."""

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_RUN_LENGTHS: Final = "1.2.840.10008.1.2.5"
_JPEG_EIGHT_BIT: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_JPEG_LOSSLESS: Final = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
_JPEG_FAMILY: Final = frozenset(
    f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("50", "51", "57", "70", "80", "81")
)
_JPEG_LS: Final = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
_JPEG_2000: Final = frozenset(
    f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("90", "91", "201", "202", "203")
)

_PATIENT_ID: Final = 0x00100020
_PIXEL_DATA: Final = 0x7FE00010
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF

_UNREAD: Final = "in the DICOM file is no number; the film was read as if it were not given"

_EOI: Final = b"\xff\xd9"
"""The mark that a JPEG or JPEG-LS stream ends with, and that none holds before its end."""

_J2K_START: Final = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream and of its size segment (ISO/IEC 15444-1, annex A)."""


def decode_dicom(data: bytes, spec: InputSpec) -> DecodedFilm:
    """Read a DICOM film.

    Args:
        data: the whole file, with or without the preamble and the file meta information.
        spec: the network's input.

    Returns:
        The film's pixels as its window asks for them to be shown, with its tags.

    Raises:
        FilmError: pydicom is missing, or the file cannot be read or holds no single picture.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise FilmError(
            "dicom_extra_missing",
            "this machine was set up without DICOM: export the film as JPEG, or ask the person who "
            "set the machine up",
        ) from error
    with decoder_errors():
        dataset, stream = _read_dataset(data)
        warnings = fill_in(dataset) + raw_data(dataset)
        warnings += tuple(f"{keyword} {_UNREAD}" for keyword in unread_numbers(dataset))
        width, height = check_header(dataset, stream)
        image = _fast_jpeg(dataset, reduction_factor(width, height, spec))
        if image is None:
            image = _full_picture(dataset)
        film = finish(image, "DICOM", (width, height), spec, read_tags(dataset))
        return replace(film, warnings=warnings)


def read_first_tags(path: Path) -> DicomTags:
    """What a file's first tags say, up to the patient ID: no more of it is read.

    Args:
        path: of a file of any kind.

    Returns:
        Empty tags where the file is no DICOM or cannot be read, or pydicom is missing.
    """
    try:
        from pydicom.filereader import read_partial
    except ImportError:
        return DicomTags()
    try:
        with path.open("rb") as stream, decoder_errors():
            head = stream.read(HEAD_BYTES)
            if not is_dicom(head):
                return DicomTags()
            if _file_meta(head)[1] == _DEFLATED:
                return read_tags(_read_dataset(read_file(path))[0])
            stream.seek(0)
            return read_tags(read_partial(stream, lambda tag, *_: tag > _PATIENT_ID, force=True))
    except (OSError, FilmError):
        return DicomTags()


def _read_dataset(data: bytes) -> tuple[Any, bytes]:
    """The dataset, and what it was read from: the file, or what a deflated file inflates to."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset, read_partial

    end, syntax, sop_class = _file_meta(data)
    if end > len(data):
        raise _header_cut()
    stream = _inflate(data[end:]) if syntax == _DEFLATED else data
    try:
        if syntax == _DEFLATED:
            dataset = read_dataset(io.BytesIO(stream), False, True)
            _check_inflated_end(dataset, stream)
        else:
            dataset = read_partial(io.BytesIO(stream), _is_endless, force=True)
    except struct.error as error:
        # Nothing but the end of the file leaves too few bytes for a number.
        raise _header_cut() from error
    if syntax == _DEFLATED:
        syntax = EXPLICIT_LITTLE
    elif not syntax:
        implicit, little = dataset.original_encoding
        syntax = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE
        syntax = syntax if little else EXPLICIT_BIG
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    if sop_class:
        dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(sop_class)
    return dataset, stream


def _is_endless(tag: int, _vr: str | None, length: int) -> bool:
    """Whether an element behind the pixels has no length.

    What fills up a recovered file may look so; pydicom would seek its end, and give nothing of the film.
    """
    return tag > _PIXEL_DATA and length == _UNDEFINED_LENGTH


def _header_cut() -> FilmError:
    return FilmError("truncated", "the DICOM file ends within its header; copy it again")


def _file_meta(data: bytes) -> tuple[int, str, str]:
    """Where the file meta information ends; the transfer syntax and SOP class it names (PS3.10 7.1)."""
    at = 132 if data[128:132] == b"DICM" else 0
    uids = {0x0002: "", 0x0010: ""}
    while data[at : at + 2] == b"\x02\0" and at + 8 <= len(data):
        element, vr = struct.unpack_from("<H2s", data, at + 2)
        if vr in (b"OB", b"UN", b"OW", b"SQ", b"UT"):
            if at + 12 > len(data):
                break
            start, length = at + 12, int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            start, length = at + 8, int.from_bytes(data[at + 6 : at + 8], "little")
        if element in uids:
            uid = data[start : start + min(length, 64)].decode("ascii", "replace")
            uids[element] = uid.strip("\0 ")
        at = start + length
    return at, uids[0x0010], uids[0x0002]


def _inflate(deflated: bytes) -> bytes:
    """Inflate at most `MAX_INFLATED_BYTES`."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    data = engine.decompress(deflated, MAX_INFLATED_BYTES + 1)
    if len(data) > MAX_INFLATED_BYTES:
        raise FilmError(
            "too_large",
            f"the deflated DICOM file unpacks to more than {MAX_INFLATED_BYTES // 10**6} MB; "
            "export the film without compression",
        )
    if not engine.eof:
        raise FilmError("truncated", "the deflated DICOM file ends early; copy it again")
    return data


def _check_inflated_end(dataset: Any, stream: bytes) -> None:
    """Refuse a deflated file with more behind its pixels than zeros or a further element.

    It has no checksum, and where a piece of it is broken it hardly ever unpacks to as many bytes as before.
    """
    pixels = dataset.get_item(_PIXEL_DATA)
    if pixels is None:
        return
    behind = stream[pixels.value_tell + pixels.length :]
    vr = behind[4:6]
    if behind.strip(b"\0") and not (vr.isalpha() and vr.isupper()):
        raise broken_data()


def _frame(dataset: Any) -> bytes:
    """The one encapsulated frame, whose own header must name the file's size."""
    from pydicom.encaps import generate_frames

    frame: bytes = next(generate_frames(dataset.PixelData, number_of_frames=1))
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    size = None
    if syntax in _JPEG_FAMILY:
        header = headers.read_jpeg_header(frame)
        if syntax in _JPEG_EIGHT_BIT:
            headers.check_jpeg(header)
        if syntax in _JPEG_LS and _EOI not in frame:  # its decoder takes seconds to find that
            raise FilmError("truncated", "the JPEG-LS ends before the film does; copy it again")
        size = header.width, header.height
    elif syntax in _JPEG_2000:
        at = frame.find(_J2K_START, 0, 4096)
        if at < 0 or at + 24 > len(frame):
            raise FilmError("damaged", "the JPEG 2000 picture has no header; copy the file again")
        right, bottom, left, top = struct.unpack_from(">IIII", frame, at + 8)
        size = right - left, bottom - top
    if size is not None and size != (int(dataset.Columns), int(dataset.Rows)):
        raise FilmError(
            "damaged",
            f"the picture inside is {size[0]}x{size[1]} pixels and the file says "
            f"{dataset.Columns}x{dataset.Rows}; export the film again",
        )
    return frame


def _fast_jpeg(dataset: Any, factor: int) -> Image.Image | None:
    """Decode an 8-bit grey JPEG frame at reduced scale; None where that is not what was asked for.

    Reducing first is right only if the grey stays or is inverted: a window bends it, and then the
    mean of what is shown is not what is shown of the mean.
    """
    if str(dataset.file_meta.TransferSyntaxUID) not in _JPEG_EIGHT_BIT:
        return None
    if sample_count(dataset) != 1 or int(dataset.BitsAllocated) != 8:
        return None
    stream = JpegStream(_frame(dataset))
    with Image.open(stream, formats=("JPEG",)) as image:
        load_jpeg(image, stream, "L", 1 if (table := _linear(dataset)) is None else factor)
        grey = image.convert("L")
    if table is None:
        from edge_xray.dicom_display import stored_to_grey

        return Image.fromarray(stored_to_grey(np.asarray(grey), dataset))
    return ImageOps.invert(grey) if table[0] else grey


def _linear(dataset: Any) -> NDArray[np.uint8] | None:
    """The table of grey values if it is the identity or its inverse, else None."""
    from edge_xray.dicom_display import eight_bit_table

    table = eight_bit_table(dataset)
    ramp = np.arange(256, dtype=np.uint8)
    if table is None or not (np.array_equal(table, ramp) or np.array_equal(table, ramp[::-1])):
        return None
    return table


def _full_picture(dataset: Any) -> Image.Image:
    from pydicom.pixels import apply_color_lut, pixel_array

    from edge_xray.dicom_display import stored_to_grey

    stored: NDArray[Any]
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax in _JPEG_LOSSLESS and sample_count(dataset) == 1:
        stored = _lossless(dataset)
    else:
        _check_decoder(dataset)
        stored = _lowered(dataset) if lies_high(dataset) else pixel_array(dataset)
        if syntax in _JPEG_EIGHT_BIT:
            check_jpeg_data(_frame(dataset))
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3 and stored.shape[2] == 3:
        # Wider colours keep the top 8 bits of the least depth that holds the brightest.
        shift = max(0, int(stored.max(initial=0)).bit_length() - 8)
        return Image.fromarray((stored >> shift).astype(np.uint8))
    if stored.ndim != 2 or not photometric.startswith("MONOCHROME"):
        raise FilmError(
            "unsupported_mode",
            f"DICOM pixels of kind {photometric or 'unknown'!r} are not read; export a grey film",
        )
    return Image.fromarray(stored_to_grey(stored, dataset))


def _lossless(dataset: Any) -> NDArray[Any]:
    """Decode a grey lossless JPEG here, or by pydicom's plug-in, if one is there, what is not read here."""
    from pydicom.pixels import get_decoder, pixel_array

    frame = _frame(dataset)
    try:
        return _of_stored_bits(decode_jpeg_lossless(frame), dataset)
    except FilmError as error:
        unread = error.reason == "dicom_decoder_missing"
        if not unread or not get_decoder(dataset.file_meta.TransferSyntaxUID).is_available:
            raise
    stored: NDArray[Any] = pixel_array(dataset)
    return stored


def _lowered(dataset: Any) -> NDArray[Any]:
    """Uncompressed samples that lie high; pydicom takes the lowest bits whatever HighBit says."""
    from pydicom.pixels import pixel_array

    bits, signed = dataset.BitsStored, dataset.get("PixelRepresentation")
    dataset.BitsStored, dataset.PixelRepresentation = dataset.BitsAllocated, 0
    words = pixel_array(dataset)
    dataset.BitsStored, dataset.PixelRepresentation = bits, signed
    return _of_stored_bits(words, dataset, int(dataset.HighBit))


def _of_stored_bits(
    words: NDArray[Any], dataset: Any, high: int | None = None
) -> NDArray[np.integer]:
    """Samples of BitsStored bits alone: those beside them may be an overlay's, as in old files (PS3.5 8.1.1).

    Args:
        words: (H, W), integers without a sign.
        dataset: the pydicom dataset they are from.
        high: the samples' highest bit; None where they lie low.

    Returns:
        (H, W), as wide; signed, by two's complement, if the file says so.
    """
    bits, size = int(dataset.BitsStored), words.itemsize
    top = words << (8 * size - 1 - (bits - 1 if high is None else high))
    samples = top.view(f"{'i' if int(dataset.get('PixelRepresentation') or 0) else 'u'}{size}")
    samples >>= 8 * size - bits
    return samples


def _check_decoder(dataset: Any) -> None:
    """Refuse a compression that no installed decoder reads; check an encapsulated frame's size."""
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise FilmError(
            "dicom_decoder_missing",
            f"DICOM pixels stored as {syntax.name} are not read; export the film uncompressed",
        ) from error
    if not decoder.is_available:
        raise FilmError(
            "dicom_decoder_missing",
            f"this machine does not read DICOM pixels stored as {syntax.name}; "
            "export the film uncompressed",
        )
    if syntax.is_encapsulated:
        frame = _frame(dataset)
        if syntax == _RUN_LENGTHS:
            check_run_lengths(frame, int(dataset.Rows) * int(dataset.Columns))
    else:
        check_length(dataset)
