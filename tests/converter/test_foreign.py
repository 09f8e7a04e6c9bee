"""Networks from elsewhere: what is said of them when they are converted, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_xray.classifier import Classifier
from edge_xray.model_file import read_metadata
from edge_xray.preprocess import preprocess


def test_a_foreign_network_gets_metadata_from_folder_names(run_cli, foreign, write_film, tmp_path):
    for seed in range(4):
        for label, drawn in (("normal", "normal"), ("opacity", "bacterial")):
            write_film(tmp_path / "films" / label / f"{seed}.png", drawn, seed)
    code, _, _ = run_cli(
        "convert", foreign, "--data", tmp_path / "films", "--all-training",
        "--input-range", "-1..1", "-o", tmp_path / "x.tflite",
    )  # fmt: skip
    assert code == 0
    metadata = Classifier(tmp_path / "x.tflite").metadata
    assert metadata.label_names == ("normal", "opacity")
    assert metadata.positive == (False, True)
    assert (metadata.name, metadata.finding, metadata.output) == ("their-net", "opacity", "softmax")
    assert metadata.input.shape == (1, 32, 32, 3)
    assert not metadata.evidence_map


@pytest.fixture(scope="module")
def four_classes(tmp_path_factory):
    """A grey network that tells four classes apart, with weights as drawn."""
    import keras

    entry = keras.Input((16, 16, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(entry))
    path = tmp_path_factory.mktemp("four") / "four.keras"
    keras.Model(entry, keras.layers.Dense(4, activation="softmax")(pooled)).save(path)
    return path


@pytest.mark.parametrize(
    "nothing", ["notumour", "notumor", "no_tumour", "no-tumor", "No tumour", "Healthy", "no_sign"]
)
def test_no_class_with_a_disease_s_name_means_that_nothing_was_found(
    run_cli, four_classes, tmp_path, nothing
):
    labels = ("glioma", "meningioma", nothing, "pituitary")
    code, _, err = run_cli(
        "convert", four_classes, "--float32", "--labels", ",".join(labels),
        "-o", tmp_path / "x.tflite",
    )  # fmt: skip
    assert code == 0, err
    metadata = read_metadata(tmp_path / "x.tflite")
    assert metadata.label_names == tuple(label.lower() for label in labels)
    assert metadata.positive == (True, True, False, True)
    assert metadata.finding == "finding"


@pytest.mark.parametrize("from_tflite", [False, True])
def test_a_network_that_inverts_its_films_keeps_its_answers_as_int8(
    run_cli, draw_film, write_film, tmp_path, from_tflite
):
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(5)
    entry = keras.Input((32, 32, 1))
    x = keras.layers.Rescaling(-1 / 255, 1.0)(entry)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
    model = keras.Model(entry, keras.layers.Dense(2, activation="softmax")(x))
    source = tmp_path / "inverted.keras"
    model.save(source)
    if from_tflite:
        source = tmp_path / "inverted.tflite"
        source.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    for label, drawn in (("normal", "normal"), ("opacity", "bacterial")):
        for seed in range(8):
            write_film(tmp_path / "films" / label / f"{seed}.png", drawn, seed)
    code, _, err = run_cli(
        "convert", source, "--data", tmp_path / "films", "--all-training", "--int8", "--float32",
        "-o", tmp_path / "out.tflite",
    )  # fmt: skip
    assert code == 0, err
    integer = Classifier(tmp_path / "out-int8.tflite")
    whole = Classifier(tmp_path / "out-float32.tflite")
    spec = whole.metadata.input
    for seed in range(4):
        pixels = preprocess(draw_film("bacterial", seed), spec)
        expected = np.asarray(model(pixels.astype(np.float32)))[0]
        np.testing.assert_allclose(whole.classify(pixels).probabilities, expected, atol=1e-4)
        np.testing.assert_allclose(integer.classify(pixels).probabilities, expected, atol=0.03)


def test_folders_whose_order_hangs_on_capitals_name_no_classes(
    run_cli, foreign, write_film, tmp_path
):
    for label, drawn in (("Tumour", "bacterial"), ("healthy", "normal")):
        write_film(tmp_path / "films" / label / "a.png", drawn)
    command = ("convert", foreign, "--float32", "--data", tmp_path / "films")
    out = tmp_path / "x.tflite"
    code, _, err = run_cli(*command, "-o", out)
    assert code == 2
    assert "with --labels" in err and "Tumour, healthy" in err and "\n" not in err
    code, _, _ = run_cli(*command, "--labels", "tumour,healthy", "-o", out)
    assert code == 0
    assert read_metadata(out).positive == (True, False)


def test_folders_in_capitals_name_the_classes(run_cli, foreign, write_film, tmp_path):
    for label, drawn in (("Tumour", "bacterial"), ("Healthy", "normal")):
        write_film(tmp_path / "films" / label / "a.png", drawn)
    out = tmp_path / "x.tflite"
    code, _, _ = run_cli("convert", foreign, "--float32", "--data", tmp_path / "films", "-o", out)
    assert code == 0
    assert read_metadata(out).label_names == ("healthy", "tumour")


def test_labels_in_capitals_are_those_of_the_folders_for_parity_and_evaluate(
    run_cli, foreign, write_film, tmp_path
):
    for label, drawn in (("No_Tumour", "normal"), ("Tumour", "bacterial")):
        for seed in range(4):
            write_film(tmp_path / "films" / label / f"{seed}.png", drawn, seed)
    out = tmp_path / "x.tflite"
    code, _, err = run_cli(
        "convert", foreign, "--float32", "--labels", "No_Tumour,Tumour", "--negative", "No_Tumour",
        "-o", out,
    )  # fmt: skip
    assert code == 0, err
    assert read_metadata(out).label_names == ("no_tumour", "tumour")
    code, _, err = run_cli(
        "parity", foreign, out, "--data", tmp_path / "films", "-o", tmp_path / "p", "--no-timing",
        "--labels", "No_Tumour,Tumour", "--resamples", 100,
    )  # fmt: skip
    assert code == 0, err
    code, text, err = run_cli(
        "evaluate", out, "--data", tmp_path / "films", "--format", "json", "--resamples", 100,
        "--no-robustness", "--no-shortcut",
    )  # fmt: skip
    assert code == 0, err
    # The same films, the same figures, the same intervals.
    parity = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["models"][1]["figures"]
    evaluation = json.loads(text)
    for name in ("accuracy", "sensitivity", "specificity", "auc"):
        assert parity[name] == pytest.approx(evaluation["test"][name]), name
    assert parity["class_accuracy"] == pytest.approx(evaluation["classes"]["accuracy"])
    error = evaluation["score_calibration"]["finding"]
    assert parity["calibration_error"] == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize(("inner", "named"), [("", "."), ("variables", "..")])
def test_a_saved_model_is_converted_from_within(
    run_cli, foreign, tmp_path, monkeypatch, inner, named
):
    import keras

    keras.models.load_model(foreign).export(tmp_path / "their.net", verbose=False)
    monkeypatch.chdir(tmp_path / "their.net" / inner)
    code, out, err = run_cli("convert", named, "--float32", "--labels", "healthy,tumour")
    assert code == 0, err
    assert out.strip() == str(tmp_path / "their.tflite")
    assert read_metadata(tmp_path / "their.tflite").name == "their"


def test_options_describe_a_foreign_network(run_cli, foreign, tmp_path):
    code, _, _ = run_cli(
        "convert", foreign, "--float32", "--labels", "tumour,healthy", "--negative", "healthy",
        "--finding", "tumour", "--name", "mri", "--threshold", "0.3", "-o", tmp_path / "x.tflite",
    )  # fmt: skip
    assert code == 0
    metadata = read_metadata(tmp_path / "x.tflite")
    assert metadata.positive == (True, False)
    assert (metadata.name, metadata.finding) == ("mri", "tumour")
    point = metadata.operating_point()
    assert (point.threshold, point.review_low, point.review_high) == pytest.approx((0.3, 0.2, 0.4))


@pytest.mark.parametrize("finding", ["肺炎", "COVID.19", "tb/hiv", "Pneumonia, any"])
def test_a_finding_stays_as_it_is_said(run_cli, foreign, tmp_path, finding):
    code, _, err = run_cli(
        "convert", foreign, "--float32", "--labels", "normal,opacity", "--finding", finding,
        "-o", tmp_path / "x.tflite",
    )  # fmt: skip
    assert code == 0, err
    assert read_metadata(tmp_path / "x.tflite").finding == finding


def test_a_finding_said_in_other_capitals_is_its_class(run_cli, foreign, tmp_path):
    code, _, err = run_cli(
        "convert", foreign, "--float32", "--labels", "healthy,tb", "--finding", "TB",
        "-o", tmp_path / "x.tflite",
    )  # fmt: skip
    assert code == 0, err
    assert read_metadata(tmp_path / "x.tflite").finding == "tb"


def test_folders_and_files_in_any_script_name_the_finding_and_the_model(
    run_cli, foreign, write_film, tmp_path
):
    for label, drawn in (("正常", "normal"), ("covid.19 肺炎", "bacterial")):
        write_film(tmp_path / "films" / label / "a.png", drawn)
    source = tmp_path / "肺炎 Réseau.keras"
    source.write_bytes(foreign.read_bytes())
    code, _, err = run_cli(
        "convert", source, "--float32", "--data", tmp_path / "films", "--negative", "正常",
        "-o", tmp_path / "x.tflite",
    )  # fmt: skip
    assert code == 0, err
    metadata = read_metadata(tmp_path / "x.tflite")
    assert (metadata.name, metadata.finding) == ("肺炎-réseau", "covid.19 肺炎")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--labels", "a,b,c"), "tells 2 classes apart, got 3 labels"),
        (("--labels", "a,a"), "different labels"),
        (("--labels", "a,b"), "which of the classes a, b means that nothing was found"),
        (("--labels", "a,b", "--negative", "c"), "no such label"),
        (("--labels", "a,b", "--negative", "a,b"), "at least one label"),
        ((), "name them with --labels"),
    ],
)
def test_labels_that_do_not_match_are_one_line_and_exit_2(
    run_cli, foreign, tmp_path, arguments, words
):
    code, _, err = run_cli("convert", foreign, "--float32", *arguments, "-o", tmp_path / "x.tflite")
    assert code == 2
    assert words in err and "\n" not in err


def test_a_foreign_network_and_its_int8_are_compared(run_cli, foreign, write_film, tmp_path):
    for folder, first in (("train", 0), ("test", 50)):
        for seed in range(first, first + 10):
            for label, drawn in (("normal", "normal"), ("opacity", "bacterial")):
                write_film(tmp_path / folder / label / f"{seed}.png", drawn, seed)
    out = tmp_path / "x.tflite"
    ranges = ("--input-range", "-1..1")
    code, _, _ = run_cli(
        "convert", foreign, "--data", tmp_path / "train", "--all-training", *ranges, "-o", out
    )
    assert code == 0
    code, _, _ = run_cli(
        "parity", foreign, out, "--data", tmp_path / "test", *ranges, "-o", tmp_path / "r",
        "--no-timing", "--resamples", 100, "--max-mean-shift", 1, "--max-flips", 1,
        "--max-auc-drop", 1, "--max-accuracy-drop", 1, "--max-label-accuracy-drop", 1, "--max-sensitivity-drop", 1,
    )  # fmt: skip
    assert code == 0
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    (comparison,) = record["comparisons"]
    assert comparison["largest_shift"] < 0.1
    assert comparison["heat_map_similarity"] is None
    assert comparison["differences"]["pair_auc"]["value"] is None
