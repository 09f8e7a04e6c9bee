"""What a run refuses, it refuses before anything in its folder is written or removed."""

from __future__ import annotations

import errno
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

import pytest

from edge_xray.cli import main
from edge_xray.durable import FolderLock
from edge_xray.errors import OutputError, UsageError
from edge_xray.labelled import Split, file_sha256
from edge_xray.model_file import read_metadata
from edge_xray_trainer.averaging import average_runs
from edge_xray_trainer.checkpoints import run_fingerprint
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.run import run
from edge_xray_trainer.run_request import Listener, RunRequest

QUICK = ("--architecture", "baseline", "--input-size", "28", "--epochs", "1", "--batch-size", "16")


def train(data: Path, output: Path, *more: object) -> int:
    return main(["train", str(data), "-o", str(output), *QUICK, *map(str, more)])


@pytest.fixture(scope="module")
def finished(film_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied."""
    output = tmp_path_factory.mktemp("finished") / "run"
    assert train(film_folder, output) == 0
    return output


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_patients(split: Split, path: Path, prefix: str = "") -> Path:
    rows = [f"{film.path},{prefix}{film.patient}\n" for film in split.films]
    path.write_text("path,patient\n" + "".join(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--split", "OTHER"), "holds a run with other options, films or labels"),
        (("--seed", "9"), "holds a run with other options"),
        (("--split-seed", "3"), "--split-seed 3: "),
        (("--patients", "STRANGERS"), "was made with other patients or labels"),
        (("--restart", "--split", "MISSING"), "expected a split file"),
        (("--restart", "--split", "PARTED"), "stands in train and test"),
        (("--restart", "--negative", "zebra"), "which are no classes here"),
        (("--restart", "--architecture", "vgg"), "unknown architecture"),
        (("--restart", "--initial", "OWN"), "would throw away the model"),
        (("--restart", "--teacher", "MISSING"), "expected a model to learn from"),
        (("--test-fold", "0"), "add --split"),
        (("--restart", "--split", "FOLDS"), "say which is the test: --test-fold 0 to 2"),
    ],
)
def test_a_refused_run_leaves_its_folder_as_it_was(
    own: Path,
    film_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    said: str,
) -> None:
    split = Split.read(own / "split.json")
    places = {
        name: tmp_path / name for name in ("OTHER", "STRANGERS", "MISSING", "PARTED", "FOLDS")
    }
    places["OWN"] = own / "model.keras"
    assert main(["split", str(film_folder), "--seed", "7", "-o", str(places["OTHER"])]) == 0
    assert main(["split", str(film_folder), "--folds", "3", "-o", str(places["FOLDS"])]) == 0
    write_patients(split, places["STRANGERS"], prefix="another-")
    # One film of a patient with several in the test goes to the training films.
    patients = [film.patient for film in split.part("test")]
    several = next(name for name in patients if patients.count(name) > 1)
    moved = next(i for i, film in enumerate(split.films) if film.patient == several)
    films = list(split.films)
    films[moved] = replace(films[moved], part="train", group="")
    Split(0, tuple(films)).write(places["PARTED"])
    before = contents(own)
    words = [str(places.get(word, word)) for word in more]
    assert train(film_folder, own, *words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("edge-xray: ") and said in error
    assert contents(own) == before


@pytest.mark.parametrize("role", ["--teacher", "--initial"])
def test_what_learned_from_films_that_are_held_back_here_is_not_learned_from(
    finished: Path, film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    other, output = tmp_path / "other.json", tmp_path / "run"
    assert main(["split", str(film_folder), "--seed", "7", "-o", str(other)]) == 0
    assert train(film_folder, output, "--split", other, role, finished / "model.keras") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "would be measured on films that this knows" in said
    assert "the split.json it was trained with (--split)" in said
    assert "--data" not in said  # train has no such option
    assert not output.exists()
    # Without its split beside it nobody can tell, and with the same split there is nothing to tell.
    alone = Path(shutil.copy(finished / "model.keras", tmp_path))
    assert train(film_folder, output, "--split", other, role, alone) == 0
    assert f"Nothing tells whether {tmp_path.name}/model.keras was trained" in words(capsys)
    assert train(film_folder, tmp_path / "same", role, alone) == 0
    assert "Nothing tells" not in words(capsys)


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said to people, lines joined."""
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("inside", ["runs/mine", "NORMAL", "."])
def test_a_run_is_not_put_among_the_films(
    film_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    inside: str,
) -> None:
    films = film_folder / "train"
    monkeypatch.chdir(films)
    before = sorted(films.rglob("*"))
    assert train(Path(), Path(inside)) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"edge-xray: {inside}: lies among the films of ., and would be taken for a class" in said
    assert average([Path("a"), Path("b")], Path(), Path(inside)) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "lies among the films of ., and would be taken for a class" in said
    assert sorted(films.rglob("*")) == before


def test_a_run_in_a_hidden_folder_among_the_films_is_no_class(
    film_folder: Path, tmp_path: Path
) -> None:
    films = Path(shutil.copytree(film_folder / "train", tmp_path / "films"))
    for run_name in ("mine", "other"):
        assert train(films, films / ".runs" / run_name) == 0


def test_a_mistyped_folder_and_restart_cost_nothing(own: Path, film_folder: Path) -> None:
    before = contents(own)
    assert train(film_folder.with_name("mistyped"), own, "--restart") == 2
    assert contents(own) == before


def test_other_films_in_the_folder_of_a_run_are_sent_to_another_folder(
    own: Path, film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = Path(shutil.copytree(film_folder, tmp_path / "films"))
    for path in [path for path in films.rglob("*") if path.is_file()]:
        path.rename(path.with_name(f"other-{path.name}"))
    assert train(films, own) == 2
    said = capsys.readouterr().err
    assert "missing; name the folder that was split" in said
    assert f"The split is {own / 'split.json'}: for other films choose another folder" in said


def test_restart_may_use_the_split_that_is_kept(own: Path, film_folder: Path) -> None:
    kept = (own / "split.json").read_bytes()
    assert train(film_folder, own, "--restart", "--split", own / "split.json", "--seed", "4") == 0
    assert (own / "split.json").read_bytes() == kept
    assert read_metadata(own / "model.keras").training["seed"] == 4


def test_the_kept_split_may_be_named_in_another_way(
    own: Path, film_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.parent)
    assert train(film_folder, Path("run"), "--split", own.resolve() / "split.json") == 0


def test_patients_that_match_the_kept_split_go_on(own: Path, film_folder: Path) -> None:
    split = Split.read(own / "split.json")
    patients = write_patients(split, own.parent / "patients.csv")
    assert train(film_folder, own, "--patients", patients, "--split-seed", "0") == 0


def test_a_first_try_that_fails_leaves_no_split_and_one_without_a_run_is_drawn_again(
    film_folder: Path, finished: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    assert train(film_folder, output, "--negative", "zebra") == 2
    assert not output.exists()
    output.mkdir()
    shutil.copy(finished / "split.json", output)
    assert train(film_folder, output, "--split-seed", "3") == 0
    split = Split.read(output / "split.json")
    assert split.seed == 3
    assert read_metadata(output / "model.keras").training["split_sha256"] == split.fingerprint()


def test_a_fold_is_trained_resumed_and_recorded(
    film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds, output = tmp_path / "folds.json", tmp_path / "run"
    assert main(["split", str(film_folder), "--folds", "3", "-o", str(folds)]) == 0
    for _ in range(2):
        assert train(film_folder, output, "--split", folds, "--test-fold", "2") == 0
    assert "Going on after 1 finished epoch." in capsys.readouterr().err
    split, drawn = Split.read(output / "split.json"), Split.read(folds)
    assert {film.path for film in split.part("test")} == {f.path for f in drawn.part("fold2")}
    record = json.loads((output / "record.json").read_text("utf-8"))
    assert "Fold 2 of 3 is the test." in record["data"]["split_note"]
    assert train(film_folder, output, "--split", folds, "--test-fold", "3") == 2
    assert "the split has no part 'fold3'" in capsys.readouterr().err


@pytest.mark.parametrize("below", [False, True])
def test_an_output_that_cannot_be_written_is_one_line_and_exit_3(
    film_folder: Path,
    finished: Path,
    tiny_keras: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    below: bool,
) -> None:
    (tmp_path / "file").write_text("a file")
    output = tmp_path / "file" / "deeper" if below else tmp_path / "file"
    data = str(film_folder)
    commands = [
        ["train", data, *QUICK],
        ["average", str(finished), str(finished), "--data", data],
        ["audit", data],
        ["evaluate", str(tiny_keras), "--data", data],
        ["compare", str(tiny_keras), "--data", data],
    ]
    if below:
        commands.append(["split", data])
    for words in commands:
        assert main([*words, "-o", str(output)]) == 3
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and "file" in said[0]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_a_folder_that_cannot_be_made_is_one_line_and_exit_3(
    film_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(film_folder, Path("/proc/x")) == 3
    # The superuser may write there as far as the rights say, and is refused by the system itself.
    allowed = os.access("/proc", os.W_OK)
    said = "/proc/x: cannot be written" if allowed else "/proc: may not be written to"
    assert said in capsys.readouterr().err
    assert main(["split", str(film_folder), "-o", "/proc/x.json"]) == 3


@pytest.mark.parametrize("command", ["train", "split", "audit", "evaluate", "compare"])
def test_a_seed_out_of_range_is_refused(
    film_folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(film_folder), "--seed", "-1"]) == 2
    assert "-1 is not in the range" in capsys.readouterr().err
    assert main([command, str(film_folder), "--seed", str(2**32)]) == 2
    assert "4294967296 is not in the range" in capsys.readouterr().err
    if command == "train":
        assert train(film_folder, Path("nowhere"), "--split-seed", "-1") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to catch on this system")
def test_sigterm_ends_training_as_ctrl_c_does(film_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = ["train", str(film_folder), "-o", str(output), *QUICK, "--epochs", "5000"]
    with subprocess.Popen(
        [sys.executable, "-m", "edge_xray", *words],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 600
            while not (output / "state.keras").exists() and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.endswith("Stopped: the same command goes on after the last finished epoch.\n")


class Finalized:
    """Is interrupted as it ends: Python only reports what is raised there, as it does in many places of tensorflow."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)
        sum(range(10))  # Some line of Python, before which the signal is heard.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["Training", "Asking"])
def test_a_stop_that_falls_into_a_finalizer_is_heard(
    film_folder: Path, tmp_path: Path, number: signal.Signals, stage: str
) -> None:
    options = TrainingOptions(architecture="baseline", input_size=28, epochs=2, batch_size=16)
    heard = []

    def interrupt(said: str, *_: object) -> None:
        if said.startswith(stage):
            heard.append(said)
            Finalized(number)

    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        run(RunRequest(film_folder, tmp_path, options), Listener(progress=interrupt))
    assert len(heard) == 1
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not (tmp_path / "model.keras").exists()
    done = run(RunRequest(film_folder, tmp_path, options))
    assert len(done.state.epochs) == 2


def test_a_second_ctrl_c_is_heard_at_once(film_folder: Path, tmp_path: Path) -> None:
    options = TrainingOptions(architecture="baseline", input_size=28, epochs=1, batch_size=16)
    passed = []

    def interrupt(said: str, *_: object) -> None:
        if said.startswith("Training"):
            signal.raise_signal(signal.SIGINT)
            passed.append("once")
            signal.raise_signal(signal.SIGINT)
            passed.append("twice")

    with pytest.raises(KeyboardInterrupt):
        run(RunRequest(film_folder, tmp_path, options), Listener(progress=interrupt))
    assert passed == ["once"]


def test_a_second_ctrl_c_that_a_librarys_code_gave_as_an_error_of_its_own_is_a_stop(
    film_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("an error of C code") from None

    monkeypatch.setattr("edge_xray_trainer.training.estimate_statistics", broken)
    assert train(film_folder, tmp_path / "run") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_second_run_in_one_folder_is_kept_out(film_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    options = TrainingOptions(architecture="baseline", input_size=28, epochs=2, batch_size=16)
    request = RunRequest(film_folder, output, options)
    refused, loaded = [], []

    def again(_: object) -> None:
        before = contents(output)
        heard = Listener(progress=lambda *told: loaded.append(told))
        with pytest.raises(OutputError, match="another run writes here") as error:
            run(request, heard)
        refused.append(error.value)
        assert contents(output) == before

    result = run(request, Listener(epoch=again))
    assert len(refused) == len(result.state.epochs) == 2
    assert not loaded


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files on this system")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("name", "stage", "share"),
    [
        ("best.weights.h5", "Training", 0.5),
        ("best.weights.h5", "Training", 0.999),  # At its end HDF5 itself would end the process.
        ("state.keras", "Training", 0.9999),  # It is the longer of the two by its history.
        ("curves.png", "Fitting", 0.5),
    ],
)
def test_a_disk_that_takes_a_part_of_a_file_has_none_of_that_name(
    finished: Path, film_folder: Path, tmp_path: Path, name: str, stage: str, share: float
) -> None:
    import resource

    output = tmp_path / "run"
    options = TrainingOptions(architecture="baseline", input_size=28, epochs=1, batch_size=16)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = int(share * (finished / name).stat().st_size)

    def fill(said: str, *_: object) -> None:
        if said.startswith(stage):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, usual[1]))

    try:
        with pytest.raises(OutputError, match="cannot be written") as error:
            run(RunRequest(film_folder, output, options), Listener(progress=fill, note=fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "\n" not in str(error.value)
    written = contents(output)
    assert name not in written
    assert ("best.weights.h5" in written) == (name != "best.weights.h5")


def average(runs: list[Path], data: Path, output: Path) -> int:
    return main(["average", *map(str, runs), "--data", str(data), "-o", str(output)])


def test_an_average_keeps_out_of_a_folder_that_a_run_took_meanwhile(
    finished: Path, film_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "mean"
    before: dict[str, bytes] = {}

    def take(note: str) -> None:
        if note.startswith("average"):
            shutil.copytree(finished, output)
            before.update(contents(output))

    with pytest.raises(UsageError, match="holds a run"):
        average_runs([finished, finished], film_folder, output, listener=Listener(note=take))
    assert contents(output) == before
    for path in output.iterdir():
        path.unlink()

    def keep(note: str) -> None:
        if note.startswith("average"):
            locks.append(FolderLock(output, "run.lock", "run"))

    locks: list[FolderLock] = []
    with pytest.raises(OutputError, match="another run writes here"):
        average_runs([finished, finished], film_folder, output, listener=Listener(note=keep))
    assert [path.name for path in output.iterdir()] == ["run.lock"]
    locks[0].release()
    average_runs([finished, finished], film_folder, output)


@pytest.mark.parametrize(
    ("fault", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left"), 3)]
)
def test_an_average_that_was_stopped_while_it_was_written_is_made_by_the_same_command(
    finished: Path,
    film_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
    code: int,
) -> None:
    output = tmp_path / "mean"
    output.mkdir()
    (output / "writing-notes.txt").write_text("not ours")

    def fail(path: Path, _: object) -> None:
        assert path.exists()
        raise fault

    with monkeypatch.context() as stopped:
        stopped.setattr("edge_xray_trainer.finished.attach_to_keras", fail)
        assert average([finished, finished], film_folder, output) == code
    assert sorted(path.name for path in output.iterdir()) == ["run.lock", "writing-notes.txt"]
    assert average([finished, finished], film_folder, output) == 0


def test_runs_that_differ_in_input_labels_or_weighting_are_not_averaged(
    own: Path, finished: Path, film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    larger = tmp_path / "larger"
    split = ("--split", finished / "split.json")
    assert train(film_folder, larger, *split, "--input-size", "32") == 0
    assert average([finished, larger], film_folder, tmp_path / "mean") == 2
    assert "its input is 32 x 32 x 1, that of" in capsys.readouterr().err
    other = tmp_path / "other"
    assert train(film_folder, other, *split, "--negative", "viral") == 0
    assert average([finished, other], film_folder, tmp_path / "mean") == 2
    assert "its labels is viral, bacterial, normal" in capsys.readouterr().err
    unweighted, config = tmp_path / "unweighted", tmp_path / "options.toml"
    config.write_text("balance_classes = false")
    assert train(film_folder, unweighted, *split, "--config", config) == 0
    assert average([finished, unweighted], film_folder, tmp_path / "mean") == 2
    assert "its balance_classes is False, that of" in capsys.readouterr().err
    (own / "record.json").write_text("{}")
    assert average([finished, own], film_folder, tmp_path / "mean") == 2
    assert "expected the folder of a finished run" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_a_third_class_beside_the_kaggle_folders_is_split_and_trained_again(
    write_film: Callable[..., Path], tmp_path: Path
) -> None:
    for index in range(8):
        for folder, name, label in (
            ("NORMAL", f"IM-{index // 2:04}-{index:04}", "normal"),
            ("PNEUMONIA", f"person{index // 2}_virus_{index}", "viral"),
            ("COVID", f"c{index}", "bacterial"),
        ):
            write_film(tmp_path / "data" / folder / f"{name}.png", label, index)
    for _ in range(2):
        assert train(tmp_path / "data", tmp_path / "run", "--negative", "normal") == 0


def test_folds_are_not_replaced_by_the_split_of_one(
    film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = tmp_path / "cv" / "split.json"
    folds.parent.mkdir()
    assert main(["split", str(film_folder), "--folds", "3", "-o", str(folds)]) == 0
    before = folds.read_bytes()
    assert train(film_folder, folds.parent, "--split", folds, "--test-fold", 0) == 2
    assert "keep the folds in another folder" in capsys.readouterr().err
    assert folds.read_bytes() == before


def test_a_split_that_lacks_a_class_is_refused(
    film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "split.json"
    assert main(["split", str(film_folder), "-o", str(whole)]) == 0
    split = Split.read(whole)
    films = tuple(f for f in split.films if f.label != "viral" or f.part == "test")
    replace(split, films=films).write(whole)
    assert train(film_folder, tmp_path / "run", "--split", whole) == 2
    assert "its part train has no film of viral" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_left_as_it_is_and_says_so(
    own: Path, film_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((own / "record.json").read_text("utf-8"))
    record["shift_stand_ins"] = {"IM to NORMAL2": {"balanced_accuracy": {"value": 0.9}}}
    (own / "record.json").write_text(json.dumps(record), encoding="utf-8")
    before = contents(own)
    assert train(film_folder, own) == 0
    assert "the run is finished, and its model.keras stays as it is" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert contents(own) == before
    # What the model says of itself is no part of the training: it is written anew, the figures stay.
    assert train(film_folder, own, "--licence", "CC0-1.0") == 0
    assert read_metadata(own / "model.keras").licence == "CC0-1.0"
    after = json.loads((own / "record.json").read_text("utf-8"))
    assert after["model_sha256"] == file_sha256(own / "model.keras") != record["model_sha256"]
    assert after["shift_stand_ins"] == record["shift_stand_ins"]


@pytest.mark.parametrize("lost", ["model.keras", "record.json", "its text"])
def test_a_run_that_lost_its_model_or_record_is_fitted_again(
    own: Path, film_folder: Path, lost: str
) -> None:
    if lost == "its text":
        (own / "record.json").write_text("[" * 100_000)
    else:
        (own / lost).unlink()
    assert train(film_folder, own) == 0
    record = json.loads((own / "record.json").read_text("utf-8"))
    assert record["model_sha256"] == file_sha256(own / "model.keras")
    assert not list(own.glob("writing-*"))


@pytest.mark.parametrize("broken", ["attach_to_keras", "write_atomically", "replace_durably"])
def test_a_run_cut_off_at_its_end_leaves_nothing_that_looks_finished(
    own: Path, film_folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    (own / "model.keras").unlink()
    (own / "record.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(f"edge_xray_trainer.finished.{broken}", cut)
        assert train(film_folder, own) == 130
    assert not (own / "model.keras").exists()
    assert train(film_folder, own) == 0
    record = json.loads((own / "record.json").read_text("utf-8"))
    assert record["model_sha256"] == file_sha256(own / "model.keras")


def test_a_model_without_the_state_it_came_from_is_not_replaced(
    own: Path, film_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "state.keras").unlink()
    before = contents(own)
    assert train(film_folder, own) == 2
    said = capsys.readouterr().err
    assert "holds a model.keras and no state.keras" in said and "--restart" in said
    assert contents(own) == before
    assert train(film_folder, own, "--restart") == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "no zip"])
def test_a_damaged_checkpoint_is_one_line(
    own: Path, film_folder: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    state = bytearray((own / "state.keras").read_bytes())
    if damage == "flipped":
        state[len(state) // 2] ^= 0xFF
    (own / "state.keras").write_bytes(
        {"cut": state[: len(state) // 2], "flipped": state, "no zip": b"nothing"}[damage]
    )
    before = contents(own)
    assert train(film_folder, own) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the checkpoint is damaged" in said and "begin again with --restart" in said
    assert contents(own) == before
    assert train(film_folder, own, "--restart") == 0


def test_initial_weights_of_other_labels_are_refused_before_anything_is_written(
    finished: Path, film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    initial = ("--initial", finished / "model.keras")
    assert train(film_folder, output, *initial, "--negative", "viral") == 2
    assert "its labels are ['normal', 'bacterial', 'viral'], expected ['viral', " in (
        capsys.readouterr().err
    )
    assert not output.exists()


def test_a_source_may_be_named_in_another_way_and_must_stay_what_it_was(
    finished: Path,
    film_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished, tmp_path / "r" / "a")
    teacher = tmp_path / "r" / "a" / "model.keras"
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "run"
    assert train(film_folder, output, "--teacher", "r/a/model.keras") == 0
    began_with = file_sha256(teacher)
    for name in ("./r/a/model.keras", teacher):
        assert train(film_folder, output, "--teacher", name) == 0
    # Retrained meanwhile: a run that is not finished would go on with another teacher.
    assert train(film_folder, tmp_path / "r" / "a", "--licence", "another") == 0
    capsys.readouterr()
    (output / "model.keras").unlink()
    assert train(film_folder, output, "--teacher", teacher) == 2
    assert "is not the teacher any more that the run began with" in capsys.readouterr().err
    record = json.loads((output / "record.json").read_text("utf-8"))
    assert record["learned_from_sha256"] == {"a/model.keras": began_with}


def test_the_fingerprint_of_runs_with_absolute_paths_is_that_of_before() -> None:
    options = TrainingOptions(initial="/r/../r/a/model.keras", teacher=("/r/b/model.keras",))
    assert run_fingerprint(options, "0" * 64, ("normal", "ill")) == (
        "60624c16ffe2fc6c109d29677e555e9d3e0141e56b3485881aeef90a73210fbf"
    )
    two = replace(options, teacher=("/r/b/model.keras", "/r/c/model.keras"))
    assert run_fingerprint(two, "0" * 64, ("normal", "ill")) == (
        "30c9c7bebcae46b13db0f05139f58a3a0a5ceaf41b8edf5d1cc7863a334f3013"
    )


def test_an_average_replaces_no_run(
    own: Path, finished: Path, film_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(own)
    assert average([finished, own], film_folder, own) == 2
    assert "holds a run (" in capsys.readouterr().err
    assert contents(own) == before


def test_the_record_of_an_average_says_what_holds_of_it(
    own: Path, finished: Path, film_folder: Path, tmp_path: Path
) -> None:
    record = json.loads((own / "record.json").read_text("utf-8"))
    record["shift_stand_ins"] = {"IM to NORMAL2": {"balanced_accuracy": {"value": 0.9}}}
    record["options"]["seed"] = 1
    (own / "record.json").write_text(json.dumps(record), encoding="utf-8")
    mean, again = tmp_path / "mean", tmp_path / "again"
    assert average([own, finished], film_folder, mean) == 0
    made = json.loads((mean / "record.json").read_text("utf-8"))
    assert not {"shift_stand_ins", "epochs", "best_epoch", "learned_from_sha256"} & set(made)
    assert "seed" not in made["options"] and made["options"]["architecture"] == "baseline"
    assert made["model_sha256"] == file_sha256(mean / "model.keras")
    assert [run["options"]["seed"] for run in made["averaged"]] == [1, 0]
    assert made["data"] == record["data"] and made["task"] == record["task"]
    assert average([mean, finished], film_folder, again) == 0
