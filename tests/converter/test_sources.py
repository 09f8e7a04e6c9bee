"""Networks from anywhere: what is taken, what is refused, and that the rewrites change no answer."""

from __future__ import annotations

import numpy as np
import pytest

from edge_xray.errors import ModelError
from edge_xray_converter.flatbuffer import read_graph, read_object
from edge_xray_converter.sources import EVIDENCE, SCORES, PixelRange, load_network
from edge_xray_converter.surgery import packed
from edge_xray_converter.tensorflow_source import network_from_keras

SIDE = 16
LIMIT = 1e-4
"""Largest difference of a float32 probability by another order of summing."""


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def small(keras, *head, channels=1):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, channels)),
            keras.layers.Rescaling(1 / 127.5, -1.0),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            *head,
        ]
    )


def films(channels=1, count=5):
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, channels), np.uint8)


def run(flatbuffer, pixels):
    from edge_xray._runtimes import choose_runtime

    interpreter = choose_runtime().load(flatbuffer, 1)
    (entry,) = interpreter.get_input_details()
    (exit_,) = interpreter.get_output_details()
    rows = []
    for film in pixels:
        interpreter.set_tensor(entry["index"], film[None].astype(entry["dtype"]))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(exit_["index"])[0])
    return np.array(rows)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("activation", ["softmax", "linear"])
@pytest.mark.parametrize("classes", [2, 3, 20])
def test_average_and_dense_become_an_evidence_map_with_the_same_answers(keras, activation, classes):
    layers = keras.layers
    model = small(
        keras,
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(classes, activation=activation),
    )
    network = network_from_keras(model)
    assert network.evidence_map and network.classes == classes
    maps = run(network.exporter.whole("float32"), films())
    expected = np.asarray(model(films().astype(np.float32)))
    expected = expected if activation == "softmax" else softmax(expected)
    np.testing.assert_allclose(softmax(maps.mean(axis=(1, 2))), expected, atol=LIMIT)


def test_one_sigmoid_after_an_average_becomes_two_classes_with_the_same_answers(keras):
    layers = keras.layers
    model = small(
        keras, layers.GlobalAveragePooling2D(), layers.Dense(1), layers.Activation("sigmoid")
    )
    network = network_from_keras(model)
    assert network.evidence_map and network.classes == 2
    maps = run(network.exporter.whole("float32"), films())
    probability = softmax(maps.mean(axis=(1, 2)))[:, 1:]
    np.testing.assert_allclose(probability, model(films().astype(np.float32)), atol=LIMIT)


@pytest.mark.parametrize(
    ("units", "activation", "head"),
    [
        (1, "sigmoid", "sigmoid"),
        (1, None, "sigmoid"),
        (3, "softmax", "softmax"),
        (3, None, "logits"),
    ],
)
def test_another_head_stays_and_is_known(keras, units, activation, head, tmp_path):
    model = small(keras, keras.layers.Flatten(), keras.layers.Dense(units, activation=activation))
    expected = np.asarray(model(films().astype(np.float32)))
    if units == 1 and activation is None:
        expected = 1 / (1 + np.exp(-expected))
    model.export(tmp_path / "saved", verbose=False)
    from_keras = network_from_keras(model)
    flatbuffer = from_keras.exporter.whole("float32")
    (tmp_path / "model.tflite").write_bytes(flatbuffer)
    for network in (
        from_keras,
        load_network(tmp_path / "saved"),
        load_network(tmp_path / "model.tflite"),
    ):
        assert (network.head, dict(network.outputs)) == (head, {SCORES: (1, units)})
        answers = run(network.exporter.whole("float32"), films())
        np.testing.assert_allclose(answers, expected, atol=LIMIT)


def test_scaling_at_the_entry_is_taken_out_and_known(keras):
    model = small(keras, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2))
    network = network_from_keras(model, "model", PixelRange(0.0, 1.0))
    assert network.scale == pytest.approx(1 / 127.5 / 255)
    assert network.offset == pytest.approx(-1.0)
    assert "MUL" not in read_graph(network.exporter.core()).kinds()


