from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import edge_xray.film_file
from edge_xray.classifier import Classifier
from edge_xray.cli import main
from edge_xray.errors import ExitCode
from edge_xray.results import Prediction
from edge_xray.results_folder import ResultsFolder
from edge_xray.scan import ScanOptions, scan
from edge_xray.scan_command import run_of
from edge_xray.walk import Found, openable
from edge_xray.watch import Watcher, is_open_for_writing, run_watch

WATCH = [sys.executable, "-m", "edge_xray", "watch", "-o", "out", "--interval", "0.1"]


WAIT_SECONDS = 300.0
"""For what comes at once on an idle machine."""

MANY = 1000
"""Films of a scan that is not done before a test is awake to stop it."""


@pytest.fixture
def start():
    """``start(command, **options) -> Popen``; it is killed when the test ends, or waits for too long."""
    with ExitStack() as stack:

        def begin(command, **options):
            process = stack.enter_context(subprocess.Popen(command, **options))
            limit = threading.Timer(WAIT_SECONDS, process.kill)
            limit.start()
            stack.callback(process.kill)
            stack.callback(limit.cancel)
            return process

        yield begin


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


@contextmanager
def _watching(folder, out, model, **options):
    """A watcher as a start of the program makes it."""
    classifier = Classifier(model)
    with ResultsFolder(out, classifier, ScanOptions(), (folder,)) as results:
        yield Watcher(folder, classifier, ScanOptions(jobs=1), results, **options)


def _many_films(write_film, folder: Path) -> None:
    film = write_film(folder / "0.jpg", "normal", 1, height=600, width=700).read_bytes()
    for index in range(1, MANY):
        # Bytes after the end of a JPEG are not looked at, and make each film one of its own.
        (folder / f"{index}.jpg").write_bytes(film + b"%d" % index)


def _lines(out: Path) -> int:
    return (out / "journal.jsonl").read_text().count("\n")


def _listed(watcher: Watcher) -> list[str]:
    return [Path(row.path).name for row in watcher.rows]


class Disk:
    """Stands in for what reads a film's file: counts, and refuses while it is broken."""

    def __init__(self, monkeypatch, fault: OSError | None = None):
        self.read: list[str] = []
        self.fault = fault
        self.then = lambda: None
        self._read_file = edge_xray.film_file.read_file
        monkeypatch.setattr(edge_xray.film_file, "read_file", self)

    def __call__(self, path):
        self.read.append(path.name)
        self.then()
        if self.fault:
            raise self.fault
        return self._read_file(path)


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


def test_as_many_networks_are_loaded_as_films_came(
    inbox, tiny_model, results, write_film, monkeypatch
):
    watcher = Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=4), results)
    loaded, twin = [], Classifier.twin
    monkeypatch.setattr(Classifier, "twin", lambda own: loaded.append(own) or twin(own))
    for seed in (920, 921):
        write_film(inbox / f"{seed}.png", "viral", seed)
    assert _look(watcher) == [] and not loaded
    assert sorted(_look(watcher)) == ["920.png", "921.png"] and len(loaded) == 1
    assert _look(watcher) == [] and len(loaded) == 1


@pytest.mark.skipif(sys.platform not in ("linux", "win32"), reason="not told there")
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


def test_a_film_that_gets_an_earlier_content_back_is_listed_as_it_is_now(
    inbox, tmp_path, write_film, tiny_model
):
    films = {"normal": 921, "viral": 922}
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        for label in ("normal", "viral", "normal", "viral", "normal"):
            write_film(inbox / "a.png", label, films[label])
            before = watcher.revision
            assert _settle(watcher) == ["a.png"]
            assert watcher.revision > before
            assert [row.label for row in watcher.rows] == [label]
    inbox.rename(tmp_path / "away")
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        assert [row.label for row in watcher.rows] == ["normal"]


def test_reports_are_written_again_when_an_earlier_content_is_back(
    watcher, inbox, write_film, monkeypatch, start
):
    monkeypatch.setattr("edge_xray.watch.REPORT_SECONDS", 0.0)
    stop, written = threading.Event(), []
    films = [("viral", 922), ("normal", 921)]
    write_film(inbox / "a.png", "normal", 921)

    def hear(one):
        if films:
            write_film(inbox / "a.png", *films.pop(0))
        else:
            stop.set()

    # Ends the test should the film never be told of.
    limit = threading.Timer(WAIT_SECONDS, stop.set)
    limit.start()
    run_watch(
        watcher,
        lambda rows: written.append([row.label for row in rows]),
        hear,
        interval=0.01,
        stop=stop.is_set,
    )
    limit.cancel()
    assert written == [[], ["normal"], ["viral"], ["normal"]]


