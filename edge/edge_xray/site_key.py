"""The secret that turns patient IDs into pseudonyms: made once a user, kept apart from results."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32
KEY_FILE: Final = "patient-key"
KEY_VARIABLE: Final = "EDGE_XRAY_KEY"
"""Environment variable that names another file, for a site whose machines share one key."""


def key_path() -> Path:
    """Where the key is: beside the user's other settings, never in a results folder."""
    named = os.environ.get(KEY_VARIABLE)
    if named:
        return Path(named)
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "edge-xray" / KEY_FILE


def site_key() -> bytes | None:
    """The key, made on first use and readable by its owner only.

    Returns:
        At least 16 bytes; None if there is none and none can be kept: then no pseudonym is made.
    """
    try:
        path = key_path()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(KEY_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            try:
                # Of two scans that start at once, the second takes the first one's key.
                os.link(temporary, path)
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        key = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return key if len(key) >= KEY_BYTES // 2 else None
