"""The convert command: what it writes, what it records, what it refuses."""

from __future__ import annotations

import errno
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_xray.classifier import Classifier
from edge_xray.labelled import Split
from edge_xray.model_file import attach_to_keras, parse_metadata, read_metadata, split_packed
from edge_xray_converter.flatbuffer import read_graph
from edge_xray_converter.keep_float import choose_float
from edge_xray_converter.layers import LayerError


@pytest.fixture(scope="module")
def converted(run_cli, tiny_keras, film_folder, tmp_path_factory):
    """All four kinds of `tiny_keras`, by kind, with what was said."""
    out = tmp_path_factory.mktemp("converted") / "tiny.tflite"
    code, stdout, stderr = run_cli(
        "convert", tiny_keras, "--int8", "--float16", "--dynamic", "--float32",
        "--data", film_folder, "-o", out,
    )  # fmt: skip
    assert code == 0
    paths = {path.stem.rpartition("-")[2]: path for path in out.parent.iterdir()}
    assert stdout.split() == [
        str(paths[kind]) for kind in ("int8", "float16", "dynamic", "float32")
    ]
    return paths, stderr


def test_several_kinds_at_once_are_named_by_kind_and_all_run(converted):
    paths, _ = converted
    assert set(paths) == {"int8", "float16", "dynamic", "float32"}
    for kind, path in paths.items():
        classifier = Classifier(path)
        assert classifier.metadata.quantization == kind
        assert classifier.check_golden() == 0.0


def test_smaller_numbers_make_smaller_files(converted):
    network = {kind: split_packed(path.read_bytes())[0] for kind, path in converted[0].items()}
    sizes = {kind: len(data) for kind, data in network.items()}
    assert max(sizes["int8"], sizes["dynamic"]) < sizes["float16"] < sizes["float32"]


def test_int8_is_integer_throughout_and_takes_pixels_as_they_are(converted):
    graph = read_graph(converted[0]["int8"].read_bytes())
    assert graph.non_integer() == []
    (entry,) = (graph.tensors[number] for number in graph.inputs)
    assert (entry.type, entry.shape) == ("UINT8", (1, 32, 32, 1))
    # One step of the input is one grey level, and black is its least.
    assert entry.scale == pytest.approx((1 / 128,))
    assert entry.zero_point == (127,)
    assert {graph.tensors[number].type for number in graph.outputs} == {"INT8"}


def test_without_a_delegate_no_operation_is_delegated(run_cli, tiny_keras, film_folder, tmp_path):
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / "plain.tflite"
    code, _, _ = run_cli("convert", tiny_keras, "--no-delegate", "--data", film_folder, "-o", path)
    assert code == 0
    assert not read_metadata(path).delegate
    report = tmp_path / "report"
    run_cli(
        "parity", tiny_keras, path, "--data", film_folder, "--no-films", "--no-timing", "-o", report
    )
    usual, plain = json.loads(report.with_suffix(".json").read_text("utf-8"))["models"]
    assert usual["delegation"]["delegated"] > 0
    assert plain["delegation"]["delegated"] == 0


def test_labels_and_metadata_are_packed(converted, tiny_keras):
    trained = read_metadata(tiny_keras)
    for path in converted[0].values():
        metadata = read_metadata(path)
        assert metadata.labels == trained.labels
        assert metadata.operating_points == trained.operating_points
        assert metadata.calibration == trained.calibration
        assert metadata.golden is not None and metadata.network_sha256
        assert metadata.training["converted_from"]["name"] == tiny_keras.name


def test_representative_films_are_recorded_and_are_training_films(converted, tiny_split):
    record = read_metadata(converted[0]["int8"]).training["representative"]
    train = {film.sha256[:16] for film in Split.read(tiny_split).part("train")}
    assert set(record["film_sha256_prefixes"]) <= train
    assert (
        record["films"] == len(record["film_sha256_prefixes"]) == sum(record["per_label"].values())
    )
    assert "representative" not in read_metadata(converted[0]["float32"]).training


def test_int8_was_tried_on_validation_films(converted):
    _, said = converted
    assert "AUC drop on validation films" in said
    assert "NOT KEPT" not in said


