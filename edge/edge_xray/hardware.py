"""What the system and a Raspberry Pi's firmware tell of the machine: its name, memory, card, heat and power."""

from __future__ import annotations

import contextlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from edge_xray.findings import Finding

MIB: Final = 2**20

FREE_MEMORY_LOW: Final = 250 * MIB
"""A scan may take 150 MiB, and other programs want some too."""
FREE_MEMORY_NONE: Final = 100 * MIB

HOT_CELSIUS: Final = 80.0
"""A Raspberry Pi slows down from here on."""

THROTTLED_NOW: Final = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "too hot"}
"""Bits of ``vcgencmd get_throttled``; the same bits 16 higher say that it happened since the start."""
THROTTLED_BEFORE_SHIFT: Final = 16

LIFE_TIME_STEP: Final = 10
"""Percent of its life that each step of an eMMC's ``life_time`` stands for (JEDEC 84-B50, EXT_CSD)."""
LIFE_TIME_WORN: Final = 9


def processor_name(root: Path = Path("/")) -> str:
    """What the board calls itself, or else the processor; empty where the system does not tell.

    Args:
        root: where ``proc`` is; for tests.
    """
    if board := read_text(root / "proc/device-tree/model").strip("\0 \n"):
        return board
    for line in read_text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor()


def peak_memory() -> int | None:
    """Most bytes that this process ever held; None where the system does not tell.

    On Linux ``ru_maxrss`` keeps the peak of the process that started this one across `exec`, so the
    peak of the memory map itself is read.
    """
    if sys.platform == "win32":
        from edge_xray.windows import process_memory

        try:
            return process_memory().peak_resident
        except OSError:
            return None
    for line in read_text(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, others in KiB (getrusage(2) of each).
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory(root: Path) -> int | None:
    """Bytes that programs can have now; None where the system does not tell.

    Args:
        root: where ``proc`` is; for tests.
    """
    if sys.platform == "win32" and root == Path("/"):
        from edge_xray import windows

        with contextlib.suppress(OSError):
            return windows.free_memory()
    for line in read_text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def check_memory(root: Path) -> Finding:
    """Memory that a program can have now."""
    free = free_memory(root)
    if free is None:
        return Finding("memory", "OK", "not told by this system")
    values = {"free_bytes": free}
    message = f"{free // MIB} MiB free"
    if free < FREE_MEMORY_NONE:
        return Finding("memory", "FAIL", message, "close other programs", values)
    if free < FREE_MEMORY_LOW:
        return Finding("memory", "WARN", message, "close other programs, or use --jobs 1", values)
    return Finding("memory", "OK", message, values=values)


def check_cards(root: Path) -> Iterator[Finding]:
    """Wear of each SD card or eMMC, where the kernel tells it (SD cards mostly do not)."""
    for device in sorted((root / "sys/block").glob("mmcblk[0-9]*")):
        if not (device / "device").is_dir():
            continue
        words = read_text(device / "device/life_time").split()
        steps = [int(word, 16) for word in words if _is_hex(word)]
        name = read_text(device / "device/name").strip() or "card"
        made = read_text(device / "device/date").strip()
        about = f"{device.name} ({name}{', made ' + made if made else ''})"
        if not steps or not max(steps):
            yield Finding("card", "OK", f"{about}: does not tell its wear")
            continue
        used = max(steps) * LIFE_TIME_STEP
        values = {"device": device.name, "used_percent": used}
        if max(steps) >= LIFE_TIME_WORN:
            yield Finding(
                "card", "WARN", f"{about}: {used} % of its life used", "replace it soon", values
            )
        else:
            yield Finding("card", "OK", f"{about}: up to {used} % of its life used", values=values)


def check_file_systems(root: Path) -> Iterator[Finding]:
    """Errors that ext4 has counted on a mounted file system; silent where there are none."""
    for counter in sorted((root / "sys/fs/ext4").glob("*/errors_count")):
        text = read_text(counter).strip()
        if text.isdigit() and int(text):
            yield Finding(
                "file system",
                "WARN",
                f"{counter.parent.name}: {text} errors counted",
                "copy what matters to another disk, then run fsck or replace the card",
                {"device": counter.parent.name, "errors": int(text)},
            )


def check_heat(root: Path) -> Finding:
    """The hottest thermal zone."""
    zones = [
        int(text) / 1000
        for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")
        if (text := read_text(path).strip()).lstrip("-").isdigit()
    ]
    if not zones:
        return Finding("heat", "OK", "not told by this system")
    hottest = max(zones)
    values = {"celsius": hottest}
    if hottest >= HOT_CELSIUS:
        return Finding(
            "heat", "WARN", f"{hottest:.0f} °C", "give it air or a cooler; it slows down", values
        )
    return Finding("heat", "OK", f"{hottest:.0f} °C", values=values)


def ask_vcgencmd() -> str:
    """What a Raspberry Pi's firmware says of throttling; empty on other machines."""
    command = shutil.which("vcgencmd")
    if command is None:
        return ""
    try:
        return subprocess.run(  # noqa: S603
            [command, "get_throttled"], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def check_throttling(ask: Callable[[], str] = ask_vcgencmd) -> Finding | None:
    """Under-voltage and throttling of a Raspberry Pi; None on other machines.

    Args:
        ask: gives ``throttled=0x…``; for tests.
    """
    _, _, word = ask().strip().partition("throttled=")
    if not _is_hex(word):
        return None
    bits = int(word, 16)
    now = [text for bit, text in THROTTLED_NOW.items() if bits >> bit & 1]
    before = [
        text for bit, text in THROTTLED_NOW.items() if bits >> bit + THROTTLED_BEFORE_SHIFT & 1
    ]
    values = {"throttled": word, "now": now, "since_start": before}
    if now or before:
        when = f"now: {', '.join(now)}" if now else f"since the start: {', '.join(before)}"
        return Finding(
            "power",
            "WARN",
            when,
            "use the Pi's own power supply and a short cable, and cool it",
            values,
        )
    return Finding("power", "OK", "no under-voltage, no throttling", values=values)


def _is_hex(word: str) -> bool:
    try:
        int(word, 16)
    except ValueError:
        return False
    return True


def read_text(path: Path) -> str:
    """What a file of the system says; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
