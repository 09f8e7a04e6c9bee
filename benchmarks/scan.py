"""How `edge-xray scan` compares, in one run: with what cannot be avoided, and with other ways.

    python benchmarks/scan.py --int8 M.tflite [--float F.tflite] [--keras K.keras] [--onnx O.onnx]
        [--films FOLDER] [--size clinic|small] [--count 100] [--rounds 5] [--json FILE]

Each contender is a process of its own and scores N films and then 2 N; the difference is what N films
cost, the rest is its start. Contenders take turns, so that what else the machine does falls on all of
them; figures are medians of the rounds. CPU is user and system time of the process and its children.
Needs Linux or macOS. Films are composites from samples/, or those of FOLDER, enlarged to a clinic's size
with grain like a detector's until a JPEG has about 190 kB.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CLINIC_SIDES: Final = (1348, 1004)
SMALL_SIDES: Final = (224, 224)
OURS: Final = {"edge-xray": 1, "edge-xray, 2 workers": 2}

NEEDS: Final = {
    "floor": ("int8", "ai_edge_litert"),
    "floor, 2 processes": ("int8", "ai_edge_litert"),
    "naive": ("float", "ai_edge_litert"),
    "keras": ("keras", "keras"),
    "openvino": ("int8", "openvino"),
    "onnxruntime": ("onnx", "onnxruntime"),
}
"""For each of contenders.py the model and the module without which it stays out."""


@dataclass(frozen=True)
class Spent:
    """What one run of a contender took.

    Attributes:
        wall: seconds.
        cpu: seconds of user and system time, children included.
        peak: largest resident memory of one process, in bytes.
    """

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Row:
    """One contender's medians.

    Attributes:
        name: the contender.
        films_per_second: without the start.
        cpu_ms_per_film: without the start.
        start_seconds: wall time of a run that is no film's.
        whole_films_per_second: N films, start included.
        peak_mib: largest resident memory.
    """

    name: str
    films_per_second: float
    cpu_ms_per_film: float
    start_seconds: float
    whole_films_per_second: float
    peak_mib: float


def make_films(folder: Path, sources: list[Path], sides: tuple[int, int], count: int) -> None:
    """Make films in a process of its own: what this one holds counts as every contender's peak."""
    script = str(ROOT / "benchmarks" / "clinic_films.py")
    words = [str(folder), str(count), str(sides[0]), str(sides[1])]
    run([sys.executable, script, *words, *(str(path) for path in sources[:count])])


def run(command: list[str]) -> Spent:
    """Run a process and say what it took.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile() as talk:
        start = time.perf_counter()
        actions = [(os.POSIX_SPAWN_DUP2, talk.fileno(), descriptor) for descriptor in (1, 2)]
        process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
        wall = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            talk.seek(0)
            raise RuntimeError(
                f"{' '.join(command)}\n{talk.read().decode(errors='replace')[-2000:]}"
            )
    scale = 1 if sys.platform == "darwin" else 1024
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale)


def command_of(name: str, folder: Path, models: dict[str, str], scratch: Path) -> list[str]:
    """The process of one contender over one folder."""
    if name not in OURS:
        script = str(ROOT / "benchmarks" / "contenders.py")
        return [sys.executable, script, name, str(folder), json.dumps(models)]
    results = scratch / "results"
    shutil.rmtree(results, ignore_errors=True)
    scan = [
        sys.executable,
        "-m",
        "edge_xray",
        "scan",
        str(folder),
        "--quiet",
        "-o",
        str(results),
    ]
    return [*scan, "--format", "csv", "--model", models["int8"], "--jobs", str(OURS[name])]


def contenders(models: dict[str, str]) -> list[str]:
    """Those whose model was given and whose library is installed."""
    others = [
        name
        for name, (model, module) in NEEDS.items()
        if model in models and importlib.util.find_spec(module)
    ]
    return [*OURS, *others]


def compare(
    names: list[str], once: Path, twice: Path, models: dict[str, str], count: int, rounds: int
) -> list[Row]:
    """Let all contenders take turns.

    Args:
        names: who.
        once: folder of `count` films.
        twice: folder of twice as many.
        models: by kind.
        count: films.
        rounds: how often.
    """
    spent: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(rounds):
            for name in names:
                pair = [
                    run(command_of(name, folder, models, Path(scratch))) for folder in (once, twice)
                ]
                spent[name].append((pair[0], pair[1]))
    rows = []
    for name, pairs in spent.items():
        wall = median(long.wall - short.wall for short, long in pairs) / count
        cpu = median(long.cpu - short.cpu for short, long in pairs) / count
        whole = median(short.wall for short, _ in pairs)
        rows.append(
            Row(
                name,
                1 / wall,
                cpu * 1e3,
                whole - wall * count,
                count / whole,
                max(long.peak for _, long in pairs) / 2**20,
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """As Markdown, with ratios to the floor and to ours."""
    ours = rows[0]
    lowest = next((row.cpu_ms_per_film for row in rows if row.name == "floor"), None)
    lines = [
        "| | films/s | CPU ms a film | of the floor | start s | films/s with start | ours is | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        floor_ratio = f"{row.cpu_ms_per_film / lowest:.2f} ×" if lowest else "-"
        lines.append(
            f"| {row.name} | {row.films_per_second:.1f} | {row.cpu_ms_per_film:.2f} | {floor_ratio} "
            f"| {row.start_seconds:.2f} | {row.whole_films_per_second:.1f} "
            f"| {ours.whole_films_per_second / row.whole_films_per_second:.1f} × | {row.peak_mib:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Make the films, let all take turns, print the table."""
    parser = argparse.ArgumentParser(description="edge-xray scan beside other ways.")
    for kind in ("int8", "float", "keras", "onnx"):
        parser.add_argument(f"--{kind}", help=f"the network as {kind}", required=kind == "int8")
    parser.add_argument("--films", type=Path, help="films to enlarge; default: the composites")
    parser.add_argument("--size", choices=("clinic", "small"), default="clinic")
    parser.add_argument("--count", type=int, default=100, help="N; with few, noise is all there is")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    if min(arguments.count, arguments.rounds) < 1:
        parser.error("--count and --rounds must be 1 or more")
    models = {
        kind: str(Path(value).resolve())
        for kind in ("int8", "float", "keras", "onnx")
        if (value := getattr(arguments, kind))
    }
    for kind, value in models.items():
        if not Path(value).exists():
            parser.error(f"--{kind} {value}: no such file")
    found = (
        sorted(path for path in arguments.films.rglob("*.jp*g"))
        if arguments.films
        else sorted((ROOT / "samples").glob("[bnv]*-[0-9].jpeg"))
    )
    if not found:
        parser.error(f"--films {arguments.films}: expected JPEGs in it, found none")
    sides = CLINIC_SIDES if arguments.size == "clinic" else SMALL_SIDES
    with tempfile.TemporaryDirectory(prefix="edge-xray-benchmark-") as scratch:
        once, twice = Path(scratch) / "once", Path(scratch) / "twice"
        try:
            make_films(once, found, sides, arguments.count)
            make_films(twice, found, sides, 2 * arguments.count)
            size = median(path.stat().st_size for path in twice.iterdir())
            rows = compare(
                contenders(models), once, twice, models, arguments.count, arguments.rounds
            )
        except RuntimeError as error:
            print(f"scan: {error}", file=sys.stderr)
            return 1
    print(
        f"{arguments.count} films of {sides[0]} x {sides[1]}, {size / 1000:.0f} kB each, median of "
        f"{arguments.rounds}; {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print(table(rows))
    if arguments.json:
        record = {"films": arguments.count, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
