"""The device stays light: what importing it brings, and what it must not."""

from __future__ import annotations

import json
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_xray

ROOT = Path(__file__).resolve().parents[1]

HEAVY = (
    "tensorflow",
    "keras",
    "torch",
    "sklearn",
    "scipy",
    "matplotlib",
    "jinja2",
    "pydicom",
    "hypothesis",
)

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not part of the base install", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run_python(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def device_modules() -> list[str]:
    return [
        module.name
        for module in pkgutil.walk_packages(edge_xray.__path__, "edge_xray.")
        if not module.name.endswith("__main__")
    ]


def test_the_front_door_brings_nothing_heavy() -> None:
    loaded = json.loads(
        run_python("import edge_xray.cli, sys, json; print(json.dumps(sorted(sys.modules)))")
    )
    assert "edge_xray.cli" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_a_scan_that_is_piped_brings_neither_the_workshop_nor_what_draws_on_terminals(
    tmp_path: Path,
) -> None:
    film = next((ROOT / "samples").glob("normal*.jpeg"))
    words = ["scan", str(film), "--quiet", "-o", str(tmp_path / "results")]
    loaded = json.loads(
        run_python(
            "import json, sys\nfrom edge_xray.cli import main\n"
            f"assert main({words!r}) == 0\nprint(json.dumps(sorted(sys.modules)))"
        )
    )
    assert "edge_xray.scan" in loaded
    packages = {name.partition(".")[0] for name in loaded}
    assert not packages & {*HEAVY, "edge_xray_trainer", "edge_xray_converter", "rich"}


def test_every_device_module_imports_on_the_base_install() -> None:
    modules = device_modules()
    assert "edge_xray.decode" in modules
    blocked = {*HEAVY, "edge_xray_trainer", "edge_xray_converter"}
    run_python(
        f"BLOCKED = {blocked!r}\n{BLOCK}\nimport importlib\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )


@pytest.mark.parametrize("room", ["edge_xray_trainer.cli", "edge_xray_converter.cli"])
def test_the_workshop_adds_its_commands_without_its_libraries(room: str) -> None:
    run_python(
        f"BLOCKED = {set(HEAVY)!r}\n{BLOCK}\nimport importlib, typer\n"
        f"importlib.import_module({room!r}).register(typer.Typer())\n"
    )


@pytest.mark.parametrize(("extra", "room"), [("train", "trainer"), ("convert", "converter")])
def test_an_extra_brings_nothing_that_its_room_does_not_use(extra: str, room: str) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(rf"^{extra} = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert listed
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / room).rglob("*.py"))
    for name in re.findall(r'^  "([a-z0-9-]+)', listed[1], re.MULTILINE):
        module = {"scikit-learn": "sklearn"}.get(name, name.replace("-", "_"))
        assert re.search(rf"\b{module}\b", code), f"nothing in {room} uses {name}"


def test_the_import_contracts_hold() -> None:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command, "lint-imports belongs to the dev extra"
    finished = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("script", ["arm/run", "windows/run"])
def test_what_a_script_starts_by_its_module_is_a_command(script: str) -> None:
    text = (ROOT / "tests" / script).read_text("utf-8")
    started = set(re.findall(r"-m (edge_xray[\w.]*)", text))
    assert started
    for module in started:
        told = subprocess.run(
            [sys.executable, "-m", module, "--version"], capture_output=True, text=True, timeout=600
        )
        assert told.stdout.strip(), f"{module} says nothing"
