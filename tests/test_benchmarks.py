"""The benchmarks run and say what they measured; how fast is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from edge_xray import pixel_statistics

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )


@pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="wants posix_spawn")
def test_all_contenders_take_turns(tiny_model: Path, tmp_path: Path) -> None:
    record = tmp_path / "rows.json"
    done = run(
        *("benchmarks/scan.py", "--int8", str(tiny_model), "--json", str(record)),
        *("--count", "2", "--rounds", "1", "--size", "small"),
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(record.read_text())["rows"]}
    assert {"edge-xray", "edge-xray, 2 workers", "floor", "floor, 2 processes"} <= set(rows)
    assert all(10 < row["peak_mib"] < 400 for row in rows.values())
    assert "2 films of 224 x 224" in done.stdout and "| floor |" in done.stdout


def test_a_contender_that_fails_is_an_error(tmp_path: Path) -> None:
    network = tmp_path / "none.tflite"
    network.write_bytes(b"none")
    done = run("benchmarks/scan.py", "--int8", str(network), "--count", "1", "--rounds", "1")
    assert done.returncode == 1 and "none.tflite" in done.stderr
    assert "Traceback" not in done.stderr


LITE0 = "models/edge-xray-lite0.tflite"
RECORD = ("--record", "models/edge-xray-lite0.record.json")
OF_SHIPPED = ("--split", "models/split.json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("benchmarks/scan.py", "--int8", "none"), "/none: no such file"),
        (("benchmarks/scan.py", "--int8", LITE0, "--films", "models"), "expected JPEGs in it"),
        (("benchmarks/scan.py", "--int8", LITE0, "--count", "0"), "must be 1 or more"),
        (("benchmarks/quality_gate.py", LITE0, "--data", "samples", *OF_SHIPPED), ".jpeg: "),
        (("benchmarks/training_step.py", "--architecture", "none"), "'none'"),
        (("benchmarks/clinic_films.py", "models", "1", "8", "8", "none.png"), "'models'"),
        (("benchmarks/contenders.py", "none", "samples", "{}"), "'none'"),
        (("tests/compare_decisions.py", "none.csv", "none.csv", "there"), "none.csv: no such file"),
        (("docs/make_card.py", "none.tflite", *RECORD), "none.tflite: no such file"),
        (("docs/make_reference.py", "--chekc"), "--chekc"),
        (("docs/make_pictures.py", "--none"), "--none"),
    ],
    ids=lambda value: Path(value[0]).name if isinstance(value, tuple) else "",
)
def test_wrong_use_of_a_script_is_one_line(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_pieces_that_are_lost_are_told_and_whole_films_are_not_refused() -> None:
    done = run("benchmarks/damaged_jpegs.py", "samples", "--places", "2")
    assert done.returncode == 0, done.stderr
    rows = {row[0]: (int(row[1]), int(row[2])) for row in table(done.stdout)}
    assert rows["none"] == (11, 1)  # the sample that was cut short
    assert rows["lost"] == (20, 20)
    # In two of twenty places a sample has nothing but zeros itself.
    assert rows["zeros"] == (18, 18)
    assert run("benchmarks/damaged_jpegs.py", "models").returncode == 2


def table(text: str) -> list[list[str]]:
    """Rows of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]


def test_installed_size() -> None:
    done = run("benchmarks/installed_size.py", sys.prefix)
    assert done.returncode == 0, done.stderr
    assert "numpy" in done.stdout and done.stdout.splitlines()[-1].endswith("in all")
    assert run("benchmarks/installed_size.py", sys.prefix, "--most", "1").returncode == 1


def test_no_environment_has_no_size(tmp_path: Path) -> None:
    done = run("benchmarks/installed_size.py", str(tmp_path))
    assert done.returncode == 2 and "expected a virtual environment" in done.stdout


