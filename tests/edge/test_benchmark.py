"""`edge-xray benchmark`: what it reports, not how fast this machine is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edge_xray import toolbox
from edge_xray.benchmark import DRAWN_SIDES, STAGES, machine_name, run_benchmark
from edge_xray.errors import UsageError
from edge_xray.hardware import processor_name
from edge_xray.own_files import RESULTS_MARK


@pytest.fixture
def raspberry(tmp_path: Path) -> Path:
    """A root whose counters say that 3 J were spent between two readings, across a wrap."""
    root = tmp_path / "root"
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text("Raspberry Pi 4 Model B Rev 1.5\0")
    package = root / "sys/class/powercap/intel-rapl:0"
    package.mkdir(parents=True)
    (package / "energy_uj").write_text("100\n")
    (package / "max_energy_range_uj").write_text("999\n")
    return root


def test_drawn_films_by_stage(tiny_model: Path, raspberry: Path) -> None:
    result = run_benchmark(model=tiny_model, films=4, root=raspberry)
    assert tuple(result.stages_ms) == STAGES
    assert all(milliseconds > 0 for milliseconds in result.stages_ms.values())
    assert sum(result.stages_ms.values()) == pytest.approx(result.film_ms, rel=0.5)
    assert (result.films, result.source, result.threads) == (4, "drawn", 1)
    # A common film of that size has 190 kB.
    assert 150_000 < result.median_bytes < 230_000 and DRAWN_SIDES == (1348, 1004)
    assert result.machine.startswith("Raspberry Pi 4 Model B Rev 1.5, ")
    assert result.joules_per_film == 0.0


def test_the_energy_is_of_the_films_and_not_of_what_shows_how_far_it_is(
    tiny_model: Path, raspberry: Path
) -> None:
    counter = raspberry / "sys/class/powercap/intel-rapl:0/energy_uj"

    @contextmanager
    def shown(what: str, steps: int | None) -> Iterator[Callable[[], None]]:
        counter.write_text("300\n")
        yield lambda: None
        counter.write_text("700\n")

    result = run_benchmark(model=tiny_model, films=1, root=raspberry, progress=shown)
    assert result.joules_per_film == 0.0


def test_a_folder_of_films(
    tiny_model: Path, tmp_path: Path, write_film: Callable[..., Path]
) -> None:
    write_film(tmp_path / "films" / "a.png")
    write_film(tmp_path / "films" / "deep" / "b.jpeg")
    (tmp_path / "films" / "notes.txt").write_text("no film")
    results = tmp_path / "films" / "edge-xray-results"
    write_film(results / "heatmaps" / f"a-{'0' * 12}.png")
    (results / RESULTS_MARK).touch()
    result = run_benchmark(tmp_path / "films", model=tiny_model, films=5, root=tmp_path)
    assert result.films == 5
    assert result.source == "2 files of the folder given"
    assert result.joules_per_film is None


def test_of_a_large_folder_only_the_films_that_are_timed_are_read(
    tiny_model: Path, tmp_path: Path, write_film: Callable[..., Path]
) -> None:
    films = [write_film(tmp_path / name) for name in ("a.png", "b.jpeg", "c.bmp")]
    result = run_benchmark(tmp_path, model=tiny_model, films=1)
    assert result.source == "1 file of the folder given"
    assert result.median_bytes == films[0].stat().st_size


def test_a_folder_without_films(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no film")
    with pytest.raises(UsageError, match="expected films to time"):
        run_benchmark(tmp_path, model=tiny_model, films=1)


def test_a_machine_that_tells_nothing_has_a_name(tmp_path: Path) -> None:
    assert "cores" in machine_name(tmp_path)


def test_a_machine_has_its_boards_name_or_its_processors(tmp_path: Path, raspberry: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Slow CPU @ 1 GHz\n")
    assert processor_name(tmp_path) == "Slow CPU @ 1 GHz"
    assert processor_name(raspberry) == "Raspberry Pi 4 Model B Rev 1.5"


@pytest.mark.parametrize("option", ["", "--json", "--row"])
def test_the_command(tiny_model: Path, option: str) -> None:
    app = typer.Typer()
    toolbox.register(app)
    arguments = ["benchmark", "--model", str(tiny_model), "--films", "2", *option.split()]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    if option == "--json":
        assert json.loads(result.stdout)["films"] == 2
    elif option == "--row":
        assert result.stdout.count("|") == 11
    else:
        assert "films a second" in result.stdout and "ms by stage" in result.stdout
