from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_xray.calibration import probabilities, to_logits
from edge_xray.decision import decide, p_finding
from edge_xray.metadata import (
    InputSpec,
    Label,
    ModelMetadata,
    OperatingPoint,
    ScoreCalibration,
)

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

logits = arrays(np.float64, (4, 3), elements=st.floats(-1e4, 1e4))


@given(logits, st.floats(0.01, 100.0))
def test_probabilities_add_up_and_keep_the_order(values, temperature):
    shares = probabilities(values, ScoreCalibration(temperature))
    assert np.allclose(shares.sum(axis=-1), 1.0)
    assert ((shares >= 0) & (shares <= 1)).all()
    best = values.argmax(axis=-1)
    assert (np.take_along_axis(shares, best[:, None], 1)[:, 0] == shares.max(axis=-1)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_no_probability_of_0(value):
    shares = probabilities(np.array([0.0, value, 1.0]), ScoreCalibration())
    assert np.isnan(p_finding(shares, METADATA))


def test_a_higher_temperature_is_less_sure():
    row = np.array([0.0, 2.0, 1.0])
    sure, unsure = (probabilities(row, ScoreCalibration(t)).max() for t in (1.0, 3.0))
    assert unsure < sure


def test_softmax_and_sigmoid_outputs_become_the_logits_they_came_from():
    shares = np.array([0.2, 0.5, 0.3])
    same = ScoreCalibration()
    assert probabilities(to_logits(shares, "softmax"), same) == pytest.approx(shares)
    assert probabilities(to_logits(np.array([0.8]), "sigmoid"), same) == pytest.approx([0.2, 0.8])
    assert np.isfinite(to_logits(np.array([0.0, 1.0]), "softmax")).all()
    assert np.isfinite(to_logits(np.array([1.0]), "sigmoid")).all()


@pytest.mark.parametrize(
    ("shares", "label", "triage"),
    [
        ((0.75, 0.20, 0.05), "normal", "none"),
        ((0.65, 0.30, 0.05), "normal", "review"),
        ((0.55, 0.30, 0.15), "bacterial", "review"),
        ((0.45, 0.30, 0.25), "bacterial", "urgent"),
        ((0.45, 0.20, 0.35), "viral", "supportive"),
        ((0.02, 0.18, 0.80), "viral", "supportive"),
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
