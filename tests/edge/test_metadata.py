"""What a model file says of itself, as a person may have written it."""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
import json
import math
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_xray.classifier import open_model
from edge_xray.cli import main
from edge_xray.clinic_commands import FORMAT_NAMES
from edge_xray.errors import ModelError
from edge_xray.metadata import IntendedUse, ModelMetadata
from edge_xray.metadata_fields import MOST_LEVELS
from edge_xray.model_file import (
    METADATA_MEMBER,
    MOST_METADATA_BYTES,
    SEAL_BYTES,
    parse_metadata,
    read_metadata,
    split_packed,
)
from edge_xray.shipped import ModelFile

Place = tuple[str | int, ...]

MARKUP = "[/red] {0} %s <b> =1+1"
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**400, math.inf, math.nan),
    *("", " ", "x\x1b]0;title\x07", "two\nlines", "\u202eright to left", "\ud800", MARKUP),
    *([], {}, [[]], ["x", 1], {"x\x1b[2J": 1}, {"x": {"y": math.nan}}),
)
GONE = object()
"""No value: the field is left out."""


def test_one_word_is_a_list_of_one_word():
    use = IntendedUse.from_dict({"modalities": "MR", "body_part": "HEAD", "views": ["AP", "PA"]})
    assert (use.modalities, use.body_part, use.views) == (("MR",), ("HEAD",), ("AP", "PA"))
    assert IntendedUse.from_dict(use.to_dict()) == use


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("age_min_years", "18", "age_min_years must be a number or null, got '18'"),
        ("age_max_years", True, "age_max_years must be a number"),
        ("age_max_years", float("nan"), "age_max_years must be a number"),
        ("age_min_years", -1, "age_min_years must be 0 or more, got -1"),
        ("views", ["AP", 3], r"views must be a list of words, got \('AP', 3\)"),
        ("summary", "a\x1b[2J", r"summary must be text on one line, .* got 'a\\x1b\[2J'"),
    ],
)
def test_a_use_of_another_kind_is_refused(field, value, words):
    with pytest.raises(ModelError, match=words):
        IntendedUse.from_dict({field: value})


def test_an_oldest_age_below_the_youngest_is_refused():
    with pytest.raises(ModelError, match="age_max_years must be age_min_years, 5, or more, got 1"):
        IntendedUse(age_min_years=5, age_max_years=1)


def test_a_delegate_is_allowed_or_not_and_nothing_else(tiny_model):
    record = read_metadata(tiny_model).to_dict()
    assert ModelMetadata.from_dict(record).delegate
    assert not ModelMetadata.from_dict({**record, "delegate": False}).delegate
    del record["delegate"]
    assert ModelMetadata.from_dict(record).delegate, "a model packed before the field was there"
    with pytest.raises(ModelError, match="delegate must be true or false, got 'xnnpack'"):
        ModelMetadata.from_dict({**record, "delegate": "xnnpack"})


def _sealed(network: bytes, record: str) -> bytes:
    """A model file whose hashes are right, as anybody can write one; `pack_model` takes no odd record."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(METADATA_MEMBER, record)
        archive.comment = b"0" * SEAL_BYTES
    body = (network + buffer.getvalue())[:-SEAL_BYTES]
    return body + hashlib.sha256(body).hexdigest().encode()


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where there is something to replace; of a list its first item stands for all."""
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, item in items:
        if isinstance(item, dict | list):
            yield from _places(item, (*place, key))
        else:
            yield *place, key


def _replaced(record: Any, place: Place, value: Any) -> Any:
    changed = copy.copy(record)
    if place[1:]:
        value = _replaced(record[place[0]], place[1:], value)
    if value is GONE:
        del changed[place[0]]
    else:
        changed[place[0]] = value
    return changed


