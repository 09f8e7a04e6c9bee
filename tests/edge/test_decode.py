"""Every way a file can hold a film, and every way it can fail to: pixels or a reason, nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import time
import tracemalloc
import types
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edge_xray import jpeg_whole
from edge_xray.decode import REASONS, decode
from edge_xray.errors import FilmError
from edge_xray.input_spec import InputSpec
from edge_xray.isolate import IN_THREAD_BYTES
from edge_xray.modes import wide_to_uint8
from edge_xray.preprocess import preprocess, reduction_factor

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
]

GREY, COLOUR = InputSpec(64, 64, 1), InputSpec(64, 64, 3)


@pytest.fixture(scope="module")
def film(draw_film):
    return draw_film("bacterial", 4)


def refused(data, spec: InputSpec = GREY) -> FilmError:
    with pytest.raises(FilmError) as caught:
        decode(data, spec)
    assert caught.value.reason in REASONS
    assert len(str(caught.value)) > 20
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_lossless_formats_give_the_pixels_stored(kind, mode, film, encode):
    image = Image.fromarray(film).convert(mode)
    decoded = decode(encode(image, kind), GREY)
    assert np.array_equal(decoded.pixels, film)
    assert (decoded.format, decoded.width, decoded.height) == (kind, 110, 90)
    assert (decoded.colour, decoded.tags) == (0.0, None)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "1"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("TIFF", "1"),
        ("TIFF", "L"),
        ("TIFF", "P"),
        ("TIFF", "RGB"),
        ("TIFF", "RGBA"),
        ("TIFF", "CMYK"),
        ("TIFF", "LAB"),
        ("TIFF", "I;16"),
        ("TIFF", "I"),
        ("TIFF", "F"),
        ("BMP", "1"),
        ("BMP", "P"),
        ("JPEG", "L"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("JPEG", "YCbCr"),
    ],
)
def test_every_mode_shows_the_film_in_both_kinds_of_input(kind, mode, channels, film, encode):
    grey = Image.fromarray(film)
    if mode in ("I;16", "I"):
        image = Image.fromarray(
            (film.astype(np.int32) * 257).astype("<u2" if ";" in mode else "<i4")
        )
    elif mode == "F":
        image = Image.fromarray((film / 255).astype(np.float32))
    elif mode == "LAB":
        image = Image.merge("LAB", (grey, Image.new("L", grey.size), Image.new("L", grey.size)))
    elif mode == "1":
        image = grey.point(lambda value: 255 if value > 100 else 0).convert("1")
    elif mode in ("LA", "RGBA", "CMYK", "YCbCr"):
        image = grey.convert("RGB").convert(mode) if mode != "LA" else grey.convert(mode)
    else:
        image = grey.convert(mode)
    decoded = decode(encode(image, kind), InputSpec(64, 64, channels))
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == ((90, 110) if channels == 1 else (90, 110, 3))
    luma = decoded.pixels if channels == 1 else decoded.pixels[..., 1]
    expected = np.where(film > 100, 255, 0) if mode == "1" else film
    off = np.abs(luma.astype(int) - expected)
    assert off.mean() < (8 if kind == "JPEG" else 1.5)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
def test_wide_grey_keeps_its_most_significant_bits(bits, film, encode):
    wide = film.astype(np.uint16) << (bits - 8)
    wide[0, 0] = 2**bits - 1
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(decode(encode(wide, kind), GREY).pixels[1:], film[1:])
        # A film that uses fewer than 8 bits stays as dark as it is.
        dark = (film // 8).astype(np.uint16)
        assert np.array_equal(decode(encode(dark, kind), GREY).pixels, dark)


def test_floats_from_0_to_1_keep_their_place_and_others_are_spread(encode):
    ramp = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32), (64, 1))
    assert decode(encode(ramp, "TIFF"), GREY).pixels[0, [0, -1]].tolist() == [51, 204]
    for other in (ramp * 900 - 300, ramp * 4095, ramp * 1.5, ramp - 0.3):
        assert decode(encode(other, "TIFF"), GREY).pixels[0, [0, -1]].tolist() == [0, 255]
    dark = np.maximum(ramp - 0.3, 0.0)  # from 0 on, and not to 1
    assert decode(encode(dark, "TIFF"), GREY).pixels[0, [0, -1]].tolist() == [0, 128]
    for even in (0.0, 5.0):
        assert decode(encode(np.full_like(ramp, even), "TIFF"), GREY).pixels.max() == 0
    for bad in (np.nan, np.inf, -np.inf):
        ramp[3, 3] = bad
        assert refused(encode(ramp, "TIFF")).reason == "damaged"


def test_big_tiff_is_tiff(film, encode):
    data = encode(film, "TIFF", big_tiff=True)
    assert data[2] == 43
    assert np.array_equal(decode(data, GREY).pixels, film)


def with_entry(tiff: bytes, tag: int, change) -> bytes:
    """A little-endian TIFF in which an array of longs or shorts is changed; it may become shorter."""
    (at,) = struct.unpack_from("<I", tiff, 4)
    while (entry := struct.unpack_from("<HHI", tiff, at + 2))[0] != tag:
        at += 12
    letter, size = {3: ("H", 2), 4: ("I", 4)}[entry[1]]
    inside = size * entry[2] <= 4
    start = at + 10 if inside else struct.unpack_from("<I", tiff, at + 10)[0]
    values = change(list(struct.unpack_from(f"<{entry[2]}{letter}", tiff, start)))
    assert inside or size * len(values) > 4
    data = bytearray(tiff)
    struct.pack_into("<I", data, at + 6, len(values))
    struct.pack_into(f"<{len(values)}{letter}", data, start, *values)
    return bytes(data)


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_deflate", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_tiff_that_lacks_a_strip_is_refused(compression, mode, film, encode):
    image = Image.fromarray(film).convert(mode)
    whole = encode(image, "TIFF", compression=compression, tiffinfo={278: 16})
    assert decode(whole, GREY).pixels.shape == (90, 110)
    for change in (
        lambda offsets: offsets[:-1],
        lambda offsets: [*offsets[:2], 0, *offsets[3:]],
        lambda offsets: [*offsets[:-1], 0],
    ):
        assert refused(with_entry(whole, 273, change)).reason == "truncated"


@pytest.mark.parametrize("rows", [1, 7, 90, 91, 2**32 - 1])
@pytest.mark.parametrize("big", [False, True])
def test_strips_of_any_height_make_a_whole_tiff(rows, big, film, encode):
    data = encode(film, "TIFF", tiffinfo={278: min(rows, 2**31)}, big_tiff=big)
    if rows > 90 and not big:
        data = with_entry(data, 278, lambda _: [rows])
    assert np.array_equal(decode(data, GREY).pixels, film)


def test_a_jpeg_in_the_oldest_way_of_tiff_need_not_name_its_strips(film, encode):
    jpeg = encode(Image.fromarray(film).convert("RGB"), "JPEG", quality=95, subsampling=0)
    shorts = ((258, 8), (259, 6), (262, 6), (277, 3), (512, 1))
    longs = ((256, 110), (257, 90), (513, 8), (514, len(jpeg)))
    unnamed = ((273, 0), (278, 90), (279, 0))
    for strips in ((), unnamed):
        entries = [
            *(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts),
            *(struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*longs, *strips)),
        ]
        entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
        data = struct.pack("<2sHI", b"II", 42, 8 + len(jpeg)) + jpeg
        data += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
        pixels = decode(data, GREY).pixels
        assert pixels.shape == (90, 110)
        assert np.abs(pixels.astype(int) - film).mean() < 2


def test_a_tiff_that_does_not_say_how_high_its_strip_is_has_one(film, encode):
    data = encode(film, "TIFF")
    entry, private = (struct.pack("<HHI", tag, 4, 1) for tag in (278, 40000))
    assert data.count(entry) == 1
    assert np.array_equal(decode(data.replace(entry, private), GREY).pixels, film)


def tiled(film: np.ndarray, side: int, offsets=lambda those: those) -> bytes:
    """A grey TIFF in square tiles, the last of each row and column filled up."""
    across, down = (-(-length // side) for length in film.shape[::-1])
    filled = np.zeros((down * side, across * side), np.uint8)
    filled[: film.shape[0], : film.shape[1]] = film
    tiles = filled.reshape(down, side, across, side).swapaxes(1, 2).reshape(-1, side * side)
    count = len(tiles)
    start = 8 + 4 * 2 * count
    at = offsets([start + index * side * side for index in range(count)])
    values = [(256, film.shape[1]), (257, film.shape[0]), (258, 8), (259, 1), (262, 1), (277, 1)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*values, (322, side)]]
    entries += [
        struct.pack("<HHII", 323, 4, 1, side),
        struct.pack("<HHII", 324, 4, len(at), 8),
        struct.pack("<HHII", 325, 4, count, 8 + 4 * count),
    ]
    return (
        struct.pack("<2sHI", b"II", 42, start + tiles.size)
        + struct.pack(f"<{count}I", *at, *[0] * (count - len(at)))
        + struct.pack(f"<{count}I", *[side * side] * count)
        + tiles.tobytes()
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + bytes(4)
    )


@pytest.mark.parametrize("kind", ["BMP", "DICOM", "DICOM of 12 bits", "JPEG", "PNG", "TIFF"])
def test_a_film_that_was_copied_as_text_is_damaged_and_says_so(kind, encode, to_dicom):
    film = np.random.default_rng(3).integers(0, 256, (200, 200), np.uint8)
    if kind.startswith("DICOM"):
        stored = film.astype(np.uint16) << 4 if "12" in kind else film
        whole = to_dicom(stored, BitsStored=12 if "12" in kind else 8)
    else:
        whole = encode(film, kind)
    assert decode(whole, GREY).pixels.shape == film.shape
    error = refused(whole.replace(b"\n", b"\r\n"))
    assert error.reason == "damaged"
    assert "as if it were text" in str(error)


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("rows", [16, 1000])
def test_a_deflated_tiff_with_a_hole_is_damaged(rows, predictor, film, encode):
    tags = {278: rows, 317: predictor}
    whole = encode(film, "TIFF", compression="tiff_adobe_deflate", tiffinfo=tags)
    assert np.array_equal(decode(whole, GREY).pixels, film)
    with Image.open(io.BytesIO(whole)) as image:
        strips = list(zip(image.tag_v2[273], image.tag_v2[279], strict=True))
    for start, length in strips:
        for at in range(start + 2, start + length - 40, 89):
            holed = whole[:at] + bytes(32) + whole[at + 32 :]
            assert refused(holed).reason == "damaged", at


@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
@pytest.mark.parametrize("size", [512, 4096, 16384])
def test_a_deflated_tiff_that_is_full_before_its_data_end_is_damaged(
    filling, size, draw_film, encode
):
    film = draw_film("viral", 7, height=332, width=440)
    whole = encode(film, "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 148})
    for at in range(8192, len(whole) - size - 4096, 4096):
        holed = whole[:at] + filling * size + whole[at + size :]
        assert refused(holed).reason == "damaged", at


@pytest.mark.parametrize("compression", ["jpeg", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("rows", [32, 664])
def test_a_tiff_with_a_piece_of_other_data_is_damaged(compression, mode, rows, draw_film, encode):
    film = Image.fromarray(draw_film("viral", 7, height=664, width=880))
    image = film.convert("RGB").convert(mode)
    whole = encode(image, "TIFF", compression=compression, tiffinfo={278: rows})
    assert decode(whole, GREY).pixels.shape == (166, 220)
    with Image.open(io.BytesIO(whole)) as opened:
        strips = list(zip(opened.tag_v2[273], opened.tag_v2[279], strict=True))
    pieces = bytes(300), b"Patients of the ward" * 15
    read = []
    for start, length in strips[:: max(1, len(strips) // 4)]:
        for at in np.linspace(start + length // 9, start + length // 2, 3).astype(int):
            for piece in pieces:
                try:
                    decode(whole[:at] + piece + whole[at + 300 :], GREY)
                    read.append((at, piece[:4]))
                except FilmError as error:
                    assert error.reason in {"damaged", "truncated"}
    assert len(read) <= 1, read  # one that gives as many pixels as there were is not seen


@pytest.mark.parametrize("compression", ["packbits", "tiff_adobe_deflate", "tiff_lzw"])
def test_a_packed_tiff_may_have_the_lowest_bit_of_each_byte_first(compression, film, encode):
    data = encode(film, "TIFF", compression=compression, tiffinfo={266: 2, 278: 16})
    assert np.array_equal(decode(data, GREY).pixels, film)
    with Image.open(io.BytesIO(data)) as image:
        assert image.tag_v2[266] == 2
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    if compression != "tiff_lzw":
        at = start + length // 2
        assert refused(data[:at] + bytes(40) + data[at + 40 :]).reason == "damaged"


@pytest.mark.parametrize("compression", ["jpeg", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("rows", [8, 90])
def test_a_packed_tiff_that_is_whole_is_read(compression, mode, rows, film, encode):
    image = Image.fromarray(film).convert("RGB").convert(mode)
    if (compression, mode) != ("jpeg", "1"):
        data = encode(image, "TIFF", compression=compression, tiffinfo={278: rows})
        assert decode(data, GREY).pixels.shape == film.shape


def test_a_tiff_that_is_not_packed_is_not_held_twice(encode):
    data = encode(Image.new("RGB", (1000, 1000), "grey"), "TIFF")
    tracemalloc.start()
    try:
        decode(data, InputSpec(64, 64))
        assert tracemalloc.get_traced_memory()[1] < len(data) / 2
    finally:
        tracemalloc.stop()


def test_a_packed_tiff_may_say_once_how_many_bits_all_colours_have(film, encode):
    data = encode(Image.fromarray(film).convert("RGB"), "TIFF", compression="packbits")
    entry = data.index(struct.pack("<HHI", 258, 3, 3))
    once = data[:entry] + struct.pack("<HHIHH", 258, 3, 1, 8, 0) + data[entry + 12 :]
    assert np.array_equal(decode(once, GREY).pixels, film)


def test_a_packed_tiff_with_fewer_samples_of_its_colours_is_read(film):
    units = film.reshape(45, 2, 55, 2).swapaxes(1, 2).reshape(45, 55, 4)
    rows = np.concatenate((units, np.full((45, 55, 2), 128, np.uint8)), axis=2).tobytes()
    packed = b"".join(b"\x6d" + rows[at : at + 110] for at in range(0, len(rows), 110))
    shorts = ((258, 8), (259, 32773), (262, 6), (277, 3), (278, 90))
    longs = ((256, 110), (257, 90), (273, 8), (279, len(packed)))
    entries = [
        *(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts),
        *(struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs),
        struct.pack("<HHIHH", 530, 3, 2, 2, 2),
    ]
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    data = struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed
    data += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    assert np.abs(decode(data, GREY).pixels.astype(int) - film).max() <= 1


def test_a_tiff_that_lacks_a_tile_is_refused(film):
    assert np.array_equal(decode(tiled(film, 32), GREY).pixels, film)
    for change in (lambda those: those[:-1], lambda those: [*those[:2], 0, *those[3:]]):
        assert refused(tiled(film, 32, change)).reason == "truncated"


def negative(tiff: bytes) -> bytes:
    """A grey TIFF whose tag says that its least value is white."""
    black_is_zero = struct.pack("<HHIH", 262, 3, 1, 1)
    assert tiff.count(black_is_zero) == 1
    return tiff.replace(black_is_zero, struct.pack("<HHIH", 262, 3, 1, 0))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("bits", [8, 12, 16, 32])
def test_a_tiff_stored_as_a_negative_shows_the_film(bits, compression, film, encode):
    if bits == 32:
        stored = 1 - film.astype(np.float32) / 255
    elif bits == 8:
        stored = 255 - film
    else:
        stored = (2**bits - 1 - film.astype(np.int32) * 2 ** (bits - 8)).astype(np.uint16)
    data = negative(encode(stored, "TIFF", compression=compression))
    assert np.array_equal(decode(data, GREY).pixels, film)


def test_wide_to_uint8_refuses_negative_values():
    with pytest.raises(FilmError, match="negative"):
        wide_to_uint8(np.array([[-1, 5]], np.int32))


@given(st.integers(1, 65535), st.integers(0, 2**32 - 1))
def test_wide_to_uint8_keeps_the_order_of_greys(top, seed):
    values = np.random.default_rng(seed).integers(0, top + 1, (5, 5))
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(wide_to_uint8(values).ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, film, encode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(film)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(undo[orientation])
    decoded = decode(encode(stored, "JPEG", quality=98, exif=exif), GREY)
    assert (decoded.width, decoded.height) == (110, 90)
    assert np.abs(decoded.pixels.astype(int) - film).mean() < 2
    assert ImageOps.exif_transpose(
        Image.open(io.BytesIO(encode(stored, "PNG", exif=exif)))
    ).size == (
        110,
        90,
    )


@pytest.mark.parametrize("sides", [(400, 100), (100, 400)])
def test_a_jpeg_on_its_side_is_reduced_as_its_png_is(sides, draw_film, encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(draw_film("viral", 7, height=1600, width=3200))
    jpeg, png = (
        decode(encode(stored, kind, exif=exif), InputSpec(*sides)) for kind in ("JPEG", "PNG")
    )
    assert (jpeg.width, jpeg.height) == (png.width, png.height) == (1600, 3200)
    assert jpeg.pixels.shape == png.pixels.shape


def turned(order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block that says: stored on its side, turn it clockwise."""
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *((6, 0) if kind == 3 else (6,)))
    return (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1)
        + value
        + bytes(4)
    )


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk, right behind its header."""
    return png[:33] + png_chunk(kind, body) + png[33:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("holder", ["JPEG", "PNG", "PNG text"])
def test_orientation_is_read_wherever_it_stands(holder, kind, order, film, encode):
    side = np.ascontiguousarray(np.rot90(film))
    exif = turned(order, kind)
    if holder == "JPEG":
        data = with_segment(encode(side, "JPEG", quality=98), 0xE1, b"Exif\0\0" + exif)
    elif holder == "PNG":
        data = with_chunk(encode(side, "PNG"), b"eXIf", exif)
    else:
        text = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
        data = with_chunk(encode(side, "PNG"), b"tEXt", b"Raw profile type exif\0" + text)
    decoded = decode(data, GREY)
    assert (decoded.width, decoded.height) == (110, 90)
    assert np.abs(decoded.pixels.astype(int) - film).max() < 12


def test_orientation_in_xmp_alone_is_read(film, encode):
    side = np.ascontiguousarray(np.rot90(film))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    jpeg = with_segment(encode(side, "JPEG"), 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    png = with_chunk(encode(side, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    for data in (jpeg, png):
        assert decode(data, GREY).width == 110


def test_a_tiff_on_its_side_is_told_in_its_upright_size(film, encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(encode(np.ascontiguousarray(np.rot90(film)), "TIFF", exif=exif), GREY)
    assert (decoded.width, decoded.height) == (110, 90)
    assert np.array_equal(decoded.pixels, film)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"rubbish, no TIFF",
        bytes(64),
        b"II*\0\x08\0\0\0\x05\0",
        b"II*\0\xff\xff\xff\xff" + bytes(20),
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0" + bytes(4),
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(4),
    ],
)
def test_a_broken_exif_block_does_not_break_the_film(exif, film, encode):
    jpeg, png = encode(film, "JPEG"), encode(film, "PNG")
    for whole, data in (
        (jpeg, with_segment(jpeg, 0xE1, b"Exif\0\0" + exif)),
        (png, with_chunk(png, b"eXIf", exif)),
        (png, with_chunk(png, b"tEXt", b"Raw profile type exif\0\nexif\n 9\nno hex")),
    ):
        assert np.array_equal(decode(data, GREY).pixels, decode(whole, GREY).pixels)


def test_an_exif_block_that_claims_very_much_costs_little(film, encode):
    entries, region = 2000, 50_000
    start = 8 + 2 + 12 * entries + 4
    directory = b"".join(struct.pack("<HHII", 1 + tag, 7, region, start) for tag in range(entries))
    bomb = b"II*\0" + struct.pack("<IH", 8, entries) + directory + bytes(4 + region)
    jpeg = encode(film, "JPEG")
    for at in range(len(bomb) // 65_000 * 65_000, -1, -65_000):
        jpeg = with_segment(jpeg, 0xE1, b"Exif\0\0" + bomb[at : at + 65_000])
    for data in (jpeg, with_chunk(encode(film, "PNG"), b"eXIf", bomb)):
        tracemalloc.start()
        try:
            decode(data, GREY)
            assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
        finally:
            tracemalloc.stop()


def test_a_png_whose_exif_is_a_text_of_line_feeds_costs_little(film, encode):
    text = zlib.compress(b"\n" * (15 * 2**20))
    png = with_chunk(encode(film, "PNG"), b"zTXt", b"Raw profile type exif\0\0" + text)
    tracemalloc.start()
    try:
        assert decode(png, GREY).width == 110
        assert tracemalloc.get_traced_memory()[1] < IN_THREAD_BYTES
    finally:
        tracemalloc.stop()


def test_transparency_lies_on_black(film, encode):
    image = Image.fromarray(film).convert("RGBA")
    image.putalpha(
        Image.fromarray(np.where(np.arange(110) < 30, 0, 255).astype(np.uint8)[None].repeat(90, 0))
    )
    pixels = decode(encode(image, "PNG"), GREY).pixels
    assert pixels[:, :30].max() == 0
    assert np.array_equal(pixels[:, 30:], film[:, 30:])


def wide_png(samples: np.ndarray, colour: int, *, see_through: bytes = b"") -> bytes:
    """A PNG of 16 bits a sample, whose rows use every filter in turn."""
    height, width, channels = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1).astype(np.int32)
    step = 2 * channels
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    left, corner = (
        np.hstack([np.zeros((height, step), np.int32), those[:, :-step]]) for those in (rows, above)
    )
    guess = left + above - corner
    off = [abs(guess - those) for those in (left, above, corner)]
    paeth = np.where(
        (off[0] <= off[1]) & (off[0] <= off[2]), left, np.where(off[1] <= off[2], above, corner)
    )
    filters = [0 * rows, left, above, (left + above) // 2, paeth]
    body = b"".join(
        bytes([y % 5]) + ((rows[y] - filters[y % 5][y]) % 256).astype(np.uint8).tobytes()
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + (png_chunk(b"tRNS", see_through) if see_through else b"")
        + png_chunk(b"IDAT", zlib.compress(body))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("spec", [GREY, COLOUR])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_a_wide_png_is_the_same_film_in_grey_in_colour_and_with_alpha(bits, spec, film, encode):
    wide = film.astype(np.uint16) << (bits - 8)
    wide[0, 0] = 2**bits - 1
    plain = decode(encode(wide, "PNG"), spec).pixels
    opaque = np.full_like(wide, 65535)
    for channels, colour in (
        ([wide], 0),
        ([wide] * 3, 2),
        ([wide, opaque], 4),
        ([wide] * 3 + [opaque], 6),
    ):
        decoded = decode(wide_png(np.dstack(channels), colour), spec)
        assert np.array_equal(decoded.pixels, plain)
        assert (decoded.width, decoded.height, decoded.colour) == (110, 90, 0.0)


def test_colours_of_a_wide_png_keep_their_places(film):
    # The darkest of them needs 8 bits only, the brightest 12.
    channels = [film.astype(np.uint16) * 16, 4080 - film.astype(np.uint16) * 16]
    channels += [film.astype(np.uint16)]
    channels[0][0, 0] = 4095
    pixels = decode(wide_png(np.dstack(channels), 2), COLOUR).pixels
    assert np.array_equal(pixels[1:], np.dstack([film, 255 - film, film >> 4])[1:])


@pytest.mark.parametrize("bits", [8, 12])
def test_one_transparent_value_is_the_same_film_as_alpha(bits, film, encode):
    shown = np.minimum(film, 250)
    shown[:, :30] = 255
    black = np.where(shown == 255, 0, shown)
    clear = np.where(shown == 255, 0, 255).astype(np.uint8)
    if bits == 8:
        grey, mask = Image.fromarray(shown), Image.fromarray(clear)
        files = [
            encode(Image.merge("LA", (grey, mask)), "PNG"),
            encode(grey, "PNG", transparency=255),
            encode(grey.convert("RGB"), "PNG", transparency=(255, 255, 255)),
            encode(grey.convert("P"), "PNG", transparency=255),
        ]
    else:
        # The film has 12 bits; its clear surround has 16 and must not count as the brightest.
        wide = np.where(shown == 255, 65535, shown.astype(np.uint16) * 16).astype(np.uint16)
        wide[0, 40] = 4095
        alpha = np.where(shown == 255, 0, 65535).astype(np.uint16)
        files = [
            wide_png(np.dstack([wide, alpha]), 4),
            wide_png(wide[..., None], 0, see_through=b"\xff" * 2),
            wide_png(np.dstack([wide] * 3), 2, see_through=b"\xff" * 6),
        ]
    for data in files:
        assert np.array_equal(decode(data, GREY).pixels[1:], black[1:])


@pytest.mark.parametrize("channels", [1, 3])
def test_what_shows_through_by_half_is_half_as_bright_at_any_depth(channels, film, encode):
    half = np.where(np.arange(110) < 50, 128, 255).astype(np.uint8)[None].repeat(90, 0)
    narrow = np.dstack([film] * channels + [half])
    shown = decode(encode(narrow, "PNG"), GREY).pixels.astype(int)
    wide = wide_png(narrow.astype(np.uint16) * 257, 4 if channels == 1 else 6)
    assert np.abs(decode(wide, GREY).pixels - shown).max() <= 1
    assert np.abs(shown[:, :50] - film[:, :50] / 2).max() <= 2


@pytest.mark.parametrize("head", [b"iCCPp\0\0", b"zTXt\0\0", b"iTXtx\0\1\0\0\0"])
def test_a_png_of_many_texts_that_unpack_to_very_much_is_refused_at_once(head, film, encode):
    # Of these Pillow counts none: a profile, a text without a name, and one that is no UTF-8.
    text = head[4:] + zlib.compress(b"\xff" * (15 * 2**20))
    few, many = (
        encode(film, "PNG")[:33] + n * png_chunk(head[:4], text) + encode(film, "PNG")[33:]
        for n in (3, 40)
    )
    assert np.array_equal(decode(few, GREY).pixels, film)
    assert refused(many).reason == "damaged"


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_may_have_a_long_text_or_profile(kind, film, encode):
    whole = encode(film, "PNG")
    packed = zlib.compress(b"history of an editor " * 100_000)
    name = b"Raw\0\1\0\0\0" if kind == b"iTXt" else b"Raw\0\0"
    body = kind + name + packed
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert np.array_equal(decode(whole[:33] + chunk + whole[33:], GREY).pixels, film)


def test_a_wide_png_that_is_cut_damaged_or_interlaced_is_refused(film):
    data = wide_png(np.dstack([film.astype(np.uint16)] * 3), 2)
    header = struct.pack(">IIBBBBB", 110, 90, 16, 2, 0, 0, 1)
    assert refused(data[:8] + png_chunk(b"IHDR", header) + data[33:]).reason == "unsupported_mode"
    taller = struct.pack(">IIBBBBB", 110, 91, 16, 2, 0, 0, 0)
    assert refused(data[:8] + png_chunk(b"IHDR", taller) + data[33:]).reason == "truncated"
    rubbish = png_chunk(b"IDAT", bytes(50)) + png_chunk(b"IEND", b"")
    assert refused(data[:33] + rubbish).reason == "damaged"


def test_a_coloured_file_says_so_and_a_grey_one_in_rgb_does_not(film, encode):
    colourful = np.dstack([film, 255 - film, film // 3])
    for kind in ("JPEG", "PNG", "TIFF", "BMP"):
        assert decode(encode(colourful, kind), GREY).colour > 30
        assert decode(encode(np.dstack([film] * 3), kind), GREY).colour < 1


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize(
    ("size", "by"), [((300, 400), 2), ((640, 512), 4), ((1003, 1348), 4), ((2100, 1800), 8)]
)
def test_a_jpeg_decoded_at_reduced_scale_equals_the_png_to_a_grey_level(
    size, by, colour, progressive, draw_film, encode
):
    film = draw_film("normal", 9, height=size[0], width=size[1])
    stored = np.dstack([film] * 3) if colour else film
    jpeg = encode(stored, "JPEG", quality=92, progressive=progressive)
    whole = encode(Image.open(io.BytesIO(jpeg)).convert("L"), "PNG")
    one, other = decode(jpeg, GREY), decode(whole, GREY)
    assert one.pixels.shape == other.pixels.shape
    assert reduction_factor(size[1], size[0], GREY) == by
    off = np.abs(one.pixels.astype(int) - other.pixels)
    assert off.max() <= 2
    assert off.mean() < 0.5
    inputs = np.abs(preprocess(one.pixels, GREY).astype(int) - preprocess(other.pixels, GREY))
    assert inputs.max() <= 1


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(90, 110), (640, 512)])
def test_a_jpeg_stored_as_rgb_is_the_same_film_as_in_grey(
    size, progressive, named, draw_film, encode
):
    film = draw_film("viral", 3, height=size[0], width=size[1])
    stored = Image.fromarray(film).convert("RGB")
    data = encode(stored, "JPEG", quality=95, keep_rgb=True, progressive=progressive)
    if not named:  # then only the names of its components, R, G and B, tell
        adobe = data.index(b"\xff\xee")
        data = data[:adobe] + data[adobe + 16 :]
    grey = decode(encode(film, "JPEG", quality=95), GREY).pixels.astype(int)
    assert np.abs(decode(data, GREY).pixels - grey).max() <= 1
    assert np.abs(decode(data, COLOUR).pixels - grey[..., None]).max() <= 1


def test_colours_of_a_jpeg_stored_as_rgb_are_told(film, encode):
    colourful = np.dstack([film, 255 - film, film // 3])
    decoded = decode(encode(colourful, "JPEG", keep_rgb=True), GREY)
    assert decoded.colour > 30


def in_separate_scans(planes, encode, scans=None, **options) -> bytes:
    """A sequential JPEG of three components, each in a scan of its own."""
    greys = [encode(plane, "JPEG", quality=92, **options) for plane in planes]
    start, sos = greys[0].index(b"\xff\xc0"), [grey.index(b"\xff\xda") for grey in greys]
    size = greys[0][start + 4 : start + 9]
    components = b"".join(bytes([name, 0x11, 0]) for name in (1, 2, 3))
    frame = b"\xff\xc0\0\x11" + size + b"\x03" + components
    tables = greys[0][start + 13 : sos[0]]
    coded = [grey[at + 10 : -2] for grey, at in zip(greys, sos, strict=True)]
    return (
        greys[0][:start]
        + frame
        + tables
        + b"".join(
            b"\xff\xda\0\x08\x01" + bytes([1 + scan, 0, 0, 63, 0]) + coded[scan]
            for scan in (scans or range(3))
        )
        + b"\xff\xd9"
    )


@pytest.mark.parametrize("size", [(90, 110), (640, 512)])
def test_a_sequential_jpeg_with_a_scan_for_each_component_is_read(size, draw_film, encode):
    film = draw_film("normal", 5, height=size[0], width=size[1])
    plain = np.full_like(film, 128)
    data = in_separate_scans([film, plain, plain], encode)
    grey = decode(encode(film, "JPEG", quality=92), GREY).pixels.astype(int)
    assert np.abs(decode(data, GREY).pixels - grey).max() <= 1
    assert np.abs(decode(data, COLOUR).pixels - grey[..., None]).max() <= 1
    lacking = in_separate_scans([film, plain, plain], encode, scans=[0, 2])
    assert refused(lacking).reason == "truncated"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    "cover",
    [
        b"",
        b"\xff\xfe\0\x02" * 3000,  # more segments than are walked
        b"\xff\x05\xff\xff",  # a marker that libjpeg skips while it waits for a restart
    ],
)
def test_a_jpeg_of_very_many_scans_is_refused_at_once(cover, progressive, film, encode):
    if progressive:
        data = encode(film, "JPEG", progressive=True)
    else:
        data = in_separate_scans([film] * 3, encode)
    scan = data.index(b"\xff\xda")
    head = data[scan : scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")]
    restart = b"\xff\xdd\0\x04\0\x01"
    many = data[:scan] + restart + head + cover + head * 200 + data[scan:]
    started = time.perf_counter()
    assert refused(many).reason == ("damaged" if len(cover) > 99 else "too_large")
    assert time.perf_counter() - started < 2.0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"patient list\n" * 40, "not_an_image"),
        (b"<svg/>" * 100, "not_an_image"),
        (b"GIF89a" + bytes(60), "not_an_image"),
        (b"%PDF-1.7 " + bytes(90), "not_an_image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"II*\0" + bytes(40), "damaged"),
        (b"BM" + bytes(60), "damaged"),
    ],
)
def test_what_is_no_film_is_named(data, reason):
    assert refused(data).reason == reason


def test_an_even_grey_jpeg_is_whole(encode):
    assert decode(encode(Image.new("L", (90, 90), 128), "JPEG"), GREY).pixels.min() == 128


def test_the_name_does_not_decide_what_a_file_is(tmp_path, film, encode):
    path = tmp_path / "film.dcm"
    path.write_bytes(encode(film, "PNG"))
    assert decode(path, GREY).format == "PNG"


@pytest.mark.parametrize(("width", "height"), [(27, 500), (500, 27), (1, 1)])
def test_too_small_is_refused_with_the_size(width, height, encode):
    error = refused(encode(Image.new("L", (width, height)), "PNG"))
    assert error.reason == "too_small"
    assert f"{width}x{height}" in str(error)
    assert str(error).endswith("export it larger")


def png_claiming(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + body
        + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(90, 110), (664, 880), (1003, 1341)])
def test_a_jpeg_that_lost_a_piece_is_not_read_as_a_whole_film(mode, size, draw_film, encode):
    film = Image.fromarray(draw_film("viral", 7, height=size[0], width=size[1]))
    image = film.convert("RGB").convert(mode)
    data = encode(image, "JPEG", quality=90)
    assert (decode(data, GREY).height, decode(data, GREY).width) == size
    scan = data.index(b"\xff\xda") + 20
    places = np.linspace(scan, len(data) - 700, 12).astype(int)
    reasons = []
    for at in places:
        for lacking in (data[:at] + data[at + 512 :], data[:at] + bytes(512) + data[at + 512 :]):
            try:
                decode(lacking, GREY)
                reasons.append("read")
            except FilmError as error:
                reasons.append(error.reason)
    # A loss that falls into line again shows no end that is made up; that is rare, and rarer in a large film.
    assert reasons.count("read") <= 4
    assert set(reasons) <= {"read", "damaged", "truncated"}


def in_dicom(jpeg: bytes, film: np.ndarray, to_dicom, **tags) -> bytes:
    return to_dicom(film, frame=jpeg, syntax="1.2.840.10008.1.2.4.50", **tags)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 2}])
def test_a_jpeg_whose_tail_is_zeros_is_truncated_in_a_dicom_file_too(
    options, draw_film, encode, to_dicom
):
    film = draw_film("viral", 7, height=664, width=880)
    for mode in ("L", "RGB", "CMYK"):
        colours = Image.fromarray(film).convert("RGB").convert(mode)
        whole = encode(colours, "JPEG", quality=75, **options)
        for share in (0.88, 0.9, 0.95, 0.98, 0.999):
            tail = whole[: int(len(whole) * share)].ljust(len(whole), b"\0")
            assert refused(tail).reason == "truncated"
            if mode == "L":
                pytest.importorskip("pydicom")
                assert refused(in_dicom(tail, film, to_dicom)).reason == "truncated"
                window = {"WindowCenter": 100, "WindowWidth": 90}
                assert refused(in_dicom(tail, film, to_dicom, **window)).reason == "truncated"


@pytest.mark.parametrize("behind", [b"\0", bytes(4096), b"\xff\xff", b"rest of a file"])
def test_what_is_behind_the_end_mark_of_a_jpeg_does_not_matter(behind, film, encode):
    for options in ({}, {"progressive": True}):
        data = encode(film, "JPEG", **options)
        assert np.array_equal(decode(data + behind, GREY).pixels, decode(data, GREY).pixels)


@pytest.mark.parametrize("dicom", [False, True])
def test_a_jpeg_with_a_hole_of_zeros_is_damaged(dicom, draw_film, encode, to_dicom):
    film = draw_film("viral", 7, height=664, width=880)
    film[-40:] = film[-40:] // 4  # no end in the grey that is filled with
    whole = encode(film, "JPEG", quality=75)
    reasons = []
    for at in np.linspace(whole.index(b"\xff\xda") + 20, len(whole) - 2000, 12).astype(int):
        data = whole[:at] + bytes(512) + whole[at + 512 :]
        if dicom:
            pytest.importorskip("pydicom")
            data = in_dicom(data, film, to_dicom)
        try:
            decode(data, GREY)
            reasons.append("read")
        except FilmError as error:
            reasons.append(error.reason)
    assert reasons.count("read") <= 1
    assert set(reasons) <= {"read", "damaged", "truncated"}


def foreign_pieces(jpeg: bytes, other: bytes, at: int) -> dict[str, bytes]:
    """A JPEG in which another file's data, or its own from elsewhere, stand at a place where they do not belong."""
    before, behind = jpeg[:at], jpeg[at + 512 :]
    return {
        "text": before
        + (b"Patients of the ward, to be copied out by hand\r\n" * 11)[:512]
        + behind,
        "another film": before + other[at : at + 512] + behind,
        "inserted": before + other[at : at + 512] + jpeg[at:],
        "repeated": before + jpeg[at : at + 512] + jpeg[at:],
    }


