"""``edge-xray compare`` through the command line, on the tiny network as float and as int8."""

import html
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_xray.cli import main
from edge_xray.errors import FilmError, UsageError
from edge_xray.metadata import DISCLAIMER
from edge_xray.model_file import attach_to_keras, read_metadata
from edge_xray.operating_point import Estimate
from edge_xray_trainer.compare import WARM_UP, model_of, stand_ins_of, time_one_film, verdict_of


def run(*arguments):
    return main(["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def report(tiny_keras, tiny_model, film_folder, tiny_split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    float_run = folder / "float"
    float_run.mkdir()
    shutil.copy(tiny_keras, float_run / "model.keras")
    figures = {"balanced_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}
    # As --stand-in writes it of films of one class.
    none = {"balanced_accuracy": {"value": None, "low": 0.0, "high": 1.0}}
    stand_ins = {"IM to NORMAL2": figures, "normal films": none}
    (float_run / "record.json").write_text(
        json.dumps({"name": "edge-xray-test", "shift_stand_ins": stand_ins})
    )
    code = run(
        float_run, tiny_model, "--data", film_folder, "--split", tiny_split, "-o", folder / "out",
        "--robustness-films", 6, "--resamples", 200,
    )  # fmt: skip
    assert code == 0
    return folder / "out"


def test_table_of_runs(report):
    record = json.loads((report / "comparison.json").read_text())
    first, second = record["runs"]
    assert (first["name"], second["name"]) == ("float/model.keras", "tiny")
    assert (first["quantization"], second["quantization"]) == ("float32", "int8")
    assert second["bytes"] < first["bytes"]
    for own in (first, second):
        time = own["milliseconds"]
        assert 0 < time["low"] <= time["value"] <= time["high"]
        assert own["test"]["films"] == first["test"]["films"]
        assert own["robustness"]["low"] <= own["robustness"]["value"] <= own["robustness"]["high"]
    assert first["stand_ins"] == {
        "IM to NORMAL2": {"value": 0.8, "low": 0.7, "high": 0.9},
        "normal films": {"value": None, "low": 0.0, "high": 1.0},
    }
    assert second["stand_ins"] == {}
    assert first["difference_auc"] is None
    difference = second["test"]["auc"]["value"] - first["test"]["auc"]["value"]
    assert second["difference_auc"]["value"] == pytest.approx(difference)
    accuracy = second["difference_accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert "Highest AUC" in record["verdict"]


def test_a_model_against_itself_leaves_room_for_films_not_seen(
    tiny_model, film_folder, tiny_split, tmp_path
):
    for name in ("a", "b"):
        shutil.copy(tiny_model, tmp_path / f"{name}.tflite")
    code = run(
        tmp_path / "a.tflite", tmp_path / "b.tflite", "--data", film_folder, "--split", tiny_split,
        "-o", tmp_path / "out", "--no-robustness", "--resamples", 100,
    )  # fmt: skip
    assert code == 0
    second = json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"][1]
    assert second["difference_auc"] == {"value": 0.0, "low": None, "high": None}
    accuracy = second["difference_accuracy"]
    assert accuracy["value"] == 0.0 and accuracy["low"] == -accuracy["high"] < -0.01
    assert re.search(r"\| b \| 0\.000 \| 0\.000 \(-", (tmp_path / "out/comparison.md").read_text())


def test_models_of_one_name_in_folders_of_one_name_are_told_apart(
    tiny_model, film_folder, tiny_split, tmp_path
):
    models = [tmp_path / where / "fold0" / "tiny.tflite" for where in ("old", "new")]
    for model in models:
        model.parent.mkdir(parents=True)
        shutil.copy(tiny_model, model)
    code = run(
        *models, "--data", film_folder, "--split", tiny_split, "-o", tmp_path / "out",
        "--no-robustness", "--resamples", 100,
    )  # fmt: skip
    assert code == 0
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [own["name"] for own in record["runs"]] == ["1 fold0/tiny.tflite", "2 fold0/tiny.tflite"]
    assert {"Model 1 fold0/tiny.tflite", "Model 2 fold0/tiny.tflite"} <= set(record["provenance"])


def test_text_and_page(report):
    text = (report / "comparison.md").read_text()
    assert text.count(DISCLAIMER) == 1 and "IM to NORMAL2" in text and "## Costs" in text
    page = html.unescape((report / "comparison.html").read_text())
    assert page.count(DISCLAIMER) == 1 and page.count("<img ") == 3
    assert "<script" not in page and not re.search(r'(?:src|href)="(?!data:)', page)


def test_shipped_models_are_compared_by_name(write_film, tmp_path, capsys):
    data = tmp_path / "films"
    for label in ("normal", "bacterial"):
        for seed in range(3):
            write_film(data / label / f"{seed}.png", label, seed)
    code = run(
        "edge-xray-lite0", "tiny", "--data", data, "--no-robustness", "--resamples", 100,
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [own["model"] for own in record["runs"]] == ["edge-xray-lite0", "edge-xray-tiny"]
    models = Path(__file__).resolve().parents[2] / "models"
    assert [own["bytes"] for own in record["runs"]] == [
        (models / f"{own['model']}.tflite").stat().st_size for own in record["runs"]
    ]
    # Their records lie beside them.
    assert all(own["stand_ins"] for own in record["runs"])
    assert main(["evaluate", "edge-xray-nano", "--data", str(data)]) == 2
    assert "shipped are edge-xray-lite0, edge-xray-tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder, model: [model], "two or more runs"),
        (lambda folder, model: [model, folder], "found neither"),
        (lambda folder, model: [model, folder / "none.tflite"], "none.tflite"),
        (lambda folder, model: [model, _two(folder, model)], "holds 2 packed models"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, tiny_model, film_folder, capsys, make, words):
    arguments = make(tmp_path, tiny_model)
    assert run(*arguments, "--data", film_folder, "--no-robustness", "--resamples", 100) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


def test_a_point_that_one_model_lacks_is_told_before_any_is_measured(
    tmp_path, tiny_keras, film_folder, tiny_split, capsys, monkeypatch
):
    lacking = shutil.copy(tiny_keras, tmp_path / "lacking.keras")
    metadata = read_metadata(tiny_keras)
    attach_to_keras(lacking, replace(metadata, operating_points=metadata.operating_points[:1]))
    monkeypatch.setattr("edge_xray_trainer.compare.evaluate", lambda *_: pytest.fail("measured"))
    words = ("--data", film_folder, "--split", tiny_split, "--operating-point", "balanced")
    assert run(tiny_keras, lacking, *words) == 2
    assert "has no operating point 'balanced'; it has screening" in capsys.readouterr().err


def test_models_that_look_for_other_findings_are_not_compared(
    tmp_path, tiny_keras, film_folder, tiny_split, capsys, monkeypatch
):
    other = shutil.copy(tiny_keras, tmp_path / "other.keras")
    metadata = read_metadata(tiny_keras)
    normal, bacterial, viral = metadata.labels
    labels = (normal, bacterial, replace(viral, triage="none"))
    attach_to_keras(other, replace(metadata, labels=labels, finding="bacteria"))
    monkeypatch.setattr("edge_xray_trainer.compare.evaluate", lambda *_: pytest.fail("measured"))
    assert run(tiny_keras, other, "--data", film_folder, "--split", tiny_split) == 2
    said = "other takes other films for bacteria than"
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_models_with_their_classes_in_another_order_share_a_column(
    tiny_keras, film_folder, tiny_split, tmp_path, capsys
):
    other = shutil.copy(tiny_keras, tmp_path / "other.keras")
    metadata = read_metadata(other)
    attach_to_keras(other, replace(metadata, labels=metadata.labels[::-1]))
    words = ("--data", film_folder, "--split", tiny_split, "--no-robustness", "--resamples", 100)
    assert run(tiny_keras, other, *words, "--format", "markdown") == 0
    table = capsys.readouterr().out.split("## ")[1].splitlines()
    names, *rows = ([cell.strip() for cell in line.split("|")] for line in table if "|" in line)
    assert [name for name in names if " vs " in name] == ["AUC bacterial vs viral"]
    assert "–" not in {row[names.index("AUC bacterial vs viral")] for row in rows}


def test_of_models_without_a_class_in_common_no_renaming_is_advised(
    tmp_path, tiny_keras, film_folder, tiny_split, capsys
):
    other = shutil.copy(tiny_keras, tmp_path / "other.keras")
    metadata = read_metadata(tiny_keras)
    labels = tuple(
        replace(label, name=name)
        for label, name in zip(metadata.labels, ("no", "glioma", "meningioma"), strict=True)
    )
    attach_to_keras(other, replace(metadata, labels=labels, finding="tumour"))
    for models in ((tiny_keras, other), (other, tiny_keras)):
        assert run(*models, "--data", film_folder, "--split", tiny_split) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "no class of it in common; compare models of one finding" in said
        assert "tumour" in said and "pneumonia" in said and "--rename" not in said


def test_a_film_that_one_model_alone_could_read_is_told(
    tmp_path, tiny_model, film_folder, tiny_split, capsys, monkeypatch
):
    from edge_xray_trainer import scoring

    seen, decode = set(), scoring.decode

    def once(path, spec):
        if path in seen and path == min(seen):
            raise FilmError("too_large", "cannot be read at this size")
        seen.add(path)
        return decode(path, spec)

    monkeypatch.setattr(scoring, "decode", once)
    models = [shutil.copy(tiny_model, tmp_path / f"{name}.tflite") for name in ("a", "b")]
    words = ("--data", film_folder, "--split", tiny_split, "--no-robustness", "--resamples", 100)
    assert run(*models, *words, "--jobs", 1) == 2
    assert "b was measured on other films than a" in capsys.readouterr().err


def test_a_packed_model_goes_before_the_network_that_it_was_made_of(tmp_path):
    (tmp_path / "model.keras").touch()
    assert model_of(tmp_path) == tmp_path / "model.keras"
    (tmp_path / "own.tflite").touch()
    assert model_of(tmp_path) == tmp_path / "own.tflite"


def test_stand_ins_are_of_the_models_own_record(tmp_path):
    model = tmp_path / "own.tflite"
    assert stand_ins_of(model, "own") == {}
    for file, name, value in (("record.json", "other", 0.5), ("own.record.json", "own", 0.8)):
        own = {"balanced_accuracy": {"value": value, "low": 0.1, "high": 0.9}}
        record = {"name": name, "shift_stand_ins": {"A to B": own}}
        (tmp_path / file).write_text(json.dumps(record))
    assert stand_ins_of(model, "own") == {"A to B": Estimate(0.8, 0.1, 0.9)}
    assert stand_ins_of(model, "third") == {}
    other = json.dumps(record | {"shift_stand_ins": {"A": {"balanced_accuracy": {"value": "x"}}}})
    none = '{"name": "own", "shift_stand_ins": {"A to B": {}}}'
    for damaged in ("{", "[]", "[" * 100_000, none, other):
        (tmp_path / "own.record.json").write_text(damaged)
        with pytest.raises(UsageError, match="expected a run's record"):
            stand_ins_of(model, "own")


def test_the_time_of_a_film_is_the_median_in_milliseconds_after_a_warm_up():
    seconds = iter([*[9.0] * WARM_UP, *np.random.default_rng(0).permutation(101) / 1000])
    asked = SimpleNamespace(seconds=lambda film: next(seconds))
    shown = []
    own = time_one_film(asked, np.zeros((1, 8, 8, 1), np.uint8), lambda: shown.append(1), runs=101)
    # Of 0 to 100 ms the 41st and the 61st: 101 / 2 -+ 0.98 sqrt(101), rounded up.
    assert (own.value, own.low, own.high) == pytest.approx((50.0, 40.0, 60.0))
    assert len(shown) == 101 and next(seconds, None) is None


def test_the_smallest_model_whose_interval_reaches_the_best_is_named():
    def one(name, size, value, high):
        auc = Estimate(value, value - 0.1, high)
        return SimpleNamespace(name=name, bytes=size, test=SimpleNamespace(auc=auc))

    large, middle = one("large", 400, 0.95, 0.97), one("middle", 200, 0.94, 0.95)
    small, nothing = one("small", 100, 0.90, 0.94), one("none", 1, math.nan, 1.0)

    def said(*runs):
        return verdict_of(SimpleNamespace(runs=runs))

    assert said(small, nothing, large, middle) == (
        "Highest AUC: large (0.9500). The smallest whose interval reaches it: middle (0.9400, 50% of the size)."
    )
    assert said(small, large) == "Highest AUC: large (0.9500)."
    # No other interval reaches an area of 1, whose own reaches down to 0.9.
    perfect = one("perfect", 400, 1.0, 1.0)
    assert said(perfect, large, small, one("poor", 50, 0.89, 0.99)) == (
        "Highest AUC: perfect (1.0000). The smallest in its interval: small (0.9000, 25% of the size)."
    )
    assert said(one("poor", 50, 0.89, 0.99), perfect) == "Highest AUC: perfect (1.0000)."
    assert "films are all of one kind" in said(nothing, nothing)


def _two(folder, model):
    (folder / "two").mkdir()
    for name in ("a", "b"):
        shutil.copy(model, folder / "two" / f"{name}.tflite")
    return folder / "two"
