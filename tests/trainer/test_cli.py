"""The trainer's commands through the front door: what they leave, and one line for data that cannot serve."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_xray.cli import main
from edge_xray.labelled import Split
from edge_xray.model_file import read_metadata
from edge_xray_trainer.class_weights import shift_logits

QUICK = ("--architecture", "baseline", "--input-size", "28", "--epochs", "1", "--batch-size", "16")


@pytest.fixture(scope="module")
def two_runs(film_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short runs on one split, the second from the weights of the first."""
    root = tmp_path_factory.mktemp("runs")
    split = root / "split.json"
    assert main(["split", str(film_folder), "-o", str(split)]) == 0
    first, second = root / "first", root / "second"
    for output, more in (
        (first, ()),
        (second, ("--seed", "1", "--initial", str(first / "model.keras"))),
    ):
        arguments = ["train", str(film_folder), "-o", str(output), "--split", str(split)]
        assert main([*arguments, *QUICK, *more]) == 0
    return [first, second]


def test_train_says_where_the_model_is(
    two_runs: list[Path], film_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = two_runs[0]
    split = str(first / "split.json")
    assert main(["train", str(film_folder), "-o", str(first), "--split", split, *QUICK]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(first / "model.keras")]
    assert "Going on after 1 finished epoch." in said.err


def test_train_is_silent_about_gpus_that_are_not_there(
    two_runs: list[Path], film_folder: Path
) -> None:
    words = ["train", str(film_folder), "-o", str(two_runs[0]), *QUICK]
    words += ["--split", str(two_runs[0] / "split.json")]
    plain = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    ended = subprocess.run(
        [sys.executable, "-m", "edge_xray", *words],
        env=plain, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Going on after 1 finished epoch." in ended.stderr
    assert not [line for line in ended.stderr.splitlines() if ".cc:" in line or "absl" in line]


def test_the_average_of_runs_has_the_mean_of_their_weights(
    two_runs: list[Path], film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    output = tmp_path / "average"
    arguments = ["average", *map(str, two_runs), "--data", str(film_folder), "-o", str(output)]
    assert main(arguments) == 0
    assert capsys.readouterr().err.count("validation loss") == 3
    train = Split.read(two_runs[0] / "split.json").part("train")
    weights = []
    for folder in (*two_runs, output):
        network = keras.models.load_model(folder / "model.keras", compile=False)
        metadata = read_metadata(folder / "model.keras")
        counts = [sum(film.label == name for film in train) for name in metadata.label_names]
        # As they learned: with the weights of the classes, which the calibration takes off each in its own way.
        weighted = np.log(len(train) / (len(counts) * np.array(counts)))
        shift_logits(network, metadata.calibration.temperature * weighted)
        weights.append(network.get_weights())
    for first, second, mean in zip(*weights, strict=True):
        np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)
    averaged = read_metadata(output / "model.keras").training["averaged"]
    assert [run["seed"] for run in averaged] == [0, 1]


def test_averaging_one_run_or_strangers_is_refused(
    two_runs: list[Path], film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(film_folder), "-o", str(tmp_path / "average")]
    assert main(["average", str(two_runs[0]), *data]) == 2
    assert "at least two runs" in capsys.readouterr().err
    assert main(["average", str(two_runs[0]), str(tmp_path), *data]) == 2
    assert "expected the folder of a finished run" in capsys.readouterr().err
    (tmp_path / "record.json").write_text("[" * 100_000)
    assert main(["average", str(two_runs[0]), str(tmp_path), *data]) == 2
    assert "expected the folder of a finished run" in capsys.readouterr().err


def test_split_writes_folds_and_stand_ins(film_folder: Path, tmp_path: Path) -> None:
    folds, held = tmp_path / "folds.json", tmp_path / "held.json"
    assert main(["split", str(film_folder), "--folds", "3", "-o", str(folds)]) == 0
    assert {film.part for film in Split.read(folds).films} == {"fold0", "fold1", "fold2"}
    assert main(["split", str(film_folder), "--hold-out", "NORMAL2-*", "-o", str(held)]) == 0
    for film in Split.read(held).films:
        if film.label == "normal":
            assert (film.part == "test") == ("NORMAL2-" in film.path)


@pytest.fixture
def extended(film_folder: Path, write_film: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of films, beside it the ``old.json`` that it was split by before 60 of its films came in."""
    data = Path(shutil.copytree(film_folder / "train", tmp_path / "data"))
    assert main(["split", str(data), "-o", str(tmp_path / "old.json")]) == 0
    for index in range(60):
        kind = ("bacteria", "virus")[index % 2]
        name = f"person{2000 + index // 2}_{kind}_{index}.jpeg"
        label = ("bacterial", "viral")[index % 2]
        write_film(data / "PNEUMONIA" / name, label, 5000 + index)
    return data


def test_a_split_is_extended_by_new_films_and_what_was_held_back_stays_so(
    extended: Path,
    write_film: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    before = {film.path: film for film in Split.read(old).films}
    held = next(film for film in before.values() if (film.label, film.part) == ("viral", "test"))
    again = f"PNEUMONIA/{held.patient}_virus_9999.jpeg"
    write_film(extended / again, "viral", 9999)
    gone = next(film for film in before.values() if film.part == "train")
    moved = gone.path.replace(".jpeg", "-b.jpeg")
    (extended / gone.path).rename(extended / moved)
    assert main(["split", str(extended), "--extend", str(old), "-o", str(new)]) == 0
    assert "Extends a split of 120 films by 61 films." in capsys.readouterr().err
    after = {film.path: film for film in Split.read(new).films}
    assert all(after[name].part == before[name].part for name in before if name != gone.path)
    assert after[moved].part == "train" and after[again].part == "test"
    dealt = Counter(
        film.part for name, film in after.items() if "/person20" in name and name not in before
    )
    assert sum(dealt.values()) == 60 and all(2 <= dealt[p] <= 10 for p in ("validation", "test"))
    patients = {(film.patient, film.part) for film in after.values()}
    assert len(patients) == len({patient for patient, _ in patients})


def test_new_films_of_patients_whose_old_films_are_gone_keep_their_parts(
    extended: Path, write_film: Callable[..., Path], tmp_path: Path
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    films = [film for film in Split.read(old).films if film.label == "viral"]
    parts = {film.patient: film.part for film in films if film.part != "train"}
    learned = [film.patient for film in films if film.part == "train"]
    parts |= dict.fromkeys(learned[: len(learned) // 2], "train")
    for film in films:
        if film.patient in parts:
            (extended / film.path).unlink()
    for index, patient in enumerate(parts):
        name = f"PNEUMONIA/{patient}_virus_{9000 + index}.jpeg"
        write_film(extended / name, "viral", 9000 + index)
    assert main(["split", str(extended), "--extend", str(old), "-o", str(new)]) == 0
    after = {film.patient: film.part for film in Split.read(new).films}
    assert {patient: after[patient] for patient in parts} == parts


def test_many_new_films_of_few_patients_are_all_to_learn_from(
    film_folder: Path, write_film: Callable[..., Path], tmp_path: Path
) -> None:
    data = Path(shutil.copytree(film_folder / "train", tmp_path / "data"))
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    assert main(["split", str(data), "-o", str(old)]) == 0
    for index in range(12):
        name = f"PNEUMONIA/person{2000 + index % 3}_virus_{index}.jpeg"
        write_film(data / name, "viral", 5000 + index)
    assert main(["split", str(data), "--extend", str(old), "-o", str(new)]) == 0
    came = [film.part for film in Split.read(new).films if "/person200" in film.path]
    assert came == ["train"] * 12


def test_a_film_that_joins_two_parts_of_the_split_it_extends_is_refused(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = Split.read(tmp_path / "old.json").films
    learned, held = (
        next(film for film in films if (film.label, film.part) == ("viral", part))
        for part in ("train", "test")
    )
    copy = extended / "PNEUMONIA" / f"{held.patient}_virus_9998.jpeg"
    shutil.copy(extended / learned.path, copy)
    words = ["split", str(extended), "--extend", str(tmp_path / "old.json")]
    assert main([*words, "-o", str(tmp_path / "new.json")]) == 2
    said = capsys.readouterr().err
    assert "(train) and " in said and "(test) are of one patient or copies now" in said
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--folds", "3"], "cannot go together"),
        (["-o", "old.json"], "name another file with -o"),
        (["--extend", "folds.json"], "split folds, and what was made with --hold-out, anew"),
        (["--extend", "other.json"], "none of the films of the split to extend is in the folder"),
    ],
)
def test_what_cannot_be_extended_is_refused_in_one_line(
    extended: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    old = Split.read(Path("old.json"))
    Split(0, tuple(replace(film, part="fold0") for film in old.films)).write(Path("folds.json"))
    strangers = (replace(film, path=f"x/{film.path}", sha256="0" * 64) for film in old.films)
    Split(0, tuple(strangers)).write(Path("other.json"))
    kept = Path("old.json").read_bytes()
    capsys.readouterr()
    assert main(["split", str(extended), "-o", "new.json", "--extend", "old.json", *more]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert Path("old.json").read_bytes() == kept and not Path("new.json").exists()


def test_a_full_disk_leaves_the_split_that_was_there(
    film_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = tmp_path / "split.json"
    assert main(["split", str(film_folder), "-o", str(kept)]) == 0
    before = kept.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    capsys.readouterr()
    assert main(["split", str(film_folder), "--seed", "1", "-o", str(kept)]) == 3
    assert "No space left on device" in capsys.readouterr().err
    assert kept.read_bytes() == before


def test_two_commands_that_write_one_file_at_once_both_write_it_whole(
    film_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, alone = tmp_path / "split.json", tmp_path / "alone.json"
    words = ["split", str(film_folder), "-o"]
    other = "import sys; from edge_xray.cli import main; sys.exit(main(sys.argv[1:]))"
    real, ended, between = os.fsync, [], []

    def meanwhile(file: int) -> None:
        monkeypatch.setattr("os.fsync", real)
        command = [sys.executable, "-c", other, *words, str(shared), "--seed", "1"]
        ended.append(subprocess.run(command, capture_output=True, check=False).returncode)
        between.append(Split.read(shared).seed)
        real(file)

    assert main([*words, str(alone)]) == 0
    monkeypatch.setattr("os.fsync", meanwhile)
    assert main([*words, str(shared)]) == 0
    assert (ended, between) == ([0], [1])
    assert shared.read_bytes() == alone.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"split.json", "alone.json"}


def test_a_split_goes_where_a_link_leads_and_into_a_pipe(film_folder: Path, tmp_path: Path) -> None:
    kept, link, pipe = tmp_path / "kept.json", tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(kept.name)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for output in (link, pipe):
        assert main(["split", str(film_folder), "-o", str(output)]) == 0
    assert link.is_symlink() and pipe.is_fifo()
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == kept.read_bytes()


def test_another_scan_of_other_classes_trains_with_options_alone(
    tmp_path: Path, draw_film: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("no_tumour", "glioma"):
        (tmp_path / "slices" / label).mkdir(parents=True)
        for index in range(12):
            grey = draw_film("normal" if label == "no_tumour" else "bacterial", index)
            colour = Image.fromarray(grey).convert("RGB")
            colour.save(tmp_path / "slices" / label / f"{index}.png")
    output = tmp_path / "run"
    arguments = ["train", str(tmp_path / "slices"), "-o", str(output), "--finding", "tumour"]
    assert main([*arguments, "--channels", "3", *QUICK]) == 0
    films = json.loads((output / "record.json").read_text("utf-8"))["data"]["films"]["validation"]
    few = f"gate's line was drawn with only {sum(films.values())} validation films"
    assert few in " ".join(capsys.readouterr().err.split())
    metadata = read_metadata(output / "model.keras")
    assert metadata.label_names == ("no_tumour", "glioma")
    assert metadata.finding == "tumour"
    assert metadata.input.shape == (1, 28, 28, 3)
    assert metadata.intended_use.body_part == ()


def test_which_class_means_nothing_is_asked_before_films_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("left", "right"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "0.png").write_bytes(b"no film")
    assert main(["train", str(tmp_path / "data"), "-o", str(tmp_path / "run"), *QUICK]) == 2
    assert "Say it with --negative NAME" in capsys.readouterr().err


def _empty_class(data: Path) -> list[str]:
    for film in (data / "NORMAL").iterdir():
        film.unlink()
    return []


def _one_class(data: Path) -> list[str]:
    shutil.rmtree(data / "NORMAL")
    return []


def _corrupt_film(data: Path) -> list[str]:
    victim = sorted((data / "PNEUMONIA").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:100])
    return []


def _broken_link(data: Path) -> list[str]:
    (data / "PNEUMONIA" / "person0_virus_0.png").symlink_to("nowhere.png")
    return []


def _unknown_label(data: Path) -> list[str]:
    name = sorted((data / "NORMAL").iterdir())[0].name
    table = data.parent / "labels.csv"
    table.write_text(f"path,label\nNORMAL/{name},zebra\n", encoding="utf-8")
    return ["--patients", str(table)]


def _no_name(data: Path) -> list[str]:
    sorted((data / "PNEUMONIA").iterdir())[0].rename(data / "PNEUMONIA" / "film1.jpeg")
    return []


def _copied_classes(data: Path) -> list[str]:
    shutil.copytree(data, data.parent / "again")
    (data.parent / "again").rename(data / "dataset")
    return []


def _folder_above(data: Path) -> list[str]:
    data.rename(data.parent / "inner")
    data.mkdir()
    (data.parent / "inner").rename(data / "dataset")
    return []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_copied_classes, "stand in it as beside it, so it is no class; name it alone, or move it"),
        (_folder_above, "data/dataset are the classes, name it"),
        (_empty_class, "the class folder is empty; expected films in it, or remove it"),
        (_one_class, "expected at least two classes (one folder each)"),
        (_corrupt_film, "films cannot be read, the first: PNEUMONIA/"),
        (_broken_link, "films cannot be read, the first: PNEUMONIA/person0_virus_0.png"),
        (_unknown_label, "has the unknown label 'zebra'; expected one of"),
        (_no_name, "expected a name like person12_bacteria_34.jpeg"),
    ],
)
def test_bad_data_gets_one_line_and_exit_2(
    film_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], list[str]],
    said: str,
) -> None:
    data = tmp_path / "data"
    shutil.copytree(film_folder / "train", data)
    more = spoil(data)
    assert main(["train", str(data), "-o", str(tmp_path / "run"), *QUICK, *more]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "edge-xray:" in line]
    assert len(errors) == 1
    assert said in errors[0].replace("\\", "/")


def test_fewer_patients_than_folds_is_one_line(
    film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["split", str(film_folder), "--folds", "50", "-o", str(tmp_path / "s.json")]) == 2
    assert "expected at least 50, so that each part gets one" in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()


def test_an_unknown_architecture_is_one_line(
    film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(film_folder), "-o", str(tmp_path / "run"), "--architecture", "vgg"]
    assert main(arguments) == 2
    assert "unknown architecture 'vgg'; expected one of" in capsys.readouterr().err


@pytest.mark.parametrize("use", ["evaluate", "compare", "initial", "teacher", "average"])
def test_a_damaged_network_is_one_line_and_exit_2(
    two_runs: list[Path],
    film_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    use: str,
) -> None:
    run = Path(shutil.copytree(two_runs[1], tmp_path / "run"))
    model = run / "model.keras"
    data = bytearray(model.read_bytes())
    # Within the weights: the zip's list and the record are whole.
    with zipfile.ZipFile(model) as archive:
        start = archive.getinfo("model.weights.h5").header_offset + 200
    data[start : start + 4000] = bytes(4000)
    model.write_bytes(data)
    films, output = str(film_folder), str(tmp_path / "out")
    split = ["--split", str(two_runs[0] / "split.json")]
    arguments = {
        "evaluate": ["evaluate", str(model), "--data", films, *split],
        "compare": ["compare", str(two_runs[0]), str(run), "--data", films, *split],
        "initial": ["train", films, "-o", output, *split, *QUICK, "--initial", str(model)],
        "teacher": ["train", films, "-o", output, *split, *QUICK, "--teacher", str(model)],
        "average": ["average", str(two_runs[0]), str(run), "--data", films, "-o", output],
    }[use]
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("edge-xray: ") and f"{model}: Keras" in error and "cannot load" in error