@pytest.mark.parametrize("dicom", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_with_data_that_are_not_its_own_is_damaged(mode, dicom, draw_film, encode, to_dicom):
    jpeg, other = (
        encode(Image.fromarray(film).convert(mode), "JPEG", quality=75)
        for film in (draw_film("viral", seed, height=664, width=880) for seed in (7, 8))
    )
    stored = np.zeros((664, 880, 3) if mode == "RGB" else (664, 880), np.uint8)
    colours = {"PhotometricInterpretation": "YBR_FULL_422"} if mode == "RGB" else {}
    read = []
    for at in np.linspace(jpeg.index(b"\xff\xda") + 20, len(jpeg) - 2000, 8).astype(int):
        for kind, data in foreign_pieces(jpeg, other, at).items():
            if dicom:
                pytest.importorskip("pydicom")
                data = in_dicom(data, stored, to_dicom, **colours)
            try:
                decode(data, GREY)
                read.append((kind, at))
            except FilmError as error:
                assert error.reason in {"damaged", "truncated"}
    assert len(read) <= 1, read  # one that takes as many bytes as there were is not seen


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 7}])
def test_a_jpeg_that_lost_a_piece_with_a_restart_marker_is_damaged(
    mode, options, draw_film, encode
):
    film = draw_film("viral", 7, height=664, width=880)
    jpeg = encode(Image.fromarray(film).convert(mode), "JPEG", quality=75, **options)
    assert decode(jpeg, GREY).height == 664
    restarts = [at for at in range(len(jpeg)) if jpeg[at] == 0xFF and 0xD0 <= jpeg[at + 1] < 0xD8]
    for first, second, third in zip(restarts[::9], restarts[1::9], restarts[2::9], strict=False):
        one, two = jpeg[first:second], jpeg[second:third]
        for pieces in (one, two, two + one, one + one + two, bytes(len(one)) + two):
            data = jpeg[:first] + pieces + jpeg[third:]
            assert refused(data).reason in {"damaged", "truncated"}


