"""DICOM films: the pixels as the file asks for them to be shown, the allow-listed tags, refusals."""

from __future__ import annotations

import io
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from PIL import Image

from edge_xray.decode import REASONS, decode
from edge_xray.dicom_tags import DicomTags
from edge_xray.errors import FilmError
from edge_xray.input_spec import InputSpec
from edge_xray.intended_use import check_intended_use
from edge_xray.metadata import IntendedUse
from edge_xray.preprocess import preprocess

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")

SPEC = InputSpec(64, 64)
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


@pytest.fixture(scope="module")
def film(draw_film):
    return draw_film("normal", 3)


def refused(data: bytes) -> FilmError:
    with pytest.raises(FilmError) as caught:
        decode(data, SPEC)
    assert caught.value.reason in REASONS
    return caught.value


def test_eight_bits_without_window_are_exactly_the_pixels_stored(film, to_dicom):
    decoded = decode(to_dicom(film), SPEC)
    assert np.array_equal(decoded.pixels, film)
    assert (decoded.format, decoded.width, decoded.height) == ("DICOM", 110, 90)


@pytest.mark.parametrize("levels", [3, 40, 255])
def test_a_dim_eight_bit_picture_is_not_stretched(levels, to_dicom):
    dim = np.tile(np.arange(64, dtype=np.uint8) % levels, (64, 1))
    assert np.array_equal(decode(to_dicom(dim), SPEC).pixels, dim)


def test_without_preamble_and_file_meta_the_content_still_tells(film, to_dicom):
    assert np.array_equal(decode(to_dicom(film, preamble=False), SPEC).pixels, film)


@pytest.mark.parametrize("size", [(224, 224), (700, 900), (1000, 1350)])
def test_jpeg_png_and_dicom_of_one_film_give_the_same_input(size, draw_film, encode, to_dicom):
    spec = InputSpec(112, 112)
    film = draw_film("viral", 5, height=size[0], width=size[1])
    jpeg = encode(film, "JPEG", quality=95)
    stored = np.asarray(Image.open(io.BytesIO(jpeg)))
    inputs = [
        preprocess(decode(data, spec).pixels, spec).astype(int)
        for data in (
            encode(stored, "PNG"),
            encode(stored, "TIFF"),
            encode(stored, "BMP"),
            to_dicom(stored),
            to_dicom(255 - stored, PhotometricInterpretation="MONOCHROME1"),
            jpeg,
            to_dicom(stored, frame=jpeg, syntax=JPEG_BASELINE),
        )
    ]
    for exact in inputs[1:5]:
        assert np.array_equal(exact, inputs[0])
    for drafted in inputs[5:]:
        difference = np.abs(drafted - inputs[0])
        assert difference.max() <= 2
        assert difference.mean() < 0.35


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_wide_pixels_without_window_equal_the_png_of_them(bits, film, encode, to_dicom):
    wide = film.astype(np.uint16) << (bits - 8)
    as_png = decode(encode(wide, "PNG"), SPEC).pixels
    assert np.array_equal(decode(to_dicom(wide, BitsStored=bits), SPEC).pixels, as_png)


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [13, 14, 15])
@pytest.mark.parametrize("bits", [9, 10, 12])
def test_samples_that_lie_high_are_the_same_film(bits, high, signed, syntax, film, to_dicom):
    lift = high - bits + 1
    middle = 1 << (bits - 1)
    low = (film.astype(np.int32) << (bits - 8)) - (middle if signed else 0)
    # The bit below the film's lowest is not the film's.
    raised = (low << lift) & ((1 << (high + 1)) - 1) | (1 << (lift - 1))
    tags = {"BitsStored": bits, "PixelRepresentation": int(signed), "syntax": syntax}
    for window in ({}, {"WindowCenter": 0 if signed else middle, "WindowWidth": middle}):
        right = decode(to_dicom(low.astype(np.int16), **tags, **window), SPEC).pixels
        left = decode(to_dicom(raised.astype(np.uint16), HighBit=high, **tags, **window), SPEC)
        assert np.array_equal(left.pixels, right)
        assert np.ptp(right) > 100


@pytest.mark.parametrize("high", [5, 16, 99])
def test_a_high_bit_that_cannot_be_is_refused_by_name(high, film, to_dicom):
    error = refused(to_dicom(film.astype(np.uint16) << 4, BitsStored=12, HighBit=high))
    assert error.reason == "unsupported_mode"
    assert f"HighBit {high}" in str(error)


def test_compressed_samples_that_lie_high_are_refused_by_name(film, to_dicom):
    dataset = pydicom.dcmread(io.BytesIO(to_dicom(film.astype(np.uint16) << 4, BitsStored=12)))
    dataset.compress(RLE)
    dataset.HighBit = 15
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    error = refused(buffer.getvalue())
    assert error.reason == "unsupported_mode"
    assert "HighBit 15" in str(error)


def run_lengths(pixels, to_dicom) -> tuple[bytes, bytes]:
    """A DICOM file of run lengths, and the frame in it, which begins with a header of 64 bytes."""
    dataset = pydicom.dcmread(io.BytesIO(to_dicom(pixels)))
    dataset.compress(RLE)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    return buffer.getvalue(), frame


