"""Compare the rows of one scan on two machines: python tests/compare_decisions.py THERE.csv HERE.csv WHERE."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path


def read(path: Path) -> dict[str, dict[str, str]]:
    """Rows by file name."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {Path(row["path"]).name: row for row in csv.DictReader(stream)}


def main(there: Path, here: Path, where: str) -> int:
    """Say how many decisions agree and how far probabilities are apart; 1 if a decision differs."""
    first, second = read(there), read(here)
    if set(first) != set(second) or not first:
        sys.stdout.write(f"{where}: other files were found: {sorted(set(first) ^ set(second))}\n")
        return 1
    decided = ("status", "label", "triage", "reason")
    changed = [
        name for name, row in first.items() if any(row[x] != second[name][x] for x in decided)
    ]
    for name in changed:
        words = [" ".join(rows[name][x] or "-" for x in decided) for rows in (first, second)]
        sys.stdout.write(f"{name}: there {words[0]}, here {words[1]}\n")
    scored = [
        name for name, row in first.items() if row["status"] == "scored" and name not in changed
    ]
    columns = [name for name in next(iter(first.values())) if name.startswith("p_")]
    apart = [
        abs(float(first[name][column]) - float(second[name][column]))
        for name in scored
        for column in columns
    ]
    largest = f"{max(apart):.6f}" if apart else "none scored"
    sys.stdout.write(
        f"{where}: {len(first) - len(changed)} of {len(first)} rows decided alike "
        f"({len(scored)} scored), largest difference of a probability {largest}\n"
    )
    return int(bool(changed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare the rows of one scan on two machines.")
    parser.add_argument("there", type=Path, help="CSV of edge-xray scan")
    parser.add_argument("here", type=Path, help="CSV of edge-xray scan")
    parser.add_argument("where", help="what the first machine is called")
    asked = parser.parse_args()
    for path in (asked.there, asked.here):
        if not path.is_file():
            parser.error(f"{path}: no such file")
    sys.exit(main(asked.there, asked.here, asked.where))
