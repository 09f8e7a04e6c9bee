"""Which wheels a target needs: pip downloads, the markers are read as the target would read them.

``pip download --platform`` chooses files for the target and still evaluates dependency markers on the
machine it runs on. So every round downloads without dependencies, and the next round's
requirements are taken from the wheels themselves.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

from edge_xray.errors import UsageError
from edge_xray.kit_targets import Target

MOST_ROUNDS: Final = 20
"""Rounds of download after which a requirement that keeps changing is given up."""


@dataclass(frozen=True)
class Wheel:
    """A wheel file and what its metadata says.

    Attributes:
        path: the file.
        name: the distribution, normalized (PEP 503).
        version: its version.
        sha256: of the file.
        licence: SPDX expression, or the words of the metadata.
        requires: ``Requires-Dist`` lines.
    """

    path: Path
    name: str
    version: str
    sha256: str
    licence: str
    requires: tuple[str, ...]


def normalize(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_wheel(path: Path) -> Wheel:
    """Read a wheel's metadata.

    Raises:
        UsageError: the file is no wheel.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(
                name
                for name in archive.namelist()
                if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
            )
            headers = HeaderParser().parsestr(archive.read(member).decode("utf-8"))
    except (OSError, zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected a wheel ({error!r}); download it again") from error
    return Wheel(
        path,
        normalize(str(headers["Name"])),
        str(headers["Version"]),
        hashlib.sha256(path.read_bytes()).hexdigest(),
        _licence(headers),
        tuple(str(line) for line in headers.get_all("Requires-Dist", [])),
    )


def _licence(headers: Any) -> str:
    if headers["License-Expression"]:
        return str(headers["License-Expression"])
    words = [
        str(line).rsplit(" :: ", 1)[1]
        for line in headers.get_all("Classifier", [])
        # Some name no licence beside who approved of it.
        if str(line).startswith("License :: ") and str(line) != "License :: OSI Approved"
    ]
    # Some distributions put the whole text of their licence here.
    first_line = (str(headers["License"] or "").strip().splitlines() or [""])[0]
    return ", ".join(words) or first_line[:80] or "not stated"


def _packaging() -> Any:
    """The ``packaging`` library, from pip if it is not installed by itself."""
    try:
        import packaging.requirements as requirements
    except ModuleNotFoundError:
        try:
            import pip._vendor.packaging.requirements as requirements  # type: ignore[no-redef]
        except ModuleNotFoundError as error:
            raise UsageError("edge-xray kit build needs pip. Run: python -m ensurepip") from error
    return requirements


def wanted_by(
    wheel: Wheel, extras: Sequence[str], environment: Mapping[str, str]
) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a wheel requires in an environment.

    Args:
        wheel: the wheel.
        extras: its extras that were asked for.
        environment: markers of the target.

    Returns:
        ``(name, specifier, extras)`` of each requirement whose marker holds.
    """
    found = []
    for line in wheel.requires:
        requirement = _packaging().Requirement(line)
        holds = requirement.marker is None or any(
            requirement.marker.evaluate({**environment, "extra": extra}) for extra in (*extras, "")
        )
        if holds:
            name = normalize(requirement.name)
            found.append((name, str(requirement.specifier), tuple(sorted(requirement.extras))))
    return found


def collect(
    project: Path,
    target: Target,
    python: str,
    folder: Path,
    *,
    extras: Sequence[str] = (),
    pins: Mapping[str, str] | None = None,
    find_links: Path | None = None,
) -> list[Wheel]:
    """Download every wheel that the project needs on a target.

    Args:
        project: the wheel of edge-xray.
        target: the kind of machine.
        python: its version of Python, such as ``3.11``.
        folder: where the wheels go; what is there already and fits is not downloaded again.
        extras: extras of edge-xray to include.
        pins: exact versions by normalized name, from an earlier kit's lock.
        find_links: take wheels from this folder alone, without internet.

    Returns:
        The wheels, sorted by name, edge-xray's own included; only those that the target needs.

    Raises:
        UsageError: the target has no wheel of something; the message names it and what to do.
    """
    environment = target.environment(python)
    own = read_wheel(project)
    have: dict[str, Wheel] = {own.name: own}
    asked: dict[str, str] = {}
    for _ in range(MOST_ROUNDS):
        wanted = _closure(own, have, extras, environment, target)
        lines = {
            name: f"{name}=={pins[name]}" if pins and name in pins else f"{name}{specifier}"
            for name, specifier in wanted.items()
        }
        missing = {
            name: line
            for name, line in lines.items()
            if name not in have or asked.get(name) != line
        }
        if not missing:
            return sorted(
                (have[name] for name in (*wanted, own.name)), key=lambda wheel: wheel.name
            )
        for name, line in missing.items():
            asked[name] = line
            have.pop(name, None)
        _download(list(missing.values()), target, python, folder, find_links)
        for path in sorted(folder.glob("*.whl")):
            wheel = read_wheel(path)
            if wheel.name in missing and _fits(wheel.version, missing[wheel.name]):
                have[wheel.name] = wheel
    raise UsageError(
        f"the requirements {sorted(asked.values())} do not settle; name versions with --lock"
    )


def collect_pip(
    target: Target,
    python: str,
    folder: Path,
    *,
    pins: Mapping[str, str] | None = None,
    find_links: Path | None = None,
) -> Wheel:
    """The wheel of pip itself, so that the target needs none: one that runs on the target's Python.

    Args:
        target: the kind of machine.
        python: its version of Python.
        folder: where the wheel goes; empty or missing.
        pins: exact versions by name, pip's perhaps among them.
        find_links: as `collect` takes it.

    Raises:
        UsageError: there is none.
    """
    line = f"pip=={pins['pip']}" if pins and "pip" in pins else "pip"
    finished = _pip_download([line], target, python, folder, find_links)
    found = sorted(folder.glob("pip-*.whl"))
    if not finished.returncode and found:
        return read_wheel(found[0])
    if find_links is not None:
        raise UsageError(
            f"{find_links}: expected pip's own wheel there too, for Python {python} "
            f"(pip download {line} --no-deps --python-version {python})"
        )
    raise UsageError(
        f"{line} could not be downloaded ({finished.stderr.strip()[-200:]}); "
        "check the connection and try again"
    )


def _closure(
    own: Wheel,
    have: Mapping[str, Wheel],
    extras: Sequence[str],
    environment: Mapping[str, str],
    target: Target,
) -> dict[str, str]:
    """Specifiers by name of all that is needed, as far as the wheels at hand tell."""
    specifiers: dict[str, set[str]] = {}
    queue: list[tuple[Wheel, tuple[str, ...]]] = [(own, tuple(extras))]
    seen = set()
    while queue:
        wheel, wheel_extras = queue.pop()
        if (wheel.name, wheel_extras) in seen:
            continue
        seen.add((wheel.name, wheel_extras))
        for name, specifier, more in wanted_by(wheel, wheel_extras, environment):
            if name == own.name:
                queue.append((own, more))
                continue
            if name in target.system_packages or name in target.left_out:
                continue
            specifiers.setdefault(name, set()).update(part for part in specifier.split(",") if part)
            if name in have:
                queue.append((have[name], more))
    return {name: ",".join(sorted(parts)) for name, parts in sorted(specifiers.items())}


def _fits(version: str, line: str) -> bool:
    return bool(_packaging().Requirement(line).specifier.contains(version, prereleases=True))


def _pip_download(
    lines: Sequence[str], target: Target, python: str, folder: Path, find_links: Path | None
) -> subprocess.CompletedProcess[str]:
    abi = "cp" + python.replace(".", "")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--dest", str(folder)),
        *("--python-version", python, "--implementation", "cp"),
        *(part for tag in (abi, "abi3", "none") for part in ("--abi", tag)),
        *(part for tag in target.tags for part in ("--platform", tag)),
        *(("--no-index", "--find-links", str(find_links)) if find_links else ()),
        *lines,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


def _download(
    lines: Sequence[str], target: Target, python: str, folder: Path, find_links: Path | None
) -> None:
    if _pip_download(lines, target, python, folder, find_links).returncode == 0:
        return
    # Asked one by one, pip says which of them there is none of.
    failures = []
    for line in lines:
        finished = _pip_download([line], target, python, folder, find_links)
        if finished.returncode:
            words = [text for text in finished.stderr.splitlines() if text.startswith("ERROR:")]
            failures.append((line, words[-1] if words else finished.stderr.strip()))
    if not failures:
        return
    if all("No matching distribution" in words for _, words in failures):
        names = ", ".join(line for line, _ in failures)
        if find_links is not None:
            raise UsageError(
                f"{find_links}: no wheel there for {target.title} with Python {python}: {names}. "
                "To mend it, put them into that folder, or let them be downloaded, without --wheels"
            )
        raise UsageError(
            f"no wheel for {target.title} with Python {python}: {names}. To mend it, {target.hint}"
        )
    line, said = failures[0]
    raise UsageError(f"pip could not download {line} ({said}); check the connection and try again")
