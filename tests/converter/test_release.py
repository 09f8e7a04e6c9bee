"""A model without a PASS report of its very bytes is not shipped."""

from __future__ import annotations

import json
import shutil

import pytest

from edge_xray.labelled import file_sha256
from edge_xray_converter.release import main, missing_reports


@pytest.fixture
def shipped(tmp_path, tiny_model):
    shutil.copy(tiny_model, tmp_path / "edge-xray-test.tflite")
    report = {
        "models": [{"sha256": "0" * 64}, {"sha256": file_sha256(tiny_model)}],
        "comparisons": [{"verdict": "PASS"}],
    }
    (tmp_path / "edge-xray-test.parity.json").write_text(json.dumps(report))
    return tmp_path


def change(folder, **values):
    path = folder / "edge-xray-test.parity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_model_with_its_report_may_be_shipped(shipped):
    assert missing_reports(shipped) == []
    assert main([str(shipped)]) == 0


def test_a_model_that_failed_may_not(shipped, capsys):
    change(shipped, comparisons=[{"verdict": "FAIL"}])
    assert main([str(shipped)]) == 1
    assert "says FAIL" in capsys.readouterr().err


def test_a_model_that_passed_on_few_films_or_by_wide_limits_may_not(shipped, capsys):
    few, wide = "One film of 2 is 50.00%.", "More than usual may be lost: flips 1."
    change(shipped, remarks=[few, wide])
    assert main([str(shipped)]) == 1
    said = "edge-xray-test.parity.json: says PASS with a doubt. "
    assert capsys.readouterr().err.splitlines() == [said + few, said + wide]
    change(shipped, remarks=[])
    assert missing_reports(shipped) == []
    # What of a failed one is doubtful is of no matter.
    change(shipped, remarks=[few], comparisons=[{"verdict": "FAIL"}])
    (fault,) = missing_reports(shipped)
    assert "says FAIL" in fault


def test_a_model_that_failed_on_one_of_two_runtimes_may_not(shipped, tiny_model):
    own = {"sha256": file_sha256(tiny_model)}
    passed, failed = {"verdict": "PASS"}, {"verdict": "FAIL"}
    for verdicts in ([passed, failed], [failed, passed]):
        change(shipped, models=[{"sha256": "0" * 64}, own, own], comparisons=verdicts)
        (fault,) = missing_reports(shipped)
        assert "FAIL" in fault
    change(shipped, models=[own, {"sha256": "1" * 64}, own], comparisons=[failed, passed])
    assert missing_reports(shipped) == []


def test_a_model_that_changed_since_may_not(shipped):
    with (shipped / "edge-xray-test.tflite").open("ab") as stream:
        stream.write(b"\0")
    (fault,) = missing_reports(shipped)
    assert "of other bytes" in fault


def test_a_report_on_the_model_as_reference_does_not_count(shipped, tiny_model):
    change(shipped, models=[{"sha256": file_sha256(tiny_model)}, {"sha256": "0" * 64}])
    (fault,) = missing_reports(shipped)
    assert "of other bytes" in fault


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"models": 3, "comparisons": []}', "[" * 99999])
def test_a_report_that_is_none_is_told(shipped, text):
    (shipped / "edge-xray-test.parity.json").write_text(text)
    (fault,) = missing_reports(shipped)
    assert "is no parity report" in fault


def test_a_report_that_is_no_text_is_told_in_a_line_and_not_shown_whole(shipped):
    (shipped / "edge-xray-test.parity.json").write_bytes(b"\xff" * 100_000)
    (fault,) = missing_reports(shipped)
    assert "is no parity report" in fault and len(fault) < 1000


@pytest.mark.parametrize(
    "broken",
    [
        {"remarks": None},
        {"remarks": "few films"},
        {"films": None},
        {"films": {"unread": [1]}},
        {"comparisons": [{"verdict": "PASS", "flips": None}]},
    ],
)
def test_a_report_of_which_a_kit_could_not_take_all_is_none(shipped, broken):
    change(shipped, **broken)
    (fault,) = missing_reports(shipped)
    assert "is no parity report" in fault


def test_a_missing_report_is_told_with_the_command_to_make_it(shipped):
    (shipped / "edge-xray-test.parity.json").unlink()
    (fault,) = missing_reports(shipped)
    assert "edge-xray parity" in fault


def test_an_empty_folder_ships_nothing(tmp_path):
    assert missing_reports(tmp_path)
