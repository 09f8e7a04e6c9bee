from __future__ import annotations

import ntpath
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_xray.own_files import RESULTS_MARK
from edge_xray.walk import JUNCTION, find_films, printable, without_repeats

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


def _found(*paths: Path, **options) -> dict[str, str]:
    return {found.shown: found.reason for found in find_films(paths, **options)}


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "films"
    (root / "sub" / "deeper").mkdir(parents=True)
    for name in ("a.jpg", "b", "notes.txt", "sub/c.dcm", "sub/deeper/d.png"):
        (root / name).write_bytes(b"x")
    return root


def test_every_file_is_found_whatever_its_name(folder):
    names = {os.path.relpath(path, folder) for path in _found(folder)}
    deep = {str(Path("sub", "c.dcm")), str(Path("sub", "deeper", "d.png"))}
    assert names == {"a.jpg", "b", "notes.txt"} | deep
    flat = {os.path.relpath(path, folder) for path in _found(folder, recursive=False)}
    assert flat == {"a.jpg", "b", "notes.txt"}


def test_hidden_files_litter_and_results_are_left_out(folder):
    for name in (".hidden.jpg", "Thumbs.db", "DICOMDIR", "desktop.ini"):
        (folder / name).write_bytes(b"x")
    for name in (".git", "$RECYCLE.BIN", "System Volume Information", "lost+found"):
        (folder / name).mkdir()
        (folder / name / "$RA1B2C3.jpg").write_bytes(b"x")
    own = (
        "journal.jsonl",
        "scan.lock",
        "results.csv",
        "results-2.html",
        f"pictures/{'0af' * 21}0.jpg",
        "heatmaps/film-0123456789ab.png",
        "earlier/2026-11-21-101500/results.jsonl",
    )
    for name in own:
        path = folder / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert len(_found(folder)) == 5 + len(own)
    (folder / "results" / RESULTS_MARK).touch()
    assert len(_found(folder)) == 5
    assert len(_found(folder / "results")) == len(_found(folder / "results" / "heatmaps")) == 0


def test_films_in_a_results_folder_are_found(folder):
    (folder / RESULTS_MARK).touch()
    own = "0af" * 21 + "0.jpg", "film-0123456789ab.png"
    films = (
        *("pictures/1.jpg", "heatmaps/film.png", "results.jpg", "earlier/results.png"),
        # Named as the kit's own, and more, or elsewhere.
        *("results.html.jpg", f"pictures/{own[0]}.png", f"heatmaps/{own[1]}.jpg"),
        *(f"ward/{name}" for name in own),
    )
    for name in films:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert len(_found(folder)) == 5 + len(films)
    assert len(_found(folder / "pictures")) == 2