def test_int8_that_could_not_be_tried_says_so_and_why(
    run_cli, tiny_keras, tiny_split, film_folder, tmp_path
):
    split = Split.read(tiny_split)
    kept = tuple(film for film in split.films if film.part != "validation")
    Split(split.seed, kept).write(tmp_path / "two.json")
    out = ("-o", tmp_path / "x.tflite")
    for given, why in (
        (("--all-training",), "--all-training leaves none"),
        (("--split", tmp_path / "two.json"), "the split has no part 'validation'"),
    ):
        command = ("convert", tiny_keras, "--data", film_folder, *given, *out)
        code, _, said = run_cli(*command)
        assert code == 0, said
        assert f"not tried on validation films: {why}" in said
    code, _, err = run_cli(*command, "--max-flips", "0")
    assert code == 2 and why in err and "\n" not in err
    code, _, said = run_cli(*command, "--no-check")
    assert code == 0 and "not tried" not in said


def test_validation_films_of_one_kind_are_refused_as_they_tell_no_loss(
    run_cli, tiny_keras, tiny_split, film_folder, tmp_path
):
    films = Split.read(tiny_split).films
    kept = (film for film in films if film.part != "validation" or film.label == "normal")
    Split(0, tuple(kept)).write(tmp_path / "one.json")
    words = ("--data", film_folder, "--split", tmp_path / "one.json", "-o", tmp_path / "x.tflite")
    code, _, err = run_cli("convert", tiny_keras, *words)
    assert code == 2
    assert "validation films are all with or all without a finding" in err and "\n" not in err
    assert not (tmp_path / "x.tflite").exists()


def test_answers_of_all_kinds_are_close(converted, draw_film):
    from edge_xray.preprocess import preprocess

    models = [Classifier(path) for path in converted[0].values()]
    for label in ("normal", "bacterial", "viral"):
        pixels = preprocess(draw_film(label, 4321), models[0].metadata.input)
        findings = [model.classify(pixels).p_finding for model in models]
        assert max(findings) - min(findings) < 0.05


def test_the_same_command_gives_the_same_bytes(
    converted, run_cli, tiny_keras, film_folder, tmp_path
):
    code, _, _ = run_cli(
        "convert", tiny_keras, "--data", film_folder, "-o", tmp_path / "again.tflite", "--no-check"
    )
    assert code == 0
    assert (tmp_path / "again.tflite").read_bytes() == converted[0]["int8"].read_bytes()


def test_a_float_tflite_gives_the_same_int8_decisions(
    converted, run_cli, film_folder, tiny_split, draw_film, tmp_path
):
    out = tmp_path / "from_tflite.tflite"
    code, _, _ = run_cli(
        "convert", converted[0]["float32"], "--data", film_folder, "--split", tiny_split, "-o", out
    )
    assert code == 0
    from edge_xray.preprocess import preprocess

    first, second = Classifier(out), Classifier(converted[0]["int8"])
    for seed in range(6):
        pixels = preprocess(draw_film("bacterial", 700 + seed), first.metadata.input)
        np.testing.assert_allclose(
            first.classify(pixels).logits, second.classify(pixels).logits, atol=0.5
        )


def test_a_tflite_is_not_overwritten_by_its_conversion(
    run_cli, tiny_float, film_folder, tiny_split, tmp_path
):
    source, link = tmp_path / "net.tflite", tmp_path / "link.tflite"
    source.write_bytes(tiny_float.read_bytes())
    link.symlink_to(source)
    for arguments in ((), ("-o", link), ("-o", tmp_path / "net")):
        code, _, err = run_cli(
            "convert", source, "--data", film_folder, "--split", tiny_split, *arguments
        )
        assert code == 2
        assert "name another file with -o" in err and "\n" not in err
    assert source.read_bytes() == tiny_float.read_bytes()
    code, _, _ = run_cli("convert", source, "--float32", "-o", tmp_path / "other")
    assert code == 0


