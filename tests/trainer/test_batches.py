"""What a network is shown in a step: which films, how varied, with which targets and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_xray.labelled import SplitFilm
from edge_xray_trainer.augment import NO_AUGMENTATION, Augmentation
from edge_xray_trainer.batches import AugmentedBatches
from edge_xray_trainer.class_weights import class_weights
from edge_xray_trainer.data import FilmSet
from edge_xray_trainer.distillation import labels_alone, taught_on_films, taught_on_views
from edge_xray_trainer.options import TrainingOptions

LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
"""Six, three films and one."""

WEIGHTS = np.arange(10, dtype=np.float32)


@pytest.fixture
def films() -> FilmSet:
    """Ten films, each of the grey that is ten times its place."""
    listed = tuple(SplitFilm(f"{i}.png", "", "", "", str(i), "train") for i in range(10))
    pixels = np.tile(np.arange(0, 100, 10, dtype=np.uint8)[:, None, None, None], (1, 8, 8, 1))
    return FilmSet(listed, pixels, LABELS, ("normal", "bacterial", "viral"))


def shown(
    films: FilmSet, augmentation: Augmentation = NO_AUGMENTATION, **options: int
) -> list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    settings = {"batch_size": 4, "seed": 1, "epoch": 1} | options
    batches = AugmentedBatches(films, labels_alone(films), WEIGHTS, augmentation, **settings)
    return [batches[index] for index in range(len(batches))]


def places(films: FilmSet, **options: int) -> list[int]:
    return [int(film[0, 0, 0]) // 10 for batch in shown(films, **options) for film in batch[0]]


def test_an_epoch_shows_each_film_once_with_its_own_target_and_weight(films: FilmSet) -> None:
    batches = shown(films)
    assert [len(pixels) for pixels, _, _ in batches] == [4, 4, 2]
    assert sorted(places(films)) == list(range(10)) != places(films)
    for pixels, targets, weights in batches:
        place = pixels[:, 0, 0, 0].astype(int) // 10
        assert np.array_equal(targets, np.eye(3)[LABELS[place]])
        assert np.array_equal(weights, WEIGHTS[place])
        assert pixels.dtype == targets.dtype == weights.dtype == np.float32


def test_the_order_is_that_of_seed_and_epoch(films: FilmSet) -> None:
    first = places(films)
    assert first == places(films)
    assert first != places(films, seed=2) != places(films, epoch=2) != first


def test_a_number_of_steps_goes_round_the_films_again_or_leaves_some_out(films: FilmSet) -> None:
    once = places(films)
    assert places(films, steps=1) == once[:4]
    assert places(films, steps=5) == once + once


def test_a_film_is_varied_otherwise_each_time_and_alike_in_any_batch_size(films: FilmSet) -> None:
    brighter = Augmentation(**{**vars(NO_AUGMENTATION), "brightness": 30.0})
    twice = [film for pixels, _, _ in shown(films, brighter, steps=5) for film in pixels]
    assert not any(np.array_equal(twice[i], twice[i + 10]) for i in range(10))
    whole = [film for pixels, _, _ in shown(films, brighter, batch_size=10) for film in pixels]
    assert np.array_equal(twice[:10], whole)
    other = [film for pixels, _, _ in shown(films, brighter, epoch=2) for film in pixels]
    assert not np.array_equal(np.sort(whole, axis=0), np.sort(other, axis=0))


def test_films_of_all_classes_together_weigh_the_same(films: FilmSet) -> None:
    weights = class_weights(TrainingOptions(), films)
    assert weights == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert weights[LABELS].mean() == pytest.approx(1)
    assert class_weights(TrainingOptions(balance_classes=False), films).tolist() == [1, 1, 1]


class Answers:
    """A teacher that knows its answers to the films by their grey."""

    temperature = 1.5
    positive = (False, True, True)

    def __init__(self, seed: int) -> None:
        self.known = np.random.default_rng(seed).normal(0, 2, (10, 3))

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        return self.known[pixels[:, 0, 0, 0] // 10]


@pytest.mark.parametrize("balanced", [False, True])
def test_targets_are_the_labels_and_the_mean_of_the_teachers_softened_answers(
    films: FilmSet, balanced: bool
) -> None:
    options = TrainingOptions(
        teacher_weight=0.25, teacher_temperature=3.0, balance_classes=balanced
    )
    teachers: list[Any] = [Answers(0), Answers(1)]
    answers = [teacher.known for teacher in teachers]
    chosen = np.array([7, 2, 9])
    # By hand: calibrated, times what a film of the class weighs, and flattened by the rest of the temperature.
    soft = []
    for known in answers:
        odds = np.exp(known[chosen] / 1.5) * class_weights(options, films)
        flat = odds ** (1.5 / 3.0)
        soft.append(flat / flat.sum(axis=1, keepdims=True))
    wanted = 0.75 * np.eye(3)[LABELS[chosen]] + 0.25 * np.mean(soft, axis=0)
    told = taught_on_films(options, films, teachers, answers)(chosen, films.pixels[:3])
    assert told == pytest.approx(wanted, abs=1e-6) and told.dtype == np.float32
    # By what is shown, wherever the film lies.
    views = films.pixels[[7, 2, 1]]
    seen = taught_on_views(options, films, teachers)(chosen, views)
    assert seen[:2] == pytest.approx(wanted[:2], abs=1e-6)
    assert seen[2] != pytest.approx(wanted[2], abs=1e-3)
