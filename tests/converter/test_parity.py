"""The parity command: what it measures, what it writes, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edge_xray.labelled import Split, SplitFilm, file_sha256
from edge_xray.metadata import DISCLAIMER
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


def test_films_that_set_the_ranges_may_not_judge(run_cli, tiny_float, tiny_model, film_folder):
    code, _, err = run_cli("parity", tiny_float, tiny_model, "--data", film_folder)
    assert code == 2
    assert "int8 ranges were measured on" in err and "\n" not in err


def test_the_split_beside_the_reference_says_which_films_judge(
    run_cli, tiny_keras, tiny_model, film_folder, parity_films, tmp_path
):
    stem = tmp_path / "parity"
    quick = ["--resamples", 100, "--no-timing", "--max-flips", 1, "--max-mean-shift", 1]
    code, _, err = run_cli(
        "parity", tiny_keras, tiny_model, "--data", film_folder, "-o", stem, *quick
    )
    assert code in (0, 1) and "Films of part test of split.json" in err
    split = Split.read(tiny_keras.parent / "split.json")
    record = json.loads(stem.with_suffix(".json").read_text())
    assert record["films"]["split_fingerprint"] == split.fingerprint()
    # Films of another place have no part in it: all of them judge.
    code, _, err = run_cli(
        "parity", tiny_keras, tiny_model, "--data", parity_films / "films", "-o", stem, *quick
    )
    assert code in (0, 1) and "Films of part" not in err
    assert json.loads(stem.with_suffix(".json").read_text())["films"]["split_fingerprint"] is None


QUICK = ("--resamples", 100, "--no-timing", "--max-flips", 1, "--max-mean-shift", 1)


@pytest.fixture
def run_folder(repack, tiny_float, write_film, tmp_path):
    """A run's folder, ``run/net.tflite`` with its ``split.json``, and its films: 4 to train, 4 to test."""
    films = []
    for label in ("normal", "viral"):
        for seed in range(4):
            path = write_film(tmp_path / "films" / label / f"{seed}.png", label, seed)
            part = "test" if seed < 2 else "train"
            films.append(SplitFilm(f"{label}/{seed}.png", label, "", "", file_sha256(path), part))
    split = Split(0, tuple(films))
    (tmp_path / "run").mkdir()
    split.write(tmp_path / "run" / "split.json")
    repack(
        tiny_float, tmp_path / "run" / "net.tflite", training={"split_sha256": split.fingerprint()}
    )
    return tmp_path / "run"


def exchanged(split):
    """The same films, with those of training to test on."""
    other = {"test": "train", "train": "test"}
    return Split(
        split.seed,
        tuple(dataclasses.replace(film, part=other[film.part]) for film in split.films),
    )


def test_a_split_that_the_model_was_not_trained_with_is_refused(run_cli, run_folder, tmp_path):
    net, beside = run_folder / "net.tflite", run_folder / "split.json"
    command = ("parity", net, net, "--data", tmp_path / "films", "-o", tmp_path / "r", *QUICK)
    assert run_cli(*command)[0] == 0
    wrong = tmp_path / "wrong.json"
    exchanged(Split.read(beside)).write(wrong)
    # Its own split is at hand, and knows the films.
    code, _, err = run_cli(*command, "--split", wrong)
    assert code == 2
    assert "one of the films it was trained with" in err and "\n" not in err
    beside.unlink()
    code, _, err = run_cli(*command, "--split", wrong)
    assert code == 2
    assert "another split" in err and "\n" not in err
    wrong.rename(beside)
    code, _, err = run_cli(*command)
    assert code == 2
    assert "another split" in err


def test_a_split_of_films_from_elsewhere_is_taken_where_the_model_s_own_tells_them_apart(
    run_cli, run_folder, parity_films, tmp_path
):
    net = run_folder / "net.tflite"
    command = (
        "parity", net, net, "--data", parity_films / "films",
        "--split", parity_films / "split.json", "-o", tmp_path / "r", *QUICK,
    )  # fmt: skip
    assert run_cli(*command)[0] == 0
    (run_folder / "split.json").unlink()
    assert run_cli(*command)[0] == 2


def test_training_films_in_another_folder_do_not_judge(run_cli, run_folder, tmp_path):
    for label in ("normal", "viral"):
        (tmp_path / "other" / label).mkdir(parents=True)
        (tmp_path / "other" / label / "x.png").write_bytes(
            (tmp_path / "films" / label / "3.png").read_bytes()
        )
    net = run_folder / "net.tflite"
    code, _, err = run_cli("parity", net, net, "--data", tmp_path / "other")
    assert code == 2
    assert "one of the films it was trained with" in err and "\n" not in err


