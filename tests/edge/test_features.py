"""Features pooled over space: by formula, and by what the parts tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_xray.errors import ModelError
from edge_xray.features import POOLED_PARTS, FeatureStatistics, pool_features

maps_of_features = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    elements=st.floats(-100, 100),
)


@given(maps_of_features)
def test_a_mirrored_film_has_the_same_features(maps):
    for pooling, parts in POOLED_PARTS.items():
        pooled = pool_features(maps, pooling)
        assert pooled.shape == (len(maps), parts * maps.shape[-1])
        assert pooled == pytest.approx(pool_features(maps[:, :, ::-1], pooling), abs=1e-9)


@given(maps_of_features)
def test_parts_average_to_the_whole_whatever_the_size(maps):
    parts = pool_features(maps, "sixths").reshape(len(maps), 6, -1)
    assert parts.mean(axis=1) == pytest.approx(pool_features(maps, "mean"), abs=1e-9)


def test_sixths_tell_above_from_below_and_outside_from_inside():
    maps = np.zeros((1, 6, 8, 2))
    maps[0, :2, :2, 0] = 4.0
    maps[0, 4:, 3:5, 1] = 1.0
    # Outer and inner, above, in the middle and below; two channels each.
    expected = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]
    assert pool_features(maps, "sixths")[0] == pytest.approx(expected)
    assert pool_features(maps, "mean")[0] == pytest.approx([1 / 3, 1 / 12])


def test_a_position_on_an_edge_counts_in_both_parts_by_its_shares():
    maps = np.zeros((1, 3, 5, 1))
    maps[0, :, 1] = 8.0
    # Of five columns each quarter is 1.25 wide: the second column is outer by 0.25, inner by 0.75.
    outer, inner = 8 * 0.25 / 1.25 / 2, 8 * 0.75 / 1.25 / 2
    assert pool_features(maps, "sixths")[0] == pytest.approx([outer, inner] * 3)


def test_statistics_keep_their_pooling_and_older_ones_are_of_the_mean():
    ones = np.ones(8, np.float32)
    made = FeatureStatistics(ones, ones[None], ones[:1], 1.0, 2.0, 3.0, pooling="sixths")
    record = made.to_dict()
    assert FeatureStatistics.from_dict(record).pooling == "sixths"
    del record["pooling"]
    assert FeatureStatistics.from_dict(record).pooling == "mean"
    with pytest.raises(ModelError, match="pooling must be mean or sixths, got 'thirds'"):
        FeatureStatistics.from_dict(record | {"pooling": "thirds"})
