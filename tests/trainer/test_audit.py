"""``edge-xray audit`` through the command line, on folders with one thing wrong at a time."""

import html
import json
import math
import os
import re
import shutil
import sys
import tracemalloc
import warnings
from dataclasses import fields
from itertools import product

import numpy as np
import pytest
from PIL import Image

from edge_xray.cli import main
from edge_xray.labelled import Split, SplitFilm, file_sha256
from edge_xray.metadata import DISCLAIMER
from edge_xray.operating_point import Estimate
from edge_xray_trainer.audit import Audit
from edge_xray_trainer.audit_films import AuditedFilm, Look
from edge_xray_trainer.audit_findings import findings_of
from edge_xray_trainer.duplicates import film_hash
from edge_xray_trainer.likeness import likeness


def run(*arguments):
    return main(["audit", *map(str, arguments)])


def found(capsys, *arguments):
    # Two folds: the shortcut score of three classes in five takes seconds.
    assert run("--folds", 2, *arguments, "--format", "json") == 0
    return json.loads(capsys.readouterr().out)


def texts(record, kind):
    return [finding["text"] for finding in record["findings"] if finding["kind"] == kind]


@pytest.fixture
def folder(film_folder, tmp_path):
    """A copy of the generated films to spoil."""
    return shutil.copytree(film_folder, tmp_path / "data")


def test_clean_folder(film_folder, capsys):
    record = found(capsys, film_folder)
    assert record["films"] == 120 and not record["leaks"] and not record["copies"]
    assert record["classes"]["normal"]["films"] == {"train": 40}
    assert record["classes"]["normal"]["patients"] == 27
    assert record["files"] == {"JPEG L": 120}
    assert record["sides"]["width"] == {"least": 110, "median": 110.0, "most": 110}
    distances = [pair["distance"] for pair in record["closest_strangers"]]
    assert distances == sorted(distances) and len(distances) == 6
    assert 26 < distances[0] < distances[-1] <= 50
    for own in record["auc_of_the_border_alone"].values():
        assert 0 <= own["low"] <= own["value"] <= own["high"] <= 1
    assert run(film_folder, "--strict", "--folds", 2, "--format", "json") == 0


def test_copies_within_and_across_patients(folder, capsys):
    source = folder / "train" / "NORMAL"
    first, second = sorted(source.iterdir())[:2]
    shutil.copy(first, source / "IM-9001-0001.jpeg")
    with Image.open(second) as image:
        image.resize((220, 180)).save(source / "IM-9002-0001.jpeg", quality=60)
    shutil.copy(first, folder / "train" / "PNEUMONIA" / "person777_virus_1.jpeg")
    record = found(capsys, folder)
    groups = {len(group["paths"]): group for group in record["copies"]}
    assert groups[3]["exact"] and set(groups[3]["labels"]) == {"normal", "viral"}
    assert not groups[2]["exact"] and len(groups[2]["patients"]) == 2
    warnings = " ".join(texts(record, "warning"))
    # The two that are named are of two classes, and of two patients.
    third = "train/PNEUMONIA/person777_virus_1.jpeg"
    named = f"under another label: train/NORMAL/{first.name} = {third}."
    assert f"{named} One of the labels is wrong." in warnings
    assert "another patient's name: " in warnings
    assert f"train/NORMAL/{second.name} = train/NORMAL/IM-9002-0001.jpeg" in warnings


def test_of_films_that_look_like_copies_no_label_is_called_wrong(folder, capsys):
    first = min((folder / "train" / "NORMAL").iterdir())
    with Image.open(first) as image:
        again = image.resize((220, 180))
    again.save(folder / "train" / "PNEUMONIA" / "person778_virus_1.jpeg", quality=60)
    (said,) = (own for own in texts(found(capsys, folder), "warning") if "another label" in own)
    assert "where two are one film, one of the labels is wrong" in said and "One of" not in said


def test_of_patients_not_known_it_is_not_said_that_none_stands_in_two_parts(
    write_film, tmp_path, capsys
):
    for seed, (part, label) in enumerate(product(("train", "test"), ("well", "ill"))):
        write_film(tmp_path / part / label / "1.png", "viral", seed)
    record = found(capsys, tmp_path)
    assert record["unknown_patients"] == record["films"] == 4
    assert "No known patient and no copy of a film stands in two parts." in texts(record, "good")


