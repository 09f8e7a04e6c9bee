"""Nothing lost, nothing twice: cuts, flipped bytes, full disks, failing disks and kills at any instant."""

from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_xray import journal as journal_module
from edge_xray.durable import LOCK_NAME, write_atomically
from edge_xray.errors import ExitCode, OutputError
from edge_xray.journal import Journal
from edge_xray.own_files import JOURNAL_NAME

FILMS = 40
GROUP = 7
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def record(number: int) -> dict[str, Any]:
    return {"number": number, "label": "normal", "text": "é \ud800 \n" * (number % 3)}


def fill(folder: Path, films: int = FILMS, fingerprint: str = "model") -> Path:
    with Journal(folder, fingerprint) as journal:
        for number in range(films):
            journal.append(f"film{number}", record(number))
    return folder / JOURNAL_NAME


def assert_prefix(journal: Journal) -> int:
    """The records are the first ones, whole and in order; returns how many."""
    keys = list(journal.records)
    assert keys == [f"film{number}" for number in range(len(keys))]
    assert all(journal.records[f"film{n}"] == record(n) for n in range(len(keys)))
    assert len(keys) == journal.resumed
    return len(keys)


def test_what_was_appended_is_there_again(tmp_path):
    fill(tmp_path)
    with Journal(tmp_path, "model") as journal:
        assert journal.resumed == FILMS
        assert (journal.fresh_reason, journal.dropped_bytes) == ("", 0)
        assert dict(journal.records) == {f"film{n}": record(n) for n in range(FILMS)}
        assert "film3" in journal.records
        assert "film99" not in journal.records
        with pytest.raises(KeyError):
            journal.records["film99"]


def test_records_can_be_read_before_they_are_written(tmp_path):
    with Journal(tmp_path, "model") as journal:
        for number in range(5):
            journal.append(f"film{number}", record(number))
        assert list(journal.records.values()) == [record(number) for number in range(5)]
        journal.flush()
        journal.append("film5", record(5))
        assert list(journal.records.values()) == [record(number) for number in range(6)]