def test_a_record_of_two_contents_is_settled_by_the_folder(inbox, write_film, tiny_model, results):
    for label, seed in (("normal", 921), ("viral", 922)):
        path = write_film(inbox / "a.png", label, seed)
        for row in scan([path], Classifier(tiny_model)):
            results.add(row)
    write_film(inbox / "a.png", "normal", 921)
    watcher = Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=1), results)
    assert _settle(watcher) == ["a.png"]
    assert [row.label for row, _ in results.placed_rows()] == ["normal"]
    path.rename(inbox / "b.png")
    assert _settle(watcher) == ["b.png"]
    assert [Path(row.path).name for row, _ in results.placed_rows()] == ["b.png"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are no bytes there")
def test_a_name_that_spells_the_escape_of_another_hides_no_film(watcher, inbox, write_film):
    write_film(inbox / os.fsdecode(b"a\xff.png"), "viral", 923)
    write_film(inbox / r"a\xff.png", "bacterial", 924)
    _settle(watcher)
    assert sorted(_listed(watcher)) == [r"a\\xff.png", r"a\xff.png"]


def test_what_is_no_film_gets_a_row_once(watcher, inbox):
    (inbox / "letter.jpg").write_text("no film")
    assert _settle(watcher) == ["letter.jpg"]
    assert _settle(watcher) == []
    assert watcher.rows[0].reason == "not_an_image"


def test_a_renamed_film_is_listed_under_its_new_name_only(watcher, inbox, write_film):
    path = write_film(inbox / "a.png", "viral", 923)
    write_film(inbox / "copy.png", "viral", 923)
    _settle(watcher)
    assert len(watcher.rows) == 2
    path.rename(inbox / "b.png")
    _settle(watcher)
    assert [Path(row.path).name for row in watcher.rows] == ["b.png", "copy.png"]


def _respell(old: Path, new: Path) -> None:
    """Rename in what some disks take for no difference; Wine takes such a rename for none, which Windows does not."""
    old.rename(new)
    if new.name not in os.listdir(new.parent):  # noqa: PTH208 - to the letter
        pytest.skip("a rename in case alone does nothing here")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A.PNG", "a.png"),
        ("Monday/a.png", "monday/a.png"),
        ("Ren\u00e9.png", "Rene\u0301.png"),
    ],
)
def test_a_rename_that_the_disk_takes_for_the_same_name_is_one(
    watcher, inbox, write_film, monkeypatch, old, new
):
    """As sticks (FAT, exFAT), Windows and macOS do; here a disk that does not is made to."""

    def same(name: str) -> str:
        return unicodedata.normalize("NFC", name.casefold())

    (inbox / old).parent.mkdir(exist_ok=True)
    write_film(inbox / old, "viral", 923)
    write_film(inbox / "copy.png", "viral", 923)
    _settle(watcher)
    if "/" in old:
        _respell((inbox / old).parent, (inbox / new).parent)
    else:
        _respell(inbox / old, inbox / new)
    there, lstat = {same(str(path)): path for path in inbox.rglob("*")}, os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: lstat(there.get(same(os.fsdecode(path)), path)))
    _settle(watcher)
    assert sorted(row.path for row in watcher.rows) == sorted(
        str(path) for path in (inbox / new, inbox / "copy.png")
    )


def test_a_renamed_folder_is_not_read_once_for_each_of_its_films(
    watcher, inbox, write_film, monkeypatch
):
    (inbox / "Monday").mkdir()
    for seed in range(8):
        write_film(inbox / "Monday" / f"{seed}.png", "viral", seed)
    _settle(watcher)
    _respell(inbox / "Monday", inbox / "monday")
    read, scandir = [], os.scandir

    def counted(folder):
        read.append(os.fsdecode(folder))
        return scandir(folder)

    list(watcher.look())
    monkeypatch.setattr(os, "scandir", counted)
    list(watcher.look())
    assert sorted(row.path for row in watcher.rows) == [
        str(inbox / "monday" / f"{seed}.png") for seed in range(8)
    ]
    assert sum(Path(folder).name == "monday" for folder in read) <= 3


