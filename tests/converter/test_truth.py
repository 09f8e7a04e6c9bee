"""What a film's label is to a model with labels of its own."""

from __future__ import annotations

import dataclasses

import pytest

from edge_xray.errors import UsageError
from edge_xray.labelled import SplitFilm
from edge_xray.metadata import Label
from edge_xray.model_file import read_metadata
from edge_xray_converter.truth import classes_of


def films(*labels):
    return [SplitFilm(f"{i}.png", label, "", "", "", "") for i, label in enumerate(labels)]


def model(tiny_keras, **triage):
    labels = tuple(Label(name, word, "") for name, word in triage.items())
    return dataclasses.replace(read_metadata(tiny_keras), labels=labels)


def test_labels_are_found_by_name_in_any_order_and_case(tiny_keras):
    three = model(tiny_keras, viral="supportive", normal="none", bacterial="urgent")
    assert classes_of(films("normal", "Bacterial", "VIRAL"), three) == [1, 2, 0]


def test_causes_count_as_the_only_finding(tiny_keras):
    two = model(tiny_keras, normal="none", pneumonia="urgent")
    assert classes_of(films("normal", "bacterial", "viral"), two) == [0, 1, 1]


@pytest.mark.parametrize("labels", [("cat", "dog"), ("normal", "tumour")])
def test_other_labels_are_refused(tiny_keras, labels):
    three = model(tiny_keras, normal="none", bacterial="urgent", viral="supportive")
    with pytest.raises(UsageError, match="expected the same classes"):
        classes_of(films(*labels), three)


def test_unknown_labels_without_any_negative_film_are_refused(tiny_keras):
    two = model(tiny_keras, normal="none", pneumonia="urgent")
    with pytest.raises(UsageError, match="expected the same classes"):
        classes_of(films("cat", "dog"), two)
