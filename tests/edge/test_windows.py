"""What only Windows can show; `tests/windows/run` runs it there."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

if sys.platform != "win32":
    pytest.skip("only Windows can show it", allow_module_level=True)

from edge_xray import windows
from edge_xray.classifier import Classifier
from edge_xray.cli import main
from edge_xray.durable import write_atomically
from edge_xray.errors import FileInUseError
from edge_xray.hardware import free_memory, peak_memory
from edge_xray.results import Prediction
from edge_xray.results_folder import ResultsFolder
from edge_xray.scan import ScanOptions, scan
from edge_xray.walk import openable
from edge_xray.watch import Watcher


def test_memory_is_told_and_grows_with_what_is_held() -> None:
    before = windows.process_memory()
    held = np.ones(100 * 2**20, np.uint8)
    after = windows.process_memory()
    assert after.committed - before.committed > held.nbytes // 2
    assert after.peak_resident >= held.nbytes
    assert peak_memory() == windows.process_memory().peak_resident


def test_free_memory_is_told_of_this_machine_only(tmp_path: Path) -> None:
    assert 2**26 < windows.free_memory() < 2**50
    assert free_memory(tmp_path) is None


def test_libraries_are_looked_for_where_the_package_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[str] = []
    monkeypatch.setattr("os.add_dll_directory", added.append)
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    windows.add_cpp_runtime()
    assert not added
    (tmp_path / "msvcp140.dll").touch()
    windows.add_cpp_runtime()
    assert added and set(added) == {str(tmp_path)}


def test_a_report_that_a_scanner_of_viruses_holds_for_a_moment_is_replaced(tmp_path: Path) -> None:
    report = tmp_path / "results.csv"
    report.write_bytes(b"old")
    held = report.open("rb")
    threading.Timer(0.3, held.close).start()
    write_atomically(report, b"new")
    assert report.read_bytes() == b"new"
    with report.open("rb"), pytest.raises(FileInUseError, match=r"results\.csv: .*spreadsheet"):
        write_atomically(report, b"newer")
    assert report.read_bytes() == b"new"


def test_copies_of_a_film_that_are_scored_at_once_share_their_picture(
    tmp_path: Path, write_film: Callable[..., Path], tiny_model: Path
) -> None:
    film = write_film(tmp_path / "films/film.png")
    for number in range(60):
        shutil.copy(film, tmp_path / f"films/copy-{number}.png")
    words = ["scan", tmp_path / "films", "-o", tmp_path / "out", "-m", tiny_model, "-j", "4"]
    for _ in range(3):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert main([str(word) for word in words]) == 0


@pytest.mark.parametrize(
    "place",
    [
        "DOE^JANE./film.png",
        "DOE^JANE /film.png",
        "aux.png",
        "film.png ",
        "/".join(["1.2.840.10008." + "1" * 50] * 5) + "/film.png",
    ],
)
def test_a_film_whose_name_windows_would_read_otherwise_is_scored(
    tmp_path: Path, write_film: Callable[..., Path], tiny_model: Path, place: str
) -> None:
    film = write_film(tmp_path / "films/film.png")
    path = openable(tmp_path / "films").joinpath(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(film, path)
    named = str(tmp_path / "films" / place)
    options = ScanOptions(jobs=1)
    rows = list(scan([tmp_path / "films"], Classifier(tiny_model), options))
    assert sorted(row.path for row in rows) == sorted([str(film), named])
    assert all(isinstance(row, Prediction) for row in rows)
    with ResultsFolder(tmp_path / "out", Classifier(tiny_model), options) as results:
        watcher = Watcher(tmp_path / "films", Classifier(tiny_model), options, results)
        for _ in range(3):
            list(watcher.look())
        assert {row.path for row in watcher.rows} == {str(film), named}


def test_a_watch_that_waits_long_for_its_next_look_is_stopped_soon(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # As the console does it: the signal comes in another thread, and Windows wakes no wait for a lock.
    threading.Timer(3, signal.raise_signal, [signal.SIGBREAK]).start()
    started = time.monotonic()
    assert main(["watch", ".", "-m", str(tiny_model), "--interval", "30"]) == 0
    assert time.monotonic() - started < 15
    assert (tmp_path / "edge-xray-results/results.csv").exists()


def test_wildcards_are_resolved_as_no_shell_there_does(
    tmp_path: Path,
    write_film: Callable[..., Path],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "film[1]/c.png", "film1/c.png"):
        write_film(tmp_path / name)
    model = ["-m", str(tiny_model), "-f", "csv"]
    for words, names in {
        ("*.png",): ["a.png", "b.png"],
        ("film[1]/?.png", "a.png"): [r"film[1]\c.png", "a.png"],
    }.items():
        assert main(["scan", *words, *model]) == 0
        rows = csv.DictReader(capsys.readouterr().out.splitlines())
        assert sorted(row["path"] for row in rows) == sorted(names)
    assert main(["scan", "*.jpg", *model]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "edge-xray: *.jpg: no such file or folder; check the name, or the drive\n",
    )


@pytest.mark.parametrize("command", ["scan", "watch"])
def test_a_backslash_before_a_quotation_mark_is_told(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # What Windows makes of: "C:\my films\" -o out
    assert main([command, r'C:\my films" -o out']) == 2
    assert "leave off the backslash" in capsys.readouterr().err


def test_an_overlay_that_is_open_in_a_viewer_is_named(
    tmp_path: Path,
    write_film: Callable[..., Path],
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_film(tmp_path / "films/a.png", "viral", 5)
    words = ["scan", str(tmp_path / "films"), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]
    assert main([*words, "--heatmaps"]) == 0
    (overlay,) = (tmp_path / "out/heatmaps").iterdir()
    with overlay.open("rb"):
        assert main([*words, "--any-age"]) == 0
        assert overlay.exists()
        capsys.readouterr()
        assert main([*words, "--heatmaps"]) == 3
    assert re.search(rf"{overlay.name}: .*close it in the program", capsys.readouterr().err)
    assert main([*words, "--heatmaps"]) == 0


def test_a_drive_that_is_watched_without_a_backslash_has_full_paths(
    tmp_path: Path,
    write_film: Callable[..., Path],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film = write_film(tmp_path / "films/a.png")
    monkeypatch.chdir(film.parent)
    others = [drive for drive in ("Z:\\", "D:\\") if Path(drive).is_dir()]
    if not others:
        pytest.skip("wants a second drive")
    monkeypatch.chdir(others[0])
    options, classifier = ScanOptions(jobs=1), Classifier(tiny_model)
    for looks in (2, 0):
        with ResultsFolder(tmp_path / "out", classifier, options) as results:
            watcher = Watcher(Path(film.drive), classifier, options, results)
            for _ in range(looks):
                list(watcher.look())
            assert [row.path for row in watcher.rows] == [str(film)]


def test_a_drive_without_its_card_is_waited_for(
    tmp_path: Path,
    write_film: Callable[..., Path],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drive = write_film(tmp_path / "card/a.png").parent
    real, asked = Path.stat, []

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == drive:
            asked.append(path)
            if len(asked) < 5:
                raise OSError(None, "The device is not ready", str(path), 21)
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    threading.Timer(5, signal.raise_signal, [signal.SIGBREAK]).start()
    words = ["watch", str(drive), "-o", str(tmp_path / "out"), "-m", str(tiny_model)]
    assert main([*words, "--interval", "0.2"]) == 0
    said = capsys.readouterr()
    assert "waiting for it to come back" in said.err
    assert "a.png" in said.out


def test_paths_are_opened_to_the_letter_wherever_they_begin() -> None:
    for plain, letter in {
        "E:\\": "\\\\?\\E:\\",
        r"E:\a\..\DOE.": r"\\?\E:\DOE.",
        r"\\server\films\x": r"\\?\UNC\server\films\x",
        r"\\?\E:\x": r"\\?\E:\x",
        r"\\.\E:": r"\\.\E:",
    }.items():
        assert openable(Path(plain)) == Path(letter)
