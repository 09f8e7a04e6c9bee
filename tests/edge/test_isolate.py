"""Hostile files cost themselves only: time and memory are bounded from outside the decoder."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from edge_xray import decode_child, isolate
from edge_xray.decode import MACHINE_REASONS, REASONS, decode
from edge_xray.errors import FilmError
from edge_xray.input_spec import InputSpec
from edge_xray.isolate import decode_guarded, decode_isolated, is_bounded

SPEC = InputSpec(64, 64)
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

WAIT_SECONDS = 300.0
"""For what comes at once on an idle machine."""

SLACK_SECONDS = 50.0
"""What a busy machine may add to `DECODE_SECONDS`; without limits the hostile files take minutes."""

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture(autouse=True, scope="module")
def _end_children():
    yield
    isolate.close_children()


def children() -> list[int]:
    return [child._process.pid for child in isolate._idle]


def png_bomb(side: int) -> bytes:
    """A PNG of ``side`` squared RGBA pixels, all black, compressed a thousandfold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    engine = zlib.compressobj(9)
    row = bytes(1 + 4 * side)
    body = b"".join(engine.compress(row) for _ in range(side)) + engine.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def endless_tiff() -> bytes:
    """A TIFF whose pages go on for ever: each page's directory names the other as the next."""
    directory = struct.pack("<H", 0)
    first, second = 8, 8 + len(directory) + 4
    return (
        struct.pack("<2sHI", b"II", 42, first)
        + directory
        + struct.pack("<I", second)
        + directory
        + struct.pack("<I", first)
    )


def long_tiff(pages: int) -> bytes:
    """A TIFF of very many tiny pages."""
    entries = [(256, 3, 64), (257, 3, 64), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(278, 3, 64), (279, 4, 4096)]
    size = 2 + 12 * len(entries) + 4
    start = 8 + 4096
    parts = [struct.pack("<2sHI", b"II", 42, start), bytes(4096)]
    for page in range(pages):
        parts.append(struct.pack("<H", len(entries)))
        parts += [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries]
        parts.append(struct.pack("<I", start + (page + 1) * size))
    return b"".join(parts)


def nested_dicom(depth: int, to_dicom) -> bytes:
    """Sequences of undefined length, one in another, ``depth`` times."""
    head = to_dicom(np.zeros((64, 64), np.uint8), PixelData=None)
    item = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    return head + item * depth


def test_the_same_film_comes_back_as_without_isolation(draw_film, to_dicom):
    pytest.importorskip("pydicom")
    data = to_dicom(draw_film("viral", 2), WindowCenter=1234, WindowWidth=2000)
    data = data.replace(b"1234", b"N/A ")
    here, there = decode(data, SPEC), decode_isolated(data, SPEC)
    assert np.array_equal(here.pixels, there.pixels)
    assert here.warnings == there.warnings != ()
    assert (there.format, there.width, there.height, there.tags, there.colour) == (
        here.format,
        here.width,
        here.height,
        here.tags,
        here.colour,
    )


def test_one_child_serves_many_films(draw_film, encode):
    data = encode(draw_film(), "TIFF")
    isolate.close_children()  # what other tests used is replaced after so many films
    decode_isolated(data, SPEC)
    before = children()
    for _ in range(3):
        decode_isolated(data, SPEC)
        with pytest.raises(FilmError):
            decode_isolated(b"no film", SPEC)
    assert children() == before and len(before) == 1


def test_a_child_is_replaced_after_so_many_films(draw_film, encode, monkeypatch):
    data = encode(draw_film(), "TIFF")
    isolate.close_children()
    monkeypatch.setattr(isolate, "FILMS_A_CHILD", 2)
    decode_isolated(data, SPEC)
    (first,) = children()
    decode_isolated(data, SPEC)
    assert not children()  # after its last film it ended
    decode_isolated(data, SPEC)
    assert len(children()) == 1 and children() != [first]


