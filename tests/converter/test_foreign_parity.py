"""Parity of networks from elsewhere: each is judged as it was converted, or not at all."""

from __future__ import annotations

import json

import pytest

QUICK = ("--resamples", 100, "--no-timing")


@pytest.fixture(scope="module")
def films(write_film, tmp_path_factory):
    """A folder of films of two classes; read only."""
    folder = tmp_path_factory.mktemp("films")
    for label, drawn in (("healthy", "normal"), ("tumour", "bacterial")):
        for seed in range(6):
            write_film(folder / label / f"{seed}.png", drawn, seed)
    return folder


@pytest.fixture(scope="module")
def made(run_cli, foreign, tmp_path_factory):
    """``made(threshold, source, *more)``: a float32 file of the foreign network, positive from a threshold on."""
    folder = tmp_path_factory.mktemp("made")

    def make(threshold, source=foreign, *more):
        out = folder / f"{threshold}-{len(list(folder.iterdir()))}.tflite"
        code, _, err = run_cli(
            "convert", source, "--float32", "--labels", "tumour,healthy", "--threshold", threshold,
            "--input-range", "-1..1", *more, "-o", out,
        )  # fmt: skip
        assert code == 0, err
        return out

    return make


def test_a_network_from_elsewhere_is_judged_as_it_was_converted(
    run_cli, foreign, films, made, tmp_path
):
    candidate = made(0.35, foreign, "--name", "mynet", "--finding", "腫瘍")
    stem = tmp_path / "r"
    code, _, err = run_cli("parity", foreign, candidate, "--data", films, "-o", stem, *QUICK)
    assert code == 0, err
    assert f"what no option says of it is read from {candidate.name}" in err
    record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    first, second = record["models"]
    assert first["converted_on_the_fly"]
    for name in ("labels", "operating_point", "name", "figures"):
        assert first[name] == second[name]
    assert (first["name"], first["operating_point"]["threshold"]) == ("mynet", 0.35)
    (comparison,) = record["comparisons"]
    assert comparison["largest_shift"] < 1e-5
    assert comparison["layers"]


def test_what_is_said_now_wins_over_what_was_said_when_it_was_converted(
    run_cli, foreign, films, made, tmp_path
):
    stem = tmp_path / "r"
    code, _, err = run_cli(
        "parity", foreign, made(0.5), "--data", films, "-o", stem, *QUICK,
        "--labels", "healthy,tumour", "--negative", "healthy", "--input-range", "0..1",
    )  # fmt: skip
    assert code == 1, err
    record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    assert [model["labels"] for model in record["models"]] == [
        ["healthy", "tumour"],
        ["tumour", "healthy"],
    ]
    assert record["comparisons"][0]["largest_shift"] > 1e-3


def test_two_thresholds_are_not_compared_where_nobody_fitted_one(
    run_cli, foreign, films, made, tmp_path
):
    # The same network in another file: nothing tells what was said of it.
    other = tmp_path / "other.keras"
    other.write_bytes(foreign.read_bytes() + b"\0")
    candidate, second = made(0.35), made(0.5)
    say = ("--labels", "tumour,healthy", "--input-range", "-1..1")
    for models in ((other, candidate), (candidate, other), (foreign, candidate, second)):
        given = say if other in models else ()
        code, _, err = run_cli(
            "parity", *models, "--data", films, "-o", tmp_path / "r", *QUICK, *given
        )
        *_, last = err.splitlines()
        assert code == 2
        assert "expected one threshold" in last and "edge-xray convert" in last
    assert "--float32 --threshold 0.5 -o" in last
    assert not (tmp_path / "r.json").exists()
    # What it says to do helps.
    reference = made(0.5, foreign)
    code, _, err = run_cli(
        "parity", reference, second, "--data", films, "-o", tmp_path / "r", *QUICK
    )
    assert code == 0, err


def test_a_network_of_this_kit_is_not_described_again(
    run_cli, tiny_keras, tiny_float, foreign, parity_films, tmp_path
):
    command = ("parity", tiny_keras, tiny_float, "--data", parity_films / "films", *QUICK)
    for given in (("--labels", "a,b,c"), ("--negative", "normal"), ("--input-range", "-1..1")):
        code, _, err = run_cli(*command, *given, "-o", tmp_path / "r")
        assert code == 2
        assert err.startswith(f"edge-xray: {given[0]}: is for networks from elsewhere")
        assert "\n" not in err
    assert not (tmp_path / "r.json").exists()
    # One beside it is, and the options are of that one.
    code, _, err = run_cli(
        "parity", tiny_keras, foreign, "--data", parity_films / "films", *QUICK, "-o", tmp_path / "r",
        "--labels", "normal,pneumonia", "--input-range", "-1..1", "--operating-point", "balanced",
    )  # fmt: skip
    assert code == 1, err
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert [model["labels"] for model in record["models"]] == [
        ["normal", "bacterial", "viral"],
        ["normal", "pneumonia"],
    ]


def test_the_layers_of_a_network_are_compared_under_whatever_name(
    run_cli, repack, tiny_keras, tiny_float, parity_films, tmp_path
):
    renamed = repack(tiny_float, tmp_path / "renamed.tflite", name="another", architecture="other")
    code, _, err = run_cli(
        "parity",
        tiny_keras,
        renamed,
        "--data",
        parity_films / "films",
        *QUICK,
        "-o",
        tmp_path / "r",
    )
    assert code == 0, err
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert record["comparisons"][0]["layers"]
