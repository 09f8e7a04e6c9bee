"""Training through its public way in: a run, its record, resume after a kill, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import matplotlib
import numpy as np
import pytest
from PIL import Image

from edge_xray.calibration import probabilities
from edge_xray.classifier import Classifier
from edge_xray.cli import main
from edge_xray.decode import decode
from edge_xray.errors import UsageError
from edge_xray.features import FeaturePooling
from edge_xray.labelled import Split, file_sha256, labelled_root
from edge_xray.model_file import read_metadata
from edge_xray.preprocess import preprocess
from edge_xray_trainer.augment import NO_AUGMENTATION, Augmentation
from edge_xray_trainer.averaging import average_runs
from edge_xray_trainer.checkpoints import EpochResult, TrainingState
from edge_xray_trainer.curves import draw_curves
from edge_xray_trainer.data import FilmSet
from edge_xray_trainer.grouping import draw_split
from edge_xray_trainer.options import TrainingOptions, read_config, update_options
from edge_xray_trainer.outputs import network_outputs
from edge_xray_trainer.run import run
from edge_xray_trainer.run_request import Listener, RunRequest
from edge_xray_trainer.training import epoch_result

OPTIONS = TrainingOptions(
    architecture="baseline",
    input_size=32,
    epochs=2,
    batch_size=16,
    seed=5,
    deterministic=True,
    augmentation=Augmentation(rotation_degrees=4.0),
)

KILLED_RUN = """
import json, os, signal, sys
from pathlib import Path
from edge_xray_trainer.run import run
from edge_xray_trainer.run_request import Listener, RunRequest
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.augment import Augmentation
values = json.loads(sys.argv[3])
options = TrainingOptions(**{**values, "augmentation": Augmentation(**values["augmentation"])})
kill_at = int(sys.argv[4])
def progress(what, done, total):
    if what.startswith("Training") and done == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
