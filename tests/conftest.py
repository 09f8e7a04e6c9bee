"""Films and models made on the spot, shared by the tests of every package.

Nothing here is a patient's: films are drawn with numpy, the network is trained on them in seconds.
What takes TensorFlow is made once a session and shared by the workers of pytest-xdist.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from edge_xray.features import FeatureStatistics
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split, SplitFilm, file_sha256, read_labelled_folder
from edge_xray.metadata import IntendedUse, Label, ModelMetadata
from edge_xray.model_file import attach_to_keras
from edge_xray.operating_point import Estimate, OperatingPoint
from edge_xray.preprocess import preprocess

# How long an example takes says how busy the machine is.
settings.register_profile("kit", settings(), deadline=None)
settings.load_profile("kit")

LABELS = ("normal", "bacterial", "viral")
TINY_SIDE = 32
FILM_HEIGHT, FILM_WIDTH = 90, 110
FILMS_PER_LABEL = 40
WAIT_SECONDS = 300.0
"""How long a worker waits for another to make a shared file before it makes its own."""

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # Under nohup: a handler outlives the terminal as well, but is not inherited by the scans that tests start.
    signal.signal(signal.SIGHUP, lambda number, frame: None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In the background of a shell script: the scans that tests start are to be stopped by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DrawFilm = Callable[..., NDArray[np.uint8]]
Shared = Callable[[str, Callable[[Path], None]], Path]


def _draw_film(
    label: str = "normal",
    seed: int = 0,
    *,
    height: int = FILM_HEIGHT,
    width: int = FILM_WIDTH,
    strength: float = 1.0,
) -> NDArray[np.uint8]:
    """A film-like picture: two dark lungs, spine and ribs; a bright focus, or haze in both lungs.

    Args:
        label: ``normal`` (clear lungs), ``bacterial`` (one bright focus), ``viral`` (streaks in both).
        seed: of everything that varies: exposure, position, size, noise.
        height: rows.
        width: columns.
        strength: of the sign, 0 (none to be seen) to 1 (plain).

    Returns:
        uint8, (height, width), 0..255.
    """
    draw = np.random.default_rng([LABELS.index(label), seed])
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    y, x = y + draw.uniform(-0.04, 0.04), x + draw.uniform(-0.04, 0.04)
    film = 40.0 + 120.0 * np.exp(-(((x - 0.5) / 0.42) ** 6) - ((y - 0.55) / 0.6) ** 6)
    lungs = np.zeros_like(film)
    for centre in (0.3, 0.7):
        lungs += np.exp(-((((x - centre) / 0.15) ** 2 + ((y - 0.5) / 0.32) ** 2) ** 3))
    film -= 85.0 * lungs
    spine = np.exp(-(((x - 0.5) / 0.05) ** 2))
    edge = 0.87 + draw.uniform(-0.05, 0.05) + draw.uniform(-0.2, 0.2) * (x - 0.5)
    belly = np.exp(-(((x - 0.5) / 0.4) ** 8)) / (1.0 + np.exp((edge - y) / 0.02))
    film += 45.0 * np.maximum(spine, belly) + 7.0 * np.sin(y * 60.0 + 8.0 * np.abs(x - 0.5))
    if label == "bacterial":
        side = draw.choice([0.3, 0.7])
        focus_y = draw.uniform(0.4, 0.68)
        film += (
            strength
            * draw.uniform(80, 110)
            * np.exp(-(((x - side) / 0.09) ** 2) - ((y - focus_y) / 0.1) ** 2)
        )
    elif label == "viral":
        streaks = np.sin(x * 70.0 + draw.uniform(0, 6)) * np.sin(y * 55.0 + draw.uniform(0, 6))
        film += strength * lungs * (30.0 + draw.uniform(26, 36) * streaks)
    film = film * draw.uniform(0.85, 1.1) + draw.uniform(-8, 8) + draw.normal(0, 3.0, film.shape)
    return np.clip(np.round(film), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def draw_film() -> DrawFilm:
    """``draw_film(label, seed, height=90, width=110, strength=1.0) -> uint8 (H, W)``, film-like."""
    return _draw_film


@pytest.fixture(scope="session")
def write_film() -> Callable[..., Path]:
    """``write_film(path, label="normal", seed=0, **options) -> path``; the ending decides the format."""

    def write(path: Path, label: str = "normal", seed: int = 0, **options: float) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_draw_film(label, seed, **options)).save(path)
        return path

    return write


def _write_kaggle_folder(root: Path) -> None:
    """``train/NORMAL`` and ``train/PNEUMONIA`` as in the Kaggle copy; every second patient has two films."""
    for label in LABELS:
        for index in range(FILMS_PER_LABEL):
            patient = index // 3 * 2 + (index % 3 > 0)
            if label == "normal":
                series = "IM" if patient % 2 else "NORMAL2-IM"
                name = f"NORMAL/{series}-{patient:04d}-{index:04d}.jpeg"
            else:
                cause = "bacteria" if label == "bacterial" else "virus"
                person = patient + 1 + (1000 if label == "viral" else 0)
                name = f"PNEUMONIA/person{person}_{cause}_{index}.jpeg"
            path = root / "train" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_draw_film(label, index)).save(path, quality=92)


def _split(root: Path) -> Split:
    """Patients dealt to train, validation and test, half, a sixth and a third."""
    films = []
    for film in read_labelled_folder(root):
        number = sum(map(ord, film.patient)) % 6
        part = ("train", "train", "train", "validation", "test", "test")[number]
        digest = file_sha256(root / film.path)
        films.append(SplitFilm(film.path, film.label, film.patient, film.patient, digest, part))
    return Split(0, tuple(films), "by patient, by the test suite")


@pytest.fixture(scope="session")
def plain_bootstrap() -> Callable[..., tuple[float, float, float]]:
    """``plain_bootstrap(statistic, clusters) -> value, low, high`` of 95 %, by drawing whole clusters one by one."""

    def estimate(
        statistic: Callable[[NDArray[np.intp]], float], clusters: NDArray[np.generic]
    ) -> tuple[float, float, float]:
        films = [np.flatnonzero(clusters == name) for name in np.unique(clusters)]
        draw = np.random.default_rng(0)
        values = [
            statistic(np.concatenate([films[i] for i in draw.integers(0, len(films), len(films))]))
            for _ in range(2000)
        ]
        low, high = np.quantile(values, [0.025, 0.975])
        return statistic(np.arange(len(clusters))), float(low), float(high)

    return estimate


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """``shared(name, make) -> folder``: `make` fills it once, whichever worker comes first.

    The first worker makes the folder ``NAME.making`` as a lock, fills a folder of its own and renames
    it into place; the others wait for it. ``EDGE_XRAY_TEST_FILES`` names a folder that keeps what was made,
    for another run or for a machine without TensorFlow.
    """
    base = tmp_path_factory.getbasetemp()
    if kept := os.environ.get("EDGE_XRAY_TEST_FILES"):
        base = Path(kept)
        base.mkdir(parents=True, exist_ok=True)
    elif "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def get(name: str, make: Callable[[Path], None]) -> Path:
        target, lock = base / name, base / f"{name}.making"
        deadline = time.monotonic() + WAIT_SECONDS
        while not target.is_dir():
            try:
                lock.mkdir()
            except FileExistsError:
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
            own = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=base))
            try:
                make(own)
                own.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                shutil.rmtree(own)
            finally:
                lock.rmdir() if lock.is_dir() else None
        return target

    return get


@pytest.fixture(scope="session")
def film_folder(shared: Shared) -> Path:
    """Labelled films in the Kaggle layout: the folder that holds ``train/``; read only.

    120 films, 40 a class, of 27 patients a class.
    """
    return shared("chest_xray", _write_kaggle_folder)


@pytest.fixture(scope="session")
def tiny_folder(shared: Shared, film_folder: Path) -> Path:
    """What ``edge-xray train`` leaves: ``model.keras`` and ``split.json``; read only."""

    def make(folder: Path) -> None:
        split = _split(film_folder / "train")
        split.write(folder / "split.json")
        _train_tiny(film_folder / "train", split, folder / "model.keras")

    return shared("tiny", make)


@pytest.fixture(scope="session")
def tiny_keras(tiny_folder: Path) -> Path:
    """A trained network of the kit's kind with its metadata, 32x32 grey, three labels; read only."""
    return tiny_folder / "model.keras"


