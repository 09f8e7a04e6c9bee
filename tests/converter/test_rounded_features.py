"""The gate of a conversion allows for its rounding."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edge_xray.classifier import Classifier
from edge_xray.decode import decode
from edge_xray.features import feature_score
from edge_xray.labelled import Split, labelled_root
from edge_xray.model_file import attach_to_keras, read_metadata
from edge_xray.preprocess import preprocess
from edge_xray_converter import rounded_features
from edge_xray_converter.rounded_features import RoundedGate
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


@pytest.fixture
def gate(tiny_keras, monkeypatch):
    """``gate(line, shift) -> statistics before, statistics after, films``, of drawn features.

    Rounding moves each feature by `shift` and scatters it a little. A film here is its features twice: as the
    float network gives them, and rounded.
    """
    draw = np.random.default_rng(0)
    given = read_metadata(tiny_keras)
    kept, channels = given.features.components.shape
    spread = np.where(np.arange(channels) < kept, 1.0, 0.1)
    statistics = replace(
        given.features,
        mean=np.zeros(channels, np.float32),
        components=np.eye(kept, channels, dtype=np.float32),
        variances=np.ones(kept, np.float32),
        residual_scale=0.1 * float(np.sqrt(channels - kept)),
    )

    class Network:
        def __init__(self, network, metadata):
            self.column = (b"float", b"rounded").index(network)

        def classify(self, film):
            return SimpleNamespace(features=film[self.column])

    monkeypatch.setattr(rounded_features, "open_network", Network)

    def fit(line, shift):
        made = []
        for count in (500, 400):  # learned from, and for validation
            known = draw.normal(0, spread, (count, channels))
            made.append(np.stack([known, known + draw.normal(shift, 0.2, known.shape)], axis=1))
        before = replace(
            statistics, unlike=float(line(feature_score(made[1][:, 0], statistics))), foreign=99.0
        )
        metadata = replace(given, features=before)
        after = RoundedGate(b"float", metadata, *made).metadata_for(b"rounded").features
        return before, after, made

    return fit


def test_statistics_move_by_the_mean_error_and_widen_by_the_rest(gate):
    before, after, ((known, rounded), _) = _columns(gate(np.median, 0.3))
    errors = rounded - known
    covariance = np.cov(errors.T, ddof=0)
    kept = len(before.variances)
    np.testing.assert_allclose(after.mean, errors.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(after.variances, 1 + np.diag(covariance)[:kept], rtol=1e-5)
    outside = before.residual_scale**2 + np.diag(covariance)[kept:].sum()
    assert after.residual_scale == pytest.approx(np.sqrt(outside))
    assert after.fitted_on.startswith(before.fitted_on) and "500 training films" in after.fitted_on


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_as_many_validation_films_are_unlike_as_before(gate, share):
    # The largest score lies on its line, and not beyond it.
    before, after, (_, (films, rounded)) = _columns(
        gate(lambda scores: np.quantile(scores, share), 0.3)
    )
    refused = (feature_score(films, before) > before.unlike).sum()
    assert (feature_score(rounded, after) > after.unlike + 1e-9).sum() == refused
    assert after.foreign / after.unlike == pytest.approx(99.0 / before.unlike)


def test_a_line_beyond_all_validation_films_stays_as_far_beyond_them(gate):
    before, after, (_, (films, rounded)) = _columns(gate(lambda scores: 1.5 * scores.max(), 0.3))
    assert feature_score(films, before).max() * 1.5 == pytest.approx(before.unlike)
    assert feature_score(rounded, after).max() * 1.5 == pytest.approx(after.unlike)


def test_a_gate_that_refuses_every_film_stays(gate):
    before, after, _ = gate(lambda scores: 0.0, 0.3)
    assert after is before


def _columns(made):
    """What `gate` gives, with the features of each set of films as the two networks give them."""
    before, after, films = made
    return before, after, [(own[:, 0], own[:, 1]) for own in films]
