"""``edge-xray evaluate`` and ``edge-xray compare`` judge a model on films it never saw."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_xray.cli import main
from edge_xray.errors import UsageError
from edge_xray.labelled import Split, SplitFilm, file_sha256
from edge_xray.model_file import attach_to_keras, read_metadata
from edge_xray.unseen_films import HASH_DIGITS, refuse_training_films, split_beside

QUICK = ("--no-robustness", "--resamples", "100", "--format", "json")

Answer = tuple[int, dict, str]
Ask = Callable[..., Answer]


@pytest.fixture(params=["evaluate", "compare"])
def ask(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Ask:
    """``ask(model, *options) -> (exit code, JSON, stderr)`` of either command."""

    def run(model: Path, *options: object) -> Answer:
        models = [str(model)] * (1 if request.param == "evaluate" else 2)
        code = main([request.param, *models, *map(str, options), *QUICK])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else {}, said.err.strip()

    return run


@pytest.fixture
def run_folder(tiny_keras: Path, tiny_split: Path, tmp_path: Path) -> Path:
    """A finished run: ``run/model.keras``, which names the ``split.json`` beside it."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(tiny_keras, folder)
    shutil.copy(tiny_split, folder)
    training = {"split_sha256": Split.read(tiny_split).fingerprint()}
    metadata = dataclasses.replace(read_metadata(tiny_keras), training=training)
    attach_to_keras(folder / "model.keras", metadata)
    return folder


def exchanged(split: Split) -> Split:
    """The same films, with those of training to test on."""
    other = {"test": "train", "train": "test"}
    films = (dataclasses.replace(film, part=other.get(film.part, "")) for film in split.films)
    return Split(split.seed, tuple(films))


def films_of(record: dict) -> int:
    return sum(record["data"]["labels"].values())


def test_the_split_beside_the_model_says_which_films_judge(
    ask: Ask, run_folder: Path, film_folder: Path
) -> None:
    code, record, _ = ask(run_folder / "model.keras", "--data", film_folder)
    assert code == 0
    test = Split.read(run_folder / "split.json").part("test")
    assert films_of(record) == len(test)
    assert record["data"]["part"] == "test"
    assert record["data"]["notes"] == ["The part is one of split.json, found beside model.keras."]
    if "train" in record:
        assert record["train"]["films"] > len(test)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_figures_on_films_that_a_model_was_fitted_on_are_said_to_lean_good(
    ask: Ask, run_folder: Path, film_folder: Path, part: str
) -> None:
    code, record, _ = ask(run_folder / "model.keras", "--data", film_folder, "--part", part)
    assert code == 0 and record["data"]["part"] == part
    said = [note for note in record["data"]["notes"] if note.startswith("All figures lean good: ")]
    assert bool(said) == (part != "test")
    assert all(f"learned from the part {part}, or was fitted on it." in note for note in said)


