"""Which distributions are installed; an optional part that is missing is said in one line with what to install."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from edge_xray.errors import MissingExtraError


def version_of(distribution: str) -> str:
    """Its version; empty if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def missing_modules(modules: Sequence[str]) -> list[str]:
    """Which of some top-level modules are not installed; nothing is imported."""
    return [name for name in modules if find_spec(name) is None]


def require(extra: str, purpose: str, modules: Sequence[str]) -> None:
    """Make sure that an extra is installed before a command starts its work.

    Args:
        extra: name of the extra of the ``edge-xray`` distribution.
        purpose: what was asked for, as a noun phrase: ``edge-xray train``.
        modules: top-level import names that the extra brings.

    Raises:
        MissingExtraError: one of them is not installed; the message says what to run.
    """
    if missing_modules(modules):
        raise MissingExtraError(extra, purpose)