def test_named_operations_stay_in_float(run_cli, tiny_keras, film_folder, tmp_path):
    code, _, err = run_cli(
        "convert", tiny_keras, "--data", film_folder, "-o", tmp_path / "x.tflite",
        "--keep-float", "nothing",
    )  # fmt: skip
    assert code == 2
    known = err.partition("such as ")[2].partition(";")[0]
    code, _, said = run_cli(
        "convert", tiny_keras, "--data", film_folder, "-o", tmp_path / "x.tflite",
        "--keep-float", known,
    )  # fmt: skip
    assert code == 0
    assert f"left in float: {known}" in said
    graph = read_graph((tmp_path / "x.tflite").read_bytes())
    assert {operation.kind for operation in graph.non_integer()} == {
        "DEQUANTIZE", "CONV_2D", "QUANTIZE",
    }  # fmt: skip
    assert read_metadata(tmp_path / "x.tflite").training["kept_float"] == [known]


def test_a_budget_that_int8_misses_names_layers_and_auto_keeps_it(
    run_cli, tiny_keras, film_folder, tmp_path
):
    arguments = ("convert", tiny_keras, "--data", film_folder, "-o", tmp_path / "x.tflite")
    # The network is trained here, and how far int8 moves it differs between processors.
    for budget in ("0.0001", "0.00007", "0.00005"):
        narrow = ("--max-mean-shift", budget)
        code, _, said = run_cli(*arguments, *narrow)
        if code == 1:
            break
    assert code == 1
    assert "int8 loses too much" in said and "CONV_2D" in said
    # Fewer than 200 films are there to learn from: all of them set the ranges.
    assert "Try --keep-float auto." in said
    code, _, said = run_cli(*arguments, *narrow, "--films", 20)
    assert (
        code == 1
        and "Try --keep-float auto, more --films, or the best of several draws with --draws."
        in said
    )
    assert "on so few films a single one decides. Judge on 200 films or more" in said
    # The check that failed is not that of accuracy.
    assert "each check has an option of its name" in said
    code, _, said = run_cli(*arguments, *narrow, "--keep-float", "auto")
    assert code == 0
    assert "left in float" in said and "NOT KEPT" not in said
    assert read_graph((tmp_path / "x.tflite").read_bytes()).non_integer()
    assert Classifier(tmp_path / "x.tflite").check_golden() == 0.0


def measured(said):
    """What a conversion lost on validation films, by check, in the units it is told in."""
    pattern = r"^  (.+) on validation films: (-?[\d.]+)"
    return {name: float(value) for name, value in re.findall(pattern, said, re.MULTILINE)}


def test_of_several_draws_the_one_that_loses_least_is_taken(
    run_cli, tiny_keras, film_folder, tmp_path
):
    def convert(name, *options):
        out = tmp_path / f"{name}.tflite"
        code, _, said = run_cli(
            "convert", tiny_keras, "--data", film_folder, "--films", 4, "-o", out, *options
        )
        assert code in (0, 1)
        return split_packed(out.read_bytes())[0], measured(said), said, out

    singly = [convert(f"{seed}", "--seed", seed) for seed in (3, 4, 5)]
    assert len({network for network, *_ in singly}) == 3
    lost = [
        (said.count("NOT KEPT"), max(0, m["accuracy drop"]), m["flips"], m["mean shift"])
        for _, m, said, _ in singly
    ]
    # Told with two digits, some may lose alike.
    least = {singly[place][0] for place in range(3) if lost[place] == min(lost)}
    network, _, said, path = convert("best", "--seed", 3, "--draws", 3)
    assert network in least
    record = read_metadata(path).training["representative"]
    assert record["draws"] == 3
    assert singly[record["seed"] - 3][0] == network
    assert f"of 3 draws of training films that of --seed {record['seed']} lost least" in said


def test_draws_of_all_films_there_are_is_one(run_cli, tiny_keras, film_folder, tmp_path):
    code, _, said = run_cli(
        "convert", tiny_keras, "--data", film_folder, "--draws", 5, "-o", tmp_path / "x.tflite"
    )
    assert code == 0 and "draws of training films" not in said
    assert "draws" not in read_metadata(tmp_path / "x.tflite").training["representative"]