def test_copies_in_two_parts_are_named_one_of_each(write_film, tmp_path, capsys):
    for part in ("train", "test"):
        for label in ("well", "ill"):
            for index in range(3):
                seed = 10 * len(part) + index + 3 * (label == "ill")
                write_film(tmp_path / part / label / f"{index}.png", "viral", seed)
    for name in ("train/well/0-again.png", "test/ill/x.png"):
        shutil.copy(tmp_path / "train" / "well" / "0.png", tmp_path / name)
    record = found(capsys, tmp_path)
    pair = "train/well/0-again.png = test/ill/x.png"
    assert f"1 film has copies in another part: {pair}." in " ".join(texts(record, "leak"))
    assert f"under another label: {pair}." in " ".join(texts(record, "warning"))


def test_leaks_between_folders_of_parts(folder, capsys):
    shutil.copytree(folder / "train", folder / "test")
    for path in (folder / "test").rglob("*.jpeg"):
        # Another patient's name for all but the one film of person 1: the copies still tell.
        if not path.name.startswith("person1_"):
            path.rename(path.with_name(re.sub(r"(IM-|person)(\d+)", r"\g<1>9\2", path.name)))
    record = found(capsys, folder)
    assert record["leaks"] and record["parts"] == ["train", "test"]
    assert list(record["patients_in_several_parts"]) == ["person1"]
    assert len([group for group in record["copies"] if len(group["parts"]) == 2]) == 120
    assert len(texts(record, "leak")) == 2
    assert run(folder, "--strict", "--folds", 2) == 1
    assert "leak: " in capsys.readouterr().out


def test_copies_that_a_split_of_others_puts_in_no_part_are_named(write_film, tmp_path, capsys):
    films = []
    for label in ("normal", "viral"):
        for index in range(3):
            path = write_film(tmp_path / "data" / label / f"{index}.png", label, index)
            films.append(
                SplitFilm(f"{label}/{index}.png", label, "", "", file_sha256(path), "train")
            )
    shutil.copy(tmp_path / "data" / "normal" / "0.png", tmp_path / "data" / "normal" / "3.png")
    films.append(SplitFilm("normal/3.png", "normal", "", "", films[0].sha256, ""))
    Split(0, tuple(films)).write(tmp_path / "split.json")
    record = found(capsys, tmp_path / "data", "--split", tmp_path / "split.json")
    assert "another part: normal/0.png = normal/3.png." in " ".join(texts(record, "leak"))


def test_of_several_copies_those_are_named_that_tell(write_film, tmp_path, capsys):
    for index in range(12):
        for name in ("healthy", "ill"):
            part = "test" if index > 7 else "train"
            seed = index + 20 * (name == "ill")
            write_film(tmp_path / "data" / part / name / f"{index}.png", "normal", seed)
    first = tmp_path / "data" / "train" / "healthy" / "0.png"
    for other in ("train/healthy/0b.png", "train/ill/0c.png", "test/ill/0d.png"):
        shutil.copy(first, tmp_path / "data" / other)
    csv = tmp_path / "patients.csv"
    names = {"train/healthy/0.png": "p1", "train/healthy/0b.png": "p1", "test/ill/0d.png": "p2"}
    csv.write_text("path,patient\n" + "".join(f"{k},{v}\n" for k, v in names.items()))
    record = found(capsys, tmp_path / "data", "--patients", csv)
    (leak,), warnings = texts(record, "leak"), " ".join(texts(record, "warning"))
    assert "another part: train/healthy/0.png = test/ill/0d.png" in leak
    assert "another label: train/healthy/0.png = train/ill/0c.png" in warnings
    assert "another patient's name: train/healthy/0.png = test/ill/0d.png" in warnings


def test_a_class_called_valid_is_no_part(write_film, tmp_path):
    from edge_xray.labelled import read_labelled_folder

    for label in ("valid", "invalid"):
        write_film(tmp_path / label / "patient-1" / "a.png", "normal", 1)
    assert {film.label for film in read_labelled_folder(tmp_path)} == {"valid", "invalid"}


@pytest.mark.parametrize("names", [("Training", "Testing"), ("Train", "TEST"), ("val", "test")])
def test_parts_by_any_of_their_names_are_parts(film_folder, tmp_path, capsys, names):
    source = film_folder / "train"
    for name in names:
        for label in ("NORMAL", "PNEUMONIA"):
            # Of two classes that are no Kaggle layout, so that nothing else tells.
            films = sorted((source / label).iterdir())[:12]
            for film in films:
                target = tmp_path / "data" / name / f"class-{label}" / film.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(film, target)
    record = found(capsys, tmp_path / "data")
    assert set(record["parts"]) == set(names) and record["leaks"]
    assert set(record["classes"]) == {"class-normal", "class-pneumonia"}
    assert run(tmp_path / "data", "--strict", "--folds", 2) == 1
    capsys.readouterr()
    for command in ("split", "train"):
        assert main([command, str(tmp_path / "data"), "-o", str(tmp_path / "out")]) == 2
        assert "they are parts and no classes; name one of them: " in capsys.readouterr().err
    if names[0].lower().startswith("train"):
        shutil.rmtree(tmp_path / "data" / names[1])
        assert main(["split", str(tmp_path / "data"), "-o", str(tmp_path / "out")]) == 2
        alone = f"it is a part and no class; name it: {tmp_path / 'data' / names[0]}"
        assert alone in capsys.readouterr().err


