"""Which films may judge a model in a parity report: of which part, of which split, of which patient."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from edge_xray.labelled import Split, SplitFilm, file_sha256, read_labelled_folder
from edge_xray.model_file import read_metadata
from edge_xray_converter.representative import hash_prefix

QUICK = ("--resamples", 100, "--no-timing", "--max-flips", 1, "--max-mean-shift", 1)


def test_films_that_set_the_ranges_may_not_judge(run_cli, tiny_float, tiny_model, film_folder):
    code, _, err = run_cli("parity", tiny_float, tiny_model, "--data", film_folder)
    assert code == 2
    assert "int8 ranges were measured on" in err and "\n" not in err


def test_the_split_beside_the_reference_says_which_films_judge(
    run_cli, tiny_keras, tiny_model, film_folder, parity_films, tmp_path
):
    stem = tmp_path / "parity"
    quick = ["--resamples", 100, "--no-timing", "--max-flips", 1, "--max-mean-shift", 1]
    code, _, err = run_cli(
        "parity", tiny_keras, tiny_model, "--data", film_folder, "-o", stem, *quick
    )
    assert code in (0, 1) and "Films of part test of split.json" in err
    split = Split.read(tiny_keras.parent / "split.json")
    record = json.loads(stem.with_suffix(".json").read_text())
    assert record["films"]["split_fingerprint"] == split.fingerprint()
    # Films of another place have no part in it: all of them judge.
    code, _, err = run_cli(
        "parity", tiny_keras, tiny_model, "--data", parity_films / "films", "-o", stem, *quick
    )
    assert code in (0, 1) and "Films of part" not in err
    assert json.loads(stem.with_suffix(".json").read_text())["films"]["split_fingerprint"] is None


@pytest.fixture
def run_folder(repack, tiny_float, write_film, tmp_path):
    """A run's folder, ``run/net.tflite`` with its ``split.json``, and its films: 4 to train, 4 to test."""
    films = []
    for label in ("normal", "viral"):
        for seed in range(4):
            path = write_film(tmp_path / "films" / label / f"{seed}.png", label, seed)
            part = "test" if seed < 2 else "train"
            films.append(SplitFilm(f"{label}/{seed}.png", label, "", "", file_sha256(path), part))
    split = Split(0, tuple(films))
    (tmp_path / "run").mkdir()
    split.write(tmp_path / "run" / "split.json")
    repack(
        tiny_float, tmp_path / "run" / "net.tflite", training={"split_sha256": split.fingerprint()}
    )
    return tmp_path / "run"


def exchanged(split):
    """The same films, with those of training to test on."""
    other = {"test": "train", "train": "test"}
    return Split(
        split.seed,
        tuple(dataclasses.replace(film, part=other[film.part]) for film in split.films),
    )


def test_a_split_that_the_model_was_not_trained_with_is_refused(run_cli, run_folder, tmp_path):
    net, beside = run_folder / "net.tflite", run_folder / "split.json"
    command = ("parity", net, net, "--data", tmp_path / "films", "-o", tmp_path / "r", *QUICK)
    assert run_cli(*command)[0] == 0
    wrong = tmp_path / "wrong.json"
    exchanged(Split.read(beside)).write(wrong)
    # Its own split is at hand, and knows the films.
    code, _, err = run_cli(*command, "--split", wrong)
    assert code == 2
    assert "one of the films it was trained with" in err and "\n" not in err
    beside.unlink()
    code, _, err = run_cli(*command, "--split", wrong)
    assert code == 2
    assert "another split" in err and "\n" not in err
    wrong.rename(beside)
    code, _, err = run_cli(*command)
    assert code == 2
    assert "another split" in err


def test_a_split_of_films_from_elsewhere_is_taken_where_the_model_s_own_tells_them_apart(
    run_cli, run_folder, parity_films, tmp_path
):
    net = run_folder / "net.tflite"
    command = (
        "parity", net, net, "--data", parity_films / "films",
        "--split", parity_films / "split.json", "-o", tmp_path / "r", *QUICK,
    )  # fmt: skip
    assert run_cli(*command)[0] == 0
    (run_folder / "split.json").unlink()
    assert run_cli(*command)[0] == 2


def test_training_films_in_another_folder_do_not_judge(run_cli, run_folder, tmp_path):
    for label in ("normal", "viral"):
        (tmp_path / "other" / label).mkdir(parents=True)
        (tmp_path / "other" / label / "x.png").write_bytes(
            (tmp_path / "films" / label / "3.png").read_bytes()
        )
    net = run_folder / "net.tflite"
    code, _, err = run_cli("parity", net, net, "--data", tmp_path / "other")
    assert code == 2
    assert "one of the films it was trained with" in err and "\n" not in err