def test_a_decoder_that_panics_tells_of_a_damaged_film(film, to_dicom, monkeypatch):
    # That of pylibjpeg-rle, on run lengths of more than the picture holds, is no Exception.
    monkeypatch.setattr("edge_xray.dicom.check_run_lengths", lambda *_: None)
    data, frame = run_lengths(film.astype(np.uint16) << 4, to_dicom)
    broken = frame[:64] + b"\x81\0" * (len(frame) // 2 - 32)
    assert refused(data.replace(frame, broken)).reason == "damaged"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_run_lengths_that_are_whole_are_read(dtype, film, to_dicom):
    # An odd number of rows and columns leaves a segment to be filled up with a zero.
    pixels = film[:89, :107].astype(dtype) << (4 * (np.dtype(dtype).itemsize - 1))
    data, _ = run_lengths(pixels, to_dicom)
    assert np.array_equal(decode(data, SPEC).pixels, decode(to_dicom(pixels), SPEC).pixels)


def test_run_lengths_may_end_with_runs_of_nothing(film, to_dicom):
    data, frame = run_lengths(film, to_dicom)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PixelData = pydicom.encaps.encapsulate([frame + b"\x80\0"])
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert np.array_equal(decode(buffer.getvalue(), SPEC).pixels, film)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_run_lengths_with_a_hole_or_more_than_they_need_are_damaged(dtype, place, film, to_dicom):
    data, frame = run_lengths(film.astype(dtype), to_dicom)
    at = 64 + int(place * (len(frame) - 64))
    for broken in (
        frame[:at] + bytes(64) + frame[at + 64 :],
        frame[:at] + b"\xff" * 64 + frame[at + 64 :],
        frame[:at] + frame[at + 64 :] + bytes(64),
    ):
        assert refused(data.replace(frame, broken)).reason == "damaged"


def test_a_high_bit_says_nothing_where_all_bits_are_used(film, encode, to_dicom):
    assert np.array_equal(decode(to_dicom(film, HighBit=15), SPEC).pixels, film)
    jpeg = to_dicom(film, frame=encode(film, "JPEG"), syntax=JPEG_BASELINE, HighBit=15)
    assert np.ptp(decode(jpeg, SPEC).pixels) > 100


@pytest.mark.parametrize("written", ["2e,8", "N/A ", "nan ", "inf ", "----", "1e999", "\0\0\0\0"])
@pytest.mark.parametrize(
    "keyword", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"]
)
def test_a_number_that_cannot_be_read_is_as_if_it_were_not_there(keyword, written, film, to_dicom):
    written += " " * (len(written) % 2)
    wide = film.astype(np.uint16) << 4
    pair = ("WindowCenter", "WindowWidth")
    pair = pair if keyword in pair else ("RescaleSlope", "RescaleIntercept")
    place = "7" * len(written)
    data = to_dicom(wide, BitsStored=12, **dict.fromkeys(pair, 2) | {keyword: place})
    assert data.count(place.encode()) == 1
    decoded = decode(data.replace(place.encode(), written.encode()), SPEC)
    assert np.array_equal(decoded.pixels, film)
    given = bool(written.strip("\0"))
    assert [warning.split()[0] for warning in decoded.warnings] == [keyword] * given


def test_a_decimal_comma_counts_as_a_point(film, to_dicom):
    wide = film.astype(np.uint16) << 4
    point = to_dicom(
        wide,
        BitsStored=12,
        WindowCenter="900.5",
        WindowWidth=["1200.5", "7"],
        RescaleSlope="0.5",
        RescaleIntercept="-0.7",
    )
    comma = point
    for text in (b"900.5", b"1200.5", b"0.5 ", b"-0.7"):
        comma = comma.replace(text, text.replace(b".", b","))
    assert comma != point
    decoded = decode(comma, SPEC)
    assert np.array_equal(decoded.pixels, decode(point, SPEC).pixels)
    assert decoded.warnings == decode(point, SPEC).warnings == ()


@pytest.mark.parametrize("written", [b"?   ", b"\0\0\0\0", b"    ", b"1,0 "])
def test_a_number_of_frames_that_cannot_be_read_is_one(written, film, encode, to_dicom):
    for compressed in ({}, {"frame": encode(film, "JPEG"), "syntax": JPEG_BASELINE}):
        data = to_dicom(film, NumberOfFrames=7777, **compressed)
        assert data.count(b"7777") == 1
        decoded = decode(data.replace(b"7777", written), SPEC)
        assert np.array_equal(decoded.pixels, decode(to_dicom(film, **compressed), SPEC).pixels)
        assert len(decoded.warnings) == written.startswith(b"?")


def test_monochrome1_is_inverted_after_the_window(film, to_dicom):
    wide = film.astype(np.uint16) * 16
    shown = decode(
        to_dicom(
            wide,
            BitsStored=12,
            PhotometricInterpretation="MONOCHROME1",
            WindowCenter=1024,
            WindowWidth=2048,
        ),
        SPEC,
    ).pixels
    window = np.clip((wide - 1023.5) / 2047 + 0.5, 0, 1) * 255
    assert np.array_equal(shown, 255 - np.rint(window).astype(np.uint8))


@pytest.mark.parametrize(
    ("photometric", "shape"),
    [
        ("MONOCHROME1", None),
        ("MONOCHROME1", "INVERSE"),
        ("MONOCHROME2", "INVERSE"),
        ("MONOCHROME2", " inverse"),
    ],
)
def test_a_negative_is_inverted_once_however_it_says_so(photometric, shape, film, encode, to_dicom):
    said = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    with pydicom.config.disable_value_validation():
        negative = to_dicom(255 - film, **said)
        jpeg = to_dicom(film, frame=encode(255 - film, "JPEG"), syntax=JPEG_BASELINE, **said)
    assert np.array_equal(decode(negative, SPEC).pixels, film)
    assert np.abs(decode(jpeg, SPEC).pixels.astype(int) - film).mean() < 5
    upright = to_dicom(film, PresentationLUTShape="IDENTITY")
    assert np.array_equal(decode(upright, SPEC).pixels, film)


@pytest.mark.parametrize(
    "left_out",
    ["SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"],
)
def test_what_a_file_leaves_out_of_how_grey_is_stored_is_assumed_and_said(
    left_out, film, encode, to_dicom
):
    for compressed in ({}, {"frame": encode(film, "JPEG"), "syntax": JPEG_BASELINE}):
        whole = to_dicom(film, HighBit=7, **compressed)
        dataset = pydicom.dcmread(io.BytesIO(whole))
        del dataset[left_out]
        lacking = io.BytesIO()
        dataset.save_as(lacking)
        decoded = decode(lacking.getvalue(), SPEC)
        assert np.array_equal(decoded.pixels, decode(whole, SPEC).pixels)
        assert [left_out in warning for warning in decoded.warnings] == [True]


def test_colours_without_their_kind_are_not_taken_for_grey(film, to_dicom):
    colours = np.dstack([film] * 3)
    for left_out in ("SamplesPerPixel", "PhotometricInterpretation"):
        assert refused(to_dicom(colours, **{left_out: None})).reason == "damaged"


@pytest.mark.parametrize("written", [b"monochrome1 ", b" MONOCHROME1", b"Monochrome1\0"])
def test_a_photometric_interpretation_is_read_however_it_is_written(
    written, film, encode, to_dicom
):
    negative = 255 - film
    for compressed in ({}, {"frame": encode(negative, "JPEG"), "syntax": JPEG_BASELINE}):
        proper = to_dicom(negative, PhotometricInterpretation="MONOCHROME1", **compressed)
        odd = proper.replace(b"MONOCHROME1 ", written)
        assert odd != proper
        decoded = decode(odd, SPEC)
        assert np.array_equal(decoded.pixels, decode(proper, SPEC).pixels)
        assert decoded.warnings == ()


@pytest.mark.parametrize(
    "said",
    [
        {"PresentationIntentType": "FOR PROCESSING"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"},
    ],
)
def test_raw_data_of_the_detector_are_doubted(said, film, to_dicom):
    decoded = decode(to_dicom(film, **said), SPEC)
    assert np.array_equal(decoded.pixels, film)
    assert ["raw data" in warning for warning in decoded.warnings] == [True]
    assert decode(to_dicom(film, PresentationIntentType="FOR PRESENTATION"), SPEC).warnings == ()


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicoms(function, film, to_dicom):
    pydicom = pytest.importorskip("pydicom")
    data = to_dicom(
        film.astype(np.int16) * 8 - 700,
        WindowCenter=[300, 50],
        WindowWidth=[900, 100],
        VOILUTFunction=function,
        RescaleSlope=1.5,
        RescaleIntercept=-200,
    )
    dataset = pydicom.dcmread(io.BytesIO(data))
    hounsfield = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    windowed = pydicom.pixels.apply_windowing(hounsfield, dataset)
    # pydicom maps to the range of the stored values; here it is 0..255.
    low = -(2**15) * 1.5 - 200
    expected = (windowed - low) / (2**16 * 1.5 - 1) * 255
    assert np.abs(decode(data, SPEC).pixels - expected).max() <= 0.6


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_without_width_is_none_and_the_narrowest_is_a_step(function, film, to_dicom):
    window = {"WindowCenter": 100, "VOILUTFunction": function}
    assert np.array_equal(decode(to_dicom(film, WindowWidth=0, **window), SPEC).pixels, film)
    step = decode(to_dicom(film, WindowWidth=1, **window), SPEC).pixels
    assert (step[film < 98] <= 1).all() and (step[film > 102] >= 254).all()
    if function == "LINEAR":
        # PS3.3 C.11.2.1.2.1: what is not above 99.5 is black.
        assert np.array_equal(step, np.where(film > 99, 255, 0))


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0, 0), (0, 40)])
def test_a_rescale_that_changes_nothing_or_leaves_nothing_is_none(slope, intercept, film, to_dicom):
    dull = film // 2 + 30
    shown = decode(to_dicom(dull, RescaleSlope=slope, RescaleIntercept=intercept), SPEC)
    assert np.array_equal(shown.pixels, dull)


