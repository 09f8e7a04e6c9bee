"""What is taken for a film of which class and patient, in folders as hospitals and scanners leave them."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_xray.cli import main
from edge_xray.errors import UsageError
from edge_xray.labelled import (
    Split,
    SplitFilm,
    file_sha256,
    files_left_out,
    films_and_patients,
    read_labelled_folder,
)

DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("EDGE_XRAY_KEY", raising=False)


def write_slice(path: Path, film: np.ndarray, patient: str, *, deflated: bool = False) -> None:
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.{zlib.crc32(path.name.encode())}"
    meta.TransferSyntaxUID = DEFLATED if deflated else pydicom.uid.ExplicitVRLittleEndian
    dataset = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Modality, dataset.PatientID = "CT", patient
    dataset.Rows, dataset.Columns = film.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation, dataset.PixelData = 0, film.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def series(tmp_path: Path, draw_film: Callable[..., np.ndarray]) -> Path:
    """Three slices of each of eight patients a class, named by their UID, with and without a modality."""
    for label in ("normal", "viral"):
        for patient in range(8):
            for index in range(3):
                name = ("", "MR.", "CT-")[index] + f"1.2.840.{patient}.{index + 453}"
                path = tmp_path / "ct" / label / name
                film = draw_film(label, 10 * patient + index)
                write_slice(path, film, f"HOSP-{label}-{patient}", deflated=index == 2)
    return tmp_path / "ct"


def test_files_named_by_their_uid_are_films_and_slices_of_a_patient_stay_together(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = tmp_path / "split.json"
    assert main(["split", str(series), "-o", str(split)]) == 0
    films = Split.read(split).films
    assert len(films) == 48
    parts, patients = defaultdict(set), defaultdict(set)
    for film in films:
        who = (film.label, Path(film.path).name.split(".")[-2])
        parts[who].add(film.part)
        patients[who].add(film.patient)
    assert len(parts) == 16 and all(len(own) == 1 for own in parts.values())
    assert len({film.patient for film in films}) == 16
    assert all(len(own) == 1 for own in patients.values())
    said = capsys.readouterr().err
    assert "The patient of 48 films is by a keyed hash of the DICOM PatientID." in said
    assert "HOSP-" not in said + split.read_text("utf-8")
    # Without the key the same ID has another name.
    (tmp_path / "settings" / "edge-xray" / "patient-key").write_bytes(b"another key of some length")
    again = {film.patient for film in read_labelled_folder(series)}
    assert len(again) == 16 and not again & {film.patient for film in films}


def test_slices_without_a_patients_id_are_nobodys(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    for index, patient in enumerate(("", " ", "")):
        write_slice(tmp_path / "ct" / f"{index}.dcm", pixels, patient)
        write_slice(tmp_path / "mr" / f"{index}.dcm", pixels, f"id-{patient}")
    films = read_labelled_folder(tmp_path)
    assert {film.patient for film in films if film.label == "ct"} == {""}
    assert all(film.patient.startswith("dicom-") for film in films if film.label == "mr")


@pytest.mark.parametrize(
    "ending",
    [".jpeg", ".JPG", ".png", ".tif", ".TIFF", ".bmp", ".dcm", ".dicom", ".IMA", "", ".2.840"],
)
def test_a_file_of_a_films_ending_is_taken_for_one_whatever_it_holds(
    ending: str, tmp_path: Path
) -> None:
    for label in ("ill", "well"):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"1{ending}").write_bytes(b"not looked at")
        (tmp_path / label / "x.2").write_bytes(b"no film")
    assert [film.path for film in read_labelled_folder(tmp_path)] == [
        f"ill/1{ending}",
        f"well/1{ending}",
    ]
    assert files_left_out(tmp_path) == ["ill/x.2", "well/x.2"]


def test_a_csv_goes_before_the_dicom_patient(series: Path, tmp_path: Path) -> None:
    named = tmp_path / "who.csv"
    first = read_labelled_folder(series)[0]
    named.write_text(f"path,patient\n{first.path},somebody\n", encoding="utf-8")
    split = tmp_path / "split.json"
    assert main(["split", str(series), "--patients", str(named), "-o", str(split)]) == 0
    who = {film.path: film.patient for film in Split.read(split).films}
    assert who.pop(first.path) == "somebody"
    assert all(name.startswith("dicom-") for name in who.values())


def test_slices_are_known_for_one_patients_where_no_key_can_be_kept(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a file")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert len({film.patient for film in read_labelled_folder(series)}) == 16


def test_folders_without_dicom_make_no_key(write_film: Callable[..., Path], tmp_path: Path) -> None:
    for label in ("normal", "viral"):
        write_film(tmp_path / "data" / label / "a.png", label)
    assert {film.patient for film in read_labelled_folder(tmp_path / "data")} == {""}
    assert not (tmp_path / "settings").exists()


def test_files_that_are_no_films_are_counted_and_named(
    write_film: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for label in ("normal", "viral"):
        for index in range(8):
            write_film(data / label / f"{index}.png", label, index)
    (data / "normal" / "notes.csv").write_text("BMI,age\n")
    (data / "viral" / "Thumbs.db").write_bytes(b"litter")
    (data / "viral" / ".hidden.txt").write_text("hidden")
    assert files_left_out(data) == ["normal/notes.csv"]
    assert main(["split", str(data), "-o", str(tmp_path / "split.json")]) == 0
    assert "Left out, as no films by ending and content: 1 file, the first normal/notes.csv" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert main(["audit", str(data), "--folds", "2", "-f", "json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert any(
        "as no films by ending and content: 1 file, normal/notes.csv" in own["text"]
        for own in findings
    )
    for film in (data / "normal").glob("*.png"):
        film.unlink()
    with pytest.raises(UsageError, match="has 1 file and no film; expected films in it"):
        read_labelled_folder(data)


def test_folders_of_patients_may_be_called_as_the_classes_are(
    tmp_path: Path, write_film: Callable[..., Path]
) -> None:
    # Grades 0 to 2, a folder of each patient in them.
    for index, path in enumerate(("0/0", "0/1", "0/2", "1/0", "1/2", "1/7", "2/0", "2/2")):
        write_film(tmp_path / "films" / path / "a.png", "normal", index)
    films = read_labelled_folder(tmp_path / "films")
    assert [film.label for film in films] == list("00011122")


def test_a_copy_of_the_classes_in_another_case_of_letters_is_refused(
    tmp_path: Path, write_film: Callable[..., Path]
) -> None:
    for index, path in enumerate(("Normal", "Viral", "again/NORMAL", "again/VIRAL")):
        write_film(tmp_path / "films" / path / "a.png", "normal", index)
    with pytest.raises(UsageError, match="so it is no class"):
        read_labelled_folder(tmp_path / "films")


def test_what_a_drive_has_in_its_root_is_no_class(
    write_film: Callable[..., Path], tmp_path: Path
) -> None:
    for label in ("normal", "viral"):
        write_film(tmp_path / label / "a.png", label)
    write_film(tmp_path / "$RECYCLE.BIN" / "$RA1B2C3.png")
    for name in ("System Volume Information", "lost+found"):
        (tmp_path / name).mkdir()
    assert [film.path for film in read_labelled_folder(tmp_path)] == [
        "normal/a.png",
        "viral/a.png",
    ]
    assert files_left_out(tmp_path) == []


@pytest.mark.parametrize("command", ["split", "audit"])
def test_a_folder_of_films_that_cannot_be_listed_is_told_and_not_left_out(
    write_film: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    data, real = tmp_path / "data", os.scandir
    for label in ("normal", "viral"):
        for index in range(8):
            write_film(data / label / f"patient{index}" / "a.png", label, index)

    def scandir(path: str) -> object:
        if Path(path).name == "patient3":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    out = tmp_path / "out"
    assert main([command, str(data), "-o", str(out)]) == 3
    said = capsys.readouterr().err.strip()
    assert "cannot be read" in said and "patient3" in said and len(said.splitlines()) == 1
    assert not out.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_linked_folder_of_films_is_left_out_with_a_word(
    write_film: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for label in ("normal", "viral"):
        for index in range(8):
            write_film(data / label / f"patient{index}" / "a.png", label, index)
    (data / "viral" / "patient3").rename(tmp_path / "elsewhere")
    (data / "viral" / "patient3").symlink_to(tmp_path / "elsewhere")
    assert len(read_labelled_folder(data)) == 15
    assert files_left_out(data) == ["viral/patient3"]
    assert main(["split", str(data), "-o", str(tmp_path / "split.json")]) == 0
    assert "1 file, the first viral/patient3." in " ".join(capsys.readouterr().err.split())
    # A class may lie elsewhere as a whole, and so may a film.
    (data / "viral").rename(tmp_path / "viral")
    (data / "viral").symlink_to(tmp_path / "viral")
    (data / "normal" / "b.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    assert len(read_labelled_folder(data)) == 16


@pytest.mark.parametrize("command", ["split", "audit"])
def test_what_is_no_folder_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "nowhere"):
        assert main([command, str(tmp_path / name), "-o", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err.strip()
        assert f"{name}: expected a folder with one folder a class in it" in said
        assert len(said.splitlines()) == 1


def test_folders_called_as_kaggles_with_names_of_their_own_are_two_classes(
    write_film: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(8):
        write_film(tmp_path / "NORMAL" / f"IM-{index // 2:04}-{index:04}.png", "normal", index)
        write_film(tmp_path / "PNEUMONIA" / f"case{index:03}.png", "viral", index)
    films = read_labelled_folder(tmp_path)
    assert {film.label for film in films} == {"normal", "pneumonia"}
    # What a name of that copy tells is believed, for a split with such films is held against it.
    assert {film.patient for film in films} == {"", *(f"IM-{number:04}" for number in range(4))}
    assert main(["split", str(tmp_path), "-o", str(tmp_path / "split.json")]) == 0
    capsys.readouterr()
    write_film(tmp_path / "PNEUMONIA" / "person1_virus_1.png", "viral", 99)
    assert main(["split", str(tmp_path), "-o", str(tmp_path / "split.json")]) == 2
    assert "rename the folder to lower case: pneumonia" in capsys.readouterr().err
    (tmp_path / "PNEUMONIA").rename(tmp_path / "pneumonia")
    assert {film.label for film in read_labelled_folder(tmp_path)} == {"normal", "pneumonia"}


def test_the_kaggle_films_keep_their_patients_beside_other_classes(
    write_film: Callable[..., Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for index in range(24):
        cause = ("bacteria", "virus")[index // 12]
        write_film(data / "NORMAL" / f"IM-{index // 2:04}-{index:04}.jpeg", "normal", index)
        name = f"person{index // 2}_{cause}_{index}.jpeg"
        write_film(data / "PNEUMONIA" / name, "viral", 100 + index)
        write_film(data / "TB" / f"IM-0001-{index}.jpeg", "bacterial", 200 + index)
    films = read_labelled_folder(data)
    assert {film.label for film in films} == {"normal", "bacterial", "viral", "tb"}
    numbers = {f"IM-{number:04}" for number in range(12)}
    persons = {f"person{number}" for number in range(12)}
    assert {film.patient for film in films if film.label != "tb"} == numbers | persons
    assert {film.patient for film in films if film.label == "tb"} == {""}
    # Renamed, the pneumonias are one class, and of the same patients.
    (data / "PNEUMONIA").rename(data / "pneumonia")
    films = read_labelled_folder(data)
    assert {film.label for film in films} == {"normal", "pneumonia", "tb"}
    assert {film.patient for film in films if film.label != "tb"} == numbers | persons
    split = tmp_path / "split.json"
    assert main(["split", str(data), "-o", str(split)]) == 0
    parts = defaultdict(set)
    for film in Split.read(split).films:
        parts[film.patient].add(film.part)
    assert all(len(own) == 1 for who, own in parts.items() if who)


def test_a_split_that_parts_kaggle_patients_beside_another_class_is_refused(
    write_film: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for index, part in enumerate(("train", "validation", "test") * 2):
        for path in (
            f"NORMAL/IM-{index:04}-0001.jpeg",
            f"PNEUMONIA/person1_virus_{index}.jpeg",
            f"TB/{index}.jpeg",
        ):
            label = {"N": "normal", "P": "viral", "T": "tb"}[path[0]]
            film = write_film(tmp_path / "data" / path, "normal", index)
            rows.append(SplitFilm(path, label, "", "", file_sha256(film), part))
    Split(0, tuple(rows)).write(tmp_path / "split.json")
    words = ["--split", str(tmp_path / "split.json"), "-o", str(tmp_path / "run")]
    assert main(["train", str(tmp_path / "data"), *words]) == 2
    assert "the patient person1 stands in" in capsys.readouterr().err


def test_films_that_a_split_does_not_name_are_counted(
    write_film: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, split = tmp_path / "data", tmp_path / "split.json"
    for label in ("normal", "viral"):
        for index in range(8):
            write_film(data / label / f"{index}.png", label, index)
    assert main(["split", str(data), "-o", str(split)]) == 0
    words = [str(data), "--split", str(split), "--architecture", "baseline"]
    words += ["--input-size", "28", "--epochs", "1"]
    assert main(["train", *words, "-o", str(tmp_path / "all")]) == 0
    assert "Left out" not in capsys.readouterr().err
    for index, words_said in ((8, "1 film of"), (9, "2 films of")):
        write_film(data / "viral" / f"{index}.png", "viral", index)
        assert main(["train", *words, "-o", str(tmp_path / f"fewer {index}")]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert (
            f"Left out, as not in split.json: {words_said} the folder, the first viral/8.png"
            in said
        )


def test_a_test_set_of_ones_own_hospital_is_measured_on(
    tiny_keras: Path, write_film: Callable[..., Path], tmp_path: Path
) -> None:
    for index in range(8):
        write_film(tmp_path / "own" / "NORMAL" / f"a{index}.png", "normal", 700 + index)
        write_film(tmp_path / "own" / "PNEUMONIA" / f"b{index}.png", "viral", 700 + index)
    words = [str(tiny_keras), "--data", str(tmp_path / "own"), "--no-robustness", "--no-shortcut"]
    assert main(["evaluate", *words, "-f", "json", "-o", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("spoiled", [{"part": 0}, {"label": None}, {"patient": ["p"]}])
def test_a_split_whose_fields_are_no_text_is_refused_in_one_line(
    film_folder: Path,
    tiny_split: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoiled: dict[str, object],
) -> None:
    record = json.loads(tiny_split.read_text("utf-8"))
    record["films"][3].update(spoiled)
    path = tmp_path / "split.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    words = [str(film_folder), "-o", str(tmp_path / "run"), "--split", str(path)]
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and f"{next(iter(spoiled))} of " in said[0] and "must be text" in said[0]


def test_a_split_file_of_lists_in_lists_is_refused_in_one_line(
    film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "split.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    words = [str(film_folder), "-o", str(tmp_path / "run"), "--split", str(path)]
    assert main(["train", *words]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"{path}: expected a split file" in said


def test_a_split_of_another_machine_goes_with_its_table_of_some_patients(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, split = tmp_path / "who.csv", tmp_path / "split.json"
    first = read_labelled_folder(series)[0]
    named.write_text(f"path,patient\n{first.path},somebody\n", encoding="utf-8")
    words = ["--patients", str(named)]
    assert main(["split", str(series), *words, "-o", str(split)]) == 0
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    quick = ["--architecture", "baseline", "--input-size", "28", "--epochs", "1"]
    words += ["--split", str(split), "-o", str(tmp_path / "run")]
    assert main(["train", str(series), *words, *quick]) == 0


@pytest.mark.parametrize("text", ["path,patient\n", "path,label\r\n,\r\n"])
def test_a_table_without_a_film_is_refused(
    film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    table, output = tmp_path / "patients.csv", tmp_path / "split.json"
    table.write_text(text, newline="")
    assert main(["split", str(film_folder), "--patients", str(table), "-o", str(output)]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "patients.csv: names no film; expected a row for each film" in said
    assert not output.exists()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((1, 1, 0), "1 film of 1 patient"),
        ((3, 2, 1), "3 films of 2 patients (1 film whose patient is not known counts as one)"),
        ((4, 3, 2), "4 films of 3 patients (2 films whose patient is not known count as one each)"),
        ((1, 1, 1), "1 film (patients not known: each film counts as one)"),
    ],
)
def test_films_of_patients_are_counted_in_words(counts: tuple[int, int, int], words: str) -> None:
    assert films_and_patients(*counts) == words