def test_a_jpeg_with_millions_of_restart_markers_behind_its_picture_is_refused_at_once(
    film, encode
):
    jpeg = encode(film, "JPEG", restart_marker_blocks=1)
    markers = b"".join(bytes([0xFF, 0xD0 + n]) for n in range(8))
    started = time.thread_time()
    assert refused(jpeg[:-2] + markers * 3_500_000 + jpeg[-2:]).reason == "damaged"
    assert time.thread_time() - started < 2.0


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_progressive_jpeg_with_other_data_in_its_means_is_damaged(mode, draw_film, encode):
    film = draw_film("viral", 7, height=664, width=880)
    jpeg = encode(Image.fromarray(film).convert(mode), "JPEG", quality=75, progressive=True)
    start = jpeg.index(b"\xff\xda") + 20
    end = jpeg.index(b"\xff\xc4", start)
    read = []
    for at in np.linspace(start, end - 600, 8).astype(int):
        kinds = foreign_pieces(jpeg, jpeg[::-1].replace(b"\xff", b""), at)
        kinds["zeros"] = jpeg[:at] + bytes(512) + jpeg[at + 512 :]
        kinds["gone"] = jpeg[:at] + jpeg[at + 512 :]
        for kind, data in kinds.items():
            try:
                decode(data, GREY)
                read.append((kind, at))
            except FilmError as error:
                assert error.reason in {"damaged", "truncated"}
    assert len(read) <= 1, read  # one that takes as many bytes as there were is not seen