def test_a_loaded_sequential_model_is_taken(keras, tmp_path):
    model = small(keras, keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(films().astype(np.float32), np.arange(5) % 3, verbose=0)
    model.save(tmp_path / "model.keras")
    network = load_network(tmp_path / "model.keras")
    assert network.scale == pytest.approx(1 / 127.5)
    answers = run(network.exporter.whole("float32"), films())
    np.testing.assert_allclose(answers, model(films().astype(np.float32)), atol=LIMIT)


@pytest.mark.parametrize("scaled", [True, False])
def test_an_average_of_the_pixels_themselves_is_taken(keras, scaled):
    layers = keras.layers
    head = [layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")]
    model = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), *([layers.Rescaling(1 / 255)] if scaled else []), *head]
    )
    network = network_from_keras(model)
    answers = run(network.exporter.whole("float32"), films(3))
    np.testing.assert_allclose(answers, model(films(3).astype(np.float32)), atol=LIMIT)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
@pytest.mark.parametrize("head", ["average", "flat"])
def test_a_network_that_reckons_in_16_bits_gives_the_same_answers_in_32(keras, policy, head):
    layers = keras.layers
    pool = {"average": layers.GlobalAveragePooling2D, "flat": layers.Flatten}[head]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small(keras, pool(), layers.Dense(3, activation="softmax", dtype="float32"))
    finally:
        keras.config.set_dtype_policy(before)
    network = network_from_keras(model)
    answers = run(network.exporter.whole("float32"), films())
    if network.evidence_map:
        answers = softmax(answers.mean(axis=(1, 2)))
    expected = np.asarray(model(films().astype(np.float32)))
    limit = 0.02 if policy == "mixed_bfloat16" else 2e-3
    np.testing.assert_allclose(answers, expected, atol=limit)
    assert {tensor.type for tensor in read_graph(network.exporter.core()).tensors} <= {
        "FLOAT32",
        "INT32",
    }


@pytest.mark.parametrize("before_2020", [False, True])
def test_scaling_in_a_tflite_is_taken_out_and_put_back(keras, tmp_path, before_2020):
    model = small(keras, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2))
    first = network_from_keras(model)
    path = tmp_path / "model.tflite"
    written = read_object(first.exporter.whole("float32"))
    for code in written.operatorCodes:
        # The field that newer files tell their operations by is 0, which stands for an addition.
        code.builtinCode *= not before_2020
    path.write_bytes(packed(written))
    second = load_network(path)
    assert second.scale == pytest.approx(first.scale)
    assert second.offset == pytest.approx(first.offset)
    assert second.outputs == {EVIDENCE: first.outputs[EVIDENCE]}
    assert "MUL" not in read_graph(second.exporter.core()).kinds()
    np.testing.assert_allclose(
        run(second.exporter.whole("float32"), films()), run(path.read_bytes(), films()), atol=LIMIT
    )


def test_colour_networks_are_taken(keras):
    model = small(keras, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2), channels=3)
    assert network_from_keras(model).channels == 3


def two_inputs(keras):
    inputs = [keras.Input((SIDE, SIDE, 1)), keras.Input((SIDE, SIDE, 1))]
    both = keras.layers.Concatenate()(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(both)))


def two_outputs(keras):
    entry = keras.Input((SIDE, SIDE, 1))
    flat = keras.layers.Flatten()(entry)
    return keras.Model(entry, [keras.layers.Dense(2)(flat), keras.layers.Dense(2)(flat)])


def several_sigmoids(keras):
    return small(keras, keras.layers.Flatten(), keras.layers.Dense(3, activation="sigmoid"))


def several_sigmoids_after_an_average(keras):
    layers = keras.layers
    return small(keras, layers.GlobalAveragePooling2D(), layers.Dense(4, activation="sigmoid"))


def several_sigmoids_in_a_layer_of_their_own(keras):
    layers = keras.layers
    return small(
        keras, layers.GlobalAveragePooling2D(), layers.Dense(4), layers.Activation("sigmoid")
    )


def mean_of_two(keras, units, activation):
    entry = keras.Input((SIDE, SIDE, 1))
    flat = keras.layers.Flatten()(entry)
    both = [keras.layers.Dense(units, activation=activation)(flat) for _ in range(2)]
    return keras.Model(entry, keras.layers.Average()(both))


def mean_of_softmaxes(keras):
    return mean_of_two(keras, 3, "softmax")


def mean_of_sigmoids(keras):
    return mean_of_two(keras, 1, "sigmoid")