def test_auto_leaves_nothing_in_float_where_int8_is_good(
    run_cli, tiny_keras, film_folder, tmp_path
):
    code, _, said = run_cli(
        "convert", tiny_keras, "--data", film_folder, "-o", tmp_path / "x.tflite",
        "--keep-float", "auto",
    )  # fmt: skip
    assert code == 0
    assert "left in float" not in said
    assert read_graph((tmp_path / "x.tflite").read_bytes()).non_integer() == []


RANKING = [
    LayerError(name, "CONV_2D", place, 1.0 / (place + 1)) for place, name in enumerate("abcdef")
]


@pytest.mark.parametrize(
    ("needed", "chosen"),
    [("", ()), ("a", ("a",)), ("c", ("c",)), ("be", ("b", "e")), ("abcdef", tuple("abcdef"))],
)
def test_the_fewest_needed_operations_are_chosen(needed, chosen):
    trials = []

    def keeps_budget(names):
        trials.append(names)
        return set(needed) <= set(names)

    assert choose_float(RANKING, keeps_budget) == chosen
    # None, all, a bisection, and each but the last of those that it found: a trial takes minutes.
    assert len(trials) <= 2 + 3 + "abcdef".find(max(needed, default="a"))


def test_all_stays_in_float_where_even_that_misses_the_budget():
    assert choose_float(RANKING, lambda names: False) == tuple("abcdef")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name their folder with --data"),
        (("--data", "FOLDER", "--split", "missing.json"), "expected a split file"),
        (("--data", "missing"), "expected a folder"),
        (("--data", "FOLDER", "--input-range", "1..0"), "expected an input range"),
        (("--data", "FOLDER", "--input-range", "0..1"), "takes pixels 0..255"),
        (("--data", "FOLDER", "--all-training", "--split", "x.json"), "exclude each other"),
        (("--data", "FOLDER", "--all-training", "--keep-float", "auto"), "part 'validation'"),
        (("--data", "FOLDER", "--all-training", "--max-flips", "0"), "--max-flips: only int8 is"),
        (("--data", "FOLDER", "--no-check", "--draws", "2"), "--draws: only int8 is tried"),
        (("--data", "FOLDER", "--all-training", "--check"), "--all-training leaves none"),
        (("--data", "FOLDER", "--no-check", "--max-auc-drop", "0.002"), "leave --no-check out"),
        (("--float16", "--max-mean-shift", "0"), "add --int8"),
        (("--float16", "--keep-float", "auto"), "add --int8"),
        (("--float16", "--dynamic", "--keep-float", "x"), "float16, dynamic); add --int8"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(
    run_cli, tiny_keras, film_folder, tmp_path, arguments, words
):
    arguments = [film_folder if argument == "FOLDER" else argument for argument in arguments]
    code, _, err = run_cli("convert", tiny_keras, *arguments, "-o", tmp_path / "x.tflite")
    assert code == 2
    assert words in err and "\n" not in err
    assert not (tmp_path / "x.tflite").exists()


@pytest.mark.parametrize(
    "given",
    [
        ("--name", "mynet"),
        ("--threshold", "0.5"),
        ("--labels", "normal,bacterial,viral"),
        ("--negative", "normal"),
        ("--finding", "pneumonia"),
        ("--name", "mynet", "--threshold", "0", "--input-range", "-1..1"),
    ],
)
def test_what_a_network_says_itself_is_not_said_again(
    run_cli, tiny_keras, tiny_float, tmp_path, given
):
    for source in (tiny_keras, tiny_float):
        code, _, err = run_cli("convert", source, "--float32", *given, "-o", tmp_path / "x.tflite")
        assert code == 2
        assert f"leave out {', '.join(given[::2])}." in err and "\n" not in err
        assert "edge-xray train --name" in err
        assert not (tmp_path / "x.tflite").exists()


def test_a_network_without_a_split_beside_it_is_refused(run_cli, tiny_keras, film_folder, tmp_path):
    copy = tmp_path / "model.keras"
    copy.write_bytes(tiny_keras.read_bytes())
    code, _, err = run_cli("convert", copy, "--data", film_folder)
    assert code == 2
    assert "--split" in err and "--all-training" in err


def test_a_split_that_the_network_was_not_trained_with_is_refused(
    run_cli, repack, tiny_float, tiny_split, film_folder, tmp_path
):
    net = repack(tiny_float, tmp_path / "net.tflite", training={"split_sha256": "0" * 64})
    (tmp_path / "split.json").write_bytes(tiny_split.read_bytes())
    for arguments in ((), ("--split", tiny_split)):
        code, _, err = run_cli(
            "convert", net, "--data", film_folder, *arguments, "-o", tmp_path / "x.tflite"
        )
        assert code == 2
        assert "was trained with another split" in err and "\n" not in err
    assert not (tmp_path / "x.tflite").exists()


def test_an_output_that_cannot_be_written_is_exit_3(run_cli, tiny_keras, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run_cli("convert", tiny_keras, "--float32", "-o", tmp_path / "file" / "x.tflite")
    assert code == 3
    assert "cannot be written" in err


def test_a_full_disk_leaves_the_model_that_was_there(
    run_cli, tiny_keras, tiny_float, tmp_path, monkeypatch
):
    kept = Path(shutil.copy(tiny_float, tmp_path / "kept.tflite"))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = run_cli("convert", tiny_keras, "--float16", "-o", kept)
    assert code == 3
    assert "No space left on device" in err
    assert kept.read_bytes() == tiny_float.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["kept.tflite"]


def test_a_model_that_a_link_leads_to_is_replaced_and_not_the_link(run_cli, tiny_keras, tmp_path):
    link = tmp_path / "latest.tflite"
    link.symlink_to("model-1.tflite")
    assert run_cli("convert", tiny_keras, "--float16", "-o", link)[0] == 0
    assert link.is_symlink() and read_metadata(tmp_path / "model-1.tflite")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-o", "."), 3),
        (("-o", "/"), 3),
        (("-o", "a" * 300), 3),
        (("--seed", "-1"), 2),
    ],
)
def test_outputs_and_seeds_that_cannot_be_are_no_traceback(
    run_cli, tiny_keras, arguments, expected
):
    code, _, err = run_cli("convert", tiny_keras, "--float32", *arguments)
    assert code == expected
    assert "Traceback" not in err


