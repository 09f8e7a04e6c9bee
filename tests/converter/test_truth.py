"""What a film's label is to a model with labels of its own."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path

import pytest

from edge_xray.errors import ModelError, UsageError
from edge_xray.labelled import Split, SplitFilm
from edge_xray.metadata import Label
from edge_xray.model_file import read_metadata
from edge_xray.unseen_films import HASH_DIGITS
from edge_xray_converter.truth import ParitySet, classes_of, refuse_representative


def films(*labels):
    return [SplitFilm(f"{i}.png", label, "", "", "", "") for i, label in enumerate(labels)]


def model(tiny_keras, **triage):
    labels = tuple(Label(name, word, "") for name, word in triage.items())
    return dataclasses.replace(read_metadata(tiny_keras), labels=labels)


def test_labels_are_found_by_name_in_any_order_and_case(tiny_keras):
    three = model(tiny_keras, viral="supportive", normal="none", bacterial="urgent")
    assert classes_of(films("normal", "Bacterial", "VIRAL"), three) == [1, 2, 0]


@pytest.mark.parametrize("write", [str.lower, str.upper])
def test_causes_count_as_the_only_finding(tiny_keras, write):
    two = model(tiny_keras, **{write("normal"): "none", write("pneumonia"): "urgent"})
    assert classes_of(films("normal", "bacterial", "viral"), two) == [0, 1, 1]


def test_the_finding_itself_is_positive_of_no_known_class(tiny_keras):
    three = model(tiny_keras, normal="none", bacterial="urgent", viral="supportive")
    assert classes_of(films("normal", "Pneumonia", "viral"), three) == [0, -1, 2]


@pytest.mark.parametrize("labels", [("cat", "dog"), ("normal", "tumour")])
def test_other_labels_are_refused(tiny_keras, labels):
    three = model(tiny_keras, normal="none", bacterial="urgent", viral="supportive")
    with pytest.raises(UsageError, match="expected the same classes"):
        classes_of(films(*labels), three)


def test_unknown_labels_without_any_negative_film_are_refused(tiny_keras):
    two = model(tiny_keras, normal="none", pneumonia="urgent")
    with pytest.raises(UsageError, match="expected the same classes"):
        classes_of(films("cat", "dog"), two)


@pytest.mark.parametrize("said", [None, 5, {"a": 1}, [["a"]]])
def test_representative_films_that_a_model_tells_oddly_are_an_error_not_none(tiny_keras, said):
    training = {"representative": {"film_sha256_prefixes": said}}
    metadata = dataclasses.replace(read_metadata(tiny_keras), training=training)
    films_of = ParitySet(Path(), tuple(films("normal")), None, "")
    with pytest.raises(ModelError, match=r"m\.tflite: .*film_sha256_prefixes .* expected a list"):
        refuse_representative(metadata, films_of, "m.tflite", [])


def test_copies_of_films_that_set_the_ranges_do_not_judge_under_another_name(tiny_keras):
    drawn = SplitFilm("normal/1.png", "normal", "p1", "g1", "a" * 64, "train")
    copy = SplitFilm("normal/2.png", "normal", "p2", "g1", "b" * 64, "test")
    training = {"representative": {"film_sha256_prefixes": [drawn.sha256[:HASH_DIGITS]]}}
    metadata = dataclasses.replace(read_metadata(tiny_keras), training=training)
    for group, refused in (("g1", True), ("g2", False)):
        judging = dataclasses.replace(copy, group=group)
        split = Split(0, (drawn, judging))
        with pytest.raises(UsageError, match="a duplicate") if refused else nullcontext():
            refuse_representative(metadata, ParitySet(Path(), (judging,), split, "test"), "m", [])
