"""What is left of a model's figures on films that are corrupted, or of which a part is blanked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import clustered_share
from edge_xray.measures import complement, mean_of_two
from edge_xray.operating_point import Estimate, OperatingPoint
from edge_xray.preprocess import preprocess
from edge_xray.progress import Steps
from edge_xray_trainer.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edge_xray_trainer.figures import Bootstrap, Measures, measure
from edge_xray_trainer.scorers import Scorer
from edge_xray_trainer.scoring import PreparedFilms, Reference, score
from edge_xray_trainer.shortcut import VARIANTS


@dataclass(frozen=True)
class Robustness:
    """What is left on corrupted films.

    Attributes:
        films: corrupted, each in all ways.
        clean: balanced error (mean of type I and type II) on the same films, not corrupted.
        mean: balanced error, mean over corruptions and severities.
        by_severity: ``{corruption: balanced error at each severity}``.
        by_corruption: ``{corruption: its mean over severities}``.
        auc: ``{corruption: AUC, mean over severities}``.
        clean_auc: AUC on the same films, not corrupted.
    """

    films: int
    clean: Estimate
    mean: Estimate
    by_severity: Mapping[str, tuple[Estimate, ...]]
    by_corruption: Mapping[str, Estimate]
    auc: Mapping[str, Estimate]
    clean_auc: Estimate


def measure_shortcut(
    scorer: Scorer,
    films: PreparedFilms,
    reference: Reference,
    bootstrap: Bootstrap,
    point: OperatingPoint,
    progress: Steps,
) -> dict[str, Measures]:
    """Figures on films of which only a part is shown, by `edge_xray_trainer.shortcut.VARIANTS`.

    A model that looks at what it should is at chance (AUC 0.5) on the border alone and loses most of
    its AUC where the centre is blanked.

    Args:
        scorer: the model.
        films: prepared films.
        reference: what they are.
        bootstrap: how intervals are drawn.
        point: the operating point.
        progress: shows how far it is.
    """
    measured = {}
    with progress("Blanking parts of films", len(VARIANTS) * len(films.films)) as done:
        for name, variant in VARIANTS.items():
            shown = [variant(pixels[0])[None] for pixels in films.inputs]
            measured[name] = measure(reference, score(scorer, shown, point, done), bootstrap)
    return measured


def measure_robustness(
    scorer: Scorer,
    films: PreparedFilms,
    reference: Reference,
    bootstrap: Bootstrap,
    point: OperatingPoint,
    progress: Steps,
    *,
    jobs: int = 1,
    limit: int = 0,
) -> Robustness:
    """Balanced error at the operating point and AUC on films corrupted in 13 ways at 5 severities.

    The balanced error is the benchmark's: one less the mean of sensitivity and specificity (Di Salvo,
    Doerrich & Ledig 2024). A mean over corruptions is a mean over films of the share of ways in which
    each is called right, so its interval is of films, not of ways.

    Args:
        scorer: the model.
        films: prepared films, with their standard size.
        reference: what they are; the figures are NaN if one of the two classes is empty.
        bootstrap: how intervals are drawn.
        point: the operating point.
        progress: shows how far it is.
        jobs: films at once.
        limit: how many films to corrupt, drawn at random; 0: all.
    """
    chosen = np.arange(len(films.films))
    if 0 < limit < len(chosen):
        draw = np.random.default_rng(bootstrap.seed)
        chosen = np.sort(draw.choice(chosen, limit, replace=False))
    positive = reference.positive[chosen]
    resamples = bootstrap.of(reference.clusters[chosen])
    spec = scorer.metadata.input
    ways = [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]
    called: list[NDArray[np.bool_]] = []
    aucs: list[NDArray[np.float64]] = []
    with (
        progress("Corrupting films", (len(ways) + 1) * len(chosen)) as done,
        ThreadPoolExecutor(jobs) as pool,
    ):

        def ask(change: Callable[[int], NDArray[np.uint8]]) -> None:
            shown = list(pool.map(lambda i: preprocess(change(i), spec), chosen))
            scored = score(scorer, shown, point, done)
            called.append(scored.called)
            value = resamples.auc(positive, scored.p_finding).value
            aucs.append(np.r_[value, resamples.aucs(positive, scored.p_finding)])

        ask(lambda i: films.standard[i])
        for corruption, severity in ways:
            ask(lambda i, c=corruption, s=severity: corrupt(films.standard[i], c, s, seed=int(i)))  # type: ignore[misc]
    right = np.stack(called, axis=1) == positive[:, None]
    clusters = reference.clusters[chosen]
    auc_table = np.stack(aucs, axis=1)

    def balanced_error(columns: Sequence[int]) -> Estimate:
        """One less the mean of both rates, each film with the share of ways it is called right in."""
        share = right[:, list(columns)].mean(axis=1)
        rates = (clustered_share(share[own], clusters[own]) for own in (positive, ~positive))
        return complement(mean_of_two(*rates))

    def area(columns: Sequence[int]) -> Estimate:
        own = auc_table[:, list(columns)].mean(axis=1)
        return resamples.estimate_area(float(own[0]), own[1:], positive)

    places = {
        corruption.name: [1 + i for i, (own, _) in enumerate(ways) if own is corruption]
        for corruption in CORRUPTIONS
    }
    return Robustness(
        films=len(chosen),
        clean=balanced_error([0]),
        mean=balanced_error(range(1, len(ways) + 1)),
        by_severity={
            name: tuple(balanced_error([i]) for i in columns) for name, columns in places.items()
        },
        by_corruption={name: balanced_error(columns) for name, columns in places.items()},
        auc={name: area(columns) for name, columns in places.items()},
        clean_auc=area([0]),
    )
