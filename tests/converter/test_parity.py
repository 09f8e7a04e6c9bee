"""The parity command: what it measures, what it writes, what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_xray.cli import main
from edge_xray.labelled import Split, SplitFilm, file_sha256
from edge_xray.metadata import DISCLAIMER
from edge_xray.model_file import read_metadata
from edge_xray_converter.heat_maps import similarity
from edge_xray_converter.parity_text import to_markdown
from edge_xray_converter.record import SCHEMA_FILE


@pytest.fixture(scope="module")
def honest(run_cli, tiny_keras, tiny_float, tiny_model, parity_films, tmp_path_factory):
    """Reports of an honest conversion, by ending, and the exit code."""
    stem = tmp_path_factory.mktemp("honest") / "report"
    code, out, err = run_cli(
        "parity", tiny_keras, tiny_float, tiny_model, "--data", parity_films / "films",
        "--split", parity_films / "split.json", "-o", stem, "--resamples", 200, "--max-flips", 0.05,
    )  # fmt: skip
    files = {path.suffix: path for path in stem.parent.iterdir()}
    return code, out, err, files


@pytest.fixture(scope="module")
def record(honest):
    return json.loads(honest[3][".json"].read_text(encoding="utf-8"))


def test_an_honest_conversion_passes(honest, record):
    code, out, err, files = honest
    assert (code, record["verdict"]) == (0, "PASS")
    assert err.strip().endswith("PASS")
    assert out.split() == [str(files[ending]) for ending in (".html", ".json", ".md")]


def test_only_a_terminal_sees_how_far_it_is(
    tiny_folder, tiny_keras, tiny_model, film_folder, tmp_path, monkeypatch, capsys
):
    split = tiny_folder / "split.json"
    arguments = [
        "parity", str(tiny_keras), str(tiny_model), "--data", str(film_folder), "--split", str(split),
        "-o", str(tmp_path / "parity"), "--resamples", "100", "--no-timing",
    ]  # fmt: skip
    assert main(arguments) == 0
    remark, verdict = capsys.readouterr().err.splitlines()
    assert remark.startswith("One film of") and verdict == "PASS"
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(arguments) == 0
    seen = capsys.readouterr().err
    stages = ("Converting model.keras", "Scoring films", "Writing the report", "PASS")
    assert [seen.find(stage) for stage in stages] == sorted(seen.find(stage) for stage in stages)
    assert "Converting model.keras" in seen
    how = ["--int8", "--data", str(film_folder), "--split", str(split), "-o", str(tmp_path / "a")]
    assert main(["convert", str(tiny_keras), *how]) == 0
    assert "Converting model.keras" in capsys.readouterr().err


def test_the_json_keeps_its_published_schema(record):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(record, schema)


@pytest.mark.parametrize("name", ["lite0", "tiny"])
def test_the_shipped_reports_keep_the_schema_as_it_grows(name):
    jsonschema = pytest.importorskip("jsonschema")
    report = Path(__file__).resolve().parents[2] / "models" / f"edge-xray-{name}.parity.json"
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(report.read_text(encoding="utf-8")), schema)


def test_a_keras_reference_and_its_float32_file_are_the_same(record):
    first, second = record["models"][:2]
    assert first["converted_on_the_fly"] and not second["converted_on_the_fly"]
    comparison = record["comparisons"][0]
    assert comparison["largest_shift"] < 1e-5
    assert comparison["label_flips"] == 0
    assert max(layer["relative"] for layer in comparison["layers"]) < 1e-5


def test_the_report_says_what_the_int8_file_is_made_of(record):
    integer = record["models"][2]
    assert integer["quantization"] == "int8"
    assert integer["non_integer_operations"] == []
    assert integer["operations"] == {"CONV_2D": 4, "QUANTIZE": 1}
    assert integer["delegation"]["delegated"] >= 4
    assert record["models"][1]["non_integer_operations"] != []


def test_latency_and_memory_are_measured_at_one_and_all_threads(record):
    for model in record["models"]:
        threads = [timing["threads"] for timing in model["timings"]]
        assert threads[0] == 1 and threads == sorted(set(threads))
        for timing in model["timings"]:
            assert 0 < timing["median_ms"] <= timing["p95_ms"]
            assert timing["start_mib"] <= timing["peak_mib"]


def test_every_layer_of_the_int8_file_is_compared(record):
    layers = record["comparisons"][1]["layers"]
    assert [layer["kind"] for layer in layers] == ["CONV_2D"] * 4
    assert all(0 < layer["relative"] < 0.2 for layer in layers)


def test_films_patients_and_hashes_are_in_the_provenance(record, tiny_model):
    from edge_xray.labelled import file_sha256

    assert record["films"]["per_label"] == {"bacterial": 40, "normal": 40, "viral": 40}
    assert record["films"]["patients"] == 60
    assert record["models"][2]["sha256"] == file_sha256(tiny_model)
    assert "tensorflow" in record["provenance"]["packages"]


def test_the_command_in_a_report_keeps_its_options_and_names_no_folder(
    run_cli, tiny_float, parity_films, tmp_path, monkeypatch
):
    given = [
        r"C:\Users\somebody\a.tflite",
        "/home/somebody/lr=1/b.tflite",
        "--data=/home/somebody/size=2/films/",
        "-o../r",
    ]
    monkeypatch.setattr(sys, "argv", ["edge-xray", "parity", *given])
    data = parity_films / "films"
    code, *_ = run_cli(
        "parity", tiny_float, tiny_float, "--data", data, "-o", tmp_path / "r", *QUICK
    )
    assert code == 0
    command = json.loads((tmp_path / "r.json").read_text())["provenance"]["command"]
    assert command == "edge-xray parity a.tflite b.tflite --data=films -or"


class Page(HTMLParser):
    """Collects what a page would load, and its text."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.text, self.policy, self.unlabelled = [], [], "", "", 0

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [values[name] for name in ("src", "href") if name in values]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self.unlabelled += tag == "img" and not values.get("alt")

    def handle_data(self, data):
        self.text += data


