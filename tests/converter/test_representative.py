"""Which films may set the ranges of int8."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_xray.decode import decode
from edge_xray.errors import UsageError
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split, SplitFilm, file_sha256
from edge_xray.preprocess import preprocess
from edge_xray.unseen_films import HASH_DIGITS
from edge_xray_converter.representative import (
    RepresentativeSet,
    draw_films,
    draw_representative,
    hash_prefix,
    refuse_overlap,
)


def film(number, label="normal", part="train", patient="", group="", sha256=""):
    return SplitFilm(f"{number}.png", label, patient, group, sha256 or f"{number:064d}", part)


def test_only_training_films_are_drawn_and_labels_are_level(film_folder, tiny_split):
    split = Split.read(tiny_split)
    drawn = draw_representative(film_folder, split, films=30, seed=1)
    assert {film.part for film in drawn.films} == {"train"}
    assert drawn.record()["per_label"] == {"bacterial": 10, "normal": 10, "viral": 10}
    assert drawn.record()["part"] == "train"
    paths = [film.path for film in drawn.films]
    assert paths == sorted(paths)


def test_of_few_films_of_a_label_all_are_drawn_and_the_others_make_up_the_number():
    pool = [film(i, "normal") for i in range(2)] + [film(i, "viral") for i in range(2, 30)]
    for wanted, of_each in ((3, (2, 1)), (4, (2, 2)), (12, (2, 10)), (40, (2, 28))):
        drawn = [film.label for film in draw_films(pool, wanted, 0)]
        assert (drawn.count("normal"), drawn.count("viral")) == of_each


def test_without_a_split_all_films_of_the_folder_are_drawn_from(film_folder):
    drawn = draw_representative(film_folder, None, films=4)
    assert len(list(drawn.inputs(InputSpec(32, 32)))) == 4
    prefixes = [file_sha256(drawn.root / film.path)[:HASH_DIGITS] for film in drawn.films]
    assert drawn.record()["film_sha256_prefixes"] == sorted(prefixes)
    assert drawn.record()["part"] == ""


def test_the_draw_is_the_same_in_every_process(film_folder, tiny_split):
    program = (
        "import json, sys, pathlib\n"
        "from edge_xray.labelled import Split\n"
        "from edge_xray_converter.representative import draw_representative\n"
        "data, split = map(pathlib.Path, sys.argv[1:])\n"
        "drawn = draw_representative(data, Split.read(split), films=12)\n"
        "print(json.dumps(drawn.record()))\n"
    )
    records = {
        subprocess.run(
            [sys.executable, "-c", program, film_folder, tiny_split],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(3)
    }
    assert len(records) == 1


def test_the_draw_is_the_seed_s(film_folder, tiny_split):
    split = Split.read(tiny_split)
    first, same, other = (
        draw_representative(film_folder, split, films=12, seed=seed) for seed in (1, 1, 2)
    )
    assert first == same
    assert first.record()["fingerprint"] != other.record()["fingerprint"]


def test_patients_come_before_second_films_of_a_patient(film_folder, tiny_split):
    split = Split.read(tiny_split)
    patients = {film.patient for film in split.part("train")}
    drawn = draw_representative(film_folder, split, films=24)
    assert len(patients) > 24
    assert len({film.patient for film in drawn.films}) == 24


def test_inputs_are_what_the_device_would_see(film_folder, tiny_split):
    drawn = draw_representative(film_folder, Split.read(tiny_split), films=3)
    for spec in (InputSpec(32, 32), InputSpec(24, 40, 3, "bilinear")):
        inputs = list(drawn.inputs(spec))
        assert len(inputs) == 3
        for film, pixels in zip(drawn.films, inputs, strict=True):
            seen = preprocess(decode(drawn.root / film.path, spec).pixels, spec)
            assert pixels.dtype == "uint8" and np.array_equal(pixels, seen)


def test_a_film_that_changed_since_the_split_is_refused(write_film, tmp_path):
    for label in ("normal", "viral"):
        write_film(tmp_path / label / "a.png", label)
    films = [
        SplitFilm("normal/a.png", "normal", "", "", "0" * 64, "train"),
        SplitFilm("viral/a.png", "viral", "", "", "1" * 64, "train"),
    ]
    drawn = draw_representative(tmp_path, Split(0, tuple(films)))
    with pytest.raises(UsageError, match="not the one that was split"):
        list(drawn.inputs(InputSpec(32, 32)))
    (tmp_path / "normal/a.png").unlink()
    with pytest.raises(UsageError, match=r"normal.a\.png: a film of the split must be readable"):
        list(drawn.inputs(InputSpec(32, 32)))
    (tmp_path / "normal/a.png").write_text("no film")
    films[0] = replace(films[0], sha256=file_sha256(tmp_path / "normal/a.png"))
    with pytest.raises(UsageError, match=r"normal.a\.png: a film of the split must be readable"):
        list(draw_representative(tmp_path, Split(0, tuple(films))).inputs(InputSpec(32, 32)))


@pytest.mark.parametrize(
    ("field", "words"),
    [("sha256", "the same film"), ("patient", "the same patient"), ("group", "a duplicate")],
)
def test_a_split_that_shares_films_patients_or_duplicates_is_refused(film_folder, field, words):
    shared = {field: "f" * 64}
    split = Split(0, (film(1, part="train", **shared), film(2, part="test", **shared)))
    with pytest.raises(UsageError, match=words):
        draw_representative(film_folder, split)


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(6, 11), max_size=8))
def test_films_of_different_patients_never_overlap(train, test):
    refuse_overlap(
        [film(i, patient=f"p{i}", group=f"g{i}") for i in train],
        [film(i, patient=f"p{i}", group=f"g{i}") for i in test],
    )


def test_films_without_a_known_patient_do_not_count_as_one_patient():
    refuse_overlap([film(1)], [film(2)])
    drawn = RepresentativeSet(Path(), (film(1), film(2, patient="p2")), 0, "train")
    assert drawn.record()["patient_sha256_prefixes"] == [hash_prefix("p2")]


def test_an_empty_training_part_is_refused(film_folder):
    with pytest.raises(UsageError, match="no part 'train'"):
        draw_representative(film_folder, Split(0, (film(1, part="test"),)))


def test_no_films_asked_for_is_refused(film_folder, tiny_split):
    with pytest.raises(UsageError, match="at least 1"):
        draw_representative(film_folder, Split.read(tiny_split), films=0)


def test_blank_films_in_several_parts_set_no_range_and_are_no_leak(write_film, tmp_path):
    films = []
    for number in range(8):
        for label in ("normal", "viral"):
            path = tmp_path / label / f"{number}.png"
            write_film(path, label, number)
            if number >= 5:
                Image.new("L", (90, 70)).save(path)
            part = "train" if number % 2 == 0 else "test"
            films.append(
                SplitFilm(
                    f"{label}/{path.name}", label, "", f"{label}{number}", file_sha256(path), part
                )
            )
    drawn = draw_representative(tmp_path, Split(0, tuple(films), ""))
    assert {film.path for film in drawn.films} == {
        f"{label}/{number}.png" for label in ("normal", "viral") for number in (0, 2, 4)
    }
