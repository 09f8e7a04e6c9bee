"""Weights on int8 steps whose sums are kept."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_xray_converter.flatbuffer import read_graph, read_object
from edge_xray_converter.rounding import LARGEST_STEP, keep_sums, round_weights
from edge_xray_converter.sources import load_network
from edge_xray_converter.surgery import simple_names

weights = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 40)),
    elements=st.floats(-50, 50, allow_subnormal=False),
)


@given(weights)
def test_every_weight_is_on_a_step_and_moves_by_less_than_one(values):
    rounded = keep_sums(values)
    step = np.abs(values).max(axis=1, keepdims=True) / LARGEST_STEP
    used = step[:, 0] > 1e-9
    steps = rounded[used] / step[used]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert np.all(np.abs(steps) <= LARGEST_STEP + 1e-6)
    assert np.all(np.abs(rounded - values)[used] < step[used] * (1 + 1e-6))


@given(weights)
def test_the_sum_of_a_row_is_kept_to_half_a_step(values):
    step = np.abs(values).max(axis=1) / LARGEST_STEP
    off = np.abs(keep_sums(values).sum(axis=1) - values.sum(axis=1))
    assert np.all(off <= 0.5 * step * (1 + 1e-6) + 1e-9)


def test_plain_rounding_would_not_keep_it():
    values = np.array([[127.0] + [0.4] * 30])
    assert np.rint(values).sum() == 127.0
    assert abs(keep_sums(values).sum() - values.sum()) <= 0.5


def test_a_row_without_weights_stays_zero():
    np.testing.assert_array_equal(keep_sums(np.zeros((2, 5))), 0.0)


def test_a_network_s_convolutions_are_rounded_but_for_those_named(tiny_keras):
    core = simple_names(load_network(tiny_keras).exporter.core())
    graph = read_graph(core)
    names = [graph.tensors[operation.outputs[0]].name for operation in graph.operations]
    rounded = round_weights(core, leave=names[:1])

    def kernels(data):
        model = read_object(data, "test")
        tensors = model.subgraphs[0].tensors
        return [
            np.frombuffer(bytes(model.buffers[tensors[op.inputs[1]].buffer].data), "<f4")
            for op in graph.operations
        ]

    before, after = kernels(core), kernels(rounded)
    np.testing.assert_array_equal(before[0], after[0])
    for first, second in zip(before[1:], after[1:], strict=True):
        assert not np.array_equal(first, second)
        assert np.abs(first - second).max() <= np.abs(first).max() / LARGEST_STEP