def test_a_power_cut_costs_a_slow_scan_two_seconds_and_a_fast_one_a_group(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(journal_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    path = tmp_path / JOURNAL_NAME
    with Journal(tmp_path, "model") as journal:
        on_disk = []
        for number, seconds in enumerate([0.0, 1.9, 0.1, 0.0, 1.9, *[0.0] * 30, 5.0]):
            now[0] += seconds
            journal.append(f"film{number}", record(number))
            on_disk.append(path.read_bytes().count(b"\n") - 1)
    # After two seconds, after 32 films, and at a film that comes late no sooner than the next.
    assert on_disk == [0, 0, 3, *[3] * 31, 35, 35]


def test_a_film_done_again_counts_once(tmp_path):
    fill(tmp_path, 3)
    with Journal(tmp_path, "model") as journal:
        journal.append("film1", {"again": True})
    with Journal(tmp_path, "model") as journal:
        assert journal.resumed == 3
        assert journal.records["film1"] == {"again": True}


def test_a_film_that_is_forgotten_is_not_counted_until_it_is_back(tmp_path):
    fill(tmp_path, 3)
    for last, counted in ((journal_module.FORGOTTEN, 2), ({"again": True}, 3)):
        with Journal(tmp_path, "model") as journal:
            journal.append("film1", last)
        with Journal(tmp_path, "model") as journal:
            assert journal.resumed == counted
            assert journal.records["film1"] == last


def test_a_disk_that_fails_on_the_way_out_does_not_hide_what_went_wrong_before(
    tmp_path, monkeypatch
):
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(ZeroDivisionError), Journal(tmp_path, "model") as journal:
        journal.append("film0", record(0))
        monkeypatch.setattr(os, "fsync", fail)
        raise ZeroDivisionError
    monkeypatch.undo()
    # The folder is free again.
    Journal(tmp_path, "model").close()


def test_a_drive_that_fails_to_the_last_is_named_and_lets_go_of_its_folder(tmp_path, monkeypatch):
    """Network drives and FUSE fail in closing as well, and name no file then."""
    close = os.close

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def close_and_fail(file: int) -> None:
        close(file)
        fail(file)

    with (
        pytest.raises(OutputError, match=JOURNAL_NAME),
        Journal(tmp_path, "model") as journal,
    ):
        journal.append("film0", record(0))
        monkeypatch.setattr(os, "fsync", fail)
        monkeypatch.setattr(os, "close", close_and_fail)
    monkeypatch.undo()
    Journal(tmp_path, "model").close()


def test_a_journal_that_something_else_changes_is_told(tmp_path):
    path = tmp_path / JOURNAL_NAME
    with Journal(tmp_path, "model") as journal:
        journal.append("film0", record(0))
        journal.flush()
        path.write_bytes(path.read_bytes().replace(b"film0", b"film9"))
        for read in (lambda: journal.records["film0"], lambda: list(journal.records)):
            with pytest.raises(OutputError, match="was changed by something else"):
                read()


@forking
def test_a_journal_that_is_taken_away_is_told(tmp_path):
    """Where folders can be removed while files in them are open."""
    path = tmp_path / JOURNAL_NAME
    with Journal(tmp_path, "model") as journal:
        journal.append("film0", record(0))
        journal.flush()
        path.unlink()
        with pytest.raises(OutputError, match=JOURNAL_NAME):
            journal.records["film0"]


def test_another_model_starts_fresh_and_says_so(tmp_path):
    fill(tmp_path)
    with Journal(tmp_path, "another model") as journal:
        assert journal.resumed == len(journal.records) == 0
        assert "not those of the earlier scan" in journal.fresh_reason
    with Journal(tmp_path, "another model") as journal:
        assert journal.fresh_reason == ""


def test_a_journal_cut_at_any_byte_keeps_every_whole_record(tmp_path):
    data = fill(tmp_path / "whole", 6).read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    folder = tmp_path / "cut"
    folder.mkdir()
    for cut in range(len(data) + 1):
        (folder / JOURNAL_NAME).write_bytes(data[:cut])
        with Journal(folder, "model") as journal:
            whole = assert_prefix(journal)
            assert whole == max(0, sum(end <= cut for end in ends) - 1)
            for number in range(whole, 6):
                journal.append(f"film{number}", record(number))
        assert (folder / JOURNAL_NAME).read_bytes() == data


def test_a_changed_byte_anywhere_costs_its_line_only_and_never_gives_a_wrong_record(tmp_path):
    data = fill(tmp_path / "whole", 5).read_bytes()
    folder = tmp_path / "changed"
    folder.mkdir()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x04
        (folder / JOURNAL_NAME).write_bytes(changed)
        line = data[:at].count(b"\n")
        # Without its end, a line is one with the next.
        lost = {line - 1, line} if data[at] == ord("\n") else {line - 1}
        kept = [number for number in range(5) if line and number not in lost]
        missing = [number for number in range(5) if number not in kept]
        with Journal(folder, "model") as journal:
            assert list(journal.records) == [f"film{number}" for number in kept]
            assert all(journal.records[f"film{n}"] == record(n) for n in kept)
            assert journal.resumed == len(kept)
            assert journal.damaged or journal.dropped_bytes or journal.fresh_reason
            for number in missing:
                journal.append(f"film{number}", record(number))
        with Journal(folder, "model") as journal:
            assert list(journal.records) == [f"film{number}" for number in kept + missing]
            assert all(journal.records[f"film{n}"] == record(n) for n in range(5))


@pytest.mark.parametrize(
    "rubbish", [b"\n", b"\0" * 100 + b"\n", b"x" * (3 << 20) + b"\n", b"a\nb\n"]
)
def test_what_stands_between_lines_is_passed_over_and_counted(tmp_path, rubbish):
    path = fill(tmp_path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    data = b"".join([*lines[:3], rubbish, *lines[3:]])
    path.write_bytes(data + b"1234abcd {")
    with Journal(tmp_path, "model") as journal:
        assert assert_prefix(journal) == 4
        assert (journal.damaged, journal.dropped_bytes) == (rubbish.count(b"\n"), 10)
    assert path.read_bytes() == data


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_a_file_of_anything_starts_fresh(tmp_path, data):
    (tmp_path / JOURNAL_NAME).write_bytes(data)
    with Journal(tmp_path, "model") as journal:
        assert journal.resumed == 0
        assert journal.fresh_reason
        journal.append("film0", record(0))
    with Journal(tmp_path, "model") as journal:
        assert journal.resumed == 1


def test_memory_does_not_grow_with_the_records(tmp_path):
    import tracemalloc

    tracemalloc.start()
    try:
        with Journal(tmp_path, "model") as journal:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(5000):
                journal.append(f"films/patient{number}/film.jpeg sha256", {"text": "x" * 1000})
            grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 5000 * 250


def test_threads_may_append_at_once(tmp_path):
    with Journal(tmp_path, "model") as journal:

        def work(first: int) -> None:
            for number in range(first, first + 50):
                journal.append(f"film{number}", record(number))

        threads = [threading.Thread(target=work, args=(50 * index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Journal(tmp_path, "model") as journal:
        assert {**journal.records} == {f"film{n}": record(n) for n in range(200)}


def test_what_is_no_json_or_too_long_is_a_programmers_error(tmp_path):
    with Journal(tmp_path, "model") as journal:
        for bad in ({"p": float("nan")}, {"p": "x" * (1 << 20)}):
            with pytest.raises(ValueError):
                journal.append("film", bad)
        assert len(journal.records) == 0


HOLDER = """
import sys, time
from pathlib import Path
from edge_xray.journal import Journal
with Journal(Path(sys.argv[1]), "model") as journal:
    print("open", flush=True)
    time.sleep(60)
"""


def test_a_second_scan_is_refused_with_the_owners_number_until_it_is_gone(tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(OutputError, match=f"process {owner.pid}") as caught:
            Journal(tmp_path, "model")
        assert caught.value.exit_code is ExitCode.OUTPUT
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    with Journal(tmp_path, "model") as journal:
        assert journal.resumed == 0


def test_the_same_process_cannot_open_a_folder_twice(tmp_path):
    with (
        Journal(tmp_path, "model"),
        pytest.raises(OutputError, match=f"process {os.getpid()}"),
    ):
        Journal(tmp_path, "model")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")
def test_where_locks_are_unknown_the_process_number_decides(tmp_path, monkeypatch):
    import fcntl

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with Journal(tmp_path, "model"):
        own = (tmp_path / LOCK_NAME).read_text()
    another = own.replace(str(os.getpid()), str(os.getppid()), 1)
    (tmp_path / LOCK_NAME).write_text(another)
    with pytest.raises(OutputError, match=rf"process {os.getppid()}\)"):
        Journal(tmp_path, "model")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    # Nobody; a scan that had this number, as every one is number 1 of its container; what is no number.
    nobodies = [
        own.replace(str(os.getpid()), str(nobody), 1)
        for nobody in (gone.pid, os.getpid(), "9" * 30, "-1", "rubbish", "")
    ]
    # A scan that a power cut ended, whose number another program has since.
    nobodies.append(f"{os.getppid()} {uuid.UUID(int=0)}\n")
    for nobody in nobodies:
        (tmp_path / LOCK_NAME).write_text(nobody)
        Journal(tmp_path, "model").close()
        # This process goes on, its scan does not.
        assert (tmp_path / LOCK_NAME).read_bytes() == b""

    def others(*_: object) -> None:
        raise PermissionError(errno.EPERM, "another user's process")

    monkeypatch.setattr(os, "kill", others)
    (tmp_path / LOCK_NAME).write_text(own.replace(str(os.getpid()), "4711", 1))
    with pytest.raises(OutputError, match="process 4711"):
        Journal(tmp_path, "model")


@forking
def test_where_each_machine_has_its_own_locks_the_scan_that_came_first_stops(tmp_path, monkeypatch):
    """As on network drives that pass no locks on; two processes stand for two machines."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    first = Journal(tmp_path, "model")
    first.append("film0", record(0))
    first.flush()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with Journal(tmp_path, "model") as second:
        first.append("film9", record(9))
        with pytest.raises(OutputError, match="another scan writes here since"):
            first.close()
        second.append("film1", record(1))
    with Journal(tmp_path, "model") as journal:
        assert list(journal.records) == ["film0", "film1"]
        assert not journal.damaged


@forking
def test_a_lock_that_nobody_else_may_read_behind_keeps_the_folder(tmp_path, monkeypatch):
    """As on Windows' network drives under Linux, where it is for all descriptors but its own (flock(2))."""

    def refused(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "permission denied")

    with Journal(tmp_path, "model") as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "read", refused)
            with pytest.raises(OutputError, match="another scan writes here"):
                Journal(tmp_path, "model")
        monkeypatch.setattr(Path, "read_bytes", refused)
        journal.append("film0", record(0))
        journal.flush()
        assert list(journal.records) == ["film0"]
        monkeypatch.setattr(
            os, "read", refused
        )  # after a break in the network another machine has it
        journal.append("film1", record(1))
        with pytest.raises(OutputError, match="another scan writes here since"):
            journal.flush()
        monkeypatch.undo()


@pytest.mark.skipif(sys.platform == "win32", reason="links want a right there")
def test_a_link_in_the_place_of_the_partial_file_is_not_written_through(tmp_path):
    kept = tmp_path / "kept"
    kept.write_bytes(b"kept")
    (tmp_path / ".results.csv.partial").symlink_to(kept)
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "results.csv", b"new")
    assert kept.read_bytes() == b"kept"
    write_atomically(tmp_path / "results.csv", b"new")
    assert (tmp_path / "results.csv").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open", "ftruncate"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_every_refusal_of_the_disk_is_an_output_error_and_loses_nothing_synced(
    call, code, tmp_path, monkeypatch
):
    """The n-th call of one kind fails, for every n that happens."""
    for failing in range(1, 200):
        folder = tmp_path / f"{call}{failing}"
        folder.mkdir()
        synced = fill(folder, 3) and 3
        calls = Calls(
            call, failing, lambda: (_ for _ in ()).throw(OSError(code, os.strerror(code)))
        )
        with monkeypatch.context() as patch:
            calls.install(patch)
            try:
                with Journal(folder, "model") as journal:
                    for number in range(synced, 12):
                        journal.append(f"film{number}", record(number))
                        if number % 4 == 3:
                            journal.flush()
                            synced = number + 1
                    write_atomically(folder / "results.csv", b"new")
            except OutputError as error:
                assert os.strerror(code) in str(error) or "earlier write failed" in str(error)
                assert error.exit_code is ExitCode.OUTPUT
            else:
                # The one refusal without consequence: of emptying the lock on the way out.
                assert not calls.happened or call == "ftruncate"
        with Journal(folder, "model") as journal:
            assert assert_prefix(journal) >= synced
        if not calls.happened:
            assert failing > 1 or call in {"ftruncate", "replace"}
            break
    else:
        pytest.fail("the scan never came to its end")


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:100]))
    fill(tmp_path)
    write_atomically(tmp_path / "results.csv", b"new" * 500)
    with Journal(tmp_path, "model") as journal:
        assert assert_prefix(journal) == FILMS and journal.dropped_bytes == 0
    assert (tmp_path / "results.csv").read_bytes() == b"new" * 500


def test_a_written_file_leaves_nothing_open(tmp_path):
    def lowest_free() -> int:
        file = os.open(os.devnull, os.O_RDONLY)
        os.close(file)
        return file

    before = lowest_free()
    write_atomically(tmp_path / "results.csv", b"rows")
    assert lowest_free() == before


@pytest.mark.parametrize(
    ("fault", "seen"),
    [(OSError(errno.ENOSPC, "full"), OutputError), (KeyboardInterrupt("full"), KeyboardInterrupt)],
)
def test_a_failed_atomic_write_leaves_the_old_file_and_no_litter(
    tmp_path, monkeypatch, fault, seen
):
    path = tmp_path / "results.csv"
    write_atomically(path, b"old")
    for call in ("write", "fsync", "replace"):
        with monkeypatch.context() as patch:
            Calls(call, 1, lambda: (_ for _ in ()).throw(fault)).install(patch)
            with pytest.raises(seen, match="full"):
                write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert [found.name for found in tmp_path.iterdir()] == ["results.csv"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="the superuser may write anywhere",
)
def test_a_read_only_folder_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            Journal(tmp_path / "results", "model")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_folders_place_is_an_output_error(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path / "results", "model")


class Calls:
    """Counts calls of one function of `os` and does something at the n-th.

    Before it, a write being half done, or just after it.
    """

    def __init__(self, name: str, at: int, act: Callable[[], None], *, after: bool = False) -> None:
        self.name, self.at, self.act, self.after = name, at, act, after
        self.count = 0
        self.happened = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        # Python 3.10's paths keep functions of os in a class of their own.
        kept = getattr(pathlib, "_NormalAccessor", None)
        for name in ("write", "fsync", "replace", "open", "ftruncate"):
            if self.name in ("any", name):
                real = getattr(os, name)
                call = self._wrap(real, name)
                patch.setattr(os, name, call)
                if getattr(kept, name, None) is real:
                    patch.setattr(kept, name, staticmethod(call))

    def _wrap(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                self.happened = True
                if self.after:
                    real(*arguments, **options)
                elif name == "write" and len(arguments[1]) > 1:
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                self.act()
            return real(*arguments, **options)

        return wrapped


def scan_like(folder: Path) -> None:
    """What a scan does to the disk: resume, append in groups, write the reports."""
    with Journal(folder, "model") as journal:
        for number in range(FILMS):
            if f"film{number}" not in journal.records:
                journal.append(f"film{number}", record(number))
        journal.flush()
        for name in ("results.csv", "results.json", "report.html"):
            write_atomically(folder / name, f"{name} of {len(journal.records)}\n".encode() * 50)


@forking
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("group", [1, GROUP])
def test_killed_at_every_call_a_scan_goes_on_where_it_was(group, after, tmp_path):
    """SIGKILL before (half of a write done) and after every call that touches the disk; then resume."""
    points = 0
    for at in range(1, 1000):
        folder = tmp_path / str(at)
        pid = os.fork()
        if pid == 0:
            try:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(journal_module, "GROUP_RECORDS", group)
                    die = Calls("any", at, lambda: os.kill(os.getpid(), 9), after=after)
                    die.install(patch)
                    scan_like(folder)
            finally:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            break
        points += 1
        with Journal(folder, "model") as journal:
            done = assert_prefix(journal)
        reports = [path for path in folder.glob("re*") if path.read_bytes()]
        assert all(b"of 40" in path.read_bytes().splitlines()[0] for path in reports)
        assert not reports or done == FILMS
        scan_like(folder)
        with Journal(folder, "model") as journal:
            assert assert_prefix(journal) == FILMS
        lines = (folder / JOURNAL_NAME).read_bytes().count(b"\n")
        assert lines == FILMS + 1
        assert not list(folder.glob(".*"))
    else:
        pytest.fail("the scan never came to its end")
    assert points >= (100 if group == 1 else 30)
