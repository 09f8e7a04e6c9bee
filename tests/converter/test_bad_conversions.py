"""The gate: conversions that went wrong in the known ways must fail, an honest one must pass."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_xray.decode import decode
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split
from edge_xray.model_file import read_metadata, split_packed
from edge_xray.preprocess import preprocess
from edge_xray_converter.flatbuffer import read_object
from edge_xray_converter.int8 import measured
from edge_xray_converter.representative import draw_representative
from edge_xray_converter.sources import PixelRange, load_network
from edge_xray_converter.surgery import packed

RANDOM = np.random.default_rng(0)
SPEC = InputSpec(32, 32, 1)


@pytest.fixture(scope="module")
def judge(run_cli, tiny_float, parity_films, tmp_path_factory):
    """Runs the gate on a candidate; gives the exit code and the names of the checks not kept."""

    def run(candidate):
        stem = tmp_path_factory.mktemp("judged") / "report"
        code, _, _ = run_cli(
            "parity", tiny_float, candidate, "--data", parity_films / "films", "-o", stem,
            "--split", parity_films / "split.json", "--resamples", 100, "--no-timing",
            "--max-flips", 0.05, "--max-accuracy-drop", 0.02, "--max-sensitivity-drop", 0.02,
        )  # fmt: skip
        record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        (comparison,) = record["comparisons"]
        return code, {check["name"] for check in comparison["checks"] if not check["passed"]}

    return run


def test_an_honest_conversion_passes(judge, tiny_model):
    assert judge(tiny_model) == (0, set())


def test_random_representative_data_fails(judge, repack, tiny_keras, tiny_model, tmp_path):
    # As in many notebooks: TensorFlow's converter fed with random numbers 0..1.
    import keras
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(keras.saving.load_model(tiny_keras))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [RANDOM.random((1, 32, 32, 1), np.float32)] for _ in range(20)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    code, broken = judge(repack(tiny_model, tmp_path / "noise.tflite", converter.convert()))
    assert code == 1
    assert {"flips", "mean shift"} <= broken


def test_the_wrong_input_range_fails(
    judge, repack, tiny_keras, tiny_model, film_folder, tiny_split, tmp_path
):
    network = load_network(tiny_keras, PixelRange(0.0, 1.0))
    films = draw_representative(film_folder, Split.read(tiny_split), films=40)
    wrong = measured(network, films.inputs(InputSpec(32, 32))).integers()
    code, broken = judge(repack(tiny_model, tmp_path / "range.tflite", wrong))
    assert code == 1
    assert "flips" in broken


def test_swapped_labels_fail(judge, repack, tiny_model, tmp_path):
    normal, bacterial, viral = read_metadata(tiny_model).labels
    labels = (normal, viral, bacterial)
    code, broken = judge(repack(tiny_model, tmp_path / "swapped.tflite", labels=labels))
    assert code == 1
    assert {"label accuracy drop", "pair AUC drop", "flips"} <= broken


def test_a_failure_says_what_was_not_kept_and_that_the_films_are_few(
    run_cli, repack, tiny_float, tiny_model, parity_films, tmp_path
):
    swapped = repack(
        tiny_model, tmp_path / "swapped.tflite", labels=read_metadata(tiny_model).labels[::-1]
    )
    code, _, said = run_cli(
        "parity", tiny_float, swapped, "--data", parity_films / "films", "-o", tmp_path / "report",
        "--split", parity_films / "split.json", "--resamples", 100, "--no-timing",
    )  # fmt: skip
    count = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["films"]["count"]
    note = f"One film of {count} is {1 / count:.2%}, more than the 0.50% of accuracy"
    assert code == 1
    assert "swapped.tflite: accuracy drop" in said and ", allowed 0.50 %" in said
    assert note in said
    assert note in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert note in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_corrupted_weight_fails(judge, repack, tiny_model, tmp_path):
    network, _ = split_packed(tiny_model.read_bytes())
    model = read_object(network, "tiny")
    graph = model.subgraphs[0]
    # The bias of the last layer, one bit flipped: the finding's evidence runs off.
    last = graph.operators[-1]
    data = model.buffers[graph.tensors[int(last.inputs[2])].buffer].data
    data = np.array(data, np.uint8)
    data[1] ^= 0x80
    model.buffers[graph.tensors[int(last.inputs[2])].buffer].data = data
    code, broken = judge(repack(tiny_model, tmp_path / "corrupt.tflite", packed(model)))
    assert code == 1
    assert broken


def test_a_network_that_gives_no_number_for_a_film_is_refused(
    run_cli, repack, tiny_keras, tiny_float, parity_films, tmp_path
):
    import keras
    import tensorflow as tf

    darkest = min(
        float(preprocess(decode(path, SPEC).pixels, SPEC).mean())
        for path in (parity_films / "films").glob("*/*.png")
    )
    network = keras.saving.load_model(tiny_keras)
    (pixels,) = network.inputs
    # Of the darkest film the root is of a number below 0.
    level = keras.ops.mean(pixels, axis=(1, 2, 3), keepdims=True) - (darkest + 0.01)
    maps = network.output | {"evidence": network.output["evidence"] + 0 * keras.ops.sqrt(level)}
    broken = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, maps)).convert()
    for models in (("broken.tflite", tiny_float), (tiny_float, "broken.tflite")):
        named = [repack(tiny_float, tmp_path / model, broken) if model == "broken.tflite" else model
                 for model in models]  # fmt: skip
        code, _, said = run_cli(
            "parity", *named, "--data", parity_films / "films", "-o", tmp_path / "report",
            "--split", parity_films / "split.json", "--resamples", 100, "--no-timing",
        )  # fmt: skip
        assert code == 2
        assert "broken.tflite: gives no number for 1 of 120 films" in said
        assert not (tmp_path / "report.json").exists()


def test_a_weight_corrupted_after_packing_is_refused(run_cli, tiny_float, tiny_model, parity_films,
                                                    tmp_path):  # fmt: skip
    data = bytearray(tiny_model.read_bytes())
    data[len(data) // 2] ^= 0x10
    (tmp_path / "flipped.tflite").write_bytes(data)
    code, _, err = run_cli(
        "parity", tiny_float, tmp_path / "flipped.tflite", "--data", parity_films / "films"
    )
    assert code == 2
    assert "damaged" in err
