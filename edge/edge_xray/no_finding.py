"""Which class of a folder means that nothing was found: one rule for trainer and converter."""

from __future__ import annotations

from collections.abc import Sequence

NO_FINDING_NAMES = frozenset(
    {"normal", "negative", "healthy", "none", "no_finding", "nofinding", "notumor", "notumour"}
)
"""Class names taken for "nothing found" when nobody says; in lower case, `_` for blank and hyphen."""

NO_FINDING_PREFIX = "no_"
"""Beginning of names taken for it where none of `NO_FINDING_NAMES` is there: ``no_tumour``."""


def no_finding_among(names: Sequence[str]) -> tuple[str, ...]:
    """The classes whose names say that nothing was found.

    Args:
        names: class names, in any case, with blanks, hyphens or underscores.

    Returns:
        Some of `names`, as they are and in their order; empty where no name says so: then a person must,
        for a guess may turn a disease into "no sign of a finding".
    """
    plain = {name: name.lower().replace("-", "_").replace(" ", "_") for name in names}
    known = tuple(name for name in names if plain[name] in NO_FINDING_NAMES)
    return known or tuple(name for name in names if plain[name].startswith(NO_FINDING_PREFIX))