def test_a_part_without_a_class_is_audited_and_said(write_film, tmp_path, capsys):
    for part, labels in (("train", ("well", "tb")), ("test", ("well",))):
        for label in labels:
            for index in range(6):
                seed = 10 * len(part) + index
                write_film(tmp_path / part / label / f"{index}.png", "normal", seed)
    record = found(capsys, tmp_path)
    assert record["classes"]["tb"]["films"] == {"train": 6}
    said = texts(record, "warning")
    assert sum(text.startswith("The part test has no film of tb") for text in said) == 1
    assert not any("The part train has no film" in text for text in said)
    shutil.rmtree(tmp_path / "train" / "tb")
    assert run(tmp_path) == 2
    assert "at least two classes (one folder each), found ['well']" in capsys.readouterr().err


def test_blank_slices_weld_nobody_together(tmp_path, write_film, capsys):
    rows = []
    for patient in range(8):
        label = ("normal", "viral")[patient % 2]
        for index in range(4):
            path = tmp_path / "data" / label / f"ct{patient}-{index}.png"
            if index:
                write_film(path, label, 10 * patient + index)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (64, 64)).save(path)
            rows.append(f"{label}/{path.name},ct{patient}\n")
    (tmp_path / "who.csv").write_text("path,patient\n" + "".join(rows))
    words = [tmp_path / "data", "--patients", tmp_path / "who.csv"]
    split = tmp_path / "split.json"
    assert main(["split", *map(str, words), "-o", str(split)]) == 0
    assert len({film.group for film in Split.read(split).films}) == 8
    assert "8 films show next to nothing" in capsys.readouterr().err
    record = found(capsys, *words, "--split", split)
    assert record["copies"] == [] and not record["leaks"]
    assert len(record["blank"]) == 8 and all("-0.png" in path for path in record["blank"])
    assert any("8 films show next to nothing" in text for text in texts(record, "warning"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode on this system")
def test_names_that_are_no_unicode(folder, tmp_path):
    source = sorted((folder / "train" / "NORMAL").iterdir())[0]
    source.rename(source.with_name(os.fsdecode(b"IM-7000-\xe9.jpeg")))
    source.with_name(os.fsdecode(b"radio_\xe9.jpeg")).write_bytes(b"nothing")
    assert run(folder, "-o", tmp_path / "out", "--folds", 2) == 0
    record = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))
    assert list(record["damaged"]) == ["train/NORMAL/radio_\udce9.jpeg"]
    assert r"radio_\xe9.jpeg" in (tmp_path / "out" / "audit.html").read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="no name has controls there")
def test_a_name_controls_no_terminal_and_breaks_no_table(write_film, tmp_path, capsys):
    for index in range(2):
        write_film(tmp_path / "well" / f"{index}.png", "normal", index)
        write_film(tmp_path / "ill" / f"{index}.png", "viral", index)
    (tmp_path / "ill" / "a\x1b[31m\nb.png").write_bytes(b"nothing")
    (tmp_path / "ill" / "c\x1b[31m.txt").write_bytes(b"nothing")
    for form in ("table", "markdown"):
        assert run(tmp_path, "--format", form) == 0
        text = capsys.readouterr().out
        assert text.count(r"ill/a\x1b[31m\nb.png") == 2 and text.count(r"ill/c\x1b[31m.txt") == 1
        assert "\x1b" not in text


def test_split_file_is_checked(folder, tiny_split, tmp_path, capsys):
    record = found(capsys, folder, "--split", tiny_split)
    assert set(record["parts"]) == {"train", "validation", "test"} and not record["leaks"]
    assert "No patient and no copy" in texts(record, "good")[0]
    split = Split.read(tiny_split)
    moved = split.films[0]
    other = next(film.part for film in split.films if film.part != moved.part)
    films = (SplitFilm(**{**vars(moved), "part": other}), *split.films[1:])
    siblings = [film for film in split.films if film.patient == moved.patient]
    assert len(siblings) > 1
    Split(0, films).write(tmp_path / "leaky.json")
    (folder / "train" / split.films[5].path).unlink()
    (folder / "train" / split.films[6].path).write_bytes(b"nothing")
    record = found(capsys, folder, "--split", tmp_path / "leaky.json")
    assert list(record["patients_in_several_parts"]) == [moved.patient]
    assert record["changed"] == [split.films[5].path, split.films[6].path]
    assert "missing" in record["damaged"][split.films[5].path]


