"""What long commands of the device show while they work: on a terminal a line, elsewhere nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edge_xray.cli import main
from edge_xray.progress import progress, progress_between


@pytest.fixture
def terminal(monkeypatch, capsys):
    """``terminal() -> what was written to it``; standard error is one."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    return lambda: capsys.readouterr().err


@pytest.mark.parametrize("show", [progress, progress_between])
def test_steps_are_counted_and_their_time_told(terminal, show):
    with show("Timing [films]", 3) as done:
        for _ in range(3):
            done()
    text = terminal()
    assert "Timing [films]" in text and "3/3" in text and "0:00:00" in text


def test_what_nobody_can_count_tells_the_time_that_went_by(terminal):
    with progress("Converting model.keras", None):
        pass
    text = terminal()
    assert "Converting model.keras" in text and "0:00:00" in text and "/" not in text


@pytest.mark.parametrize("total", [None, 3])
def test_a_pipe_and_a_terminal_that_can_draw_nothing_get_nothing(
    monkeypatch, capsys, terminal, total
):
    monkeypatch.setenv("TERM", "dumb")
    with progress("Timing films", total) as done:
        done()
    assert terminal() == ""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: False)
    with progress("Timing films", total) as done:
        done()
    assert terminal() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals of POSIX")
def test_the_time_goes_on_while_native_libraries_are_kept_from_the_terminal():
    """As for most of a conversion, in which TensorFlow is started and asked."""
    ours, theirs = os.openpty()
    code = (
        "import os, time\nfrom edge_xray.native_output import quiet_native_output\n"
        "from edge_xray.progress import progress\n"
        "with progress('Converting', None), quiet_native_output():\n"
        "    os.write(2, b'a warning')\n    time.sleep(120)"
    )
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    with process, os.fdopen(ours, "rb", buffering=0) as screen:
        try:
            while b"0:00:01" not in text:
                text += (piece := screen.read(4096))
                assert piece, text
        finally:
            process.kill()
    assert b"a warning" not in text


def test_a_name_of_a_file_cannot_write_on_the_terminal(terminal):
    with progress("Converting a\udcff\x1b]0;title\x07\nb.keras", None):
        pass
    text = terminal()
    # A byte that is no UTF-8: Windows has names of 16 bits, and none of those.
    stray = r"\xed\xb3\xbf" if sys.platform == "win32" else r"\xff"
    assert rf"Converting a{stray}\x1b]0;title\x07\nb.keras" in text and "\x1b]0" not in text


def test_a_benchmark_tells_how_far_it_is(terminal, tiny_model):
    assert main(["benchmark", "--model", str(tiny_model), "--films", "2"]) == 0
    text = terminal()
    assert "Timing films" in text and "2/2" in text


def test_a_kit_says_what_takes_so_long(terminal, tmp_path):
    assert main(["kit", "build", "--target", "rpi64", "--source", str(tmp_path)]) != 0
    assert "Collecting what rpi64 needs" in terminal()