def test_values_of_fewer_than_8_bits_are_spread_over_the_greys(film, to_dicom):
    few = film >> 2
    shown = decode(to_dicom(few, BitsStored=6), SPEC).pixels
    assert np.array_equal(shown, np.rint(few * (255 / 63)).astype(np.uint8))


def test_values_too_far_apart_for_a_table_and_fractions_are_shown_alike(draw_film, to_dicom):
    film = draw_film("viral", 3, height=300, width=200)

    def windowed(scale, **tags):
        return {
            "WindowCenter": 100.0 * scale,
            "WindowWidth": 90.0 * scale,
            "VOILUTFunction": "LINEAR_EXACT",
        } | tags

    expected = decode(to_dicom(film, **windowed(1)), SPEC).pixels
    wide = to_dicom(film.astype(np.uint32) * 2000, **windowed(2000))
    assert np.array_equal(decode(wide, SPEC).pixels, expected)
    parts = to_dicom(
        film.astype(np.uint32),
        PixelData=None,
        FloatPixelData=(film / 512).astype("<f4").tobytes(),
        **windowed(1 / 512),
    )
    assert np.array_equal(decode(parts, SPEC).pixels, expected)


def test_a_voi_table_and_a_modality_table_are_looked_up(to_dicom):
    from pydicom.dataset import Dataset

    ramp = np.tile(np.arange(64, dtype=np.uint16), (64, 1))

    def table(values):
        item = Dataset()
        item.add_new((0x0028, 0x3002), "US", [len(values), 0, 16])
        item.add_new((0x0028, 0x3006), "US", values)
        return [item]

    voi = [min(255, 4 * value) for value in range(64)]
    assert np.array_equal(
        decode(to_dicom(ramp, BitsStored=12, VOILUTSequence=table(voi)), SPEC).pixels[0], voi
    )
    falling = [63 - value for value in range(64)]
    modality = table(falling)
    modality[0].ModalityLUTType = "US"
    both = to_dicom(ramp, BitsStored=12, ModalityLUTSequence=modality, VOILUTSequence=table(voi))
    assert np.array_equal(decode(both, SPEC).pixels[0], voi[::-1])


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("depth", [8, 9, 16])
@pytest.mark.parametrize("stored_as", ["a byte each", "words", "bytes in words"])
def test_tables_of_every_depth_and_way_to_store_them_are_looked_up(
    keyword, depth, stored_as, to_dicom
):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint16), (64, 1))
    table = np.minimum(255, 2 * np.arange(256))
    item = pydicom.Dataset()
    item.add_new((0x0028, 0x3002), "US", [256, 0, depth])
    if stored_as == "a byte each":
        item.add_new((0x0028, 0x3006), "OW", table.astype(np.uint8).tobytes())
    elif stored_as == "words":
        item.add_new((0x0028, 0x3006), "OW", table.astype("<u2").tobytes())
    else:
        item.add_new((0x0028, 0x3006), "US", table.astype(np.uint8).view("<u2").tolist())
    if keyword == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    shown = decode(to_dicom(ramp, BitsStored=8, **{keyword: [item]}), SPEC).pixels
    assert np.array_equal(shown[0], table[ramp[0]])


