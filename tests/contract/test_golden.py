"""The contract of the three rooms: a film's file gives these very pixels, on every machine."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_xray.decode import decode
from edge_xray.input_spec import InputSpec
from edge_xray.preprocess import preprocess

JPEG_DIFFERENCE = 1
"""Grey levels that two libjpegs may differ by after resizing (their IDCT rounds differently)."""


@pytest.fixture(scope="module")
def golden(request):
    folder = request.path.parent / "golden"
    with np.load(folder / "golden.npz") as arrays:
        return folder, dict(arrays)


SPECS = runpy.run_path(str(Path(__file__).with_name("make_golden.py")))["SPECS"]
LOSSLESS = ("grey.png", "grey.bmp", "grey.tiff", "colour.png", "palette.png", "twelve_bits.png",
            "transparent.png")  # fmt: skip
LOSSY = ("grey.jpeg", "colour.jpeg", "cmyk.jpeg", "turned.jpeg")


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_film_gives_the_golden_pixels(golden, name, spec):
    folder, arrays = golden
    pixels = preprocess(decode(folder / name, SPECS[spec]).pixels, SPECS[spec])
    np.testing.assert_array_equal(pixels, arrays[f"{name}/{spec}"])


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", LOSSY)
def test_a_jpeg_gives_the_golden_pixels_to_one_grey_level(golden, name, spec):
    folder, arrays = golden
    pixels = preprocess(decode(folder / name, SPECS[spec]).pixels, SPECS[spec])
    difference = np.abs(pixels.astype(int) - arrays[f"{name}/{spec}"])
    assert pixels.shape == SPECS[spec].shape
    assert difference.max() <= JPEG_DIFFERENCE


def test_every_golden_film_is_checked(golden):
    folder, arrays = golden
    files = {path.name for path in folder.iterdir()} - {"golden.npz"}
    assert files == set(LOSSLESS) | set(LOSSY)
    assert set(arrays) == {f"{name}/{spec}" for name in files for spec in SPECS}


def test_bytes_and_path_of_a_film_give_the_same(golden):
    folder, _ = golden
    spec = SPECS["grey"]
    path = folder / "grey.jpeg"
    np.testing.assert_array_equal(decode(path, spec).pixels, decode(path.read_bytes(), spec).pixels)


@pytest.mark.parametrize("name", ["grey.bmp", "grey.tiff"])
def test_the_container_does_not_matter(golden, name):
    _, arrays = golden
    np.testing.assert_array_equal(arrays[f"{name}/grey"], arrays["grey.png/grey"])


def test_a_turned_film_comes_upright(golden):
    _, arrays = golden
    difference = np.abs(arrays["turned.jpeg/grey"].astype(int) - arrays["grey.jpeg/grey"])
    assert difference.mean() < 1.0


def test_twelve_bits_in_sixteen_are_not_clipped_to_white(golden):
    _, arrays = golden
    difference = np.abs(arrays["twelve_bits.png/grey"].astype(int) - arrays["grey.png/grey"])
    assert difference.max() <= 1


def test_a_film_of_the_network_s_size_enters_untouched(draw_film):
    film = draw_film("bacterial", 3, height=32, width=32)
    np.testing.assert_array_equal(preprocess(film, InputSpec(32, 32))[0, :, :, 0], film)


def test_jpeg_png_and_reduction_agree_on_a_film_of_clinic_size(draw_film, tmp_path):
    # A file eight times the input is box-reduced by libjpeg, or by Pillow if it is a PNG.
    film = Image.fromarray(draw_film("normal", 1, height=512, width=640))
    film.save(tmp_path / "film.png")
    film.save(tmp_path / "film.jpeg", quality=100, subsampling=0)
    spec = InputSpec(32, 32)
    png, jpeg = (
        preprocess(decode(tmp_path / name, spec).pixels, spec).astype(int)
        for name in ("film.png", "film.jpeg")
    )
    assert np.abs(png - jpeg).max() <= 1


def test_the_answers_to_golden_inputs_are_packed_and_repeat(tiny_model):
    from edge_xray.classifier import Classifier

    classifier = Classifier(tiny_model)
    assert classifier.metadata.golden is not None
    assert classifier.check_golden() == 0.0
