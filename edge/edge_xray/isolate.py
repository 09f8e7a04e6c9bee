"""Decoding in a child process with a limit on time and memory, so that a hostile file costs itself only.

What may be decoded in a worker thread is a JPEG or PNG whose header shows that it is cheap
(`is_bounded`). Everything else, DICOM, TIFF, BMP and the outsize, goes to a child that is kept for the
next film, and killed and replaced when it takes too long. Requests and replies are lengths, JSON and
plain pixels: nothing that a child could send is ever executed or unpickled.

Linux enforces the memory limit in the kernel (``RLIMIT_DATA``). macOS ignores such limits and Windows has
none, so there a thread in the child watches its size.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_xray import headers
from edge_xray.decode import (
    MAX_PIXELS,
    REASONS,
    DecodedFilm,
    decode,
)
from edge_xray.decode_child import OUT_OF_MEMORY_EXIT, receive, send
from edge_xray.errors import FilmError, out_of_memory
from edge_xray.film_file import is_dicom, read_file
from edge_xray.input_spec import InputSpec
from edge_xray.preprocess import reduction_factor

DECODE_SECONDS: Final = 10.0
"""Time that one film may take. The largest sound ones, JPEG 2000 of 15 megapixels, take two on a laptop."""

DECODE_BYTES: Final = 512 * 2**20
"""Memory that the child may use in all."""

IN_THREAD_BYTES: Final = 64 * 2**20
"""Memory up to which a JPEG or PNG is decoded in the worker thread."""

IN_THREAD_SCANNED: Final = 200_000_000
"""Pixels times scans up to which a JPEG of several scans is decoded in the worker thread: each scan goes
over the whole picture. A progressive film of 10 scans and 12 million pixels has 120 million."""

START_SECONDS: Final = 60.0
"""Time that a child may take to start: imports from a slow SD card."""

FILMS_A_CHILD: Final = 500
"""Films after which a child is replaced, so that no decoder's leak adds up."""

_END_SECONDS: Final = 1.0
"""How long a child without work may take to end by itself."""

_MAX_MESSAGE: Final = 500
"""Longest sentence believed from a child, in characters."""

_MAX_WARNINGS: Final = 8
"""Most warnings believed from a child; the decoder has fewer."""

_CHILD: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]);"
    "from edge_xray.decode_child import serve; serve(int(sys.argv[2]))"
)
"""The child's program: the parent's import path, and nothing from the current folder."""

_ALPHA_BYTES: Final = 20
"""Bytes a pixel while a picture with transparency is laid on black (`edge_xray.modes`), or 16 bits of
colour are read (`edge_xray.png_wide`)."""


def decode_guarded(source: Path | bytes, spec: InputSpec) -> DecodedFilm:
    """Read a film in this thread if its header shows that it is cheap, else in a child.

    Args:
        source: a file, or the bytes of one.
        spec: the network's input.

    Raises:
        FilmError: as `edge_xray.decode.decode`, and for a film that takes too long or too much.
    """
    data = source if isinstance(source, bytes) else read_file(source)
    if data and not is_bounded(data, spec):
        return decode_isolated(data, spec)
    try:
        return decode(data, spec)
    except FilmError as error:
        if isinstance(error.__cause__, MemoryError):
            # Its header bounds what it takes, and nothing but the machine limits it here.
            raise out_of_memory("the film could not be decoded") from error
        raise


def is_bounded(data: bytes, spec: InputSpec) -> bool:
    """Whether the content is a JPEG or PNG whose header bounds what decoding costs.

    One of more than `MAX_PIXELS` may be: `decode` refuses it by its header.

    Args:
        data: the whole file.
        spec: the network's input.

    Raises:
        FilmError: the header cannot be read, so there is nothing to decode anywhere.
    """
    if is_dicom(data):
        return False
    if data.startswith(headers.JPEG_MAGIC):
        jpeg = headers.read_jpeg_header(data)
        pixels = jpeg.width * jpeg.height
        factor = reduction_factor(jpeg.width, jpeg.height, spec) if jpeg.components != 4 else 1
        # The file itself may be copied once, without its EXIF.
        needed = len(data) + 2 * jpeg.components * pixels // factor**2
        if jpeg.buffered:
            needed += 2 * jpeg.components * pixels  # all coefficients wait in memory
            if jpeg.scans * pixels > IN_THREAD_SCANNED:
                return False
        return needed <= IN_THREAD_BYTES
    if data.startswith(headers.PNG_MAGIC):
        png = headers.read_png_header(data)
        pixels = png.width * png.height
        costly = png.channels in (2, 4) or png.bits < 8 or png.wide
        # Transparent values of a palette, or one of colour or grey: their chunk comes before the pixels.
        costly |= data.find(b"tRNS", 0, data.find(b"IDAT")) >= 0
        each = _ALPHA_BYTES if costly else 2 * png.channels + 2
        return png.decoded_bytes + each * pixels <= IN_THREAD_BYTES
    return False


def decode_isolated(
    source: Path | bytes,
    spec: InputSpec,
    *,
    seconds: float = DECODE_SECONDS,
    memory: int = DECODE_BYTES,
) -> DecodedFilm:
    """Read a film in a child process.

    Args:
        source: a file, or the bytes of one.
        spec: the network's input.
        seconds: time it may take.
        memory: bytes the child may use in all.

    Raises:
        FilmError: as `edge_xray.decode.decode`, ``too_slow``, ``too_large`` or ``decoder_crashed``
            for a film that its limits stopped, and ``out_of_memory`` if the system ended the child.
    """
    data = source if isinstance(source, bytes) else read_file(source)
    child = _take(memory)
    try:
        film = child.decode(data, spec, seconds)
    except FilmError:
        _give_back(child)
        raise
    except BaseException:
        child.kill()
        raise
    _give_back(child)
    return film


