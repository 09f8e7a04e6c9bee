"""Splits keep patients and copies together, whatever the folder looks like."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_xray.cli import main
from edge_xray.errors import UsageError
from edge_xray.film_table import read_labels
from edge_xray.labelled import LabelledFilm, Split, SplitFilm, check_split, file_sha256
from edge_xray_trainer.grouping import film_groups
from edge_xray_trainer.splits import (
    fold_as_split,
    hold_out_films,
    make_folds,
    make_split,
)


def _films(patients: list[int]) -> list[LabelledFilm]:
    labels = ("normal", "bacterial", "viral")
    return [
        LabelledFilm(f"{labels[patient % 3]}/{index}.png", labels[patient % 3], f"person{patient}")
        for index, patient in enumerate(patients)
    ]


@settings(max_examples=15)
@given(
    patients=st.lists(st.integers(0, 89), min_size=210, max_size=310),
    copies=st.lists(st.tuples(st.integers(0, 299), st.integers(0, 299)), max_size=10),
    seed=st.integers(0, 2**16),
)
def test_no_patient_and_no_copy_stands_in_two_parts(
    patients: list[int], copies: list[tuple[int, int]], seed: int
) -> None:
    films = _films([*range(90), *patients])
    duplicates = list(range(len(films)))
    for first, second in copies:
        duplicates[first] = duplicates[second]
    groups, _ = film_groups(films, duplicates)
    split = make_split(films, [str(i) for i in range(len(films))], groups, seed=seed)
    for key in (lambda i: films[i].patient, lambda i: str(duplicates[i])):
        parts: dict[str, set[str]] = {}
        for index, film in enumerate(split.films):
            parts.setdefault(key(index), set()).add(film.part)
        assert all(len(found) == 1 for found in parts.values())
    assert sum(len(split.part(part)) for part in ("train", "validation", "test")) == len(films)
    for part in ("validation", "test"):
        assert {film.label for film in split.part(part)} == {"normal", "bacterial", "viral"}


def test_films_of_unknown_patients_are_grouped_by_their_copies_and_the_note_says_so() -> None:
    films = [LabelledFilm(f"a/{i}.png", "a") for i in range(4)]
    groups, note = film_groups(films, [0, 1, 0, 2])
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3
    assert "4 of 4 films is not known" in note


def test_the_note_says_no_more_than_there_is_to_say() -> None:
    plain = "Films of one patient and duplicates of each other are in one group."
    # The most films of a patient are a tenth of all, as many as a part may hold.
    films = [LabelledFilm(f"a/{i}.png", "a", f"p{i // 2}") for i in range(20)]
    assert film_groups(films, list(range(20)))[1] == plain
    # Films of unknown patients are nobody's: neither many of one, nor a patient whom copies join to another.
    films = [LabelledFilm(f"a/{i}.png", "a") for i in range(4)]
    assert "of 4 films (" not in film_groups(films, list(range(4)))[1]
    films.append(LabelledFilm("a/4.png", "a", "p0"))
    assert "joined" not in film_groups(films, [0, 1, 2, 3, 0])[1]


def test_the_note_says_which_patients_copies_joined() -> None:
    films = [LabelledFilm(f"a/{i}.png", "a", f"p{i // 2}") for i in range(8)]
    copies = [0, 1, 1, 2, 3, 4, 5, 6]
    groups, note = film_groups(films, copies)
    assert groups[0] == groups[3] and len(set(groups)) == 3
    assert "joined 2 patients to 1 group" in note
    assert "joined" not in film_groups(films, list(range(8)))[1]


def test_same_seed_same_split_other_seed_another() -> None:
    films = _films([i // 2 for i in range(300)])
    groups, _ = film_groups(films, list(range(300)))
    names = [str(i) for i in range(300)]
    first = make_split(films, names, groups, seed=3)
    assert first == make_split(films, names, groups, seed=3)
    assert first.fingerprint() != make_split(films, names, groups, seed=4).fingerprint()


def test_shares_are_kept_to_a_few_percent() -> None:
    films = _films([i // 2 for i in range(1200)])
    groups, _ = film_groups(films, list(range(1200)))
    split = make_split(
        films, [str(i) for i in range(1200)], groups, seed=0, validation=0.2, test=0.1
    )
    assert abs(len(split.part("validation")) / 1200 - 0.2) < 0.03
    assert abs(len(split.part("test")) / 1200 - 0.1) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_a_patient_with_very_many_films_is_not_the_test(seed: int) -> None:
    films = [LabelledFilm(f"{i}.png", ("a", "b")[i % 2], f"p{max(0, i - 59)}") for i in range(300)]
    groups, note = film_groups(films, list(range(300)))
    assert "The patient p0 has 60 of 300 films (20.0%)" in note and "such as NA" in note
    split = make_split(films, [""] * 300, groups, seed=seed, note=note)
    assert {film.part for film in split.films if film.patient == "p0"} == {"train"}
    for part in ("validation", "test"):
        assert abs(len(split.part(part)) / 300 - 0.1) <= 0.025
    assert "was asked for" not in split.note


def test_a_patient_with_most_of_the_films_leaves_parts_of_the_others() -> None:
    films = [LabelledFilm(f"{i}.png", ("a", "b")[i % 2], f"p{max(0, i - 239)}") for i in range(400)]
    groups, _ = film_groups(films, list(range(400)))
    split = make_split(films, [""] * 400, groups, seed=0)
    assert {film.part for film in split.films if film.patient == "p0"} == {"train"}
    for part in ("validation", "test"):
        assert abs(len(split.part(part)) / 400 - 0.1) <= 0.025


def test_the_note_says_which_part_is_far_from_its_share() -> None:
    # Four patients of 15 films each: no part can have a tenth of them.
    films = [LabelledFilm(f"{i}.png", ("a", "b")[i % 2], f"p{i // 15}") for i in range(60)]
    groups, note = film_groups(films, list(range(60)))
    note = make_split(films, [""] * 60, groups, seed=0, note=note).note
    assert "the part test 25.0% of the films where 10.0% was asked for" in note
    assert "the part validation 25.0% of the films" in note


def test_the_note_names_no_pseudonym_of_a_patient_with_very_many_films() -> None:
    films = [LabelledFilm(f"a/{i}.dcm", "a", f"dicom-{i // 9:064}") for i in range(20)]
    note = film_groups(films, list(range(20)))[1]
    assert "One patient, by the DICOM PatientID, has 9 of 20 films (45.0%)" in note
    assert "name the patients with --patients" in note
    assert "dicom-" not in note


@pytest.mark.parametrize("rare", [1, 6])
def test_rare_classes_do_not_take_films_from_training(rare: int) -> None:
    films = [LabelledFilm(f"{i}.png", f"class{i % 3}", f"p{i}") for i in range(900)]
    films += [LabelledFilm(f"r{i}.png", f"rare{i % rare}", f"r{i}") for i in range(3 * rare)]
    for seed in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # scikit-learn's, of a class with few films
            split = make_split(films, [""] * len(films), np.arange(len(films)), seed=seed)
        assert abs(len(split.part("train")) / len(films) - 0.8) < 0.03
        assert abs(len(split.part("test")) / len(films) - 0.1) < 0.03
        for part in ("train", "validation", "test"):
            assert len({film.label for film in split.part(part)}) == 3 + rare


@pytest.mark.parametrize("share", [0.1, 0.45])
@pytest.mark.parametrize("seed", range(3))
def test_three_patients_a_class_are_one_for_each_part(seed: int, share: float) -> None:
    films = _films(list(range(9)))
    split = make_split(films, [""] * 9, np.arange(9), seed=seed, test=share, validation=share)
    for part in ("train", "validation", "test"):
        assert {film.label for film in split.part(part)} == {"normal", "bacterial", "viral"}


def test_classes_within_patients_are_divided_where_some_draw_divides_them() -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed)
        patients = np.repeat(np.arange(14), draw.integers(1, 20, 14))
        labels = draw.choice(4, len(patients), p=(0.7, 0.1, 0.1, 0.1))
        films = [
            LabelledFilm(f"{i}.png", f"class{label}", f"p{patient}")
            for i, (label, patient) in enumerate(zip(labels, patients, strict=True))
        ]
        split = make_split(films, [""] * len(films), patients, seed=0)
        for part in ("train", "validation", "test"):
            assert {film.label for film in split.part(part)} == {film.label for film in films}


def test_classes_that_no_draw_divides_are_refused_in_words_that_help() -> None:
    # Each class has three patients, so p2 and p3 are in one part, and in two for the last class.
    patients = {"a": (0, 1, 2), "b": (0, 1, 3), "c": (2, 3, 4)}
    films = [
        LabelledFilm(f"{label}{patient}.png", label, f"p{patient}")
        for label, own in patients.items()
        for patient in own
    ]
    groups, _ = film_groups(films, list(range(len(films))))
    with pytest.raises(UsageError, match=r"no draw .* \['a', 'b', 'c'\]: .*; add films") as caught:
        make_split(films, [""] * len(films), groups, seed=0)
    assert "--" not in str(caught.value)
    with pytest.raises(
        UsageError, match=r"the part fold\d got no film of class '[abc]': .*; add films"
    ):
        make_folds(films, [""] * len(films), groups, folds=3, seed=0)


def test_folds_cover_all_films_once_and_turn_into_splits() -> None:
    films = _films([i // 2 for i in range(300)])
    groups, _ = film_groups(films, list(range(300)))
    folds = make_folds(films, [str(i) for i in range(300)], groups, folds=5, seed=0)
    assert {film.part for film in folds.films} == {f"fold{i}" for i in range(5)}
    split = fold_as_split(folds, 4)
    assert {film.path for film in split.part("test")} == {f.path for f in folds.part("fold4")}
    assert {film.path for film in split.part("validation")} == {f.path for f in folds.part("fold0")}
    assert split.note == "Fold 4 of 5 is the test."


def test_folds_are_drawn_again_where_a_draw_leaves_one_without_a_class() -> None:
    # Four patients have films of a: each fold must get one of them.
    patients = ["babbb", "b", "bbb", "b", "bbbbbb", "aaaa", "aaa", "bbb", "a"]
    films = [
        LabelledFilm(f"{patient}-{i}.png", label, f"p{patient}")
        for patient, labels in enumerate(patients)
        for i, label in enumerate(labels)
    ]
    groups, _ = film_groups(films, list(range(len(films))))
    folds = make_folds(films, [""] * len(films), groups, folds=4, seed=0)
    for index in range(4):
        assert {film.label for film in folds.part(f"fold{index}")} == {"a", "b"}


def test_a_fold_far_from_its_share_is_said() -> None:
    # Half of the films are of one group, as where many copies join patients.
    films = _films([0] * 60 + list(range(1, 61)))
    groups, _ = film_groups(films, list(range(120)))
    folds = make_folds(films, [""] * 120, groups, folds=4, seed=0)
    large = max(Counter(film.part for film in folds.films).items(), key=lambda part: part[1])
    assert large[1] >= 60
    said = f"gave the part {large[0]} {large[1] / 120:.1%} of the films where 25.0% was asked for"
    assert said in folds.note


def test_folds_that_are_not_there_or_too_few_are_refused() -> None:
    films, groups = _films(list(range(60))), np.arange(60)
    with pytest.raises(UsageError, match="at least 2 folds, got 1"):
        make_folds(films, [""] * 60, groups, folds=1, seed=0)
    with pytest.raises(UsageError, match="at least 3 folds, one of them to train on, got 2"):
        fold_as_split(make_folds(films, [""] * 60, groups, folds=2, seed=0), 0)
    with pytest.raises(UsageError, match="no part 'fold3'"):
        fold_as_split(make_folds(films, [""] * 60, groups, folds=3, seed=0), 3)


@pytest.mark.parametrize("share", [0.0, 0.5, -1.0])
def test_a_share_out_of_range_is_refused_with_the_value(share: float) -> None:
    films = _films(list(range(90)))
    groups = np.arange(90)
    with pytest.raises(UsageError, match=r"more than 0 and less than 0\.5, got"):
        make_split(films, [""] * 90, groups, seed=0, test=share)


def test_too_few_patients_are_refused_with_what_to_do() -> None:
    films = _films([0, 1, 2, 3, 4, 5])
    groups, _ = film_groups(films, list(range(6)))
    with pytest.raises(UsageError, match=r"films of 2 patients only.*Add films"):
        make_folds(films, [""] * 6, groups, folds=5, seed=0)
    # The class that has the fewest is named, and a patient of each part is enough.
    films = _films([*range(30), 31, 34, 37])
    films = [film for film in films if film.label != "bacterial" or int(film.patient[6:]) > 30]
    groups, _ = film_groups(films, list(range(len(films))))
    split = make_split(films, [""] * len(films), groups, seed=0)
    assert {film.part for film in split.films if film.label == "bacterial"} == {
        "train", "validation", "test"
    }  # fmt: skip
    said = r"class 'bacterial' has films of 2 patients only; expected at least 3"
    with pytest.raises(UsageError, match=said):
        make_split(films[:-1], [""] * len(films[1:]), groups[:-1], seed=0)


def test_copies_that_leave_too_few_patients_are_said() -> None:
    films = _films(list(range(30)))
    groups, _ = film_groups(films, [i if i % 3 else 0 for i in range(30)])
    with pytest.raises(UsageError, match=r"of 1 patient only, as copies join 10 to these.*audit"):
        make_split(films, [""] * 30, groups, seed=0)


def test_a_csv_gives_patients_and_labels(tmp_path: Path) -> None:
    films = [LabelledFilm("a/1.png", "a"), LabelledFilm("b/2.png", "b")]
    table = tmp_path / "patients.csv"
    table.write_text("path,patient,label\na/1.png,p7,b\n", encoding="utf-8")
    assert read_labels(table, films)[0] == LabelledFilm("a/1.png", "b", "p7")


def test_split_keeps_a_film_saved_again_with_its_copy(
    write_film: Callable[..., Path], tmp_path: Path
) -> None:
    data, made = tmp_path / "data", tmp_path / "split.json"
    for index in range(5):
        for label in ("normal", "viral"):
            write_film(data / label / f"{index}.png", label, index)
    with Image.open(data / "viral" / "0.png") as image:
        image.resize((220, 180)).save(data / "viral" / "again.jpg", quality=60)
    assert main(["split", str(data), "-o", str(made)]) == 0
    groups = {film.path: film.group for film in Split.read(made).films}
    assert groups["viral/0.png"] == groups["viral/again.jpg"]
    assert len(groups) == 11 and len(set(groups.values())) == 10


def test_rows_and_cells_that_a_spreadsheet_left_blank_say_nothing(tmp_path: Path) -> None:
    films = [LabelledFilm("a/1.png", "a", "IM-7"), LabelledFilm("b/2.png", "b", "")]
    table = tmp_path / "patients.csv"
    table.write_bytes(
        b'\xef\xbb\xbfpath,patient,label\r\na/1.png," "," "\r\n"b/2.png",p7,\r\n,,\r\n'
    )
    assert read_labels(table, films) == [films[0], LabelledFilm("b/2.png", "b", "p7")]


def test_rows_that_say_a_thing_twice_contradict_nothing(tmp_path: Path) -> None:
    films = [LabelledFilm("a/1.png", "a")]
    table = tmp_path / "patients.csv"
    table.write_text("path,patient,label\na/1.png,A,\na/1.png,A ,a\na/1.png,,A\n", encoding="utf-8")
    assert read_labels(table, films) == [LabelledFilm("a/1.png", "a", "A")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,patient\nc/9.png,p1\n", "not in the folder; expected paths such as 'a/1.png'"),
        ("path,label\na/1.png,zebra\n", "unknown label 'zebra'; expected one of"),
        ("film,patient\na/1.png,p1\n", "expected the columns path and patient"),
        ("path,name\na/1.png,Ann\n", "expected the columns path and patient"),
        ("", r"expected the columns path and patient .* found \[\]"),
        ("path;patient\na/1.png;p1\n", r"with commas between, found \['path;patient'\]"),
        ("path,patient\na/1.png,A\na/1.png,B\n", "twice, with the patient 'A' and 'B'"),
        ("path,label\na/1.png,a\nb/2.png,b\na/1.png,b\n", "twice, with the label 'a' and 'b'"),
    ],
)
def test_a_wrong_csv_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    films = [LabelledFilm("a/1.png", "a"), LabelledFilm("b/2.png", "b")]
    table = tmp_path / "labels.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        read_labels(table, films)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [None, "path,patient\na/1.png,Jürgen\n".encode("latin-1"), b"path\n" + bytes(200_000)]
)
def test_a_csv_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, data: bytes | None
) -> None:
    table = tmp_path / "labels.csv"
    if data is not None:
        table.write_bytes(data)
    with pytest.raises(UsageError, match="expected a CSV of films, cannot read it") as caught:
        read_labels(table, [LabelledFilm("a/1.png", "a")])
    assert "\n" not in str(caught.value)


def test_a_film_that_changed_or_went_after_the_split_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    film = tmp_path / "a" / "1.png"
    film.write_bytes(b"before")
    split = Split(0, (SplitFilm("a/1.png", "a", "", "g0", file_sha256(film), "train"),))
    split.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == split
    check_split(split, tmp_path, ["train"])
    film.write_bytes(b"after")
    with pytest.raises(UsageError, match=r"1\.png: its content is not the one that was split"):
        check_split(split, tmp_path, ["train"])
    film.unlink()
    with pytest.raises(UsageError, match=r"1\.png: named by the split and missing"):
        check_split(split, tmp_path, ["train"])
    check_split(split, tmp_path, ["test"])


def test_a_series_can_be_held_out_as_a_stand_in_for_another_hospital() -> None:
    films = [
        LabelledFilm(f"NORMAL/{series}-{i:04d}-0001.jpeg", "normal", f"{series}-{i}")
        for series in ("IM", "NORMAL2-IM")
        for i in range(60)
    ] + [LabelledFilm(f"PNEUMONIA/person{i}.jpeg", "viral", f"person{i}") for i in range(60)]
    groups, _ = film_groups(films, list(range(180)))
    split = make_split(films, [str(i) for i in range(180)], groups, seed=0)
    held = hold_out_films(split, "NORMAL2-*")
    for before, after in zip(split.films, held.films, strict=True):
        name = before.path.rsplit("/", 1)[-1]
        if name.startswith("NORMAL2-"):
            assert after.part == "test"
        elif before.label == "normal":
            assert after.part == ("train" if before.part == "test" else before.part)
        else:
            assert after.part == before.part
    with pytest.raises(UsageError, match="no film has a name like"):
        hold_out_films(split, "ADULT-*")
    with pytest.raises(UsageError, match="all films of class 'viral'"):
        hold_out_films(split, "person*")


def test_a_patient_of_a_held_out_series_stands_in_no_other_part() -> None:
    films = [
        LabelledFilm(f"{label}/{series}-{i}.png", label, f"p{i}")
        for i in range(90)
        for label, series in (("normal", "B" if i % 3 == 0 else "A"), ("ill", "A"))
    ]
    # Two films of each patient, and every second patient of series B has one of series A too.
    films += [LabelledFilm(f"normal/A-x{i}.png", "normal", f"p{i}") for i in range(0, 90, 6)]
    groups, _ = film_groups(films, list(range(len(films))))
    names = [str(i) for i in range(len(films))]
    held = hold_out_films(make_split(films, names, groups, seed=0), "B-*")
    parts: dict[str, set[str]] = {}
    for film in held.films:
        parts.setdefault(film.patient, set()).add(film.part)
        if film.label == "normal":
            assert (film.part == "test") == ("/B-" in film.path)
    assert all(len(found) == 1 for found in parts.values())
    left_out = len(films) - len(held.films)
    assert left_out > 0 and f"Left out, as films of the same patients: {left_out}." in held.note


def test_a_held_out_series_that_takes_another_class_with_it_is_refused() -> None:
    films = [
        SplitFilm(f"{label}/{name}-{patient}.png", label, str(patient), str(patient), "", part)
        for patient, part in enumerate(["train"] * 4 + ["validation"] * 4 + ["test"] * 4)
        for label, name in ((("a", "x"), ("b", "y")) if patient % 2 else (("a", "z"),))
    ]
    with pytest.raises(UsageError, match=r"class 'b' for train .* of patients who have such films"):
        hold_out_films(Split(0, tuple(films), ""), "x-*")