@pytest.fixture(scope="module")
def packed(tiny_model) -> tuple[bytes, dict[str, Any]]:
    """A network, and its metadata as plain data with something in every field."""
    record = json.loads(read_metadata(tiny_model).to_json())
    record["metrics"] = {"auc": {"value": 0.97, "of": ["films", 60]}}
    return split_packed(tiny_model.read_bytes())[0], record


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """``run("scan", ...) -> (exit code, stdout, stderr)``, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        captured = capsys.readouterr()
        for line in (captured.out + captured.err).split("\n"):
            assert line.isprintable(), f"{words}: {line!r}"
        return code, captured.out, captured.err

    return call


def test_whatever_stands_in_the_metadata_a_model_is_refused_or_works(packed, run, write_film):
    network, record = packed
    film = write_film(Path("film.png"))
    formats = itertools.cycle(FORMAT_NAMES)
    refused = accepted = 0
    for place in _places(record):
        for value in (*ODD, GONE):
            data = _sealed(network, json.dumps(_replaced(record, place, value)))
            try:
                open_model(ModelFile(data, "0" * 64, "odd.tflite", Path("odd.tflite")))
            except ModelError as error:
                assert str(error).isprintable(), (place, value)
                assert len(str(error)) < 600, (place, value)
                refused += 1
                continue
            Path("odd.tflite").write_bytes(data)
            calls = [("info", "odd.tflite"), ("info", "odd.tflite", "--json")]
            if place[0] not in ("training", "metrics"):  # which a scan does not read
                calls.append(("scan", str(film), "-m", "odd.tflite", "-f", next(formats)))
            for words in calls:
                code, _, err = run(*words)
                assert code == 0 or (code == 2 and len(err.splitlines()) == 1), (place, value, err)
            accepted += 1
    assert refused > 1000
    assert accepted > 100


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (
            ("name",),
            "m\x1b]0;title\x07",
            r"control characters, got 'm\x1b]0;title\x07'",
        ),
        (
            ("version",),
            None,
            "version must be text on one line, without control characters, got None",
        ),
        (("labels", 2, "triage"), GONE, "label: lacks the field triage"),
        (("calibration",), GONE, "model metadata: lacks the field calibration"),
        (("labels", 0, "name"), 7, "label 7: name must be text"),
        (("labels", 1, "advice"), "See\x1b[31m this", "label 'bacterial': advice must be text"),
        (
            ("input", "resample"),
            "nearest",
            "resample must be bicubic, bilinear, lanczos, box or hamming",
        ),
        (("features", "unlike"), "far", "feature statistics: unlike must be a number, got 'far'"),
        (("golden", "logits"), [["high", "low"]], "logits must be a list of lists of numbers"),
        (
            ("golden", "logits"),
            [[0.0, 1.0]],
            "logits must be rows of 3 numbers, one a label, got 2",
        ),
        (
            ("operating_points", 0, "sensitivity", "low"),
            "high",
            "operating point 'screening': sensitivity: low must be a number of 0 to 1, got 'high'",
        ),
        (("training",), None, "training must be an object, got None"),
        (("training", "seed"), "\x9b2J", "training.seed must be a number or text on one line"),
    ],
)
def test_an_odd_field_is_named_in_one_line_by_every_command(packed, run, place, value, words):
    network, record = packed
    Path("odd.tflite").write_bytes(_sealed(network, json.dumps(_replaced(record, place, value))))
    for command in (
        ("info", "odd.tflite"),
        ("info", "odd.tflite", "--json"),
        ("scan", ".", "--model", "odd.tflite"),
        ("watch", ".", "--model", "odd.tflite"),
        ("benchmark", "--model", "odd.tflite"),
        ("self-test", "--model", "odd.tflite"),
    ):
        code, _, err = run(*command)
        assert code == 2, command
        assert err.startswith("edge-xray: model odd.tflite: ")
        assert words in err
        assert len(err.splitlines()) == 1


NDARRAY_AS_AN_ALIAS = """
from typing import Any, TypeVar

import numpy as np
import numpy.typing
from typing_extensions import TypeAliasType

Scalar = TypeVar("Scalar", bound=np.generic)
array = np.ndarray[Any, np.dtype[Scalar]]
numpy.typing.NDArray = TypeAliasType("NDArray", array, type_params=(Scalar,))

from edge_xray.cli import main

main(["info"])
"""
"""NumPy as it is from 2.5 on, with Python 3.12 and newer."""


def test_a_model_is_read_where_numpy_writes_the_type_of_arrays_as_an_alias():
    finished = subprocess.run(
        [sys.executable, "-c", NDARRAY_AS_AN_ALIAS],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    assert "Operating point" in finished.stdout


def test_lists_within_each_other_without_end_are_refused(packed):
    network, record = packed
    for levels in (MOST_LEVELS + 1, 900, 100_000):
        deep = json.dumps({**record, "metrics": {"a": "X"}})
        data = _sealed(network, deep.replace('"X"', "[" * levels + "]" * levels))
        with pytest.raises(ModelError, match=r"within each other|damaged"):
            open_model(ModelFile(data, "0" * 64, "deep.tflite", Path("deep.tflite")))


def test_a_record_that_unpacks_to_very_much_is_refused_for_little(packed):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA_MEMBER, " " * (6 * MOST_METADATA_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="carries no edge-xray metadata"):
            parse_metadata(packed[0] + buffer.getvalue(), "bomb.tflite")
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST_METADATA_BYTES
    finally:
        tracemalloc.stop()


def test_a_finding_that_looks_like_markup_is_a_heading_as_it_is(packed, run, write_film):
    network, record = packed
    data = _sealed(network, json.dumps({**record, "finding": "[/red] of [bold]x"}))
    Path("odd.tflite").write_bytes(data)
    film = write_film(Path("film.png"))
    code, out, _ = run("scan", str(film), "--model", "odd.tflite", "--format", "table")
    assert code == 0
    assert "[/red]" in out and "[bold]x" in out


def test_letters_of_every_script_are_text(packed):
    _, record = packed
    for text in ("Reférez\u00a0!", "نمی\u200cشود", "\u3000肺炎の疑い", "क्\u200dष", "Å–ž 🙂"):
        advice = ModelMetadata.from_dict(_replaced(record, ("labels", 0, "advice"), text))
        assert advice.labels[0].advice == text
