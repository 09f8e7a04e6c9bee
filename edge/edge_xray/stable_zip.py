"""Entries of zip files whose bytes depend on names and contents alone: not on the day or the system."""

from __future__ import annotations

import zipfile
from typing import Final

DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can say."""

UNIX: Final = 3
"""``create_system`` of a zip made on Unix; without it, one made on Windows differs."""


def stable_entry(
    name: str, *, compression: int = zipfile.ZIP_DEFLATED, executable: bool = False
) -> zipfile.ZipInfo:
    """Describe a file for `zipfile.ZipFile.writestr`.

    Args:
        name: in the zip.
        compression: ``zipfile.ZIP_DEFLATED`` or ``zipfile.ZIP_STORED``.
        executable: whether a file that is unpacked may be run.
    """
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type = compression
    entry.external_attr = (0o755 if executable else 0o644) << 16
    entry.create_system = UNIX
    return entry