def test_a_child_imports_nothing_from_the_current_folder(draw_film, encode, tmp_path, monkeypatch):
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "__init__.py").write_text("raise SystemExit('from the folder of films')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(isolate, "_idle", [])
    assert decode_isolated(encode(draw_film(), "TIFF"), SPEC).format == "TIFF"
    isolate.close_children()


def test_a_file_is_read_by_path_too(tmp_path, draw_film, encode):
    path = tmp_path / "film"
    path.write_bytes(encode(draw_film(), "BMP"))
    assert np.array_equal(decode_isolated(path, SPEC).pixels, draw_film())
    with pytest.raises(FilmError) as caught:
        decode_isolated(tmp_path, SPEC)
    assert caught.value.reason in {"not_a_file", "unreadable"}


def test_what_a_child_refuses_has_the_same_reason_as_here():
    with pytest.raises(FilmError) as here:
        decode(b"II*\0" + bytes(60), SPEC)
    with pytest.raises(FilmError) as there:
        decode_isolated(b"II*\0" + bytes(60), SPEC)
    assert (here.value.reason, str(here.value)) == (there.value.reason, str(there.value))


def test_a_film_that_takes_too_long_is_stopped_and_the_next_is_decoded(encode, draw_film):
    slow = encode(Image.effect_noise((6000, 6000), 60), "TIFF", compression="tiff_lzw")
    started = time.monotonic()
    with pytest.raises(FilmError) as caught:
        decode_isolated(slow, SPEC, seconds=0.05)
    assert caught.value.reason == "too_slow"
    assert "longer than 0.05 s" in str(caught.value)
    assert time.monotonic() - started < isolate.START_SECONDS
    assert decode_isolated(encode(draw_film(), "TIFF"), SPEC).format == "TIFF"


def test_a_film_that_takes_too_much_memory_is_stopped_and_the_next_is_decoded(encode, draw_film):
    large = encode(Image.new("RGB", (6000, 6000)), "TIFF", compression="tiff_deflate")
    with pytest.raises(FilmError) as caught:
        decode_isolated(large, SPEC, memory=150 * 2**20)
    assert caught.value.reason == "too_large"
    assert decode_isolated(encode(draw_film(), "TIFF"), SPEC).format == "TIFF"


@posix
def test_a_child_that_is_killed_between_films_is_replaced(encode, draw_film):
    data = encode(draw_film(), "TIFF")
    decode_isolated(data, SPEC)
    for child in isolate._idle:
        child._process.kill()
        child._process.wait()
    assert decode_isolated(data, SPEC).format == "TIFF"


def _decode_killed(number: int, encode, draw_film, monkeypatch) -> FilmError:
    """What is said of a film whose child gets a signal as soon as it has the film."""
    # Its reply is longer than what a pipe holds, so the child is never done with it before.
    film = encode(Image.effect_noise((5000, 5000), 60), "TIFF", compression="tiff_lzw")
    isolate.close_children()
    decode_isolated(encode(draw_film(), "TIFF"), SPEC)
    (pid,) = children()

    def send_and_kill(*message):
        decode_child.send(*message)
        os.kill(pid, number)

    with monkeypatch.context() as deadly, pytest.raises(FilmError) as caught:
        deadly.setattr(isolate, "send", send_and_kill)
        decode_isolated(film, SPEC)
    return caught.value


@posix
def test_a_decoder_that_the_system_kills_is_the_machines_fault(encode, draw_film, monkeypatch):
    error = _decode_killed(signal.SIGKILL, encode, draw_film, monkeypatch)
    assert error.reason == "out_of_memory" in MACHINE_REASONS
    assert "--jobs 1" in str(error)


@posix
def test_a_child_that_talks_nonsense_is_no_want_of_memory(encode, draw_film, monkeypatch):
    with monkeypatch.context() as deaf:
        deaf.setattr(isolate, "MAX_PIXELS", 10)
        with pytest.raises(FilmError) as caught:
            decode_isolated(encode(draw_film(), "TIFF"), SPEC)
    assert caught.value.reason == "decoder_crashed"


FILM = {"shape": [2, 2], "format": "TIFF", "width": 2, "height": 2, "tags": None, "colour": 0.0}


@pytest.mark.parametrize(
    ("header", "payload", "reason"),
    [
        ({"reason": "no_such", "message": "\x1b[31mred" + "d" * 999}, b"", "damaged"),
        ({"reason": "truncated", "message": "cut"}, b"", "truncated"),
        ({"reason": "truncated"}, b"", "decoder_crashed"),
        ({**FILM, "warnings": []}, b"123", "decoder_crashed"),
        ({**FILM, "warnings": [], "width": "wide"}, b"1234", "decoder_crashed"),
        ({**FILM, "warnings": [], "tags": {"no_such": 1}}, b"1234", "decoder_crashed"),
        ({**FILM, "warnings": None}, b"1234", "decoder_crashed"),
        ({**FILM, "warnings": ["a\x1b[2Jword" + "d" * 999] * 9}, b"1234", ""),
    ],
)
def test_a_child_is_believed_as_far_as_it_holds_together(header, payload, reason, monkeypatch):
    program = (
        "import sys; from edge_xray.decode_child import receive, send; out = sys.stdout.buffer;"
        "send(out, {}, b''); receive(sys.stdin.buffer, 10**9);"
        f"send(out, {header!r}, {payload!r})"
    )
    monkeypatch.setattr(isolate, "_idle", [])
    monkeypatch.setattr(
        isolate, "_CHILD", f"import sys, json; sys.path[:] = json.loads(sys.argv[1]); {program}"
    )
    if not reason:
        film = decode_isolated(b"a film", SPEC)
        assert film.pixels.tolist() == [[49, 50], [51, 52]]
        said = film.warnings
        assert 0 < len(said) < 9
    else:
        with pytest.raises(FilmError) as caught:
            decode_isolated(b"a film", SPEC)
        assert caught.value.reason == reason
        said = (str(caught.value),)
    assert all(text.isprintable() and len(text) <= 500 for text in said)
    isolate.close_children()


def test_want_of_memory_in_the_thread_is_the_machines_fault(encode, draw_film, monkeypatch):
    def load(*_):
        raise MemoryError

    data = encode(draw_film(), "PNG")
    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(FilmError) as caught:
        decode_guarded(data, SPEC)
    assert caught.value.reason == "out_of_memory"


@posix
def test_a_decoder_that_crashes_costs_one_film(encode, draw_film, monkeypatch):
    error = _decode_killed(signal.SIGSEGV, encode, draw_film, monkeypatch)
    assert error.reason == "decoder_crashed"
    assert decode_isolated(encode(draw_film(), "TIFF"), SPEC).format == "TIFF"


@posix
def test_no_child_outlives_its_parent(encode, draw_film, tmp_path):
    path = tmp_path / "film.tif"
    path.write_bytes(encode(draw_film(), "TIFF"))
    script = (
        "import os, sys, pathlib; from edge_xray import isolate; from edge_xray.input_spec import InputSpec;"
        "isolate.decode_isolated(pathlib.Path(sys.argv[1]), InputSpec(64, 64));"
        "print(isolate._idle[0]._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    pid = int(done.stdout)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the child process lives on")


def test_a_child_that_never_ends_a_film_ends_itself_when_its_parent_is_gone():
    program = (
        "import time; from edge_xray import decode_child; decode_child.decode = lambda *_: time.sleep(3600);"
        "decode_child.serve(2**29)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child, child.stdin as requests, child.stdout as replies:
        try:
            assert decode_child.receive(replies, 0)
            decode_child.send(requests, {"spec": SPEC.to_dict(), "seconds": 0}, b"a film")
            child.wait(timeout=WAIT_SECONDS)
        finally:
            child.kill()


def test_many_threads_get_their_own_films(draw_film, encode):
    films = [draw_film("normal", seed) for seed in range(8)]
    wrong = []

    def work(film):
        if not np.array_equal(decode_isolated(encode(film, "TIFF"), SPEC).pixels, film):
            wrong.append(film)

    threads = [threading.Thread(target=work, args=(film,)) for film in films]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_cheap_pictures_stay_in_the_thread_and_all_else_does_not(encode, draw_film, to_dicom):
    pytest.importorskip("pydicom")
    film = draw_film(height=1000, width=1350)
    assert is_bounded(encode(film, "JPEG"), SPEC)
    assert is_bounded(encode(film, "PNG"), SPEC)
    assert is_bounded(encode(film, "JPEG", progressive=True), SPEC)
    # The larger, the more libjpeg reduces while it reads: not in scans one over another, nor in four colours.
    large = Image.new("L", (7000, 6000))
    assert is_bounded(encode(large, "JPEG"), SPEC)
    assert not is_bounded(encode(large, "JPEG", progressive=True), SPEC)
    assert not is_bounded(encode(Image.new("CMYK", (3000, 3000)), "JPEG"), SPEC)
    assert is_bounded(encode(Image.new("RGB", (3000, 3000)), "JPEG"), SPEC)
    assert not is_bounded(png_bomb(3000), SPEC)
    assert not is_bounded(encode(film, "TIFF"), SPEC)
    assert not is_bounded(encode(film, "BMP"), SPEC)
    assert not is_bounded(to_dicom(film), SPEC)
    assert not is_bounded(to_dicom(film, preamble=False), SPEC)


def test_a_jpeg_of_too_many_pixels_is_refused_by_its_header(encode, monkeypatch):
    large = encode(Image.new("L", (8000, 6400)), "JPEG")
    monkeypatch.setattr(Image, "open", None)
    monkeypatch.setattr(isolate, "decode_isolated", None)
    with pytest.raises(FilmError) as caught:
        decode_guarded(large, SPEC)
    assert caught.value.reason == "too_large" and "8000x6400 pixels" in str(caught.value)


def coarse_jpeg(side: int, scans: int) -> bytes:
    """A sequential JPEG of three components and next to no data, with a scan for one at a time."""

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    frame = struct.pack(">BHHB", 8, side, side, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    tables = segment(0xDB, b"\0" + b"\x10" * 64) + b"".join(
        segment(0xC4, bytes([kind, 1]) + bytes(16)) for kind in (0x00, 0x10)
    )
    passes = b"".join(
        segment(0xDA, bytes([1, 1 + scan % 3, 0, 0, 63, 0])) + b"\0" for scan in range(scans)
    )
    return b"\xff\xd8" + segment(0xC0, frame) + tables + passes + b"\xff\xd9"


def test_a_jpeg_in_separate_scans_counts_what_waits_in_memory():
    assert is_bounded(coarse_jpeg(1000, 3), SPEC)
    assert not is_bounded(coarse_jpeg(7000, 3), SPEC)


def test_a_jpeg_of_many_scans_counts_what_each_goes_over(encode, monkeypatch):
    film = encode(Image.effect_noise((3000, 4000), 20), "JPEG", progressive=True)
    assert is_bounded(film, SPEC)
    assert is_bounded(coarse_jpeg(1500, 60), SPEC)
    slow = coarse_jpeg(2500, 60)
    assert not is_bounded(slow, SPEC)
    with monkeypatch.context() as hasty:
        hasty.setattr(isolate, "decode_isolated", lambda *_: "in a child")
        assert decode_guarded(slow, SPEC) == "in a child"


def test_a_jpeg_of_endless_scans_costs_neither_time_nor_memory():
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    assert decode_guarded(coarse_jpeg(7000, 3), SPEC).width == 7000
    with pytest.raises(FilmError) as caught:
        decode_guarded(coarse_jpeg(7000, 30_000), SPEC)
    assert caught.value.reason == "too_large"
    assert time.monotonic() - started < isolate.DECODE_SECONDS + SLACK_SECONDS
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        < isolate.IN_THREAD_BYTES // 1024
    )


@pytest.mark.parametrize(
    ("mode", "transparency"), [("RGB", (0, 0, 0)), ("P", bytes(1) + b"\xff" * 255)]
)
def test_transparent_values_count_what_they_are_laid_on(encode, mode, transparency):
    film = Image.new("L", (2300, 2300)).convert(mode)
    assert is_bounded(encode(film, "PNG"), SPEC)
    assert not is_bounded(encode(film, "PNG", transparency=transparency), SPEC)


@pytest.mark.parametrize("mode", ["1", "LA", "RGBA"])
def test_what_is_widened_while_it_is_read_is_counted_wide(encode, mode):
    assert is_bounded(encode(Image.new("L", (2500, 2500)), "PNG"), SPEC)
    assert not is_bounded(encode(Image.new(mode, (2500, 2500)), "PNG"), SPEC)


@pytest.mark.parametrize(
    "bomb", ["deflated", "jpeg_in_dicom", "png", "nested", "endless_tiff", "long_tiff"]
)
def test_bombs_end_as_reasons_within_the_limits(bomb, to_dicom, encode):
    pytest.importorskip("pydicom")
    if bomb == "deflated":
        small = to_dicom(np.zeros((64, 64), np.uint8), syntax=DEFLATED)
        meta = small[: 132 + 12 + struct.unpack_from("<I", small, 132 + 8)[0]]
        engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = meta + b"".join(engine.compress(bytes(10**7)) for _ in range(100)) + engine.flush()
    elif bomb == "jpeg_in_dicom":
        frame = encode(Image.new("L", (20_000, 20_000)), "JPEG")
        data = to_dicom(np.zeros((64, 64), np.uint8), frame=frame, syntax=JPEG_BASELINE)
    else:
        data = {
            "png": lambda: png_bomb(14_000),
            "nested": lambda: nested_dicom(50_000, to_dicom),
            "endless_tiff": endless_tiff,
            "long_tiff": lambda: long_tiff(100_000),
        }[bomb]()
    decode_isolated(encode(Image.new("L", (64, 64)), "TIFF"), SPEC)  # so that a child is there
    started = time.monotonic()
    with pytest.raises(FilmError) as caught:
        decode_guarded(data, SPEC)
    assert caught.value.reason in REASONS
    assert time.monotonic() - started < isolate.DECODE_SECONDS + SLACK_SECONDS


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_a_film_under_way_is_finished_when_the_whole_group_is_told_to_stop(draw_film, tmp_path):
    film = tmp_path / "film.tif"
    pixels = draw_film("normal", 5, height=5000, width=5000)
    Image.fromarray(pixels).save(film, compression="tiff_lzw")
    program = """
import os, pathlib, signal, sys, threading, time
from edge_xray.isolate import decode_isolated
from edge_xray.input_spec import InputSpec
signal.signal(signal.SIGTERM, signal.SIG_IGN)
spec = InputSpec(64, 64, 1)
data = pathlib.Path(sys.argv[1]).read_bytes()
decode_isolated(data, spec)
stopper = threading.Timer(0.05, os.killpg, (0, signal.SIGTERM))
stopper.start()
print(decode_isolated(data, spec).width)
stopper.join()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(film)],
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "5000\n"), ended.stderr


def test_where_no_thread_may_be_started_a_film_for_the_child_is_a_row(
    encode, draw_film, monkeypatch
):
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    monkeypatch.setattr(isolate, "_idle", [])
    with pytest.raises(FilmError) as caught:
        decode_isolated(encode(draw_film("normal", 1), "TIFF"), SPEC)
    assert caught.value.reason == "no_decoder_process"


@pytest.mark.parametrize(
    ("place", "broken"),
    [
        ("edge_xray.isolate.sys.executable", "/no/python/here"),
        ("edge_xray.isolate._CHILD", "raise SystemExit(1)"),
        ("edge_xray.isolate._CHILD", "import time; time.sleep(600)"),
    ],
)
def test_where_no_child_can_be_started_a_film_is_a_row_that_is_tried_again(
    encode, draw_film, monkeypatch, place, broken
):
    data = encode(draw_film("normal", 1), "TIFF")
    with monkeypatch.context() as patch:
        patch.setattr(isolate, "_idle", [])
        patch.setattr(place, broken)
        patch.setattr(isolate, "START_SECONDS", 2.0)
        with pytest.raises(FilmError) as caught:
            decode_isolated(data, SPEC)
        assert not children()
    assert caught.value.reason == "no_decoder_process" in MACHINE_REASONS
    assert decode_isolated(data, SPEC).format == "TIFF"
