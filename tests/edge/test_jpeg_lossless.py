"""Lossless JPEG, as archives store films: exact for every depth, predictor, restart and transform."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_xray import jpeg_lossless
from edge_xray.decode import decode
from edge_xray.errors import FilmError
from edge_xray.input_spec import InputSpec
from edge_xray.isolate import decode_isolated
from edge_xray.jpeg_lossless import decode_jpeg_lossless

SV1 = "1.2.840.10008.1.2.4.70"
CODE_BITS = 5
"""All 17 categories get a code of five bits, in order: simple, and a legal Huffman table."""


def encode_lossless(
    pixels: np.ndarray,
    bits: int,
    *,
    rows_a_restart: int = 0,
    shift: int = 0,
    predictor: int = 1,
    copies: int = 1,
) -> bytes:
    """The process of ITU-T T.81 annex H, written from the standard, one sample after another.

    With ``copies``, the film is that many of ``pixels`` one below another: their rows are all the same,
    eight of them, and begin with half the range, so that each copy is coded alike, in whole bytes.
    """
    height, width = pixels.shape
    samples = (pixels >> shift).astype(int)
    counts = bytes(17 if length == CODE_BITS else 0 for length in range(1, 17))
    head = b"\xff\xd8" + segment(0xC4, b"\0" + counts + bytes(range(17)))
    head += segment(0xC3, struct.pack(">BHHB", bits, height * copies, width, 1) + b"\x01\x11\0")
    if rows_a_restart:
        head += segment(0xDD, struct.pack(">H", rows_a_restart * width))
    head += segment(0xDA, b"\x01\x01\0" + bytes([predictor, 0, shift]))
    parts = []
    step = rows_a_restart or height
    for top in range(0, height, step):
        coded = []
        for y in range(top, min(top + step, height)):
            for x in range(width):
                if x and y > top:
                    near = samples[y, x - 1], samples[y - 1, x], samples[y - 1, x - 1]
                    guess = prediction(predictor, *map(int, near))
                elif x:
                    guess = samples[y, x - 1]
                elif y > top:
                    guess = samples[y - 1, 0]
                else:
                    guess = 1 << (bits - shift - 1)
                coded.append(code(int(samples[y, x] - guess)))
        text = "".join(coded)
        text += "1" * (-len(text) % 8)
        body = int(text, 2).to_bytes(len(text) // 8, "big")
        parts.append(body.replace(b"\xff", b"\xff\0"))
    data = parts[0] * copies
    for index, part in enumerate(parts[1:]):
        data += bytes([0xFF, 0xD0 + index % 8]) + part
    return head + data + b"\xff\xd9"


def prediction(predictor: int, a: int, b: int, c: int) -> int:
    """Table H.1, in its letters: left, above, and left above; 8 is none of them."""
    return (0, a, b, c, a + b - c, a + (b - c) // 2, b + (a - c) // 2, (a + b) // 2, 0)[predictor]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def code(difference: int) -> str:
    difference = (difference + 0x8000) % 0x10000 - 0x8000
    if difference == -0x8000:
        return f"{16:05b}"
    category = abs(difference).bit_length()
    if not category:
        return f"{0:05b}"
    extra = difference if difference > 0 else difference + (1 << category) - 1
    return f"{category:05b}{extra:0{category}b}"


@settings(max_examples=60)
@given(
    bits=st.integers(2, 16),
    predictor=st.integers(1, 7),
    rows_a_restart=st.integers(0, 5),
    data=st.data(),
)
def test_every_depth_and_predictor_comes_back_exactly(bits, predictor, rows_a_restart, data):
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    pixels = data.draw(arrays(np.uint16, shape, elements=st.integers(0, 2**bits - 1)))
    shift = data.draw(st.integers(0, bits - 1))
    coded = encode_lossless(
        pixels, bits, rows_a_restart=rows_a_restart, shift=shift, predictor=predictor
    )
    assert np.array_equal(decode_jpeg_lossless(coded), pixels >> shift << shift)


@pytest.mark.parametrize("chunk", range(5, 14))
def test_a_code_or_stuffed_byte_across_two_chunks_is_read(chunk, monkeypatch):
    monkeypatch.setattr(jpeg_lossless, "_CHUNK", chunk)
    pixels = np.random.default_rng(chunk).integers(0, 2**16, (40, 40)).astype(np.uint16)
    coded = encode_lossless(pixels, 16)
    assert coded.count(b"\xff\0") > 3
    assert np.array_equal(decode_jpeg_lossless(coded), pixels)


def test_a_large_noisy_film_fits_into_the_childs_memory(to_dicom):
    pytest.importorskip("pydicom")
    row = 2048 + np.random.default_rng(0).integers(-20, 21, 4280)
    row[0] = 2048
    rows = np.tile(row.astype(np.uint16), (8, 1))
    film = np.tile(rows, (440, 1))
    data = to_dicom(film, frame=encode_lossless(rows, 12, copies=440), syntax=SV1, BitsStored=12)
    assert len(data) > 16_000_000
    spec = InputSpec(64, 64)
    expected = decode(to_dicom(film, BitsStored=12), spec).pixels
    assert np.array_equal(decode_isolated(data, spec).pixels, expected)


@pytest.mark.parametrize("signed", [False, True])
def test_a_dicom_film_stored_so_is_read(signed, draw_film, to_dicom):
    pytest.importorskip("pydicom")
    film = draw_film().astype(np.uint16) << 4
    stored = ((film.astype(np.int16) - 2048) & 0x0FFF).astype(np.uint16) if signed else film
    window = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    spec = InputSpec(64, 64)
    data = to_dicom(
        film,
        frame=encode_lossless(stored, 12),
        syntax=SV1,
        BitsStored=12,
        PixelRepresentation=int(signed),
        **window,
    )
    expected = to_dicom(film, BitsStored=12, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(decode(data, spec).pixels, decode(expected, spec).pixels)


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_the_unused_bits_is_not_shown(signed, draw_film, to_dicom):
    film = draw_film("viral", 3, height=30, width=40).astype(np.int16) << 4
    stored = (film - 2048 * signed).view(np.uint16) & 4095
    drawn = stored.copy()
    drawn[10:20] |= 0x8000
    tags = {"BitsStored": 12, "PixelRepresentation": int(signed)}
    shown, plain = (
        decode(data, InputSpec(28, 28)).pixels
        for data in (
            to_dicom(drawn, frame=encode_lossless(drawn, 16), syntax=SV1, **tags),
            to_dicom(stored, **tags),
        )
    )
    assert np.array_equal(shown, plain)


def test_every_cut_is_refused(draw_film):
    coded = encode_lossless(draw_film()[:20, :20], 8)
    for cut in range(2, len(coded) - 4):
        with pytest.raises(FilmError):
            decode_jpeg_lossless(coded[:cut])


@pytest.mark.parametrize("rows_a_restart", [0, 16])
def test_data_left_over_are_a_hole_and_zeros_for_the_end_a_cut(rows_a_restart, draw_film):
    film = draw_film()[:48, :90].astype(np.uint16)
    coded = encode_lossless(film, 8, rows_a_restart=rows_a_restart)
    scan = coded.index(b"\xff\xda") + 10
    for at in np.linspace(scan + 10, len(coded) - 200, 8).astype(int):
        with pytest.raises(FilmError) as caught:
            decode_jpeg_lossless(coded[:at] + bytes(100) + coded[at + 100 :])
        assert caught.value.reason in {"damaged", "truncated"}
        with pytest.raises(FilmError) as caught:
            decode_jpeg_lossless(coded[:at].ljust(len(coded), b"\0"))
        assert caught.value.reason in {"damaged", "truncated"}
    with pytest.raises(FilmError, match="holds more data than the film takes"):
        decode_jpeg_lossless(coded[:-2] + bytes(9) + coded[-2:])
    with pytest.raises(FilmError) as caught:
        decode_jpeg_lossless(coded[:-2])
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("behind", [b"\xff", b"\0", b"\xff\xff\xff\xff"])
def test_fill_bytes_and_a_spare_byte_before_a_marker_are_no_damage(behind, draw_film):
    film = draw_film()[:30, :40].astype(np.uint16)
    for rows_a_restart in (0, 7):
        coded = encode_lossless(film, 8, rows_a_restart=rows_a_restart)
        for marker in (b"\xff\xd0", b"\xff\xd9"):
            coded = coded.replace(marker, behind + marker)
        assert np.array_equal(decode_jpeg_lossless(coded + bytes(500)), film)


def test_what_is_no_lossless_process_is_refused_in_words_for_a_nurse(draw_film):
    with pytest.raises(FilmError, match=r"\(predictor 8\) is not read; export the film") as caught:
        decode_jpeg_lossless(encode_lossless(draw_film()[:9, :9], 8, predictor=8))
    assert caught.value.reason == "dicom_decoder_missing"
    assert "pip" not in str(caught.value)


@pytest.mark.parametrize(
    ("marker", "skip", "value", "said"),
    [
        (b"\xff\xdd", 4, 41, "restarts within a row"),
        (b"\xff\xc3", 5, 0, "gives no size"),
        (b"\xff\xc3", 7, 0, "gives no size"),
    ],
)
def test_headers_that_fit_no_film_are_damage(marker, skip, value, said, draw_film):
    coded = encode_lossless(draw_film()[:20, :20].astype(np.uint16), 8, rows_a_restart=2)
    at = coded.index(marker) + skip
    with pytest.raises(FilmError, match=said) as caught:
        decode_jpeg_lossless(coded[:at] + value.to_bytes(2, "big") + coded[at + 2 :])
    assert caught.value.reason == "damaged"


@settings(max_examples=150)
@given(at=st.integers(2, 400), value=st.integers(0, 255))
def test_damaged_streams_give_pixels_or_a_reason(at, value):
    pixels = np.arange(20 * 20, dtype=np.uint16).reshape(20, 20) % 251
    coded = bytearray(encode_lossless(pixels, 8))
    coded[at % len(coded)] = value
    try:
        decode_jpeg_lossless(bytes(coded))
    except FilmError as error:
        assert error.reason in {"damaged", "truncated", "dicom_decoder_missing"}
