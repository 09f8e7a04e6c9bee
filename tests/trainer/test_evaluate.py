"""``edge-xray evaluate`` through the command line, on a tiny model and generated films."""

import base64
import csv
import html
import io
import json
import os
import re
import shlex
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_xray.cli import main
from edge_xray.labelled import Split, SplitFilm
from edge_xray.measures import auc, calibration_error_by_chance, expected_calibration_error
from edge_xray.metadata import DISCLAIMER
from edge_xray.model_file import attach_to_keras, read_metadata
from edge_xray_trainer.figures import Bootstrap, measure_pairs
from edge_xray_trainer.scoring import FilmFacts, PreparedFilms, Reference, Scored
from edge_xray_trainer.subgroups import subgroups_of


def run(*arguments):
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def report(tiny_keras, film_folder, tiny_split, tmp_path_factory):
    """The whole report of the tiny network, made once."""
    folder = tmp_path_factory.mktemp("evaluation")
    code = run(
        tiny_keras, "--data", film_folder, "--split", tiny_split, "-o", folder,
        "--robustness-films", 12, "--resamples", 200,
    )  # fmt: skip
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def lone_keras(tiny_keras, tmp_path_factory):
    """The tiny network without the split that lies beside it."""
    return shutil.copy(tiny_keras, tmp_path_factory.mktemp("lone"))


@pytest.fixture(scope="module")
def record(report):
    return json.loads((report / "evaluation.json").read_text())


def estimates(value):
    """All estimates anywhere in a record."""
    if isinstance(value, dict):
        if set(value) == {"value", "low", "high"}:
            yield value
        else:
            for item in value.values():
                yield from estimates(item)
    elif isinstance(value, list):
        for item in value:
            yield from estimates(item)


def test_every_figure_lies_in_its_interval(record):
    found = list(estimates(record))
    assert len(found) > 100
    for estimate in found:
        if estimate["value"] is not None and estimate["low"] is not None:
            # The bootstrap of an error that is biased upwards may leave its own value out.
            assert estimate["low"] <= estimate["high"]
    for name in ("auc", "accuracy", "sensitivity", "specificity", "type_1_error"):
        own = record["test"][name]
        assert own["low"] <= own["value"] <= own["high"]


def test_counts_agree_with_rates_and_films(record, report, tiny_split):
    counts = record["test"]["counts"]
    films = Split.read(tiny_split).part("test")
    assert sum(counts.values()) == record["test"]["films"] == len(films)
    sensitivity = counts["true_positive"] / (counts["true_positive"] + counts["false_negative"])
    assert record["test"]["sensitivity"]["value"] == pytest.approx(sensitivity)
    rows = list(csv.DictReader((report / "films.csv").open()))
    assert [row["path"] for row in rows] == [film.path for film in films]
    called = [float(row["p_finding"]) >= 0.3 for row in rows]
    assert called == [row["decided"] != "normal" for row in rows]
    given = [0.2 <= float(row["p_finding"]) < 0.45 for row in rows]
    assert given == [row["review"] == "true" for row in rows]
    assert record["test"]["review"]["value"] == pytest.approx(sum(given) / len(rows))
    right = sum(row["decided"] == row["reference"] for row in rows)
    assert record["classes"]["accuracy"]["value"] == pytest.approx(right / len(rows))