@pytest.mark.parametrize("level", [0, 7, 127, 128, 129, 255])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_an_even_progressive_jpeg_is_whole(level, mode, encode):
    even = Image.new("L", (100, 93), level).convert("RGB").convert(mode)
    assert decode(encode(even, "JPEG", progressive=True), GREY).height == 93


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 1}])
def test_a_progressive_jpeg_with_restarts_may_end_in_the_level_of_missing_data(
    options, mode, film, encode
):
    ending = np.vstack((film, np.full_like(film, 128)))
    data = encode(Image.fromarray(ending).convert(mode), "JPEG", progressive=True, **options)
    assert decode(data, GREY).pixels[-1].tolist() == [128] * 110


def jpeg_of_means(means: np.ndarray) -> bytes:
    """A progressive JPEG of even grey blocks, with a scan for each colour's means, as mozjpeg writes."""
    coded = ""
    for step in np.diff(means.astype(int).ravel(), prepend=128).tolist():
        size = abs(step).bit_length()
        coded += "1" * size + "0"  # the code of the size, then the step
        coded += f"{step if step > 0 else step + (1 << size) - 1:0{size}b}" if size else ""
    size = struct.pack(">BHHB", 8, 8 * len(means), 8 * len(means[0]), 3)
    parts = [
        (0xDB, b"\0" + bytes([8] * 64)),
        (0xC2, size + bytes((1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0))),
        (0xC4, b"\0" + bytes([1] * 9 + [0] * 7) + bytes(range(9))),
        (0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"),
    ]
    data = b"\xff\xd8" + b"".join(map(jpeg_part, *zip(*parts, strict=True)))
    for number, bits in enumerate([coded, *["0" * means.size] * 5]):
        band = (0, 0) if number < 3 else (1, 63)
        data += jpeg_part(0xDA, bytes((1, 1 + number % 3, 0, *band, 0)))
        whole = bits + "1" * (-len(bits) % 8)
        data += int(whole, 2).to_bytes(len(whole) // 8, "big").replace(b"\xff", b"\xff\0")
    return data + b"\xff\xd9"


def jpeg_part(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_progressive_jpeg_may_end_in_an_even_level(level):
    means = np.full((40, 40), level, np.uint8)
    means[:10] = np.arange(400).reshape(10, 40) % 200
    pixels = decode(jpeg_of_means(means), GREY).pixels
    assert np.array_equal(pixels[::4, ::4], means)  # a film of 320 pixels is halved


@pytest.mark.parametrize("spare", [b"\x7f", bytes(range(16)), bytes(256), b"\xff" * 300])
def test_spare_bytes_before_the_end_mark_of_a_jpeg_do_not_matter(spare, film, encode):
    for options in ({}, {"restart_marker_rows": 1}, {"subsampling": 2}):
        data = encode(Image.fromarray(film).convert("RGB"), "JPEG", **options)
        assert data.endswith(b"\xff\xd9")
        spared = decode(data[:-2] + spare + data[-2:], GREY)
        assert np.array_equal(spared.pixels, decode(data, GREY).pixels)


@pytest.mark.parametrize("level", [0, 7, 127, 128, 129, 255])
@pytest.mark.parametrize("corner", [0, 9, 30])
def test_an_even_jpeg_whose_codes_are_zeros_is_whole(level, corner, encode):
    even = np.full((1000, 900), level, np.uint8)
    even[1000 - corner :, 900 - corner :] = np.random.default_rng(corner).integers(
        0, 256, (corner, corner)
    )
    runs = 0
    for options in ({"optimize": True}, {"progressive": True}, {"optimize": True, "quality": 100}):
        for mode in ("L", "RGB"):
            data = encode(Image.fromarray(even).convert(mode), "JPEG", **options)
            runs += bytes(32) in data[data.index(b"\xff\xda") :]
            assert decode(data, GREY).height == 1000
    assert runs >= 2


def test_a_jpeg_without_a_run_of_zeros_is_decoded_once(film, encode, monkeypatch):
    data = encode(film, "JPEG")
    monkeypatch.setattr(jpeg_whole, "_small", None)
    assert decode(data, GREY).height == film.shape[0]


@pytest.mark.parametrize("border", [3, 8, 16, 40])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_grey_margin_of_the_level_of_missing_data_is_a_margin(mode, border, film, encode):
    for sides in ((border, border, border, 0), (0, 0, 0, border), (border,) * 4):
        framed = ImageOps.expand(Image.fromarray(film), sides, fill=128).convert("RGB")
        framed = framed.convert(mode)
        for options in ({}, {"progressive": True}):
            decoded = decode(encode(framed, "JPEG", quality=90, **options), GREY)
            assert (decoded.width, decoded.height) == framed.size


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_corner_of_the_level_of_missing_data_is_no_damage(mode, draw_film, encode):
    for size in ((500, 620), (1003, 1341), (2000, 2010)):
        film = draw_film("normal", 3, height=size[0], width=size[1])
        for rows, columns in ((1, 1), (4, 60), (8, 8), (16, 300), (33, 17)):
            film[-rows:, -columns:] = 128
            data = encode(Image.fromarray(film).convert(mode), "JPEG", quality=85)
            assert decode(data, GREY).height == size[0]


def jpeg_with(sof: int, bits: int = 8, width: int = 100, height: int = 100) -> bytes:
    frame = struct.pack(">BBHBHHB", 0xFF, sof, 11, bits, height, width, 1) + b"\x01\x11\0"
    return b"\xff\xd8" + frame + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + bytes(50) + b"\xff\xd9"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png_claiming(100_000, 100_000), "too_large"),
        (jpeg_with(0xC0, width=60_000, height=60_000), "too_large"),
        (jpeg_with(0xC1, bits=12), "jpeg_12_bit"),
        (jpeg_with(0xC9), "jpeg_arithmetic"),
        (jpeg_with(0xCA), "jpeg_arithmetic"),
        (jpeg_with(0xC3), "jpeg_lossless"),
        (jpeg_with(0xC5), "jpeg_hierarchical"),
        (jpeg_with(0xF7), "jpeg_lossless"),
        (jpeg_with(0xC0, height=0), "damaged"),
    ],
)
def test_headers_alone_refuse(data, reason):
    assert refused(data).reason == reason