def test_two_names_that_differ_in_case_alone_are_two_films(watcher, inbox, write_film):
    write_film(inbox / "a.png", "viral", 923)
    write_film(inbox / "A.PNG", "viral", 923)
    if len(list(inbox.iterdir())) < 2:
        pytest.skip("this disk knows no case")
    _settle(watcher)
    _settle(watcher)
    assert sorted(_listed(watcher)) == ["A.PNG", "a.png"]


def test_a_film_that_is_renamed_and_back_is_listed_once(watcher, inbox, write_film):
    first, second = write_film(inbox / "a.png", "viral", 923), inbox / "b.png"
    _settle(watcher)
    for old, new in ((first, second), (second, first), (first, second)):
        old.rename(new)
        assert _settle(watcher) == [new.name]
        assert _listed(watcher) == [new.name]


def test_a_copy_that_is_removed_later_changes_the_list(watcher, inbox, write_film):
    for name in ("a.png", "b.png"):
        write_film(inbox / name, "viral", 923)
    _settle(watcher)
    before = watcher.revision
    (inbox / "a.png").unlink()
    assert _look(watcher) == []
    assert watcher.revision > before
    assert _listed(watcher) == ["b.png"]


def test_a_renamed_film_keeps_its_new_name_after_a_restart_without_the_drive(
    inbox, tmp_path, write_film, tiny_model
):
    path = write_film(inbox / "a.png", "viral", 923)
    write_film(inbox / "copy.png", "viral", 923)
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        _settle(watcher)
        path.rename(inbox / "b.png")
        _settle(watcher)
    inbox.rename(tmp_path / "away")
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        assert _listed(watcher) == ["b.png", "copy.png"]


def test_a_folder_has_one_list_however_it_is_spelled(
    inbox, tmp_path, write_film, tiny_model, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = write_film(inbox / "a.png", "viral", 923)
    expected = ["a.png"]
    for folder in (Path("inbox"), inbox, Path("inbox/../inbox"), Path("inbox")):
        with _watching(folder, tmp_path / "out", tiny_model) as watcher:
            assert _settle(watcher) == expected
            assert [row.path for row in watcher.rows] == [str(path)]
        expected = []
    assert _lines(tmp_path / "out") == 2


def test_a_watch_goes_on_from_a_scan_of_the_folder_and_lists_no_other(
    inbox, tmp_path, write_film, tiny_model, results, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_film(inbox / "a.png", "viral", 923)
    write_film(tmp_path / "inbox-2" / "b.png", "viral", 924)
    for row in scan([Path("inbox"), Path("inbox-2")], Classifier(tiny_model)):
        results.add(row)
    watcher = Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=1), results)
    assert _listed(watcher) == ["a.png"]
    assert _settle(watcher) == []
    (inbox / "a.png").rename(inbox / "c.png")
    assert _settle(watcher) == ["c.png"]
    again = Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=1), results)
    assert _listed(again) == ["c.png"]


def test_what_a_file_held_at_an_earlier_scan_does_not_come_back(
    inbox, tmp_path, write_film, tiny_model, results, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for seed in (923, 924):
        write_film(inbox / "a.png", "viral", seed)
        for row in scan([Path("inbox")], Classifier(tiny_model)):
            results.add(row)
    watcher = Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=1), results)
    assert [found.sha256 for found in watcher.rows] == [row.sha256]
    write_film(inbox / "a.png", "viral", 925)
    assert _settle(watcher) == ["a.png"]
    (inbox / "a.png").rename(inbox / "c.png")
    assert _settle(watcher) == ["c.png"]
    again = Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=1), results)
    assert _settle(again) == []
    assert _listed(again) == ["c.png"]


def test_a_film_without_an_answer_is_listed_as_not_scored_and_tried_again(
    inbox, tmp_path, write_film, tiny_model, monkeypatch
):
    from edge_xray import classifier as module

    now = 0.0
    write_film(inbox / "a.png", "viral", 923)
    with _watching(inbox, tmp_path / "out", tiny_model, clock=lambda: now) as watcher:
        with monkeypatch.context() as broken:
            real = module._Output.read
            broken.setattr(module._Output, "read", lambda *of: real(*of) * np.float32(np.nan))
            assert _settle(watcher) == ["a.png"]
            assert watcher.rows[0].reason == "no_answer"
        now = 60.0
        assert _settle(watcher) == ["a.png"]
        assert isinstance(watcher.rows[0], Prediction)


