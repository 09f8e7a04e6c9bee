"""Writing that survives a power cut, and a folder that has one owner. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edge_xray._compat import Self
from edge_xray.errors import FileInUseError, OutputError

LOCK_NAME: Final = "scan.lock"

_OWNER_BYTES: Final = 64
"""The most that is read from a lock file: a process number and the boot that it is of."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux says which boot this is. After a power cut a number of the one before may be another program's."""

_NO_LOCKS_HERE: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""How file systems say that they know no locks (some network shares, FUSE)."""

_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""How file systems say that they sync no folders (some network shares, folders shared with a virtual machine)."""

_LOCK_OFFSET: Final = 1 << 20
"""Byte locked on Windows, where a lock hides the bytes it covers: far behind the process number."""

PARTIAL_SUFFIX: Final = ".partial"

HELD_SECONDS: Final = 1.0
"""How long a file may be held by another program before it counts as open there: virus scanners and indexers
of Windows look at each new file."""

_HELD_LOOK_SECONDS: Final = 0.02
"""Between two tries to replace a file that is held."""

BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags of every file opened here: bytes as they are, and not for child processes."""


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write into `OutputError`.

    Args:
        path: what is being written, for the message.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free space on the disk, check permissions, or name another folder with --output"
        ) from error


@contextlib.contextmanager
def in_use_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusal to take a file away into `FileInUseError`.

    Args:
        path: what is being replaced, moved or removed, for the message.
    """
    try:
        yield
    except PermissionError as error:
        raise FileInUseError(
            f"{path}: cannot be replaced ({error.strerror or error}); close it in the program that "
            "has it open, a spreadsheet for instance, or check the permissions of its folder"
        ) from error


def write_all(file: int, data: bytes) -> None:
    """Write all of the bytes to a descriptor, which a system may take in pieces.

    Raises:
        OSError: the disk is full, or reports an error.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def close_quietly(file: int) -> None:
    """Close a descriptor whose data are synced or given up: of a drive that is gone this fails as well."""
    with contextlib.suppress(OSError):
        os.close(file)


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, writer: str = "") -> None:
    """Write a file so that at every instant either the old one or the new one is there, whole.

    The new content goes to ``.NAME.partial`` beside it, is synced, renamed over the old file, and the
    folder is synced. A crash leaves at most that one partial file, which the next write replaces.

    Args:
        path: the file; its folder exists. One process at a time may write it, or each is a `writer` of its own.
        data: all of its content, whole or in pieces, of which one is held at a time.
        writer: put into the partial file's name, which a crash then leaves for good.

    Raises:
        OutputError: the disk is full, or the file cannot be written. The old file is untouched.
        FileInUseError: the old file may not be replaced; it is untouched.
    """
    partial = path.with_name(f".{path.name}{writer}{PARTIAL_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY | getattr(os, "O_NOFOLLOW", 0)
    with output_errors(path):
        try:
            file = os.open(partial, flags, 0o666)
            try:
                for piece in (data,) if isinstance(data, bytes) else data:
                    write_all(file, piece)
                os.fsync(file)
            finally:
                os.close(file)
            with in_use_errors(path):
                replace_file(partial, path)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        sync_folder(path.parent)


def replace_file(source: Path, target: Path) -> None:
    """Give a file or a folder another name; a file that has it already goes.

    Windows refuses that while somebody holds either, be it a worker that replaces the same one: it is tried
    for `HELD_SECONDS`.

    Raises:
        OSError: as `Path.replace`.
    """
    until = time.monotonic() + HELD_SECONDS
    while True:
        try:
            source.replace(target)
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() >= until:
                raise
            time.sleep(_HELD_LOOK_SECONDS)
        else:
            return


def write_named(path: Path, data: bytes) -> None:
    """Write a file that a person named, as `write_atomically` does: behind a link, the file it leads to.

    No lock keeps a second command from writing the same one: each writes it whole, and the last one's stays.

    What is no file, ``/dev/stdout`` or another pipe, is written to and not replaced.

    Raises:
        OutputError: it cannot be written; a file that was there is as it was.
    """
    with output_errors(path):
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            write_atomically(Path(os.path.realpath(path)), data, writer=f".{os.getpid()}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows has no such call and needs none.

    Raises:
        OSError: the disk reports an error.
    """
    if os.name == "nt":
        return
    file = os.open(folder, os.O_RDONLY | BINARY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(file)


class FolderLock:
    """One owner a folder: a lock that ends with its process, beside its process number and its boot."""

    def __init__(self, folder: Path, name: str = LOCK_NAME, work: str = "scan") -> None:
        """Take the folder.

        Args:
            folder: exists.
            name: of the lock file in it.
            work: what keeps the folder, for the message.

        Raises:
            OutputError: another process owns it, or the lock file cannot be written.
        """
        self._path = path = folder / name
        self._work = work
        self._owner = f"{os.getpid()} {_this_boot()}\n".encode()
        with output_errors(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
        try:
            with output_errors(path):
                owner, _, boot = self._read().decode("ascii", "replace").strip().partition(" ")
                free = _try_lock(self._file)
                if free is None:
                    free = boot != _this_boot() or not _alive(owner)
            if not free:
                raise OutputError(
                    f"{folder}: another {work} writes here (process {owner or 'unknown'}); "
                    "wait for it, stop it, or name another folder with --output"
                )
            with output_errors(path):
                os.lseek(self._file, 0, os.SEEK_SET)
                os.ftruncate(self._file, 0)
                write_all(self._file, self._owner)
        except BaseException:
            close_quietly(self._file)
            raise

    def check(self) -> None:
        """Make sure that nobody else took the folder: some network drives let each machine have its own locks.

        Raises:
            OutputError: somebody did, or the lock file cannot be read.
        """
        with output_errors(self._path):
            try:
                # By its name: what is read through an open file may be a minute old on a network drive.
                owner = self._path.read_bytes()
            except PermissionError:
                owner = self._read()
        if owner != self._owner:
            raise OutputError(
                f"{self._path.parent}: another {self._work} writes here since, maybe from another machine, so this "
                "one stops; name a folder of its own for each with --output, and start again"
            )

    def _read(self) -> bytes:
        """What the lock file says; nothing where another one's lock forbids to read it.

        On a Windows network drive, under Linux, a lock does so for all descriptors but its own (flock(2)).
        """
        try:
            os.lseek(self._file, 0, os.SEEK_SET)
            return os.read(self._file, _OWNER_BYTES)
        except PermissionError:
            return b""

    def __enter__(self) -> Self:
        """The folder is taken already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the folder back."""
        self.release()

    def release(self) -> None:
        """Give the folder back. The file stays: unlinking it would let two owners lock two files."""
        if self._file >= 0:
            with contextlib.suppress(OSError, OutputError):
                self.check()  # or the one who took it since would be told that it lost it
                os.ftruncate(self._file, 0)
            close_quietly(self._file)
            self._file = -1


def _try_lock(file: int) -> bool | None:
    """Whether the lock could be had; None where the file system knows no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _NO_LOCKS_HERE else False
    return True


def _this_boot() -> str:
    """A word for this boot of the machine; empty where the system gives none."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""


def _alive(owner: str) -> bool:
    """Whether a process of that number runs; another one may have got the number since."""
    if not owner.isdecimal() or sys.platform == "win32" or int(owner) == os.getpid():
        return False
    try:
        os.kill(int(owner), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