@pytest.mark.parametrize("gone", [("0",), ("0", "1")])
def test_a_missing_test_film_does_not_let_training_films_judge(run_cli, run_folder, tmp_path, gone):
    for name in gone:
        for label in ("normal", "viral")[: len(gone)]:
            (tmp_path / "films" / label / f"{name}.png").unlink()
    net = run_folder / "net.tflite"
    code, _, err = run_cli("parity", net, net, "--data", tmp_path / "films")
    assert code == 2
    assert "normal/0.png" in err and "missing" in err and "\n" not in err


def test_a_named_split_must_have_its_films_and_two_classes(
    run_cli, run_folder, write_film, tmp_path
):
    net, split = run_folder / "net.tflite", Split.read(run_folder / "split.json")
    command = ("parity", net, net, "--data", tmp_path / "films", "--split")
    normal = (film for film in split.films if film.part == "train" or film.label == "normal")
    Split(0, tuple(normal)).write(tmp_path / "one.json")
    code, _, err = run_cli(*command, tmp_path / "one.json")
    assert code == 2 and "expected films of two classes in part 'test', found one" in err
    write_film(tmp_path / "films" / "viral" / "1.png", "viral", 999)
    code, _, err = run_cli(*command, run_folder / "split.json")
    gone = Path("viral/1.png")
    assert code == 2 and f"{gone}: named by split.json and missing or changed since" in err


def test_a_part_without_a_split_is_refused(run_cli, run_folder, write_film, tmp_path):
    for label in ("normal", "viral"):
        write_film(tmp_path / "elsewhere" / label / "x.png", label, 90)
    net = run_folder / "net.tflite"
    command = ("parity", net, net, "-o", tmp_path / "r", *QUICK, "--data")
    for part in ("test", "train"):
        code, _, err = run_cli(*command, tmp_path / "elsewhere", "--part", part)
        assert code == 2
        assert f"--part {part} needs --split" in err and "\n" not in err
    assert not (tmp_path / "r.json").exists()
    code, _, err = run_cli(*command, tmp_path / "films", "--part", "test")
    assert code == 0, err
    assert json.loads((tmp_path / "r.json").read_text())["films"]["part"] == "test"


@pytest.mark.parametrize("count", [1, 5])
def test_all_films_of_another_place_judge_and_it_is_said(
    run_cli, run_folder, write_film, tmp_path, count
):
    # They bear the names of films of the split, of some of them or of all.
    for label in ("normal", "viral"):
        for seed in range(count):
            write_film(tmp_path / "elsewhere" / label / f"{seed}.png", label, 90 + seed)
    net = run_folder / "net.tflite"
    code, _, err = run_cli(
        "parity", net, net, "--data", tmp_path / "elsewhere", "-o", tmp_path / "r", *QUICK
    )
    assert code == 0
    assert f"All {2 * count} films of elsewhere" in err


def test_patients_of_a_whole_folder_come_from_a_csv_or_are_said_to_be_unknown(
    run_cli, tiny_float, parity_films, tmp_path
):
    stem, table = tmp_path / "parity", tmp_path / "patients.csv"
    command = (
        "parity", tiny_float, tiny_float, "--data", parity_films / "films", "-o", stem, *QUICK,
    )  # fmt: skip
    split = Split.read(parity_films / "split.json")
    rows = "".join(f"{film.path},{film.patient}\n" for film in split.films)
    table.write_text("path,patient\n" + rows, encoding="utf-8")
    for more, patients, unknown, words in (
        ((), 120, 120, "120 films (patients not known: each film counts as one)"),
        (("--patients", table), 60, 0, "120 films of 60 patients ("),
    ):
        code, _, err = run_cli(*command, *more)
        assert code == 0, err
        record = json.loads(stem.with_suffix(".json").read_text())
        assert record["films"]["patients"] == patients
        assert record["films"]["patients_unknown"] == unknown
        for ending in (".md", ".html"):
            assert words in " ".join(stem.with_suffix(ending).read_text().split())
    # With a split the CSV must say what the split says.
    with_split = ("--split", parity_films / "split.json", "--patients", table)
    assert run_cli(*command, *with_split)[0] == 0
    table.write_text("path,patient\nviral/0.png,somebody\n", encoding="utf-8")
    code, _, err = run_cli(*command, *with_split)
    assert code == 2 and "was made with other patients" in err and "\n" not in err