def test_damaged_files_modes_and_unknown_patients(write_film, tmp_path, draw_film, capsys):
    for index in range(8):
        write_film(tmp_path / "healthy" / f"{index}.png", "normal", index)
        write_film(tmp_path / "ill" / f"{index}.jpg", "viral", index)
    (tmp_path / "ill" / "empty.png").write_bytes(b"")
    wide = draw_film("viral", 9).astype(np.uint16) * 16
    Image.fromarray(wide).save(tmp_path / "ill" / "wide.png")
    record = found(capsys, tmp_path)
    assert record["unknown_patients"] == 18
    assert record["damaged"]["ill/empty.png"].startswith("empty_file")
    assert record["files"] == {"PNG L": 8, "JPEG L": 8, "PNG I;16": 1}
    (tmp_path / "patients.csv").write_text(
        "path,patient\n" + "".join(f"healthy/{i}.png,p{i // 2}\n" for i in range(8))
    )
    (tmp_path / "labelled").mkdir()
    for name in ("healthy", "ill"):
        (tmp_path / name).rename(tmp_path / "labelled" / name)
    record = found(capsys, tmp_path / "labelled", "--patients", tmp_path / "patients.csv")
    assert record["unknown_patients"] == 10
    assert record["classes"]["healthy"]["patients"] == 4
    for path in (tmp_path / "labelled" / "ill").iterdir():
        path.write_bytes(b"")
    record = found(capsys, tmp_path / "labelled")
    assert record["border_folds"] == 0
    (said,) = (own for own in texts(record, "warning") if "border" in own)
    assert "it takes films of two classes that can be read" in said


def test_border_that_gives_the_class_away_is_found(tmp_path, draw_film, capsys):
    for label, name in (("normal", "healthy"), ("bacterial", "ill")):
        for index in range(30):
            film = draw_film(label, index, height=224, width=224)
            if name == "ill":
                film[:2] = film[:2] // 2 + 100
            path = tmp_path / name / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(film).save(path)
    record = found(capsys, tmp_path)
    assert record["auc_of_the_border_alone"]["ill"]["low"] > 0.9
    assert any("From the border alone" in text for text in texts(record, "warning"))


def test_what_differs_between_classes_is_measured_by_its_name(tmp_path, capsys):
    draw = np.random.default_rng(0)
    rows = ["path,patient"]
    for name, width, height, grey, noise in (
        ("dark", 200, 100, 60, 5),
        ("light", 112, 120, 150, 60),
    ):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(8):
            film = np.clip(draw.normal(grey, noise, (height, width)), 0, 255).astype(np.uint8)
            if name == "dark":
                for line in (film[:6], film[-6:], film[:, :6], film[:, -6:]):
                    line[...] = 0
            Image.fromarray(film).save(tmp_path / "data" / name / f"{index}.png")
            rows.append(f"{name}/{index}.png,{name}{min(index, 4)}")
    (tmp_path / "who.csv").write_text("\n".join(rows))
    words = ["--patients", tmp_path / "who.csv", "--folds", 9]
    record = found(capsys, tmp_path / "data", *words)
    assert record["border_folds"] == 5  # no more than a class has patients
    areas = {name: own["light"]["value"] for name, own in record["auc_of_quantities"].items()}
    del areas["bytes of the file"]
    assert areas == {
        "width": 0.0,
        "height": 1.0,
        "width to height": 0.0,
        "brightness": 1.0,
        "contrast": 1.0,
        "brightness of the border": 1.0,
        "dark share of the border": 0.0,
    }
    dark, light = record["classes"]["dark"], record["classes"]["light"]
    means = {name: own["value"] for name, own in dark["means"].items()}
    assert means["brightness of the border"] == 0.0 and means["dark share of the border"] == 1.0
    assert means["brightness"] == pytest.approx(60 * 0.94 * 0.88 / 255, abs=0.01)
    assert light["means"]["brightness"]["value"] == pytest.approx(150 / 255, abs=0.02)
    assert (dark["patients"], dark["most"], dark["films"]) == (5, 4, {"all": 8})
    assert record["sides"]["width"] == {"least": 112, "median": 156.0, "most": 200}
    assert record["sides"]["height"] == {"least": 100, "median": 110.0, "most": 120}