def test_every_figure_can_be_made_again_from_the_table_of_films(record, report):
    rows = list(csv.DictReader((report / "films.csv").open()))
    names = ("normal", "bacterial", "viral")
    shares = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    finding = np.array([float(row["p_finding"]) for row in rows])
    truth = np.array([names.index(row["reference"]) for row in rows])
    decided = np.array([names.index(row["decided"]) for row in rows])
    assert finding == pytest.approx(shares[:, 1:].sum(axis=1), abs=2e-6)
    assert record["test"]["auc"]["value"] == pytest.approx(auc(truth > 0, finding), abs=1e-3)
    classes = record["classes"]
    confusion = [[int(((truth == i) & (decided == j)).sum()) for j in range(3)] for i in range(3)]
    assert classes["confusion"] == confusion
    for i, name in enumerate(names):
        assert classes["recall"][name]["value"] == pytest.approx((decided[truth == i] == i).mean())
        area = auc(truth == i, shares[:, i])
        assert classes["one_against_rest"][name]["value"] == pytest.approx(area, abs=1e-3)
    ill = truth > 0
    area = auc(truth[ill] == 1, shares[ill, 1] / shares[ill, 1:].sum(axis=1))
    assert classes["pairs"]["bacterial vs viral"]["value"] == pytest.approx(area, abs=1e-3)
    told = record["score_calibration"]
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == truth
    for kind, stated, happened in (("finding", finding, ill), ("classes", sure, right)):
        error = expected_calibration_error(stated, happened)
        assert told[kind]["value"] == pytest.approx(error, abs=1e-4)
        chance = calibration_error_by_chance(stated)
        assert told[f"{kind}_by_chance"] == pytest.approx(chance, abs=5e-3)
    place = np.minimum((finding * 15).astype(int), 14)
    assert told["films"] == [int((place == own).sum()) for own in range(15)]
    for own in np.unique(place):
        inside = place == own
        assert told["stated"][own] == pytest.approx(finding[inside].mean(), abs=1e-5)
        assert told["observed"][own]["value"] == pytest.approx(ill[inside].mean())
    groups = {row["group"] for row in rows}
    assert record["test"]["patients"] == len(groups) < len(rows)
    false, true = (record["roc"][f"{kind}_positive_rate"] for kind in ("false", "true"))
    assert (false[0], true[0], false[-1], true[-1]) == (0.0, 0.0, 1.0, 1.0)
    area = np.sum(np.diff(false) * (np.array(true[1:]) + true[:-1]) / 2)
    assert area == pytest.approx(record["test"]["auc"]["value"])


def test_sections_are_there(record):
    assert record["train"]["films"] > record["test"]["films"]
    for kind in ("type_1", "type_2"):
        here, learned = (record[part][f"{kind}_error"]["value"] for part in ("test", "train"))
        assert record["gap"][kind]["value"] == pytest.approx(here - learned)
    assert len(record["robustness"]["by_corruption"]) == 13
    assert {len(own) for own in record["robustness"]["by_severity"].values()} == {5}
    assert set(record["shortcut"]) == {
        "whole film",
        "border only",
        "centre blanked",
        "centre only",
    }
    assert record["shortcut"]["whole film"]["auc"] == record["test"]["auc"]
    assert list(record["classes"]["pairs"]) == ["bacterial vs viral"]
    series = [
        own["subgroup"] for own in record["subgroups"] if own["by"] == "series of the file name"
    ]
    assert set(series) == {"IM", "NORMAL2-IM", "person"}
    # Only a subgroup that has both classes says how well they are told apart.
    pairs = {own["subgroup"]: own["pairs"] for own in record["subgroups"]}
    assert pairs["IM"] == {} and list(pairs["person"]) == ["bacterial vs viral"]
    assert pairs["person"] == record["classes"]["pairs"]
    found, cleared = (record["test"][name]["value"] for name in ("sensitivity", "specificity"))
    for own, share in zip(record["predictive_values"], (0.05, 0.2, 0.5), strict=True):
        true, false = found * share, (1 - cleared) * (1 - share)
        assert own["prevalence"] == share
        assert own["ppv"]["value"] == pytest.approx(true / (true + false))
        true, false = cleared * (1 - share), (1 - found) * share
        assert own["npv"]["value"] == pytest.approx(true / (true + false))


def test_html_is_whole_in_itself(report):
    page = html.unescape((report / "evaluation.html").read_text())
    assert "default-src 'none'" in page and "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert page.count(DISCLAIMER) == 1
    assert page.count("<img ") >= 4


def drawn_in(folder):
    """The pictures of a report, as the text of each."""
    page = (folder / "evaluation.html").read_text("utf-8")
    pictures = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", page)
    return [base64.b64decode(own).decode("utf-8") for own in pictures]


def test_markdown_says_it_once(report):
    text = (report / "evaluation.md").read_text()
    assert "Border only: 1 of 32 pixels a side" in text
    assert "Films given to a person count on the side" in text and "gate would not let" in text
    assert sum("sensitivity" in own for own in drawn_in(report)) == 1
    assert text.count(DISCLAIMER) == 1
    assert "| AUC |" in text and "nan " not in text.lower()
    assert "| AUC: bacterial vs viral |" in text
    assert "edge-xray evaluate" in text


