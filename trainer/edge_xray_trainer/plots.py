"""Pictures of figures: each a small SVG within the page, drawn by matplotlib without a display."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_xray.operating_point import Estimate

COLOURS = ("#0b5fa5", "#c2410c", "#2e7d32", "#6a1b9a", "#b45309", "#00838f")
"""Told apart by people who see no red and green, in print too: they differ in lightness."""

MARKERS = "osD^vP*X"
DASHES = ("-", "--", ":", "-.")

LEGEND_WITHIN = 8
"""Most entries of a legend within the axes; more stand in columns beside them."""

LEGEND_ROWS = 16

ABOVE: Any = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
"""Where a legend covers nothing that is drawn."""

DENSITY_BINS = 40
GRID = "#d3dae0"
INK = "#16202a"

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edge-xray",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": "#54616d",
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    # Names of classes and models may hold dollar signs.
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Attributes:
        source: a ``data:`` address.
        caption: what it shows, for the caption and for those who cannot see it.
    """

    source: str
    caption: str


def draw(
    caption: str, paint: Callable[[Any], None], *, width: float = 4.6, height: float = 3.6
) -> Picture:
    """Draw one pair of axes.

    Args:
        caption: what it shows.
        paint: draws on the matplotlib axes it is given.
        width: in inches.
        height: in inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The letters of a class may be in no font here: they stand as text in the picture, and it is the
        # browser that draws them.
        for said in (
            r"Glyph \d+ .* missing from",
            "Matplotlib currently does not support .* natively",
        ):
            warnings.filterwarnings("ignore", said, UserWarning)
        figure = Figure((width, height), layout="constrained")
        paint(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/svg+xml;base64,{text}", caption)


def _legend(axes: Any, *, above: bool = False) -> None:
    """A legend within the axes, or above them, if it is short, else in columns on their right, which widen the picture."""
    lines, names = axes.get_legend_handles_labels()
    if len(names) <= LEGEND_WITHIN:
        axes.legend(**(ABOVE if above else {}))
        return
    columns = -(-len(names) // LEGEND_ROWS)
    figure = axes.figure
    width, height = figure.get_size_inches()
    longest = max(map(len, names))
    width += columns * (0.5 + 0.07 * longest)
    figure.set_size_inches(width, max(height, 0.3 + 0.16 * -(-len(names) // columns)))
    figure.legend(
        lines, names, loc="outside right upper", ncols=columns, fontsize=7.0, columnspacing=1.0
    )


def roc_plot(
    name: str,
    curve: tuple[NDArray[np.floating], NDArray[np.floating]],
    point: tuple[float, float],
) -> Picture:
    """A ROC curve.

    Args:
        name: of the curve.
        curve: false positive and true positive rates, ascending.
        point: false and true positive rate at the operating point.
    """

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GRID)
        axes.step(*curve, where="post", color=COLOURS[0], label=name)
        axes.plot(*point, "o", color=INK, label="operating point", markersize=5)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axes.legend(loc="lower right")

    return draw("ROC curve, with the operating point.", paint, width=3.8)


def reliability_plot(
    stated: Sequence[float], observed: Sequence[Estimate], films: Sequence[int]
) -> Picture:
    """Reliability: what the model says against what is so, one point a bin that has films."""

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GRID)
        kept = [i for i, count in enumerate(films) if count]
        x = [stated[i] for i in kept]
        y = [observed[i].value for i in kept]
        spread = [
            [observed[i].value - observed[i].low for i in kept],
            [observed[i].high - observed[i].value for i in kept],
        ]
        axes.errorbar(x, y, spread, fmt="o", color=COLOURS[0], markersize=4, capsize=2)
        axes.set(
            xlabel="stated probability", ylabel="observed share", xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02), aspect="equal",
        )  # fmt: skip

    return draw("Reliability: stated against observed, with 95 % intervals.", paint, width=3.8)


def confusion_plot(labels: Sequence[str], counts: NDArray[np.integer]) -> Picture:
    """Confusion matrix; the shade is the share of the row, the number counts films."""

    def paint(axes: Any) -> None:
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        for (row, column), count in np.ndenumerate(counts):
            axes.text(
                column, row, str(count), ha="center", va="center",
                color="white" if share[row, column] > 0.5 else INK,
            )  # fmt: skip
        places = range(len(labels))
        axes.set_xticks(places, labels, rotation=30, ha="right")
        axes.set_yticks(places, labels)
        axes.set(xlabel="the model says", ylabel="reference")

    side = 2.2 + 0.45 * len(labels)
    return draw("Confusion matrix: films by class.", paint, width=side, height=side * 0.9)


def bars_plot(
    caption: str,
    names: Sequence[str],
    values: Sequence[Estimate],
    label: str,
    *,
    reference: Sequence[float] | None = None,
    reference_name: str = "",
) -> Picture:
    """Horizontal bars with intervals, and a mark for a reference value of each."""

    def paint(axes: Any) -> None:
        places = np.arange(len(names))
        middle = np.array([value.value for value in values])
        low = np.array([value.low for value in values])
        high = np.array([value.high for value in values])
        axes.barh(places, middle, 0.6, xerr=[middle - low, high - middle], color=COLOURS[0],
                  error_kw={"ecolor": INK, "capsize": 2, "lw": 0.8})  # fmt: skip
        if reference is not None:
            axes.plot(reference, places, "|", color=COLOURS[1], ms=10, mew=2, label=reference_name)
            axes.legend(**ABOVE)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.set_xlabel(label)

    return draw(caption, paint, width=5.2, height=1.0 + 0.26 * len(names))


def scatter_plot(
    caption: str,
    points: Mapping[str, tuple[float, Estimate]],
    x_label: str,
    y_label: str,
) -> Picture:
    """One point a model with its interval, on a logarithmic axis across."""
    from matplotlib.ticker import LogLocator

    def paint(axes: Any) -> None:
        for index, (name, (x, y)) in enumerate(points.items()):
            axes.errorbar(
                [x], [y.value], [[y.value - y.low], [y.high - y.value]], capsize=3,
                fmt=MARKERS[index % len(MARKERS)], color=COLOURS[index % len(COLOURS)], label=name,
            )  # fmt: skip
        places = [x for x, _ in points.values()]
        # At least a factor of four, which always holds one of the places that are labelled.
        axes.set(
            xscale="log", xlim=(min(places) / 2, max(places) * 2), xlabel=x_label, ylabel=y_label
        )
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        _legend(axes, above=True)

    return draw(caption, paint, width=3.8)


def densities_plot(caption: str, groups: Mapping[str, NDArray[np.floating]], label: str) -> Picture:
    """How a quantity is spread in each group: outlines of histograms of equal area."""

    def paint(axes: Any) -> None:
        values = [group for group in groups.values() if len(group)]
        low = min(float(group.min()) for group in values)
        high = max(float(group.max()) for group in values)
        edges = np.linspace(low, high if high > low else low + 1.0, DENSITY_BINS + 1)
        for index, (name, group) in enumerate(groups.items()):
            round_, colour = divmod(index, len(COLOURS))
            axes.hist(
                group, edges, density=True, histtype="step", label=name,
                color=COLOURS[colour], linestyle=DASHES[round_ % len(DASHES)],
            )  # fmt: skip
        axes.set(xlabel=label, ylabel="density")
        _legend(axes)

    return draw(caption, paint, height=2.8)
