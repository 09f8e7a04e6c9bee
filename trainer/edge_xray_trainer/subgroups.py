"""Subgroups of films: by file name, brightness, size and format, and by what a CSV says of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray.film_table import read_film_table
from edge_xray.plural import counted
from edge_xray_trainer.scoring import PreparedFilms

MAX_VALUES = 12
"""A column with more values (an age in days, an ID) makes no subgroups: `--help` says so too."""

_THIRDS = ("lowest third", "middle third", "highest third")


def subgroups_of(
    films: PreparedFilms,
    series: str,
    table: Path | None,
    note: Callable[[str], None],
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Divide films in every way that gives at least two subgroups.

    Args:
        films: the films.
        series: regular expression on file names; what its first group matches names the series.
        table: a CSV with the column ``path`` and others; each other column divides the films.
        note: told what of the table was left out.

    Yields:
        ``(what divides, which subgroup, (n,) bool)``.

    Raises:
        UsageError: the expression or the CSV cannot serve, or the CSV names none of the films.
    """
    facts = films.facts
    columns = _columns(films, table, note) if table is not None else {}
    for name, values in (
        ("series of the file name", _series(films, series)),
        ("brightness", _thirds([fact.brightness for fact in facts])),
        ("pixels in the file", _thirds([float(fact.width * fact.height) for fact in facts])),
        ("width to height", _thirds([fact.width / fact.height for fact in facts])),
        ("file format", [fact.format for fact in facts]),
        *columns.items(),
    ):
        known = list(dict.fromkeys(value for value in values if value))
        known.sort(key=lambda value: _THIRDS.index(value) if value in _THIRDS else 0)
        if not 2 <= len(known) <= MAX_VALUES:
            if name in columns:
                note(
                    f"The column {name!r} of --groups is left out: the films have {counted(len(known), 'value')} of it, "
                    f"and subgroups are made of 2 to {MAX_VALUES}."
                )
        else:
            own = np.array(values)
            for value in known:
                yield name, value, own == value


def _series(films: PreparedFilms, expression: str) -> list[str]:
    if not expression:
        return [""] * len(films.films)
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(f"--series {expression!r} is no regular expression ({error})") from error
    if not pattern.groups:
        raise UsageError(f"--series {expression!r}: put what names the series in parentheses")
    matches = [pattern.search(PurePosixPath(film.path).name) for film in films.films]
    return [match[1] or "" if match else "" for match in matches]


def _thirds(values: Sequence[float]) -> list[str]:
    """Which third each value lies in; none where the thirds do not differ."""
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    if not min(values) < low < high < max(values):
        return [""] * len(values)
    return [_THIRDS[int(value > low) + int(value > high)] for value in values]


def _columns(
    films: PreparedFilms, table: Path, note: Callable[[str], None]
) -> dict[str, list[str]]:
    """What each column of a table says of each film; empty where it says nothing."""
    _, rows = read_film_table(table)
    if not rows or "path" not in rows[0]:
        raise UsageError(f"{table}: expected the column path and others to divide the films by")
    by_path: dict[str, dict[str, str]] = {}
    for row in rows:
        if by_path.setdefault(row["path"], row) != row:
            raise UsageError(
                f"--groups {table}: names {row['path']} twice, with different values; expected one row a film"
            )
    paths = [film.path for film in films.films]
    without = sum(path not in by_path for path in paths)
    if without == len(paths):
        raise UsageError(
            f"--groups {table}: names none of the {len(paths)} films that are measured; expected paths as "
            f"{paths[0]!r} in the column path, got {rows[0]['path']!r}"
        )
    if without:
        note(
            f"{without} of {len(paths)} films have no row in --groups and are in none of its subgroups."
        )
    return {
        name: [(by_path.get(path, {}).get(name) or "").strip() for path in paths]
        for name in rows[0]
        if name and name != "path"
    }