def test_a_scan_of_a_component_that_the_picture_lacks_is_refused(film, encode):
    data = bytearray(encode(film, "JPEG", progressive=True))
    data[data.rindex(b"\xff\xda") + 5] = 9
    assert refused(bytes(data)).reason in {"truncated", "damaged"}


def test_a_progressive_jpeg_of_very_many_scans_is_refused(film, encode):
    data = encode(film, "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    end = data.index(b"\xff\xda", scan + 2)
    assert refused(data[:end] + data[scan:end] * 80 + data[end:]).reason == "too_large"


@pytest.mark.parametrize("piece", [b"\xff", b"\xff\xe0\0\x02", b"\xff\xc4\0\x02"])
def test_a_jpeg_of_endless_segments_is_refused_at_once(piece, encode, film):
    progressive = encode(film, "JPEG", progressive=True)
    for data in (b"\xff\xd8" + piece * 3_000_000, progressive[:-2] + piece * 3_000_000):
        started = time.perf_counter()
        with contextlib.suppress(FilmError):
            decode(data, GREY)
        assert time.perf_counter() - started < 2.0


def test_every_cut_of_a_jpeg_is_refused_even_with_its_end_mended(draw_film, encode):
    film = draw_film("viral", 8, height=300, width=280)
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 2}):
        data = encode(film, "JPEG", quality=85, **options)
        for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.96):
            cut = data[: int(len(data) * share)]
            assert refused(cut).reason in {"truncated", "damaged"}
            # Cut in its last scan, a progressive picture lacks but the last bit of some detail.
            if not options.get("progressive") or share < 0.4:
                assert refused(cut + b"\xff\xd9").reason in {"truncated", "damaged"}