def _findings(**found):
    """What is said of an audit that found this and nothing else."""
    return findings_of(Audit(**{**dict.fromkeys((own.name for own in fields(Audit)), ()), **found}))


def test_the_worst_is_said_first_and_long_lists_are_cut():
    border = {"ill": Estimate(0.8, 0.61, 0.9)}
    split_patients = {f"p{i}": ("train", "test") for i in range(7)}
    found = _findings(split_patients=split_patients, border=border)
    assert [own.kind for own in found] == ["leak", "warning", "good"]
    assert "7 patients have films" in found[0].text and "p3, p4 and 2 more. " in found[0].text
    del split_patients["p5"], split_patients["p6"]
    assert "p3, p4. Split" in _findings(split_patients=split_patients, border=border)[0].text


@pytest.mark.parametrize(
    ("parts", "leak", "said"),
    [(("train", "test"), False, True), (("all",), False, False), (("train", "test"), True, False)],
)
def test_that_nobody_stands_in_two_parts_is_said_where_there_are_two(parts, leak, said):
    split_patients = {"p1": parts} if leak else {}
    found = _findings(parts=parts, classes={}, split_patients=split_patients)
    assert any(own.text.startswith("No patient and no copy") for own in found) == said


@pytest.mark.parametrize(
    ("ill", "kind", "text"),
    [
        ((0.70, 0.60, 0.80), "warning", "ill is told from the rest with an AUC of 0.700"),
        (
            (0.70, 0.59, 0.80),
            "warning",
            "too few to say what the border alone tells: AUC 0.700 (0.590",
        ),
        (
            (0.90, math.nan, math.nan),
            "warning",
            "too few to say what the border alone tells: AUC 0.9",
        ),
        (
            (0.59, 0.50, 0.80),
            "warning",
            "too few to say what the border alone tells: AUC 0.590 (0.500 to 0.800) for ill",
        ),
        ((0.55, 0.50, 0.60), "good", "tells little: AUC 0.550 (0.500 to 0.600) for ill"),
    ],
)
def test_the_border_is_judged_by_the_class_it_gives_away_most(ill, kind, text):
    border = {
        "well": Estimate(0.5, 0.4, 0.6),
        "ill": Estimate(*ill),
        "odd": Estimate(0.3, 0.2, 0.4),
    }
    (said,) = (own for own in _findings(border=border) if "border" in own.text)
    assert said.kind == kind and text in said.text


def test_the_class_of_too_few_films_is_named_where_the_others_are_told_little():
    border = {"rare": Estimate(0.5, 0.2, 0.8), "ill": Estimate(0.55, 0.52, 0.58)}
    (said,) = (own for own in _findings(border=border) if "border" in own.text)
    assert said.kind == "warning" and "AUC 0.500 (0.200 to 0.800) for rare" in said.text


def test_a_class_that_the_border_surely_tells_is_named_before_one_that_it_may():
    border = {"rare": Estimate(0.8, 0.5, 0.95), "ill": Estimate(0.7, 0.65, 0.75)}
    (said,) = (own for own in _findings(border=border) if "border" in own.text)
    assert said.kind == "warning" and "ill is told from the rest" in said.text


@pytest.mark.parametrize(
    ("low", "of_one_class", "own_numbers"),
    [
        (0.25, None, False),
        (0.24, None, True),
        (0.1, None, True),
        (math.nan, None, False),
        (0.25, 0.41, False),
        (0.1, 0.41, True),
        (0.1, 0.4, False),
        (0.1, math.nan, False),
    ],
)
def test_patients_of_two_classes_are_several_where_their_films_are_no_more_alike(
    low, of_one_class, own_numbers
):
    alike = {
        "one patient, two classes": Estimate(0.3, low, 0.4),
        "two patients": Estimate(0.2, 0.1, 0.24),
    }
    if of_one_class is not None:
        alike["one patient, one class"] = Estimate(0.5, of_one_class, 0.6)
    (said,) = (
        own
        for own in _findings(mixed_patients=("p1", "p2"), likeness=alike)
        if "more than one class" in own.text
    )
    assert said.kind == "warning" and said.text.startswith("2 patients have films")
    assert ("each class seems to be numbered on its own" in said.text) == own_numbers
    (said,) = (
        own for own in _findings(mixed_patients=("p1",)) if "more than one class" in own.text
    )
    assert "numbered" not in said.text


