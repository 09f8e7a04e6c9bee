"""The kit's exceptions, in one tree.

    EdgeXrayError
    ├── UsageError            wrong arguments or data that cannot serve        exit 2
    │   └── MissingExtraError an optional part of the kit is not installed     exit 2
    ├── ModelError            the model file cannot be used                    exit 2
    ├── OutputError           results could not be written                     exit 3
    │   └── FileInUseError    another program has the file open                exit 3
    └── FilmError             one film cannot be scored; becomes a row, never an exit

Only the command line catches `EdgeXrayError`, once. Every message says what happened, what was
expected with the value received, and how to mend it.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line; listed in the README."""

    OK = 0
    FAILED_CHECK = 1
    USAGE = 2
    OUTPUT = 3
    INTERRUPTED = 130


class EdgeXrayError(Exception):
    """Base of every error this kit raises on purpose."""

    exit_code: ExitCode = ExitCode.USAGE


class UsageError(EdgeXrayError):
    """Wrong arguments, or data that cannot serve the purpose."""


class MissingExtraError(UsageError):
    """An optional part of the kit is needed and not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        """Name the extra and what it was wanted for.

        Args:
            extra: name of the extra of the ``edge-xray`` distribution.
            purpose: what was asked for, as a noun phrase.
        """
        super().__init__(
            f"{purpose}: needs a part of the kit that is not installed. "
            f'In the folder of edge-xray, run: pip install ".[{extra}]"'
        )


class ModelError(EdgeXrayError):
    """The model file is missing, damaged, or not a model this kit can run."""


class OutputError(EdgeXrayError):
    """Results could not be written: disk full, read-only, or another scan or training owns the folder."""

    exit_code = ExitCode.OUTPUT


class FileInUseError(OutputError):
    """A file that is there may not be replaced: on Windows, because another program has it open."""


class FilmError(EdgeXrayError):
    """One film cannot be scored.

    Attributes:
        reason: a short, stable word for the row, from the `REASONS` of `edge_xray.decode`, `edge_xray.film_file` or
            `edge_xray.walk`.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Keep the stable reason beside the sentence for people.

        Args:
            reason: stable identifier, lower case with underscores.
            message: what happened and what to do, in plain words.
        """
        super().__init__(message)
        self.reason = reason


def out_of_memory(what: str) -> FilmError:
    """The error for a film for which the machine, not the film's own limit, had too little memory.

    Args:
        what: what came of it, as the beginning of a sentence.
    """
    return FilmError(
        "out_of_memory",
        f"{what}, most likely for want of memory; close other programs, and scan again with --jobs 1",
    )


def broken_data() -> FilmError:
    """The error for a film whose coded data give fewer pixels than it has, or more."""
    return FilmError(
        "damaged", "a part of the film's data is missing or broken; copy or export it again"
    )