run(RunRequest(Path(sys.argv[1]), Path(sys.argv[2]), options), Listener(progress=progress))
"""

TWO_DEVICES = """
import json, sys
from pathlib import Path
import tensorflow as tf
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
devices = tf.config.list_logical_devices("CPU")
# A machine of two GPUs, played by two halves of the processor.
mirrored = tf.distribute.MirroredStrategy
tf.config.list_logical_devices = lambda kind: devices
tf.distribute.MirroredStrategy = lambda: mirrored(devices=[own.name for own in devices])
from edge_xray_trainer.run import run
from edge_xray_trainer.run_request import RunRequest
from edge_xray_trainer.options import TrainingOptions
result = run(RunRequest(Path(sys.argv[1]), Path(sys.argv[2]), TrainingOptions(**json.loads(sys.argv[3]))))
print(json.dumps([own.loss for own in result.state.epochs]))
"""


@pytest.fixture(scope="module")
def whole_run(film_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "mine"
    run(RunRequest(film_folder, output, OPTIONS))
    return output


def test_a_run_leaves_a_model_that_says_how_it_came_to_be(whole_run: Path) -> None:
    record = json.loads((whole_run / "record.json").read_text())
    metadata = read_metadata(whole_run / "model.keras")
    split = Split.read(whole_run / "split.json")
    assert metadata.name == "mine"
    assert metadata.label_names == ("normal", "bacterial", "viral")
    assert (
        metadata.training["split_sha256"] == split.fingerprint() == record["data"]["split_sha256"]
    )
    assert record["options"] == json.loads(json.dumps(OPTIONS.to_dict()))
    assert len(record["epochs"]) == OPTIONS.epochs
    assert (
        record["best_epoch"]
        == min(record["epochs"], key=lambda result: result["validation_loss"])["epoch"]
    )
    assert [point.name for point in metadata.operating_points] == [
        "screening",
        "balanced",
        "rule-in",
    ]
    assert metadata.features is not None
    assert (whole_run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_curves_are_what_their_name_says_whatever_matplotlib_is_set_to(tmp_path: Path) -> None:
    state = TrainingState("run", [EpochResult(1, 1.0, 1.0, 0.5, 0.5, 1.0)])
    with matplotlib.rc_context({"savefig.format": "pdf"}):
        draw_curves(state, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_spatial_mean_of_the_evidence_is_the_logit(whole_run: Path) -> None:
    network = keras.models.load_model(whole_run / "model.keras", compile=False)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1)).astype(np.uint8)
    logits, features = network_outputs(network, pixels)
    evidence = np.asarray(network.predict(pixels.astype(np.float32), verbose=0)["evidence"])
    assert logits.shape == (3, 3)
    assert features.shape[0] == 3
    np.testing.assert_allclose(logits, evidence.mean(axis=(1, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("architecture", "pooling"), [("tiny", "sixths"), ("baseline", "mean")])
def test_the_gate_is_fitted_on_features_pooled_as_the_device_pools_them(
    architecture: str, pooling: FeaturePooling, film_folder: Path, tmp_path: Path
) -> None:
    options = replace(
        OPTIONS, architecture=architecture, input_size=48, epochs=1, steps_per_epoch=2
    )
    told: list[tuple[str, int, int]] = []
    listener = Listener(progress=lambda what, done, total: told.append((what, done, total)))
    result = run(RunRequest(film_folder, tmp_path / "run", options), listener)
    assert told[-1][0] == "Asking about films" and told[-1][1] == told[-1][2]
    statistics = result.metadata.features
    assert statistics is not None and statistics.pooling == pooling
    packed = tmp_path / "packed.tflite"
    words = [str(result.model), "--float32", "--data", str(film_folder), "-o", str(packed)]
    assert main(["convert", *words]) == 0
    network = keras.models.load_model(result.model, compile=False)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 1)).astype(np.uint8)
    _, expected = network_outputs(network, pixels, pooling)
    found = Classifier(packed).classify(pixels).features
    assert found == pytest.approx(expected[0], abs=1e-3)
    assert len(found) == len(statistics.mean)


def test_the_average_of_a_short_run_has_left_the_first_weights(
    film_folder: Path, tmp_path: Path
) -> None:
    def weights(name: str, **changes: float) -> np.ndarray:
        options = replace(OPTIONS, epochs=1, steps_per_epoch=60, **changes)
        run(RunRequest(film_folder, tmp_path / name, options))
        network = keras.models.load_model(tmp_path / name / "model.keras", compile=False)
        return np.concatenate([np.ravel(own) for own in network.trainable_weights])

    first = weights("first", learning_rate=1e-8)
    last = weights("last", weight_average=0.0)
    averaged = weights("averaged")
    assert OPTIONS.weight_average == 0.995
    assert np.linalg.norm(averaged - last) < 0.3 * np.linalg.norm(first - last)


def test_the_average_of_weights_watches_the_run_and_does_not_steer_it(
    film_folder: Path, tmp_path: Path
) -> None:
    def trained(name: str, **changes: float) -> list[np.ndarray]:
        run(RunRequest(film_folder, tmp_path / name, replace(OPTIONS, epochs=3, **changes)))
        state = keras.models.load_model(tmp_path / name / "state.keras", compile=False)
        return [np.asarray(own) for own in state.get_weights()]

    plain, watched = trained("plain", weight_average=0.0), trained("watched")
    for one, other in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(one, other)


def test_live_normalization_is_kept_with_statistics_of_the_kept_weights(
    film_folder: Path, tmp_path: Path
) -> None:
    # A last batch of one film or two, which counts as such.
    options = replace(OPTIONS, architecture="tiny", norm="live", learning_rate=1e-2, batch_size=19)
    options = replace(options, augmentation=NO_AUGMENTATION)
    runs = [tmp_path / "run", tmp_path / "another"]
    for seed, output in enumerate(runs):
        run(RunRequest(film_folder, output, replace(options, seed=seed)))
    # An average of runs has weights of its own, and so statistics of its own.
    average_runs(runs, film_folder, tmp_path / "average")
    films = list(Split.read(runs[0] / "split.json").part("train"))
    spec = read_metadata(runs[0] / "model.keras").input
    root = labelled_root(film_folder)
    pixels = np.concatenate(
        [preprocess(decode(root / film.path, spec).pixels, spec) for film in films]
    )
    for folder in (runs[0], tmp_path / "average"):
        network = keras.models.load_model(folder / "model.keras", compile=False)
        norm = network.get_layer("stem_bn")
        reach = keras.Model(network.input, norm.input)
        entering = np.asarray(reach.predict(pixels.astype(np.float32), verbose=0))
        mean = entering.mean(axis=(0, 1, 2))
        largest = float(np.abs(mean).max())
        assert np.asarray(norm.moving_mean) == pytest.approx(mean, abs=1e-3 * largest)
        # Within batches the variance is a little less than over all films.
        assert np.asarray(norm.moving_variance) == pytest.approx(entering.var((0, 1, 2)), rel=0.1)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_resumes_to_the_same_weights_and_record(
    whole_run: Path, film_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "mine"
    steps = -(-len(Split.read(whole_run / "split.json").part("train")) // OPTIONS.batch_size)
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED_RUN,
            str(film_folder),
            str(output),
            json.dumps(OPTIONS.to_dict()),
            str(steps + 2),
        ],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=600,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    notes: list[str] = []
    run(RunRequest(film_folder, output, OPTIONS), Listener(note=notes.append))
    assert notes[0] == "Going on after 1 finished epoch."
    whole = keras.models.load_model(whole_run / "model.keras", compile=False)
    resumed = keras.models.load_model(output / "model.keras", compile=False)
    for expected, got in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
    ours, theirs = (
        json.loads((folder / "record.json").read_text()) for folder in (output, whole_run)
    )
    for record in (ours, theirs):
        # When it ran and how long it took are no part of what a run gives.
        del record["began"], record["model_sha256"]
        for epoch in record["epochs"]:
            del epoch["seconds"]
    assert ours == theirs


def test_a_finished_run_is_not_trained_again(whole_run: Path, film_folder: Path) -> None:
    stages: list[str] = []
    began = time.monotonic()
    run(
        RunRequest(film_folder, whole_run, OPTIONS),
        Listener(progress=lambda what, done, total: stages.append(what)),
    )
    assert not [stage for stage in stages if stage.startswith("Training")]
    assert time.monotonic() - began < 120


def test_another_run_in_the_same_folder_is_refused(whole_run: Path, film_folder: Path) -> None:
    other = update_options(OPTIONS, {"seed": 6})
    with pytest.raises(UsageError, match=r"another run|other options.*--restart"):
        run(RunRequest(film_folder, whole_run, other))


def test_films_that_tell_nothing_are_answered_with_the_share_of_each_class(
    write_film: Callable[..., Path], tmp_path: Path
) -> None:
    data = tmp_path / "films"
    for seed in range(240):
        label = "normal" if seed % 4 else "rare"
        write_film(data / label / f"{label}-{seed:03d}.png", "normal", seed, height=40, width=40)
    plain = {"architecture": "baseline", "input_size": 32, "epochs": 2, "batch_size": 8}
    plain |= {"dropout": 0.0, "learning_rate": 1e-4, "label_smoothing": 0.0, "seed": 5}
    taught = run(RunRequest(data, tmp_path / "teacher", TrainingOptions(**plain)))
    learned = plain | {"teacher": (str(taught.model),)}
    for result in (taught, run(RunRequest(data, tmp_path / "student", TrainingOptions(**learned)))):
        network = keras.models.load_model(result.model, compile=False)
        draw = np.random.default_rng(0)
        logits, _ = network_outputs(
            network, draw.integers(40, 160, (16, 32, 32, 1)).astype(np.uint8)
        )
        shares = probabilities(logits, result.metadata.calibration, result.metadata.positive).mean(
            axis=0
        )
        assert shares[result.metadata.label_names.index("rare")] == pytest.approx(0.25, abs=0.1)


def test_a_student_learns_from_a_teacher_of_another_size(
    whole_run: Path, film_folder: Path, tmp_path: Path
) -> None:
    student = update_options(
        OPTIONS,
        {"input_size": 28, "epochs": 1, "teacher": str(whole_run / "model.keras")},
    )
    notes: list[str] = []
    result = run(
        RunRequest(film_folder, tmp_path / "student", student), Listener(note=notes.append)
    )
    assert result.metadata.input.height == 28
    assert any("Asking the teacher" in note for note in notes)


def test_a_packed_model_teaches_what_its_network_does(
    tiny_keras: Path, tiny_model: Path, tiny_split: Path, film_folder: Path, tmp_path: Path
) -> None:
    def loss(teacher: Path, sees: str) -> float:
        taught = {"epochs": 1, "teacher": str(teacher), "teacher_weight": 1.0, "teacher_sees": sees}
        options = update_options(OPTIONS, taught)
        name = f"{teacher.suffix[1:]}-{sees}"
        result = run(RunRequest(film_folder, tmp_path / name, options, split=tiny_split))
        record = json.loads((tmp_path / name / "record.json").read_text())
        assert record["learned_from_sha256"] == {
            f"{teacher.parent.name}/{teacher.name}": file_sha256(teacher)
        }
        return result.state.epochs[0].loss

    for sees in ("film", "view"):
        # Not the same: the packed one's weights are of 8 bits.
        assert loss(tiny_model, sees) == pytest.approx(loss(tiny_keras, sees), rel=0.02)


def test_a_teacher_that_sees_views_is_asked_about_what_the_student_is_shown(
    whole_run: Path, film_folder: Path, tmp_path: Path
) -> None:
    def loss(name: str, **changes: object) -> float:
        taught = {"epochs": 1, "teacher": str(whole_run / "model.keras"), "teacher_weight": 1.0}
        # A teacher of two epochs is sure of nothing; sharpened, it tells films apart.
        taught |= {"teacher_temperature": 0.1}
        options = update_options(OPTIONS, taught | changes)
        return run(RunRequest(film_folder, tmp_path / name, options)).state.epochs[0].loss

    # Films that are not varied are the teacher's own: to see them once or each time is the same.
    plain = {"augmentation": NO_AUGMENTATION}
    once = loss("once", **plain)
    assert loss("each", teacher_sees="view", **plain) == pytest.approx(once, rel=1e-4)
    varied = {"augmentation": replace(NO_AUGMENTATION, brightness=120.0, contrast=0.8)}
    assert abs(loss("dark", teacher_sees="view", **varied) - loss("fixed", **varied)) > 1e-3
    small = loss("small", teacher_sees="view", input_size=28)
    assert np.isfinite(small)


def test_several_teachers_give_the_mean_of_their_answers_and_stand_in_the_record(
    whole_run: Path, film_folder: Path, tmp_path: Path
) -> None:
    second = tmp_path / "other" / "model.keras"
    second.parent.mkdir()
    shutil.copyfile(whole_run / "model.keras", second)
    student = update_options(OPTIONS, {"epochs": 1, "teacher": str(whole_run / "model.keras")})
    both = update_options(student, {"teacher": [str(whole_run / "model.keras"), str(second)]})
    one = run(RunRequest(film_folder, tmp_path / "one", student))
    two = run(RunRequest(film_folder, tmp_path / "two", both))
    # The same teacher twice teaches what it teaches alone.
    assert two.state.epochs[0].loss == pytest.approx(one.state.epochs[0].loss, rel=1e-5)
    record = json.loads(two.record.read_text("utf-8"))
    assert record["options"]["teacher"] == [f"{whole_run.name}/model.keras", "other/model.keras"]
    assert record["learned_from_sha256"]["other/model.keras"] == file_sha256(second)
    assert str(tmp_path) not in two.record.read_text("utf-8")


def test_two_devices_learn_what_one_does(film_folder: Path, tmp_path: Path) -> None:
    plain = {"architecture": "baseline", "input_size": 32, "epochs": 2, "batch_size": 20}
    plain |= {"dropout": 0.0, "seed": 5}
    # Its last batch would be short by four films or so, and leave the second device less than the first.
    whole = TrainingOptions(**plain, steps_per_epoch=5)
    one = run(RunRequest(film_folder, tmp_path / "one", whole))
    films = len(Split.read(tmp_path / "one" / "split.json").part("train"))
    assert 80 < films < 100
    told = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, film_folder, tmp_path / "two", json.dumps(plain)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    losses = json.loads(told.stdout.splitlines()[-1])
    # Sums of halves round otherwise than one sum.
    assert losses == pytest.approx([own.loss for own in one.state.epochs], rel=3e-3)


def test_several_machines_are_refused_in_one_line(
    film_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    with pytest.raises(UsageError, match=r"TF_CONFIG .*unset it and train on one machine"):
        run(RunRequest(film_folder, tmp_path / "run", OPTIONS))


def test_a_batch_that_the_gpus_cannot_share_is_refused_in_one_line(
    film_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["one", "two", "three"])
    with pytest.raises(UsageError, match=r"--batch-size 16: .*3 GPUs.*expected a multiple of 3"):
        run(RunRequest(film_folder, tmp_path / "run", OPTIONS))
    assert not (tmp_path / "run").exists()


def test_an_epoch_is_not_worse_for_being_less_sure() -> None:
    generator = np.random.default_rng(4)
    labels = np.arange(90) % 3
    logits = np.eye(3)[labels] * 2 + generator.normal(size=(90, 3))
    films = FilmSet((), np.zeros((90, 1, 1, 1), np.uint8), labels, ("normal", "bacterial", "viral"))
    sure, unsure = (
        epoch_result(1, 0.0, logits * by, films, (False, True, True), 0.0) for by in (1.0, 0.2)
    )
    assert unsure.validation_loss == pytest.approx(sure.validation_loss, abs=1e-4)
    worse = epoch_result(
        2, 0.0, logits + generator.normal(size=(90, 3)), films, (False, True, True), 0.0
    )
    assert worse.validation_loss > sure.validation_loss + 0.05


def test_the_auc_of_an_epoch_is_that_of_the_finding() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    films = FilmSet((), np.zeros((90, 1, 1, 1), np.uint8), labels, ("normal", "old", "ill"))
    # The two classes without a finding are not told apart, the finding always is.
    logits = generator.normal(size=(90, 3)) + np.outer(labels == 2, [-20, -20, 20])
    found = epoch_result(1, 0.0, logits, films, (False, False, True), 0.0)
    assert found.validation_auc == 1.0
    assert epoch_result(1, 0.0, logits, films, (False, True, True), 0.0).validation_auc < 0.9
    turned = FilmSet((), films.pixels, 2 - labels, films.names[::-1])
    first = epoch_result(1, 0.0, logits[:, ::-1], turned, (True, False, False), 0.0)
    assert first.validation_auc == 1.0


@pytest.mark.parametrize(("channels", "said"), [(1, True), (3, False)])
def test_colours_that_a_grey_network_does_not_see_are_said(
    channels: int, said: bool, tmp_path: Path
) -> None:
    notes = _notes_of_noise(tmp_path, (48, 48, 3), channels)
    assert any("6 of 6 films to learn from are in colour" in note for note in notes) is said


@pytest.mark.parametrize(("task", "said"), [({"body_part": ["CHEST"]}, True), ({}, False)])
def test_films_that_the_device_will_not_score_are_said_before_the_training(
    task: dict[str, list[str]], said: bool, tmp_path: Path
) -> None:
    notes = _notes_of_noise(tmp_path, (48, 48), 1, task)
    about = [note for note in notes if "would not score 6 of 6 films" in note]
    assert bool(about) is said
    if said:
        assert "not lie as in a chest film" in about[0] and "body_part" in about[0]
        assert about[0] != notes[-1]


def _notes_of_noise(
    folder: Path,
    shape: tuple[int, ...],
    channels: int,
    task: dict[str, list[str]] | None = None,
) -> list[str]:
    """What a run of one step on ten drawn pictures of noise says."""
    draw, notes = np.random.default_rng(0), list[str]()
    for name in ("healthy", "ill"):
        for index in range(5):
            path = folder / "films" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(path)
    options = TrainingOptions(
        architecture="baseline", input_size=32, channels=channels, epochs=1, steps_per_epoch=1
    )
    request = RunRequest(folder / "films", folder / "run", options, task=task)
    run(request, Listener(note=notes.append))
    return notes


def test_a_damaged_film_is_named_before_any_training(film_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "films"
    shutil.copytree(film_folder / "train", data)
    victim = sorted((data / "NORMAL").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:200])
    with pytest.raises(UsageError, match=rf"1 of 120 films cannot be read.*{victim.name}"):
        draw_split(data, seed=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = 0", "epochs must be 1 to 10000, got 0"),
        ("epochs = 'ten'", "epochs must be int, got 'ten'"),
        ("epoch = 3", "unknown option 'epoch'"),
        ("teacher = 3", "teacher must be a list of words, got 3"),
        ("teacher_sees = 'dreams'", "teacher_sees must be film or view, got 'dreams'"),
        ("norm = 'melted'", "norm must be auto, frozen or live"),
        ("epochs = [", "expected a TOML file"),
        ("augmentation = 3", r"augmentation must be a table, \[augmentation\]"),
        ("[augmentation]\ngama = 1.0", "unknown option 'gama'"),
        ("[augmentation]\njpeg_quality = 95", "jpeg_quality must be 1 to 94, got 95"),
        ("[augmentation]\npatch = 2.0", "patch must be 0 to 1, got 2"),
        ("[augmentation]\nflip_chance = -0.1", r"flip_chance must be 0 to 1, got -0\.1"),
        ("[augmentation]\nborder = nan", r"border must be 0 to 0\.5, got nan"),
        ("[augmentation]\nzoom = 'much'", "zoom must be float, got 'much'"),
        ("seed = -1", "seed must be 0 to 4294967295, got -1"),
        ("[task.labels]\nglioma = 'urgent'", r"labels\.glioma must be a table, got 'urgent'"),
        ("task = 3", r"task must be a table, \[task\]"),
    ],
)
def test_wrong_options_get_one_line(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "train.toml"
    config.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_config(config)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "two\nlines"}, r"--name: expected text on one line.* got 'two\\nlines'"),
        ({"model_version": "1\x1b[2J"}, "--model-version: expected text"),
        ({"licence": "CC0\r"}, "--licence: expected text"),
    ],
)
def test_words_that_no_model_can_hold_are_refused_before_any_training(
    film_folder: Path, tmp_path: Path, words: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(RunRequest(film_folder, tmp_path / "run", OPTIONS, **words))
    assert not (tmp_path / "run").exists()


def test_a_config_file_sets_options_augmentation_and_task(tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text(
        'epochs = 4\nlearning_rate = 1\n[augmentation]\ngamma = 0.1\n[task]\nfinding = "tumour"\n',
        encoding="utf-8",
    )
    options, task = read_config(config)
    assert (options.epochs, options.learning_rate, options.augmentation.gamma) == (4, 1, 0.1)
    assert task == {"finding": "tumour"}
