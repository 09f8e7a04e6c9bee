"""What a data set is about: labels with their triage, the finding, the intended use.

Nothing here is about lungs but the defaults; a TOML file describes any other task::

    [task]
    finding = "tumour"
    negative = ["no_tumour"]
    modalities = ["MR"]
    summary = "Axial brain MRI slices of adults."

    [task.labels.glioma]
    triage = "urgent"
    advice = "Refer to neurosurgery today."
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from edge_xray.errors import ModelError, UsageError
from edge_xray.metadata import MOST_LABELS, IntendedUse, Label
from edge_xray.metadata_fields import TEXT, is_text
from edge_xray.no_finding import no_finding_among

CHEST_LABELS = (
    Label("normal", "none", "No sign of pneumonia found. Treat by what you see in the child."),
    Label("bacterial", "urgent", "Signs of bacterial pneumonia. Refer at once."),
    Label(
        "viral",
        "supportive",
        "Signs more like viral pneumonia; a film alone cannot tell. Supportive care; watch for worsening.",
    ),
)
"""Labels of the Guangzhou films in the order of the network's outputs."""

CHEST_USE = IntendedUse(
    summary="Frontal (AP) chest films of children of 1 to 5 years, for triage where no radiologist is.",
    not_for="Not for children under 1 year or from 6 years on, adults, PA or lateral views, CT, or to rule "
    "out tuberculosis or any other illness. Never the only ground for a decision.",
    body_part=("CHEST",),
    modalities=("CR", "DX", "RG"),
    views=("AP",),
    age_min_years=1.0,
    age_max_years=5.0,
)

LABEL_SETTINGS = ("triage", "advice")
"""What a table ``[task.labels.CLASS]`` may say."""

DICOM_WORDS = ("body_part", "modalities", "views")
"""Settings whose words a DICOM file is held against; its own are read in capitals."""

SETTINGS = ("finding", "negative", "labels", *(item.name for item in fields(IntendedUse)))
"""What the table ``[task]`` may say: of the labels, and of the intended use."""

OLDEST = 150
"""Years; an age above is a slip of the pen."""


@dataclass(frozen=True)
class Task:
    """What the labels of a data set mean.

    Attributes:
        labels: the classes, in the order of the network's outputs; negatives first.
        finding: what a positive film shows.
        intended_use: which films a model of this task may be asked about.
    """

    labels: tuple[Label, ...]
    finding: str
    intended_use: IntendedUse = field(default_factory=IntendedUse)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, in the order of the network's outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def positive(self) -> tuple[bool, ...]:
        """For each class, whether it is a finding."""
        return tuple(label.triage != "none" for label in self.labels)


def check_table(options: Mapping[str, Any] | None) -> None:
    """Check the names, types and words of a ``[task]`` table, before anything is read for it.

    Args:
        options: the table as TOML gives it; None for none.

    Raises:
        UsageError: names the setting, the value received and what was expected.
    """
    _expect_known("[task]", options or {}, SETTINGS)
    for name, value in (options or {}).items():
        if name in ("finding", "summary", "not_for"):
            _expect(isinstance(value, str), name, "a text", value)
            if name == "finding":
                fits = is_text(value) and value.strip()
                _expect(fits, name, f"a word at least, {TEXT}", value)
            _expect(is_text(value), name, TEXT, value)
        elif name == "negative":
            fits = isinstance(value, str) or _are_words(value)
            _expect(fits, name, "a class or a list of classes", value)
            _expect_different(name, [value] if isinstance(value, str) else value)
        elif name in DICOM_WORDS:
            _expect(_are_words(value), name, "a list of words", value)
        elif name in ("age_min_years", "age_max_years"):
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            _expect(fits and 0 <= value <= OLDEST, name, f"0 to {OLDEST}", value)
        else:
            _expect(isinstance(value, Mapping), name, "tables, [task.labels.CLASS]", value)
            _expect_different(name, list(value))
            for label, said in value.items():
                _check_label(label, said)
    youngest = (options or {}).get("age_min_years", 0)
    oldest = (options or {}).get("age_max_years", OLDEST)
    _expect(youngest <= oldest, "age_max_years", f"age_min_years, {youngest}, or more", oldest)


