"""`edge-xray scan` and `info` as a user meets them: files, streams and exit codes."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_xray.classifier import Classifier
from edge_xray.cli import main
from edge_xray.film_file import read_film
from edge_xray.results import SkippedFilm
from edge_xray.results_folder import ResultsFolder
from edge_xray.scan import ScanOptions, default_jobs, processors, scan


@pytest.fixture
def run(capsys, tmp_path, monkeypatch, tiny_model):
    """``run("scan", ...) -> (exit code, stdout, stderr)``, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("EDGE_XRAY_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: object, model: bool = True) -> tuple[int, str, str]:
        arguments = [str(word) for word in words]
        if model and words[0] in ("scan", "watch"):
            arguments += ["--model", str(tiny_model)]
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def films(tmp_path, write_film) -> Path:
    folder = tmp_path / "films"
    for label in ("normal", "bacterial", "viral"):
        for seed in (910, 911):
            write_film(folder / f"{label}-{seed}.png", label, seed)
    return folder


def _rows(text: str) -> dict[str, dict[str, str]]:
    return {Path(row["path"]).name: row for row in csv.DictReader(io.StringIO(text))}


def test_a_list_too_long_to_be_written_at_once_is_written_whole_and_once(run):
    Path("films").mkdir()
    for number in range(600):  # names that leave room in the 259 characters of a path on Windows
        Path("films", f"{number:03d}-{'name' * 15}.txt").write_text("no film")
    _, out, _ = run("scan", "films", "--format", "csv")
    run("scan", "films", "--quiet", "-o", "out")
    text = Path("out/results.csv").read_text()
    assert len(text) > 100_000
    assert list(csv.reader(io.StringIO(text))) == list(csv.reader(io.StringIO(out)))
    assert len(_rows(text)) == text.count("\n") - 1 == 600


def test_a_plain_scan_prints_the_list_and_fills_the_results_folder(run, films):
    code, out, err = run("scan", "films")
    assert code == 0
    places = [out.index(word) for word in ("Urgent", "Supportive care", "No sign")]
    assert places == sorted(places)
    assert out.count("A screening aid, not a diagnosis") == 1
    assert err.rstrip().endswith(f"edge-xray-results{os.sep}")
    kept = {path.name for path in Path("edge-xray-results").iterdir()}
    assert {"results.csv", "results.jsonl", "results.html", "pictures"} <= kept
    rows = _rows(Path("edge-xray-results/results.csv").read_text())
    assert len(rows) == 6
    for name, row in rows.items():
        assert row["status"] == "scored"
        assert row["label"] == name.split("-")[0]
        finding = float(row["p_bacterial"]) + float(row["p_viral"])
        assert float(row["p_pneumonia"]) == pytest.approx(finding, abs=1.5e-6)
    html = Path("edge-xray-results/results.html").read_text()
    assert html.count("data:image/jpeg;base64,") == 6


def test_one_format_goes_to_stdout_and_leaves_no_files(run, films):
    for name in ("table", "csv", "jsonl", "html"):
        code, out, err = run("scan", "films", "--format", name)
        assert (code, bool(out)) == (0, True)
        assert "6 films" in err
    assert sorted(path.name for path in Path().iterdir()) == ["films"]
    code, out, _ = run("scan", "films", "--format", "jsonl")
    assert {json.loads(line)["status"] for line in out.splitlines()} == {"scored"}


def test_an_output_folder_takes_everything(run, films):
    code, out, err = run("scan", "films", "-o", "out/deep", "--format", "csv,table", "--heatmaps")
    assert (code, out) == (0, "")
    kept = {path.name for path in Path("out/deep").iterdir() if not path.name.startswith(".")}
    assert kept == {"results.csv", "results.txt", "heatmaps", "journal.jsonl", "scan.lock"}
    rows = _rows(Path("out/deep/results.csv").read_text())
    for row in rows.values():
        with Image.open(Path("out/deep") / row["heatmap"]) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (110, 90))
    assert err.rstrip().endswith(f"{Path('out/deep')}{os.sep}")
    assert not Path("edge-xray-results").exists()


def test_quiet_says_nothing(run, films):
    assert run("scan", "films", "-o", "out", "--quiet") == (0, "", "")


def test_wrong_usage_is_one_line_and_exit_2(run, films):
    cases = {
        ("scan", "films", "--format", "pdf"): "expected one of table, csv, jsonl, html",
        ("scan", "films", "--format", "csv", "--format", "html"): "stdout takes one format",
        ("scan", "films", "--format", "csv", "--heatmaps"): "--output DIR",
        ("scan", "films", "--operating-point", "best"): "it has screening, balanced, rule-in",
        ("scan", "films", "--runtime", "onnx"): "expected one of ai-edge-litert",
    }
    for words, message in cases.items():
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    with zipfile.ZipFile("mine.keras", "w") as keras_model:
        keras_model.writestr("config.json", "{}")
    for words, message in {
        ("scan", "films", "--model", "nothing.tflite"): "cannot be read",
        (
            "scan",
            "films",
            "--model",
            "films/normal-910.png",
        ): "damaged, cut short or was not packed",
        ("info", "nothing.tflite"): "cannot be read",
        ("info", "mine.keras"): "`edge-xray convert` makes the one of the other",
    }.items():
        code, out, err = run(*words, model=False)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    assert run("scan")[0] == 2
    assert run("scan", "films", "--jobs", "0")[0] == 2
    assert run("unknown-command")[0] == 2


def test_a_missing_path_is_told_and_the_rest_is_scored(run, films):
    code, out, err = run("scan", "nowhere", "films", "--format", "csv")
    assert code == 2
    assert len(_rows(out)) == 6
    assert "nowhere: no such file or folder" in err
    assert run("scan", "nowhere")[:2] == (2, "")


def test_pictures_that_a_power_cut_left_half_written_go_and_other_files_stay(run, films):
    run("scan", "films", "-o", "out", "--heatmaps")
    (picture, *_), (overlay, *_) = Path("out/pictures").iterdir(), Path("out/heatmaps").iterdir()
    half = [path.with_name(f".{path.name}.140.tmp") for path in (picture, overlay)]
    others = [
        picture.with_name(".notes.140.tmp"),
        picture.with_name("...1.tmp"),
        overlay.with_name(f".{overlay.name}.tmp"),
    ]
    for path in (*half, *others):
        path.write_bytes(b"x")
    assert run("scan", "films", "-o", "out", "--heatmaps")[0] == 0
    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in (*others, picture, overlay))


