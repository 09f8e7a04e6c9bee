from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_xray.calibration import ScoreCalibration, finding_log_odds, probabilities, to_logits
from edge_xray.decision import decide, p_finding
from edge_xray.errors import ModelError
from edge_xray.input_spec import InputSpec
from edge_xray.metadata import Label, ModelMetadata
from edge_xray.operating_point import OperatingPoint

METADATA = ModelMetadata(
    name="three",
    version="1",
    labels=(
        Label("normal", "none", "Nothing."),
        Label("bacterial", "urgent", "Now."),
        Label("viral", "supportive", "Care."),
    ),
    input=InputSpec(32, 32),
    operating_points=(OperatingPoint("balanced", 0.4, 0.3, 0.5),),
)
POINT = METADATA.operating_point()
POSITIVE = METADATA.positive

logits = arrays(np.float64, (4, 3), elements=st.floats(-1e4, 1e4))

TURNED = np.array([[0.75, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
"""The first two films change places when the temperature of three classes is 2."""


@given(logits, st.floats(0.01, 100.0))
def test_probabilities_add_up_and_keep_the_order(values, temperature):
    shares = probabilities(values, ScoreCalibration(temperature), POSITIVE)
    assert np.allclose(shares.sum(axis=-1), 1.0)
    assert ((shares >= 0) & (shares <= 1)).all()
    best = values.argmax(axis=-1)
    assert (np.take_along_axis(shares, best[:, None], 1)[:, 0] == shares.max(axis=-1)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_no_probability_of_0(value):
    shares = probabilities(np.array([0.0, value, 1.0]), ScoreCalibration(), POSITIVE)
    assert np.isnan(p_finding(shares, METADATA))


def test_a_higher_temperature_is_less_sure():
    row = np.array([0.0, 2.0, 1.0])
    sure, unsure = (probabilities(row, ScoreCalibration(t), POSITIVE).max() for t in (1.0, 3.0))
    assert unsure < sure


@given(logits, st.floats(0.01, 100.0), st.floats(0.01, 100.0))
@example(TURNED, 2.0, 1.0)
@example(TURNED, 2.0, 0.5)
def test_the_temperature_of_the_finding_keeps_the_films_order_and_the_classes_shares(
    values, temperature, finding_temperature
):
    before = probabilities(values, ScoreCalibration(temperature), POSITIVE)
    calibration = ScoreCalibration(temperature, finding_temperature=finding_temperature)
    after = probabilities(values, calibration, POSITIVE)
    assert np.allclose(after.sum(axis=-1), 1.0)
    order = np.argsort(finding_log_odds(values / temperature, POSITIVE))
    assert (np.diff(after[order, 1:].sum(axis=1)) >= -1e-9).all()
    # Bacterial is to viral what it was.
    assert np.allclose(after[:, 1] * before[:, 2], after[:, 2] * before[:, 1], atol=1e-9)


def test_the_temperature_of_the_finding_divides_its_log_odds():
    calibration = ScoreCalibration(2.0, finding_temperature=0.5)
    shares = probabilities(np.array([0.0, 2.0, 1.0]), calibration, POSITIVE)
    odds = (np.e + np.exp(0.5)) ** 2
    assert p_finding(shares, METADATA) == pytest.approx(odds / (1 + odds))
    assert shares[1] / shares[2] == pytest.approx(np.exp(0.5))


@pytest.mark.parametrize("field", ["temperature", "finding_temperature"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_cannot_divide_is_refused(field, value):
    with pytest.raises(ModelError, match=f"{field} must be a positive number"):
        ScoreCalibration.from_dict({field: value})


def test_models_of_before_there_was_one_have_no_temperature_of_the_finding():
    old = {"temperature": 1.5, "fitted_on": "films", "films": 9}
    assert ScoreCalibration.from_dict(old) == ScoreCalibration(1.5, "films", 9, 1.0)


def test_softmax_and_sigmoid_outputs_become_the_logits_they_came_from():
    shares = np.array([0.2, 0.5, 0.3])
    same = ScoreCalibration()
    assert probabilities(to_logits(shares, "softmax"), same, POSITIVE) == pytest.approx(shares)
    two = probabilities(to_logits(np.array([0.8]), "sigmoid"), same, (False, True))
    assert two == pytest.approx([0.2, 0.8])
    films = to_logits(np.array([[0.8], [0.5], [0.1]]), "sigmoid")
    assert probabilities(films, same, (False, True))[:, 1] == pytest.approx([0.8, 0.5, 0.1])
    assert to_logits(np.array([0.8, 0.5]), "sigmoid") == pytest.approx([np.log(4), 0.0])
    assert np.isfinite(to_logits(np.array([0.0, 1.0]), "softmax")).all()
    assert np.isfinite(to_logits(np.array([1.0]), "sigmoid")).all()


@pytest.mark.parametrize(
    ("shares", "label", "triage"),
    [
        ((0.99, 0.01, 0.00), "normal", "none"),
        ((0.75, 0.20, 0.05), "normal", "none"),
        ((0.65, 0.30, 0.05), "normal", "review"),
        ((0.55, 0.30, 0.15), "bacterial", "review"),
        ((0.45, 0.30, 0.25), "bacterial", "urgent"),
        ((0.45, 0.20, 0.35), "viral", "supportive"),
        ((0.02, 0.18, 0.80), "viral", "supportive"),
        # At each end of the interval, and at the line.
        ((0.70, 0.30, 0.00), "normal", "review"),
        ((0.60, 0.40, 0.00), "bacterial", "review"),
        ((0.50, 0.50, 0.00), "bacterial", "urgent"),
    ],
)
def test_the_operating_point_decides_and_not_the_largest_share(shares, label, triage):
    decision = decide(np.array(shares), METADATA, POINT)
    assert (decision.label, decision.triage) == (label, triage)
    assert decision.p_finding == pytest.approx(shares[1] + shares[2])


@given(arrays(np.float64, 3, elements=st.floats(0.001, 1.0)))
def test_every_film_gets_a_decision_that_its_probability_explains(raw):
    shares = raw / raw.sum()
    decision = decide(shares, METADATA, POINT)
    assert (decision.label == "normal") == (decision.p_finding < POINT.threshold)
    assert (decision.triage == "review") == (0.3 <= decision.p_finding < 0.5)
