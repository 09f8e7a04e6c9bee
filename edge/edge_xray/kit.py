"""The kit that goes to a clinic on a stick: wheels, samples, docs, an installer, sums, an inventory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from edge_xray.durable import write_named
from edge_xray.errors import UsageError
from edge_xray.kit_docs import page_name, render_docs, render_page
from edge_xray.kit_model import KitModel, read_kit_model, with_model
from edge_xray.kit_targets import Target, target_named
from edge_xray.kit_wheels import Wheel, collect, collect_pip
from edge_xray.metadata import DISCLAIMER
from edge_xray.parity_report import REPORT_SUFFIX
from edge_xray.shipped import NAME_PREFIX
from edge_xray.stable_zip import stable_entry

KIT_FORMAT: Final = 1
TOP: Final = "edge-xray-kit"
"""Folder in the zip that everything is in."""

EPOCH: Final = "315619200"
"""Seconds since 1970 of 2 January 1980, the first whole day a zip can say, wherever it is read."""

SAMPLE_SUFFIXES: Final = (".jpeg", ".dcm", ".png")
ENVIRONMENT_BYTES: Final = 30_000_000
"""What an empty environment and compiled bytecode add to the wheels' contents, rounded up."""
HASH_DIGITS: Final = 8
"""Digits of the content's hash in the kit's name."""

MACHINES: Final[Mapping[str, str]] = {
    "aarch64": "aarch64 arm64",
    # A 32-bit system on a 64-bit kernel calls itself aarch64.
    "armv7l": "armv7l armv8l aarch64",
    "x86_64": "x86_64 amd64 AMD64",
    "AMD64": "AMD64 x86_64",
    "arm64": "arm64 aarch64",
}
SYSTEM_MODULES: Final[Mapping[str, str]] = {"numpy": "numpy", "pillow": "PIL"}
"""Import names of distributions that a target takes from its system."""


@dataclass(frozen=True)
class Kit:
    """A kit that was built.

    Attributes:
        path: the zip.
        identifier: version, target, Python and content, as the installer names it.
        size: of the zip, in bytes.
        wheels: name and version of each wheel in it.
        doubts: what makes the proof of a model of one's own say less, such as too few films.
    """

    path: Path
    identifier: str
    size: int
    wheels: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def find_checkout(start: Path | None = None) -> Path:
    """The repository that samples and docs are taken from.

    Args:
        start: a folder in it; None: that of an editable install, else the current folder.

    Raises:
        UsageError: there is none.
    """
    candidates = [start] if start else [Path(__file__).resolve().parents[2], Path.cwd()]
    for folder in candidates:
        if (folder / "pyproject.toml").is_file() and (folder / "samples").is_dir():
            return folder.resolve()
    raise UsageError(
        f"{candidates[-1]}: expected the edge-xray repository, which has the samples and docs; "
        "run in it, or name it with --source"
    )


def build_wheel(source: Path, folder: Path) -> Path:
    """Build edge-xray's own wheel; the same files give the same bytes.

    Raises:
        UsageError: pip could not.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    finished = subprocess.run(  # noqa: S603
        [*command, "--no-deps", "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
    )
    wheels = sorted(folder.glob("edge_xray-*.whl"))
    if finished.returncode or not wheels:
        words = (finished.stderr.strip().splitlines() or ["no word why"])[-1]
        raise UsageError(f"pip could not build edge-xray from {source} ({words})")
    return wheels[-1]


def read_lock(path: Path) -> dict[str, str]:
    """Versions by name from a kit's ``requirements.txt``, and from the ``manifest.json`` beside it.

    Of the manifest only the tools are taken, pip: it is not installed, so no requirement names it.
    Without a manifest its version stays open.

    Raises:
        UsageError: the file is missing or holds no pinned requirement, or the manifest is no kit's.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: expected the requirements.txt of a kit, in UTF-8 ({error})"
        ) from error
    pairs = (line.split()[0].partition("==") for line in lines if "==" in line)
    pins = {name: version for name, _, version in pairs}
    if not pins:
        raise UsageError(f"{path}: expected lines like name==1.2.3, found none")
    return {**pins, **_tools(path.with_name("manifest.json"))}