def test_a_patient_of_both_classes_may_leave_one_class_to_learn_from(write_film, tmp_path, capsys):
    listed = ["path,patient"]
    for label, own in (("viral", "p1"), ("normal", "p2")):
        for index, patient in enumerate((own, own, own, "unknown")):
            write_film(tmp_path / "data" / label / f"{index}.png", label, index)
            listed.append(f"{label}/{index}.png,{patient}")
    (tmp_path / "p.csv").write_text("\n".join(listed) + "\n")
    record = found(capsys, tmp_path / "data", "--patients", tmp_path / "p.csv")
    assert record["border_folds"] == 2 and list(record["auc_of_the_border_alone"]) == ["viral"]
    assert record["patients_of_several_classes"] == ["unknown"]


def test_three_channels_and_one_patient_a_class(tmp_path, capsys):
    draw = np.random.default_rng(0)
    for name in ("ct", "mri", "photo"):
        for index in range(3):
            path = tmp_path / name / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(draw.integers(0, 255, (28, 28, 3), np.uint8)).save(path)
    rows = [f"{name}/{i}.png,only-{name}\n" for name in ("ct", "mri", "photo") for i in range(3)]
    csv = tmp_path.parent / f"{tmp_path.name}.csv"
    csv.write_text("path,patient\n" + "".join(rows))
    record = found(capsys, tmp_path, "--patients", csv)
    assert record["files"] == {"PNG RGB": 9}
    assert record["border_folds"] == 0 and record["auc_of_the_border_alone"] == {}
    assert any("not measured" in text for text in texts(record, "warning"))
    assert any("9 films are in colour" in text for text in texts(record, "warning"))


def test_many_classes_stand_below_each_other(tmp_path, capsys):
    draw = np.random.default_rng(0)
    names = [f"kind {place:02}" for place in range(20)]
    for name in names:
        for index in range(6):
            path = tmp_path / "data" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 255, (28, 28), np.uint8)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # matplotlib's, of axes without room
        assert run(tmp_path / "data", "--folds", 2, "-o", tmp_path / "out") == 0
    text = (tmp_path / "out" / "audit.md").read_text()
    table = text.partition("What tells classes apart")[2]
    assert [
        row.split("|")[1].strip() for row in table.splitlines() if row.startswith("| kind")
    ] == names
    capsys.readouterr()


def test_tables_count_what_was_found(write_film, tmp_path, capsys):
    data, rows = tmp_path / "data", ["path,patient"]

    def film(path, patient, *drawn, **size):
        write_film(data / path, *drawn, **size)
        rows.append(f"{path},{patient}")

    for index, patient in enumerate(("a", "a", "", "")):
        film(f"train/well/{index}.png", patient, "normal", index)
    film("test/well/4.png", "c", "normal", 4, height=100)
    for part, index, patient in (
        ("train", 0, "d"),
        ("train", 1, "d"),
        ("train", 2, "d"),
        ("test", 3, "e"),
    ):
        film(f"{part}/ill/{index}.bmp", patient, "viral", index, height=60, width=80)
    shutil.copy(data / "train/ill/0.bmp", data / "test/ill/again.bmp")
    rows.append("test/ill/again.bmp,f")
    with Image.open(data / "train/well/0.png") as image:  # of a patient who is not known
        image.resize((220, 180)).save(data / "test/ill/again.png")
    (tmp_path / "who.csv").write_text("\n".join(rows))
    words = (data, "--patients", tmp_path / "who.csv", "--folds", 2)
    assert run(*words, "--format", "markdown") == 0
    text = capsys.readouterr().out
    # The films whose patients are not known are in two parts and of two classes, but of nobody.
    assert "patients have films" not in text
    tables = {}
    for part in text.partition("\n## Provenance")[0].split("\n## ")[1:]:
        name, _, rest = part.partition("\n")
        lines = [
            line.strip("| ").split(" | ") for line in rest.splitlines() if line.startswith("|")
        ]
        tables[name] = [lines[0], *lines[2:]]
    assert tables["Classes"] == [
        ["class", "train", "test", "films", "patients", "films a patient", "most of one"],
        ["ill", "3", "3", "6", "4", "1.5", "3"],
        ["well", "4", "1", "5", "4", "1.25", "2"],
    ]
    assert tables["Copies"] == [
        [
            "copies",
            "groups",
            "films",
            "of several patients",
            "of several classes",
            "in several parts",
        ],
        ["byte for byte", "1", "2", "1", "0", "1"],
        ["saved again", "1", "2", "0", "1", "1"],
    ]
    png, bmp = tables["Files"][1:]
    assert png[:4] == ["PNG L", "6", "110 to 220", "90 to 180"] and png[5] == "ill 1, well 5"
    size = (data / "train/ill/0.bmp").stat().st_size / 1024
    assert bmp == ["BMP L", "5", "80 to 80", "60 to 60", f"{size:.4g}", "ill 5"]
    # Of two classes one is named: the other's figures are one minus these.
    shortcuts = tables["What tells classes apart without looking at the film"]
    assert shortcuts[0] == ["quantity", "well"] and shortcuts[-1][0] == "border alone"
    assert (
        "2-fold cross-validation by patient. The same in all films: dark share of the border."
        in text
    )
    assert re.search(r"The most alike films of different patients differ in \d\d\.", text)
    assert [row[0] for row in tables["Are patients' names right"][1:]] == [
        "one patient, one class",
        "two patients",
    ]
    (data / "test/ill/3.bmp").write_bytes(b"nothing")
    assert run(*words) == 0
    text = capsys.readouterr().out
    assert "Files that cannot be read" in text and "test/ill/3.bmp" in text
    assert "11 files in 2 classes, 5 named patients, parts: train, test." in text