def test_a_row_belongs_to_the_folder_it_was_made_in_from_wherever_it_is_read(
    tmp_path, write_film, tiny_model, monkeypatch
):
    monkeypatch.setenv("EDGE_XRAY_KEY", "")
    for name, seed in (("c1", 923), ("c2", 924)):
        write_film(tmp_path / name / "films" / f"{name}.png", "bacterial", seed)
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path / "c1")
    assert main(["scan", "films", "-o", str(out), "-m", str(tiny_model)]) == 0
    monkeypatch.chdir(tmp_path / "c2")
    with _watching(tmp_path / "c2" / "films", out, tiny_model) as watcher:
        assert watcher.rows == []
    with _watching(tmp_path / "c1" / "films", out, tiny_model) as watcher:
        assert [row.path for row in watcher.rows] == [str(tmp_path / "c1" / "films" / "c1.png")]
        assert _settle(watcher) == []


def test_a_row_of_which_the_folder_is_not_on_record_is_made_again(
    inbox, tmp_path, write_film, tiny_model, results, monkeypatch
):
    def removed():
        raise FileNotFoundError

    monkeypatch.chdir(tmp_path)
    write_film(inbox / "a.png", "viral", 923)
    (row,) = scan([Path("inbox")], Classifier(tiny_model))
    with monkeypatch.context() as away:
        away.setattr(os, "getcwd", removed)
        assert results.add(row)
    assert [found for found, _ in results.placed_rows()] == [row]
    assert results.known(row.path, row.sha256) == row
    watcher = Watcher(inbox, Classifier(tiny_model), ScanOptions(jobs=1), results)
    assert _listed(watcher) == []
    assert _settle(watcher) == ["a.png"]
    assert not results.add(row)


def test_a_fault_of_the_machine_is_tried_again_ever_more_seldom(
    inbox, tmp_path, write_film, tiny_model, monkeypatch
):
    now, tries = 0.0, []
    write_film(inbox / "a.png", "viral", 923)
    disk = Disk(monkeypatch, PermissionError(13, "Permission denied"))
    disk.then = lambda: tries.append(now)
    with _watching(inbox, tmp_path / "out", tiny_model, clock=lambda: now) as watcher:
        assert _settle(watcher) == ["a.png"]
        assert watcher.rows[0].reason == "unreadable"
        lines = _lines(tmp_path / "out")
        while now < 1500:
            now += 1
            disk.fault = OSError(5, f"Input/output error {now}")
            assert _look(watcher) == []
        assert tries == [0, 5, 15, 35, 75, 155, 315, 615, 915, 1215]
        assert _lines(tmp_path / "out") == lines
        disk.fault, now = None, 1515
        assert _look(watcher) == ["a.png"]
        assert isinstance(watcher.rows[0], Prediction)
        now += 10_000
        assert _settle(watcher) == []
    inbox.rename(tmp_path / "away")
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        assert [row.label for row in watcher.rows] == ["viral"]


def test_an_answer_stays_listed_while_a_drive_that_is_back_cannot_read_its_film(
    inbox, tmp_path, write_film, tiny_model, monkeypatch
):
    now = 0.0
    path = write_film(inbox / "a.png", "viral", 923)
    disk = Disk(monkeypatch)
    with _watching(inbox, tmp_path / "out", tiny_model, clock=lambda: now) as watcher:
        assert _settle(watcher) == ["a.png"]
        lines, rows = _lines(tmp_path / "out"), watcher.rows
        # Put in again, a stick gives its files other inodes.
        shutil.copy2(path, tmp_path / "b.png")
        (tmp_path / "b.png").replace(path)
        disk.read, disk.fault = [], OSError(5, "Input/output error")
        assert _settle(watcher) == []
        assert disk.read == ["a.png"]
        assert watcher.rows == rows
        disk.fault, now = None, 10.0
        assert _settle(watcher) == []
        assert disk.read == ["a.png", "a.png"]
        assert (watcher.rows, _lines(tmp_path / "out")) == (rows, lines)
        # Of a file that was changed the old answer would be another film's.
        write_film(path, "normal", 924)
        disk.fault = OSError(5, "Input/output error")
        assert _settle(watcher) == ["a.png"]
        assert watcher.rows[0].reason == "unreadable"