@pytest.mark.parametrize("first", [-300, 0, 1000])
def test_values_beyond_the_ends_of_a_table_get_its_ends(first, to_dicom):
    item = pydicom.Dataset()
    item.add_new((0x0028, 0x3002), "SS" if first < 0 else "US", [256, first, 8])
    item.add_new((0x0028, 0x3006), "OW", np.arange(255, -1, -1, dtype="<u2").tobytes())
    ramp = np.tile(np.arange(-50, 310, 5, dtype=np.int16), (64, 1)) + np.int16(first)
    shown = decode(to_dicom(ramp, VOILUTSequence=[item]), SPEC).pixels
    assert np.array_equal(shown[0], 255 - np.clip(ramp[0] - first, 0, 255))


def test_a_table_of_all_values_of_16_bits_has_no_room_for_its_length(film, to_dicom):
    item = pydicom.Dataset()
    item.add_new((0x0028, 0x3002), "US", [0, 0, 16])
    item.add_new((0x0028, 0x3006), "OW", np.arange(1 << 16, dtype="<u2")[::-1].tobytes())
    shown = decode(to_dicom(film.astype(np.uint16) * 257, VOILUTSequence=[item]), SPEC).pixels
    assert np.array_equal(shown, 255 - film)


@pytest.mark.parametrize(
    "entries", [bytes(200), np.arange(255, dtype="<u2").tobytes(), bytes(range(256)) + b"\0\0"]
)
def test_a_table_that_is_too_short_is_damaged(entries, film, to_dicom):
    item = pydicom.Dataset()
    item.add_new((0x0028, 0x3002), "US", [256, 0, 8])
    item.add_new((0x0028, 0x3006), "OW", entries)
    assert refused(to_dicom(film, VOILUTSequence=[item])).reason == "damaged"


def test_padding_outside_the_film_is_black_also_when_inverted(film, to_dicom):
    padded = film.copy()
    padded[:, :20] = 0
    shown = decode(
        to_dicom(padded, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0), SPEC
    ).pixels
    assert shown[:, :20].max() == 0
    inside = padded[:, 20:]
    assert np.array_equal(shown[:, 20:][inside > 0], 255 - inside[inside > 0])


@pytest.mark.parametrize("ends", [(0, 30), (30, 0)])
@pytest.mark.parametrize("signed", [False, True])
def test_all_values_of_the_padding_range_are_black_and_set_no_contrast(
    ends, signed, film, to_dicom
):
    least = -2000 if signed else 0
    stored = film.astype(np.int16 if signed else np.uint16) * 3 + (100 + least)
    stored[:, :20] = np.arange(20) + 11 + least
    value, limit = (least + end for end in ends)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 2, "RescaleIntercept": 5}
    shown = decode(
        to_dicom(stored, PixelPaddingValue=value, PixelPaddingRangeLimit=limit, **tags), SPEC
    ).pixels
    assert shown[:, :20].max() == 0
    assert np.array_equal(shown[:, 20:], decode(to_dicom(stored[:, 20:], **tags), SPEC).pixels)
    without = decode(to_dicom(stored, PixelPaddingRangeLimit=limit, **tags), SPEC).pixels
    assert without[:, :20].min() > 0


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 120, "WindowWidth": 40},
        {"RescaleSlope": 2, "RescaleIntercept": -9},
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 60},
    ],
)
def test_a_jpeg_frame_is_shown_as_its_tags_say_before_reducing(tags, draw_film, encode, to_dicom):
    film = draw_film("normal", 1, height=600, width=600)
    jpeg = encode(film, "JPEG", quality=95)
    stored = np.asarray(Image.open(io.BytesIO(jpeg)))
    raw = decode(to_dicom(stored, **tags), SPEC).pixels
    framed = decode(to_dicom(stored, frame=jpeg, syntax=JPEG_BASELINE, **tags), SPEC).pixels
    assert np.array_equal(raw, framed)
    assert not np.array_equal(raw, decode(to_dicom(stored), SPEC).pixels)


def test_colour_and_palette_pictures_become_grey_with_their_colour_noted(film, to_dicom):
    colours = np.dstack([film, film // 2, film // 4])
    decoded = decode(to_dicom(colours), SPEC)
    assert np.array_equal(decoded.pixels, np.asarray(Image.fromarray(colours).convert("L")))
    assert decoded.colour > 20
    ramp = (np.arange(256) * 257).astype("<u2").tobytes()
    palette = {
        f"{name}PaletteColorLookupTable{part}": value
        for name in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 16]), ("Data", ramp))
    }
    painted = to_dicom(film, PhotometricInterpretation="PALETTE COLOR", **palette)
    assert np.array_equal(decode(painted, SPEC).pixels, film)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB", "grey"])
def test_a_cut_jpeg_is_told_in_every_colour(photometric, draw_film, encode, to_dicom):
    film = draw_film("viral", 5, height=300, width=420)
    stored = film if photometric == "grey" else np.dstack([film, film, film])
    options = {} if photometric == "grey" else {"subsampling": photometric.endswith("422")}
    if photometric == "RGB":
        options["keep_rgb"] = True
    jpeg = encode(stored, "JPEG", quality=92, **options)
    tags = {} if photometric == "grey" else {"PhotometricInterpretation": photometric}
    whole = decode(to_dicom(stored, frame=jpeg, syntax=JPEG_BASELINE, **tags), SPEC)
    as_file = decode(jpeg, SPEC)
    assert np.abs(whole.pixels.astype(int) - as_file.pixels).max() <= 2
    assert whole.colour < 1
    for share in (0.5, 0.9, 0.97):
        for end in (b"", b"\xff\xd9"):
            cut = jpeg[: int(share * len(jpeg))] + end
            error = refused(to_dicom(stored, frame=cut, syntax=JPEG_BASELINE, **tags))
            assert error.reason in {"truncated", "damaged"}
    hole = jpeg[: len(jpeg) // 2] + jpeg[len(jpeg) // 2 + 300 :]
    assert refused(to_dicom(stored, frame=hole, syntax=JPEG_BASELINE, **tags)).reason == "damaged"


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_a_colour_jpeg_that_ends_in_the_level_of_missing_data_is_whole(
    photometric, film, encode, to_dicom
):
    bordered = np.pad(film, 40, constant_values=128)
    stored = np.dstack([bordered] * 3)
    jpeg = encode(stored, "JPEG", quality=92, keep_rgb=photometric == "RGB")
    data = to_dicom(stored, frame=jpeg, syntax=JPEG_BASELINE, PhotometricInterpretation=photometric)
    assert (decode(data, SPEC).pixels[-1] == 128).all()


def test_rle_and_deflated_files_are_read(film, to_dicom):
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(to_dicom(film)))
    dataset.compress(RLE)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert np.array_equal(decode(buffer.getvalue(), SPEC).pixels, film)
    assert np.array_equal(decode(to_dicom(film, syntax=DEFLATED), SPEC).pixels, film)