def test_an_operation_without_an_integer_form_is_named(run_cli, film_folder, tmp_path):
    import keras

    entry = keras.Input((32, 32, 1))
    waves = keras.ops.sin(keras.layers.Conv2D(4, 3)(entry))
    scores = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(waves))
    keras.Model(entry, scores).save(tmp_path / "waves.keras")
    code, _, err = run_cli(
        "convert", tmp_path / "waves.keras", "--data", film_folder, "--all-training",
        "--labels", "bacterial,normal,viral",
    )  # fmt: skip
    assert code == 2
    assert "no integer form" in err and "SIN" in err and "\n" not in err


@pytest.mark.parametrize("kind", [("--int8",), ("--int8", "--no-check"), ("--float32",)])
def test_a_network_that_gives_no_numbers_is_refused_in_one_line(
    run_cli, tiny_keras, tiny_split, film_folder, tmp_path, kind
):
    import keras

    network = keras.saving.load_model(tiny_keras)
    network.get_layer("evidence").bias.assign([0.0, float("nan"), 0.0])
    network.save(tmp_path / "broken.keras")
    attach_to_keras(tmp_path / "broken.keras", read_metadata(tiny_keras))
    code, _, err = run_cli(
        "convert", tmp_path / "broken.keras", *kind, "--data", film_folder, "--split", tiny_split,
    )  # fmt: skip
    assert code == 2
    assert "edge-xray-test: gives no numbers" in err and "\n" not in err
    assert not (tmp_path / "broken.tflite").exists()


def test_a_changed_network_is_noticed(converted):
    data = converted[0]["int8"].read_bytes()
    network, _ = split_packed(data)
    metadata = parse_metadata(data, "int8")
    import hashlib

    assert metadata.network_sha256 == hashlib.sha256(network).hexdigest()
