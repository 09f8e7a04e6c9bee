"""The parity report as one self-contained HTML file: opens offline, prints on A4, needs no script."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from edge_xray.decode import decode
from edge_xray.heatmap import finding_evidence, overlay
from edge_xray.labelled import films_and_patients
from edge_xray.metadata import DISCLAIMER
from edge_xray_converter import plots
from edge_xray_converter.layers import worst
from edge_xray_converter.parity import Parity
from edge_xray_converter.parity_text import (
    TEST,
    check_row,
    figure_rows,
    intervals,
    p_text,
)
from edge_xray_converter.runs import Run

TEMPLATES = Path(__file__).with_name("templates")
TEMPLATE = "parity.html.jinja"
STYLE = "parity.css"

PICTURE_SIDE = 180
"""Longest side of a film's picture, in pixels."""

PICTURE_QUALITY = 75

MAX_PICTURED_FLIPS = 60
"""Films with pictures; a conversion that flips more has failed anyway, and the file stays small."""

WORST_LAYERS = 10


def render(parity: Parity, record: Mapping[str, Any], *, films: bool = True) -> str:
    """The report as HTML.

    Args:
        parity: its content.
        record: the same as plain data, from `edge_xray_converter.record.make_record`.
        films: whether pictures of films are shown.
    """
    style = (TEMPLATES / STYLE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counts = record["films"]
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    # The style is text of this package; marked safe so that its quotes stay quotes.
    return environment.get_template(TEMPLATE).render(
        record=record,
        style=Markup(style),  # noqa: S704
        policy=(
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        disclaimer=DISCLAIMER,
        whose=films_and_patients(counts["count"], counts["patients"], counts["patients_unknown"]),
        rows=figure_rows(record),
        intervals=intervals(record),
        test=TEST,
        p_text=p_text,
        plots=_plots(parity),
        candidates=[
            _candidate(parity, record, index, films) for index in range(len(parity.checks))
        ],
    )


def _plots(parity: Parity) -> list[dict[str, str]]:
    titles = [run.model.title for run in parity.runs]
    made = [
        {
            "uri": plots.scatter(
                parity.outcomes[0],
                parity.outcomes[index + 1],
                comparison.label_flips,
                [titles[0], titles[index + 1]],
            ),
            "words": f"Probability of a finding by {titles[0]} and by {titles[index + 1]}, a film a "
            "mark; circled films get another label.",
            "shape": "square",
        }
        for index, comparison in enumerate(parity.comparisons)
    ]
    made.append(
        {
            "uri": plots.roc(parity.outcomes, titles),
            "words": "ROC curves, one over the other.",
            "shape": "square",
        }
    )
    made.append(
        {
            "uri": plots.reliability(parity.outcomes, titles),
            "words": "Reliability: on the diagonal a stated probability is what is observed; bins "
            f"with fewer than {plots.MIN_BIN_FILMS} films are left out.",
            "shape": "square",
        }
    )
    for title, layers in zip(titles[1:], parity.layers, strict=True):
        if layers:
            made.append(
                {
                    "uri": plots.layer_errors(layers, title),
                    "words": f"Error gathered at each layer of {title}, against the reference.",
                    "shape": "wide",
                }
            )
    return made


def _candidate(
    parity: Parity, record: Mapping[str, Any], index: int, films: bool
) -> dict[str, Any]:
    comparison = record["comparisons"][index]
    rows = parity.comparisons[index].label_flips
    flips: list[dict[str, Any]] = []
    for flip, row in zip(comparison["flips"], rows, strict=True):
        pictured = films and len(flips) < MAX_PICTURED_FLIPS
        flips.append({**flip, "pictures": _pictures(parity, index, row) if pictured else []})
    return {
        "record": comparison,
        "checks": [(*check_row(check), check["passed"]) for check in comparison["checks"]],
        "flips": flips,
        "layers": [layer.to_dict() for layer in worst(parity.layers[index], WORST_LAYERS)],
    }


def _pictures(parity: Parity, index: int, row: int) -> list[dict[str, str]]:
    """The film, and over it the heat map of each of the two models."""
    runs = parity.runs[0], parity.runs[index + 1]
    path = parity.source.root / parity.films[row].path
    film = Image.fromarray(decode(path, runs[0].model.metadata.input).pixels)
    film.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC)
    pictures = [{"uri": _jpeg(film), "words": "film"}]
    for run, words in zip(runs, ("reference", "candidate"), strict=True):
        map_ = _heat_map(run, row, film)
        if map_ is not None:
            pictures.append({"uri": _jpeg(map_), "words": f"heat map, {words}"})
    return pictures


def _heat_map(run: Run, row: int, film: Image.Image) -> Image.Image | None:
    evidence = run.scores[row].evidence
    if evidence is None:
        return None
    return overlay(film, finding_evidence(evidence, run.model.metadata))


def _jpeg(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=PICTURE_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
