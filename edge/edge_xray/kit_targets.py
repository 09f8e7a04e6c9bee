"""Machines that a kit can be built for: which wheels they take, and what they get from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edge_xray.errors import UsageError

PYTHONS: Final = ("3.10", "3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Target:
    """A kind of machine.

    Attributes:
        name: as ``--target`` takes it.
        title: for people.
        machine: what ``platform.machine()`` says there.
        tags: platform tags of wheels that it takes (PEP 425, PEP 600), best first.
        markers: environment of dependency markers there (PEP 508), but for the Python version.
        pythons: versions of Python that the kit can be for.
        system_packages: distributions that have no wheel for it, and the system's package of each.
        left_out: distributions that have no wheel for it and can be done without, and what is lost.
        hint: what to do when a wheel is missing.
    """

    name: str
    title: str
    machine: str
    tags: tuple[str, ...]
    markers: Mapping[str, str]
    pythons: tuple[str, ...] = PYTHONS
    system_packages: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    hint: str = (
        "build for another --python, or --without-dicom if a DICOM decoder is what is missing"
    )

    def environment(self, python: str) -> dict[str, str]:
        """All markers for one version of Python.

        Args:
            python: such as ``3.11``.

        Raises:
            UsageError: the kit cannot be for that version on this target.
        """
        if python not in self.pythons:
            raise UsageError(
                f"--target {self.name} goes with Python {', '.join(self.pythons)}, got {python}; "
                "ask the machine with: python3 --version"
            )
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{python}.0",
            "platform_python_implementation": "CPython",
            "platform_machine": self.machine,
            "platform_release": "",
            "platform_version": "",
            "python_version": python,
            "python_full_version": f"{python}.0",
            **self.markers,
        }


def _manylinux(machine: str, newest: int, oldest: int = 17) -> tuple[str, ...]:
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, oldest - 1, -1)]
    return (*tags, f"manylinux2014_{machine}", f"linux_{machine}")


_LINUX: Final = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        Target(
            "rpi64",
            "Raspberry Pi 3, 4, 5 or Zero 2 W with 64-bit Pi OS",
            "aarch64",
            # Pi OS bookworm has glibc 2.36.
            _manylinux("aarch64", 36),
            _LINUX,
        ),
        Target(
            "rpi32",
            "Raspberry Pi 2, 3, 4 or Zero 2 W with 32-bit Pi OS bookworm",
            "armv7l",
            _manylinux("armv7l", 36),
            _LINUX,
            # tflite-runtime's wheels end at 3.11, and Debian's numpy is of the system's Python.
            pythons=("3.11",),
            system_packages={"numpy": "python3-numpy", "pillow": "python3-pil"},
            left_out={
                "pylibjpeg-openjpeg": "DICOM in JPEG 2000",
                "pylibjpeg-rle": "nothing: pydicom reads RLE by itself, slower",
                "pyjpegls": "DICOM in JPEG-LS",
            },
            hint="use a 64-bit system where the board can, which has wheels of everything",
        ),
        Target(
            "linux-x86_64",
            "PC with 64-bit Linux, glibc 2.28 or later",
            "x86_64",
            (*_manylinux("x86_64", 28, 5), "manylinux2010_x86_64", "manylinux1_x86_64"),
            _LINUX,
        ),
        Target(
            "windows",
            "PC with 64-bit Windows 10 or 11",
            "AMD64",
            ("win_amd64",),
            {"os_name": "nt", "sys_platform": "win32", "platform_system": "Windows"},
        ),
        Target(
            "macos",
            "Mac with Apple silicon, macOS 14 or later",
            "arm64",
            tuple(f"macosx_{major}_0_arm64" for major in range(14, 10, -1)),
            {"os_name": "posix", "sys_platform": "darwin", "platform_system": "Darwin"},
        ),
    )
}


def target_named(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: there is none; the message lists them.
    """
    if name not in TARGETS:
        raise UsageError(f"--target {name!r} is not known; expected one of {', '.join(TARGETS)}")
    return TARGETS[name]