def one_of_two_probabilities(keras):
    whole = small(keras, keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax"))
    return keras.Model(whole.inputs, whole.outputs[0][:, 1:])


def both_of_one_sigmoid(keras):
    whole = small(keras, keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid"))
    p = whole.outputs[0]
    return keras.Model(whole.inputs, keras.ops.concatenate([1.0 - p, p], axis=1))


def too_many_classes(keras):
    return small(keras, keras.layers.Flatten(), keras.layers.Dense(21))


def two_channels(keras):
    return small(keras, keras.layers.Flatten(), keras.layers.Dense(2), channels=2)


def channels_first(keras):
    entry = keras.Input((3, SIDE, SIDE))
    return keras.Model(entry, keras.layers.Dense(2)(keras.layers.Flatten()(entry)))


def any_size(keras):
    entry = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(entry))
    return keras.Model(entry, keras.layers.Dense(2)(pooled))


def no_picture(keras):
    return keras.Sequential([keras.Input((10,)), keras.layers.Dense(2)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (two_inputs, "expected one input"),
        (two_outputs, "expected one output"),
        (several_sigmoids, "can all be true at once"),
        (several_sigmoids_after_an_average, "can all be true at once"),
        (several_sigmoids_in_a_layer_of_their_own, "can all be true at once"),
        (mean_of_softmaxes, "from probabilities"),
        (mean_of_sigmoids, "from probabilities"),
        (one_of_two_probabilities, "from probabilities"),
        (both_of_one_sigmoid, "from probabilities"),
        (too_many_classes, "expected 2 to 20 classes, got 21"),
        (two_channels, "1 or 3 channels, got 2"),
        (channels_first, "its channels come first"),
        (any_size, "of a fixed size"),
        (no_picture, "expected pictures"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_refused_in_one_line(keras, make, words):
    with pytest.raises(ModelError, match=words) as caught:
        network_from_keras(make(keras), "model.keras")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", ["mean", "weighted", "logarithm"])
def test_what_is_reckoned_of_logits_or_gives_them_is_taken_for_logits(keras, make):
    if make == "mean":
        model = mean_of_two(keras, 3, "linear")
    else:
        whole = small(keras, keras.layers.Flatten(), keras.layers.Dense(3))
        share = keras.ops.softmax(whole.outputs[0])
        found = whole.outputs[0] * share if make == "weighted" else keras.ops.log(share)
        model = keras.Model(whole.inputs, found)
    network = network_from_keras(model)
    assert network.head == "logits"
    given = run(network.exporter.whole("float32"), films())
    expected = model.predict_on_batch(films().astype(np.float32))
    np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-3)


def test_files_that_are_no_model_are_refused_in_one_line(tmp_path, tiny_model):
    (tmp_path / "text.keras").write_text("not a model")
    (tmp_path / "text.tflite").write_text("not a model")
    (tmp_path / "folder").mkdir()
    (tmp_path / "short.tflite").write_bytes(tiny_model.read_bytes()[:2000])
    (tmp_path / "quantized.tflite").write_bytes(tiny_model.read_bytes())
    for name, words in (
        ("text.keras", "Keras cannot load it"),
        ("text.tflite", "no TFL3 mark"),
        ("folder", "TensorFlow cannot load it"),
        ("short.tflite", "damaged or cut short"),
        ("quantized.tflite", "quantized already"),
        ("missing.keras", "no such file"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            load_network(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("activation", "word"), [("softmax", "softmax"), ("sigmoid", "sigmoid")])
def test_a_tflite_whose_map_holds_probabilities_is_refused(keras, tmp_path, activation, word):
    import tensorflow as tf

    model = small(
        keras,
        keras.layers.GlobalAveragePooling2D(keepdims=True),
        keras.layers.Conv2D(2, 1, activation=activation),
    )
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    with pytest.raises(ModelError, match=f"is a {word}") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1", "1..0", "a..b", "0..nan", ""])
def test_a_senseless_input_range_is_refused(text):
    with pytest.raises(ModelError, match=r"expected an input range"):
        PixelRange.parse(text)


def test_input_ranges_are_read():
    assert PixelRange.parse("-1..1") == PixelRange(-1.0, 1.0)
    assert PixelRange.parse("0..1").scale == pytest.approx(1 / 255)
    assert PixelRange.parse("0..255").scale == 1.0