def test_the_most_alike_films_of_different_patients_are_named(draw_film, tmp_path, capsys):
    def apart(first, second):
        hashes = zip(film_hash(first), film_hash(second), strict=True)
        return sum((int(a) ^ int(b)).bit_count() for a, b in hashes)

    rows, distances = ["path,patient"], []
    for place, (label, patients) in enumerate({"well": ("p1", "p1"), "ill": ("p2", "p3")}.items()):
        film, other = (draw_film("normal", 10 * place + index) for index in range(2))
        # Mixed with another until it is no copy any more.
        mixes = (np.uint8(film * (1 - share) + other * share) for share in np.linspace(0, 1, 50))
        mixed = next(mix for mix in mixes if apart(film, mix) > 26)
        distances.append(apart(film, mixed))
        (tmp_path / "data" / label).mkdir(parents=True)
        for index, (pixels, patient) in enumerate(zip((film, mixed), patients, strict=True)):
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{index}.png")
            rows.append(f"{label}/{index}.png,{patient}")
    (tmp_path / "who.csv").write_text("\n".join(rows))
    record = found(capsys, tmp_path / "data", "--patients", tmp_path / "who.csv")
    first, *others = record["closest_strangers"]
    assert first == {"first": "ill/0.png", "second": "ill/1.png", "distance": distances[1]}
    assert record["copies"] == [] and not any(
        {own["first"], own["second"]} == {"well/0.png", "well/1.png"} for own in others
    )
    assert set(record["likeness"]) == {"one patient, one class", "two patients"}


def test_html_shows_films_unless_told_not_to(folder, tmp_path, capsys):
    first = sorted((folder / "train" / "NORMAL").iterdir())[0]
    shutil.copy(first, first.with_name("IM-9001-0001.jpeg"))
    assert run(folder, "-o", tmp_path / "with", "--folds", 2) == 0
    assert run(folder, "-o", tmp_path / "without", "--no-films", "-f", "html", "--folds", 2) == 0
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["audit.html"]
    page = (tmp_path / "with" / "audit.html").read_text()
    assert page.count("data:image/jpeg") >= 2
    assert "data:image/jpeg" not in (tmp_path / "without" / "audit.html").read_text()
    page = html.unescape(page)
    assert "default-src 'none'" in page and "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert page.count(DISCLAIMER) == 1
    assert DISCLAIMER in (tmp_path / "with" / "audit.md").read_text()
    assert capsys.readouterr().out == f"{tmp_path / 'with'}\n{tmp_path / 'without'}\n"


def test_of_many_copies_those_that_cross_a_line_are_shown(write_film, tmp_path):
    data, rows = tmp_path / "data", ["path,patient"]
    for label in ("well", "ill"):
        for index in range(4):
            for copy in "ab":
                path = data / label / f"{label}{index}{copy}.png"
                write_film(path, "normal", index + 10 * len(label))
                rows.append(f"{label}/{path.name},{'p' if label == 'ill' else copy}{index}")
    shutil.copy(data / "well" / "well3a.png", data / "ill" / "across.png")
    rows.append("ill/across.png,other")
    (tmp_path / "who.csv").write_text("\n".join(rows))
    words = ("--patients", tmp_path / "who.csv", "--folds", 2, "-f", "html", "-o", tmp_path / "out")
    assert run(data, *words) == 0
    page = html.unescape((tmp_path / "out" / "audit.html").read_text())
    shown = re.findall(r"Copies, byte for byte, (\d) films\.", page)
    assert shown == ["3", "2", "2", "2", "2", "2"]
    copies, said, _ = page.partition("Different patients, most alike: ")
    assert "across.png" in copies and all(f"well{index}b.png" in copies for index in range(4))
    assert "ill3b.png" not in copies and said