def test_tflite_through_the_devices_classifier(tiny_model, film_folder, tiny_split, capsys, record):
    code = run(
        tiny_model, "--data", film_folder, "--split", tiny_split, "--no-robustness",
        "--no-shortcut", "--train-part", "", "--format", "json", "--resamples", 200,
        "--series", "^(IM|it's)",
    )  # fmt: skip
    assert code == 0
    packed = json.loads(capsys.readouterr().out)
    # What is said of the command is a command: an empty word and a bar are what they were.
    command = packed["provenance"]["Command"]
    words = shlex.split(command)
    assert words[words.index("--train-part") + 1] == "" and "^(IM|it's)" in words
    assert packed["model"]["quantization"] == "int8" and packed["model"]["bytes"] > 1000
    assert packed["data"]["films_sha256"] == record["data"]["films_sha256"]
    assert packed["train"] is None and packed["robustness"] is None
    assert packed["test"]["auc"]["value"] == pytest.approx(record["test"]["auc"]["value"], abs=0.05)


def test_finding_without_class_and_renamed_labels(tiny_keras, write_film, tmp_path, capsys):
    for index in range(6):
        write_film(tmp_path / "data" / "healthy" / f"{index}.png", "normal", index)
        write_film(tmp_path / "data" / "pneumonia" / f"{index}.png", "bacterial", index)
    (tmp_path / "data" / "pneumonia" / "broken.png").write_bytes(b"no picture")
    shutil.copy(tmp_path / "data" / "healthy" / "0.png", tmp_path / "data" / "healthy" / "copy.png")
    arguments = [
        tiny_keras, "--data", tmp_path / "data", "--no-robustness", "--no-shortcut",
        "--format", "json", "--resamples", 100,
    ]  # fmt: skip
    assert run(*arguments) == 2
    assert "--rename healthy=" in capsys.readouterr().err
    assert run(*arguments, "--rename", "Healthy=NORMAL") == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["test"]["films"], measured["test"]["positives"]) == (13, 6)
    # Whose film it is is not known, but a film and its copy are of one patient.
    assert measured["test"]["patients"] == 12
    assert list(measured["data"]["skipped"]) == ["pneumonia/broken.png"]
    assert measured["classes"]["confusion"][1] == [0, 0, 0]
    assert measured["score_calibration"]["classes"]["value"] is None
    assert measured["score_calibration"]["classes_by_chance"] is None
    assert 0 < measured["score_calibration"]["finding_by_chance"] < 0.5


def test_a_finding_in_capitals_is_that_of_its_folder(tiny_keras, write_film, tmp_path, capsys):
    model = Path(shutil.copy(tiny_keras, tmp_path))
    attach_to_keras(model, replace(read_metadata(model), finding="Pneumonia"))
    for index in range(4):
        write_film(tmp_path / "data" / "normal" / f"{index}.png", "normal", index)
        write_film(tmp_path / "data" / "pneumonia" / f"{index}.png", "bacterial", index)
    arguments = ["--no-robustness", "--no-shortcut", "--format", "json", "--resamples", 100]
    assert run(model, "--data", tmp_path / "data", *arguments) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["test"]["positives"] == 4 and measured["data"]["labels"]["pneumonia"] == 4


def test_a_folder_of_one_class_gives_the_figures_that_need_but_one(
    tiny_keras, write_film, tmp_path, capsys
):
    for index in range(6):
        write_film(tmp_path / "data" / "normal" / f"{index}.png", "normal", index)
    arguments = [tiny_keras, "--data", tmp_path / "data", "--no-robustness", "--resamples", 100]
    assert run(*arguments, "--format", "json") == 0
    measured = json.loads(capsys.readouterr().out)["test"]
    assert (measured["films"], measured["positives"]) == (6, 0)
    assert measured["auc"]["value"] is None and measured["sensitivity"]["value"] is None
    assert measured["specificity"]["value"] is not None
    assert run(*arguments, "-o", tmp_path / "out", "--prevalence", 0.005, "--no-shortcut") == 0
    # There is no curve to draw, and no picture says that its area is nan.
    assert not any("sensitivity" in own or "nan" in own for own in drawn_in(tmp_path / "out"))
    assert "| 0.5% |" in (tmp_path / "out" / "evaluation.md").read_text()
    capsys.readouterr()
    (tmp_path / "data" / "normal").rename(tmp_path / "data" / "knee")
    assert run(*arguments) == 2
    assert "the films are labelled knee, the model knows" in capsys.readouterr().err
    (tmp_path / "data" / "knee").rename(tmp_path / "elsewhere")
    assert run(*arguments) == 2
    assert "at least one class (one folder each), found none" in capsys.readouterr().err