def test_the_html_is_self_contained_and_reads_without_script(honest):
    text = honest[3][".html"].read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.loads and all(link.startswith("data:image/") for link in page.loads)
    assert "script" not in page.tags and "style=" not in text
    assert page.unlabelled == 0
    assert text.count(DISCLAIMER) == 1
    assert "exact p = 1.000 (McNemar's test, by patient)" in page.text
    assert "Intervals of 95 %, by patient" in page.text
    assert page.policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_the_markdown_holds_the_verdict_and_the_figures_with_intervals(honest):
    text = honest[3][".md"].read_text(encoding="utf-8")
    assert text.startswith("# Parity: PASS")
    assert text.count(DISCLAIMER) == 1
    assert re.search(r"\| Sensitivity \| [\d.]+ % \([\d.]+ to [\d.]+\)", text)
    # No film differs: the share's interval has width, the area shows none.
    assert re.search(r"\| \+0\.00 pts \(-(\d\.\d\d) to \+\1\) \|", text)
    assert "(+0.00 to +0.00)" not in text and "| +0.0000 (–) |" in text
    assert "exact p = 1.000 (McNemar's test, by patient)" in text
    assert "Intervals of 95 %, by patient" in text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_bar_or_a_line_feed_in_a_models_name_parts_no_table(
    run_cli, tiny_float, write_film, tmp_path
):
    for label in ("normal", "viral"):
        write_film(tmp_path / "films" / label / "0.png", label, 0)
    model = shutil.copy(tiny_float, tmp_path / "mine|\nlast.tflite")
    data = ("--data", tmp_path / "films", "-o", tmp_path / "r", "--no-timing", "--resamples", 100)
    assert run_cli("parity", tiny_float, model, *data)[0] == 0
    lines = (tmp_path / "r.md").read_text(encoding="utf-8").splitlines()
    tables = [line.count("|") - line.count("\\|") for line in lines if line.startswith("|")]
    # Figures of two models and their difference, the checks, the files.
    assert sorted(set(tables)) == [5, 9] and sum("mine\\|" in line for line in lines) == 2
    assert not any(line.startswith("last.tflite") for line in lines)