def test_a_deflated_file_with_a_broken_piece_is_refused(draw_film, to_dicom):
    film = draw_film("viral", 7, height=332, width=440)
    whole = to_dicom(film, syntax=DEFLATED)
    read = []
    for at in np.linspace(len(whole) // 20, len(whole) - 600, 30).astype(int):
        for piece in (bytes(512), b"\xff" * 512, b"Patients of the ward" * 25):
            try:
                decode(whole[:at] + piece + whole[at + len(piece) :], SPEC)
                read.append((at, piece[:4]))
            except FilmError as error:
                assert error.reason in {"damaged", "truncated"}
    assert len(read) <= 5, read  # of 90; one that gives as many bytes as there were is not seen


@pytest.mark.parametrize(
    "element",
    [(0xFFFCFFFC, "OB", bytes(64)), (0x7FE11001, "LO", "of a maker"), (0xFFFAFFFA, "SQ", [])],
)
def test_a_deflated_file_may_hold_more_behind_its_pixels(element, film, to_dicom):
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(to_dicom(film, syntax=DEFLATED)))
    dataset.add_new(*element)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert np.array_equal(decode(buffer.getvalue(), SPEC).pixels, film)


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", RLE],
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_lossless_compression_gives_the_same_pixels(syntax, bits, film, to_dicom):
    import pydicom

    stored = film if bits == 8 else film.astype(np.uint16) << (bits - 8)
    raw = to_dicom(stored, BitsStored=bits)
    dataset = pydicom.dcmread(io.BytesIO(raw))
    buffer = io.BytesIO()
    try:
        dataset.compress(syntax)
    except RuntimeError:
        pytest.skip("no encoder for it is installed")
    dataset.save_as(buffer)
    assert np.array_equal(decode(buffer.getvalue(), SPEC).pixels, decode(raw, SPEC).pixels)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", DEFLATED])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_uncompressed_encoding_gives_the_same_pixels(syntax, bits, film, to_dicom):
    stored = film if bits == 8 else film.astype(np.uint16) << (bits - 8)
    decoded = decode(to_dicom(stored, syntax=syntax, BitsStored=bits), SPEC)
    assert np.array_equal(decoded.pixels, film)
    assert decoded.tags.age_years == 4.0


def test_a_deflate_bomb_is_refused_before_it_unpacks(to_dicom):
    small = to_dicom(np.zeros((64, 64), np.uint8), syntax=DEFLATED)
    meta = small[: 132 + 12 + struct.unpack_from("<I", small, 132 + 8)[0]]
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = meta + b"".join(engine.compress(bytes(10**7)) for _ in range(30)) + engine.flush()
    assert len(bomb) < 10**6
    error = refused(bomb)
    assert error.reason == "too_large"
    assert "150 MB" in str(error)


def test_a_jpeg_bomb_inside_a_small_picture_is_refused(film, encode, to_dicom):
    bomb = encode(Image.new("L", (6000, 6000)), "JPEG")
    error = refused(to_dicom(film, frame=bomb, syntax=JPEG_BASELINE))
    assert error.reason == "damaged"
    assert "6000x6000" in str(error)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 2}, "several_frames"),
        ({"Rows": 20_000, "Columns": 20_000}, "too_large"),
        ({"Rows": 16}, "too_small"),
        ({"Rows": None}, "damaged"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported_mode"),
        ({"Rows": 500}, "truncated"),
    ],
)
def test_what_is_no_single_sound_picture_is_refused_by_name(tags, reason, film, to_dicom):
    assert refused(to_dicom(film, **tags)).reason == reason


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_every_cut_of_a_film_is_told_as_such(syntax, film, to_dicom):
    data = to_dicom(film, syntax=syntax, StudyDate="20200315")
    pixels = len(data) - film.size
    for cut in (*range(133, pixels + 2), *range(pixels + 2, len(data) - 1, 97), len(data) - 1):
        assert refused(data[:cut]).reason == "truncated", cut


def test_a_film_whose_header_is_damaged_is_called_neither_cut_nor_a_report(film, to_dicom):
    data = to_dicom(film)
    name = data.index(b"PN\x08\0Doe^Jane")
    for length in (b"\0\x20", b"\xff\xff"):
        broken = data[: name + 2] + length + data[name + 4 :]
        assert refused(broken).reason == "damaged"


PICTURELESS = {
    **dict.fromkeys(("Rows", "Columns", "BitsAllocated", "HighBit", "PixelData")),
    **dict.fromkeys(("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation")),
}