def test_labels_are_renamed_as_the_user_says_and_not_as_comes_first(
    tiny_keras, write_film, tmp_path, capsys
):
    for index in range(4):
        write_film(tmp_path / "Lungs clear" / f"{index}.png", "normal", index)
        write_film(tmp_path / "Bacteria" / f"{index}.png", "bacterial", index)
    arguments = ["--data", tmp_path, "--no-robustness", "--resamples", 100]
    # What the message says is no command: as it stood, it called bacteria normal.
    words = "--rename bacteria=CLASS, CLASS one of normal, bacterial, viral, pneumonia"
    renamed = ["--rename", "bacteria=bacterial", "--rename", "lungs clear=normal"]
    for command in (["evaluate", tiny_keras], ["compare", tiny_keras, tiny_keras]):
        command = [str(word) for word in (*command, *arguments)]
        assert main(command) == 2
        assert words in capsys.readouterr().err
        assert main([*command, *renamed, "--format", "json"]) == 0
        record = json.loads(capsys.readouterr().out)
        measured = record if "test" in record else record["runs"][0]
        assert measured["test"]["films"] == 8
        assert sum(record["data"]["labels"].values()) == 8


def test_corruptions_are_of_the_same_film_whatever_the_network_takes(
    tiny_keras, write_film, tmp_path
):
    import dataclasses

    from edge_xray.decode import decode
    from edge_xray.input_spec import InputSpec
    from edge_xray.labelled import SplitFilm
    from edge_xray.preprocess import preprocess
    from edge_xray_trainer.scoring import prepare

    path = write_film(tmp_path / "large.png", "bacterial", height=1100, width=1300)
    films = [SplitFilm("large.png", "bacterial", "", "", "", "all")]
    made = []
    for side in (28, 96, 224, 320):
        metadata = dataclasses.replace(read_metadata(tiny_keras), input=InputSpec(side, side))
        one = prepare(tmp_path, films, metadata, lambda: None, standard=True)
        made.append(one.standard[0])
        # What the network is shown stays what the device shows it.
        shown = preprocess(decode(path, metadata.input).pixels, metadata.input)
        np.testing.assert_array_equal(one.inputs[0], shown)
    for other in made[1:]:
        np.testing.assert_array_equal(made[0], other)


def test_subgroups_from_a_csv(lone_keras, film_folder, tmp_path, capsys):
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["path", "ward"])
    for index in range(40):
        writer.writerow([f"PNEUMONIA/person{index + 1}_bacteria_{index}.jpeg", "A"])
    for path in sorted((film_folder / "train" / "NORMAL").iterdir()):
        writer.writerow([f"NORMAL/{path.name}", "B"])
    (tmp_path / "wards.csv").write_text(table.getvalue())
    code = run(
        lone_keras, "--data", film_folder, "--no-robustness", "--no-shortcut", "--format", "json",
        "--groups", tmp_path / "wards.csv", "--resamples", 100,
    )  # fmt: skip
    assert code == 0
    groups = json.loads(capsys.readouterr().out)["subgroups"]
    wards = {own["subgroup"]: own for own in groups if own["by"] == "ward"}
    assert wards["B"]["films"] == 40 and wards["B"]["auc"]["value"] is None