@pytest.mark.parametrize("command", ["scan", "split"])
def test_a_line_feed_in_a_name_makes_no_second_line_of_an_error(run, command):
    if command == "split":
        pytest.importorskip("sklearn")  # A device need not have what trains.
    code, out, err = run(command, "no\nsuch \x1b[31mfilms")
    assert (code, out) == (2, "")
    (said,) = err.strip().splitlines()
    assert said.startswith("edge-xray: no\\nsuch \\x1b[31mfilms: ")


def test_strict_makes_a_film_that_is_not_scored_an_error(run, films):
    assert run("scan", "films", "--strict", "--format", "csv")[0] == 0
    (films / "empty.jpg").touch()
    assert run("scan", "films", "--strict", "--format", "csv")[0] == 1
    assert run("scan", "films", "--format", "csv")[0] == 0


def test_an_empty_folder_is_no_error(run, tmp_path):
    (tmp_path / "none").mkdir()
    code, _, err = run("scan", "none")
    assert code == 0
    assert "No films were found." in err
    assert Path("edge-xray-results/results.csv").read_text().count("\n") == 1


def test_each_odd_file_gets_its_row_and_the_rest_their_results(
    run, films, encode, draw_film, monkeypatch
):
    film = draw_film("bacterial", 912)
    jpeg = encode(film, "JPEG")
    rgb = Image.fromarray(film).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.rot90(film))
    odd = {
        "empty.jpg": b"",
        "text.jpg": b"a letter, not a film",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "wide.png": encode(Image.fromarray(film.astype(np.uint16) << 4), "PNG"),
        "palette.png": encode(Image.fromarray(film).convert("P"), "PNG"),
        "cmyk.jpg": encode(rgb.convert("CMYK"), "JPEG"),
        "rgba.png": encode(rgb.convert("RGBA"), "PNG"),
        "turned.jpg": encode(turned, "JPEG", exif=exif),
        "no-ending": jpeg,
        "unreadable.jpg": jpeg,
    }
    for name, data in odd.items():
        (films / name).write_bytes(data)
    if sys.platform != "win32":
        (films / "loop").symlink_to(films / "loop")
        odd["loop"] = b""
    real = os.open

    def refuse(path, *rest, **options):
        if str(path).endswith("unreadable.jpg"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    code, out, _ = run("scan", "films", "--format", "csv")
    rows = _rows(out)
    assert code == 0
    assert len(rows) == 6 + len(odd)
    reasons = {name: rows[name]["reason"] for name in odd if rows[name]["status"] == "not_scored"}
    expected = {
        "empty.jpg": "empty_file",
        "text.jpg": "not_an_image",
        "cut.jpg": "truncated",
        "unreadable.jpg": "unreadable",
    }
    assert reasons == expected | ({"loop": "broken_link"} if "loop" in odd else {})
    for name in ("wide.png", "palette.png", "cmyk.jpg", "rgba.png", "turned.jpg", "no-ending"):
        assert rows[name]["label"] == "bacterial", rows[name]


def test_the_same_pixels_in_another_format_get_the_same_row(
    run, tmp_path, encode, to_dicom, draw_film
):
    folder = tmp_path / "same"
    folder.mkdir()
    jpeg = encode(draw_film("viral", 913), "JPEG", quality=95)
    with Image.open(io.BytesIO(jpeg)) as image:
        pixels = np.asarray(image.convert("L"))
    (folder / "a.jpg").write_bytes(jpeg)
    (folder / "b.png").write_bytes(encode(pixels, "PNG"))
    (folder / "c.dcm").write_bytes(to_dicom(pixels, PatientID=None))
    _, out, _ = run("scan", "same", "--format", "csv")
    rows = [
        {key: value for key, value in row.items() if key not in ("path", "sha256")}
        for row in _rows(out).values()
    ]
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["status"] == "scored"


def test_films_outside_the_intended_use_are_refused_unless_asked_for(
    run, tmp_path, to_dicom, draw_film
):
    (tmp_path / "adult.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientAge="047Y"))
    _, out, _ = run("scan", "adult.dcm", "--format", "csv")
    row = _rows(out)["adult.dcm"]
    assert (row["status"], row["reason"]) == ("not_scored", "other_age")
    assert "for 1 to 5 years; a clinician must read this film" in row["message"]
    _, out, _ = run("scan", "adult.dcm", "--format", "csv", "--any-age")
    row = _rows(out)["adult.dcm"]
    assert row["status"] == "scored"
    assert "47 years" in row["warnings"]
    assert "--any-age" in row["warnings"]


def test_patients_are_pseudonyms_unless_asked_for(run, tmp_path, to_dicom, draw_film):
    for name, patient in (("a", "id-1"), ("b", "id-1"), ("c", "id-2")):
        data = to_dicom(draw_film("normal", 915), PatientID=patient)
        (tmp_path / f"{name}.dcm").write_bytes(data)
    _, out, _ = run("scan", "a.dcm", "b.dcm", "c.dcm", "-o", "out", "--format", "csv,html,jsonl")
    rows = _rows(Path("out/results.csv").read_text())
    assert rows["a.dcm"]["patient"] == rows["b.dcm"]["patient"] != rows["c.dcm"]["patient"]
    for path in Path("out").glob("results*"):
        assert not {"id-1", "Doe", "Jane"} & set(path.read_text().replace("^", " ").split())
        assert "id-1" not in path.read_text()
    key = Path("settings/edge-xray/patient-key")
    assert key.stat().st_mode & 0o077 == 0 or sys.platform == "win32"
    _, out, _ = run("scan", "a.dcm", "--format", "csv", "--with-identifiers")
    assert _rows(out)["a.dcm"]["patient"] == "id-1"


def test_a_second_scan_goes_on_and_scores_nothing_twice(run, films, write_film):
    run("scan", "films", "-o", "out")
    before = Path("out/results.csv").read_text()
    _, _, err = run("scan", "films", "-o", "out")
    assert "Going on where an earlier scan left off: 6 films" in err
    assert Path("out/results.csv").read_text() == before
    assert Path("out/journal.jsonl").read_text().count("\n") == 7
    write_film(films / "later.png", "viral", 916)
    (films / "viral-911.png").unlink()
    _, _, err = run("scan", "films", "-o", "out")
    assert "5 of them were scored by an earlier scan." in err
    assert set(_rows(Path("out/results.csv").read_text())) >= {"later.png", "viral-910.png"}
    assert "viral-911.png" not in Path("out/results.csv").read_text()


def test_a_list_of_other_films_is_kept_and_not_replaced(run, films, write_film):
    Path("tuesday").mkdir()
    write_film(Path("tuesday/t.png"), "viral", 916)
    run("scan", "films", "-o", "out")
    monday = {path.name: path.read_text() for path in Path("out").glob("results*")}
    _, _, err = run("scan", "tuesday", "-o", "out")
    (kept,) = Path("out/earlier").iterdir()
    assert {path.name: path.read_text() for path in kept.iterdir()} == monday
    assert f"is kept in {kept}{os.sep}" in err and "patient IDs" not in err
    assert "6 films of earlier scans on record" in err
    assert set(_rows(Path("out/results.csv").read_text())) == {"t.png"}
    _, _, err = run("scan", "tuesday", "-o", "out")
    assert list(Path("out/earlier").iterdir()) == [kept]
    assert "is kept in" not in err
    for folder in ("films", "tuesday"):
        run("scan", folder, "-o", "out")
    assert len(list(Path("out/earlier").iterdir())) == 3


def test_films_beside_results_are_never_removed_nor_left_out(run, films):
    for folder in ("clinic/pictures", "clinic/heatmaps", "clinic"):
        Path(folder).mkdir(exist_ok=True, parents=True)
        for path in films.glob("*.png"):
            shutil.copy(path, folder)
    count = len(list(films.glob("*.png")))
    before = set(Path("clinic").rglob("*.png"))
    for option in ([], ["--any-age"], ["--any-view", "--heatmaps"], []):
        run("scan", "clinic", "-o", "clinic", *option)
        assert len(_rows(Path("clinic/results.csv").read_text())) == count
        assert Path("clinic/results.csv").read_text().count("\n") == 3 * count + 1
        assert before <= set(Path("clinic").rglob("*.png"))
    _, out, _ = run("scan", "clinic", "films", "--format", "csv")
    assert out.count("\n") == 4 * count + 1


def test_reports_of_other_options_are_not_left_behind(run, films, to_dicom, draw_film):
    (films / "named.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientID="id-1"))
    run("scan", "films", "-o", "out", "--with-identifiers")
    assert "id-1" in Path("out/results.jsonl").read_text()
    run("scan", "films", "-o", "out", "-f", "html")
    assert sorted(path.name for path in Path("out").glob("results*")) == ["results.html"]
    assert "id-1" not in Path("out/results.html").read_text()
    assert not Path("out/earlier").exists()


def test_a_kept_list_with_patient_ids_is_told(run, films, to_dicom, draw_film):
    (films / "named.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientID="id-1"))
    run("scan", "films", "-o", "out", "--with-identifiers")
    _, _, err = run("scan", str(films / "named.dcm"), "-o", "out")
    (kept,) = Path("out/earlier").iterdir()
    assert f"is kept in {kept}{os.sep}; it holds patient IDs as they are" in err


@pytest.mark.parametrize("cut_off", [["--with-identifiers"], []])
def test_patient_ids_are_not_kept_for_who_asks_for_none_whatever_scan_was_cut_off(
    run, films, to_dicom, draw_film, monkeypatch, cut_off
):
    (films / "named.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientID="id-1"))
    if not cut_off:
        run("scan", "films", "-o", "out", "--with-identifiers")
    with monkeypatch.context() as cut:
        cut.setattr("edge_xray.reports.csv.render", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("scan", "films", "-o", "out", *cut_off)
    written = [path for path in Path("out").glob("results*") if b"id-1" in path.read_bytes()]
    assert written
    run("scan", "films", "-o", "out", "-f", "csv", "--operating-point", "rule-in")
    assert not any(
        b"id-1" in path.read_bytes() for path in Path("out").rglob("*") if path.is_file()
    )


def test_a_list_with_patient_ids_is_kept_for_who_asks_for_them(run, films):
    run("scan", "films", "-o", "out", "--with-identifiers")
    first = {path.name: path.read_text() for path in Path("out").glob("results*")}
    rule_in = ("--operating-point", "rule-in")
    _, _, err = run("scan", "films", "-o", "out", "--with-identifiers", *rule_in)
    (kept,) = Path("out/earlier").iterdir()
    assert "is kept in" in err and "patient IDs" not in err
    assert {path.name: path.read_text() for path in kept.iterdir()} == first


def test_a_report_of_a_time_that_no_calendar_has_is_kept(run, films):
    run("scan", "films", "-o", "out")
    try:
        os.utime("out/results.html", (1e14, 1e14))
    except OSError:
        pytest.skip("this file system has no such time")
    assert run("scan", "films", "-o", "out", "--operating-point", "rule-in")[0] == 0
    assert list(Path("out/earlier").iterdir())


def test_a_record_that_this_program_did_not_write_is_made_again(run, films):
    run("scan", "films", "-o", "out")
    before = Path("out/results.csv").read_text()
    journal = Path("out/journal.jsonl")
    head, *lines = journal.read_bytes().splitlines(keepends=True)
    for odd in ({"p_finding": "x"}, {"probabilities": ["a"]}, {"probabilities": 1}):
        entry = json.loads(lines[0][9:])
        entry["record"] |= odd
        body = json.dumps(entry).encode()
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        journal.write_bytes(b"".join([head, line, *lines[1:]]))
        assert run("scan", "films", "-o", "out")[0] == 0
        assert Path("out/results.csv").read_text() == before


def test_the_list_of_another_operating_point_is_kept(run, films):
    run("scan", "films", "-o", "out")
    first = {path.name: path.read_text() for path in Path("out").glob("results*")}
    _, _, err = run("scan", "films", "-o", "out", "-f", "csv", "--operating-point", "rule-in")
    (kept,) = Path("out/earlier").iterdir()
    assert {path.name: path.read_text() for path in kept.iterdir()} == first
    assert f"is kept in {kept}{os.sep}" in err
    assert sorted(path.name for path in Path("out").glob("results*")) == ["results.csv"]
    run("scan", "films", "-o", "out", "-f", "csv", "--operating-point", "rule-in")
    assert list(Path("out/earlier").iterdir()) == [kept]


def test_a_list_is_kept_when_the_journal_it_was_made_from_cannot_be_read(run, films):
    run("scan", "films", "-o", "out")
    journal = Path("out/journal.jsonl")
    journal.write_bytes(b"x" + journal.read_bytes()[1:])
    _, _, err = run("scan", "films", "-o", "out")
    assert "cannot be read" in err
    assert len(list(Path("out/earlier").iterdir())) == 1


def test_a_file_that_was_not_scored_is_none_that_an_earlier_scan_scored(run, films):
    (films / "notes.txt").write_text("no film")
    run("scan", "films", "-o", "out")
    for film in sorted(films.glob("*.png"))[1:]:
        film.unlink()
    assert "\n1 of them was scored by an earlier scan." in run("scan", "films", "-o", "out")[2]
    next(films.glob("*.png")).unlink()
    assert "of them" not in run("scan", "films", "-o", "out")[2]


def test_a_damaged_line_of_the_journal_costs_one_film_and_is_told_once(run, films):
    run("scan", "films", "-o", "out")
    journal = Path("out/journal.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], lines[2].replace(b"a", b"b", 1), *lines[3:]]))
    _, _, err = run("scan", "films", "-o", "out")
    assert "5 films already done" in err
    assert "1 line of the journal was damaged" in err
    assert "5 of them were scored by an earlier scan" in err
    assert len(list(Path("out/earlier").iterdir())) == 1
    _, _, err = run("scan", "films", "-o", "out")
    assert "6 of them were scored by an earlier scan" in err
    assert "damaged" not in err
    assert len(list(Path("out/earlier").iterdir())) == 1


def test_a_format_that_is_not_written_again_stays_only_while_it_holds_the_list(
    run, films, write_film
):
    run("scan", "films", "-o", "out")
    run("scan", "films", "-o", "out", "-f", "table")
    names = ["results.csv", "results.html", "results.jsonl", "results.txt"]
    assert sorted(path.name for path in Path("out").glob("results*")) == names
    write_film(films / "new.png", "viral", 918)
    run("scan", "films", "-o", "out", "-f", "csv")
    assert [path.name for path in Path("out").glob("results*")] == ["results.csv"]
    assert not Path("out/earlier").exists()


def test_under_another_key_no_patient_has_two_pseudonyms(
    run, films, to_dicom, draw_film, monkeypatch
):
    (films / "named.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientID="id-1"))
    seen = set()
    for name in ("a", "b"):
        Path(f"key-{name}").write_bytes(name.encode() * 32)
        monkeypatch.setenv("EDGE_XRAY_KEY", f"key-{name}")
        (films / f"again-{name}.dcm").write_bytes((films / "named.dcm").read_bytes())
        run("scan", "films", "-o", "out")
        rows = _rows(Path("out/results.csv").read_text()).values()
        (pseudonym,) = {row["patient"] for row in rows if row["patient"]}
        seen.add(pseudonym)
    assert len(seen) == 2


def test_films_scored_without_a_key_or_with_one_that_is_lost_get_the_key_of_now(
    run, films, to_dicom, draw_film
):
    (films / "a.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientID="id-1"))
    (films / "b.dcm").write_bytes(to_dicom(draw_film("viral", 915), PatientID=None))
    Path("settings").write_text("no folder")
    run("scan", "films", "-o", "out")
    Path("settings").unlink()
    seen = set()
    for name in ("c", "d"):
        _, _, err = run("scan", "films", "-o", "out")
        assert "6 of them were scored by an earlier scan." in err
        (films / f"{name}.dcm").write_bytes((films / "a.dcm").read_bytes())
        run("scan", "films", "-o", "out")
        rows = _rows(Path("out/results.csv").read_text()).values()
        (pseudonym,) = {row["patient"] for row in rows if row["patient"]}
        seen.add(pseudonym)
        shutil.rmtree("settings")
    assert len(seen) == 2


@pytest.mark.parametrize("words", [("-o", "out"), ("-f", "csv"), ("-f", "jsonl")])
def test_a_named_key_that_is_not_there_is_refused_and_never_made(
    run, films, to_dicom, draw_film, monkeypatch, words
):
    (films / "named.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientID="id-1"))
    key = Path("stick/key")
    monkeypatch.setenv("EDGE_XRAY_KEY", str(key))
    for problem in ("No such file", "0 bytes"):
        code, out, err = run("scan", "films", *words)
        assert (code, out) == (2, "")
        command = err.partition("make one with: ")[2].rstrip()
        assert problem in err
        assert not Path("out").exists()
        assert key.exists() == (problem != "No such file")
        key.parent.mkdir(exist_ok=True)
        key.touch()
    assert key.read_bytes() == b""
    assert run("scan", "films", *words, "--with-identifiers")[0] == 0
    if sys.platform == "win32":
        assert command.startswith("py -c ")  # which only python.org's installer brings
        command = command.replace("py", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    assert len(key.read_bytes()) == 32
    assert run("scan", "films", *words)[0] == 0


def test_a_record_outlives_a_key_that_is_away_for_a_while(run, films, monkeypatch):
    Path("key").write_bytes(bytes(32))
    monkeypatch.setenv("EDGE_XRAY_KEY", "key")
    run("scan", "films", "-o", "out")
    Path("key").rename("away")
    assert run("scan", "films", "-o", "out")[0] == 2
    Path("away").rename("key")
    assert "6 films already done" in run("scan", "films", "-o", "out")[2]


def test_a_key_is_made_where_the_disk_knows_no_links(run, films, to_dicom, draw_film, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    (films / "named.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientID="id-1"))
    _, out, _ = run("scan", "films", "-f", "csv")
    (key,) = Path("settings/edge-xray").iterdir()
    assert len(key.read_bytes()) == 32
    assert key.stat().st_mode & 0o077 == 0 or sys.platform == "win32"
    assert _rows(out)["named.dcm"]["patient"]
    assert out == run("scan", "films", "-f", "csv")[1]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("words", [("-o", "out"), ("-f", "jsonl")])
def test_without_a_key_there_is_no_pseudonym_and_one_line_says_so(
    run, films, to_dicom, draw_film, words, kept
):
    for name in ("a", "b"):
        data = to_dicom(draw_film("normal", 914), PatientID=f"id-{name}")
        (films / f"{name}.dcm").write_bytes(data)
    if kept:
        Path("settings/edge-xray").mkdir(parents=True)
        Path("settings/edge-xray/patient-key").touch()
    else:
        Path("settings").write_text("no folder")
    code, _, err = run("scan", "films", *words)
    assert code == 0
    assert err.count("No pseudonyms of patients are made") == 1
    assert ("0 bytes" if kept else "no key can be kept") in err


def test_a_film_refused_without_a_picture_gets_one_for_the_report(run, films, to_dicom, draw_film):
    (films / "adult.dcm").write_bytes(to_dicom(draw_film("normal", 914), PatientAge="047Y"))
    run("scan", "films", "-o", "out", "-f", "csv")
    run("scan", "films", "-o", "out")
    assert Path("out/results.html").read_text().count("data:image/jpeg;base64,") == 7


def test_a_large_file_that_is_no_film_is_not_read_whole(run, films, monkeypatch):
    from edge_xray import film_file as module

    monkeypatch.setattr(module, "PROBED_BYTES", 1 << 16)
    data = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 1024
    (films / "video.mp4").write_bytes(data)
    part, sha256 = read_film(films / "video.mp4")
    assert len(part) < 1 << 16
    _, out, _ = run("scan", "films", "--format", "csv")
    row = _rows(out)["video.mp4"]
    assert (row["reason"], row["sha256"]) == ("not_an_image", sha256)
    assert sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_a_path_that_cannot_be_looked_at_is_a_row_and_a_name_too_long_is_missing(
    run, films, monkeypatch
):
    real = Path.stat

    def stat(path, **options):
        if "locked" in path.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    code, out, _ = run("scan", "locked/in", "films", "--format", "csv")
    assert (code, _rows(out)["in"]["reason"]) == (0, "unreadable")
    monkeypatch.undo()
    code, out, err = run("scan", "n" * 300)
    assert (code, out) == (2, "")
    assert "no such file or folder" in err
    code, _, err = run("scan", "films", "-m", "n" * 300)
    assert code == 2
    assert len(err.splitlines()) == 1


def test_what_may_not_be_read_costs_no_other_film_its_row(run, films, monkeypatch):
    real = os.access

    def refuses(path, mode, **options):
        return "locked" not in Path(os.fsdecode(path)).name and real(path, mode, **options)

    monkeypatch.setattr(os, "access", refuses)
    min(films.glob("*.png")).rename("locked.png")
    Path("locked").mkdir()
    code, out, _ = run("scan", "locked.png", "locked", "films", "--format", "csv")
    assert code == 0
    assert len(_rows(out)) == 6
    assert run("scan", "films", "-o", "locked")[0] == 0


@pytest.mark.parametrize("words", [("",), ("films", "--output="), ("films", "--model=")])
def test_an_empty_argument_is_not_taken_for_this_folder(run, films, words):
    code, out, err = run("scan", *words)
    assert (code, out) == (2, "")
    assert "an argument is empty" in err


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("words", "redirection", "wanted"),
    [
        ("info", ">/dev/full", 3),
        ("info", "| true", 3),
        ("info", ">&-", 3),
        ("--version", ">&-", 3),
        ("--help", ">/dev/full", 3),
        ("scan films", ">&-", 3),
        ("scan films", "2>&-", 0),
        ("scan films", "2>/dev/full", 0),
        ("scan films -o out", ">&- 2>&-", 0),
        ("scan films -f table", "| true", 3),
    ],
)
def test_streams_that_are_closed_or_full_end_as_documented(
    films, tiny_model, tmp_path, monkeypatch, words, redirection, wanted
):
    monkeypatch.chdir(tmp_path)
    command, *rest = words.split()
    model = {"info": [str(tiny_model)], "scan": ["-m", str(tiny_model)]}.get(command, [])
    line = shlex.join([sys.executable, "-m", "edge_xray", command, *rest, *model])
    if redirection.startswith("|"):
        # Nobody reads the pipe any more when the first word is written.
        line = f"({line}; echo $? >code) {redirection}"
    else:
        line = f"{line} {redirection}; echo $? >code"
    ended = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True)
    assert Path("code").read_text().strip() == str(wanted), ended.stderr
    assert "Traceback" not in ended.stderr
    if "-o" in rest or wanted == 0:
        assert list(Path().glob("*/results.html"))


def test_a_list_in_a_file_has_no_colour(run, films, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    run("scan", "films", "-o", "out", "-f", "table")
    assert "\x1b" not in Path("out/results.txt").read_text()


def test_a_list_whose_films_are_not_known_is_kept(run, films):
    Path("out").mkdir()
    Path("out/results-2.html").write_text("of another make")
    run("scan", "films", "-o", "out")
    (kept,) = Path("out/earlier").iterdir()
    assert (kept / "results-2.html").read_text() == "of another make"
    for text in ("", "[]", "{", '{"paths": 3}', '{"paths": []}'):
        Path("out/.edge-xray-results").write_text(text)
        assert run("scan", "films", "-o", "out")[0] == 0
    assert len(list(Path("out/earlier").iterdir())) == 6


def test_a_list_that_cannot_be_moved_is_kept_whole_once_it_can(run, films, write_film, monkeypatch):
    write_film(Path("tuesday/t.png"), "viral", 916)
    run("scan", "films", "-o", "out")
    monday = {path.name: path.read_text() for path in Path("out").glob("results*")}
    real = Path.replace

    def locked(path, target):
        if path.name == "results.csv" and ".gathered" in str(target):
            raise PermissionError(errno.EACCES, "opened by another program")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", locked)
    for _ in range(3):
        assert run("scan", "tuesday", "-o", "out")[0] == 3
    monkeypatch.setattr(Path, "replace", real)
    assert run("scan", "tuesday", "-o", "out")[0] == 0
    (kept,) = Path("out/earlier").iterdir()
    assert {path.name: path.read_text() for path in kept.iterdir()} == monday


def test_a_list_that_was_taken_away_before_it_was_moved_is_no_error(run, films):
    Path("out/earlier/.gathered").mkdir(parents=True)
    assert run("scan", "films", "-o", "out")[0] == 0
    assert len(_rows(Path("out/results.csv").read_text())) == 6


def test_the_same_films_named_otherwise_are_one_list(run, films):
    one, other = "films/viral-910.png", "films/normal-910.png"
    for names in ([one, other], [other, one], [f"films/../{one}", films.parent / other]):
        run("scan", *names, "-o", "out")
    assert not Path("out/earlier").exists()


def test_reports_of_other_options_go_even_if_the_scan_that_made_them_old_was_cut_off(
    run, films, monkeypatch
):
    from edge_xray.results_folder import ResultsFolder

    run("scan", "films", "-o", "out")
    with monkeypatch.context() as cut:
        cut.setattr(ResultsFolder, "write_reports", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("scan", "films", "-o", "out", "-f", "csv", "--any-age")
    run("scan", "films", "-o", "out", "-f", "csv", "--any-age")
    assert sorted(path.name for path in Path("out").glob("results*")) == ["results.csv"]


def test_a_report_that_was_written_before_a_scan_was_cut_off_does_not_pass_for_the_earlier_list(
    run, films, write_film, monkeypatch
):
    run("scan", "films", "-o", "out")
    (films / "normal-910.png").unlink()
    with monkeypatch.context() as cut:
        cut.setattr("edge_xray.reports.csv.render", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("scan", "films", "-o", "out")
    assert "normal-910.png" not in Path("out/results.html").read_text()
    write_film(films / "normal-910.png", "normal", 910)
    run("scan", "films", "-o", "out", "-f", "csv")
    assert [path.name for path in Path("out").glob("results*")] == ["results.csv"]


def test_a_film_whose_content_changed_is_scored_again(run, films, write_film):
    run("scan", "films", "-o", "out")
    write_film(films / "normal-910.png", "bacterial", 917)
    run("scan", "films", "-o", "out")
    assert _rows(Path("out/results.csv").read_text())["normal-910.png"]["label"] == "bacterial"


def test_other_options_start_fresh_and_say_so(run, films):
    run("scan", "films", "-o", "out")
    _, _, err = run("scan", "films", "-o", "out", "--operating-point", "rule-in")
    assert "Starting fresh" in err
    rows = _rows(Path("out/results.csv").read_text())
    assert {row["operating_point"] for row in rows.values()} == {"rule-in"}


@pytest.mark.parametrize(
    "words",
    [("--jobs", 2), ("--no-recursive",), ("--heatmaps",), ("--operating-point", "screening")],
)
def test_what_changes_no_row_starts_nothing_fresh(run, films, words):
    run("scan", "films", "-o", "out", "--jobs", 1)
    _, _, err = run("scan", "films", "-o", "out", *words)
    assert "6 films already done" in err and "Starting fresh" not in err


def test_a_shorter_list_leaves_no_page_of_the_longer_one(run, films, monkeypatch):
    monkeypatch.setattr("edge_xray.reports.html.PAGE_FILMS", 2)
    for gone, pages in (([], 3), (["normal-910"], 3), (["normal-911", "viral-910"], 2)):
        for name in gone:
            (films / f"{name}.png").unlink()
        run("scan", "films", "-o", "out")
        names = ["results.html", *(f"results-{page}.html" for page in range(2, pages + 1))]
        assert {path.name for path in Path("out").glob("*.html")} == set(names)
        text = "".join(Path("out", name).read_text() for name in names)
        assert not any(f"{name}.png" in text for name in gone)
    assert not Path("out/earlier").exists()


def test_a_heat_map_is_drawn_once_and_again_where_it_is_not_whole(run, films):
    run("scan", "films", "-o", "out", "--heatmaps")
    drawn = {path: path.read_bytes() for path in Path("out/heatmaps").iterdir()}
    times = {path: path.stat().st_mtime_ns for path in drawn}
    run("scan", "films", "-o", "out", "--heatmaps")
    assert {path: path.stat().st_mtime_ns for path in drawn} == times
    empty, cut, gone, *_ = drawn
    empty.write_bytes(b"")
    cut.write_bytes(drawn[cut][:-1])
    gone.unlink()
    run("scan", "films", "-o", "out", "--heatmaps")
    assert {path: path.read_bytes() for path in Path("out/heatmaps").iterdir()} == drawn


def test_a_lost_picture_is_made_again(run, films):
    run("scan", "films", "-o", "out")
    picture = sorted(Path("out/pictures").iterdir())[0]
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-1])
    run("scan", "films", "-o", "out")
    assert picture.read_bytes() == whole
    assert Path("out/results.html").read_text().count("data:image/jpeg;base64,") == 6
    run("scan", "films", "-o", "out", "--heatmaps")
    assert len(list(Path("out/heatmaps").iterdir())) == 6


def test_a_results_folder_inside_the_films_is_not_scanned(run, films):
    for _ in range(2):
        run("scan", "films", "-o", "films/out", "--heatmaps")
    assert len(_rows(Path("films/out/results.csv").read_text())) == 6
    _, out, _ = run("scan", "films", "--format", "csv")
    assert len(_rows(out)) == 6


def test_what_was_flushed_outlives_a_power_cut(tmp_path, tiny_model):
    rows = [SkippedFilm(f"{name}.png", name * 64, "damaged", "why") for name in "ab"]
    with ResultsFolder(tmp_path / "out", Classifier(tiny_model), ScanOptions()) as results:
        for row in rows:
            results.add(row)
        results.flush()
        shutil.copytree(tmp_path / "out", tmp_path / "after")
    with ResultsFolder(tmp_path / "after", Classifier(tiny_model), ScanOptions()) as results:
        assert [row for row, _ in results.placed_rows()] == rows
        results.forget(rows[0].path, rows[0].sha256)
        assert [row for row, _ in results.placed_rows()] == rows[1:]


def test_a_folder_in_use_is_refused_with_its_owner(run, films, tiny_model):
    with ResultsFolder(Path("out"), Classifier(tiny_model), ScanOptions()):
        code, out, err = run("scan", "films", "-o", "out")
    assert (code, out) == (3, "")
    assert f"process {os.getpid()}" in err
    assert run("scan", "films", "-o", "out")[0] == 0


def test_a_file_in_the_place_of_the_pictures_is_named_and_the_folder_free_again(run, films):
    Path("out").mkdir()
    Path("out/pictures").write_text("a file")
    code, out, err = run("scan", "films", "-o", "out")
    assert (code, out) == (3, "") and f"{Path('out/pictures')}: cannot be written" in err
    Path("out/pictures").unlink()
    assert run("scan", "films", "-o", "out")[0] == 0


def test_an_output_that_cannot_be_written_is_exit_3(run, films):
    Path("blocked").write_text("a file")
    code, out, err = run("scan", "films", "-o", "blocked")
    assert (code, out) == (3, "")
    assert "blocked" in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_exit_3(films, tiny_model):
    command = [sys.executable, "-m", "edge_xray", "scan", str(films), "-m", str(tiny_model)]
    for form in ("csv", "table"):
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                [*command, "-f", form], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert ended.returncode == 3
        assert "No space left" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_ctrl_c_in_the_first_moment_is_no_traceback(tmp_path):
    # What is imported first of all is slow enough for a hand that was on the keys.
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    code = (
        f"import runpy, sys\nsys.path[:0] = {[str(tmp_path), *sys.path]!r}\n"
        "sys.argv[1:] = ['--version']\nrunpy.run_module('edge_xray', run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_ctrl_c_in_the_last_moment_is_no_traceback():
    code = (
        "import atexit, signal, sys\nfrom edge_xray.__main__ import main\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\nsys.exit(main())"
    )
    command = [sys.executable, "-c", code, "--version"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no threads listed here")
@pytest.mark.skipif(processors() < 2, reason="one processor, which gets no thread of its own")
def test_no_thread_waits_for_linear_algebra_unless_it_is_asked_for(tiny_model):
    code = (
        "import os, sys, time\nfrom edge_xray.__main__ import main\nassert main() == 0\n"
        "time.sleep(0.5)\n"  # A thread that was joined may be listed for a moment more.
        "print(len(os.listdir('/proc/self/task')), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "self-test", "--model", str(tiny_model)]
    plain = {name: text for name, text in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    threads = [
        subprocess.run(command, env=plain | more, stderr=subprocess.PIPE, text=True).stderr
        for more in ({}, {"OPENBLAS_NUM_THREADS": "2"})
    ]
    assert [int(text) for text in threads] == [1, 2]


def test_a_reader_that_leaves_early_is_no_traceback(films, tiny_model):
    command = [sys.executable, "-m", "edge_xray", "scan", str(films), "-m", str(tiny_model)]
    process = subprocess.Popen(
        [*command, "-f", "csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    talk = process.stderr.read().decode()
    assert (process.wait(), talk) == (3, "")


@pytest.mark.parametrize("words", [["--help"], ["info"], ["scan", "--help"]])
def test_whatever_is_said_to_a_reader_that_left_is_exit_3(words):
    command = [sys.executable, "-m", "edge_xray", *words]
    reader, writer = os.pipe()
    os.close(reader)  # before it starts, for a short text would be gone in the pipe
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (3, "")


def test_talk_is_plain_in_a_pipe_and_nothing_else_is_said(films, tiny_model):
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "edge_xray",
            "scan",
            str(films),
            "-m",
            str(tiny_model),
            "-f",
            "csv",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("6 films: ")
    assert "\x1b" not in ended.stdout + ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_of_60_columns_sees_progress_and_a_table_that_fits(
    films, tiny_model, tmp_path, plain
):
    import fcntl
    import pty
    import re
    import struct
    import termios

    main_end, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    environment = {key: os.environ[key] for key in os.environ if key not in ("COLUMNS", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if plain else {})
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_xray", "scan", str(films), "-m", str(tiny_model)],
        cwd=tmp_path,
        env=environment,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            piece = os.read(main_end, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(main_end)
    assert process.wait() == 0
    text = seen.decode()
    assert "6 films" in text
    assert "films/s" in text
    assert ("\x1b[1;31m" in text or "\x1b[31m" in text) is not plain
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert max(len(line) for line in re.split(r"[\r\n]+", shown)) <= 60 + len(str(tmp_path))
    table = shown[shown.index("What to do") :].splitlines()[2:-3]
    assert max(len(line) for line in table) <= 60


def test_too_little_memory_is_told_and_what_is_done_is_kept(run, films, monkeypatch):
    from edge_xray.reports import html

    def render_pages(*_: object) -> object:
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr(html, "render_pages", render_pages)
        code, _, said = run("scan", films, "-o", "results")
    assert (
        code == 2
        and "takes more memory than there is (no word how much); close other programs" in said
    )
    code, _, said = run("scan", films, "-o", "results")
    assert code == 0 and "6 of them were scored by an earlier scan" in said


@pytest.mark.skipif(os.name != "posix", reason="no folder in use can be removed on Windows")
@pytest.mark.parametrize("command", ["scan .", "watch .", "doctor"])
def test_called_in_a_folder_that_is_gone(command, tiny_model, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    arguments = [*command.split(), "-o", "results", "--model", str(tiny_model)]
    ended = subprocess.run(
        [
            "sh",
            "-c",
            'rmdir "$0" && exec "$@"',
            gone,
            sys.executable,
            "-m",
            "edge_xray",
            *arguments,
        ],
        cwd=gone,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 3
    assert "called in is gone" in ended.stderr and "with cd" in ended.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs unshare")
def test_a_scan_needs_no_network(films, tiny_model, tmp_path):
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("namespaces are not allowed here")
    ended = subprocess.run(
        ["unshare", "-rn", sys.executable, "-m", "edge_xray", "scan", films, "-m", tiny_model],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "edge-xray-results" / "results.html").is_file()


def test_every_number_of_workers_gives_the_same_rows_in_the_same_order(films, tiny_model):
    classifier = Classifier(tiny_model)
    one, four = (list(scan([films], classifier, ScanOptions(jobs=jobs))) for jobs in (1, 4))
    assert one == four
    assert len(one) == 6


@pytest.mark.parametrize(
    ("free_kib", "jobs"), [(90_000, 1), (300_000, 1), (400_000, 2), (10**8, 8), (None, 8)]
)
def test_as_many_workers_as_fit_into_the_free_memory(free_kib, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_xray.scan.processors", lambda: 64)
    (tmp_path / "proc").mkdir()
    if free_kib is not None:
        (tmp_path / "proc" / "meminfo").write_text(f"MemAvailable:  {free_kib} kB\n")
    assert default_jobs(tmp_path) == jobs
    monkeypatch.setattr("edge_xray.scan.processors", lambda: 1)
    assert default_jobs(tmp_path) == 1


def test_want_of_memory_costs_one_film_and_the_next_scan_tries_it_again(run, films, monkeypatch):
    from edge_xray import scan as module

    real, calls = module.preprocess, []

    def preprocess(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError
        return real(*arguments)

    with monkeypatch.context() as short:
        short.setattr(module, "preprocess", preprocess)
        assert run("scan", "films", "-o", "out", "-f", "csv", "--jobs", 1)[0] == 0
    rows = _rows(Path("out/results.csv").read_text())
    (bad,) = (row for row in rows.values() if row["status"] == "not_scored")
    assert bad["reason"] == "out_of_memory"
    assert "--jobs 1" in bad["message"]
    assert run("scan", "films", "-o", "out", "-f", "csv")[0] == 0
    again = _rows(Path("out/results.csv").read_text())
    assert [row["status"] for row in again.values()] == 6 * ["scored"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_that_gives_no_number_gives_no_all_clear(value, run, films, monkeypatch):
    from edge_xray import classifier as module

    real = module._Output.read

    def read(output, interpreter):
        return np.full_like(real(output, interpreter), value)

    with monkeypatch.context() as broken:
        broken.setattr(module._Output, "read", read)
        broken.setattr(Classifier, "check_golden", lambda _: 0.0)
        assert run("scan", "films", "-o", "out", "--heatmaps", "--any-body-part")[0] == 0
        out = run("scan", "films", "--format", "csv", "--strict")
        assert out[0] == 1
    rows = _rows(Path("out/results.csv").read_text())
    for row in (*rows.values(), *_rows(out[1]).values()):
        assert (row["status"], row["reason"]) == ("not_scored", "no_answer")
        assert row["p_pneumonia"] == ""
        assert "--runtime" in row["message"]
    assert len(rows) == 6
    page = Path("out/results.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6
    assert "6 not scored" in page
    lines = Path("out/results.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {"no_answer"}
    assert run("scan", "films", "-o", "out", "--any-body-part")[0] == 0
    again = _rows(Path("out/results.csv").read_text())
    assert {row["status"] for row in again.values()} == {"scored"}


def test_a_scan_that_is_left_early_ends_its_workers(films, tiny_model):
    before = set(threading.enumerate())
    rows = scan([films], Classifier(tiny_model), ScanOptions(jobs=2))
    next(rows)
    assert set(threading.enumerate()) > before
    rows.close()
    assert set(threading.enumerate()) == before


def test_a_film_that_changes_or_vanishes_has_a_reason(films, monkeypatch, tiny_model):
    from edge_xray import film_file as module

    path = films / "normal-910.png"
    real = module.read_file

    def grow(path):
        data = real(path)
        with path.open("ab") as stream:
            stream.write(b"more")
        return data

    def fill(path):
        # As a copy that has its full size from the beginning.
        data = real(path)
        path.write_bytes(data[::-1])
        os.utime(path, (0, 0))
        return data

    for change in (grow, fill):
        monkeypatch.setattr(module, "read_file", change)
        (row,) = scan([path], Classifier(tiny_model))
        assert row.reason == "changed"
    monkeypatch.setattr(module, "read_file", real)
    path.unlink()
    with pytest.raises(Exception, match="is gone") as caught:
        read_film(path)
    assert caught.value.reason == "missing"


def test_info_says_what_the_model_says(run, tiny_model):
    code, out, err = run("info", tiny_model)
    assert (code, err) == (0, "")
    assert "edge-xray-test 1.0.0" in out
    assert "screening: from probability 0.3000" in out
    code, out, _ = run("info", tiny_model, "--json")
    assert json.loads(out)["name"] == "edge-xray-test"


def test_help_names_both_groups_and_the_version_is_said(run):
    code, out, _ = run("--help")
    assert code == 0
    for word in ("Clinic", "Workshop", "scan", "watch", "info", "train", "convert"):
        assert word in out
    assert run("--version")[1].startswith("edge-xray 0.")


def test_completion_offers_commands_and_names(tiny_model):
    def complete(line: str) -> str:
        environment = os.environ | {
            "_EDGE_XRAY_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        command = [
            sys.executable,
            "-c",
            "import sys; from edge_xray.cli import main; sys.exit(main())",
        ]
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout

    assert "scan" in complete("edge-xray sc").split()
    assert "jsonl" in complete("edge-xray scan --format j").split()
    assert (
        "rule-in"
        in complete(f"edge-xray scan --model {tiny_model.as_posix()} --operating-point r").split()
    )
    assert "edge-xray-tiny" in complete("edge-xray doctor -m edge-xray-t").split()
    assert "rule-in" in complete("edge-xray self-test -m lite0 --operating-point r").split()
    assert "ai-edge-litert" in complete("edge-xray benchmark --runtime ai").split()


def test_a_plug_in_that_cannot_be_loaded_costs_only_its_own_commands(run, films, monkeypatch):
    from edge_xray import cli

    class Broken:
        name = "extra"

        def load(self):
            raise ImportError("no such part")

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Broken()])
    monkeypatch.setattr(cli, "_BROKEN", [])
    assert run("scan", "films", "--format", "csv")[0] == 0
    code, _, err = run("train")
    assert code == 2
    assert 'pip install ".[train]"' in err
    assert "extra (ImportError" in err


def test_without_the_workshop_its_commands_say_what_to_install(run, monkeypatch):
    from edge_xray import cli

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    for command, extra in cli.WORKSHOP_EXTRAS.items():
        code, out, err = run(command, "--help")
        assert (code, out) == (2, "")
        assert f'pip install ".[{extra}]"' in err
        assert len(err.splitlines()) == 1


def test_the_list_of_workshop_commands_is_the_workshops_own():
    from edge_xray import cli

    names = {
        command.name
        for command in cli.build_app().registered_commands
        if command.rich_help_panel == "Workshop"
    }
    assert names >= {"train", "convert", "parity"}
    assert names - {"kit"} <= set(cli.WORKSHOP_EXTRAS)


def test_a_command_without_its_extra_says_what_to_install(run, monkeypatch):
    from edge_xray import _extras

    monkeypatch.setattr(_extras, "missing_modules", lambda modules: list(modules))
    code, out, err = run("convert", "model.keras")
    assert (code, out) == (2, "")
    assert 'pip install ".[convert]"' in err
    assert len(err.splitlines()) == 1


def test_where_no_worker_can_be_started_one_line_says_so(run, films, monkeypatch):
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    code, out, err = run("scan", "films", "--format", "csv")
    assert (code, out) == (2, "")
    assert "lets no thread more be started" in err
    assert len(err.splitlines()) == 1