def test_a_tree_deeper_than_the_files_a_process_may_open_is_walked_to_its_end(tmp_path):
    resource = pytest.importorskip("resource")
    deep = tmp_path
    for _ in range(150):
        deep /= "d"
        deep.mkdir()
        (deep / "film.jpg").write_bytes(b"x")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[0], 100), limit[1]))
    try:
        found = _found(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert len(found) == 150
    assert set(found.values()) == {""}


@needs_links
def test_a_film_named_by_a_way_that_is_not_walked_is_kept(folder):
    (folder / "link").symlink_to(folder / "sub")
    named = folder / "link" / "c.dcm"
    assert without_repeats([folder, named]) == [folder, named]
    assert without_repeats([folder, folder / "sub" / "c.dcm"]) == [folder]
    deep = folder / "sub" / "back" / "sub" / "c.dcm"
    (folder / "sub" / "back").symlink_to(folder)
    assert deep.is_file()
    assert without_repeats([folder, deep]) == [folder, deep]


def test_one_path_spelled_twice_is_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    spelled = [Path("a.jpg"), folder / "a.jpg", Path("sub/../a.jpg"), Path("sub"), folder / "sub"]
    assert without_repeats(spelled) == [Path("a.jpg"), Path("sub")]
    assert without_repeats([folder, *spelled]) == [folder]


def test_named_files_are_taken_and_missing_ones_have_a_reason(folder, tmp_path):
    hidden = folder / ".hidden.jpg"
    hidden.write_bytes(b"x")
    found = _found(hidden, tmp_path / "missing.jpg", folder / "a.jpg")
    assert list(found.values()) == ["", "missing", ""]


@needs_links
def test_links_are_not_followed_out_of_the_folder_nor_in_circles(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"x")
    links = {
        "to-file": folder / "a.jpg",
        "to-sub": folder / "sub",
        "self": folder / "self",
        "up": folder,
        "broken": folder / "nowhere",
        "out-file": outside / "secret.jpg",
        "out-folder": outside,
        "root": Path("/"),
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    found = {os.path.relpath(path, folder): reason for path, reason in _found(folder).items()}
    reasons = {name: found.get(name) for name in links}
    assert reasons == {
        "to-file": "",
        "to-sub": None,
        "self": "broken_link",
        "up": None,
        "broken": "broken_link",
        "out-file": "link_outside",
        "out-folder": "link_outside",
        "root": "link_outside",
    }
    assert len(found) == 5 + 6


@needs_links
def test_a_link_to_another_drive_leads_out_of_the_folder(folder, tmp_path, monkeypatch):
    real, film = os.path.commonpath, tmp_path / "film.jpg"
    film.write_bytes(b"x")
    (folder / "link").symlink_to(film)

    def on_two_drives(paths):
        if str(film) not in paths:
            return real(paths)
        return ntpath.commonpath([f"{'D' if path == str(film) else 'C'}:{path}" for path in paths])

    monkeypatch.setattr(os.path, "commonpath", on_two_drives)
    assert _found(folder)[str(folder / "link")] == "link_outside"


@needs_links
def test_a_junction_is_a_link(folder, tmp_path, monkeypatch):
    """As Windows tells of it: a folder, no symbolic link, with a tag of its own."""
    real = os.scandir
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"x")

    def scandir(path):
        for entry in real(path):
            if not entry.is_symlink():
                yield entry
                continue
            yield SimpleNamespace(
                name=entry.name,
                path=entry.path,
                is_symlink=lambda: False,
                is_dir=lambda: True,
                stat=lambda **_: SimpleNamespace(st_reparse_tag=JUNCTION),
            )

    monkeypatch.setattr(os, "scandir", scandir)
    (folder / "round").symlink_to(folder)
    (folder / "out").symlink_to(outside)
    found = _found(folder)
    assert found.pop(str(folder / "out")) == "link_outside"
    assert len(found) == 5 and set(found.values()) == {""}


@needs_links
def test_a_folder_named_through_a_link_is_walked(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert len(_found(link)) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_pipes_are_left_out_and_named_ones_refused(folder):
    os.mkfifo(folder / "pipe")
    assert len(_found(folder)) == 5
    assert _found(folder / "pipe") == {str(folder / "pipe"): "not_a_file"}


def test_a_folder_that_cannot_be_listed_is_a_row_and_the_rest_is_found(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if Path(path).name == "deeper":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = _found(folder)
    assert found[str(folder / "sub" / "deeper")] == "unreadable"
    assert sum(not reason for reason in found.values()) == 4


def test_a_drive_pulled_out_in_the_middle_ends_the_list_with_a_row(folder, monkeypatch):
    real = os.scandir

    class Cut:
        def __init__(self, path):
            self.entries = iter(sorted(real(path), key=lambda entry: entry.name)[:1])

        def __iter__(self):
            return self

        def __next__(self):
            entry = next(self.entries, None)
            if entry is None:
                raise OSError(5, "Input/output error")
            return entry

    monkeypatch.setattr(os, "scandir", lambda path: Cut(path))
    found = _found(folder)
    assert found == {str(folder / "a.jpg"): "", str(folder): "unreadable"}


def test_a_folder_is_walked_as_a_stream(folder, monkeypatch):
    asked = []
    real = os.scandir

    def scandir(path):
        for entry in real(path):
            asked.append(entry.name)
            yield entry

    monkeypatch.setattr(os, "scandir", scandir)
    next(find_films([folder], recursive=False))
    assert len(asked) < 4


def test_any_name_becomes_printable_text():
    assert printable("films/Müller 1.jpg") == "films/Müller 1.jpg"
    assert printable("a\x1b[31m\n.jpg") == r"a\x1b[31m\n.jpg"
    if sys.platform != "win32":
        assert printable(os.fsdecode(b"caf\xe9.jpg")) == r"caf\xe9.jpg"
        assert printable(r"caf\xe9.jpg") == r"caf\\xe9.jpg"
        assert printable("a\xad.jpg") == r"a\u00ad.jpg"


pieces = [
    b"\\",
    b"\\xff",
    b"\\u00ad",
    b"\xff",
    b"\xad",
    "\xad".encode(),
    b"\n",
    b"n",
    b"\x1b",
    b"x1b",
]
names = st.lists(st.sampled_from(pieces), max_size=4).map(b"".join)


@pytest.mark.skipif(sys.platform == "win32", reason="names are no bytes there")
@given(names, names)
@example(b"a\xff.jpg", rb"a\xff.jpg")
def test_two_names_never_have_one_printable_form(one, other):
    assert (printable(os.fsdecode(one)) == printable(os.fsdecode(other))) == (one == other)


def test_what_is_named_twice_is_found_once(folder):
    (folder / ".hidden.jpg").touch()
    named = [folder, folder / "a.jpg", folder / "sub", folder, folder / ".hidden.jpg"]
    assert without_repeats(named) == [folder, folder / ".hidden.jpg"]
    (folder / ".cache").mkdir()
    (folder / ".cache" / "film.jpg").touch()
    within = folder / ".cache" / "film.jpg"
    assert without_repeats([folder, within]) == [folder, within]
    flat = without_repeats(named, recursive=False)
    assert flat == [folder, folder / "sub", folder / ".hidden.jpg"]
    other = folder.parent / "other.jpg"
    assert without_repeats([other, folder / "a.jpg"]) == [other, folder / "a.jpg"]
