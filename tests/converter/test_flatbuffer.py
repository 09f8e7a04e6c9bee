"""Reading flatbuffers, damaged ones too; layers, delegation and surgery on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_xray.errors import ModelError
from edge_xray.model_file import split_packed
from edge_xray_converter.delegation import delegation
from edge_xray_converter.flatbuffer import read_graph, read_object, schema, short_name
from edge_xray_converter.layers import accumulated_errors, own_errors, worst
from edge_xray_converter.quantize import measure_ranges
from edge_xray_converter.sources import load_network
from edge_xray_converter.surgery import packed, simple_names


@pytest.fixture(scope="module")
def inputs(draw_film):
    return [
        draw_film(label, seed, height=32, width=32)[None, :, :, None]
        for label in ("normal", "bacterial", "viral")
        for seed in range(3)
    ]


def test_a_model_s_operations_and_tensors_are_read(tiny_model):
    graph = read_graph(tiny_model.read_bytes())
    assert graph.kinds() == {"CONV_2D": 4, "QUANTIZE": 1}
    assert sorted(len(graph.tensors[number].shape) for number in graph.outputs) == [4, 4]
    kernels = [graph.tensors[op.inputs[1]] for op in graph.operations if op.kind == "CONV_2D"]
    assert all(kernel.constant and kernel.type == "INT8" for kernel in kernels)
    assert [len(kernel.scale) for kernel in kernels] == [kernel.shape[0] for kernel in kernels]


def test_operations_of_old_files_and_of_others_are_called_by_their_names(tiny_model):
    model = read_object(tiny_model.read_bytes())
    codes = {code.builtinCode: code for code in model.operatorCodes}
    builtin = schema().BuiltinOperator
    # A file of before 2020 has no second field.
    codes[builtin.CONV_2D].builtinCode = 0
    # One that is newer than the first field can tell, and one of somebody's own.
    codes[builtin.QUANTIZE].builtinCode = builtin.GELU
    codes[builtin.QUANTIZE].deprecatedBuiltinCode = builtin.PLACEHOLDER_FOR_GREATER_OP_CODES
    assert read_graph(packed(model)).kinds() == {"CONV_2D": 4, "GELU": 1}
    codes[builtin.QUANTIZE].builtinCode = builtin.CUSTOM
    codes[builtin.QUANTIZE].deprecatedBuiltinCode = builtin.CUSTOM
    codes[builtin.QUANTIZE].customCode = b"TheirOwn"
    assert read_graph(packed(model)).kinds() == {"CONV_2D": 4, "CUSTOM TheirOwn": 1}


def test_what_is_no_flatbuffer_or_holds_float_is_told(tiny_model, tiny_float):
    with pytest.raises(ModelError, match=r"expected a \.tflite file, this is none"):
        read_graph(b"\x1c\0\0\0ONNX" + bytes(60), "their.tflite")
    assert read_graph(tiny_model.read_bytes()).non_integer() == []
    graph = read_graph(tiny_float.read_bytes())
    assert graph.non_integer() == list(graph.operations)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_or_changed_file_is_a_model_error_or_a_graph(tiny_model, data):
    network, _ = split_packed(tiny_model.read_bytes())
    cut = data.draw(st.integers(0, len(network)))
    changed = bytearray(network[:cut])
    for place in data.draw(st.lists(st.integers(0, max(0, cut - 1)), max_size=5)):
        if place < len(changed):
            changed[place] ^= data.draw(st.integers(1, 255))
    try:
        graph = read_graph(bytes(changed))
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert graph.operations


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("a/Relu6;a/batchnorm/add_1;a/convolution", "a/Relu6"),
        ("plain", "plain"),
        (";", ";"),
        ("x/", "x"),
    ],
)
def test_fused_names_become_short(name, short):
    assert short_name(name) == short


def test_names_are_plain_and_unique_after_surgery(tiny_keras):
    core = load_network(tiny_keras).exporter.core()
    names = [tensor.name for tensor in read_graph(simple_names(core)).tensors]
    assert len(set(names)) == len(names)
    assert not any(";" in name for name in names)


def test_layers_of_a_model_against_itself_have_no_error(tiny_model, inputs):
    data = tiny_model.read_bytes()
    errors = accumulated_errors(data, data, inputs)
    assert [error.relative for error in errors] == [0.0] * 4


def test_a_spoilt_layer_is_where_the_error_begins(tiny_float, tiny_model, inputs):
    network, _ = split_packed(tiny_model.read_bytes())
    model = read_object(network, "tiny")
    kernel = model.subgraphs[0].operators[2].inputs[1]
    buffer = model.buffers[model.subgraphs[0].tensors[int(kernel)].buffer]
    buffer.data = np.roll(np.array(buffer.data, np.uint8), 1)
    reference = tiny_float.read_bytes()
    honest = accumulated_errors(reference, network, inputs)
    spoilt = accumulated_errors(reference, packed(model), inputs)
    assert spoilt[0].relative == honest[0].relative
    assert spoilt[1].relative > 5 * honest[1].relative
    assert worst(spoilt, 1)[0].relative == max(error.relative for error in spoilt)


def test_each_operation_is_ranked_by_the_error_it_adds(tiny_keras, inputs):
    network = load_network(tiny_keras)
    core = simple_names(network.exporter.core())
    ranged = measure_ranges(core, inputs, network.scale, network.offset)
    ranking = own_errors(ranged, inputs, network.scale, network.offset)
    graph = read_graph(core)
    names = {graph.tensors[operation.outputs[0]].name for operation in graph.operations}
    assert {error.name for error in ranking} == names
    assert [e.relative for e in ranking] == sorted((e.relative for e in ranking), reverse=True)
    # In steps of the output: rounding alone is 0.29, and weights add a little.
    assert 0.1 < ranking[-1].relative < ranking[0].relative < 20


def test_what_is_delegated_is_known(tiny_model, tiny_float):
    pytest.importorskip("ai_edge_litert")
    for path in (tiny_model, tiny_float):
        data = path.read_bytes()
        found = delegation(data, "ai-edge-litert")
        graph = read_graph(data)
        assert found is not None
        assert found.delegated + len(found.left) == len(graph.operations)
        assert found.partitions == 1