@pytest.mark.skipif(
    sys.platform == "win32", reason="links need a right of their own on this system"
)
def test_a_broken_link_is_a_film_that_could_not_be_read(run_cli, tiny_float, write_film, tmp_path):
    for index in range(4):
        for label in ("normal", "bacterial", "viral"):
            write_film(tmp_path / "own" / label / f"{index}.png", label, 8000 + index)
    (tmp_path / "own" / "viral" / "gone.png").symlink_to("nowhere.png")
    stem = tmp_path / "parity"
    code, _, err = run_cli(
        "parity", tiny_float, tiny_float, "--data", tmp_path / "own", "-o", stem, *QUICK,
    )  # fmt: skip
    assert code == 0, err
    (unread,) = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))["films"]["unread"]
    assert unread["film"] == "viral/gone.png"


@pytest.mark.parametrize("viral", [0, 4])
def test_films_of_the_finding_without_its_class_judge_what_they_tell(
    run_cli, tiny_float, tiny_model, write_film, tmp_path, viral
):
    for index in range(12):
        write_film(tmp_path / "own" / "normal" / f"{index}.png", "normal", 8000 + index)
        write_film(tmp_path / "own" / "pneumonia" / f"{index}.png", "bacterial", 8000 + index)
    for index in range(viral):
        write_film(tmp_path / "own" / "viral" / f"{index}.png", "viral", 8000 + index)
    stem = tmp_path / "parity"
    code, _, err = run_cli(
        "parity", tiny_float, tiny_model, "--data", tmp_path / "own", "-o", stem, *QUICK,
    )  # fmt: skip
    assert code in (0, 1), err
    record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    own = record["models"][0]["figures"]
    assert own["sensitivity"]["value"] > 0.5 and own["class_accuracy"]["value"] > 0.5
    names = {check["name"] for check in record["comparisons"][0]["checks"]}
    assert "sensitivity drop" in names and "pair AUC drop" not in names


def test_other_films_of_a_patient_that_set_the_ranges_may_not_judge(
    run_cli, tiny_float, tiny_model, film_folder, write_film, tmp_path
):
    known = read_metadata(tiny_model).training["representative"]["patient_sha256_prefixes"]
    person = next(
        film.patient
        for film in read_labelled_folder(film_folder)
        if film.patient.startswith("person") and hash_prefix(film.patient) in known
    )
    write_film(tmp_path / "PNEUMONIA" / f"{person}_virus_999.jpeg", "viral", 77)
    write_film(tmp_path / "NORMAL" / "IM-9999-0001.jpeg", "normal", 78)
    code, _, err = run_cli("parity", tiny_float, tiny_model, "--data", tmp_path)
    assert code == 2
    assert "of a patient" in err


def test_the_shipped_models_may_be_judged_on_the_official_test_part(run_cli, write_film, tmp_path):
    # Its patients are numbered by cause: the training films have a person1 with bacteria, a person80 with a virus.
    for name in ("IM-0001-0001", "NORMAL2-IM-0012-0001"):
        write_film(tmp_path / f"test/NORMAL/{name}.jpeg", "normal", 1)
    for name in ("person1_virus_6", "person80_bacteria_391"):
        write_film(tmp_path / f"test/PNEUMONIA/{name}.jpeg", "viral", 2)
    models = Path(__file__).resolve().parents[2] / "models"
    learned = [film for film in Split.read(models / "split.json").films if film.part != "test"]
    viral = {film.patient for film in learned if film.label == "viral"}
    for count, name in enumerate(("lite0", "tiny"), start=5):
        net = models / f"edge-xray-{name}.tflite"
        known = read_metadata(net).training["representative"]["patient_sha256_prefixes"]
        # Another patient than the one with bacteria whose films set the ranges.
        namesake = next(
            film.patient
            for film in learned
            if hash_prefix(film.patient) in known and film.patient not in viral
            if film.label == "bacterial"
        )
        write_film(tmp_path / f"test/PNEUMONIA/{namesake}_virus_9999.jpeg", "viral", count)
        code, _, err = run_cli(
            "parity", net, net, "--data", tmp_path / "test", "-o", tmp_path / name, *QUICK
        )
        assert code == 0, err
        assert f"All {count} films of test" in err
    person = next(film.patient for film in learned if film.label == "bacterial")
    write_film(tmp_path / f"test/PNEUMONIA/{person}_bacteria_9999.jpeg", "bacterial", 3)
    code, _, err = run_cli("parity", net, net, "--data", tmp_path / "test")
    assert code == 2
    assert f"{person}_bacteria_9999.jpeg is of a patient of the films it was trained with" in err
