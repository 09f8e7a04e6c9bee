from __future__ import annotations

import hashlib
import itertools
import math
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_xray import classifier as module
from edge_xray import doctor
from edge_xray._runtimes import RUNTIMES, Runtime, choose_runtime
from edge_xray.classifier import GOLDEN_INPUTS, Classifier, golden_input
from edge_xray.cli import main
from edge_xray.errors import ExitCode, ModelError, UsageError
from edge_xray.input_spec import InputSpec
from edge_xray.metadata import GoldenVectors
from edge_xray.model_file import pack_model, read_metadata, split_packed
from edge_xray.operating_point import Estimate, OperatingPoint
from edge_xray.preprocess import preprocess


@pytest.fixture(scope="session")
def loaded(tiny_model):
    return Classifier(tiny_model)


def test_a_film_is_scored_as_what_it_shows(loaded, draw_film):
    names = loaded.metadata.label_names
    for label in names:
        scores = loaded.classify(preprocess(draw_film(label, 901), loaded.metadata.input))
        assert names[int(scores.probabilities.argmax())] == label


def test_interpreters_made_at_once_leave_stderr_where_it_was():
    class Slow:
        made = itertools.count(1)

        def __init__(self, **_):
            time.sleep(next(self.made) / 100)  # the first to begin is the first to end

        def allocate_tensors(self):
            pass

    before = os.fstat(2)
    runtime = Runtime("slow", "", Slow)
    threads = [threading.Thread(target=runtime.load, args=(b"", 1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)


def test_scores_explain_themselves(loaded, draw_film):
    scores = loaded.classify(preprocess(draw_film("viral", 3), loaded.metadata.input))
    assert scores.evidence.shape[-1] == 3
    assert scores.evidence.mean(axis=(0, 1)) == pytest.approx(scores.logits, abs=1e-5)
    assert scores.probabilities.sum() == pytest.approx(1.0)
    assert scores.p_finding == pytest.approx(scores.probabilities[1:].sum())
    assert scores.features.shape == loaded.metadata.features.mean.shape


def test_a_twin_answers_alike(loaded, draw_film):
    pixels = preprocess(draw_film("bacterial", 4), loaded.metadata.input)
    assert (loaded.twin().classify(pixels).logits == loaded.classify(pixels).logits).all()


def test_wrong_pixels_are_refused(loaded):
    with pytest.raises(ValueError, match="expected uint8 pixels of shape"):
        loaded.classify(np.zeros((1, 32, 32, 1), np.float32))
    with pytest.raises(ValueError, match=r"\(1, 16, 32, 1\)"):
        loaded.classify(np.zeros((1, 16, 32, 1), np.uint8))


def test_a_changed_byte_anywhere_is_refused(tiny_model, tmp_path):
    whole = tiny_model.read_bytes()
    draw = np.random.default_rng(0)
    places = {*draw.integers(0, len(whole), 300).tolist(), *range(len(whole) - 400, len(whole))}
    path = tmp_path / "flipped.tflite"
    for place in sorted({0, 1, 4, *places}):
        data = bytearray(whole)
        data[place] ^= int(1 << draw.integers(0, 8))
        path.write_bytes(data)
        with pytest.raises(ModelError):
            Classifier(path)


@pytest.mark.parametrize("keep", [0, 1, 8, 1000, -1, -64, -65, -200])
def test_a_cut_model_is_refused(tiny_model, tmp_path, keep):
    path = tmp_path / "cut.tflite"
    path.write_bytes(tiny_model.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"cut\.tflite"):
        Classifier(path)


def test_what_is_no_model_is_refused(tmp_path, tiny_model):
    text = tmp_path / "text.tflite"
    text.write_text("no model")
    with pytest.raises(ModelError, match="not packed by `edge-xray convert`"):
        Classifier(text)
    with pytest.raises(ModelError, match="cannot be read"):
        Classifier(tmp_path / "missing.tflite")
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(split_packed(tiny_model.read_bytes())[0])
    with pytest.raises(ModelError, match="edge-xray convert"):
        Classifier(bare)


def test_a_network_that_is_none_is_refused_by_the_runtime(tiny_model, tmp_path):
    path = tmp_path / "noise.tflite"
    path.write_bytes(pack_model(b"no flatbuffer" * 100, read_metadata(tiny_model)))
    with pytest.raises(ModelError, match="cannot be run by"):
        Classifier(path)


def _repacked(tiny_model: Path, path: Path, **changes) -> Path:
    network, _ = split_packed(tiny_model.read_bytes())
    path.write_bytes(pack_model(network, replace(read_metadata(tiny_model), **changes)))
    return path


def test_answers_other_than_the_packed_ones_are_refused(tiny_model, tmp_path):
    logits = tuple((0.0, 0.0, 90.0) for _ in range(GOLDEN_INPUTS))
    path = _repacked(tiny_model, tmp_path / "golden.tflite", golden=GoldenVectors(logits, 0.5))
    with pytest.raises(ModelError, match="answers on this machine differ"):
        Classifier(path)
    assert Classifier(path, check=False).metadata.golden.tolerance == 0.5


def test_golden_answers_hold_for_the_converted_model(tiny_model):
    network = Classifier(tiny_model, check=False)
    assert network.metadata.golden is not None
    assert network.check_golden() <= network.metadata.golden.tolerance


def test_metadata_that_contradicts_the_tensors_is_refused(tiny_model, tmp_path):
    path = tmp_path / "wrong.tflite"
    _repacked(tiny_model, path, input=InputSpec(64, 64), golden=None)
    with pytest.raises(ModelError, match=r"its input is \(1, 32, 32, 1\)"):
        Classifier(path)
    labels = read_metadata(tiny_model).labels
    _repacked(tiny_model, path, labels=labels[:2], golden=None)
    with pytest.raises(ModelError, match="do not fit its 2 labels"):
        Classifier(path)
    _repacked(tiny_model, path, evidence_map=False, golden=None)
    with pytest.raises(ModelError, match="expected scores"):
        Classifier(path)
    statistics = read_metadata(tiny_model).features
    wider = replace(
        statistics, mean=np.zeros(99, np.float32), components=np.zeros((6, 99), np.float32)
    )
    _repacked(tiny_model, path, features=wider, golden=None)
    with pytest.raises(ModelError, match="statistics of 99"):
        Classifier(path)


def test_operating_points_are_looked_up_by_name(loaded):
    assert loaded.metadata.operating_point().name == "screening"
    with pytest.raises(ModelError, match="it has screening, balanced, rule-in"):
        loaded.metadata.operating_point("best")


def test_golden_inputs_are_the_same_everywhere():
    """Models in the field carry answers to exactly these pixels."""
    drawn = [golden_input(i, InputSpec(224, 160, 1)) for i in range(GOLDEN_INPUTS)]
    digest = hashlib.sha256(b"".join(film.tobytes() for film in drawn)).hexdigest()
    assert digest == "7e4cbd0c56d51ff0d75c51155e8e5fb470f907f00a39740b64ae6cb825aa9f31"
    colour = golden_input(2, InputSpec(64, 64, 3))
    assert colour.shape == (1, 64, 64, 3)
    assert (colour[..., 0] == colour[..., 2]).all()
    with pytest.raises(ValueError, match="got 4"):
        golden_input(4, InputSpec(32, 32))


def test_runtimes_are_named_and_missing_ones_say_what_to_install(loaded, monkeypatch):
    assert loaded.runtime.split()[0] in RUNTIMES
    with pytest.raises(UsageError, match="expected one of ai-edge-litert"):
        choose_runtime("onnx")
    monkeypatch.setitem(RUNTIMES, "tflite-runtime", ("no_such_module", "Interpreter"))
    with pytest.raises(UsageError, match="pip install tflite-runtime"):
        choose_runtime("tflite-runtime")


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("ai-edge-litert", "pip install --force-reinstall ai-edge-litert"),
        ("tflite-runtime", 'pip install "numpy<2"'),
    ],
)
def test_a_runtime_that_is_there_and_does_not_load_is_not_to_be_installed_again(
    name, mend, tmp_path, monkeypatch
):
    if sys.platform == "win32":
        mend = "pip install msvc-runtime"
    (tmp_path / "built_for_another.py").write_text("raise ImportError('DLL load failed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(RUNTIMES, name, ("built_for_another", "Interpreter"))
    with pytest.raises(UsageError) as caught:
        choose_runtime(name)
    assert "DLL load failed" in str(caught.value)
    assert str(caught.value).endswith(f"Run: {mend}")


def test_a_runtime_for_another_numpy_that_breaks_at_its_first_use_says_how_to_mend_it(
    tiny_model, tmp_path, monkeypatch, capsys
):
    (tmp_path / "breaks_when_used.py").write_text(
        "def Interpreter(model_content, num_threads):\n"
        "    raise SystemError('returned a result with an exception set') from ImportError('numpy.core')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(RUNTIMES, "tflite-runtime", ("breaks_when_used", "Interpreter"))
    call = ["scan", str(tmp_path), "--model", str(tiny_model), "--runtime", "tflite-runtime"]
    assert main(call) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "tflite-runtime is broken (ImportError('numpy.core'))" in said
    if sys.platform != "win32":
        assert said.endswith('Run: pip install "numpy<2"\n')


def test_a_broken_tensorflow_is_not_what_a_device_is_told_to_mend(tmp_path, monkeypatch):
    (tmp_path / "built_for_another.py").write_text("raise ImportError('libcudart')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in RUNTIMES:
        module = "built_for_another" if name == "tensorflow" else "no_such_module"
        monkeypatch.setitem(RUNTIMES, name, (module, "Interpreter"))
    with pytest.raises(UsageError) as caught:
        choose_runtime()
    assert "libcudart" in str(caught.value)
    assert str(caught.value).endswith("Run: pip install ai-edge-litert")


class _Interpreter:
    """Stands for a runtime with tensors of any kind; the answer is set by the test."""

    inputs: tuple = ()
    outputs: tuple = ()

    def __init__(self, model_content: bytes, num_threads: int) -> None:
        self.fed: np.ndarray | None = None

    def allocate_tensors(self) -> None:
        pass

    def get_input_details(self):
        return [dict(detail, index=0) for detail in self.inputs]

    def get_output_details(self):
        return [dict(detail, index=i + 1, value=None) for i, detail in enumerate(self.outputs)]

    def set_tensor(self, _: int, pixels: np.ndarray) -> None:
        self.fed = pixels

    def invoke(self) -> None:
        pass

    def get_tensor(self, index: int) -> np.ndarray:
        return self.outputs[index - 1]["value"]


def _tensor(shape, dtype=np.float32, quantization=(0.0, 0), name="out", value=None):
    if value is not None:
        value = np.asarray(value, dtype).reshape(shape)
    return {
        "shape": np.array(shape),
        "dtype": dtype,
        "quantization": quantization,
        "name": name,
        "value": value,
    }


@pytest.fixture
def foreign(tiny_model, tmp_path, monkeypatch):
    """Make a `Classifier` around made-up tensors."""

    def make(inputs, outputs, **changes) -> Classifier:
        kind = type("Made", (_Interpreter,), {"inputs": inputs, "outputs": outputs})
        monkeypatch.setattr(module, "choose_runtime", lambda name: Runtime("made", "1", kind))
        changes = {"golden": None, "features": None, "evidence_map": False, **changes}
        return Classifier(_repacked(tiny_model, tmp_path / "foreign.tflite", **changes))

    return make


def test_a_model_that_allows_no_delegate_gets_the_built_in_kernels(tiny_model, tmp_path):
    pytest.importorskip("ai_edge_litert")
    path = _repacked(tiny_model, tmp_path / "plain.tflite", delegate=False)
    usual, plain = (Classifier(file, runtime="ai-edge-litert") for file in (tiny_model, path))
    assert (usual.delegated_pieces(), plain.delegated_pieces()) == (1, 0)
    assert plain.twin().delegated_pieces() == 0
    finding = doctor.check_model(path, None)
    assert "in the built-in kernels, as it asks" in finding.message
    assert finding.state == "OK"


FLOAT_IN = (_tensor((1, 32, 32, 1)),)
GREY = np.arange(1024, dtype=np.uint8).reshape(1, 32, 32, 1)


def test_a_float_network_is_fed_grey_levels(foreign):
    made = foreign(FLOAT_IN, (_tensor((1, 3), value=[1.0, 2.0, 0.5]),))
    scores = made.classify(GREY)
    assert made._interpreter.fed.dtype == np.float32
    assert (made._interpreter.fed == GREY).all()
    assert scores.logits == pytest.approx([1.0, 2.0, 0.5])
    assert scores.evidence is None
    assert scores.features is None


def test_an_int8_network_is_fed_its_own_steps(foreign):
    made = foreign(
        (_tensor((1, 32, 32, 1), np.int8, (1.0, -128)),),
        (_tensor((1, 3), np.int8, (0.5, 10), value=[12, 10, 8]),),
    )
    scores = made.classify(GREY)
    assert (made._interpreter.fed == GREY.astype(int) - 128).all()
    assert scores.logits == pytest.approx([1.0, 0.0, -1.0])


def test_softmax_and_single_sigmoid_networks_are_understood(foreign, tiny_model):
    made = foreign(FLOAT_IN, (_tensor((1, 3), value=[0.1, 0.7, 0.2]),), output="softmax")
    assert made.classify(GREY).probabilities == pytest.approx([0.1, 0.7, 0.2])
    labels = read_metadata(tiny_model).labels[:2]
    made = foreign(FLOAT_IN, (_tensor((1, 1), value=[0.9]),), output="sigmoid", labels=labels)
    assert made.classify(GREY).p_finding == pytest.approx(0.9)


def test_features_with_as_many_channels_as_labels_are_told_apart_by_name(foreign):
    evidence = _tensor((1, 2, 2, 3), name="head", value=np.full((1, 2, 2, 3), [0.0, 1.0, 2.0]))
    features = _tensor((1, 4, 4, 3), name="features", value=np.full((1, 4, 4, 3), 7.0))
    for outputs in ((evidence, features), (features, evidence)):
        scores = foreign(FLOAT_IN, outputs, evidence_map=True).classify(GREY)
        assert scores.logits == pytest.approx([0.0, 1.0, 2.0])
        assert scores.features == pytest.approx([7.0, 7.0, 7.0])


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (FLOAT_IN * 2, (_tensor((1, 3)),), "expected one input, got 2"),
        ((_tensor((1, 32, 32, 1), np.int32),), (_tensor((1, 3)),), "input of type int32"),
        (FLOAT_IN, (_tensor((1, 3)), _tensor((1, 8)), _tensor((1, 9))), "at most one output"),
        (FLOAT_IN, (_tensor((1, 3), np.int8),), "with scale 0.0"),
    ],
)
def test_tensors_of_another_kind_are_refused(foreign, inputs, outputs, message):
    with pytest.raises(ModelError, match=message):
        foreign(inputs, outputs)


@pytest.mark.parametrize(
    ("threshold", "low", "high"),
    [(0.5, 0.6, 0.7), (0.5, 0.3, 0.4), (0.5, -0.1, 0.6), (0.5, 0.4, 1.1)],
)
def test_a_review_interval_holds_its_threshold(threshold, low, high):
    with pytest.raises(ModelError, match="review_low <= threshold"):
        OperatingPoint("odd", threshold, low, high)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_a_line_may_be_drawn_anywhere_with_nothing_to_review(threshold):
    point = OperatingPoint("any", threshold, threshold, threshold, "by hand")
    assert OperatingPoint.from_dict(point.to_dict()) == point


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_figures_of_an_operating_point_are_shares(share):
    for figure in ("sensitivity", "specificity"):
        sure = OperatingPoint("any", 0.5, 0.4, 0.6, **{figure: Estimate(0.0, 0.0, 1.0)})
        assert OperatingPoint.from_dict(sure.to_dict()) == sure
        with pytest.raises(ModelError, match=f"{figure}: low must be a number of 0 to 1"):
            OperatingPoint("any", 0.5, 0.4, 0.6, **{figure: Estimate(0.5, share, 1.0)})


@pytest.mark.parametrize(("name", "films"), [(" ", 0), ("any", -1)])
def test_an_operating_point_has_a_name_and_no_negative_number_of_films(name, films):
    with pytest.raises(ModelError):
        OperatingPoint(name, 0.5, 0.4, 0.6, films=films)
