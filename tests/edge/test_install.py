"""The kit's ``install.sh``: whatever goes wrong, the version before goes on working.

The kits here hold a stand-in for edge-xray of a few lines, so that an installation takes a second.
"""

from __future__ import annotations

import ensurepip
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_xray import kit

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TARGET = {"x86_64": "linux-x86_64", "aarch64": "rpi64"}.get(platform.machine(), "")
BUNDLED = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
SLEEP_SECONDS = 60
NOBODY = 65534
NAMELESS = 54321
"""A user's number that no user of a test machine has."""

root_only = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give folders away"
)

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="install.sh is for Linux"),
    pytest.mark.skipif(not TARGET, reason="no kit for this architecture"),
    pytest.mark.skipif(not BUNDLED, reason="this Python bundles no pip"),
]

STAND_IN = """
import pathlib, sys, time

def main():
    if sys.argv[1] == "self-test":
        print("self-test of {version}")
        pathlib.Path({marker!r}).touch()
        time.sleep({sleep})
        return {code}
    print("edge-xray {version}")
"""


class Kits:
    """Builds unpacked kits of a stand-in below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = folder / "self-test-began"

    def make(
        self,
        version: str,
        *,
        code: int = 0,
        sleep: int = 0,
        ballast: int = 0,
        model: Path | None = None,
    ) -> Path:
        """An unpacked kit whose self-test sleeps and exits with a code."""
        shelf = self.folder / f"shelf-{version}"
        shelf.mkdir()
        info = f"edge_xray-{version}.dist-info"
        source = STAND_IN.format(version=version, code=code, sleep=sleep, marker=str(self.marker))
        wheel = shelf / f"edge_xray-{version}-py3-none-any.whl"
        files = {
            "stand_in.py": source,
            "ballast.bin": "x" * ballast,
            "edge_xray/models/models.json": '{"models": {}}',
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: edge-xray\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": "[console_scripts]\nedge-xray = stand_in:main\n",
        }
        files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        shutil.copy(BUNDLED[-1], shelf)
        path = shelf / "kit.zip"
        kit.build_kit(
            TARGET,
            PYTHON,
            path,
            source=ROOT,
            wheel=wheel,
            dicom=False,
            find_links=shelf,
            model=model,
        )
        with zipfile.ZipFile(path) as archive:
            archive.extractall(shelf)
        return shelf / kit.TOP


@pytest.fixture
def kits(tmp_path: Path) -> Kits:
    return Kits(tmp_path)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Kits 1.0, 2.0 and 3.0, for tests that leave them as they are."""
    kits = Kits(tmp_path_factory.mktemp("kits"))
    return [kits.make(f"{number}.0") for number in (1, 2, 3)]


