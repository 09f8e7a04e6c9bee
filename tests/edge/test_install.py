"""The kit's ``install.sh``: whatever goes wrong, the version before goes on working.

The kits here hold a stand-in for edge-xray of a few lines, so that an installation takes a second.
"""

from __future__ import annotations

import ensurepip
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from edge_xray import kit

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TARGET = {"x86_64": "linux-x86_64", "aarch64": "rpi64"}.get(platform.machine(), "")
BUNDLED = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
SLEEP_SECONDS = 60

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

    def make(self, version: str, *, code: int = 0, sleep: int = 0, ballast: int = 0) -> Path:
        """An unpacked kit whose self-test sleeps and exits with a code."""
        shelf = self.folder / f"shelf-{version}"
        shelf.mkdir()
        info = f"edge_xray-{version}.dist-info"
        source = STAND_IN.format(version=version, code=code, sleep=sleep, marker=str(self.marker))
        wheel = shelf / f"edge_xray-{version}-py3-none-any.whl"
        files = {
            "stand_in.py": source,
            "ballast.bin": "x" * ballast,
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
        kit.build_kit(TARGET, PYTHON, path, source=ROOT, wheel=wheel, dicom=False, find_links=shelf)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(shelf)
        return shelf / kit.TOP


@pytest.fixture
def kits(tmp_path: Path) -> Kits:
    return Kits(tmp_path)


class Machine:
    """Somewhere to install to, with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "the prefix"
        self.bin = folder / "bin"
        self.environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHON": sys.executable,
        }

    def command(self, folder: Path, *arguments: str) -> list[str]:
        places = ["--prefix", str(self.prefix), "--bin", str(self.bin)]
        return ["sh", str(folder / "install.sh"), *places, *arguments]

    def install(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(folder, *arguments),
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
        )

    def version(self) -> str:
        """What the installed command says of itself."""
        finished = subprocess.run(
            [str(self.bin / "edge-xray"), "--version"], capture_output=True, text=True, timeout=60
        )
        return finished.stdout.strip()

    def versions(self) -> list[str]:
        return sorted(path.name.split("-")[0] for path in (self.prefix / "versions").iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


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


def test_install_twice_upgrade_roll_back_and_remove(kits: Kits, machine: Machine) -> None:
    first, second, third = (kits.make(f"{number}.0") for number in (1, 2, 3))
    done = machine.install(first)
    assert done.returncode == 0, done.stderr
    assert "self-test of 1.0" in done.stdout and "Done." in done.stdout
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


def test_a_watched_folder_becomes_a_service(kits: Kits, machine: Machine, tmp_path: Path) -> None:
    told = tmp_path / "systemctl.log"
    machine.bin.mkdir()
    systemctl = machine.bin / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$*" >>"{told}"\n')
    systemctl.chmod(0o755)
    films, units = tmp_path / "films 100% $new", tmp_path / "units"
    films.mkdir()
    first = kits.make("1.0")
    done = machine.install(first, "--watch", str(films), "--units", str(units))
    assert done.returncode == 0, done.stderr
    unit = units / "edge-xray-watch.service"
    program = machine.prefix / "current/venv/bin/edge-xray"
    escaped = str(films).replace("%", "%%").replace("$", "$$")
    assert (
        f'ExecStart="{program}" watch "{escaped}" --output "{escaped}-results"\n'
        in unit.read_text()
    )
    calls = told.read_text()
    assert "daemon-reload" in calls and "enable --now edge-xray-watch.service" in calls
    if os.geteuid() == 0:
        assert "User=root\n" in unit.read_text() and (tmp_path / f"{films.name}-results").is_dir()

    removed = machine.install(first, "--uninstall", "--units", str(units))
    assert removed.returncode == 0, removed.stderr
    assert not unit.exists() and "disable --now edge-xray-watch.service" in told.read_text()


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
    process.wait(timeout=30)
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
        timeout=120,
        env=machine.environment,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "could not be installed" in finished.stderr and "goes on working" in finished.stderr
    *_, version, left = finished.stdout.splitlines()
    assert version == "edge-xray 1.0" and left.startswith("1.0-")


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


def test_another_programs_command_stays(kits: Kits, machine: Machine) -> None:
    machine.bin.mkdir()
    (machine.bin / "edge-xray").write_text("somebody else's")
    done = machine.install(kits.make("1.0"))
    assert done.returncode == 0 and "another program's and stays" in done.stdout
    assert (machine.bin / "edge-xray").read_text() == "somebody else's"


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