@pytest.mark.parametrize(
    ("sop_class", "modality", "reason"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", "SR", "no_picture"),
        ("1.2.840.10008.5.1.4.1.1.11.1", None, "no_picture"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "DX", "no_picture"),
        ("1.2.840.10008.5.1.4.1.1.481.3", None, "no_picture"),
        ("1.2.840.10008.1.3.10", None, "no_picture"),
        ("1.2.3.4", "RTPLAN", "no_picture"),
        # Of a class that is not known, or of none.
        ("1.2.3.4", None, "no_picture"),
        (None, "KO", "no_picture"),
        (None, None, "truncated"),
        # These have pixels, so that they were lost.
        ("1.2.840.10008.5.1.4.1.1.1", None, "truncated"),
        ("1.2.840.10008.5.1.4.1.1.7", "DOC", "truncated"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", "truncated"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "SEG", "truncated"),
    ],
)
def test_only_what_never_has_pixels_is_called_a_report(sop_class, modality, reason, film, to_dicom):
    tags = PICTURELESS | {"SOPClassUID": sop_class, "Modality": modality}
    for preamble in (True, False):
        if sop_class or not preamble:
            assert refused(to_dicom(film, preamble=preamble, **tags)).reason == reason


def test_a_cut_file_of_an_unknown_class_is_no_report(film, to_dicom):
    data = to_dicom(film, **PICTURELESS, SOPClassUID="1.2.3.4", Modality=None)
    assert refused(data).reason == "no_picture"
    assert refused(data[:-1]).reason == "truncated"


@pytest.mark.parametrize("missing", [2, 3, 4000])
@pytest.mark.parametrize("bits", [8, 12])
def test_pixels_that_are_too_few_are_told_as_a_cut(bits, missing, film, to_dicom):
    stored = film if bits == 8 else film.astype(np.uint16)
    few = to_dicom(stored, BitsStored=bits, PixelData=stored.tobytes()[:-missing])
    error = refused(few)
    assert error.reason == "truncated"
    assert f"of {stored.nbytes};" in str(error)


@pytest.mark.parametrize(
    "tags",
    [{"Rows": 89}, {"Rows": 45}, {"Columns": 60}, {"BitsAllocated": 8, "BitsStored": 8}],
)
def test_pixels_that_are_too_many_are_told_as_a_damaged_header(tags, film, to_dicom):
    error = refused(to_dicom(film.astype(np.uint16), **{"BitsStored": 12} | tags))
    assert error.reason == "damaged"
    assert f"has {2 * film.size} bytes" in str(error)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", JPEG_BASELINE])
@pytest.mark.parametrize(
    "behind", [b"\xff" * 4096, b"\xff" * 9, bytes(512), b"of another file" * 99]
)
def test_what_fills_up_a_recovered_file_does_not_matter(behind, syntax, film, encode, to_dicom):
    frame = encode(film, "JPEG") if syntax == JPEG_BASELINE else None
    data = to_dicom(film, frame=frame, syntax=syntax)
    filled = decode(data + behind, SPEC)
    assert np.array_equal(filled.pixels, decode(data, SPEC).pixels)
    assert filled.tags.age_years == 4.0


@pytest.mark.parametrize("behind", [b"\1\2", bytes(4096), b"padding "])
def test_some_bytes_and_zeros_behind_the_pixels_do_not_matter(behind, film, to_dicom):
    data = to_dicom(film, PixelData=film.tobytes() + behind)
    assert np.array_equal(decode(data, SPEC).pixels, film)


def test_a_cut_jpeg_ls_is_told_before_its_decoder_looks_for_its_end(film, to_dicom, monkeypatch):
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(to_dicom(film)))
    try:
        dataset.compress("1.2.840.10008.1.2.4.80")
    except RuntimeError:
        pytest.skip("no encoder for it is installed")
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    monkeypatch.setattr("pydicom.pixels.pixel_array", None)
    for share in (0.5, 0.9, 0.99):
        cut = frame[: int(share * len(frame))]
        data = to_dicom(film, frame=cut, syntax="1.2.840.10008.1.2.4.80")
        assert refused(data).reason == "truncated"


def test_every_cut_within_compressed_pixels_is_told_as_such(film, encode, to_dicom):
    data = to_dicom(film, frame=encode(film, "JPEG"), syntax=JPEG_BASELINE)
    frame = data.index(b"\xff\xd8\xff")
    for cut in range(frame, len(data), 97):
        assert refused(data[:cut]).reason == "truncated"


def test_without_pydicom_the_reason_names_the_fix(film, to_dicom, monkeypatch):
    data = to_dicom(film)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refused(data)
    assert error.reason == "dicom_extra_missing"
    assert "export the film as JPEG" in str(error)


def test_a_film_refused_for_want_of_the_extra_is_tried_again_once_it_is_there(tiny_model, tmp_path):
    from edge_xray.classifier import Classifier
    from edge_xray.results import Prediction, SkippedFilm
    from edge_xray.results_folder import ResultsFolder
    from edge_xray.scan import ScanOptions

    with ResultsFolder(tmp_path, Classifier(tiny_model), ScanOptions()) as results:
        for reason, again in (("dicom_extra_missing", True), ("damaged", False)):
            results.add(SkippedFilm(f"{reason}.dcm", "ab" * 32, reason, "why"))
            known = results.known(f"{reason}.dcm", "ab" * 32)
            assert (known is None) == again
            assert not isinstance(known, Prediction)


def test_a_video_is_refused_by_the_name_of_its_compression(film, to_dicom):
    error = refused(to_dicom(film, frame=b"\0" * 64, syntax="1.2.840.10008.1.2.4.102"))
    assert error.reason == "dicom_decoder_missing"
    assert "MPEG-4" in str(error)


@pytest.fixture
def plug_in(film, monkeypatch):
    """A decoder of lossless JPEG that pydicom finds, as one is that an engineer has installed."""
    from pydicom.pixels import get_decoder

    module = types.ModuleType("some_decoder")
    module.DECODER_DEPENDENCIES = {JPEG_LOSSLESS: ("some-decoder",)}
    module.is_available = lambda syntax: True
    module.decode = lambda frame, runner: film.tobytes()
    monkeypatch.setitem(sys.modules, "some_decoder", module)
    decoder = get_decoder(JPEG_LOSSLESS)
    decoder.add_plugin("some", ("some_decoder", "decode"))
    yield
    decoder.remove_plugin("some")


@pytest.fixture
def mislabelled(film, encode, to_dicom):
    """A file that says lossless JPEG, round a baseline one."""
    return to_dicom(film, frame=encode(film, "JPEG"), syntax=JPEG_LOSSLESS)