def _tools(manifest: Path) -> dict[str, str]:
    try:
        record = json.loads(manifest.read_text(encoding="utf-8"))
        return {str(tool["name"]): str(tool["version"]) for tool in record["tools"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{manifest}: expected the manifest of the kit that the lock is of ({error!r}); "
            "put the lock into a folder without it, or unpack the kit again"
        ) from error


def build_kit(
    target_name: str,
    python: str,
    output: Path,
    *,
    source: Path | None = None,
    wheel: Path | None = None,
    dicom: bool = True,
    lock: Path | None = None,
    find_links: Path | None = None,
    model: Path | None = None,
) -> Kit:
    """Build a kit.

    Args:
        target_name: one of `edge_xray.kit_targets.TARGETS`.
        python: version of Python on the target, such as ``3.11``.
        output: the zip to write; replaced in one step.
        source: the repository; None: found by itself.
        wheel: a built wheel of edge-xray; None: built from the repository.
        dicom: include what DICOM needs.
        lock: ``requirements.txt`` of an earlier kit, whose versions are taken again.
        find_links: take wheels from this folder alone, without internet; it must hold pip's too.
        model: a packed model of one's own that the clinic is to use; None: the shipped ones.

    Raises:
        ModelError: the model is none, or damaged.
        UsageError: the model has no parity report that says PASS, this Python has no pip, the target has no wheel of
            something, or one could not be downloaded.
        OutputError: the zip could not be written.
    """
    target = target_named(target_name)
    target.environment(python)
    if find_spec("pip") is None:
        raise UsageError(
            f"{sys.executable} has no pip, which fetches a kit's wheels. To mend it: {sys.executable} -m ensurepip, "
            "or in an environment of uv: uv pip install pip"
        )
    root = find_checkout(source)
    pins = read_lock(lock) if lock else None
    chosen = read_kit_model(model) if model else None
    with tempfile.TemporaryDirectory(prefix="edge-xray-kit-") as scratch:
        folder = Path(scratch)
        (folder / "wheels").mkdir()
        own = wheel or build_wheel(root, folder)
        if chosen is not None:
            own = with_model(own, chosen, folder / "own")
        wheels = collect(
            own,
            target,
            python,
            folder / "wheels",
            extras=("dicom",) if dicom else (),
            pins=pins,
            find_links=find_links,
        )
        pip = collect_pip(target, python, folder / "tools", pins=pins, find_links=find_links)
        files = contents(root, target, python, wheels, pip, chosen)
        identifier = _identifier(wheels, target, python, files)
        files["kit.env"] = _settings(identifier, target, python, wheels, samples=chosen is None)
        files["SHA256SUMS"] = "".join(
            f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())
        ).encode()
        data = pack(files)
    write_named(output, data)
    names = tuple(f"{item.name} {item.version}" for item in wheels)
    return Kit(output, identifier, len(data), names, chosen.doubts if chosen else ())


def contents(
    root: Path,
    target: Target,
    python: str,
    wheels: Sequence[Wheel],
    pip: Wheel,
    model: KitModel | None = None,
) -> dict[str, bytes]:
    """Every file of the kit but the two that depend on all others, by name."""
    remark = model.remark if model else ""
    pages = {_place(name, model): text for name, text in model.pages.items()} if model else {}
    files = {f"wheels/{wheel.path.name}": wheel.path.read_bytes() for wheel in wheels}
    files[f"tools/{pip.path.name}"] = pip.path.read_bytes()
    files["requirements.txt"] = "".join(
        f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels
    ).encode()
    files.update(render_docs(root, remark, tuple(map(page_name, pages))))
    for path in sorted((root / "samples").iterdir()):
        if path.suffix in SAMPLE_SUFFIXES:
            files[f"samples/{path.name}"] = path.read_bytes()
    for path in sorted((root / "models").glob(f"{NAME_PREFIX}*")):
        # The models themselves are inside edge-xray's wheel; here are the reports of the shipped ones alone:
        # those of another that was left there may show patients' films.
        if path.suffix in (".html", ".json"):
            files[f"models/{path.name}"] = path.read_bytes()
    if model is not None:
        files[f"models/{model.name}{REPORT_SUFFIX}"] = model.report
        files.update(
            {page_name(name): render_page(text, name).encode() for name, text in pages.items()}
        )
    files["LICENSE"] = (root / "LICENSE").read_bytes()
    for name in ("install.sh", "install.ps1"):
        files[name] = (package_files("edge_xray") / "kit_files" / name).read_bytes()
    files["START-HERE.txt"] = _start_here(target, python, remark).encode()
    files["sbom.cdx.json"] = _json(software_inventory(wheels, pip))
    files["manifest.json"] = _json(
        {
            "format": KIT_FORMAT,
            "target": target.name,
            "title": target.title,
            "python": python,
            "tools": [_manifest_entry(pip)],
            "wheels": [_manifest_entry(wheel) for wheel in wheels],
            "models": _models(wheels),
            "from_the_system": dict(target.system_packages),
            "left_out": dict(target.left_out),
        }
    )
    return files


