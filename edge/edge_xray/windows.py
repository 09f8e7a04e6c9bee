"""What Windows tells and needs by functions of its own."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ELSEWHERE: Final = "only Windows tells"

_GENERIC_READ: Final = 0x80000000
_SHARE_READ_DELETE: Final = 0x1 | 0x4
_OPEN_EXISTING: Final = 3
_NO_HANDLE: Final = ctypes.c_void_p(-1).value
_SHARING_VIOLATION: Final = 32
"""Of winnt.h, fileapi.h, handleapi.h and winerror.h."""


class _ProcessMemoryCounters(ctypes.Structure):
    """``PROCESS_MEMORY_COUNTERS`` of psapi.h."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_resident", ctypes.c_size_t),
        ("resident", ctypes.c_size_t),
        ("paged_pool", ctypes.c_size_t * 2),
        ("nonpaged_pool", ctypes.c_size_t * 2),
        ("committed", ctypes.c_size_t),
        ("peak_committed", ctypes.c_size_t),
    )


class _MemoryStatus(ctypes.Structure):
    """``MEMORYSTATUSEX`` of sysinfoapi.h."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("percent_used", ctypes.c_uint32),
        ("all_memory", ctypes.c_uint64),
        ("free_memory", ctypes.c_uint64),
        ("page_file_and_addresses", ctypes.c_uint64 * 5),
    )


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of this process, in bytes.

    Attributes:
        peak_resident: most that it ever held in RAM, as ``VmHWM`` of Linux.
        committed: what it was promised and has not given back, in RAM or in the page file.
    """

    peak_resident: int
    committed: int


def process_memory() -> ProcessMemory:
    """Memory of this process, by ``K32GetProcessMemoryInfo``.

    Raises:
        OSError: the system does not tell, or is not Windows.
    """
    if sys.platform != "win32":
        raise OSError(_ELSEWHERE)
    counters = _ProcessMemoryCounters(size=ctypes.sizeof(_ProcessMemoryCounters))
    this_process = ctypes.c_void_p(-1)
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    if not kernel.K32GetProcessMemoryInfo(this_process, ctypes.byref(counters), counters.size):
        raise ctypes.WinError(ctypes.get_last_error())
    return ProcessMemory(int(counters.peak_resident), int(counters.committed))


def free_memory() -> int:
    """Bytes of RAM that programs can have now, by ``GlobalMemoryStatusEx``.

    Raises:
        OSError: the system does not tell, or is not Windows.
    """
    if sys.platform != "win32":
        raise OSError(_ELSEWHERE)
    status = _MemoryStatus(size=ctypes.sizeof(_MemoryStatus))
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise ctypes.WinError(ctypes.get_last_error())
    return int(status.free_memory)


def is_written_to(path: Path) -> bool:
    """Whether some process has a file open for writing, or for itself alone: ``CreateFile`` that shares no writing says.

    A file that is copied has its full size from the beginning, and its time of change at the end.
    """
    if sys.platform != "win32":
        return False
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateFileW.restype = ctypes.c_void_p
    file = kernel.CreateFileW(
        str(path), _GENERIC_READ, _SHARE_READ_DELETE, None, _OPEN_EXISTING, 0, None
    )
    if file == _NO_HANDLE:
        return ctypes.get_last_error() == _SHARING_VIOLATION
    kernel.CloseHandle(ctypes.c_void_p(file))
    return False


def add_cpp_runtime() -> None:
    """Let libraries find Microsoft's C++ runtime where the package ``msvc-runtime`` puts it.

    `ai_edge_litert` and TensorFlow are linked to ``msvcp140.dll`` and more, which neither Windows nor Python has.
    The package lays them beside ``python.exe``; in an environment of `venv` that program
    only starts the one it was made from, and Windows looks for libraries beside that. Does nothing on another system.
    """
    if sys.platform != "win32":
        return
    for scheme in (sysconfig.get_default_scheme(), "nt_user"):
        folder = Path(sysconfig.get_path("data", scheme))
        if (folder / "msvcp140.dll").is_file():
            os.add_dll_directory(str(folder))