def test_a_verdict_on_few_films_or_by_wide_limits_says_so_beside_it(
    run_cli, tiny_float, repack, write_film, tmp_path
):
    jsonschema = pytest.importorskip("jsonschema")
    for label in ("normal", "viral"):
        write_film(tmp_path / "films" / label / "0.png", label, 0)
    other = repack(tiny_float, tmp_path / "other.tflite", version="2")
    words = (
        "parity", tiny_float, other, "--data", tmp_path / "films", "-o", tmp_path / "r",
        "--no-timing", "--resamples", 100,
    )  # fmt: skip
    few = "One film of 2 is 50.00%, more than the 0.50% of accuracy that may be lost"
    wide = "More than usual may be lost, as shares of 1: accuracy drop 0.5 (usual 0.005), sensitivity drop 1 (usual 0.005)."
    for options, said, not_said in (
        ((), few, "More than usual"),
        (("--max-accuracy-drop", 0.5, "--max-sensitivity-drop", 1), wide, "One film of 2"),
    ):
        code, _, err = run_cli(*words, *options)
        assert code == 0 and err.splitlines()[-1] == "PASS" and said in err and not_said not in err
        record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        assert [said in remark for remark in record["remarks"]] == [True]
        jsonschema.validate(record, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
        page = Page()
        page.feed((tmp_path / "r.html").read_text(encoding="utf-8"))
        for text in ((tmp_path / "r.md").read_text(encoding="utf-8"), page.text):
            assert said in text and not_said not in text
            assert text.index(said) < text.index("Sensitivity")


def test_a_file_held_against_itself_says_so_beside_its_verdict(
    run_cli, tiny_float, tiny_keras, repack, parity_films, tmp_path
):
    pytest.importorskip("ai_edge_litert")
    same = shutil.copy(tiny_float, tmp_path / "same.tflite")
    other = repack(tiny_float, tmp_path / "other.tflite", version="2")
    films = ("--data", parity_films / "films", "-o", tmp_path / "r", "--no-films", *QUICK)
    for models, said in (
        ((tiny_float, other, same), ["same.tflite: the same file as the reference"]),
        ((tiny_float, other), []),
        ((tiny_keras, tiny_float), []),
        ((tiny_float, same, "--runtime", "ai-edge-litert,tensorflow"), []),
    ):
        code, _, err = run_cli("parity", *models, *films)
        assert code == 0, err
        remarks = json.loads((tmp_path / "r.json").read_text())["remarks"]
        found = [own for own in remarks if "nothing was compared" in own]
        assert len(found) == len(said)
        assert all(own.startswith(words) for own, words in zip(found, said, strict=True))


def test_heat_maps_that_went_flat_are_not_left_out(tiny_float):
    draw = np.random.default_rng(0)
    maps = [draw.normal(size=(4, 4, 3)).astype(np.float32) for _ in range(10)]
    flat = [own if place < 4 else np.ones_like(own) for place, own in enumerate(maps)]
    model = SimpleNamespace(metadata=read_metadata(tiny_float))
    whole, lost, nothing = (
        SimpleNamespace(scores=[SimpleNamespace(evidence=own) for own in run], model=model)
        for run in (maps, flat, flat[4:])
    )
    assert similarity(whole, whole) == pytest.approx({"median": 1.0, "p05": 1.0})
    assert similarity(whole, lost) == {"median": 0.0, "p05": 0.0}
    assert similarity(nothing, nothing) is None


def test_a_p_that_rounds_to_nothing_is_not_called_0(record):
    comparisons = [{**own, "mcnemar_p": 2e-7} for own in record["comparisons"]]
    text = to_markdown({**record, "comparisons": comparisons})
    assert text.count("exact p < 0.001 (McNemar's test") == len(comparisons) and "p = 0" not in text


def test_no_films_hides_names_and_pictures(
    run_cli, tiny_float, repack, tiny_model, parity_films, tmp_path
):
    labels = _swapped(tiny_float)
    swapped = repack(tiny_model, tmp_path / "swapped.tflite", labels=labels)
    run_cli(
        "parity", tiny_float, swapped, "--data", parity_films / "films", "-o", tmp_path / "bare",
        "--resamples", 100, "--no-timing", "--no-films",
    )  # fmt: skip
    record = json.loads((tmp_path / "bare.json").read_text(encoding="utf-8"))
    flips = record["comparisons"][0]["flips"]
    assert flips and all(re.fullmatch("[0-9a-f]{12}", flip["film"]) for flip in flips)
    for ending in (".json", ".html", ".md"):
        text = (tmp_path / f"bare{ending}").read_text(encoding="utf-8")
        assert "data:image/jpeg" not in text and "viral/" not in text


def test_a_candidate_whose_gate_lets_no_film_pass_fails(
    run_cli, tiny_float, parity_films, repack, tmp_path
):
    statistics = read_metadata(tiny_float).features
    closed = replace(statistics, unlike=0.0, foreign=0.0)
    strict = repack(tiny_float, tmp_path / "strict.tflite", features=closed)
    words = (
        "parity", tiny_float, strict, "--data", parity_films / "films", "-o", tmp_path / "r",
        "--no-timing", "--resamples", 100,
    )  # fmt: skip
    code, _, err = run_cli(*words)
    assert code == 1
    assert "strict.tflite: refusals 100.00 %, allowed 3.00 %" in err
    assert "refusals | 100.00 % | 3.00 % |" in (tmp_path / "r.md").read_text(encoding="utf-8")
    assert run_cli(*words, "--max-refusals", 1)[0] == 0


def test_flipped_films_are_shown_with_both_heat_maps(
    run_cli, tiny_float, repack, tiny_model, parity_films, tmp_path
):
    swapped = repack(tiny_model, tmp_path / "swapped.tflite", labels=_swapped(tiny_float))
    code, _, _ = run_cli(
        "parity", tiny_float, swapped, "--data", parity_films / "films", "-o", tmp_path / "shown",
        "--resamples", 100, "--no-timing",
    )  # fmt: skip
    assert code == 1
    page = Page()
    page.feed((tmp_path / "shown.html").read_text(encoding="utf-8"))
    pictures = [link for link in page.loads if link.startswith("data:image/jpeg")]
    record = json.loads((tmp_path / "shown.json").read_text(encoding="utf-8"))
    flips = record["comparisons"][0]["flips"]
    assert len(flips) > 60
    assert len(pictures) == 3 * 60
    assert "bacterial/1.png" in page.text


def _swapped(model):
    from edge_xray.model_file import read_metadata

    normal, bacterial, viral = read_metadata(model).labels
    return (normal, viral, bacterial)


QUICK = ("--resamples", 100, "--no-timing", "--max-flips", 1, "--max-mean-shift", 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder, film: None, "expected at least two classes"),
        (lambda folder, film: film(folder / "normal/a.png"), "expected at least two classes"),
        (lambda folder, film: (folder / "normal").mkdir(), "the class folder is empty"),
        (
            lambda folder, film: [film(folder / f"{name}/a.png") for name in ("cat", "dog")],
            "tells normal, bacterial, viral",
        ),
        (
            lambda folder, film: [
                film(folder / f"{name}/a.png") for name in ("viral", "bacterial")
            ],
            "with and without a finding",
        ),
    ],
)
def test_films_that_cannot_serve_are_one_line_and_exit_2(
    run_cli, tiny_float, write_film, tmp_path, make, words
):
    make(tmp_path, write_film)
    code, _, err = run_cli("parity", tiny_float, tiny_float, "--data", tmp_path)
    assert code == 2
    assert words in err and "\n" not in err


