"""Convert and parity on real films, with networks that nobody here made; wants EDGE_XRAY_DATA."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from edge_xray.decode import decode
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split, SplitFilm, file_sha256, read_labelled_folder
from edge_xray.model_file import read_metadata
from edge_xray.preprocess import preprocess

DATA = os.environ.get("EDGE_XRAY_DATA", "")
pytestmark = [
    pytest.mark.films,
    pytest.mark.skipif(not DATA, reason="wants the training films: set EDGE_XRAY_DATA"),
]

SIDE = 96
FILMS = 1300
"""Films of each class that patients are drawn from, one in eight: for training of a minute."""


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A split of some films by patient: train, validation and test; the root and its file."""
    root = Path(DATA) / "train"
    taken: dict[str, int] = {}
    chosen = []
    for film in read_labelled_folder(root):
        number = zlib.crc32(film.patient.encode())
        taken[film.label] = taken.get(film.label, 0) + 1
        if number % 8 == 0 and taken[film.label] < FILMS:
            part = ("train", "train", "validation", "test")[number // 8 % 4]
            digest = file_sha256(root / film.path)
            chosen.append(
                SplitFilm(film.path, film.label, film.patient, film.patient, digest, part)
            )
    path = tmp_path_factory.mktemp("films") / "split.json"
    Split(0, tuple(chosen)).write(path)
    return root, path


def train(model, films, channels, names):
    root, path = films
    spec = InputSpec(SIDE, SIDE, channels)
    part = Split.read(path).part("train")
    pixels = np.concatenate([preprocess(decode(root / f.path, spec).pixels, spec) for f in part])
    target = np.array([names.index(film.label) if film.label in names else 1 for film in part])
    model.fit(pixels.astype(np.float32), target, batch_size=16, epochs=4, verbose=0)


@pytest.fixture(scope="module")
def mobilenet(films, tmp_path_factory):
    """Keras' own MobileNetV2, two classes, three channels, pixels -1..1, without this kit."""
    import keras

    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV2(
        input_shape=(SIDE, SIDE, 3), alpha=0.35, weights=None, classes=2
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = (
                0.9  # at its own 0.999 the statistics of a minute are those it began with
            )
    entry = keras.Input((SIDE, SIDE, 3))
    trained = keras.Model(entry, network(keras.layers.Rescaling(1 / 127.5, -1.0)(entry)))
    trained.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    train(trained, films, 3, ("normal", "pneumonia"))
    path = tmp_path_factory.mktemp("mobilenet") / "mobilenet.keras"
    network.save(path)
    return path


@pytest.fixture(scope="module")
def plain(films, tmp_path_factory):
    """The plain CNN of many notebooks: three classes, one channel, no metadata."""
    import keras

    keras.utils.set_random_seed(2)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    train(network, films, 1, ("normal", "bacterial", "viral"))
    path = tmp_path_factory.mktemp("plain") / "plain.keras"
    network.save(path)
    return path


@pytest.mark.parametrize(
    ("name", "options", "evidence_map"),
    [
        ("mobilenet", ("--labels", "normal,pneumonia", "--input-range", "-1..1"), True),
        ("plain", ("--labels", "normal,bacterial,viral"), False),
    ],
)
def test_a_foreign_network_keeps_its_accuracy_as_int8(
    request, run_cli, films, name, options, evidence_map, tmp_path
):
    root, split = films
    model = request.getfixturevalue(name)
    out = tmp_path / f"{name}.tflite"
    code, _, said = run_cli(
        "convert", model, "--data", root, "--split", split, *options, "-o", out, "--no-check"
    )
    assert code == 0, said
    assert read_metadata(out).evidence_map is evidence_map
    code, _, _ = run_cli(
        "parity", model, out, "--data", root, "--split", split, *options, "-o", tmp_path / "r",
        "--no-timing", "--no-films", "--resamples", 200, "--max-accuracy-drop", 0.03, "--max-label-accuracy-drop", 0.03,
        "--max-sensitivity-drop", 0.03, "--max-auc-drop", 0.02, "--max-pair-auc-drop", 0.03,
        "--max-flips", 0.06, "--max-mean-shift", 0.03,
    )  # fmt: skip
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    integer = record["models"][1]
    assert integer["non_integer_operations"] == []
    checks = {check["name"]: check["measured"] for check in record["comparisons"][0]["checks"]}
    assert (code, record["verdict"]) == (0, "PASS"), checks
