"""The shipped samples are what docs/samples.md says, and can be made again."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from edge_xray.classifier import Classifier
from edge_xray.decode import decode
from edge_xray.errors import FilmError, MissingExtraError
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split, SplitFilm, file_sha256, read_labelled_folder
from edge_xray.preprocess import preprocess, reduction_factor

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
SPEC = InputSpec(224, 224, 1)
COMPOSITES = sorted(
    path for label in ("normal", "bacterial", "viral") for path in SAMPLES.glob(f"{label}-*.jpeg")
)
MOST_BYTES = 1_000_000
"""What the samples may add to a clone, in bytes."""


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_samples", ROOT / "docs" / "make_samples.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script()


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory, script: ModuleType) -> Iterator[Path]:
    """A folder in the Kaggle layout with as many drawn films of 40x32 pixels as are needed."""
    root = tmp_path_factory.mktemp("chest_xray")
    generator = np.random.default_rng(1)
    names = {
        "normal": ("NORMAL", "IM-{:04d}-0001.jpeg"),
        "bacterial": ("PNEUMONIA", "person{}_bacteria_1.jpeg"),
        "viral": ("PNEUMONIA", "person{}_virus_1.jpeg"),
    }
    for label, (folder, name) in names.items():
        (root / "train" / folder).mkdir(parents=True, exist_ok=True)
        for number in range(script.COMPOSITES[label] * script.FILMS_PER_COMPOSITE + 1):
            pixels = generator.integers(0, 256, (32, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / folder / name.format(number))
    yield root


def test_the_readme_lists_every_file() -> None:
    text = (ROOT / "docs" / "samples.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    listed: set[str] = set()
    for cell in first_cells:
        names = re.findall(r"`([^`]+)`", cell)
        if "…" in cell:
            stem, first = names[0].rsplit("-", 1)
            last = names[1].rsplit("-", 1)[1]
            numbers = range(int(first.split(".")[0]), int(last.split(".")[0]) + 1)
            names = [f"{stem}-{number}.jpeg" for number in numbers]
        listed.update(names)
    films = {path.name for path in SAMPLES.iterdir() if not path.name.startswith(".")}
    assert {name for name in films if not name.startswith("__")} == listed


def test_the_samples_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir() if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("path", COMPOSITES, ids=lambda path: path.name)
def test_a_composite_reads_as_the_script_made_it(path: Path, script: ModuleType) -> None:
    film = decode(path, SPEC)
    assert (film.format, film.width, film.height) == ("JPEG", *script.CLINIC_SIZE)
    factor = reduction_factor(*script.CLINIC_SIZE, SPEC)
    columns, rows = script.CLINIC_SIZE
    assert film.pixels.shape == (-(-rows // factor), -(-columns // factor))
    assert film.pixels.std() > 30  # grey levels; single training films have 40 to 70


def test_the_cut_sample_is_damaged() -> None:
    with pytest.raises(FilmError) as caught:
        decode(SAMPLES / "cut-short.jpeg", SPEC)
    assert caught.value.reason == "truncated"


def test_the_dicom_sample_has_the_pixels_of_the_jpeg_inside() -> None:
    pydicom = pytest.importorskip("pydicom")
    path = SAMPLES / "bacterial-3.dcm"
    record = pydicom.dcmread(path)
    assert (record.Modality, record.BodyPartExamined, record.ViewPosition) == ("CR", "CHEST", "AP")
    assert record.PatientAge == "003Y"
    frame = next(pydicom.encaps.generate_frames(record.PixelData, number_of_frames=1))
    inside = decode(frame, SPEC)
    wrapped = decode(path, SPEC)
    assert (wrapped.format, wrapped.width, wrapped.height) == ("DICOM", inside.width, inside.height)
    difference = np.abs(
        preprocess(wrapped.pixels, SPEC).astype(int) - preprocess(inside.pixels, SPEC).astype(int)
    )
    assert difference.max() <= 1


def test_the_script_makes_the_same_bytes_twice(
    tmp_path: Path, script: ModuleType, small_folder: Path
) -> None:
    first = script.make_samples(small_folder, None, 3, tmp_path / "first")
    second = script.make_samples(small_folder / "train", None, 3, tmp_path / "second")
    other = script.make_samples(small_folder, None, 4, tmp_path / "other")
    assert [path.name for path in first] == [path.name for path in second]
    assert [file_sha256(path) for path in first] == [file_sha256(path) for path in second]
    assert file_sha256(first[0]) != file_sha256(other[0])
    assert {path.name for path in first} == {path.name for path in SAMPLES.iterdir()}


def test_the_script_keeps_to_the_train_part(script: ModuleType, small_folder: Path) -> None:
    films = read_labelled_folder(small_folder / "train")
    split = Split(
        0,
        tuple(
            SplitFilm(f.path, f.label, f.patient, f.patient, "", "train" if i % 2 else "test")
            for i, f in enumerate(films)
        ),
    )
    path = small_folder / "split.json"
    split.write(path)
    usable = {film.path for film in script.usable_films(small_folder / "train", path)}
    assert usable == {film.path for film in split.part("train")}


def test_too_few_patients_is_one_line(small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "few" / "normal").mkdir(parents=True)
    (tmp_path / "few" / "viral").mkdir()
    film = next((small_folder / "train" / "NORMAL").iterdir()).read_bytes()
    for label in ("normal", "viral"):
        (tmp_path / "few" / label / "1.jpeg").write_bytes(film)
    script = str(ROOT / "docs" / "make_samples.py")
    finished = subprocess.run(
        [sys.executable, script, str(tmp_path / "few"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 2
    assert finished.stderr.splitlines() == [
        "make_samples: class normal: expected films of at least 32 patients, found 1"
    ]


def test_without_the_dicom_extra_nothing_is_written(
    script: ModuleType, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"\.\[dicom\]\""):
        script.make_samples(small_folder, None, 3, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["edge-xray-lite0", "edge-xray-tiny"])
def test_the_search_takes_the_composites_and_nothing_else(script: ModuleType, model: str) -> None:
    classifier = Classifier(ROOT / "models" / f"{model}.tflite")
    for path in COMPOSITES:
        label = path.name.rsplit("-", 1)[0]
        if path.suffix == ".jpeg":
            assert script.refusal(path.read_bytes(), label, classifier) == "", path.name
    normal = (SAMPLES / "normal-1.jpeg").read_bytes()
    assert script.refusal(normal, "viral", classifier) == "called normal, none"
    assert script.refusal(script.to_jpeg(script.text_page()), "normal", classifier) == "page"


@pytest.mark.films
@pytest.mark.skipif("EDGE_XRAY_DATA" not in os.environ, reason="EDGE_XRAY_DATA is not set")
def test_the_shipped_composites_are_the_means_of_the_films_listed(script: ModuleType) -> None:
    data = Path(os.environ["EDGE_XRAY_DATA"]) / "train"
    groups = json.loads((SAMPLES / script.LIST_NAME).read_text(encoding="utf-8"))
    label_of = {film.path: film for film in read_labelled_folder(data)}
    for name, paths in groups.items():
        assert len(paths) == script.FILMS_PER_COMPOSITE
        assert {label_of[path].label for path in paths} == {name.rsplit("-", 1)[0]}
        assert len({label_of[path].patient for path in paths}) == len(paths)
        shipped = SAMPLES / f"{name}.jpeg"
        if shipped.is_file():
            new = np.asarray(script.mean_of(data, paths), np.int16)
            with Image.open(shipped) as image:
                difference = np.abs(new - np.asarray(image, np.int16))
            assert difference.mean() < 1.5, name  # grey levels; what JPEG at quality 85 takes


def test_the_shipped_model_tells_the_samples_apart() -> None:
    pytest.importorskip("pydicom")
    finished = subprocess.run(
        [sys.executable, "-m", "edge_xray", "scan", str(SAMPLES), "--format", "csv"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    rows = {Path(row["path"]).name: row for row in csv.DictReader(io.StringIO(finished.stdout))}
    for name, row in rows.items():
        cls = name.rsplit("-", 1)[0]
        if cls == "normal":
            assert (row["status"], row["label"]) == ("scored", "normal"), row
        elif cls in ("bacterial", "viral"):
            assert row["status"] == "scored" and row["label"] in ("bacterial", "viral"), row
        else:
            assert row["status"] == "not_scored" and row["reason"], row
    assert len(rows) >= 12