class Machine:
    """Somewhere to install to, with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "the prefix"
        self.bin = folder / "bin"
        self.before: list[str] = []
        self.environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHON": sys.executable,
        }

    def command(self, folder: Path, *arguments: str) -> list[str]:
        places = ["--prefix", str(self.prefix), "--bin", str(self.bin)]
        return [*self.before, "sh", str(folder / "install.sh"), *places, *arguments]

    def install(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(folder, *arguments),
            capture_output=True,
            text=True,
            timeout=600,
            env=self.environment,
        )

    def version(self) -> str:
        """What the installed command says of itself."""
        finished = subprocess.run(
            [str(self.bin / "edge-xray"), "--version"], capture_output=True, text=True, timeout=600
        )
        return finished.stdout.strip()

    def program(self, name: str, *lines: str) -> None:
        """Put a program on the path, before the system's of that name."""
        self.bin.mkdir(exist_ok=True)
        (self.bin / name).write_text("\n".join(("#!/bin/sh", *lines, "")))
        (self.bin / name).chmod(0o755)

    def has_only(self, *programs: str) -> None:
        """Leave no other program on the path."""
        folder = self.prefix.parent / "tools"
        folder.mkdir()
        for program in programs:
            (folder / program).symlink_to(str(shutil.which(program)))
        self.environment["PATH"] = str(folder)

    def service(self) -> tuple[list[str], Path]:
        """A systemd that writes down what it is told, and which versions are there."""
        log, units = self.prefix.parent / "systemctl.log", self.prefix.parent / "units"
        present = f"ls '{self.prefix}/versions' | cut -d- -f1 | tr '\\n' ' '"
        self.program("systemctl", f'echo "$* [ $({present})]" >>"{log}"')
        return ["--units", str(units)], log

    def versions(self) -> list[str]:
        return sorted(path.name.split("-")[0] for path in (self.prefix / "versions").iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def saved(three: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Path]:
    """A machine with 2.0, and 1.0 before it; and a copy of all that is on it."""
    folder = tmp_path_factory.mktemp("machine")
    machine = Machine(folder / "now")
    for kit_folder in three[:2]:
        assert machine.install(kit_folder).returncode == 0
    shutil.copytree(folder / "now", folder / "saved", symlinks=True)
    return machine, folder


@pytest.fixture
def upgraded(saved: tuple[Machine, Path]) -> Machine:
    """That machine, as it was."""
    machine, folder = saved
    shutil.rmtree(folder / "now")
    shutil.copytree(folder / "saved", folder / "now", symlinks=True)
    return machine


def change(folder: Path, setting: str, value: str) -> None:
    """Give a setting of an unpacked kit another value, and write the sums again."""
    lines = (folder / "kit.env").read_text().splitlines()
    (folder / "kit.env").write_text(
        "".join(f"{setting}={value}\n" if x.startswith(f"{setting}=") else f"{x}\n" for x in lines)
    )
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def to_try(said: str) -> list[str]:
    """The command that an installer names at its end, as a shell takes it."""
    return shlex.split(said.partition("Done. Try it: ")[2].splitlines()[0])


def test_a_kit_of_a_model_of_ones_own_names_no_samples_to_try(
    kits: Kits, machine: Machine, tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "ward-3.tflite"
    shutil.copy(tiny_model, model)
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    record = {"models": [{}, {"sha256": sha256}], "comparisons": [{"verdict": "PASS"}]}
    model.with_suffix(".parity.json").write_text(json.dumps(record))
    done = machine.install(kits.make("1.0", model=model))
    assert done.returncode == 0, done.stderr
    # They are chest films, and the model may be for others.
    assert "Done. Try it: edge-xray scan FOLDER-OF-FILMS" in done.stdout


def test_install_twice_upgrade_roll_back_and_remove(kits: Kits, machine: Machine) -> None:
    first, second, third = (kits.make(f"{number}.0") for number in (1, 2, 3))
    done = machine.install(first)
    assert done.returncode == 0, done.stderr
    assert "self-test of 1.0" in done.stdout
    assert to_try(done.stdout) == ["edge-xray", "scan", str(machine.prefix / "current/samples")]
    assert machine.version() == "edge-xray 1.0"
    assert (machine.prefix / "current/samples/normal-1.jpeg").is_file()
    pages = sorted((machine.prefix / "current").resolve().glob("[!v]*/*.html"))
    assert "clinic.html" in {page.name for page in pages}
    for page in (machine.prefix / "current/index.html", *pages):
        for link in re.findall(r'(?:href|src)="([^":#]+)(?=["#])', page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"

    again = machine.install(first)
    assert again.returncode == 0 and "installed already" in again.stdout
    assert machine.versions() == ["1.0"]

    (machine.prefix / "settings.toml").write_text("mine")
    assert machine.install(second).returncode == 0
    assert machine.version() == "edge-xray 2.0"
    assert machine.install(second, "--rollback").returncode == 0
    assert machine.version() == "edge-xray 1.0"
    assert machine.install(second, "--rollback").returncode == 0
    assert machine.version() == "edge-xray 2.0"

    assert machine.install(third).returncode == 0
    assert (machine.version(), machine.versions()) == ("edge-xray 3.0", ["2.0", "3.0"])

    removed = machine.install(third, "--uninstall")
    assert removed.returncode == 0, removed.stderr
    assert [path.name for path in machine.prefix.iterdir()] == ["settings.toml"]
    assert not (machine.bin / "edge-xray").is_symlink()
    assert machine.install(third, "--uninstall").returncode == 1


def read_only(*folders: Path) -> None:
    """Take the right to write from folders and all that is in them, as ISO 9660 does."""
    subprocess.run(["chmod", "-R", "a-w", *map(str, folders)], check=True)


@pytest.fixture
def bound(machine: Machine) -> Machine:
    """A machine where whoever installs may not write to what is read-only, as root may."""
    if os.geteuid() == 0:
        machine.before = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"]
        if shutil.which("setpriv") is None or subprocess.run([*machine.before, "true"]).returncode:
            pytest.skip("root cannot do without its rights on this machine")
    return machine


def test_a_kit_on_a_read_only_medium(three: list[Path], bound: Machine, tmp_path: Path) -> None:
    for version in three[:2]:
        shutil.copytree(version, tmp_path / version.parent.name)
        read_only(tmp_path / version.parent.name)
        done = bound.install(tmp_path / version.parent.name)
        assert done.returncode == 0, done.stderr
    installed = (bound.prefix / "current").resolve()
    for path in installed.rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & stat.S_IWUSR, path
    (installed / "venv/bin/edge-xray").write_bytes(b"")
    again = bound.install(tmp_path / three[1].parent.name)
    assert again.returncode == 0, again.stderr
    assert (bound.version(), bound.versions()) == ("edge-xray 2.0", ["1.0", "2.0"])


def test_what_was_installed_read_only_can_be_replaced_and_removed(
    three: list[Path], bound: Machine
) -> None:
    def install(folder: Path) -> Path:
        done = bound.install(folder)
        assert done.returncode == 0, done.stderr
        version = (bound.prefix / "current").resolve()
        read_only(version / "docs", version / "models", version / "samples")
        return version

    install(three[0])
    second = install(three[1])
    (second / "venv/bin/edge-xray").write_bytes(b"")
    assert install(three[1]) == second
    install(three[2])
    assert (bound.version(), bound.versions()) == ("edge-xray 3.0", ["2.0", "3.0"])
    removed = bound.install(three[2], "--uninstall")
    assert removed.returncode == 0, removed.stderr
    assert not bound.prefix.exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user can come to, as a test's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


def test_a_watched_folder_becomes_a_service(
    kits: Kits, machine: Machine, tmp_path: Path, open_folder: Path
) -> None:
    units, told = machine.service()
    films = open_folder / "films 100% $new"
    films.mkdir()
    if os.geteuid() == 0:
        os.chown(films, NOBODY, -1)
    first = kits.make("1.0")
    done = machine.install(first, "--watch", str(films), *units)
    assert done.returncode == 0, done.stderr
    unit = tmp_path / "units/edge-xray-watch.service"
    program = machine.prefix / "current/venv/bin/edge-xray"
    escaped = str(films).replace("%", "%%").replace("$", "$$")
    assert (
        f'ExecStart="{program}" watch "{escaped}" --output "{escaped}-results"\n'
        in unit.read_text()
    )
    calls = re.findall(
        r"(daemon-reload|(?:enable|restart) edge-xray-watch\.service)", told.read_text()
    )
    assert calls == [
        "daemon-reload",
        "enable edge-xray-watch.service",
        "restart edge-xray-watch.service",
    ]
    if os.geteuid() == 0:
        assert "User=nobody\n" in unit.read_text()
        results = films.with_name(f"{films.name}-results")
        assert (results.is_dir(), results.stat().st_uid) == (True, NOBODY)

    removed = machine.install(first, "--uninstall", *units)
    assert removed.returncode == 0, removed.stderr
    assert not unit.exists() and "disable --now edge-xray-watch.service" in told.read_text()


def test_a_service_is_begun_again_with_another_folder_and_another_version(
    three: list[Path], machine: Machine, tmp_path: Path
) -> None:
    units, told = machine.service()
    # As one who is not root, whoever runs this test.
    machine.program("id", '[ "$1" = -u ] && echo 1000 || echo nurse')
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for folder in ("one", "two"):
        told.unlink(missing_ok=True)
        done = machine.install(three[0], "--watch", str(tmp_path / folder), *units)
        assert done.returncode == 0, done.stderr
        assert "--user restart edge-xray-watch.service" in told.read_text()
        assert "sudo loginctl enable-linger nurse" in done.stdout
    assert str(tmp_path / "two") in (tmp_path / "units/edge-xray-watch.service").read_text()

    steps = [
        (three[1], [], "1.0 2.0"),
        (three[1], ["--rollback"], "1.0 2.0"),
        (three[1], ["--rollback"], "1.0 2.0"),
        # Begun again while the version that it ran is still there.
        (three[2], [], "1.0 2.0 3.0"),
    ]
    for folder, arguments, present in steps:
        told.unlink()
        assert machine.install(folder, *arguments, *units).returncode == 0
        call = f"--user try-restart edge-xray-watch.service [ {present} ]\n"
        assert told.read_text() == call
    assert machine.versions() == ["2.0", "3.0"]


def test_a_service_that_is_not_begun_again_keeps_its_version(
    three: list[Path], upgraded: Machine
) -> None:
    units, _ = upgraded.service()
    folder = Path(units[1])
    folder.mkdir()
    (folder / "edge-xray-watch.service").touch()
    upgraded.program("systemctl", "exit 1")
    for arguments, version in (([], "3.0"), (["--rollback"], "2.0")):
        done = upgraded.install(three[2], *arguments, *units)
        assert done.returncode == 0, done.stderr
        assert "was not restarted" in done.stdout and "restart edge-xray-watch" in done.stdout
        assert upgraded.version() == f"edge-xray {version}"
        assert upgraded.versions() == ["1.0", "2.0", "3.0"]
    upgraded.service()
    assert upgraded.install(three[2], *units).returncode == 0
    assert upgraded.versions() == ["2.0", "3.0"]


@root_only
def test_what_may_be_watched_for_whom_is_said_before_anything_is_installed(
    three: list[Path], machine: Machine, open_folder: Path
) -> None:
    units, _ = machine.service()
    films = open_folder / "films"
    results, secret = open_folder / "films-results", open_folder / "secret"
    films.mkdir()
    secret.mkdir()

    def refused(*words: str) -> None:
        done = machine.install(three[0], "--watch", str(films), *units)
        assert done.returncode == 1 and not (machine.prefix / "versions").exists()
        assert all(word in done.stderr for word in words), done.stderr
        assert len(done.stderr.splitlines()) == 1

    refused("root's", f'chown USER "{films}"')
    os.chown(films, NAMELESS, -1)
    refused("no name", f'chown USER "{films}"')
    os.chown(films, NOBODY, -1)
    results.symlink_to(secret)
    refused(f"{results} is a link")
    results.unlink()
    results.symlink_to(open_folder / "not there")
    refused(f"{results} is a link")
    results.unlink()
    results.mkdir()
    refused(f"{results} is there", "nobody can write to")
    results.rmdir()
    results.touch()
    refused(f"{results} is there")
    results.unlink()
    films.chmod(0)
    refused("nobody, whose folder", "cannot read it")
    films.chmod(0o755)
    open_folder.chmod(0o775)
    refused(f'install -d -o nobody "{results}"')
    assert (secret.stat().st_uid, list(machine.prefix.parent.glob("units/*"))) == (0, [])


@root_only
@pytest.mark.parametrize("owner", [0, NOBODY])
def test_a_list_gets_a_folder_of_the_films_owner(
    three: list[Path], machine: Machine, open_folder: Path, owner: int
) -> None:
    units, _ = machine.service()
    films = open_folder / "films"
    results = open_folder / "films-results"
    films.mkdir()
    os.chown(films, NOBODY, -1)
    os.chown(open_folder, owner, -1)
    for _ in range(2):
        done = machine.install(three[0], "--watch", str(films), *units)
        assert done.returncode == 0, done.stderr
        assert (results.is_dir(), results.stat().st_uid) == (True, NOBODY)
    if owner == 0:
        results.chmod(0o777)
        os.chown(results, NAMELESS, -1)
        assert machine.install(three[0], "--watch", str(films), *units).returncode == 0
        assert results.stat().st_uid == NAMELESS


@pytest.mark.parametrize("watched", ["--watch missing", "--watch ."])
def test_a_service_that_cannot_be_is_said_before_anything_is_installed(
    three: list[Path], machine: Machine, watched: str
) -> None:
    # No systemctl, whatever else this machine has.
    machine.has_only("cat", "dirname", "id", "mkdir", "rm", "rmdir", "sed", "sh", "stat", "uname")
    done = machine.install(three[0], *watched.split())
    words = "no such folder" if "missing" in watched else "no systemd; install without --watch"
    assert done.returncode == 1 and words in done.stderr
    assert not machine.prefix.exists()


def test_a_damaged_kit_changes_nothing(kits: Kits, machine: Machine) -> None:
    assert machine.install(kits.make("1.0")).returncode == 0
    damaged = kits.make("2.0")
    wheel = next((damaged / "wheels").iterdir())
    whole = wheel.read_bytes()

    wheel.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    bad = machine.install(damaged)
    assert bad.returncode == 1
    assert f"{wheel.name}: its content is not what was packed" in bad.stderr
    assert "the kit is damaged" in bad.stderr and "1.0" in bad.stderr.splitlines()[-1]

    wheel.unlink()
    missing = machine.install(damaged)
    assert missing.returncode == 1 and "No such file" in missing.stderr

    wheel.write_bytes(whole)
    (damaged / "SHA256SUMS").unlink()
    assert "no whole kit" in machine.install(damaged).stderr
    assert (machine.version(), machine.versions()) == ("edge-xray 1.0", ["1.0"])


def test_a_version_that_fails_its_self_test_is_taken_back(kits: Kits, machine: Machine) -> None:
    assert machine.install(kits.make("1.0")).returncode == 0
    failed = machine.install(kits.make("2.0", code=1))
    assert failed.returncode == 1
    assert "failed its self-test" in failed.stderr and "goes on working" in failed.stderr
    assert (machine.version(), machine.versions()) == ("edge-xray 1.0", ["1.0"])


def cut(machine: Machine, folder: Path, at: int, *arguments: str) -> None:
    """Kill the installer where it forces what it did to the disk for the `at`-th time."""
    count = machine.prefix.parent / "syncs"
    count.unlink(missing_ok=True)
    machine.program(
        "sync",
        f'echo >>"{count}"',
        f'[ "$(wc -l <"{count}")" -ne {at} ] || kill -KILL $PPID',
    )
    done = machine.install(folder, *arguments)
    assert done.returncode == -signal.SIGKILL, (done.stdout, done.stderr)
    (machine.bin / "sync").unlink()


def goes_on(machine: Machine, folder: Path, other: str) -> None:
    """After a cut: there and back again, then an upgrade, back from it, and away."""
    now = machine.version()
    for expected in (other, now):
        done = machine.install(folder, "--rollback")
        assert done.returncode == 0, done.stderr
        assert machine.version() == expected
    assert machine.install(folder).returncode == 0
    assert (machine.version(), len(machine.versions())) == ("edge-xray 3.0", 2)
    assert machine.install(folder, "--rollback").returncode == 0
    assert machine.version() == (other if now == "edge-xray 3.0" else now)
    assert machine.install(folder, "--uninstall").returncode == 0
    assert not machine.prefix.exists()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_rollback_cut_off(three: list[Path], upgraded: Machine, at: int) -> None:
    cut(upgraded, three[1], at, "--rollback")
    now = upgraded.version()
    assert now == f"edge-xray {2 if at < 3 else 1}.0"
    goes_on(upgraded, three[2], "edge-xray 1.0" if at < 3 else "edge-xray 2.0")


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_an_upgrade_cut_off(three: list[Path], upgraded: Machine, at: int) -> None:
    cut(upgraded, three[2], at)
    now = upgraded.version()
    assert now == f"edge-xray {2 if at < 4 else 3}.0"
    goes_on(upgraded, three[2], "edge-xray 1.0" if at < 4 else "edge-xray 2.0")


def test_a_first_installation_cut_off_has_none_before_it(
    three: list[Path], machine: Machine
) -> None:
    assert machine.install(three[0]).returncode == 0
    cut(machine, three[1], 2)
    assert machine.version() == "edge-xray 1.0"
    assert "no earlier version" in machine.install(three[1], "--rollback").stderr


@pytest.mark.parametrize("damaged", ["lib/*/site-packages/stand_in.py", "bin/edge-xray"])
def test_an_installed_version_that_is_damaged_is_installed_anew(
    three: list[Path], upgraded: Machine, damaged: str
) -> None:
    (file,) = (upgraded.prefix / "current/venv").resolve().glob(damaged)
    file.write_bytes(b"")
    again = upgraded.install(three[1])
    assert again.returncode == 0, again.stderr
    assert "failed its self-test" in again.stdout and upgraded.version() == "edge-xray 2.0"
    assert upgraded.install(three[1], "--rollback").returncode == 0
    assert (upgraded.version(), upgraded.versions()) == ("edge-xray 1.0", ["1.0", "2.0"])


def test_a_damaged_version_that_cannot_be_installed_anew_leaves_the_one_before(
    three: list[Path], upgraded: Machine, tmp_path: Path
) -> None:
    (upgraded.prefix / "current/venv/bin/edge-xray").write_bytes(b"")
    large = tmp_path / "kit"
    shutil.copytree(three[1], large)
    # Refused before the damaged one is removed, or cut short after it.
    change(large, "KIT_NEEDS_BYTES", str(10**18))
    refused = upgraded.install(large)
    change(large, "KIT_NEEDS_BYTES", "1")
    (large / "requirements.txt").write_text("missing==1.0 --hash=sha256:00\n")
    change(large, "KIT_BITS", "64")
    failed = upgraded.install(large)
    assert "not enough free space" in refused.stderr and "could not be installed" in failed.stderr
    for done in (refused, failed):
        assert done.returncode == 1 and "1.0" in done.stderr.splitlines()[-1]
        assert "goes on working" not in done.stderr and "--rollback" in done.stderr
    assert upgraded.versions() == ["1.0"]
    assert upgraded.install(large, "--rollback").returncode == 0
    assert upgraded.version() == "edge-xray 1.0"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_half_way(kits: Kits, machine: Machine, how: signal.Signals) -> None:
    assert machine.install(kits.make("1.0")).returncode == 0
    kits.marker.unlink()
    slow = kits.make("2.0", sleep=SLEEP_SECONDS)
    process = subprocess.Popen(
        machine.command(slow),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=machine.environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + SLEEP_SECONDS
    while not kits.marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, how)
    process.wait(timeout=600)
    assert machine.version() == "edge-xray 1.0"

    assert machine.install(kits.make("3.0")).returncode == 0
    assert (machine.version(), machine.versions()) == ("edge-xray 3.0", ["1.0", "3.0"])


def test_no_room(kits: Kits, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.install(kits.make("1.0")).returncode == 0
    monkeypatch.setattr(kit, "ENVIRONMENT_BYTES", 10**18)
    refused = machine.install(kits.make("2.0"))
    assert refused.returncode == 1
    assert "MB free, 1000000000000 MB needed" in refused.stderr
    assert (machine.version(), machine.versions()) == ("edge-xray 1.0", ["1.0"])


def test_a_disk_that_fills_half_way(kits: Kits, machine: Machine) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    first, large = kits.make("1.0"), kits.make("2.0", ballast=8_000_000)
    for folder in (first, large):
        change(folder, "KIT_NEEDS_BYTES", "1")
    machine.prefix.mkdir()
    places = f"--prefix '{machine.prefix}' --bin '{machine.bin}'"
    script = f"""
    mount -t tmpfs -o size=6m tmpfs '{machine.prefix}' || exit 6
    sh '{first}/install.sh' {places} || exit 7
    sh '{large}/install.sh' {places} && exit 8
    '{machine.bin}/edge-xray' --version
    ls '{machine.prefix}/versions'
    """
    finished = subprocess.run(
        [*unshare, "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=600,
        env=machine.environment,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "could not be installed" in finished.stderr and "goes on working" in finished.stderr
    *_, version, left = finished.stdout.splitlines()
    assert version == "edge-xray 1.0" and left.startswith("1.0-")


def test_who_has_no_home_names_the_places(three: list[Path], machine: Machine) -> None:
    machine.program("id", f"echo {NAMELESS}")
    del machine.environment["HOME"]
    done = machine.install(three[0])
    assert done.returncode == 0, done.stderr
    assert machine.version() == "edge-xray 1.0"


def test_a_full_tmp_stops_no_installation(three: list[Path], machine: Machine) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    full = machine.prefix.parent / "full"
    full.mkdir()
    # Room for one name, so that it is taken for a folder to write to.
    mount = f"mount -t tmpfs -o size=4k,nr_inodes=2 tmpfs '{full}' && exec \"$@\""
    machine.before = [*unshare, "sh", "-c", mount, "sh"]
    machine.environment["TMPDIR"] = str(full)
    done = machine.install(three[0])
    assert done.returncode == 0, done.stderr
    assert machine.version() == "edge-xray 1.0"
    assert not (machine.prefix / "current/tmp").exists()


def test_called_in_a_folder_that_is_gone(three: list[Path], machine: Machine) -> None:
    gone = machine.prefix.parent / "gone"
    gone.mkdir()
    machine.before = ["sh", "-c", f"cd '{gone}' && rmdir '{gone}' && exec \"$@\"", "sh"]
    refused = machine.install(three[0])
    assert refused.returncode == 1 and "is gone; go to another one" in refused.stderr
    assert "Traceback" not in refused.stderr and not machine.prefix.exists()


def test_another_installation_at_work(kits: Kits, machine: Machine) -> None:
    folder = kits.make("1.0")
    (machine.prefix / ".installing").mkdir(parents=True)
    (machine.prefix / ".installing/pid").write_text(str(os.getpid()))
    busy = machine.install(folder)
    assert busy.returncode == 1 and f"process {os.getpid()}" in busy.stderr
    gone = subprocess.Popen(["true"])
    gone.wait()
    (machine.prefix / ".installing/pid").write_text(str(gone.pid))
    assert machine.install(folder).returncode == 0


def test_a_lock_from_before_a_restart_of_the_machine(three: list[Path], machine: Machine) -> None:
    lock = machine.prefix / ".installing"
    lock.mkdir(parents=True)
    (lock / "pid").write_text(str(os.getpid()))
    (lock / "boot").write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
    busy = machine.install(three[0])
    assert busy.returncode == 1 and f"remove {lock}" in busy.stderr
    (lock / "boot").write_text("11111111-2222-3333-4444-555555555555\n")
    assert machine.install(three[0]).returncode == 0
    assert not lock.exists()


def test_one_folder_by_several_names(three: list[Path], machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    names = ["the prefix/", "link/the prefix", "link/the prefix//", "the prefix"]
    for folder, name in zip((*three, three[2]), names, strict=True):
        done = machine.install(folder, "--prefix", f"{tmp_path}/{name}", "--bin", f"{machine.bin}/")
        assert done.returncode == 0, done.stderr
        assert "another program's" not in done.stdout and "not on your path" not in done.stdout
    assert machine.versions() == ["2.0", "3.0"]
    done = machine.install(three[2], "--prefix", f"{tmp_path}/link/the prefix/", "--rollback")
    assert (done.returncode, machine.version()) == (0, "edge-xray 2.0")
    done = machine.install(three[2], "--prefix", f"{tmp_path}/the prefix/", "--uninstall")
    assert done.returncode == 0 and not (machine.bin / "edge-xray").is_symlink()


def test_a_kit_without_a_name_removes_nothing(
    three: list[Path], upgraded: Machine, tmp_path: Path
) -> None:
    shutil.copytree(three[0], tmp_path / "kit")
    change(tmp_path / "kit", "KIT_ID", "")
    assert "names no version" in upgraded.install(tmp_path / "kit").stderr
    assert upgraded.versions() == ["1.0", "2.0"]


def test_another_programs_command_stays(kits: Kits, machine: Machine) -> None:
    machine.bin.mkdir()
    (machine.bin / "edge-xray").write_text("somebody else's")
    done = machine.install(kits.make("1.0"))
    assert done.returncode == 0 and "another program's and stays" in done.stdout
    assert (machine.bin / "edge-xray").read_text() == "somebody else's"
    assert to_try(done.stdout)[0] == str(machine.prefix / "current/venv/bin/edge-xray")


def test_the_command_to_try_is_one_that_this_terminal_finds(kits: Kits, machine: Machine) -> None:
    machine.environment["PATH"] = os.environ["PATH"]
    done = machine.install(kits.make("1.0"))
    assert done.returncode == 0 and f"{machine.bin} is not on your path" in done.stdout
    program = to_try(done.stdout)[0]
    tried = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=600)
    assert tried.stdout.strip() == "edge-xray 1.0"


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("KIT_PYTHON", "3.99", "this kit is for Python 3.99"),
        ("KIT_MACHINES", "pdp11", "this kit is for"),
        ("KIT_BITS", "16", "this kit is for"),
    ],
)
def test_the_wrong_machine(
    kits: Kits, machine: Machine, setting: str, value: str, words: str
) -> None:
    folder = kits.make("1.0")
    change(folder, setting, value)
    refused = machine.install(folder)
    assert refused.returncode == 1 and words in refused.stderr
    assert not (machine.prefix / "versions").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--colour"], "--colour is not known"), (["--rollback"], "no earlier")],
)
def test_wrong_use(kits: Kits, machine: Machine, arguments: list[str], words: str) -> None:
    refused = machine.install(kits.make("1.0"), *arguments)
    assert refused.returncode == 1 and words in refused.stderr


def test_another_python_since_stops_neither_going_back_nor_removing(
    three: list[Path], upgraded: Machine, tmp_path: Path
) -> None:
    shutil.copytree(three[2], tmp_path / "kit")
    change(tmp_path / "kit", "KIT_PYTHON", "3.99")
    assert "this kit is for Python 3.99" in upgraded.install(tmp_path / "kit").stderr
    back = upgraded.install(tmp_path / "kit", "--rollback")
    assert back.returncode == 0, back.stderr
    assert upgraded.version() == "edge-xray 1.0"

    del upgraded.environment["PYTHON"]
    upgraded.has_only(
        *("basename", "cat", "chmod", "dirname", "id", "mkdir", "readlink", "rm", "rmdir", "sed"),
        "sh",
    )
    refused = upgraded.install(tmp_path / "kit", "--rollback")
    assert refused.returncode == 1 and "needs Python 3" in refused.stderr
    link = tmp_path / "link"
    link.symlink_to(upgraded.prefix)
    removed = upgraded.install(tmp_path / "kit", "--prefix", f"{link}/", "--uninstall")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert not upgraded.prefix.exists() and not (upgraded.bin / "edge-xray").is_symlink()
    gone = upgraded.install(tmp_path / "kit", "--uninstall")
    assert gone.returncode == 1 and "nothing is installed" in gone.stderr
