"""`edge-xray doctor`: what each check says of a good and of a bad machine."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edge_xray import doctor, hardware, toolbox
from edge_xray.cli import main
from edge_xray.findings import Finding, passed, to_text


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    toolbox.register(app)
    return app


def test_a_good_machine_passes(tmp_path: Path, tiny_model: Path) -> None:
    root = write(
        tmp_path / "root",
        {
            "proc/meminfo": "MemTotal: 900000 kB\nMemAvailable:  700000 kB\n",
            "sys/class/thermal/thermal_zone0/temp": "41500\n",
            "sys/block/mmcblk0/device/name": "SD64G\n",
            "sys/block/mmcblk0/device/date": "06/2025\n",
        },
    )
    output = tmp_path / "results" / "of" / "today"
    findings = list(
        doctor.examine(output=output, model=tiny_model, root=root, today=date(2027, 1, 2))
    )
    assert passed(findings)
    by_name = {finding.name: finding for finding in findings}
    assert {"python", "packages", "clock", "model", "memory", "disk", "writing"} <= set(by_name)
    assert (
        by_name["model"].values["golden_difference"] <= by_name["model"].values["golden_tolerance"]
    )
    assert by_name["model"].values["delegated_pieces"] in (None, 0, 1)
    assert by_name["memory"].message == "683 MiB free"
    assert by_name["heat"].values == {"celsius": 41.5}
    assert "does not tell its wear" in by_name["card"].message
    assert not output.exists(), "looking must not create the results folder"
    assert [path.name for path in tmp_path.iterdir()] == ["root"], "the test file is removed"


@pytest.mark.parametrize(
    ("free_kib", "state"), [(80_000, "FAIL"), (200_000, "WARN"), (400_000, "OK")]
)
def test_memory(tmp_path: Path, free_kib: int, state: str) -> None:
    root = write(tmp_path, {"proc/meminfo": f"MemAvailable:   {free_kib} kB\n"})
    assert hardware.check_memory(root).state == state


def test_a_machine_that_tells_nothing_is_not_blamed(tmp_path: Path) -> None:
    assert hardware.check_memory(tmp_path).state == "OK"
    assert hardware.check_heat(tmp_path).state == "OK"
    assert list(hardware.check_cards(tmp_path)) == []
    assert list(hardware.check_file_systems(tmp_path)) == []


def test_a_pi_without_a_clock_says_1970() -> None:
    finding = doctor.check_clock(date(1970, 1, 1))
    assert finding.state == "WARN"
    assert "1970-01-01" in finding.message
    assert ("Windows" if os.name == "nt" else "sudo date -s") in finding.remedy


def test_a_model_that_is_none_fails_with_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "none.tflite"
    path.write_bytes(b"no model at all")
    finding = doctor.check_model(path, None)
    assert finding.state == "FAIL"
    assert "none.tflite" in finding.message


def test_a_worn_card_and_a_sick_file_system(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "sys/block/mmcblk0/device/life_time": "0x09 0x02\n",
            "sys/block/mmcblk0/device/name": "BJTD4R\n",
            "sys/block/mmcblk1/device/life_time": "0x01 0x01\n",
            "sys/fs/ext4/mmcblk0p2/errors_count": "3\n",
            "sys/fs/ext4/sda1/errors_count": "0\n",
            "sys/fs/ext4/sda2/errors_count": "",
        },
    )
    worn, fresh = hardware.check_cards(root)
    assert (worn.state, worn.values["used_percent"]) == ("WARN", 90)
    assert (fresh.state, fresh.values["used_percent"]) == ("OK", 10)
    (sick,) = hardware.check_file_systems(root)
    assert (sick.state, sick.values["errors"]) == ("WARN", 3)


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        ("throttled=0x0\n", "OK", "no under-voltage"),
        ("throttled=0x50005\n", "WARN", "now: under-voltage, throttled"),
        ("throttled=0x50000\n", "WARN", "since the start: under-voltage, throttled"),
    ],
)
def test_throttling(answer: str, state: str, words: str) -> None:
    finding = hardware.check_throttling(lambda: answer)
    assert finding is not None
    assert finding.state == state
    assert words in finding.message


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the Pi's program")
def test_the_pi_s_own_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write(
        tmp_path, {"vcgencmd": '#!/bin/sh\n[ "$*" = get_throttled ] && echo throttled=0x8\n'}
    )
    (program / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = hardware.check_throttling()
    assert finding is not None and (finding.name, finding.message) == ("power", "now: too hot")


@pytest.mark.parametrize("answer", ["", "VCHI initialization failed", "throttled=?"])
def test_no_raspberry_no_word_of_power(answer: str) -> None:
    assert hardware.check_throttling(lambda: answer) is None


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    finding = doctor.check_writing(tmp_path)
    assert finding.state == "FAIL"
    assert "Read-only file system" in finding.message


@pytest.mark.parametrize("output", ["file", "file/below", "dead"])
def test_an_output_that_can_be_no_folder(tmp_path: Path, tiny_model: Path, output: str) -> None:
    (tmp_path / "file").touch()
    if sys.platform != "win32":  # links want a right there
        (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    elif output == "dead":
        pytest.skip("links want a right there")
    findings = doctor.examine(output=tmp_path / output, model=tiny_model, root=tmp_path)
    states = {finding.name: (finding.state, finding.message) for finding in findings}
    named = str(tmp_path / output.partition("/")[0])
    for check in ("disk", "writing"):
        state, message = states[check]
        assert state == "FAIL" and named in message


@pytest.mark.parametrize(
    ("seconds", "state", "message"),
    [
        (5.0, "WARN", "1.7 MB/s, 5000.0 ms to force a record to the disk"),
        (1.0, "WARN", "8.4 MB/s, 1000.0 ms to force a record to the disk"),
        (0.125, "OK", "67.1 MB/s, 125.0 ms to force a record to the disk"),
    ],
)
def test_a_slow_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, state: str, message: str
) -> None:
    clock = itertools.count(1000.0, seconds)
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(clock))
    finding = doctor.check_writing(tmp_path)
    assert (finding.state, finding.message) == (state, message)
    assert ("SD card" in finding.remedy) == (state == "WARN")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {}
    for free in (10, 200, 5000):
        usage = type("usage", (), {"free": free * doctor.MIB})
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, usage=usage: usage)
        states[free] = doctor.check_disk(tmp_path).state
    assert states == {10: "FAIL", 200: "WARN", 5000: "OK"}


def test_text_puts_the_remedy_below() -> None:
    text = to_text([Finding("clock", "WARN", "1970", "set it"), Finding("disk", "OK", "fine")])
    assert text == "WARN  clock  1970\n             -> set it\nOK    disk   fine\n"


def test_the_command_prints_and_exits_by_the_findings(
    app: typer.Typer, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run: Callable[..., object] = CliRunner().invoke
    good = run(app, ["doctor", "--model", str(tiny_model), "--json"])
    record = json.loads(good.stdout)  # type: ignore[attr-defined]
    assert record["passed"] and good.exit_code == 0  # type: ignore[attr-defined]
    bad = run(app, ["doctor", "--model", "nothing.tflite"])
    assert bad.exit_code == 1  # type: ignore[attr-defined]
    assert "FAIL  model" in bad.stdout  # type: ignore[attr-defined]


@pytest.mark.parametrize("said", ["", "Unable to allocate 40 GiB"])
def test_want_of_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    def examine(**_: object) -> None:
        raise MemoryError(said)

    monkeypatch.setattr(doctor, "examine", examine)
    assert main(["doctor"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("edge-xray: this takes more memory than there is (") and said in line