def test_the_films_to_set_beside_may_be_missing_where_the_split_was_found(
    run_folder: Path, film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for film in Split.read(run_folder / "split.json").part("test"):
        (tmp_path / "some" / film.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film_folder / "train" / film.path, tmp_path / "some" / film.path)
    arguments = ["evaluate", str(run_folder), "--data", str(tmp_path / "some"), *QUICK]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["data"]["part"] == "test" and record["train"] is None


def test_another_split_or_none_does_not_let_training_films_judge(
    ask: Ask, run_folder: Path, film_folder: Path, tmp_path: Path
) -> None:
    model, beside, wrong = (
        run_folder / "model.keras",
        run_folder / "split.json",
        tmp_path / "w.json",
    )
    exchanged(Split.read(beside)).write(wrong)
    code, _, err = ask(model, "--data", film_folder, "--split", wrong)
    assert code == 2
    assert "one of the films it was trained with" in err and "\n" not in err
    # The same films under other names: no film of the split lies where it says.
    for name in ("NORMAL", "PNEUMONIA"):
        shutil.copytree(film_folder / "train" / name, tmp_path / "other" / name.lower())
    code, _, err = ask(model, "--data", tmp_path / "other", "--rename", "pneumonia=bacterial")
    assert code == 2
    assert "one of the films it was trained with" in err and "\n" not in err
    beside.unlink()
    code, _, err = ask(model, "--data", film_folder, "--split", wrong)
    assert code == 2
    assert "was trained with another split" in err and "\n" not in err


def test_where_the_split_is_not_at_hand_the_summary_says_so(
    ask: Ask, run_folder: Path, film_folder: Path
) -> None:
    (run_folder / "split.json").unlink()
    code, record, _ = ask(run_folder / "model.keras", "--data", film_folder)
    assert code == 0 and record["data"]["part"] == "all" and films_of(record) == 120
    for note in record["data"]["notes"]:
        assert "was trained with some of these films" in note and "not at hand" in note
    assert record["data"]["notes"]


def test_training_films_that_the_model_itself_names_do_not_judge(
    ask: Ask, run_folder: Path, film_folder: Path, tmp_path: Path
) -> None:
    learned = Split.read(run_folder / "split.json").part("train")
    (run_folder / "split.json").unlink()
    model = run_folder / "model.keras"
    metadata = read_metadata(model)
    record = {"film_sha256_prefixes": [film.sha256[:HASH_DIGITS] for film in learned]}
    training = {**metadata.training, "representative": record}
    attach_to_keras(model, dataclasses.replace(metadata, training=training))
    code, _, err = ask(model, "--data", film_folder)
    assert code == 2
    assert "one of the training films" in err and "--split" in err and "\n" not in err
    shutil.copytree(film_folder / "train", tmp_path / "other")
    for film in learned:
        (tmp_path / "other" / film.path).unlink()
    assert ask(model, "--data", tmp_path / "other")[0] == 0


def test_films_that_set_the_ranges_of_a_model_without_a_split_do_not_judge_by_any(
    ask: Ask, run_folder: Path, film_folder: Path
) -> None:
    model, split = run_folder / "model.keras", run_folder / "split.json"
    metadata = read_metadata(model)
    for part, said in (("test", 2), ("train", 0)):
        drawn = [film.sha256[:HASH_DIGITS] for film in Split.read(split).part(part)]
        training = {"representative": {"film_sha256_prefixes": drawn}}
        attach_to_keras(model, dataclasses.replace(metadata, training=training))
        code, _, err = ask(model, "--data", film_folder, "--split", split)
        assert code == said and ("its int8 ranges were measured on" in err) == (said == 2)


def test_films_from_elsewhere_judge_and_nothing_is_set_beside_them(
    ask: Ask, run_folder: Path, write_film: Callable[..., Path], tmp_path: Path
) -> None:
    films = []
    for label in ("normal", "viral"):
        for seed in range(4):
            path = write_film(tmp_path / "films" / label / f"{seed}.png", label, 900 + seed)
            part = "test" if seed < 2 else "train"
            digest = file_sha256(path)
            films.append(SplitFilm(f"{label}/{seed}.png", label, "", digest, digest, part))
    Split(0, tuple(films)).write(tmp_path / "films.json")
    data = ("--data", tmp_path / "films")
    code, record, _ = ask(run_folder / "model.keras", *data)
    assert code == 0 and films_of(record) == 8 and not record["data"]["notes"]
    # The part called train is not what this model learnt from.
    code, record, _ = ask(run_folder / "model.keras", *data, "--split", tmp_path / "films.json")
    assert code == 0 and films_of(record) == 4 and record.get("train") is None


def test_the_shipped_models_may_be_judged_on_the_official_test_part(
    ask: Ask, write_film: Callable[..., Path], tmp_path: Path
) -> None:
    # Its patients are numbered by cause: the training films have a person1 with bacteria, a person80 with a virus.
    for name in ("IM-0001-0001", "NORMAL2-IM-0012-0001"):
        write_film(tmp_path / f"test/NORMAL/{name}.jpeg", "normal", 1)
    for name in ("person1_virus_6", "person80_bacteria_391"):
        write_film(tmp_path / f"test/PNEUMONIA/{name}.jpeg", "viral", 2)
    models = Path(__file__).resolve().parents[2] / "models"
    code, record, err = ask(models / "edge-xray-tiny.tflite", "--data", tmp_path / "test")
    assert code == 0, err
    assert films_of(record) == 4 and not record["data"]["notes"]
    learned = Split.read(models / "split.json").part("train")
    person = next(film.patient for film in learned if film.label == "bacterial")
    write_film(tmp_path / f"test/PNEUMONIA/{person}_bacteria_9999.jpeg", "bacterial", 3)
    code, _, err = ask(models / "edge-xray-tiny.tflite", "--data", tmp_path / "test")
    assert code == 2
    assert f"{person}_bacteria_9999.jpeg is of a patient of the films it was trained with" in err


def test_patients_of_a_whole_folder_come_from_a_csv_or_are_said_to_be_unknown(
    tiny_keras: Path, write_film: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = str(shutil.copy(tiny_keras, tmp_path / "model.keras"))
    rows = []
    for label in ("normal", "viral"):
        for seed in range(6):
            write_film(tmp_path / "films" / label / f"{seed}.png", label, 900 + seed)
            rows.append(f"{label}/{seed}.png,{label}{seed // 3}\n")
    table = tmp_path / "patients.csv"
    for command in (["evaluate", model], ["compare", model, model]):
        arguments = [*command, "--data", str(tmp_path / "films"), *QUICK]
        said = {}
        for what, lines in (("none", []), ("some", rows[:6]), ("all", rows)):
            table.write_text("path,patient\n" + "".join(lines), encoding="utf-8")
            more = ["--patients", str(table)] if lines else []
            assert main([*arguments, *more]) == 0
            record = json.loads(capsys.readouterr().out)
            own = record["test"] if "test" in record else record["runs"][0]["test"]
            said[what] = (own["patients"], record["data"]["patients_unknown"])
            assert main([*arguments[:-2], *more]) == 0
            said[what] += (" ".join(capsys.readouterr().out.split()),)
        assert (
            said["none"][:2] == (12, 12)
            and said["some"][:2] == (8, 6)
            and said["all"][:2] == (4, 0)
        )
        assert "on 12 films (patients not known: each film counts as one)" in said["none"][2]
        assert "on 12 films of 8 patients (6 films whose patient is not known" in said["some"][2]
        assert "on 12 films of 4 patients (films" in said["all"][2]
        table.write_text("path,patient\n" + "".join(rows) + "viral/5.png,other\n", encoding="utf-8")
        assert main([*arguments, "--patients", str(table)]) == 2
        assert "names viral/5.png twice" in capsys.readouterr().err


def test_a_csv_that_contradicts_the_split_is_refused(
    ask: Ask, run_folder: Path, film_folder: Path, tmp_path: Path
) -> None:
    films = Split.read(run_folder / "split.json").films
    table = tmp_path / "patients.csv"
    for prefix, expected in (("", 0), ("another-", 2)):
        rows = (f"{film.path},{prefix}{film.patient}\n" for film in films)
        table.write_text("path,patient\n" + "".join(rows), encoding="utf-8")
        code, _, err = ask(run_folder / "model.keras", "--data", film_folder, "--patients", table)
        assert code == expected
    assert "split.json was made with other patients or labels" in err


def film_of(patient: str, part: str, *, label: str = "viral", content: str = "") -> SplitFilm:
    name = content or f"{patient} {part} {label}"
    return SplitFilm(f"{label}/{name}.png", label, patient, patient, name, part)


LEARNED = Split(
    0,
    (
        film_of("person1", "train"),
        film_of("person2", "validation"),
        film_of("person3", "test"),
        film_of("IM-0001", "train", label="normal"),
        film_of("", "train", content="of nobody known"),
    ),
)


@pytest.mark.parametrize(
    ("film", "said"),
    [
        (film_of("", "all", content="person1 train viral"), "one of the films"),
        (film_of("", "all", content="person2 validation viral"), "one of the films"),
        (film_of("person1", "all"), "of a patient of the films"),
        (film_of("person2", "all"), "of a patient of the films"),
        (film_of("IM-0001", "all", label="viral"), "of a patient of the films"),
        # Those films number the patients of each cause for themselves.
        (film_of("person1", "all", label="bacterial"), ""),
        (film_of("person3", "all"), ""),
        (film_of("person4", "all"), ""),
        (film_of("", "all", content="of somebody else"), ""),
    ],
)
def test_films_and_patients_that_a_model_learned_from_judge_it_nowhere(
    tiny_keras: Path, film: SplitFilm, said: str
) -> None:
    own = {"split_sha256": LEARNED.fingerprint()}
    metadata = dataclasses.replace(read_metadata(tiny_keras), training=own)
    films, other = (film_of("person9", "all"), film), Split(1, (film,))
    for split in (None, other):
        if said:
            with pytest.raises(UsageError, match=f"m.keras: {film.path} is {said}"):
                refuse_training_films(metadata, films, split, "m.keras", [other, LEARNED])
        else:
            assert refuse_training_films(metadata, films, split, "m.keras", [other, LEARNED])
    # Of its own split the part says it; without a split at hand nothing does.
    assert refuse_training_films(metadata, [film], LEARNED, "m.keras", [])
    assert not refuse_training_films(metadata, [film], None, "m.keras", [other])
    unnamed = dataclasses.replace(metadata, training={})
    assert not refuse_training_films(unnamed, [film], other, "m.keras", [LEARNED])


@pytest.mark.parametrize(("gone", "more"), [(3, ""), (5, " and 2 more")])
def test_films_of_the_part_that_are_missing_are_named(
    run_folder: Path, film_folder: Path, tmp_path: Path, gone: int, more: str
) -> None:
    shutil.copytree(film_folder, tmp_path / "some")
    model, part = run_folder / "model.keras", Split.read(run_folder / "split.json").part("test")
    assert split_beside(model, tmp_path / "some", "test") == run_folder / "split.json"
    for film in part[:gone]:
        (tmp_path / "some" / "train" / film.path).unlink()
    named = ", ".join(film.path for film in part[:3])
    with pytest.raises(UsageError, match=f"of its part test {named}{more} are missing"):
        split_beside(model, tmp_path / "some", "test")
    assert split_beside(model, tmp_path / "some", "validation") == run_folder / "split.json"
    # Other films of the same names are another hospital's.
    for path in (tmp_path / "some").rglob("*.jpeg"):
        path.write_bytes(path.read_bytes() + b"\0")
    assert split_beside(model, tmp_path / "some", "test") is None
    (run_folder / "split.json").unlink()
    assert split_beside(model, film_folder, "test") is None
