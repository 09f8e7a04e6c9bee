"""What the converter's tests share: a command line, films of all strengths, and a float model."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path

import pytest

from edge_xray.cli import main
from edge_xray.labelled import Split, SplitFilm, file_sha256, read_labelled_folder
from edge_xray.model_file import parse_metadata, split_packed


@pytest.fixture(scope="session")
def run_cli():
    """``run_cli(*arguments) -> (exit code, stdout, stderr)``, through the kit's own front door."""

    def run(*arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
        return code, out.getvalue(), err.getvalue().strip()

    return run


@pytest.fixture(scope="session")
def parity_films(shared, write_film):
    """Films that no model was trained on, some with a faint sign, in a folder a class; read only.

    40 of each label, two a patient by the split file beside them; the part is called ``test``.
    """

    def make(folder: Path) -> None:
        for label in ("normal", "bacterial", "viral"):
            for seed in range(40):
                strength = 0.25 if seed % 5 == 0 else 1.0
                write_film(
                    folder / "films" / label / f"{seed}.png", label, 9000 + seed, strength=strength
                )
        films = [
            SplitFilm(
                film.path,
                film.label,
                f"{film.label}-{int(Path(film.path).stem) // 2}",
                "",
                file_sha256(folder / "films" / film.path),
                "test",
            )
            for film in read_labelled_folder(folder / "films")
        ]
        Split(0, tuple(films)).write(folder / "split.json")

    return shared("parity_films", make)


@pytest.fixture(scope="session")
def tiny_float(shared, tiny_keras):
    """`tiny_keras` as packed float32 ``.tflite``; read only."""

    def make(folder: Path) -> None:
        from edge_xray_converter.convert import convert

        convert(tiny_keras, ["float32"], folder / "tiny-float32.tflite")

    return shared("tiny_float32", make) / "tiny-float32.tflite"


@pytest.fixture(scope="session")
def repack():
    """``repack(model, out, network=None, **changes)``: pack again with other bytes or metadata."""

    def again(model: Path, out: Path, network: bytes | None = None, **changes: object) -> Path:
        from edge_xray_converter.packing import pack

        data = model.read_bytes()
        metadata = dataclasses.replace(parse_metadata(data, str(model)), **changes)
        out.write_bytes(pack(network or split_packed(data)[0], metadata))
        return out

    return again


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    """A colour network of two classes from elsewhere, with weights as drawn; no metadata; read only."""
    import keras

    keras.utils.set_random_seed(5)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("foreign") / "Their Net.keras"
    model.save(path)
    return path
