"""What is left of a model on corrupted and blanked films, with models of which it is known what they look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_xray.clustered import ClusterResamples
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import SplitFilm
from edge_xray.measures import auc
from edge_xray.metadata import Label, ModelMetadata
from edge_xray.operating_point import OperatingPoint
from edge_xray.preprocess import preprocess
from edge_xray.progress import unseen
from edge_xray_trainer.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edge_xray_trainer.figures import Bootstrap
from edge_xray_trainer.scoring import FilmFacts, PreparedFilms, Reference
from edge_xray_trainer.shortcut import (
    VARIANTS,
    border_features,
    border_scores,
    one_against_rest,
)
from edge_xray_trainer.stress import measure_robustness, measure_shortcut

POINT = OperatingPoint("only", 0.5, 0.5, 0.5)
METADATA = ModelMetadata(
    name="known",
    version="1",
    labels=(Label("normal", "none", "Nothing."), Label("ill", "urgent", "Now.")),
    input=InputSpec(32, 32),
    operating_points=(POINT,),
)


@dataclasses.dataclass
class Known:
    """A model that calls a film ill where the mean grey of what it looks at is above a level."""

    looks_at: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    level: float
    metadata: ModelMetadata = METADATA

    def logits(
        self, pixels: Sequence[NDArray[np.uint8]], done: Callable[[], None]
    ) -> NDArray[np.float64]:
        means = [float(self.looks_at(film[0, ..., 0]).mean()) for film in pixels]
        return np.array([[0.0, (mean - self.level) / 20] for mean in means])


def prepared(standard: Sequence[NDArray[np.uint8]]) -> PreparedFilms:
    films = [SplitFilm(f"{i}.png", "", "", "", str(i), "all") for i in range(len(standard))]
    inputs = [preprocess(film, METADATA.input) for film in standard]
    facts = [FilmFacts("PNG", 224, 224, 0.0)] * len(standard)
    return PreparedFilms(tuple(films), tuple(inputs), tuple(standard), tuple(facts), {})


def referred(positive: NDArray[np.bool_]) -> Reference:
    names = np.array([f"p{i}" for i in range(len(positive))], np.str_)
    return Reference(positive, positive.astype(np.int64), names)


@pytest.mark.parametrize(
    ("side", "line", "first", "last"), [(224, 2, 45, 179), (96, 1, 19, 77), (32, 1, 6, 26)]
)
def test_of_a_film_is_shown_what_the_name_says(side: int, line: int, first: int, last: int) -> None:
    film = np.random.default_rng(0).integers(0, 127, (side, side, 1)).astype(np.uint8)
    border = np.ones((side, side, 1), bool)
    border[line:-line, line:-line] = False
    centre = np.zeros_like(border)
    centre[first:last, first:last] = True
    shown = {
        "whole film": np.ones_like(border),
        "border only": border,
        "centre blanked": ~centre,
        "centre only": centre,
    }
    before = film.copy()
    for name, variant in VARIANTS.items():
        assert np.array_equal(variant(film), np.where(shown[name], film, 127)), name
    assert np.array_equal(film, before)


def test_of_a_film_that_is_no_square_each_side_has_its_own_share() -> None:
    film = np.zeros((100, 300, 3), np.uint8)
    shown = {name: variant(film)[..., 0] == 0 for name, variant in VARIANTS.items()}
    assert (~shown["border only"]).nonzero()[0].min() == 1
    assert (~shown["border only"]).nonzero()[1].min() == 3
    for name, centre in (
        ("centre blanked", ~shown["centre blanked"]),
        ("centre only", shown["centre only"]),
    ):
        rows, columns = centre.nonzero()
        assert (rows.min(), rows.max()) == (20, 79), name
        assert (columns.min(), columns.max()) == (60, 239), name


def test_a_model_that_reads_the_border_is_found_out_and_one_that_reads_the_lungs_is_not() -> None:
    draw = np.random.default_rng(0)
    positive = np.arange(20) % 2 == 1
    standard = []
    for ill in positive:
        film = draw.integers(90, 120, (32, 32)).astype(np.uint8)
        film[12:20, 12:20] += 60 * np.uint8(ill)
        film[[0, -1]] += 60 * np.uint8(ill)
        standard.append(film)
    films, reference = prepared(standard), referred(positive)

    def areas(model: Known) -> dict[str, float]:
        measured = measure_shortcut(model, films, reference, Bootstrap(50), POINT, unseen)
        return {name: own.auc.value for name, own in measured.items()}

    edge = areas(Known(lambda film: film[[0, -1]], 130.0))
    assert edge == {
        "whole film": 1.0, "border only": 1.0, "centre blanked": 1.0, "centre only": 0.5
    }  # fmt: skip
    lungs = areas(Known(lambda film: film[14:18, 14:18], 130.0))
    assert lungs == {
        "whole film": 1.0, "border only": 0.5, "centre blanked": 0.5, "centre only": 1.0
    }  # fmt: skip


@pytest.mark.parametrize("limit", [0, 5])
def test_robustness_is_the_mean_over_films_corrupted_one_by_one(limit: int) -> None:
    draw = np.random.default_rng(1)
    positive = np.arange(8) % 2 == 1
    standard = [
        draw.integers(75 + 50 * ill, 145 + 50 * ill, (224, 224)).astype(np.uint8)
        for ill in positive
    ]
    # The slightest corruption brings normal films over the level, and a film without noise among them.
    standard[3] = np.full((224, 224), 109, np.uint8)
    level = 0.05 + max(float(preprocess(film, METADATA.input).mean()) for film in standard[::2])
    model = Known(lambda film: film, level)
    found = measure_robustness(
        model, prepared(standard), referred(positive), Bootstrap(50, 7), POINT, unseen,
        jobs=2, limit=limit,
    )  # fmt: skip
    chosen = np.arange(8)
    if limit:
        chosen = np.sort(np.random.default_rng(7).choice(chosen, limit, replace=False))
    assert found.films == len(chosen)
    ill = positive[chosen]

    def figures(films: list[NDArray[np.uint8]]) -> tuple[float, float]:
        """Balanced error and AUC."""
        shown = np.array([preprocess(film, METADATA.input).mean() for film in films])
        called = shown >= level
        return 1 - (called[ill].mean() + (~called[~ill]).mean()) / 2, auc(ill, shown)

    error, area = figures([standard[i] for i in chosen])
    assert (found.clean.value, found.clean_auc.value) == pytest.approx((error, area))
    means = []
    for corruption in CORRUPTIONS:
        each = [
            figures([corrupt(standard[i], corruption, severity, seed=int(i)) for i in chosen])
            for severity in SEVERITIES
        ]
        errors = [error for error, _ in each]
        means.append(np.mean(errors))
        own = found.by_severity[corruption.name]
        assert [estimate.value for estimate in own] == pytest.approx(errors)
        assert found.by_corruption[corruption.name].value == pytest.approx(means[-1])
        assert found.auc[corruption.name].value == pytest.approx(np.mean([a for _, a in each]))
    assert found.mean.value == pytest.approx(np.mean(means))
    assert found.clean.value != found.by_severity[CORRUPTIONS[0].name][0].value
    assert found.clean_auc.value != found.auc[CORRUPTIONS[-1].name].value
    # Some corruption costs this model something, and not all of them do.
    assert min(means) < found.mean.value < max(means)


def test_the_border_s_features_are_of_its_two_lines_alone() -> None:
    film = np.random.default_rng(0).integers(0, 255, (224, 224)).astype(np.uint8)
    features = border_features(film)
    inner = film.copy()
    inner[2:-2, 2:-2] = 0
    assert np.array_equal(features, border_features(inner))
    for row, column in ((0, 100), (1, 100), (-2, 3), (-1, 3), (70, 0), (70, 1), (9, -2), (9, -1)):
        other = film.copy()
        other[row, column] ^= 128
        assert not np.array_equal(features, border_features(other))
    assert features[0] == pytest.approx(film[0, :16].mean())
    assert features[112] == pytest.approx(film[0, :16].std())
    with pytest.raises(ValueError, match="expected 224x224"):
        border_features(film[:100])


def test_a_border_that_tells_the_patient_and_not_the_class_tells_nothing() -> None:
    draw = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 6)
    labels = [("a", "b")[own] for own in draw.permutation(np.arange(60) % 2)[patients]]
    told = draw.normal(0, 9, (60, 5))[patients] + draw.normal(0, 0.1, (360, 5))
    areas = []
    for features in (told, told + 20.0 * (np.array(labels) == "b")[:, None]):
        folds: list[None] = []
        names, scores = border_scores(
            features, labels, patients, folds=3, done=lambda folds=folds: folds.append(None)
        )
        assert len(folds) == 3
        resamples = ClusterResamples(patients, resamples=50)
        (told_apart,) = one_against_rest(names, scores, labels, resamples).items()
        assert told_apart[0] == "b"
        areas.append(told_apart[1].value)
    assert abs(areas[0] - 0.5) < 0.2 and areas[1] > 0.95


def test_a_class_of_two_films_among_thousands_is_told_from_their_borders_too() -> None:
    # Beyond 10,000 films scikit-learn would hold some back to stop early, and one film cannot be divided.
    labels = ["a", "b"] * 10_001 + ["c", "c"]
    features = np.array([[{"a": 0.0, "b": 1.0, "c": 2.0}[label]] for label in labels])
    names, scores = border_scores(features, labels, np.arange(len(labels)), folds=2)
    assert names == ("a", "b", "c")
    assert [names[place] for place in scores[:-2].argmax(axis=1)] == labels[:-2]
    areas = one_against_rest(
        names, scores, labels, ClusterResamples(np.arange(len(labels)), resamples=2)
    )
    assert list(areas) == ["a", "b", "c"] and areas["a"].value == 1.0