def _place(page: str, model: KitModel) -> str:
    """Where a page about a model goes: one for the clinic to where the installer and all pages lead."""
    return "docs/clinic.md" if page == f"{model.name}.clinic.md" else f"models/{page}"


def _manifest_entry(wheel: Wheel) -> dict[str, str]:
    return {
        "name": wheel.name,
        "version": wheel.version,
        "file": wheel.path.name,
        "sha256": wheel.sha256,
        "licence": wheel.licence,
    }


def _models(wheels: Sequence[Wheel]) -> dict[str, Any]:
    """The list of shipped models, from edge-xray's own wheel."""
    own = next(wheel for wheel in wheels if wheel.name == "edge-xray")
    with zipfile.ZipFile(own.path) as archive:
        if "edge_xray/models/models.json" not in archive.namelist():
            return {}
        record: dict[str, Any] = json.loads(archive.read("edge_xray/models/models.json"))
        return record


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def software_inventory(wheels: Sequence[Wheel], pip: Wheel) -> dict[str, Any]:
    """A software bill of materials, CycloneDX 1.5; without a date, so that it can be compared."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{wheel.name}@{wheel.version}",
            "name": wheel.name,
            "version": wheel.version,
            "purl": f"pkg:pypi/{wheel.name}@{wheel.version}",
            "licenses": [{"license": {"name": wheel.licence}}],
            "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
        }
        for wheel in (*wheels, pip)
    ]
    digest = hashlib.sha256(json.dumps(components).encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "components": components,
    }


def _identifier(
    wheels: Sequence[Wheel], target: Target, python: str, files: Mapping[str, bytes]
) -> str:
    own = next(wheel for wheel in wheels if wheel.name == "edge-xray")
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
    return f"{own.version}-{target.name}-py{python}-{digest.hexdigest()[:HASH_DIGITS]}"


def _settings(
    identifier: str, target: Target, python: str, wheels: Sequence[Wheel], *, samples: bool
) -> bytes:
    """What the installer reads; with samples it names them as films to try."""
    needs = ENVIRONMENT_BYTES
    for wheel in wheels:
        with zipfile.ZipFile(wheel.path) as archive:
            needs += sum(member.file_size for member in archive.infolist())
    modules = [SYSTEM_MODULES[name] for name in target.system_packages]
    lines = {
        "KIT_ID": identifier,
        "KIT_TITLE": target.title,
        "KIT_PYTHON": python,
        "KIT_MACHINES": MACHINES[target.machine],
        "KIT_BITS": "32" if target.machine == "armv7l" else "64",
        "KIT_SYSTEM_PACKAGES": " ".join(target.system_packages.values()),
        "KIT_SYSTEM_MODULES": ", ".join(modules),
        "KIT_NEEDS_BYTES": str(needs),
        # A model of one's own may score no chest film.
        "KIT_TRY_SAMPLES": "1" if samples else "",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items()).encode()


def _start_here(target: Target, python: str, remark: str) -> str:
    if target.name == "windows":
        command = "powershell -ExecutionPolicy Bypass -File install.ps1"
        program = '"%LOCALAPPDATA%\\edge-xray\\edge-xray.cmd"'
        terminal, then = "a Command Prompt", "Then"
    else:
        command, program, terminal = "sh install.sh", "edge-xray", "a terminal"
        then = "Then, with edge-xray typed as step 1 says at its end"
    return (
        f"edge-xray, for: {target.title}, Python {python}\n{DISCLAIMER}\n\n"
        + (f"{textwrap.fill(remark, 80, break_on_hyphens=False)}\n\n" if remark else "")
        + f"1. Copy this folder to the machine, open {terminal} in it, and type:\n\n   {command}\n\n"
        f"2. {then}:\n\n   {program} scan FOLDER-OF-FILMS\n\n"
        "How to use it: docs/clinic.html. Everything else: index.html. No internet is needed.\n"
    )


def pack(files: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on nothing but names and contents.

    Args:
        files: content by name.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            entry = stable_entry(
                f"{TOP}/{name}", compression=zipfile.ZIP_STORED, executable=name.endswith(".sh")
            )
            archive.writestr(entry, data)
    return buffer.getvalue()