def test_a_folder_takes_the_formats_and_the_screen_the_table(write_film, tmp_path, capsys):
    for name in ("well", "ill"):
        write_film(tmp_path / "data" / name / "a.png", "normal", len(name))
    out = tmp_path / "new" / "out"
    assert run(tmp_path / "data", "-f", "json, table,", "-f", "json,markdown", "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["audit.json", "audit.md"]
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n" and "Classes" in captured.err and DISCLAIMER in captured.err
    assert run(tmp_path / "data") == 0
    captured = capsys.readouterr()
    assert (
        "Classes" in captured.out and DISCLAIMER in captured.out and "Classes" not in captured.err
    )


def test_a_report_that_cannot_be_written_is_named_and_leaves_nothing_behind(
    write_film, tmp_path, capsys
):
    for name in ("well", "ill"):
        write_film(tmp_path / "data" / name / "a.png", "normal", len(name))
    (tmp_path / "out" / "audit.json").mkdir(parents=True)
    assert run(tmp_path / "data", "-o", tmp_path / "out", "-f", "json") == 3
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out' / 'audit.json'}: cannot be written" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["audit.json"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, "found none"),
        (lambda root: (root / "one").mkdir(parents=True), "empty"),
        (lambda root: _write(root / "one" / "a.png"), "at least two classes"),
    ],
)
def test_bad_folders_are_one_line(tmp_path, capsys, make, words):
    make(tmp_path / "data")
    assert run(tmp_path / "data") == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error and len(error.strip().splitlines()) == 1


def _write(path):
    path.parent.mkdir(parents=True)
    Image.new("L", (40, 40)).save(path)


def test_labels_csv_with_unknown_names(folder, tmp_path, capsys):
    (tmp_path / "x.csv").write_text("path,label\ntrain/NORMAL/nobody.jpeg,normal\n")
    assert run(folder, "--patients", tmp_path / "x.csv") == 2
    assert "not in the folder" in capsys.readouterr().err


def _series(patients, slices, classes=1):
    draw = np.random.default_rng(0)
    seen, groups = [], []
    for patient in range(patients):
        own = draw.integers(0, 255, (32, 32))
        for index in range(slices):
            name, label = f"{patient}-{index}", "abc"[index % classes]
            film = AuditedFilm(name, label, f"p{patient}", "all", sha256=name)
            pixels = np.clip(own + draw.normal(0, 60, (32, 32)), 0, 255).astype(np.uint8)
            features = np.zeros(4, np.float32)
            look = Look("x", 1, 1, 1, 0, 0, 0, 0, False, np.zeros(4, np.uint64), features, pixels)
            seen.append((film, look))
            groups.append(patient)
    return seen, groups


def test_long_series_are_compared_in_a_small_memory():
    seen, groups = _series(2, 800)
    tracemalloc.start()
    measured = likeness(seen, range(len(seen)), groups, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    assert set(measured) == {"one patient, one class", "two patients"}
    assert measured["one patient, one class"].value > measured["two patients"].value + 0.3


def test_a_film_that_was_saved_again_is_no_other_film_of_its_patient(tmp_path, capsys):
    draw, rows = np.random.default_rng(0), ["path,patient"]
    for label in ("well", "ill"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(2):
            film = Image.fromarray(draw.integers(0, 255, (16, 16), np.uint8)).resize((64, 64))
            film.save(tmp_path / "data" / label / f"{index}.png")
            rows.append(f"{label}/{index}.png,{label}")
    film.save(tmp_path / "data" / "ill" / "2.jpeg", quality=95)
    (tmp_path / "who.csv").write_text("\n".join([*rows, "ill/2.jpeg,ill"]))
    record = found(capsys, tmp_path / "data", "--patients", tmp_path / "who.csv")
    assert [own["exact"] for own in record["copies"]] == [False]
    # Films that have nothing in common, but for one and its copy.
    assert abs(record["likeness"]["one patient, one class"]["value"]) < 0.1


def test_drawn_pairs_tell_what_all_of_them_do(monkeypatch):
    seen, groups = _series(6, 40, classes=3)
    whole = likeness(seen, range(len(seen)), groups, 0)
    monkeypatch.setattr("edge_xray_trainer.likeness.LIKENESS_PAIRS", 400)
    drawn = likeness(seen, range(len(seen)), groups, 0)
    for kind in ("one patient, one class", "one patient, two classes"):
        assert drawn[kind].value == pytest.approx(whole[kind].value, abs=0.01)
        assert drawn[kind] != whole[kind]