def test_duplicates_of_two_patients_are_drawn_together(run_cli, tiny_float, write_film, tmp_path):
    films = []
    for label in ("normal", "viral"):
        for seed in range(4):
            path = write_film(tmp_path / "films" / label / f"{seed}.png", label, seed)
            patient, group = f"{label}{seed}", f"{label}{seed // 2}"
            films.append(
                SplitFilm(f"{label}/{seed}.png", label, patient, group, file_sha256(path), "test")
            )
    Split(0, tuple(films)).write(tmp_path / "split.json")
    code, _, _ = run_cli(
        "parity", tiny_float, tiny_float, "--data", tmp_path / "films", "-o", tmp_path / "r",
        "--split", tmp_path / "split.json", "--no-timing", "--resamples", 100,
    )  # fmt: skip
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (code, record["films"]["count"], record["films"]["patients"]) == (0, 8, 4)
    for estimate in (record["models"][0]["figures"][name] for name in ("accuracy", "auc")):
        assert estimate["low"] < estimate["high"]


def test_films_that_are_damaged_are_named_and_left_out(run_cli, tiny_float, write_film, tmp_path):
    for seed in range(3):
        for label in ("normal", "viral"):
            write_film(tmp_path / "films" / label / f"{seed}.png", label, seed)
    (tmp_path / "films/viral/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    code, _, _ = run_cli(
        "parity", tiny_float, tiny_float, "--data", tmp_path / "films", "-o", tmp_path / "r",
        "--no-timing", "--resamples", 100,
    )  # fmt: skip
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (code, record["films"]["count"]) == (0, 6)
    assert [film["film"] for film in record["films"]["unread"]] == ["viral/broken.png"]


