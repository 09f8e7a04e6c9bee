"""The report's plots, as SVG pictures in data URIs: nothing to load, sharp on paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from edge_xray.measures import CALIBRATION_BINS, auc, calibration_bin, roc_curve
from edge_xray_converter.layers import LayerError
from edge_xray_converter.paired import Outcome

SQUARE = (4.2, 4.2)
WIDE = (8.6, 3.2)
"""Sizes in inches; two squares stand side by side on A4."""

BLUE, ORANGE, GREEN, GREY = "#0b57a4", "#c2570c", "#2e6b34", "#54616d"
"""Told apart by brightness too; the markers differ as well."""

MIN_BIN_FILMS = 5
"""Films a bin of the reliability plot needs to be drawn; of fewer a share says nothing."""

SERIES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, ":"), (GREY, "-."))

STYLE: Any = {
    "svg.hashsalt": "edge-xray",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e8ec",
    "legend.frameon": False,
    "text.parse_math": False,
}
"""The salt makes equal plots equal bytes. A dollar in a model's name begins no formula."""


def scatter(
    reference: Outcome, candidate: Outcome, flips: Sequence[int], titles: Sequence[str]
) -> str:
    """Probability of a finding by one model against that by the other, flips marked.

    Args:
        reference: on the x axis.
        candidate: on the y axis.
        flips: rows of the films that get another label.
        titles: names of the two models.

    Returns:
        A data URI.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for positive, colour, marker, word in (
            (False, BLUE, "o", "no finding"),
            (True, ORANGE, "^", "finding"),
        ):
            rows = reference.truth_positive == positive
            axes.plot(
                reference.p_finding[rows],
                candidate.p_finding[rows],
                marker,
                color=colour,
                markersize=3.5,
                alpha=0.6,
                markeredgewidth=0,
                label=word,
            )
        rows = np.array(flips, int)
        axes.plot(
            reference.p_finding[rows],
            candidate.p_finding[rows],
            "o",
            color="none",
            markeredgecolor="black",
            markersize=8,
            label=f"another label ({len(rows)})",
        )
        axes.set(xlabel=f"p by {titles[0]}", ylabel=f"p by {titles[1]}")
        axes.legend(loc="upper left")
        return _uri(figure)


def roc(outcomes: Sequence[Outcome], titles: Sequence[str]) -> str:
    """ROC curves of all models, one over the other.

    Args:
        outcomes: of the models.
        titles: their names.

    Returns:
        A data URI.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for outcome, title, (colour, line) in zip(
            outcomes, titles, _series(len(titles)), strict=True
        ):
            false, true = roc_curve(outcome.truth_positive, outcome.p_finding)
            area = auc(outcome.truth_positive, outcome.p_finding)
            axes.plot(false, true, line, color=colour, label=f"{title}: {area:.4f}")
        axes.set(xlabel="1 − specificity", ylabel="sensitivity")
        axes.legend(loc="lower right", title="AUC")
        return _uri(figure)


def reliability(outcomes: Sequence[Outcome], titles: Sequence[str]) -> str:
    """Observed share of findings against the stated probability, in equal-width bins with films enough.

    Args:
        outcomes: of the models.
        titles: their names.

    Returns:
        A data URI.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        markers = ("o", "^", "s", "d")
        for number, (outcome, title, (colour, line)) in enumerate(
            zip(outcomes, titles, _series(len(titles)), strict=True)
        ):
            index = calibration_bin(outcome.p_finding)
            count = np.bincount(index, minlength=CALIBRATION_BINS)
            used = count >= MIN_BIN_FILMS
            stated = np.bincount(index, outcome.p_finding, CALIBRATION_BINS)[used] / count[used]
            observed = (
                np.bincount(index, outcome.truth_positive, CALIBRATION_BINS)[used] / count[used]
            )
            marker = markers[number % len(markers)]
            axes.plot(stated, observed, marker + line, color=colour, markersize=4, label=title)
        axes.set(xlabel="stated probability of a finding", ylabel="observed share")
        axes.legend(loc="upper left")
        return _uri(figure)


def layer_errors(layers: Sequence[LayerError], title: str) -> str:
    """Relative error of each layer's output, in the order of execution.

    Args:
        layers: from `edge_xray_converter.layers.accumulated_errors`.
        title: of the candidate.

    Returns:
        A data URI.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=WIDE, layout="constrained")
        axes = figure.subplots()
        axes.bar(range(len(layers)), [100 * layer.relative for layer in layers], color=BLUE)
        axes.set(xlabel="layer, in order of execution", ylabel="error, % of output", title=title)
        axes.grid(visible=False, axis="x")
        return _uri(figure)


def _square() -> tuple[Figure, Any]:
    figure = Figure(figsize=SQUARE, layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, axes


def _series(count: int) -> list[tuple[str, str]]:
    return [SERIES[number % len(SERIES)] for number in range(count)]


def _uri(figure: Figure) -> str:
    stream = io.StringIO()
    # No date: equal plots are equal bytes.
    figure.savefig(stream, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(stream.getvalue().encode("utf-8")).decode("ascii")
    return f"data:image/svg+xml;base64,{encoded}"