def test_every_cut_and_every_changed_byte_of_a_png_is_refused(encode, draw_film):
    data = encode(draw_film(height=40, width=40), "PNG")
    for cut in range(0, len(data) - 1, 7):
        refused(data[:cut])
    for at in range(8, len(data), 5):
        changed = bytearray(data)
        changed[at] ^= 0x10
        refused(bytes(changed))


PNG_KINDS = [(0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))]
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
ADAM7 += [(0, 1, 1, 2)]


def png_lines(samples: np.ndarray, bits: int, interlaced: bool) -> list[bytes]:
    """The unpacked lines of a PNG of these samples, (H, W, channels), in the order stored."""
    lines = []
    for x, y, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        for row in samples[y::dy, x::dx]:
            if bits == 16:
                packed = row.astype(">u2").tobytes()
            else:
                each = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - bits :]
                packed = np.packbits(each.reshape(-1)).tobytes()
            lines.append(b"\0" + packed)
    return lines


def png_of(size: tuple[int, int], kind: tuple[int, int], interlaced: bool, raw: bytes, piece: int):
    """A PNG whose packed data come in chunks of some length, with right checksums."""
    colour, bits = kind
    packed = zlib.compress(raw, 1)
    body = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced)
    palette = bytes(range(255, -1, -1)) * 3
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", body)
        + (png_chunk(b"PLTE", palette[: 3 * 2**bits]) if colour == 3 else b"")
        + b"".join(
            png_chunk(b"IDAT", packed[at : at + piece]) for at in range(0, len(packed), piece)
        )
        + png_chunk(b"IEND", b"")
    )