def test_a_single_model_and_a_file_that_is_none_are_one_line_and_exit_2(
    run_cli, tiny_float, parity_films, tmp_path
):
    films = parity_films / "films"
    (tmp_path / "text.tflite").write_text("not a model")
    (tmp_path / "short.tflite").write_bytes(tiny_float.read_bytes()[:5000])
    for models, words in (
        ([tiny_float], "expected a reference and one or more candidates"),
        ([tiny_float, tmp_path / "missing.tflite"], "no such file"),
        ([tiny_float, tmp_path / "text.tflite"], "text.tflite"),
        ([tiny_float, tmp_path / "short.tflite"], "short.tflite"),
    ):
        code, _, err = run_cli("parity", *models, "--data", films)
        assert code == 2
        assert words in err and "\n" not in err


def test_names_of_dollars_and_of_bytes_that_are_no_text_are_reported(
    run_cli, repack, tiny_float, tiny_model, write_film, tmp_path
):
    plain = tmp_path / "$x_$.tflite"
    plain.write_bytes(tiny_float.read_bytes())
    other = os.fsdecode(os.fsencode(tmp_path) + b"/n\xe9t.tflite")
    repack(tiny_model, Path(other), labels=_swapped(tiny_model))
    for label in ("normal", "viral"):
        for seed in range(3):
            path = write_film(tmp_path / "films" / label / f"{seed}.png", label, 80 + seed)
            path.rename(os.fsdecode(os.fsencode(path.parent) + b"/\xff%d.png" % seed))
    broken = os.fsdecode(os.fsencode(tmp_path / "films" / "viral") + b"/\xfe.png")
    Path(broken).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    for more in ((), ("--no-films",)):
        code, _, err = run_cli(
            "parity",
            plain,
            other,
            "--data",
            tmp_path / "films",
            "-o",
            tmp_path / "r",
            *QUICK,
            *more,
        )
        assert code == 1, err
        record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        assert [model["title"] for model in record["models"]] == ["$x_$.tflite", "n\\xe9t.tflite"]
        assert record["films"]["unread"]
        assert record["comparisons"][0]["flips"]
        assert "n\\xe9t.tflite" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [("parity", "MODEL"), ("convert", "--int8")])
@pytest.mark.parametrize("limit", ["auc-drop", "mean-shift", "pair-auc-drop"])
def test_a_limit_that_is_no_number_is_one_line_and_exit_2(
    run_cli, tiny_float, tiny_keras, parity_films, tmp_path, command, limit
):
    model = tiny_float if "MODEL" in command else tiny_keras
    words = [str(model) if word == "MODEL" else word for word in command]
    output = tmp_path / "out.tflite"
    words += [model, "--data", parity_films / "films", f"--max-{limit}", "nan", "-o", output]
    code, _, err = run_cli(*words)
    assert (code, err) == (2, f"edge-xray: --max-{limit}: expected 0 to 1, got nan")
    assert not [*tmp_path.iterdir()]


def test_more_resamples_than_memory_can_hold_are_refused(run_cli, tiny_float, parity_films):
    data = ("--data", parity_films / "films", "--resamples", 10**9)
    for words in (
        ("parity", tiny_float, tiny_float),
        ("evaluate", tiny_float),
        ("compare", tiny_float),
    ):
        code, _, err = run_cli(*words, *data)
        assert code == 2 and "1000000000 is not in the range 100<=x<=100000" in err


def test_a_negative_seed_and_an_output_that_is_a_folder_are_one_line(
    run_cli, tiny_float, parity_films
):
    command = ("parity", tiny_float, tiny_float, "--data", parity_films / "films", *QUICK)
    code, _, err = run_cli(*command, "--seed", -1)
    assert code == 2 and "Traceback" not in err
    for output in (".", "..", "/"):
        code, _, err = run_cli(*command, "-o", output)
        assert code == 3
        assert "name a file" in err and "\n" not in err


def test_a_report_that_cannot_be_written_is_one_line_and_exit_3(
    run_cli, tiny_float, parity_films, tmp_path
):
    (tmp_path / "file").write_text("")
    code, _, err = run_cli(
        "parity", tiny_float, tiny_float, "--data", parity_films / "films",
        "-o", tmp_path / "file" / "r", "--no-timing", "--resamples", 100,
    )  # fmt: skip
    assert code == 3
    assert "cannot be written" in err
