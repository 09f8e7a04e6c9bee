"""The gate of a conversion allows for its rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_xray.classifier import Classifier
from edge_xray.decode import decode
from edge_xray.features import feature_score
from edge_xray.labelled import Split, labelled_root
from edge_xray.model_file import attach_to_keras, read_metadata
from edge_xray.preprocess import preprocess
from edge_xray_trainer.fitting import fit_feature_statistics

FAINT = 0.05
"""How little all features but one vary: next to that one, they are a few steps of 8 bits."""


@pytest.fixture
def features(film_folder, tiny_split):
    """``features(model, part)``: of each film of a part of the split, by the device's classifier."""
    split, root = Split.read(tiny_split), labelled_root(film_folder)

    def ask(model, part):
        classifier = Classifier(model)
        spec = classifier.metadata.input
        films = [decode(root / film.path, spec).pixels for film in split.part(part)]
        return np.stack([classifier.classify(preprocess(film, spec)).features for film in films])

    return ask


@pytest.fixture
def faint_keras(tiny_keras, tmp_path):
    """`tiny_keras` with faint features, and as sure of its answers."""
    import keras

    network = keras.models.load_model(tiny_keras, compile=False)
    scale, offset, *rest = network.get_layer("block1_bn").get_weights()
    faint = np.where(np.arange(len(scale)) == 0, 1.0, FAINT)
    network.get_layer("block1_bn").set_weights([scale * faint, offset * faint, *rest])
    (kernel,) = network.get_layer("block2").get_weights()
    network.get_layer("block2").set_weights([kernel / faint[:, np.newaxis]])
    path = tmp_path / "faint.keras"
    network.save(path)
    attach_to_keras(path, read_metadata(tiny_keras))
    return path


def test_a_gate_that_few_films_taught_lets_as_many_pass_after_rounding(
    run_cli, faint_keras, film_folder, tiny_split, features, tmp_path
):
    as_float, made = tmp_path / "float.tflite", tmp_path / "made.tflite"
    assert run_cli("convert", "--float32", faint_keras, "-o", as_float)[0] == 0
    few, unseen = features(as_float, "train")[::3], features(as_float, "validation")
    statistics = fit_feature_statistics(few, few, unseen, "a few films")
    attach_to_keras(faint_keras, replace(read_metadata(faint_keras), features=statistics))
    words = ("convert", "--int8", faint_keras, "--data", film_folder, "--split", tiny_split)
    # Which of two films at the line is refused may change, and fail the trial: what is written is looked at.
    run_cli(*words, "-o", made)

    rounded, fitted = features(made, "validation"), read_metadata(made).features
    refused = (feature_score(unseen, statistics) > statistics.unlike).sum()
    assert (feature_score(rounded, statistics) > statistics.unlike).sum() > refused
    assert (feature_score(rounded, fitted) > fitted.unlike).sum() == refused
    # What is no film is still far behind the line.
    strange = np.tile(rounded.mean(axis=0), (2, 1)) + 2 * np.ptp(rounded, axis=0)
    assert (feature_score(strange, fitted) > fitted.foreign).all()
    assert fitted.foreign / fitted.unlike == pytest.approx(statistics.foreign / statistics.unlike)
    assert "rounding" in fitted.fitted_on


def test_a_gate_that_rounding_hardly_moves_stays(tiny_keras, tiny_model):
    fitted, given = read_metadata(tiny_model).features, read_metadata(tiny_keras).features
    assert fitted.to_dict() == given.to_dict()