@given(st.data())
@settings(max_examples=150)
def test_a_png_is_refused_if_rows_are_missing_and_only_then(data):
    kind = data.draw(st.sampled_from([(colour, bit) for colour, all_ in PNG_KINDS for bit in all_]))
    interlaced = data.draw(st.booleans())
    width, height = data.draw(st.tuples(st.integers(28, 45), st.integers(28, 45)))
    samples = np.random.default_rng(data.draw(st.integers(0, 99))).integers(
        0, 2 ** kind[1], (height, width, PNG_CHANNELS[kind[0]])
    )
    # A film may well end in black.
    samples[height - data.draw(st.integers(0, height)) :] = 0
    lines = png_lines(samples, kind[1], interlaced)
    piece = data.draw(st.sampled_from([1 << 20, 100]))
    wide = kind[1] == 16 and kind[0] != 0
    tail = data.draw(st.sampled_from([b"", b"more"]))
    if not (wide and interlaced):
        whole = png_of((width, height), kind, interlaced, b"".join(lines) + tail, piece)
        assert decode(whole, GREY).pixels.shape == (height, width)
    for kept in {len(lines) - 1, data.draw(st.integers(0, len(lines) - 1))}:
        short = png_of((width, height), kind, interlaced, b"".join(lines[:kept]), piece)
        assert refused(short).reason == ("unsupported_mode" if wide and interlaced else "truncated")


def test_several_pictures_in_one_file_are_refused(film, encode):
    pages = [Image.fromarray(film)] * 3
    tiff = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert refused(tiff).reason == "several_frames"
    moving = encode(pages[0], "PNG", save_all=True, append_images=[Image.new("L", (110, 90))])
    assert refused(moving).reason == "several_frames"


def test_a_phone_jpeg_with_a_preview_behind_it_is_one_picture(film):
    image = Image.fromarray(film)
    buffer = io.BytesIO()
    image.save(buffer, "MPO", save_all=True, append_images=[image.resize((55, 45))])
    whole = buffer.getvalue()
    for data in (whole, whole[: whole.rindex(b"\xff\xd8\xff") + 10]):  # the second lost its preview
        decoded = decode(data, GREY)
        assert (decoded.format, decoded.width) == ("JPEG", 110)


