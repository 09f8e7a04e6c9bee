"""Shortcuts: what can be told from a film without looking at what it is of.

Films of two classes often come from different machines, years or wards, and their borders (collimation,
markers, padding) give that away. A network that reads the border scores well on such films and fails
elsewhere (DeGrave, Janizek & Lee 2021, "AI for radiographic COVID-19 detection selects shortcuts over
signal"). `border_scores` tells how much the border of a data set gives away; `VARIANTS` tell how much a
trained network makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import ClusterResamples
from edge_xray.operating_point import Estimate

Pixels = NDArray[np.uint8]

BORDER_FRACTION = 2 / 224
"""Width of the border as a share of the side: two pixels of the 224 that most networks take."""

CENTRE_FRACTION = 0.6
"""Side of the blanked centre as a share of the film's: the lungs of a child's chest film lie in it."""

BLANK = 127
"""Grey level of what is blanked: the one that networks of this kit take for zero."""

BORDER_BINS = 14
"""Parts that each line of the border is summarised in, by mean and deviation. On the Guangzhou films
14 tell as much as 28 (AUC 0.985 both) and more than all 1,776 single pixels (0.982), in a fiftieth of
the time."""

BORDER_SIDE = 224
"""Films are resized to this side before their border is taken."""

BOOSTING_ROUNDS = 100

LEAF_FILMS = 20
"""Fewest films in a leaf of a tree, scikit-learn's default; a twentieth of the films if that is less."""


def border_features(pixels: Pixels) -> NDArray[np.float32]:
    """Summarise the outermost two lines of each side of a film.

    Args:
        pixels: uint8, (224, 224), grey.

    Returns:
        (224,): mean and standard deviation in 14 parts of 2 lines of 4 sides, in grey levels.

    Raises:
        ValueError: another shape.
    """
    if pixels.shape != (BORDER_SIDE, BORDER_SIDE):
        raise ValueError(f"expected {BORDER_SIDE}x{BORDER_SIDE} grey pixels, got {pixels.shape}")
    width = round(BORDER_SIDE * BORDER_FRACTION)
    lines = np.concatenate(
        [pixels[:width], pixels[-width:], pixels[:, :width].T, pixels[:, -width:].T]
    )
    parts = lines.reshape(len(lines), BORDER_BINS, -1).astype(np.float32)
    return np.concatenate([parts.mean(axis=2).ravel(), parts.std(axis=2).ravel()])


def border_scores(
    features: NDArray[np.floating],
    labels: Sequence[str],
    groups: Sequence[str] | NDArray[np.generic],
    *,
    folds: int,
    seed: int = 0,
    done: Callable[[], None] = lambda: None,
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Tell each film's class from its border alone, by a model that never saw its patient.

    Gradient boosting (scikit-learn's histogram kind, 100 rounds) in stratified cross-validation, no
    group in two folds.

    Args:
        features: (n, k), from `border_features`.
        labels: (n,) the reference: the class of each film.
        groups: (n,) what must not be parted: a patient with all copies.
        folds: how many; no more than there are groups of any class.
        seed: of the folds.
        done: called after each fold.

    Returns:
        ``(names, probabilities)``: the classes in order, and (n, classes).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    names = tuple(sorted(set(labels)))
    reference = np.array([names.index(label) for label in labels])
    scores = np.zeros((len(reference), len(names)))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    # The threads of so small a task wait for each other by spinning: on a busy machine one is fifty
    # times as fast as two.
    with threadpool_limits(1):
        for seen, held_back in splitter.split(features, reference, np.asarray(groups)):
            model = HistGradientBoostingClassifier(
                max_iter=BOOSTING_ROUNDS,
                early_stopping=False,
                min_samples_leaf=max(1, min(LEAF_FILMS, len(seen) // LEAF_FILMS)),
                random_state=seed,
            )
            known = np.unique(reference[seen])
            if len(known) > 1:
                model.fit(features[seen], reference[seen])
                scores[np.ix_(held_back, known)] = model.predict_proba(features[held_back])
            else:  # a patient with films of two classes may leave but one to learn from
                scores[held_back, known] = 1.0
            done()
    return names, scores


def one_against_rest(
    names: Sequence[str],
    scores: NDArray[np.floating],
    labels: Sequence[str],
    resamples: ClusterResamples,
) -> dict[str, Estimate]:
    """AUC of each class against all others; for two classes once, of the second.

    Args:
        names: the classes.
        scores: (n, classes), higher means more likely that class.
        labels: (n,) the reference.
        resamples: of the films' clusters.
    """
    reference = np.array(labels)
    wanted = range(1, 2) if len(names) == 2 else range(len(names))
    return {names[i]: resamples.auc(reference == names[i], scores[:, i]) for i in wanted}


def _centre(shape: tuple[int, ...], fraction: float) -> tuple[slice, slice]:
    top, left = (round(side * (1 - fraction) / 2) for side in shape[:2])
    return slice(top, shape[0] - top), slice(left, shape[1] - left)


def whole(pixels: Pixels) -> Pixels:
    """The film as it is."""
    return pixels


def border_lines(side: int) -> int:
    """How many lines of pixels the border is wide (`BORDER_FRACTION`) on a film of that side, one at least."""
    return max(1, round(side * BORDER_FRACTION))


def border_only(pixels: Pixels) -> Pixels:
    """Only the outermost lines (`BORDER_FRACTION`) of a film, the rest grey.

    Args:
        pixels: uint8, (H, W, C).
    """
    lines = [border_lines(side) for side in pixels.shape[:2]]
    result = pixels.copy()
    result[lines[0] : -lines[0], lines[1] : -lines[1]] = BLANK
    return result


def centre_blanked(pixels: Pixels) -> Pixels:
    """A film whose middle (`CENTRE_FRACTION` of each side) is grey: on a chest film, the lungs.

    Args:
        pixels: uint8, (H, W, C).
    """
    result = pixels.copy()
    result[_centre(pixels.shape, CENTRE_FRACTION)] = BLANK
    return result


def centre_only(pixels: Pixels) -> Pixels:
    """A film of which only the middle (`CENTRE_FRACTION` of each side) is kept.

    Args:
        pixels: uint8, (H, W, C).
    """
    result = np.full_like(pixels, BLANK)
    place = _centre(pixels.shape, CENTRE_FRACTION)
    result[place] = pixels[place]
    return result


VARIANTS: dict[str, Callable[[Pixels], Pixels]] = {
    "whole film": whole,
    "border only": border_only,
    "centre blanked": centre_blanked,
    "centre only": centre_only,
}
"""What a network is shown in the shortcut table."""