def test_the_quality_gate_passes_films_and_refuses_spoilt_ones(
    tiny_model: Path, film_folder: Path, tiny_split: Path, tmp_path: Path
) -> None:
    counts = tmp_path / "gate.json"
    done = run(
        *("benchmarks/quality_gate.py", str(tiny_model), "--data", str(film_folder)),
        *("--split", str(tiny_split), "--json", str(counts)),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(counts.read_text())
    films = record["as it is"]["films"]
    assert films > 10 and sum(record["as it is"]["reasons"].values()) < 0.2 * films
    for name, reason in (("inverted", "inverted"), ("on its side", "rotated")):
        assert record[name]["reasons"][reason] > 0.8 * films
    white = record["a white margin, 20 % a side more"]["reasons"]
    assert sum(white.values()) > 0.8 * films
    missing = run(
        *("benchmarks/quality_gate.py", str(tiny_model), "--data", str(tmp_path / "none")),
        *("--split", str(tiny_split)),
    )
    assert missing.returncode == 2 and len(missing.stderr.splitlines()) == 1


@pytest.fixture(scope="session")
def many_films(draw_film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred drawn films, enough to fit tables of 64 blocks."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(100):
        label = ("normal", "bacterial", "viral")[number % 3]
        Image.fromarray(draw_film(label, number)).save(folder / f"{number}.png")
    return folder


def test_other_pictures_are_counted_by_kind(tiny_model: Path, draw_film, tmp_path: Path) -> None:
    Image.fromarray(draw_film("normal", 1, height=224, width=240)).save(tmp_path / "film.png")
    Image.linear_gradient("L").save(tmp_path / "photograph.png")
    Image.linear_gradient("L").save(tmp_path / "copy.bmp")
    Image.new("L", (300, 300), 90).save(tmp_path / "even.png")
    Image.linear_gradient("L").resize((40, 40)).save(tmp_path / "icon.png")
    (tmp_path / "no-picture.png").write_bytes(b"no picture")
    (tmp_path / "no-volume.nii").write_bytes(b"no volume")
    z, y, x = np.mgrid[-1:1:20j, -1:1:30j, -1:1:40j]
    volume = SimpleITK.GetImageFromArray((100 * (x + y + z)).astype(np.int16))
    SimpleITK.WriteImage(volume, tmp_path / "volume.nii.gz")
    record = tmp_path / "reasons.json"
    done = run(
        *("benchmarks/other_pictures.py", str(tmp_path), "--model", str(tiny_model)),
        *("--json", str(record)),
    )
    assert done.returncode == 0, done.stderr
    ((name, kinds),) = json.loads(record.read_text()).items()
    numbers = {kind: sum(counts.values()) for kind, counts in kinds.items()}
    ways = ("as it is", "square", "small", "on a black ground", "inverted", "blurred")
    assert numbers == {
        **{f"picture, {way}": 2 for way in (*ways, "contrast stretched")},
        "picture, a part": 6,
        "slice across": 480,
        "slice from the front": 120,
        "slice from the side": 120,
        **{f"through, {side}": 10 for side in ("across", "from the front", "from the side")},
    }
    assert kinds["picture, as it is"].get("scored", 0) == 1
    assert f"{name} scores {tmp_path / 'film.png'}, picture, as it is" in done.stderr
    assert f"left out: {tmp_path / 'no-volume.nii'}: expected a CT volume" in done.stderr


def test_pictures_from_a_ct_show_a_chest_from_all_sides(tiny_model: Path, tmp_path: Path) -> None:
    z, y, x = np.mgrid[-1:1:20j, -1:1:40j, -1:1:40j]
    chest = np.full(z.shape, -1000, np.int16)
    chest[(x / 0.9) ** 2 + (y / 0.6) ** 2 < 1] = 40
    for side in (-0.4, 0.4):
        chest[((x - side) / 0.3) ** 2 + (y / 0.4) ** 2 + (z / 0.8) ** 2 < 1] = -800
    volume = SimpleITK.GetImageFromArray(chest)
    volume.SetSpacing((8.0, 8.0, 16.0))
    SimpleITK.WriteImage(volume, tmp_path / "chest.nii.gz")
    record = tmp_path / "reasons.json"
    done = run(
        *("benchmarks/ct_pictures.py", str(tmp_path / "chest.nii.gz"), "--model", str(tiny_model)),
        *("--pictures", str(tmp_path), "--json", str(record)),
    )
    assert done.returncode == 0, done.stderr
    ((_, kinds),) = json.loads(record.read_text()).items()
    numbers = {kind: sum(counts.values()) for kind, counts in kinds.items()}
    assert numbers == {
        "from the front": 15,
        "from half the side": 18,
        "from the side": 24,
        "slice across": 24,
        "slice seen from the front": 24,
        "slice seen from the side": 24,
    }
    front, side = (
        np.asarray(Image.open(tmp_path / name), float)
        for name in ("from the front/chest 0 linear.png", "from the side/chest 90 linear.png")
    )
    # Two lungs beside a mediastinum from the front, and a narrower body from the side.
    middle = front[len(front) // 2]
    width = len(middle)
    assert middle[width // 2] > middle[width // 4] and middle[width // 2] > middle[3 * width // 4]
    assert side.shape[0] == front.shape[0] and side.shape[1] < 0.8 * front.shape[1]
    none = run("benchmarks/ct_pictures.py", str(record), "--model", str(tiny_model))
    assert none.returncode == 2 and "expected a CT volume" in none.stderr
    assert len(none.stderr.splitlines()) == 1


def test_the_pixel_gates_tables_are_fitted_again(many_films: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    (many_films / "torn.png").write_bytes((many_films / "0.png").read_bytes()[:300])
    done = run("benchmarks/pixel_gate.py", str(many_films), "--json", str(figures))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    record = json.loads(figures.read_text())
    assert (record["films"], sum(record["unread"].values())) == (100, 1)
    template = np.array(record["CHEST_TEMPLATE"])
    assert template.shape == (8, 8)
    assert np.array_equal(template, template[:, ::-1])
    assert template.mean() == pytest.approx(0, abs=0.01)
    assert template.std() == pytest.approx(1, abs=0.01)
    # Tables fitted on these films tell them from themselves upside down and cut.
    assert record["measures"]["uprightness"]["quantiles"][4] > 0
    assert record["measures"]["uprightness, upside down"]["quantiles"][4] < 0
    assert (
        record["measures"]["bases"]["quantiles"][4]
        > record["measures"]["bases, upper 50%"]["quantiles"][4]
    )


def test_too_few_films_for_tables_is_one_line(film_folder: Path, tmp_path: Path) -> None:
    film = next(film_folder.rglob("*.png"), None) or next(film_folder.rglob("*.jpeg"))
    (tmp_path / film.name).write_bytes(film.read_bytes())
    done = run("benchmarks/pixel_gate.py", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"pixel_gate: {tmp_path}: expected at least 64 readable films, got 1; name a folder with more"
    ]


@pytest.mark.films
@pytest.mark.skipif("EDGE_XRAY_DATA" not in os.environ, reason="EDGE_XRAY_DATA names no films")
def test_the_shipped_tables_are_those_of_the_films(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    films = str(Path(os.environ["EDGE_XRAY_DATA"]) / "train")
    done = run("benchmarks/pixel_gate.py", films, "--json", str(figures))
    assert done.returncode == 0, done.stderr
    record = json.loads(figures.read_text())
    for name in ("CHEST_TEMPLATE", "UPRIGHT_QUARTER", "LUNG_BASES", "LUNG_TOPS"):
        shipped = getattr(pixel_statistics, name)
        assert np.abs(shipped - np.array(record[name])).max() < 0.015, name
    assert sum(record["refused"].values()) < 0.005 * record["films"]


def test_training_steps_are_timed_in_turns():
    done = run(
        "benchmarks/training_step.py",
        *("--input-size", "32", "--batch-size", "2", "--rounds", "1", "--steps", "1"),
    )
    assert done.returncode == 0, done.stderr
    named = [line.split()[0] for line in done.stdout.splitlines()]
    assert named == ["keras", "fused"] and done.stdout.splitlines()[0].endswith("1.00 x keras")