def two_pictures(first, second) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(first).save(
        buffer, "MPO", save_all=True, append_images=[Image.fromarray(second)]
    )
    return buffer.getvalue()


def test_a_jpeg_with_a_second_film_behind_it_is_refused(film):
    assert refused(two_pictures(film, film[::-1].copy())).reason == "several_frames"


def test_a_jpeg_of_several_angles_is_refused_whatever_their_sizes(film):
    data = two_pictures(film, film[:60, :80].copy())
    directory = data.index(b"MPF\0") + 4 + 8
    second = data.index(struct.pack("<I", 0x030000), directory + 2) + 16
    angles = data[:second] + struct.pack("<I", 0x020003) + data[second + 4 :]
    assert refused(angles).reason == "several_frames"


def test_a_jpeg_with_a_gain_map_of_its_own_size_is_one_picture(film):
    says = b'http://ns.adobe.com/xap/1.0/\0<rdf:Description hdrgm:Version="1.0"/>'
    data = with_segment(two_pictures(film, film // 2), 0xE1, says)
    assert decode(data, GREY).width == 110


def test_a_broken_list_of_pictures_does_not_break_the_film(film, encode):
    jpeg = encode(film, "JPEG")
    for block in (b"", b"rubbish", b"II*\0\x08\0\0\0\x01\0\x02\xb0" + b"\xff" * 40):
        data = with_segment(jpeg, 0xE2, b"MPF\0" + block)
        assert np.array_equal(decode(data, GREY).pixels, decode(jpeg, GREY).pixels)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "film.jpg")
    assert refused(tmp_path / "film.jpg").reason == "not_a_file"


def test_a_folder_a_missing_file_and_an_unreadable_one_are_refused(tmp_path, film, encode):
    assert refused(tmp_path).reason in {"not_a_file", "unreadable"}
    assert refused(tmp_path / "none.png").reason == "unreadable"
    secret = tmp_path / "secret.png"
    secret.write_bytes(encode(film, "PNG"))
    secret.chmod(0)
    if sys.platform != "win32" and os.geteuid() != 0:
        assert refused(secret).reason == "unreadable"


def test_a_file_beyond_the_cap_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "film.png"
    path.write_bytes(bytes(1001))
    monkeypatch.setattr("edge_xray.film_file.MAX_FILE_BYTES", 1000)
    assert refused(path).reason == "file_too_large"


@settings(max_examples=300)
@given(
    st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM", b"\x08\0"]
    ),
    st.binary(max_size=400),
)
def test_random_bytes_are_refused_with_a_reason(start, rest):
    try:
        decode(start + rest, GREY)
    except FilmError as error:
        assert error.reason in REASONS


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_films_give_pixels_or_a_reason(data, film, encode, to_dicom):
    kinds = ["JPEG", "PNG", "TIFF", "BMP", "DICOM"]
    kind = data.draw(st.sampled_from(kinds))
    if kind == "DICOM":
        pytest.importorskip("pydicom")
        whole = to_dicom(film[:40, :40])
    else:
        mode = data.draw(st.sampled_from(["L", "RGB"]))
        options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
        whole = encode(Image.fromarray(film[:40, :40]).convert(mode), kind, **options)
    damaged = bytearray(whole)
    header = min(len(damaged), 700)
    for _ in range(data.draw(st.integers(1, 6))):
        span = header if data.draw(st.booleans()) else len(damaged)
        damaged[data.draw(st.integers(0, span - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    if data.draw(st.booleans()):
        del damaged[cut:]
    spec = data.draw(st.sampled_from([GREY, COLOUR]))
    try:
        decoded = decode(bytes(damaged), spec)
    except FilmError as error:
        assert error.reason in REASONS
    else:
        assert decoded.pixels.dtype == np.uint8
        assert decoded.pixels.ndim == (2 if spec.channels == 1 else 3)


@pytest.mark.parametrize(
    ("planes", "shift", "verdict"),
    [(1, 0, ""), (1, 4, "unsupported_mode"), (2, 0, "unsupported_mode")],
)
def test_a_tiff_of_colours_of_16_bits_is_read_as_it_is_meant_or_refused(
    planes, shift, verdict, film
):
    wide = (film.astype("<u2") * 257) >> shift
    parts = [wide] * 3 if planes == 2 else [np.dstack([wide] * 3)]
    data = _tiff_of_colours([part.tobytes() for part in parts], film.shape, planes)
    if verdict:
        assert refused(data).reason == verdict
    else:
        assert np.array_equal(decode(data, GREY).pixels, film)


def test_a_tiff_that_lacks_one_colour_is_refused(film):
    whole = _tiff_of_colours([film.tobytes()] * 3, film.shape, 2, bits=8)
    assert np.array_equal(decode(whole, GREY).pixels, film)
    for change in (lambda offsets: [*offsets[:2], 0], lambda offsets: offsets[:2]):
        assert refused(with_entry(whole, 273, change)).reason == "truncated"


def _tiff_of_colours(
    strips: list[bytes], shape: tuple[int, int], planes: int, bits: int = 16
) -> bytes:
    """A little-endian TIFF of three colours, one strip for all or one for each."""
    tags = 10
    extra = 8 + 2 + 12 * tags + 4
    body = extra + 6 + 8 * len(strips)
    starts = [body + sum(map(len, strips[:place])) for place in range(len(strips))]
    lengths = [len(strip) for strip in strips]
    many = len(strips)
    entries = [
        *((256, 4, 1, shape[1]), (257, 4, 1, shape[0]), (258, 3, 3, extra), (259, 3, 1, 1)),
        *((262, 3, 1, 2), (273, 4, many, starts[0] if many == 1 else extra + 6), (277, 3, 1, 3)),
        (278, 4, 1, shape[0]),
        (279, 4, many, lengths[0] if many == 1 else extra + 6 + 4 * many),
        (284, 3, 1, planes),
    ]
    listed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = (
        b"II*\0"
        + struct.pack("<IH", 8, tags)
        + listed
        + bytes(4)
        + struct.pack("<3H", bits, bits, bits)
    )
    return head + struct.pack(f"<{2 * many}I", *starts, *lengths) + b"".join(strips)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_film_whose_transparency_hides_all_of_it_is_shown(kind, film, encode):
    clear = np.dstack([film, film, film, np.zeros_like(film)])
    assert np.array_equal(decode(encode(clear, kind), GREY).pixels, film)


@pytest.mark.parametrize(("colour", "channels"), [(4, 1), (6, 3)])
def test_a_wide_png_whose_transparency_hides_all_of_it_is_shown(colour, channels, film):
    wide = film.astype(np.uint16) * 257
    data = wide_png(np.dstack([wide] * channels + [np.zeros_like(wide)]), colour)
    assert np.array_equal(decode(data, GREY).pixels, film)


def test_a_png_with_a_black_foot_in_one_large_chunk_is_counted_in_time():
    rows, columns = 4000, 4000
    pixels = np.random.default_rng(0).integers(0, 255, (rows, columns), np.uint8)
    pixels[-1] = 0
    stored = zlib.compress(np.insert(pixels, 0, 0, axis=1).tobytes(), 0)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stored), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    read: list[int] = []

    class Engine:
        def __init__(self):
            self._engine = zlib.decompressobj()
            self.unconsumed_tail = b""

        def decompress(self, packed, most):
            read.append(len(packed))
            piece = self._engine.decompress(packed, most)
            self.unconsumed_tail = self._engine.unconsumed_tail
            return piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_xray.png_rows.zlib", types.SimpleNamespace(decompressobj=Engine))
        assert decode(data, GREY).height == rows
    assert sum(read) < 3 * len(stored)
