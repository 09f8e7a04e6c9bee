"""The secret that turns patient IDs into pseudonyms: made once a user, kept apart from results."""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path
from typing import Final

from edge_xray.errors import UsageError

KEY_BYTES: Final = 32
LEAST_BYTES: Final = 16
"""Shortest key believed: a shorter file is one that was not written to its end."""

KEY_FILE: Final = "patient-key"
KEY_VARIABLE: Final = "EDGE_XRAY_KEY"
"""Environment variable that names another file, for a site whose machines share one key."""


def named_key() -> bytes | None:
    """The key that `KEY_VARIABLE` names; it is never made here, or a drive that is away would get another.

    Returns:
        At least `LEAST_BYTES`; None if the variable names none.

    Raises:
        UsageError: it cannot be read, or is too short.
    """
    name = os.environ.get(KEY_VARIABLE)
    if not name:
        return None
    try:
        key = Path(name).read_bytes()
        problem = _too_short(key)
    except OSError as error:
        key, problem = b"", error.strerror or str(error)
    if problem:
        raise UsageError(
            f"{KEY_VARIABLE} names {name} ({problem}), expected the key that all machines of the site "
            "share; mount the drive that has it, or, if there was none yet, make one with: "
            f"{_making(name)}"
        )
    return key


def _making(name: str) -> str:
    """The command that makes a key."""
    if os.name == "nt":
        return f"py -c \"import os; open(r'{name}', 'wb').write(os.urandom({KEY_BYTES}))\""
    return f"head -c {KEY_BYTES} /dev/urandom > {shlex.quote(name)}"


def site_key() -> bytes | None:
    """The key: the one named, or the user's own, made on first use and readable by its owner only.

    Returns:
        At least `LEAST_BYTES`; None if there is none and none can be kept: then no pseudonym is made.

    Raises:
        UsageError: one is named and cannot be used.
    """
    key = named_key()
    if key is not None:
        return key
    try:
        key = _own_key()
    except (OSError, RuntimeError):
        return None
    return None if _too_short(key) else key


def why_no_key() -> str:
    """Why `site_key` gives none, as the end of a sentence; empty if it gives one."""
    if named_key() is not None:
        return ""
    try:
        problem = _too_short(_own_key())
        return f"{_own_path()}: {problem}; remove it, and a new key is made" if problem else ""
    except OSError as error:
        where = f"{_own_path()}: no key can be kept ({error.strerror or error})"
    except RuntimeError:  # pathlib's, where no home folder is known
        where = "no key can be kept without a home folder"
    return f"{where}; name a file with a key in {KEY_VARIABLE}"


def _too_short(key: bytes) -> str:
    return "" if len(key) >= LEAST_BYTES else f"{len(key)} bytes, expected at least {LEAST_BYTES}"


def _own_path() -> Path:
    """Beside the user's other settings, never in a results folder."""
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "edge-xray" / KEY_FILE


def _own_key() -> bytes:
    path = _own_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = secrets.token_bytes(KEY_BYTES)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            _write_new(temporary, key)
            _name(temporary, path, key)
        finally:
            temporary.unlink(missing_ok=True)
    return path.read_bytes()


def _name(temporary: Path, path: Path, key: bytes) -> None:
    """Give a whole key its name; of two scans that start at once, the second takes the first one's."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # FAT, on a stick, knows no links
        try:
            _write_new(path, key)
        except FileExistsError:
            pass
        except OSError:
            path.unlink(missing_ok=True)
            raise


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
