from __future__ import annotations

import csv
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_xray.classifier import Classifier
from edge_xray.errors import ExitCode
from edge_xray.results import Prediction
from edge_xray.results_folder import ResultsFolder
from edge_xray.scan import ScanOptions
from edge_xray.walk import Found
from edge_xray.watch import Watcher, is_open_for_writing, run_watch


@pytest.fixture
def inbox(tmp_path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def results(tmp_path, tiny_model):
    with ResultsFolder(tmp_path / "out", Classifier(tiny_model), ScanOptions()) as folder:
        yield folder


@pytest.fixture
def watcher(inbox, tiny_model, results) -> Watcher:
    return Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=1), results)


def _look(watcher: Watcher) -> list[str]:
    heard = list(watcher.look())
    return [Path(one.row.path).name if one.row else one.notice for one in heard]


def _settle(watcher: Watcher) -> list[str]:
    return [*_look(watcher), *_look(watcher)]


def test_a_film_is_taken_once_it_holds_still(watcher, inbox, write_film):
    path = write_film(inbox / "a.png", "viral", 920)
    assert _look(watcher) == []
    with path.open("ab") as stream:
        stream.write(b"more")
    assert _look(watcher) == []
    assert _look(watcher) == ["a.png"]
    assert _settle(watcher) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_a_file_that_is_still_open_is_waited_for(watcher, inbox, write_film):
    path = write_film(inbox / "a.png", "viral", 920)
    with path.open("ab"):
        assert is_open_for_writing(Found(path, str(path)))
        assert _settle(watcher) == []
        with path.open("rb"):
            pass
    with path.open("rb"):
        assert not is_open_for_writing(Found(path, str(path)))
    assert _look(watcher) == ["a.png"]


def test_a_film_that_changes_later_is_scored_again(watcher, inbox, write_film):
    write_film(inbox / "a.png", "normal", 921)
    assert _settle(watcher) == ["a.png"]
    write_film(inbox / "a.png", "bacterial", 922)
    assert _settle(watcher) == ["a.png"]
    (row,) = watcher.rows
    assert isinstance(row, Prediction)
    assert row.label == "bacterial"


def test_what_is_no_film_gets_a_row_once(watcher, inbox):
    (inbox / "letter.jpg").write_text("no film")
    assert _settle(watcher) == ["letter.jpg"]
    assert _settle(watcher) == []
    assert watcher.rows[0].reason == "not_an_image"


def test_a_renamed_film_is_listed_under_its_new_name_only(
    watcher, inbox, write_film, tiny_model, tmp_path
):
    path = write_film(inbox / "a.png", "viral", 923)
    write_film(inbox / "copy.png", "viral", 923)
    _settle(watcher)
    assert len(watcher.rows) == 2
    path.rename(inbox / "b.png")
    _settle(watcher)
    assert [Path(row.path).name for row in watcher.rows] == ["b.png", "copy.png"]


def test_an_unplugged_drive_is_waited_for_and_keeps_its_rows(watcher, inbox, write_film):
    write_film(inbox / "a.png", "viral", 924)
    write_film(inbox / "same.png", "viral", 924)
    _settle(watcher)
    away = inbox.with_name("away")
    inbox.rename(away)
    (notice,) = _look(watcher)
    assert "is gone" in notice
    assert _look(watcher) == []
    assert len(watcher.rows) == 2
    away.rename(inbox)
    write_film(inbox / "b.png", "normal", 925)
    (notice,) = _look(watcher)
    assert "is there again" in notice
    assert _look(watcher) == ["b.png"]
    assert len(watcher.rows) == 3


def test_a_restart_scores_nothing_twice(inbox, tmp_path, write_film, tiny_model):
    classifier = Classifier(tiny_model)
    write_film(inbox / "a.png", "viral", 926)
    for expected in (["a.png"], []):
        with ResultsFolder(tmp_path / "out", classifier, ScanOptions()) as results:
            watcher = Watcher(inbox, classifier, ScanOptions(), results)
            assert _settle(watcher) == expected
            assert len(watcher.rows) == 1
    assert (tmp_path / "out" / "journal.jsonl").read_text().count("\n") == 2


def test_watching_stops_when_asked_with_all_reports_written(watcher, inbox, write_film):
    write_film(inbox / "a.png", "viral", 927)
    stop, written, heard = threading.Event(), [], []

    def hear(one):
        heard.append(one)
        stop.set()

    code = run_watch(watcher, written.append, hear, interval=0.01, stop=stop)
    assert code == ExitCode.OK
    assert len(heard) == 1
    assert written[-1] == watcher.rows


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_command_ends_cleanly_on_a_signal(
    inbox, tmp_path, write_film, tiny_model, number, code
):
    command = [sys.executable, "-m", "edge_xray.cli", "watch", str(inbox), "-o", "out"]
    process = subprocess.Popen(
        [*command, "--interval", "0.1", "--model", str(tiny_model)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    write_film(inbox / "a.png", "bacterial", 928)
    line = process.stdout.readline()
    assert line.startswith("Urgent (")
    assert "a.png" in line
    write_film(inbox / "b.png", "viral", 929)
    assert "b.png" in process.stdout.readline()
    process.send_signal(number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in talk
    with (tmp_path / "out" / "results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT there")
def test_an_interrupted_scan_is_130_and_goes_on(tmp_path, write_film, tiny_model):
    for index in range(40):
        write_film(tmp_path / "films" / f"{index}.png", "normal", index, height=600, width=700)
    command = [sys.executable, "-m", "edge_xray.cli", "scan", "films", "-o", "out", "-j", "1"]
    command += ["--model", str(tiny_model)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    pictures = tmp_path / "out" / "pictures"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (
        pictures.is_dir() and len([*pictures.iterdir()]) > 5
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to go on" in talk
    assert "Traceback" not in talk
    done = (tmp_path / "out" / "journal.jsonl").read_text().count("\n") - 1
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"{done} film" in ended.stderr
    journal = (tmp_path / "out" / "journal.jsonl").read_text()
    assert journal.count("\n") == 41
