"""Features pooled over space: by formula, and by what the parts tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_xray.errors import ModelError
from edge_xray.features import POOLED_PARTS, pool_features
from edge_xray.metadata import FeatureStatistics

maps_of_features = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(3, 9), st.integers(1, 4)),
    elements=st.floats(-100, 100),
)


@given(maps_of_features)
def test_a_mirrored_film_has_the_same_features(maps):
    for pooling, parts in POOLED_PARTS.items():
        pooled = pool_features(maps, pooling)
        assert pooled.shape == (len(maps), parts * maps.shape[-1])
        assert pooled == pytest.approx(pool_features(maps[:, :, ::-1], pooling), abs=1e-9)


@given(maps_of_features)
def test_parts_of_one_size_average_to_the_whole(maps):
    maps = np.repeat(np.repeat(maps, 2, axis=1), 4, axis=2)
    parts = pool_features(maps, "quarters").reshape(len(maps), 4, -1)
    assert parts.mean(axis=1) == pytest.approx(pool_features(maps, "mean"), abs=1e-9)


def test_quarters_tell_above_from_below_and_outside_from_inside():
    maps = np.zeros((1, 4, 8, 2))
    maps[0, :2, :2, 0] = 4.0
    maps[0, 2:, 3:5, 1] = 1.0
    # Upper outer, upper inner, lower outer, lower inner; two channels each.
    assert pool_features(maps, "quarters")[0] == pytest.approx([2, 0, 0, 0, 0, 0, 0, 0.5])
    assert pool_features(maps, "mean")[0] == pytest.approx([0.5, 0.125])


def test_the_middle_column_of_an_odd_width_counts_once():
    maps = np.zeros((1, 2, 5, 1))
    maps[0, :, 2] = 6.0
    # Folded, five columns are three, of which the last two are inner ones.
    assert pool_features(maps, "quarters")[0] == pytest.approx([0, 3, 0, 3])


@pytest.mark.parametrize("shape", [(1, 1, 8, 2), (1, 8, 2, 2)])
def test_maps_too_small_for_quarters_are_refused(shape):
    with pytest.raises(ModelError, match="have no quarters; expected 2x3 or more"):
        pool_features(np.zeros(shape), "quarters")


def test_statistics_keep_their_pooling_and_older_ones_are_of_the_mean():
    ones = np.ones(8, np.float32)
    made = FeatureStatistics(ones, ones[None], ones[:1], 1.0, 2.0, 3.0, pooling="quarters")
    record = made.to_dict()
    assert FeatureStatistics.from_dict(record).pooling == "quarters"
    del record["pooling"]
    assert FeatureStatistics.from_dict(record).pooling == "mean"
    with pytest.raises(ModelError, match="pooling 'thirds', expected one of"):
        FeatureStatistics.from_dict(record | {"pooling": "thirds"})