@pytest.fixture(scope="session")
def tiny_split(tiny_folder: Path) -> Path:
    """The split file of `tiny_keras`; its paths are relative to ``film_folder / "train"``."""
    return tiny_folder / "split.json"


@pytest.fixture(scope="session")
def tiny_model(shared: Shared, tiny_keras: Path, film_folder: Path, tiny_split: Path) -> Path:
    """`tiny_keras` as packed full-integer ``.tflite`` (``tiny.tflite``); read only."""

    def make(folder: Path) -> None:
        from edge_xray_converter.convert import Conversion, convert

        how = Conversion(data=film_folder, split_file=tiny_split)
        convert(tiny_keras, ["int8"], folder / "tiny.tflite", how)

    return shared("tiny_int8", make) / "tiny.tflite"


def _train_tiny(root: Path, split: Split, path: Path) -> None:
    import keras

    spec = InputSpec(TINY_SIDE, TINY_SIDE, 1)
    films = split.part("train")
    pixels = np.concatenate([_pixels(root / film.path, spec) for film in films])
    drawn = [(label, 500 + seed) for label in LABELS for seed in range(120)]
    pixels = np.concatenate([pixels, *(preprocess(_draw_film(*which), spec) for which in drawn)])
    labels = [film.label for film in films] + [label for label, _ in drawn]
    target = np.array([LABELS.index(label) for label in labels])

    keras.utils.set_random_seed(7)
    network = _tiny_network(keras)
    logits = keras.layers.GlobalAveragePooling2D()(network.outputs[0])
    trained = keras.Model(network.inputs, logits)
    trained.compile(
        keras.optimizers.Adam(4e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    trained.fit(pixels.astype(np.float32), target, batch_size=32, epochs=24, verbose=0)
    answers = network.predict(pixels.astype(np.float32), verbose=0)
    network.save(path)
    attach_to_keras(path, _tiny_metadata(spec, answers["features"].mean(axis=(1, 2)), len(films)))


def _pixels(path: Path, spec: InputSpec) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return preprocess(np.asarray(image.convert("L")), spec)


def _tiny_network(keras):
    x = pixels = keras.Input((TINY_SIDE, TINY_SIDE, 1), name="pixels")
    x = keras.layers.Rescaling(1.0 / 128.0, -127.0 / 128.0)(x)
    for index, (channels, stride) in enumerate(((12, 2), (24, 2), (32, 1))):
        x = keras.layers.Conv2D(
            channels, 3, strides=stride, padding="same", use_bias=False, name=f"block{index}"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.8, name=f"block{index}_bn")(x)
        x = keras.layers.ReLU(6.0, name=f"block{index}_relu6")(x)
        if index == 1:
            features = keras.layers.Activation("linear", name="features")(x)
    evidence = keras.layers.Conv2D(len(LABELS), 1, name="evidence")(x)
    return keras.Model(pixels, {"evidence": evidence, "features": features}, name="tiny_test")


def _tiny_metadata(spec: InputSpec, features: NDArray[np.float32], films: int) -> ModelMetadata:
    measured = {
        "measured_on": "generated films of the test suite",
        "films": films,
        "sensitivity": Estimate(0.95, 0.90, 0.98),
        "specificity": Estimate(0.95, 0.90, 0.98),
    }
    return ModelMetadata(
        name="edge-xray-test",
        version="1.0.0",
        labels=(
            Label("normal", "none", "No sign of pneumonia found."),
            Label("bacterial", "urgent", "Signs of bacterial pneumonia: see a clinician now."),
            Label("viral", "supportive", "Signs of viral pneumonia: supportive care."),
        ),
        input=spec,
        operating_points=(
            OperatingPoint("screening", 0.3, 0.2, 0.45, "set by hand", **measured),
            OperatingPoint("balanced", 0.5, 0.4, 0.6, "set by hand", **measured),
            OperatingPoint("rule-in", 0.8, 0.7, 0.9, "set by hand", **measured),
        ),
        intended_use=IntendedUse(
            summary="Generated films of the test suite.",
            not_for="Anything else.",
            body_part=("CHEST",),
            modalities=("CR", "DX"),
            views=("AP",),
            age_min_years=1.0,
            age_max_years=5.0,
        ),
        features=_statistics(features),
        architecture="tiny_test",
        training={"fingerprint": "0" * 64, "seed": 7},
        licence="CC0-1.0",
    )


def _statistics(features: NDArray[np.float32], kept: int = 6) -> FeatureStatistics:
    """Principal components and thresholds by the formula in `FeatureStatistics`."""
    centred = features - features.mean(axis=0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    components, variances = rows[:kept], singular[:kept] ** 2 / len(features)
    z = centred @ components.T
    residual = np.linalg.norm(centred - z @ components, axis=1)
    scale = float(np.sqrt((residual**2).mean()))
    score = np.sqrt((z**2 / variances).sum(axis=1) / kept) + residual / scale
    return FeatureStatistics(
        mean=features.mean(axis=0).astype(np.float32),
        components=components.astype(np.float32),
        variances=variances.astype(np.float32),
        residual_scale=scale,
        unlike=float(np.quantile(score, 0.999)),
        foreign=float(score.max() * 1.5),
        films=len(features),
        fitted_on="generated films",
    )
