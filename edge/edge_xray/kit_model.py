"""A model of one's own in the kit: the clinic's ``edge-xray`` then uses it by default."""

from __future__ import annotations

import base64
import csv
import glob
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_xray.errors import ModelError, UsageError
from edge_xray.model_file import check_seal, parse_metadata
from edge_xray.parity_report import REPORT_SUFFIX, fault_of, remarks_of, without_films
from edge_xray.shipped import INDEX, MODEL_SUFFIX, NAME_PREFIX
from edge_xray.stable_zip import stable_entry

MODELS: Final = "edge_xray/models"
"""Folder of the models in edge-xray's wheel."""


@dataclass(frozen=True)
class KitModel:
    """A model that a kit is built for.

    Attributes:
        name: what ``--model`` and the list of models call it: the file's name without its ending.
        data: the whole packed file.
        report: its parity report, without the names of films.
        pages: Markdown about it, by the file's name.
        remark: what it is for, and that the docs, which are of the shipped models, do not say it.
        doubts: what makes the PASS of its report say less.
    """

    name: str
    data: bytes
    report: bytes
    pages: Mapping[str, str]
    remark: str
    doubts: tuple[str, ...]


def read_kit_model(path: Path) -> KitModel:
    """Read a model that is to go to a clinic, with the report that allows it.

    Of the parity report's three files two go along: the one that a browser opens shows films, which are patients'.

    Args:
        path: a packed ``.tflite`` file with ``NAME.parity.json`` beside it, and Markdown files ``NAME.WORD.md``.

    Raises:
        ModelError: no packed model, or one whose bytes changed.
        UsageError: its parity report is missing, of other bytes, or does not say PASS, or a page is no UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: expected a packed {MODEL_SUFFIX} file ({error})") from error
    metadata = parse_metadata(data, str(path))
    check_seal(data, str(path))
    fault = fault_of(path)
    if fault:
        raise UsageError(
            f"{path}: goes into no kit without a parity report that says PASS; {fault}"
        )
    report = without_films(path.with_name(path.stem + REPORT_SUFFIX).read_bytes())
    try:
        pages = {
            page.name: page.read_text(encoding="utf-8")
            for page in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*.md"))
            # A.B.parity.md is of A.B.tflite, and not of A.tflite.
            if page.name.count(".") == path.name.count(".") + 1
        }
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.stem}.*.md: expected pages in UTF-8 ({error})") from error
    use = metadata.intended_use
    remark = " ".join(
        (
            f"This kit scores films with the model {path.stem} ({metadata.name} {metadata.version} in its lists), "
            f"which looks for: {metadata.finding}.",
            *(words for words in (use.summary, use.not_for) if words),
            "What the pages say of films, illnesses, advice and figures is of the models that edge-xray ships, and "
            "not of this one; edge-xray info tells what it is.",
        )
    )
    return KitModel(path.stem, data, report, pages, remark, remarks_of(report))


def with_model(wheel: Path, model: KitModel, folder: Path) -> Path:
    """Put a model into edge-xray's wheel, as the default one; the same parts give the same bytes.

    Args:
        wheel: of edge-xray.
        model: what to add.
        folder: where the new wheel is written, under the same name.

    Raises:
        UsageError: the wheel is none, or ships a model that is called so.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = {info.filename: archive.read(info) for info in archive.infolist()}
        record = next(name for name in files if name.endswith(".dist-info/RECORD"))
        index = json.loads(files[f"{MODELS}/{INDEX}"])
        known = index["models"]
    except (OSError, zipfile.BadZipFile, StopIteration, KeyError, ValueError) as error:
        raise UsageError(f"{wheel}: expected a wheel of edge-xray ({error!r})") from error
    wanted = model.name.casefold()
    # By the short name too the clinic's --model goes on meaning the shipped one.
    if {wanted, f"{NAME_PREFIX}{wanted}"} & set(map(str.casefold, known)):
        raise UsageError(
            f"{model.name}{MODEL_SUFFIX}: edge-xray ships a model of that name; give the file, and its "
            f"{REPORT_SUFFIX}, another one"
        )
    name = model.name + MODEL_SUFFIX
    sha256 = hashlib.sha256(model.data).hexdigest()
    index = {
        "default": model.name,
        "models": {**known, model.name: {"file": name, "sha256": sha256}},
    }
    files[f"{MODELS}/{name}"] = model.data
    files[f"{MODELS}/{INDEX}"] = (json.dumps(index, indent=1) + "\n").encode()
    del files[record]
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerows((own, f"sha256={_urlsafe(data)}", len(data)) for own, data in files.items())
    rows.writerow((record, "", ""))
    files[record] = table.getvalue().encode()
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / wheel.name
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for own, data in files.items():
            archive.writestr(stable_entry(own), data)
    return made


def _urlsafe(data: bytes) -> str:
    """A hash as a wheel's RECORD has it (PEP 376, PEP 427)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