def test_many_faults_do_not_keep_new_films_waiting(
    inbox, tmp_path, write_film, tiny_model, monkeypatch
):
    for index in range(12):
        write_film(inbox / f"{index}.png", "viral", index)
    now = 0.0
    disk = Disk(monkeypatch, OSError(5, "Input/output error"))

    def slow():
        nonlocal now
        now += 20

    with _watching(inbox, tmp_path / "out", tiny_model, clock=lambda: now) as watcher:
        assert len(_settle(watcher)) == 12
        disk.read, disk.then, now = [], slow, 100.0
        assert _look(watcher) == []
        assert 1 <= len(disk.read) < 12


def test_a_folder_that_can_be_read_again_loses_its_row(watcher, inbox, write_film, monkeypatch):
    write_film(inbox / "sub" / "a.png", "viral", 923)
    real = os.scandir

    def scandir(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        assert _settle(watcher) == ["sub"]
    assert _settle(watcher) == ["a.png"]
    assert _listed(watcher) == ["a.png"]


def test_a_file_that_cannot_be_looked_at_has_a_row_until_it_can(
    watcher, inbox, write_film, monkeypatch
):
    path = write_film(inbox / "a.png", "viral", 923)
    real = Path.stat

    def stat(asked, **options):
        if asked == openable(path):
            raise PermissionError(13, "Permission denied")
        return real(asked, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        assert _settle(watcher) == ["a.png"]
        assert watcher.rows[0].reason == "unreadable"
    assert _settle(watcher) == ["a.png"]
    assert [row.label for row in watcher.rows] == ["viral"]


def test_a_folder_that_cannot_be_looked_at_is_waited_for(watcher, inbox, write_film, monkeypatch):
    write_film(inbox / "a.png", "viral", 924)
    _settle(watcher)
    real = Path.stat

    def stat(path, **options):
        if inbox in (path, *path.parents):
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        (notice,) = _look(watcher)
        assert "Permission denied" in notice
        assert _look(watcher) == []
        assert _listed(watcher) == ["a.png"]
    (notice,) = _look(watcher)
    assert "is there again" in notice
    assert _look(watcher) == []


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


def test_a_restart_counts_the_films_that_are_there(inbox, tmp_path, write_film, tiny_model):
    film = write_film(inbox / "a.png", "viral", 926)
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        _settle(watcher)
        for name in ("b.png", "c.png"):
            film = film.rename(inbox / name)
            _settle(watcher)
        assert _listed(watcher) == ["c.png"]
    with ResultsFolder(tmp_path / "out", Classifier(tiny_model), ScanOptions(), (inbox,)) as again:
        assert again.resumed == 1


@pytest.mark.skipif(sys.platform == "win32", reason="names are UTF-16 there")
def test_a_name_that_the_locale_cannot_write_is_a_row(
    inbox, tmp_path, write_film, tiny_model, start
):
    for name in ("plain.png", "film\u00e9.png", "\u4e2d.png"):
        write_film(inbox / name, "viral", 926)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    # Python's own start stops in that locale where the repository's path is not of ASCII: its .pth file names it.
    plain["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [WATCH[0], "-S", *WATCH[1:], str(inbox), "-m", str(tiny_model)]
    process = start(
        command,
        cwd=tmp_path,
        env=os.environ | plain,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for _ in range(3):
        process.stdout.readline()
    process.terminate()
    _, err = process.communicate()
    assert b"Traceback" not in err
    assert _lines(tmp_path / "out") == 4
    text = (tmp_path / "out" / "results.csv").read_text(encoding="utf-8")
    assert "film\u00e9.png" in text
    assert "\u4e2d.png" in text


def test_watching_stops_when_asked_with_all_reports_written(watcher, inbox, write_film):
    write_film(inbox / "a.png", "viral", 927)
    stop, written, heard = threading.Event(), [], []

    def hear(one):
        heard.append(one)
        stop.set()

    code = run_watch(watcher, written.append, hear, interval=0.01, stop=stop.is_set)
    assert code == ExitCode.OK
    assert len(heard) == 1
    assert written[-1] == watcher.rows


def test_many_films_one_after_another_are_one_writing_of_the_reports(
    watcher, inbox, write_film, monkeypatch, start
):
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds

    clock = SimpleNamespace(monotonic=lambda: now, sleep=sleep)
    monkeypatch.setattr("edge_xray.watch.time", clock)
    monkeypatch.setattr("edge_xray.watch.REPORT_SECONDS", 1.5)
    stop, sizes, times = threading.Event(), [], []
    write_film(inbox / "0.png", "viral", 0)

    def hear(one):
        number = len(watcher.rows)
        if number < 5:
            write_film(inbox / f"{number}.png", "viral", number)

    def write(rows):
        sizes.append(len(rows))
        times.append(now)
        if len(rows) == 5:
            stop.set()

    limit = threading.Timer(WAIT_SECONDS, stop.set)
    limit.start()
    run_watch(watcher, write, hear, interval=0.01, stop=stop.is_set)
    limit.cancel()
    assert sizes[:2] == [0, 1]
    assert sizes[-1] == 5
    assert all(later - earlier > 1.499 for earlier, later in pairwise(times[1:]))


@pytest.mark.parametrize("closed", [True, False])
def test_a_report_that_is_open_elsewhere_is_told_once_and_tried_again(
    inbox, tmp_path, write_film, tiny_model, monkeypatch, capsys, closed
):
    monkeypatch.setattr("edge_xray.watch.REPORT_SECONDS", 0.0)
    monkeypatch.setattr("edge_xray.durable.HELD_SECONDS", 0.0)
    monkeypatch.setenv("EDGE_XRAY_KEY", "")
    write_film(inbox / "a.png", "viral", 923)
    real, tried = Path.replace, []
    out = tmp_path / "out"

    def in_use(path, target):
        if target == out / "results.csv" and (not closed or len(tried) < 3):
            tried.append(path)
            if len(tried) == 3:
                signal.raise_signal(signal.SIGTERM)
            raise PermissionError(13, "Permission denied")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", in_use)
    words = ["watch", str(inbox), "-o", str(out), "-m", str(tiny_model), "--interval", "0.1"]
    assert main(words) == (0 if closed else ExitCode.OUTPUT)
    talk = capsys.readouterr().err
    assert talk.count("close it in the program that has it open") == (1 if closed else 2)
    if closed:
        with (out / "results.csv").open() as stream:
            assert len(list(csv.DictReader(stream))) == 1


def test_the_list_of_another_model_is_kept_and_none_is_written_while_the_drive_is_away(
    inbox, tmp_path, write_film, tiny_model, monkeypatch
):
    path = write_film(inbox / "gone.png", "viral", 923)
    write_film(inbox / "a.png", "normal", 921)
    out = tmp_path / "out"

    def watch(point, looks):
        classifier = Classifier(tiny_model)
        options = ScanOptions(jobs=1, operating_point=point)
        stop = threading.Event()

        with ResultsFolder(out, classifier, options, (inbox,)) as results:
            watcher = Watcher(inbox, classifier, options, results)
            look = watcher.look

            def counted(asked):
                nonlocal looks
                looks -= 1
                yield from look(asked)
                if looks == 0:
                    stop.set()

            monkeypatch.setattr(watcher, "look", counted)
            run_watch(
                watcher,
                lambda rows: results.write_reports(rows, run_of(classifier, options), ["csv"]),
                lambda heard: None,
                interval=0.01,
                stop=stop.is_set,
            )

    def names(folder):
        with (folder / "results.csv").open() as stream:
            return sorted(Path(row["path"]).name for row in csv.DictReader(stream))

    watch(None, 2)
    path.unlink()
    watch(None, 2)
    assert names(out) == ["a.png", "gone.png"]
    inbox.rename(tmp_path / "away")
    watch("rule-in", 3)
    assert names(out) == ["a.png", "gone.png"]
    assert not (out / "earlier").exists()
    (tmp_path / "away").rename(inbox)
    watch("rule-in", 2)
    assert names(out) == ["a.png"]
    (kept,) = (out / "earlier").iterdir()
    assert names(kept) == ["a.png", "gone.png"]


def test_stopping_does_not_wait_for_films_that_are_done(
    inbox, tmp_path, write_film, tiny_model, monkeypatch
):
    for index in range(20):
        write_film(inbox / f"{index}.png", "normal", index)
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        _settle(watcher)
    stop, disk = threading.Event(), Disk(monkeypatch)
    disk.then = stop.set
    with _watching(inbox, tmp_path / "out", tiny_model) as watcher:
        run_watch(watcher, lambda rows: None, lambda one: None, interval=0.01, stop=stop.is_set)
        assert len(disk.read) <= 5
        assert len(watcher.rows) == 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has leases")
def test_a_program_that_opens_a_film_meanwhile_does_not_end_the_watch(inbox, write_film):
    path = write_film(inbox / "a.png", "viral", 920)
    # Another program opens the film to write just when the lease was got.
    program = f"""
import fcntl, os, subprocess, sys
from pathlib import Path
from edge_xray.walk import Found
from edge_xray.watch import is_open_for_writing

real = fcntl.fcntl
opener = "import os; os.open({str(path)!r}, os.O_WRONLY | os.O_NONBLOCK)"

def meddled(descriptor, command, value):
    done = real(descriptor, command, value)
    if (command, value) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
        tried = subprocess.run([sys.executable, "-c", opener], capture_output=True, text=True)
        assert "BlockingIOError" in tried.stderr, tried.stderr
        print("opened")
    return done

fcntl.fcntl = meddled
is_open_for_writing(Found(Path({str(path)!r}), "a.png"))
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "opened\nalive\n", "")


@pytest.mark.parametrize("interval", ["inf", "nan", "1e300"])
def test_an_interval_that_is_no_time_to_wait_is_refused(inbox, capsys, interval):
    assert main(["watch", str(inbox), "--interval", interval]) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("expected 0.1 to 3600 seconds")


@pytest.mark.parametrize(
    "fault",
    [
        PermissionError(13, "Permission denied"),
        pytest.param(None, marks=pytest.mark.skipif(sys.platform == "win32", reason="not there")),
    ],
)
def test_a_path_that_cannot_be_looked_at_is_refused(tmp_path, capsys, monkeypatch, fault):
    folder = tmp_path / ("inbox" if fault else "x" * 300)
    real = Path.stat

    def stat(path, **options):
        if fault and path == folder:
            raise fault
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        code = main(["watch", str(folder), "-o", str(tmp_path / "out")])
    assert code == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be looked at" in line


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
def test_a_quiet_watch_lists_nothing_and_still_tells_that_its_folder_is_gone(
    inbox, tmp_path, write_film, tiny_model, start
):
    write_film(inbox / "a.png", "bacterial", 928)
    process = start(
        [*WATCH, "inbox", "--quiet", "--model", str(tiny_model)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / "out" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and _lines(tmp_path / "out") == 2):
        time.sleep(0.05)
    inbox.rename(tmp_path / "away")
    assert "inbox is gone; waiting" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert "a.png" in (tmp_path / "out" / "results.csv").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
@pytest.mark.parametrize("kind", ["full", "closed"])
def test_a_watch_nobody_listens_to_goes_on_scoring(
    inbox, tmp_path, write_film, tiny_model, kind, start
):
    if kind == "full" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full there")
    if kind == "full":
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, stdout = os.pipe()
        os.close(reader)
    write_film(inbox / "a.png", "bacterial", 928)
    process = start(
        [*WATCH, "inbox", "--model", str(tiny_model)],
        cwd=tmp_path,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(stdout)
    talk = [process.stderr.readline() for _ in range(3)]
    assert "films are still scored" in talk[2]
    write_film(inbox / "b.png", "viral", 929)
    while process.poll() is None and _lines(tmp_path / "out") < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate()
    assert (process.returncode, rest) == (0, "")
    with (tmp_path / "out" / "results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
def test_a_list_is_set_aside_only_for_another_folder(
    inbox, tmp_path, write_film, tiny_model, start
):
    write_film(inbox / "a.png", "bacterial", 928)
    write_film(tmp_path / "other" / "b.png", "viral", 929)

    def watch(folder: str) -> str:
        process = start(
            [*WATCH, folder, "--model", str(tiny_model)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        mark = tmp_path / "out" / ".edge-xray-results"
        begun = time.time()
        report = tmp_path / "out" / "results.csv"
        while process.poll() is None:
            if mark.exists() and report.exists() and report.stat().st_mtime > begun:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        return process.communicate()[1]

    kept = tmp_path / "out" / "earlier"
    for folder in ("inbox", str(inbox), "other/../inbox"):
        assert "is kept in" not in watch(folder)
        assert not kept.exists()
    assert watch("other").count("is kept in") == 1
    assert len(list(kept.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no alarm there to end a watch that hangs")
def test_a_signal_in_any_moment_between_two_looks_ends_it():
    def trace(*_):
        nonlocal moments
        moments += 1
        if moments == wanted:
            signal.raise_signal(signal.SIGTERM)
        return trace

    class Idle:
        revision, rows, taken, met = 0, [], 0, True

        def __init__(self):
            self.looks = 0

        def look(self, stop):
            self.looks += 1
            if self.looks == 1:
                sys.settrace(trace)
            else:
                sys.settrace(usual)
                signal.raise_signal(signal.SIGTERM)
            return []

    def hangs(*_):
        raise TimeoutError

    usual, wanted, watcher = sys.gettrace(), 0, Idle()
    earlier = signal.signal(signal.SIGALRM, hangs)
    try:
        while watcher.looks < 2:
            sys.settrace(usual)
            moments, wanted, watcher = 0, wanted + 1, Idle()
            signal.alarm(int(WAIT_SECONDS))
            code = run_watch(watcher, lambda rows: None, lambda one: None, interval=0.001)
            assert code is ExitCode.OK
    finally:
        sys.settrace(usual)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
    assert wanted > 10


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 0), ("SIGHUP", 0), ("SIGINT", 130)])
def test_the_command_ends_cleanly_on_a_signal(
    inbox, tmp_path, write_film, tiny_model, name, code, start
):
    process = start(
        [*WATCH, str(inbox), "--model", str(tiny_model)],
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
    process.send_signal(getattr(signal, name))
    _, talk = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in talk
    with (tmp_path / "out" / "results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT there")
def test_an_interrupted_scan_is_130_and_goes_on(tmp_path, write_film, tiny_model, start):
    _many_films(write_film, tmp_path / "films")
    command = [sys.executable, "-m", "edge_xray", "scan", "films", "-o", "out", "-j", "1"]
    command += ["--model", str(tiny_model)]
    process = start(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    pictures = tmp_path / "out" / "pictures"
    while process.poll() is None and not (pictures.is_dir() and len([*pictures.iterdir()]) > 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate()
    assert process.returncode == 130
    assert "run the same command to go on" in talk
    assert "Traceback" not in talk
    done = (tmp_path / "out" / "journal.jsonl").read_text().count("\n") - 1
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"{done} film" in ended.stderr
    journal = (tmp_path / "out" / "journal.jsonl").read_text()
    assert journal.count("\n") == MANY + 1


def _in_terminal(start, words, folder, *, nohup=False):
    """A command in a terminal of its own, and the descriptor that keeps the terminal open."""
    import fcntl
    import pty
    import termios

    controller, terminal = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        if nohup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(
        words,
        cwd=folder,
        env=os.environ | {"TERM": "xterm"},  # shows progress, for which its reader waits
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=take_terminal,
    )
    os.close(terminal)
    return process, controller


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind there")
def test_a_scan_whose_terminal_is_closed_is_130_and_keeps_what_is_done(
    tmp_path, write_film, tiny_model, start
):
    _many_films(write_film, tmp_path / "films")
    words = [sys.executable, "-m", "edge_xray", "scan", "films", "-o", "out", "-j", "1"]
    process, controller = _in_terminal(start, [*words, "--model", str(tiny_model)], tmp_path)
    pictures = tmp_path / "out" / "pictures"
    while not (pictures.is_dir() and len([*pictures.iterdir()]) > 5):
        os.read(controller, 4096)
    os.close(controller)
    assert process.wait() == 130
    assert _lines(tmp_path / "out") > 5


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind there")
@pytest.mark.parametrize("nohup", [False, True])
def test_a_closed_terminal_ends_a_watch_with_its_list_written_unless_nohup_asked(
    inbox, tmp_path, write_film, tiny_model, nohup, start
):
    write_film(inbox / "a.png", "bacterial", 928)
    words = [*WATCH, str(inbox), "--model", str(tiny_model)]
    process, controller = _in_terminal(start, words, tmp_path, nohup=nohup)
    seen = b""
    while b"a.png" not in seen:
        seen += os.read(controller, 4096)
    os.close(controller)
    films = 1
    if nohup:
        write_film(inbox / "b.png", "viral", 929)
        films = 2
        while _lines(tmp_path / "out") < 3:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    with (tmp_path / "out" / "results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == films