class _Child:
    """The parent's side of one child process; used by one thread at a time."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.films = 0
        paths = [path for path in sys.path if path]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                [sys.executable, "-I", "-c", _CHILD, json.dumps(paths), str(memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise _no_child(str(error)) from error
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._requests, self._replies = self._process.stdin, self._process.stdout
        try:
            with self._deadline(START_SECONDS):
                ready = receive(self._replies, 0)
        except BaseException:
            self.kill()
            raise
        if ready is None:
            self.kill()
            raise _no_child("the child process did not start")

    @property
    def usable(self) -> bool:
        return self._process.poll() is None and self.films < FILMS_A_CHILD

    def decode(self, data: bytes, spec: InputSpec, seconds: float) -> DecodedFilm:
        self.films += 1
        reply = None
        deadline = self._deadline(seconds)
        with deadline, contextlib.suppress(OSError):
            send(self._requests, {"spec": spec.to_dict(), "seconds": seconds}, data)
            reply = receive(self._replies, 3 * MAX_PIXELS)
        if reply is None:
            # What it ended with tells who ended it, so it is not killed before it had time to end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_END_SECONDS)
            code = self._process.poll()
            self.kill()
            raise _killed(code, deadline.passed, seconds, self.memory)
        return _film(*reply)

    def kill(self) -> None:
        self._process.kill()
        for stream in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                stream.close()
        self._process.wait()

    def close(self) -> None:
        """Let it end by itself: it reads the end of its requests."""
        with contextlib.suppress(OSError):
            self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_END_SECONDS)
        self.kill()

    def _deadline(self, seconds: float) -> _Deadline:
        return _Deadline(seconds, self._process)


class _Deadline:
    """Kills a process when a block takes too long, which ends the block's reads."""

    def __init__(self, seconds: float, process: subprocess.Popen[bytes]) -> None:
        self.passed = False
        self._process = process
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def _pass(self) -> None:
        self.passed = True
        self._process.kill()

    def __enter__(self) -> None:
        try:
            self._timer.start()
        except RuntimeError as error:  # no thread more is allowed
            raise _no_child(str(error)) from error

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


_idle: list[_Child] = []
_guard = threading.Lock()


def _take(memory: int) -> _Child:
    with _guard:
        for index, child in enumerate(_idle):
            if child.memory == memory:
                del _idle[index]
                break
        else:
            child = None
    if child is not None and child.usable:
        return child
    if child is not None:
        child.close()
    return _Child(memory)


def _give_back(child: _Child) -> None:
    if child.usable:
        with _guard:
            _idle.append(child)
    else:
        child.close()


def close_children() -> None:
    """End every idle child; done at exit by itself, and the next film starts a new one."""
    with _guard:
        children, _idle[:] = _idle[:], []
    for child in children:
        child.close()


atexit.register(close_children)
if hasattr(os, "register_at_fork"):
    # A forked process must not speak over its parent's pipes.
    os.register_at_fork(after_in_child=_idle.clear)


def _no_child(why: str) -> FilmError:
    return FilmError(
        "no_decoder_process",
        f"a process to decode the film safely could not be started ({why}); "
        "export the film as JPEG, or free memory and scan again",
    )


def _killed(code: int | None, late: bool, seconds: float, memory: int) -> FilmError:
    """Why a child gave no film.

    Args:
        code: what it ended with; None if it lives on and talks nonsense.
        late: whether its deadline killed it.
        seconds: time that it had.
        memory: bytes that it had.
    """
    if late or (sys.platform != "win32" and code == -signal.SIGALRM):
        return FilmError(
            "too_slow", f"decoding took longer than {seconds:g} s; export the film as JPEG"
        )
    if sys.platform != "win32" and code == -signal.SIGKILL:
        # Linux' OOM killer, or macOS' jetsam: they choose by size, and the film need not be large.
        return out_of_memory("the system ended the decoder")
    if code == OUT_OF_MEMORY_EXIT:
        return FilmError(
            "too_large",
            f"decoding needs more than {memory // 2**20} MiB of memory; export the film as JPEG",
        )
    return FilmError(
        "decoder_crashed", "the decoder broke down on the film; it is damaged: export it again"
    )


def _film(header: Mapping[str, Any], payload: bytes) -> DecodedFilm:
    """A child's reply as a film, believed only as far as it holds together."""
    try:
        if "reason" in header:
            reason = header["reason"] if header["reason"] in REASONS else "damaged"
            raise FilmError(reason, _plain(header["message"]))
        tags = header["tags"]
        if tags is not None:
            from edge_xray.dicom_tags import DicomTags

            tags = DicomTags(**tags)
        shape = tuple(int(side) for side in header["shape"])
        return DecodedFilm(
            np.frombuffer(payload, np.uint8).reshape(shape),
            str(header["format"]),
            int(header["width"]),
            int(header["height"]),
            tags,
            float(header["colour"]),
            tuple(_plain(warning) for warning in header["warnings"][:_MAX_WARNINGS]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FilmError("decoder_crashed", "the decoder gave no film; export it again") from error


def _plain(text: Any) -> str:
    return "".join(c for c in str(text) if c.isprintable())[:_MAX_MESSAGE]
