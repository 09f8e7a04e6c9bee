"""The same code serves other regions and other scans; only options differ."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edge_xray.cli import main
from edge_xray.dicom_tags import DicomTags
from edge_xray.errors import UsageError
from edge_xray.intended_use import check_intended_use
from edge_xray_trainer.augment import Augmentation
from edge_xray_trainer.task import task_for


def test_the_guangzhou_labels_are_known() -> None:
    task = task_for(["viral", "normal", "bacterial"])
    assert task.names == ("normal", "bacterial", "viral")
    assert [label.triage for label in task.labels] == ["none", "urgent", "supportive"]
    assert task.finding == "pneumonia"


def test_another_task_is_described_by_options() -> None:
    task = task_for(
        ["glioma", "no_tumour", "meningioma"],
        {
            "finding": "tumour",
            "modalities": ["MR"],
            "labels": {"meningioma": {"triage": "supportive", "advice": "See the clinic."}},
        },
    )
    assert task.names == ("no_tumour", "glioma", "meningioma")
    assert [label.triage for label in task.labels] == ["none", "urgent", "supportive"]
    assert task.labels[2].advice == "See the clinic."
    assert task.intended_use.modalities == ("MR",)
    assert task.intended_use.body_part == ()


def test_a_dicom_file_fits_what_the_options_name_in_small_letters() -> None:
    said = {"body_part": ["Brain"], "modalities": ["mr"], "views": ["ap"]}
    use = task_for(["glioma", "no_tumour"], said).intended_use
    assert check_intended_use(DicomTags("MR", "BRAIN", "AP", 40.0), use).reason is None
    assert check_intended_use(DicomTags("MR", "KNEE", "AP", 40.0), use).reason is not None


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["cat", "dog"], None, "Say it with --negative"),
        (["cat", "dog"], {"negative": ["cow"]}, r"names \['cow'\], which are no classes"),
        (["cat", "dog"], {"negative": ["cat", "dog"]}, "names every class"),
        (["cat", "normal"], {"labels": {"cat": {"triage": "now"}}}, "urgent, supportive or none"),
        (["cat", "normal"], {"labels": {"cat": {"color": "red"}}}, "unknown settings"),
        (["cat", "normal"], {"body_parts": ["HEAD"]}, "unknown settings .*, body_part,"),
        (["cat", "normal"], {"findng": "x"}, "expected some of finding, negative, labels"),
        (
            ["cat", "normal"],
            {"finding": " "},
            "finding must be a word at least",
        ),
        (["cat", "normal"], {"negative": ["Normal", "normal"]}, "negative must be different"),
        (["cat", "normal"], {"labels": {"Cat": {}, "cat": {}}}, "labels must be different"),
        (
            ["cat", "normal"],
            {"labels": {"cat": "urgent"}},
            r"labels\.cat must be a table, got 'urgent'",
        ),
        (["cat", "normal"], {"labels": ["cat"]}, r"labels must be tables, .* got \['cat'\]"),
        (
            ["cat", "normal"],
            {"labels": {"cat": {"advice": 3}}},
            r"labels\.cat\.advice must be text",
        ),
        (
            ["cat", "normal"],
            {"negative": 5},
            "negative must be a class or a list of classes, got 5",
        ),
        (
            ["cat", "normal"],
            {"negative": ["normal", "normal"]},
            "negative must be different classes",
        ),
        (["cat", "normal"], {"modalities": "MR"}, "modalities must be a list of words, got 'MR'"),
        (["cat", "normal"], {"summary": 1}, "summary must be a text, got 1"),
        (
            ["cat", "normal"],
            {"finding": "two\nlines"},
            "finding must be a word at least, text on one line",
        ),
        (["cat", "normal"], {"summary": "a\x1b[2J"}, "summary must be text on one line"),
        (["cat", "normal"], {"finding": ["x"]}, r"finding must be a text, got \['x'\]"),
        (["cat", "normal"], {"age_min_years": "5"}, "age_min_years must be 0 to 150, got '5'"),
        (["cat", "normal"], {"age_min_years": 9, "age_max_years": 5}, "age_max_years must be"),
        (
            ["cat", "normal"],
            {"labels": {"normal": {"triage": "urgent"}}},
            "must have the triage none",
        ),
        (["cat", "normal"], {"labels": {"cat": {"triage": "none"}}}, "must have the triage none"),
        ([f"c{i}" for i in range(21)], {"negative": "c0"}, "expected 2 to 20 classes, got 21"),
    ],
)
def test_a_wrong_description_is_refused(names: list[str], options: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        task_for(names, options)  # type: ignore[arg-type]


def test_classes_are_named_in_any_case() -> None:
    task = task_for(
        ["tb", "well"],
        {"negative": ["Well"], "labels": {"TB": {"triage": "supportive", "advice": "Ring."}}},
    )
    assert [(label.name, label.triage) for label in task.labels] == [
        ("well", "none"),
        ("tb", "supportive"),
    ]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('findng = "x"', "[task] has unknown settings ['findng']; expected some of finding,"),
        ('finding = ""', "[task] finding must be a word at least"),
        (
            '[task.labels.tb]\ntriage = "now"',
            "triage must be urgent, supportive or none, got 'now'",
        ),
        ('[task.labels.tb]\ntriag = "none"', "unknown settings ['triag']; expected some of triage"),
    ],
)
def test_a_slip_in_the_task_is_answered_before_a_film_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, said: str
) -> None:
    config = tmp_path / "options.toml"
    config.write_text(f"[task]\n{table}\n", encoding="utf-8")
    assert main(["train", str(tmp_path / "nowhere"), "--config", str(config)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\ufeffepochs = 0", "epochs must be 1 to 10000, got 0"),
        pytest.param(
            f"epochs = {'9' * 6000}",
            "expected a TOML file of training options",
            marks=pytest.mark.skipif(
                not hasattr(sys, "get_int_max_str_digits"), reason="Python before 3.10.7 reads it"
            ),
        ),
        (f"epochs = {'[' * 6000}", "expected a TOML file of training options"),
    ],
)
def test_a_config_with_a_byte_order_mark_is_read_and_an_endless_number_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    config = tmp_path / "options.toml"
    config.write_text(text, encoding="utf-8")
    assert main(["train", str(tmp_path / "nowhere"), "--config", str(config)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


@pytest.mark.parametrize("name", ["noise_level", "blur_radius", "patch", "border", "gamma"])
def test_a_strength_of_nothing_is_off_and_no_error(name: str) -> None:
    settings = {
        name: 0.0,
        **{f"{kind}_chance": 1.0 for kind in ("noise", "blur", "patch", "border")},
    }
    augmentation = Augmentation(**settings)
    film = np.full((40, 50, 1), 90, np.uint8)
    for seed in range(20):
        assert augmentation(film, np.random.default_rng(seed)).shape == film.shape