@pytest.mark.parametrize("gone", [("0",), ("0", "1")])
def test_a_missing_test_film_does_not_let_training_films_judge(run_cli, run_folder, tmp_path, gone):
    for name in gone:
        for label in ("normal", "viral")[: len(gone)]:
            (tmp_path / "films" / label / f"{name}.png").unlink()
    net = run_folder / "net.tflite"
    code, _, err = run_cli("parity", net, net, "--data", tmp_path / "films")
    assert code == 2
    assert "normal/0.png" in err and "missing" in err and "\n" not in err


def test_all_films_of_another_place_judge_and_it_is_said(run_cli, run_folder, write_film, tmp_path):
    # They bear the names of films of the split.
    for label in ("normal", "viral"):
        write_film(tmp_path / "elsewhere" / label / "0.png", label, 90)
    net = run_folder / "net.tflite"
    code, _, err = run_cli(
        "parity", net, net, "--data", tmp_path / "elsewhere", "-o", tmp_path / "r", *QUICK
    )
    assert code == 0
    assert "All 2 films of elsewhere" in err


def test_patients_of_a_whole_folder_come_from_a_csv_or_are_said_to_be_unknown(
    run_cli, tiny_float, parity_films, tmp_path
):
    stem, table = tmp_path / "parity", tmp_path / "patients.csv"
    command = (
        "parity", tiny_float, tiny_float, "--data", parity_films / "films", "-o", stem, *QUICK,
    )  # fmt: skip
    split = Split.read(parity_films / "split.json")
    rows = "".join(f"{film.path},{film.patient}\n" for film in split.films)
    table.write_text("path,patient\n" + rows, encoding="utf-8")
    for more, patients, unknown, words in (
        ((), 120, 120, "120 films (patients not known: each film counts as one)"),
        (("--patients", table), 60, 0, "120 films of 60 patients ("),
    ):
        code, _, err = run_cli(*command, *more)
        assert code == 0, err
        record = json.loads(stem.with_suffix(".json").read_text())
        assert record["films"]["patients"] == patients
        assert record["films"]["patients_unknown"] == unknown
        for ending in (".md", ".html"):
            assert words in " ".join(stem.with_suffix(ending).read_text().split())
    # With a split the CSV must say what the split says.
    with_split = ("--split", parity_films / "split.json", "--patients", table)
    assert run_cli(*command, *with_split)[0] == 0
    table.write_text("path,patient\nviral/0.png,somebody\n", encoding="utf-8")
    code, _, err = run_cli(*command, *with_split)
    assert code == 2 and "was made with other patients" in err and "\n" not in err


def test_other_films_of_a_patient_that_set_the_ranges_may_not_judge(
    run_cli, tiny_float, tiny_model, film_folder, write_film, tmp_path
):
    from edge_xray.labelled import read_labelled_folder
    from edge_xray.model_file import read_metadata
    from edge_xray_converter.representative import hash_prefix

    known = read_metadata(tiny_model).training["representative"]["patient_sha256_prefixes"]
    person = next(
        film.patient
        for film in read_labelled_folder(film_folder)
        if film.patient.startswith("person") and hash_prefix(film.patient) in known
    )
    write_film(tmp_path / "PNEUMONIA" / f"{person}_virus_999.jpeg", "viral", 77)
    write_film(tmp_path / "NORMAL" / "IM-9999-0001.jpeg", "normal", 78)
    code, _, err = run_cli("parity", tiny_float, tiny_model, "--data", tmp_path)
    assert code == 2
    assert "of a patient" in err


def test_the_shipped_models_may_be_judged_on_the_official_test_part(run_cli, write_film, tmp_path):
    # Its patients are numbered by cause: the training films have a person1 with bacteria, a person80 with a virus.
    for name in ("IM-0001-0001", "NORMAL2-IM-0012-0001"):
        write_film(tmp_path / f"test/NORMAL/{name}.jpeg", "normal", 1)
    for name in ("person1_virus_6", "person80_bacteria_391"):
        write_film(tmp_path / f"test/PNEUMONIA/{name}.jpeg", "viral", 2)
    models = Path(__file__).resolve().parents[2] / "models"
    for name in ("lite0", "tiny"):
        net = models / f"edge-xray-{name}.tflite"
        code, _, err = run_cli(
            "parity", net, net, "--data", tmp_path / "test", "-o", tmp_path / name, *QUICK
        )
        assert code == 0, err
        assert "All 4 films of test" in err
    learned = Split.read(models / "split.json").part("train")
    person = next(film.patient for film in learned if film.label == "bacterial")
    write_film(tmp_path / f"test/PNEUMONIA/{person}_bacteria_9999.jpeg", "bacterial", 3)
    code, _, err = run_cli("parity", net, net, "--data", tmp_path / "test")
    assert code == 2
    assert f"{person}_bacteria_9999.jpeg is of a patient of the films it was trained with" in err


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
