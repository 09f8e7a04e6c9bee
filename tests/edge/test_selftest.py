"""`edge-xray self-test`: a good machine passes, one that answers otherwise does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from edge_xray import classifier, preprocess, selftest, toolbox
from edge_xray.errors import ModelError
from edge_xray.findings import passed
from edge_xray.metadata import GoldenVectors
from edge_xray.model_file import pack_model, read_metadata, split_packed


def repack(model: Path, target: Path, golden: GoldenVectors | None) -> Path:
    network, _ = split_packed(model.read_bytes())
    target.write_bytes(pack_model(network, replace(read_metadata(model), golden=golden)))
    return target


def test_the_packed_model_passes(tiny_model: Path) -> None:
    findings = list(selftest.self_test(tiny_model))
    assert passed(findings), findings
    assert [finding.name for finding in findings] == [
        "PNG film",
        "JPEG film",
        "file to input",
        "network",
        "decisions",
    ]
    assert findings[3].values["difference"] <= findings[3].values["tolerance"]
    assert findings[4].values["changed"] == 0


def test_other_answers_fail(tiny_model: Path, tmp_path: Path) -> None:
    golden = read_metadata(tiny_model).golden
    assert golden is not None
    swapped = tuple(tuple(reversed(row)) for row in golden.logits)
    model = repack(tiny_model, tmp_path / "swapped.tflite", replace(golden, logits=swapped))
    findings = {finding.name: finding for finding in selftest.self_test(model)}
    assert findings["network"].state == findings["decisions"].state == "FAIL"
    assert findings["network"].remedy


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_no_numbers_fail_in_json_that_any_program_reads(
    value: float, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = classifier._Output.read
    monkeypatch.setattr(
        classifier._Output, "read", lambda output, of: np.full_like(real(output, of), value)
    )
    app = typer.Typer()
    toolbox.register(app)
    told = CliRunner().invoke(app, ["self-test", "--model", str(tiny_model), "--json"])
    assert told.exit_code == 1
    found = {
        finding["name"]: finding
        for finding in json.loads(told.stdout, parse_constant=pytest.fail)["findings"]
    }
    assert found["network"]["state"] == "FAIL"
    assert found["network"]["values"]["difference"] is None


def test_a_model_without_golden_vectors_cannot_pass(tiny_model: Path, tmp_path: Path) -> None:
    model = repack(tiny_model, tmp_path / "bare.tflite", None)
    *_, last = selftest.self_test(model)
    assert (last.name, last.state) == ("network", "FAIL")


@pytest.mark.parametrize("filter_name", ["BILINEAR", "LANCZOS", "HAMMING"])
def test_another_resize_is_noticed(filter_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(preprocess._FILTERS, "bicubic", Image.Resampling[filter_name])
    assert selftest.check_preparing("PNG", selftest.PNG_TOLERANCE).state == "FAIL"


def test_an_unknown_operating_point_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no operating point"):
        list(selftest.self_test(tiny_model, operating_point="guess"))


def test_the_command_exits_by_the_findings(tiny_model: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    toolbox.register(app)
    good = CliRunner().invoke(app, ["self-test", "--model", str(tiny_model), "--json"])
    assert good.exit_code == 0 and json.loads(good.stdout)["passed"]
    bare = repack(tiny_model, tmp_path / "bare.tflite", None)
    bad = CliRunner().invoke(app, ["self-test", "--model", str(bare)])
    assert bad.exit_code == 1 and "FAIL  network" in bad.stdout
