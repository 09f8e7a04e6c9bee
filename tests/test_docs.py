"""The docs say what the program does: commands, options, exit codes, columns, links."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_xray.cli import main
from edge_xray.errors import ExitCode
from edge_xray.film_table import films_of_folder
from edge_xray.metadata import DISCLAIMER

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("samples/*.md"),
        *ROOT.glob("models/*.md"),
    )
    if path.is_file()
)
COMMAND = re.compile(r"`edge-xray ([a-z][a-z-]*(?: build)?)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"```.*?```", re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def without_fences(text: str) -> str:
    return FENCE.sub("", text)


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_fences(path.read_text(encoding="utf-8")), re.M)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"`", "", heading)).lower() for heading in headings)
    return {re.sub(r"\s", "-", heading.strip()) for heading in plain}


def table_under(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    section = text.split(heading, 1)[1]
    lines = [line for line in section.splitlines() if line]
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(without_fences(page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert ROOT in (target, *target.parents), f"{page.name}: {link} leads out of the repository"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_pictures_fetch_nothing_and_are_shown() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (ROOT / "docs" / "pictures").iterdir():
        assert f"pictures/{picture.name}" in pages, picture.name
        if picture.suffix == ".svg":
            text = picture.read_text(encoding="utf-8")
            assert "url(http" not in text and "<image" not in text and "<script" not in text


def test_every_help_text_is_the_programs_own() -> None:
    finished = subprocess.run(
        [sys.executable, "docs/make_reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_a_narrow_terminal_shows_the_whole_names_of_options(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = read("docs/cli.md")
    sections = re.findall(r"^## edge-xray ([^\n]+)\n\n```text\n(.*?)\n```", text, re.M | re.S)
    assert len(sections) > 12
    for command, section in sections:
        options = re.findall(r"^│[ *]+(--[a-z-]+)", section, re.M)
        assert main([*command.split(), "--help"]) == ExitCode.OK
        shown = capsys.readouterr().out
        for option in options:
            assert re.search(rf"{option}(?![a-z-])", shown), f"edge-xray {command}: {option}"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_does_not_take_what_the_docs_put_into_the_repository(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    shown = ("films/a.jpeg", "DATA/normal/a.jpeg", "chest_xray/train/a.jpeg", "audit/audit.html")
    made = (
        "mine.parity.html",
        "mine.tflite",
        "edge-xray-parity.html",
        "edge-xray-kit.zip",
        "xray/bin/python",
    )
    for name in (*shown, *made, "models/mine.parity.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    listed = ["git", "ls-files", "--others", "--exclude-standard"]
    taken = subprocess.run(listed, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert taken.split() == [".gitignore", "models/mine.parity.html"]


def test_commands_named_in_the_docs_exist() -> None:
    known = set(re.findall(r"^## edge-xray (.+)$", read("docs/cli.md"), re.M))
    for page in PAGES:
        for words in COMMAND.findall(page.read_text(encoding="utf-8")):
            assert words in known or words.split()[0] in known, f"{page.name}: edge-xray {words}"


def test_options_named_beside_a_command_exist() -> None:
    text = read("docs/cli.md")
    sections = dict(re.findall(r"^## edge-xray ([^\n]+)\n\n```text\n(.*?)\n```", text, re.M | re.S))
    for page in PAGES:
        for block in re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = re.sub(r"^\S*/", "", line.partition(" | ")[0]).split()
                if not words or words[0] != "edge-xray":
                    continue
                two = " ".join(words[1:3])
                section = sections.get(two) or sections.get(words[1])
                assert section, f"{page.name}: {line}"
                for option in words[2:]:
                    if option.startswith("-"):
                        assert re.search(rf"(?<!\S){option}\b", section), f"{page.name}: {line}"


def test_make_commands_named_in_the_docs_exist() -> None:
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(
            r"(?:^|`)make (?:PYTHON=\S+ )?([a-z][a-z-]*)(?=[`\n])", text, re.M
        ):
            assert target in targets, f"{page.name} names `make {target}`"
    assert {"demo", "test"} <= set(re.findall(r"^make (\S+)$", read("README.md"), re.M))


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python-of-another-version"
    for version, goal, words in (
        ("3, 14", "test", "needs 3.10 to 3.13. Name one: make PYTHON=python3.11 test"),
        ("3, 9", "demo", "needs 3.10 or newer. Name one: make PYTHON=python3.11 demo"),
    ):
        pretend = f"import sys; sys.version_info = ({version}, 0); $2"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}"\n')
        python.chmod(0o755)
        finished = subprocess.run(
            ["make", f"PYTHON={python}", goal], cwd=tmp_path, capture_output=True, text=True
        )
        assert finished.returncode == 2
        assert words in finished.stderr


def test_the_exit_codes_are_those_of_the_program() -> None:
    rows = table_under(read("README.md"), "### Exit codes")
    assert {(int(code), name.strip("`")) for code, name, _ in rows} == {
        (int(code), code.name) for code in ExitCode
    }


def test_the_csv_columns_are_those_of_a_scan(tiny_model: Path, tmp_path: Path) -> None:
    rows = table_under(read("README.md"), "### The CSV")
    documented = [name for cell, _ in rows for name in re.findall(r"`([a-z_0-9]+)`", cell)]
    (tmp_path / "note.txt").write_text("no film")
    scan = ["-m", "edge_xray", "scan", str(tmp_path), "--format", "csv"]
    finished = subprocess.run(
        [sys.executable, *scan, "--model", str(tiny_model)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    columns = finished.stdout.splitlines()[0].split(",")
    assert columns[: len(documented)] == documented


def test_a_flat_folder_with_a_csv_of_labels_becomes_one_that_is_read(
    tmp_path: Path, write_film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["Image Index,Finding Labels,Patient ID"]
    for place, label in enumerate(("No Finding", "Mass", "Mass")):
        write_film(tmp_path / "images" / f"{place}.png", "normal", place)
        rows.append(f"{place}.png,{label},{place // 2}")
    (tmp_path / "Data_Entry.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    exec(read("docs/engineer.md").split("```python\n")[1].split("```")[0], {})
    films = films_of_folder(tmp_path / "DATA", tmp_path / "patients.csv")
    assert [(film.label, film.patient) for film in films] == [
        ("mass", "0"),
        ("mass", "1"),
        ("no finding", "0"),
    ]


def test_what_the_clinical_lead_is_told_is_what_was_measured() -> None:
    evaluation = json.loads(read("models/edge-xray-lite0.evaluation.json"))
    assert evaluation["classes"]["names"] == ["normal", "bacterial", "viral"]
    normal, bacterial, viral = table = evaluation["classes"]["confusion"]
    missed, sick = bacterial[0] + viral[0], sum(bacterial) + sum(viral)
    called_viral = sum(row[2] for row in table)
    words = " ".join(read("docs/clinical-lead.md").split())
    assert f"missed {missed} of {sick} pneumonias" in words
    assert f"called {sum(normal[1:])} of {sum(normal)} normal films sick" in words
    assert f"Of {sum(viral)} films of a viral pneumonia it called {viral[2]} viral" in words
    assert f"of {called_viral} films that it called viral, {bacterial[2]} were" in words


def test_what_the_readme_promises_is_what_was_measured() -> None:
    evaluation = json.loads(read("models/edge-xray-lite0.evaluation.json"))
    words = " ".join(read("README.md").split())
    assert f"Of {evaluation['data']['films']} films that it had not learned from" in words
    for name, end in (("sensitivity", "of the pneumonias"), ("specificity", "of the normal films")):
        value, low, high = (100 * evaluation["test"][name][key] for key in ("value", "low", "high"))
        assert re.search(rf"{value:.1f} % \({low:.1f} to {high:.1f}\) {end}", words), name


def test_the_seeds_in_the_design_are_those_that_were_measured() -> None:
    table = table_under(read("docs/design.md"), "### The seed is chosen on validation")
    runs = json.loads(read("models/edge-xray-lite0.seeds.json"))["runs"]
    assert len(table) == len(runs)
    for (_, _, *said), run in zip(table, runs, strict=True):
        test, classes = run["test"], run["class_accuracy"]["value"]
        areas = (test["auc"], run["pairs"]["bacterial vs viral"], run["border"]["auc"])
        auc, pair, border = (f"{area['value']:.3f}" for area in areas)
        ece = f"{run['calibration_error']['value']:.3f}"
        assert said == [
            auc,
            f"{test['accuracy']['value']:.1%}",
            f"{classes:.1%}",
            pair,
            ece,
            border,
        ]


def test_what_the_nurse_is_told_of_missed_films_is_what_was_measured() -> None:
    _, bacterial, viral = json.loads(read("models/edge-xray-lite0.evaluation.json"))["classes"][
        "confusion"
    ]
    one_in = (sum(bacterial) + sum(viral)) / (bacterial[0] + viral[0])
    assert round(one_in) == 18
    assert "misses about one pneumonia in eighteen" in read("docs/clinic.md")


def test_what_the_nurse_is_told_of_the_wrong_kind_is_what_was_measured() -> None:
    _, bacterial, viral = json.loads(read("models/edge-xray-lite0.evaluation.json"))["classes"][
        "confusion"
    ]
    found = sum(bacterial[1:]) + sum(viral[1:])
    assert round(found / (bacterial[2] + viral[1])) == 5
    words = " ".join(read("docs/clinic.md").split())
    assert "of five pneumonias that the kit found, it named the wrong kind for one" in words


def test_what_the_nurse_is_told_of_rare_numbers_is_what_was_measured() -> None:
    rows = re.findall(
        r"\| stated (0\.\d\d) \| (\d\.\d{3}) .*\| (\d+) \|",
        read("models/edge-xray-lite0.evaluation.md"),
    )
    rare = [
        (float(seen), int(films)) for stated, seen, films in rows if 0.13 <= float(stated) <= 0.47
    ]
    films = sum(count for _, count in rare)
    sick = round(sum(seen * count for seen, count in rare))
    words = " ".join(read("docs/clinic.md").split())
    assert "Numbers between 13 % and 47 % are rare" in words
    assert f"of {films} films with such a number where it was tried, {sick} showed" in words


def test_what_is_said_of_bacterial_against_viral_is_what_was_measured() -> None:
    evaluation = json.loads(read("models/edge-xray-lite0.evaluation.json"))
    pair = evaluation["classes"]["pairs"]["bacterial vs viral"]
    words = " ".join(read("docs/data.md").split())
    assert f"{pair['value']:.3f} ({pair['low']:.3f} to {pair['high']:.3f})" in words


def test_what_is_said_of_patients_with_many_films_is_so() -> None:
    films = json.loads(read("models/split.json"))["films"]
    counts = sorted(Counter(film["patient"] for film in films).values(), reverse=True)
    most = sum(counts[: round(0.05 * len(counts))]) / len(films)
    words = " ".join(read("docs/data.md").split())
    assert f"Of {len(counts):,} patient numbers {counts.count(1):,} have one film" in words
    assert f"the 5 % with most have {100 * most:.0f} % of all films" in words


@pytest.mark.parametrize("name", ["docs/data.md", "docs/devices.md"])
def test_figures_that_no_report_holds_are_of_the_models_that_are_shipped(name: str) -> None:
    index = json.loads(read("models/models.json"))
    shipped = {model["sha256"][:12] for model in index["models"].values()}
    named = re.findall(r"\b[0-9a-f]{12}\b", read(name))
    assert named
    assert set(named) <= shipped


@pytest.mark.parametrize("name", ["README.md", "docs/clinic.md", "docs/clinical-lead.md"])
def test_what_people_read_says_once_what_it_is_not(name: str) -> None:
    assert read(name).count(DISCLAIMER) == 1
