"""What a scan survives: kills, full disks and broken ones. The journal's own tests stand beside it."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_xray.cli import main
from edge_xray.scan import scan

FILMS = 40
LEAST_POINTS = 200
WAIT_SECONDS = 60.0


@pytest.fixture
def films(tmp_path, write_film) -> Path:
    labels = ("normal", "bacterial", "viral")
    for index in range(FILMS - 1):
        write_film(
            tmp_path / "films" / f"{index}.png", labels[index % 3], index, height=40, width=48
        )
    (tmp_path / "films" / "letter.jpg").write_text("no film")
    return tmp_path / "films"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked scans")
def test_a_scan_killed_at_any_write_loses_and_doubles_nothing(films, tiny_model, tmp_path):
    memory = Path("/dev/shm")
    work = memory / f"edge-xray-sweep-{os.getpid()}" if os.access(memory, os.W_OK) else tmp_path
    work.mkdir(exist_ok=True)
    script = Path(__file__).with_name("kill_sweep.py")
    try:
        ended = subprocess.run(
            [sys.executable, script, tiny_model, films, work], capture_output=True, text=True
        )
    finally:
        if work != tmp_path:
            import shutil

            shutil.rmtree(work)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["points"] >= LEAST_POINTS
    assert found["killed"] >= LEAST_POINTS
    assert (found["lost"], found["doubled"], found["different"]) == ([], [], [])


@pytest.mark.parametrize(
    "name",
    [name for name in ("SIGTERM", "SIGHUP", "SIGBREAK", "SIGINT") if hasattr(signal, name)],
)
def test_a_scan_told_to_stop_keeps_what_is_done_and_says_so(
    films, tiny_model, tmp_path, monkeypatch, capsys, name
):
    number = getattr(signal, name)
    words = ["scan", str(films), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]

    def stopped(*arguments):
        for done, row in enumerate(scan(*arguments)):
            if done == 10:
                signal.raise_signal(number)
            yield row

    before = signal.getsignal(number)
    with monkeypatch.context() as told:
        told.setattr("edge_xray.scan_command.scan", stopped)
        assert main(words) == 130
    assert "Interrupted: 10 films are done and kept" in capsys.readouterr().err
    assert signal.getsignal(number) is before
    assert main(words) == 0
    assert "10 of them were scored by an earlier scan" in capsys.readouterr().err
    rows = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert len(rows) == len({json.loads(row)["path"] for row in rows}) == FILMS


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_that_a_librarys_code_gave_as_an_error_of_its_own_is_a_stop(
    films, tiny_model, tmp_path, monkeypatch, capsys, name
):
    """As matplotlib's C code, which calls Python, where the signal is heard."""

    def broken(*_):
        try:
            signal.raise_signal(getattr(signal, name))
        except KeyboardInterrupt:
            raise ValueError("Invalid affine transformation matrix") from None

    words = ["scan", str(films), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]
    with monkeypatch.context() as told:
        told.setattr("edge_xray.scan_command.scan", broken)
        assert main(words) == 130
    assert capsys.readouterr() == ("", "")
    assert main(words) == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stopped_scan_whose_last_rows_cannot_be_kept_says_so(
    films, tiny_model, tmp_path, monkeypatch, capsys, name
):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def stopped(*arguments):
        yield next(iter(scan(*arguments)))
        monkeypatch.setattr(os, "fsync", full)
        signal.raise_signal(getattr(signal, name))

    monkeypatch.setattr("edge_xray.scan_command.scan", stopped)
    words = ["scan", str(films), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert "No space left on device" in said and "are done and kept" not in said


class Finalized:
    """Hears a signal as it ends: Python only reports what is raised there."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)
        sum(range(10))  # Some line of Python, before which the signal is heard.


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_that_falls_into_a_finalizer_is_heard_behind_it(
    films, tiny_model, tmp_path, monkeypatch, capsys, name
):
    """As while tensorflow converts a network."""
    words = ["scan", str(films), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]

    def stopped(*arguments):
        for done, row in enumerate(scan(*arguments)):
            if done == 10:
                Finalized(getattr(signal, name))
                time.sleep(WAIT_SECONDS)
            yield row

    before = sys.unraisablehook
    with monkeypatch.context() as told:
        told.setattr("edge_xray.scan_command.scan", stopped)
        assert main(words) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Interrupted: 10 films are done and kept")
    assert sys.unraisablehook is before
    assert main(words) == 0


class Begun:
    """Is interrupted before it has what its end wants, as a class of tensorflow is."""

    def __init__(self) -> None:
        signal.raise_signal(signal.SIGINT)
        self.handle = 0

    def __del__(self) -> None:
        self.handle += 1


def test_what_a_stop_left_half_made_ends_in_silence(films, tiny_model, tmp_path, monkeypatch):
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    monkeypatch.setattr("edge_xray.scan_command.scan", lambda *_: Begun())
    words = ["scan", str(films), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]
    assert main(words) == 130
    gc.collect()
    assert reported == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("place", ["pictures", "journal", "report"])
def test_a_disk_that_refuses_is_exit_3_and_the_next_scan_goes_on(
    films, tiny_model, tmp_path, monkeypatch, capsys, number, place
):
    words = ["scan", str(films), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]
    error = OSError(number, os.strerror(number))
    with monkeypatch.context() as broken:
        # Such a disk takes nothing away either.
        broken.setattr(Path, "unlink", _failing(Path.unlink, error, 0))
        if place == "pictures":
            broken.setattr(Path, "write_bytes", _failing(Path.write_bytes, error, 20))
        elif place == "journal":
            broken.setattr(os, "fsync", _failing(os.fsync, error, 5))
        else:
            broken.setattr(Path, "replace", _failing(Path.replace, error, FILMS + 2))
        assert main(words) == 3
    talk = capsys.readouterr().err
    assert f"cannot be written ({os.strerror(number)})" in talk
    assert "Traceback" not in talk
    assert main(words) == 0
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert len(rows) == FILMS + 1
    journal = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    assert len(journal) == len(set(journal)) == FILMS + 1


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not synced there")
def test_a_file_system_that_syncs_no_folders_takes_results(
    films, tiny_model, tmp_path, monkeypatch
):
    sync, refused = os.fsync, []

    def files_only(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            refused.append(file)
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(file)

    monkeypatch.setattr(os, "fsync", files_only)
    words = ["scan", str(films), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]
    assert main(words) == 0 and refused


def _failing(real, error: OSError, after: int):
    calls = 0

    def call(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls > after:
            raise error
        return real(*arguments, **options)

    return call


@pytest.mark.skipif(sys.platform == "win32", reason="measured by getrusage")
def test_memory_does_not_grow_with_the_films(tmp_path, write_film, tiny_model):
    film = write_film(tmp_path / "film.jpg", "normal", 1, height=300, width=400).read_bytes()
    peaks = []
    for count in (50, 1500):
        folder = tmp_path / f"films-{count}"
        folder.mkdir()
        for index in range(count):
            # Bytes after the end of a JPEG are not looked at, and make each film one of its own.
            (folder / f"{index}.jpg").write_bytes(film + b"%d" % index)
        peaks.append(
            _peak_memory("scan", folder, "-o", tmp_path / f"out-{count}", "-m", tiny_model)
        )
    assert peaks[1] <= 1.2 * peaks[0]


def _peak_memory(*words: object) -> int:
    """Peak resident memory of a command, in the system's unit."""
    script = (
        "import resource, sys; from edge_xray.cli import main; code = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=True
    )
    return int(ended.stdout.split()[-1])


def test_a_folder_of_very_many_files_is_begun_at_once(tmp_path, tiny_model, monkeypatch):
    from edge_xray import walk
    from edge_xray.classifier import Classifier
    from edge_xray.scan import ScanOptions, scan

    for index in range(500):
        (tmp_path / f"{index}.jpg").touch()
    listed = 0
    real = os.scandir

    def scandir(path):
        nonlocal listed
        for entry in real(path):
            listed += 1
            yield entry

    monkeypatch.setattr(walk.os, "scandir", scandir)
    rows = scan([tmp_path], Classifier(tiny_model), ScanOptions(jobs=2))
    next(rows)
    assert listed < 50
    assert len(list(rows)) == 499