def _check_label(label: str, said: Any) -> None:
    """Check a table ``[task.labels.CLASS]``."""
    _expect(isinstance(said, Mapping), f"labels.{label}", "a table", said)
    _expect_known(f"[task.labels.{label}]", said, LABEL_SETTINGS)
    for key, word in said.items():
        _expect(is_text(word), f"labels.{label}.{key}", TEXT, word)
    if "triage" in said:
        try:
            Label(label, said["triage"], "")
        except ModelError as error:
            raise UsageError(f"[task.labels.{label}]: {error}") from error


def _are_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)


def _expect(fits: object, name: str, wanted: str, value: Any) -> None:
    if not fits:
        raise UsageError(f"[task] {name} must be {wanted}, got {value!r}")


def _expect_different(name: str, words: Sequence[str]) -> None:
    fits = len({word.lower() for word in words}) == len(words)
    _expect(fits, name, "different classes, in lower case too", list(words))


def _expect_known(table: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(
            f"{table} has unknown settings {unknown}; expected some of {', '.join(known)}"
        )


def task_for(found: Sequence[str], options: Mapping[str, Any] | None = None) -> Task:
    """Say what the classes of a folder mean.

    Args:
        found: class names of the folder.
        options: the ``[task]`` table of a TOML file, with class names in any case; see the module's docstring.

    Returns:
        The chest task if these are its labels and nothing else is said; else one made from the
        options, where every class that is not negative is ``urgent`` unless the options say otherwise.

    Raises:
        UsageError: an option is of the wrong type or names a class that is not there, or no class or every
            class calls for nothing.
    """
    check_table(options)
    names = sorted(set(found))
    if not 2 <= len(names) <= MOST_LABELS:
        raise UsageError(f"expected 2 to {MOST_LABELS} classes, got {len(names)}: {names}")
    if not options and set(names) == {label.name for label in CHEST_LABELS}:
        return Task(CHEST_LABELS, "pneumonia", CHEST_USE)
    settings = dict(options or {})
    described = {name.lower(): said for name, said in settings.pop("labels", {}).items()}
    settings |= {name: [*map(str.upper, settings.get(name, ()))] for name in DICOM_WORDS}
    finding = str(settings.pop("finding", "finding"))
    negative = _negatives(names, settings.pop("negative", None))
    unknown = sorted((set(described) | set(negative)) - set(names))
    if unknown:
        raise UsageError(f"[task] names {unknown}, which are no classes here; expected {names}")
    if len(negative) == len(names):
        raise UsageError(
            f"[task] negative names every class; at least one of {names} must be a finding"
        )
    labels = []
    for name in [*negative, *(name for name in names if name not in negative)]:
        said = described.get(name, {})
        triage = said.get("triage", "none" if name in negative else "urgent")
        words = said.get("advice", "No sign found." if triage == "none" else f"Signs of {name}.")
        labels.append(Label(name, triage, words))
    calls = [label.triage for label in labels]
    if "none" not in calls or set(calls) == {"none"}:
        words = ", ".join(f"{label.name}={label.triage}" for label in labels)
        raise UsageError(
            f"[task] one class at least must have the triage none and one another, got {words}"
        )
    return Task(tuple(labels), finding, IntendedUse.from_dict(settings))


def _negatives(names: Sequence[str], said: Any) -> list[str]:
    if said is not None:
        return [name.lower() for name in ([said] if isinstance(said, str) else said)]
    negative = list(no_finding_among(names))
    if not negative:
        raise UsageError(
            f"which of the classes {list(names)} means that nothing was found? Say it with --negative NAME"
        )
    return negative
