"""The process that decodes films for another: what it says and hears, and the limits it sets itself.

`edge_xray.isolate` starts it and describes it. Requests and replies are lengths, JSON and plain pixels.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import IO, Any, Final

import numpy as np

from edge_xray.decode import decode, quiet_decoders
from edge_xray.errors import FilmError
from edge_xray.input_spec import InputSpec

_GRACE_SECONDS: Final = 5
"""How long after its time the child ends itself, should its parent have died."""

_WATCH_SECONDS: Final = 0.05
"""How often the child looks at its own size where the kernel does not."""

OUT_OF_MEMORY_EXIT: Final = 12
"""Exit code of a child that found itself too large (ENOMEM's number)."""

_LATE_EXIT: Final = 1
"""Exit code of a child that ended itself on Windows; nobody is there to read it."""

_FRAME: Final = struct.Struct(">IQ")
"""Before each message: bytes of JSON, bytes of payload."""

_MAX_HEADER: Final = 1 << 16
"""Most bytes of JSON believed in a message."""


def send(stream: IO[bytes], header: Mapping[str, Any], payload: bytes | memoryview) -> None:
    """Write one message.

    Args:
        stream: the pipe to the other side.
        header: JSON-ready, small.
        payload: a file's bytes, or pixels.

    Raises:
        OSError: the other side is gone.
    """
    text = json.dumps(header).encode("ascii")
    stream.write(_FRAME.pack(len(text), len(payload)))
    stream.write(text)
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes], most: int) -> tuple[dict[str, Any], bytes] | None:
    """Read one message.

    Args:
        stream: the pipe from the other side.
        most: bytes of payload that are believed.

    Returns:
        Its header and payload, or None if the other side is gone or sends nonsense.
    """
    start = stream.read(_FRAME.size)
    if len(start) < _FRAME.size:
        return None
    text_bytes, payload_bytes = _FRAME.unpack(start)
    if text_bytes > _MAX_HEADER or payload_bytes > most:
        return None
    text, payload = stream.read(text_bytes), stream.read(payload_bytes)
    if len(text) < text_bytes or len(payload) < payload_bytes:
        return None
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return (header, payload) if isinstance(header, dict) else None


def serve(memory: int) -> None:
    """The child's side: decode one film after another until the parent closes the pipe.

    Args:
        memory: bytes that this process may use in all.
    """
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Some decoders print; what they print must not get between the replies.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # Whoever stops the kit signals its children too; the film under way is to be finished all the same.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    quiet_decoders()
    with contextlib.suppress(ImportError):
        import pydicom.pixels  # noqa: F401 - its import is not the first film's time

        import edge_xray.dicom  # noqa: F401
    _limit_memory(memory)
    send(replies, {"ready": True}, b"")
    while (request := receive(requests, sys.maxsize)) is not None:
        header, data = request
        with _own_deadline(float(header["seconds"])):
            reply, payload = _answer(InputSpec.from_dict(header["spec"]), data)
        del request, data
        send(replies, reply, payload)


def _answer(spec: InputSpec, data: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    try:
        film = decode(data, spec)
    except FilmError as error:
        return {"reason": error.reason, "message": str(error)}, b""
    except MemoryError:
        return {
            "reason": "too_large",
            "message": "the film does not fit into memory; export it smaller",
        }, b""
    header = {
        "shape": film.pixels.shape,
        "format": film.format,
        "width": film.width,
        "height": film.height,
        "tags": None if film.tags is None else asdict(film.tags),
        "colour": film.colour,
        "warnings": film.warnings,
    }
    return header, np.ascontiguousarray(film.pixels).data.cast("B")


@contextlib.contextmanager
def _own_deadline(seconds: float) -> Iterator[None]:
    """End this process some seconds after its time, should the parent be gone and kill nobody."""
    if sys.platform == "win32":  # which has no alarms
        timer = threading.Timer(seconds + _GRACE_SECONDS, os._exit, [_LATE_EXIT])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        return
    signal.alarm(math.ceil(seconds) + _GRACE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def _limit_memory(memory: int) -> None:
    if sys.platform in ("win32", "darwin"):
        # Neither lets a process limit what it takes.
        threading.Thread(target=_watch_memory, args=(memory,), daemon=True).start()
    if sys.platform == "win32":
        return
    import resource

    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_DATA, memory),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, value))


def _watch_memory(memory: int) -> None:
    while _own_memory() <= memory:
        time.sleep(_WATCH_SECONDS)
    os._exit(OUT_OF_MEMORY_EXIT)


def _own_memory() -> int:
    if sys.platform == "win32":
        from edge_xray.windows import process_memory

        return process_memory().committed
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