def test_what_a_csv_of_subgroups_leaves_out_is_said(lone_keras, write_film, tmp_path, capsys):
    rows = ["path,ward,age,site"]
    for index in range(16):
        path = f"{('normal', 'viral')[index % 2]}/{index}.png"
        write_film(tmp_path / "data" / path, "normal", index)
        if index > 2:
            rows.append(f"{path},{'AB'[index % 2]},{index},here")
    table = tmp_path / "wards.csv"
    table.write_text("\n".join(rows))
    arguments = [
        lone_keras, "--data", tmp_path / "data", "--no-robustness", "--no-shortcut",
        "--format", "json", "--resamples", 100, "--groups", table,
    ]  # fmt: skip
    assert run(*arguments) == 0
    measured = json.loads(capsys.readouterr().out)
    assert {own["subgroup"] for own in measured["subgroups"] if own["by"] == "ward"} == {"A", "B"}
    assert not {"age", "site"} & {own["by"] for own in measured["subgroups"]}
    said = " ".join(measured["data"]["notes"])
    assert "3 of 16 films have no row in --groups" in said
    assert "'age' of --groups is left out: the films have 13 values of it" in said
    assert "'site' of --groups is left out: the films have 1 value of it" in said
    table.write_text("path,ward\ndata/normal/0.png,A\ndata/viral/1.png,B\n")
    assert run(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert "names none of the 16 films" in error and "'normal/0.png'" in error
    assert "got 'data/normal/0.png'" in error and len(error.splitlines()) == 1
    table.write_text("path,ward\nnormal/0.png,A\nviral/1.png,B\nnormal/0.png,B\n,\n")
    assert run(*arguments) == 2
    assert "names normal/0.png twice" in capsys.readouterr().err
    table.write_text("film,ward\nnormal/0.png,A\n")
    assert run(*arguments) == 2
    assert "wards.csv: expected the column path" in capsys.readouterr().err


def test_films_are_divided_by_their_names_and_looks():
    names = ["n/IM-1.png", "n/IM-2.png", "v/NORMAL2-1.png", "v/NORMAL2-2.png", "v/x.png", "v/y.png"]
    films = tuple(SplitFilm(path, "", "", "", "", "all") for path in names)
    facts = [
        FilmFacts(kind, width, 100, 50.0)
        for kind, width in zip(
            ["PNG"] * 4 + ["JPEG"] * 2, (150, 100, 400, 300, 600, 500), strict=True
        )
    ]
    prepared = PreparedFilms(films, (), (), tuple(facts), {})
    found = {
        (by, group): "".join("x" if own else "." for own in which)
        for by, group, which in subgroups_of(prepared, r"(IM|NORMAL2)-", None, lambda _: None)
    }
    thirds = {"lowest third": "xx....", "middle third": "..xx..", "highest third": "....xx"}
    assert found == {
        ("series of the file name", "IM"): "xx....",
        ("series of the file name", "NORMAL2"): "..xx..",
        **{("pixels in the file", group): which for group, which in thirds.items()},
        **{("width to height", group): which for group, which in thirds.items()},
        ("file format", "PNG"): "xxxx..",
        ("file format", "JPEG"): "....xx",
    }


@pytest.mark.skipif(
    sys.platform == "win32", reason="links need a right of their own on this system"
)
def test_a_broken_link_is_a_film_that_could_not_be_read(lone_keras, write_film, tmp_path, capsys):
    for index in range(8):
        label = ("normal", "viral")[index % 2]
        write_film(tmp_path / "data" / label / f"{index}.png", label, index)
    (tmp_path / "data" / "viral" / "gone.png").symlink_to("nowhere.png")
    arguments = ("--no-robustness", "--no-shortcut", "--resamples", 100, "--format", "json")
    assert run(lone_keras, "--data", tmp_path / "data", *arguments) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["test"]["films"] == 8 and "viral/gone.png" in json.dumps(measured)


def test_a_training_part_that_there_is_not_is_refused_before_anything_is_measured(
    tiny_keras, film_folder, tiny_split, monkeypatch, capsys
):
    monkeypatch.setattr("edge_xray_trainer.evaluate.prepare", None)
    words = ("--data", film_folder, "--split", tiny_split, "--train-part", "trian")
    assert run(tiny_keras, *words) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "--train-part trian: the split has no part 'trian'" in said and "'train'" in said


def test_the_films_measured_on_are_not_set_beside_themselves_as_learned_from(
    tiny_keras, film_folder, tiny_split, capsys
):
    code = run(
        tiny_keras, "--data", film_folder, "--split", tiny_split, "--train-part", "test",
        "--no-robustness", "--no-shortcut", "--resamples", 100, "--format", "json",
    )  # fmt: skip
    assert code == 0 and json.loads(capsys.readouterr().out)["train"] is None


def test_stand_in_goes_into_the_record(tiny_keras, film_folder, tiny_split, tmp_path, capsys):
    kept = tmp_path / "record.json"
    kept.write_text('{"schema_version": 1, "name": "tiny"}')
    code = run(
        tiny_keras, "--data", film_folder, "--split", tiny_split, "--no-robustness",
        "--no-shortcut", "--train-part", "", "--resamples", 100,
        "--record", kept, "--stand-in", "IM to NORMAL2",
    )  # fmt: skip
    assert code == 0
    assert DISCLAIMER in capsys.readouterr().out
    figures = json.loads(kept.read_text())["shift_stand_ins"]["IM to NORMAL2"]
    assert figures["balanced_accuracy"]["low"] <= figures["balanced_accuracy"]["value"]


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"shift_stand_ins": null}'])
def test_a_record_that_is_none_is_refused_before_anything_is_measured(
    tiny_keras, film_folder, tmp_path, capsys, text
):
    kept = tmp_path / "record.json"
    kept.write_text(text)
    words = ("--data", film_folder, "--record", kept, "--stand-in", "x", "-o", tmp_path / "out")
    assert run(tiny_keras, *words) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "record.json: expected a run's record.json" in said
    assert kept.read_text() == text and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--part", "test"], "needs --split"),
        (["--format", "pdf"], "--format must be of table"),
        (["--format", "json,csv"], "add --output"),
        (["--rename", "x"], "LABEL=CLASS"),
        (["--rename", "nothere=viral"], "no film is labelled 'nothere'; the films are labelled"),
        (["--rename", "viral=flu"], "no class 'flu'; expected one of normal, bacterial, viral"),
        (["--prevalence", "1.5"], "--prevalence must be"),
        (["--operating-point", "other"], "no operating point 'other'"),
        (["--series", "("], "no regular expression"),
        (["--record", "x.json"], "belong together"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(lone_keras, film_folder, capsys, arguments, words):
    assert run(lone_keras, "--data", film_folder, "--no-robustness", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_a_network_that_gives_no_numbers_is_refused_in_one_line(
    tiny_keras, film_folder, tmp_path, capsys
):
    import keras

    network = keras.saving.load_model(tiny_keras)
    bias = network.get_layer("evidence").bias
    bias.assign([0.0, float("nan"), 0.0])
    network.save(tmp_path / "broken.keras")
    attach_to_keras(tmp_path / "broken.keras", read_metadata(tiny_keras))
    assert run(tmp_path / "broken.keras", "--data", film_folder, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "broken.keras: gives no number for 120 of 120 films" in error
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_split_of_other_films_is_refused(tiny_keras, film_folder, tiny_split, tmp_path, capsys):
    shutil.copytree(film_folder, tmp_path / "data")
    changed = tmp_path / "data" / "train" / Split.read(tiny_split).part("test")[0].path
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert run(tiny_keras, "--data", tmp_path / "data", "--split", tiny_split) == 2
    assert "not the one that was split" in capsys.readouterr().err


def test_other_region_four_classes_colour_softmax(tmp_path, capsys):
    """A Keras classifier of somebody else's kind: no evidence map, RGB, two classes without finding."""
    import keras
    from PIL import Image

    from edge_xray.input_spec import InputSpec
    from edge_xray.metadata import Label, ModelMetadata
    from edge_xray.operating_point import OperatingPoint

    names = {"no tumour": "none", "artefact": "none", "glioma": "urgent", "meningioma": "urgent"}
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((28, 28, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    network.save(tmp_path / "mri.keras")
    labels = tuple(Label(name, triage, "See a neurologist.") for name, triage in names.items())
    metadata = ModelMetadata(
        "mri", "1", labels, InputSpec(28, 28, 3), (OperatingPoint("only", 0.5, 0.5, 0.5),),
        finding="tumour", evidence_map=False, output="softmax",
    )  # fmt: skip
    attach_to_keras(tmp_path / "mri.keras", metadata)
    draw = np.random.default_rng(0)
    for place, name in enumerate(names):
        for index in range(5):
            path = tmp_path / "data" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            level = draw.integers(20, 60, (40, 30, 3)) + 50 * place
            Image.fromarray(level.astype(np.uint8)).save(path)
    code = run(
        tmp_path / "mri.keras", "--data", tmp_path / "data", "--resamples", 100,
        "--robustness-films", 4, "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert list(record["classes"]["pairs"]) == ["glioma vs meningioma"]
    assert np.sum(record["classes"]["confusion"]) == record["test"]["films"] == 20
    assert record["test"]["positives"] == 10
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "No tumour or artefact against tumour" in page and "Normal" not in page
    assert "AlexNet" not in page and "pneumonia" not in page.lower().replace("pneumoniamnist", "")
    capsys.readouterr()


def noise_of(names, films, folder):
    """Films of noise, so many a class."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(films):
            pixels = draw.integers(0, 255, (40, 30)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def untrained(path, names):
    """A Keras classifier of grey 28 x 28 films without an evidence map; all classes but the first are findings."""
    import keras

    from edge_xray.input_spec import InputSpec
    from edge_xray.metadata import Label, ModelMetadata
    from edge_xray.operating_point import OperatingPoint

    keras.utils.set_random_seed(0)
    head = keras.layers.Dense(len(names), activation="softmax")
    keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), head]).save(path)
    labels = tuple(Label(name, "urgent" if i else "none", "Ask.") for i, name in enumerate(names))
    metadata = ModelMetadata(
        path.stem, "1", labels, InputSpec(28, 28, 1), (OperatingPoint("only", 0.5, 0.5, 0.5),),
        evidence_map=False, output="softmax",
    )  # fmt: skip
    attach_to_keras(path, metadata)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode on this system")
def test_odd_names_of_classes_models_and_files(tmp_path, capsys):
    names = ("none", "cyst vs abscess", "$x_$")
    models = [tmp_path / "m$x_$.keras", tmp_path / "m$x^$.keras"]
    for path in models:
        untrained(path, names)
    noise_of(names, 4, tmp_path / "data")
    for name in names:
        film = tmp_path / "data" / name / "0.png"
        film.rename(film.with_name(os.fsdecode(b"radio_\xe9.png")))
    (tmp_path / "data" / "none" / "a\x1b[31m.png").write_bytes(b"nothing")
    words = ["--data", str(tmp_path / "data"), "--resamples", "100", "--no-robustness"]
    assert run(models[0], *words, "-o", tmp_path / "out") == 0
    assert r"the first: none/a\x1b[31m.png." in (tmp_path / "out" / "evaluation.md").read_text()
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert list(record["classes"]["pairs"]) == ["cyst vs abscess vs $x_$"]
    assert "radio_\\udce9.png" in (tmp_path / "out" / "films.csv").read_text("utf-8")
    assert main(["compare", *map(str, models), *words, "-o", str(tmp_path / "both")]) == 0
    assert "m$x_$" in (tmp_path / "both" / "comparison.html").read_text("utf-8")
    capsys.readouterr()


def test_classes_in_any_script_are_drawn_without_a_word(tmp_path):
    names = ("none", "肺结核", "سل")
    untrained(tmp_path / "model.keras", names)
    noise_of(names, 4, tmp_path / "data")
    words = ["--data", tmp_path / "data", "--resamples", 100, "--no-robustness"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(tmp_path / "model.keras", *words, "-o", tmp_path / "out") == 0
    assert not [own.message for own in caught if own.category is UserWarning]
    drawn = "".join(drawn_in(tmp_path / "out"))
    assert all(name in drawn for name in names)


def test_films_that_are_surely_of_neither_class_tell_the_two_apart_no_more_than_a_coin(tiny_keras):
    shares = np.array([[1, 0, 0], [0, 0.9, 0.1], [0, 0.2, 0.8], [1, 0, 0]])
    found, index = shares[:, 0] < 0.5, np.array([1, 1, 2, 2])
    scored = Scored(shares, shares[:, 1:].sum(axis=1), found, shares.argmax(axis=1), ~found)
    reference = Reference(index > 0, index, np.array(list("abcd")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (area,) = measure_pairs(
            reference, scored, read_metadata(tiny_keras), Bootstrap(100)
        ).values()
    assert area.value == 3.5 / 4


def test_the_confusions_of_many_classes_are_named_and_not_a_column_each(tmp_path, capsys):
    names = [f"kind {place:02}" for place in range(12)]
    untrained(tmp_path / "m.keras", names)
    noise_of(names, 6, tmp_path / "data")
    words = ["--data", tmp_path / "data", "--resamples", 100, "--no-robustness", "--no-shortcut"]
    assert run(tmp_path / "m.keras", *words, "-o", tmp_path / "out") == 0
    counts = json.loads((tmp_path / "out" / "evaluation.json").read_text())["classes"]["confusion"]
    text = (tmp_path / "out" / "evaluation.md").read_text()
    table = text.partition("# Confusion")[2].partition("#")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| kind")
    ]
    assert [row[0] for row in rows] == names
    for place, (row, own) in enumerate(zip(rows, counts, strict=True)):
        assert (int(row[1]), int(row[2])) == (sum(own), own[place])
        wrong = sorted(
            (-count, other) for other, count in enumerate(own) if count and other != place
        )
        said = [f"{names[other]} {-count}" for count, other in wrong[:3]]
        assert row[4] == (", ".join(said) or "–")
    capsys.readouterr()