def test_what_the_own_decoder_does_not_read_goes_to_an_installed_one(plug_in, mislabelled, film):
    assert np.array_equal(decode(mislabelled, SPEC).pixels, film)


def test_a_damaged_lossless_jpeg_goes_to_no_other_decoder(plug_in, film, to_dicom):
    frame = b"\xff\xd8\xff\xc3\0\x0b\x08" + struct.pack(">HH", *film.shape) + b"\1\1\x11\0"
    frame += b"\xff\xda\0\x08\1\1\0\1\0\0" + bytes(40)
    assert refused(to_dicom(film, frame=frame, syntax=JPEG_LOSSLESS)).reason == "damaged"


@pytest.mark.parametrize("samples", [1, 3])
def test_without_a_decoder_a_nurse_is_told_to_export_the_film(samples, mislabelled, film, to_dicom):
    colours = np.dstack([film] * 3)
    data = (
        mislabelled if samples == 1 else to_dicom(colours, frame=b"\0" * 64, syntax=JPEG_LOSSLESS)
    )
    error = refused(data)
    assert error.reason == "dicom_decoder_missing"
    assert "export the film uncompressed" in str(error)
    assert not any(word in str(error) for word in ("pip", "gdcm", "pylibjpeg", "requires"))


CHILDREN = IntendedUse(age_min_years=1.0, age_max_years=5.0)

BORN = {"PatientAge": None}
"""Nothing but the dates says the age."""


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "002W"}, 14 / 365.2425),
        ({"PatientAge": "010D"}, 10 / 365.2425),
        ({"PatientAge": "364D"}, 364 / 365),
        ({"PatientAge": "abc", "PatientBirthDate": "20180301", "StudyDate": "20200301"}, 2.0),
        ({"PatientAge": None, "PatientBirthDate": "20180301"}, None),
        ({"PatientAge": None, "PatientBirthDate": "20200301", "StudyDate": "20180301"}, None),
        ({"PatientAge": "045"}, 45.0),
        ({"PatientAge": "45 Y"}, 45.0),
        ({"PatientAge": "0045Y"}, 45.0),
        ({"PatientAge": "18 months"}, 1.5),
        ({**BORN, "PatientBirthDate": "20180301", "SeriesDate": "20200301"}, 2.0),
        ({**BORN, "PatientBirthDate": "20180301", "AcquisitionDateTime": "20200301081500.5"}, 2.0),
        ({**BORN, "PatientBirthDate": "20200110", "StudyDate": "20200412"}, 3 / 12),
        ({**BORN, "PatientBirthDate": "2018", "StudyDate": "20200301"}, 14 / 12),
        ({**BORN, "PatientBirthDate": "20180100", "StudyDate": "20200301"}, 25 / 12),
        ({**BORN, "PatientBirthDate": "201812", "StudyDate": "20200301"}, 14 / 12),
        ({**BORN, "PatientBirthDate": "2018.03.01", "StudyDate": "2020-03-01"}, 2.0),
    ],
)
def test_age_comes_from_the_age_or_else_from_the_dates(tags, expected, film, to_dicom):
    age = decode(to_dicom(film, **tags), SPEC).tags.age_years
    assert age == (None if expected is None else pytest.approx(expected, abs=0.01))


def test_of_several_dates_the_study_s_counts_first_and_then_those_nearest_the_film(film, to_dicom):
    dates = {
        "StudyDate": "20190301",
        "AcquisitionDate": "20200301",
        "ContentDate": "20210301",
        "SeriesDate": "20220301",
        "AcquisitionDateTime": "20230301081500",
    }
    for years in range(1, 6):
        tags = decode(to_dicom(film, **BORN, PatientBirthDate="20180301", **dates), SPEC).tags
        assert tags.age_years == years
        del dates[next(iter(dates))]


@pytest.mark.parametrize(
    ("born", "taken", "verdict"),
    [
        ("20210505", "20210505", "0 months old"),
        ("20210505", "20220504", "11 months old"),
        ("20210505", "20220505", None),
        ("20200505", "20210505", None),
        ("20200229", "20210301", None),
        ("20170301", "20230228", None),
        ("20170301", "20230301", "6 years old"),
        ("20160301", "20220301", "6 years old"),
        ("364D", None, "11 months old"),
        ("365D", None, None),
        ("312W", None, None),
        ("071M", None, None),
        ("072M", None, "6 years old"),
    ],
)
def test_the_first_and_the_sixth_birthday_are_the_limits(born, taken, verdict, film, to_dicom):
    tags = {"PatientAge": born}
    if taken is not None:
        tags = {"PatientAge": None, "PatientBirthDate": born, "StudyDate": taken}
    report = check_intended_use(decode(to_dicom(film, **tags), SPEC).tags, CHILDREN)
    assert report.reason == (None if verdict is None else "other_age")
    assert (verdict or "") in report.message


@pytest.mark.parametrize(
    ("born", "verdict"),
    [
        ("1980", "at least 39 years old"),
        ("198006", "at least 39 years old"),
        ("19800000", "at least 39 years old"),
        ("2014", None),
        ("2015", None),
        ("2019", None),
        ("201905", "at most 10 months old"),
    ],
)
def test_a_birth_date_of_a_year_alone_refuses_who_is_out_of_range_on_every_day_of_it(
    born, verdict, film, to_dicom
):
    data = to_dicom(film, PatientAge=None, PatientBirthDate=born, StudyDate="20200315")
    report = check_intended_use(decode(data, SPEC).tags, CHILDREN)
    assert report.reason == (None if verdict is None else "other_age")
    assert (verdict or "") in report.message


@pytest.mark.parametrize(
    ("born", "taken", "verdict"),
    [
        ("20140615", "2020", None),
        ("20190615", "2020", None),
        ("2014", "2020", None),
        ("2013", "2020", "at least 6 years old"),
        ("20200301", "2020", "at most 9 months old"),
        ("20140316", "202003", None),
        ("20140301", "202003", "6 years old"),
    ],
)
def test_a_study_date_of_a_year_alone_refuses_who_is_out_of_range_on_every_day_of_it(
    born, taken, verdict, film, to_dicom
):
    data = to_dicom(film, PatientAge=None, PatientBirthDate=born, StudyDate=taken)
    report = check_intended_use(decode(data, SPEC).tags, CHILDREN)
    assert report.reason == (None if verdict is None else "other_age")
    assert (verdict or "") in report.message


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientAge": "Y045"},
        {**BORN, "PatientBirthDate": "01/02/1980", "StudyDate": "20200315"},
        {**BORN, "PatientBirthDate": "20210101", "StudyDate": "20200315"},
    ],
)
def test_an_age_that_cannot_be_read_is_a_warning(tags, film, to_dicom):
    report = check_intended_use(decode(to_dicom(film, **tags), SPEC).tags, CHILDREN)
    assert report.reason is None
    assert "the age that the file gives cannot be read" in report.warnings[0]
    assert (
        check_intended_use(decode(to_dicom(film, **tags), SPEC).tags, IntendedUse()).warnings == ()
    )


@pytest.mark.parametrize(
    ("keyword", "code", "meaning", "read"),
    [
        ("AnatomicRegionSequence", "T-D3000", "Chest", "CHEST"),
        ("AnatomicRegionSequence", "816094009", "Chest", "CHEST"),
        ("AnatomicRegionSequence", "T-D4000", "Abdomen", "ABDOMEN"),
        ("AnatomicRegionSequence", "16982005", "", "16982005"),
        ("ViewCodeSequence", "R-10206", "antero-posterior", "AP"),
        ("ViewCodeSequence", "X1", "Antero-Posterior", "AP"),
        ("ViewCodeSequence", "X1", "postero anterior", "PA"),
        ("ViewCodeSequence", "X1", "ap", "AP"),
        ("ViewCodeSequence", "X1", "PA", "PA"),
        ("ViewCodeSequence", "399067008", "lateral projection", "LATERAL PROJECTION"),
        ("ViewCodeSequence", "R-10220", "", "R10220"),
    ],
)
def test_a_code_of_another_region_or_view_is_read_by_what_it_means(
    keyword, code, meaning, read, film, to_dicom
):
    item = pydicom.Dataset()
    item.CodeValue, item.CodeMeaning = code, meaning
    blank = {"BodyPartExamined": None, "ViewPosition": None}
    tags = decode(to_dicom(film, **blank, **{keyword: [item]}), SPEC).tags
    region = keyword == "AnatomicRegionSequence"
    assert (tags.body_part if region else tags.view) == read
    fits = read in ("CHEST", "AP", "PA")
    chest = IntendedUse(body_part=("CHEST",), views=("AP", "PA"))
    assert (check_intended_use(tags, chest).reason is None) == fits


def test_only_allow_listed_tags_leave_the_file(film, to_dicom):
    tags = decode(to_dicom(film), SPEC).tags
    assert tags == DicomTags("DX", "CHEST", "AP", 4.0, "patient-17")
    assert "patient-17" not in repr(tags)


def test_a_pseudonym_is_stable_keyed_and_absent_without_an_id():
    one = DicomTags(patient_id="17")
    assert one.pseudonym(b"k" * 16) == one.pseudonym(b"k" * 16) != one.pseudonym(b"l" * 16)
    assert len(one.pseudonym(b"k" * 16)) == 16
    assert DicomTags().pseudonym(b"k" * 16) == ""


@pytest.mark.parametrize(
    ("view", "codes"),
    [
        ("AP", ("399348003", "R-10206")),
        ("PA", ("272479007", "R-10214")),
        ("LL", ("399173006", "R-10236")),
        ("RL", ("399198007", "R-10232")),
    ],
)
def test_view_and_chest_are_also_read_from_codes(view, codes, film, to_dicom):
    from pydicom.dataset import Dataset

    def coded(*values):
        items = [Dataset() for _ in values]
        for item, value in zip(items, values, strict=True):
            item.CodeValue = value
        return items

    for code, region in zip(codes, ("51185008", "T-28000"), strict=True):
        data = to_dicom(
            film,
            ViewPosition=None,
            BodyPartExamined=None,
            ViewCodeSequence=coded(code),
            AnatomicRegionSequence=coded(region, "T-D4000"),  # the first counts
        )
        tags = decode(data, SPEC).tags
        assert (tags.view, tags.body_part) == (view, "CHEST")


def test_tags_with_markup_or_formulas_are_reduced_to_code_characters(film, to_dicom):
    tags = decode(to_dicom(film, BodyPartExamined="<b>=CHEST", ViewPosition="AP\\PA"), SPEC).tags
    assert (tags.body_part, tags.view) == ("BCHEST", "AP")


@pytest.mark.parametrize(
    ("written", "charset", "encoding", "read"),
    [
        ("TÓRAX", "ISO_IR 100", "latin-1", "TORAX"),
        ("Tórax", "ISO_IR 192", "utf-8", "TORAX"),
        ("PULMÃO", "ISO_IR 100", "latin-1", "PULMAO"),
        ("PULMÃO", "ISO_IR 192", "utf-8", "PULMAO"),
        ("PULMÃO", "", "utf-8", "PULMAO"),
        # Another character set than it says, and one that nobody knows.
        ("TÓRAX", "ISO_IR 192", "latin-1", "TORAX"),
        ("TÓRAX", "ISO_IR 999", "latin-1", "TORAX"),
        # No letter that a code string may have: it says nothing, and no accent becomes one.
        ("КИСТЬ", "ISO_IR 144", "iso8859-5", ""),
        ("КИСТЬ", "ISO_IR 192", "utf-8", ""),
    ],
)
def test_accents_are_taken_off_however_they_are_stored(
    written, charset, encoding, read, film, to_dicom
):
    raw = written.encode(encoding)
    place = b"=" * (len(raw) + len(raw) % 2)
    data = to_dicom(film, BodyPartExamined=place.decode(), SpecificCharacterSet=charset)
    assert data.count(place) == 1
    assert decode(data.replace(place, raw.ljust(len(place))), SPEC).tags.body_part == read
