"""What an audit found, in sentences: what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_xray.plural import counted
from edge_xray.walk import printable
from edge_xray_trainer.audit import Audit, CopyGroup
from edge_xray_trainer.audit_films import AuditedFilm
from edge_xray_trainer.tables import cell_text

NAMED = 5
"""Paths or patients that a sentence names before it counts the rest."""

SHORTCUT_WARNING = 0.6
"""The border's AUC from which a warning is due: a sure one if its interval lies above, none if it lies below; chance is
0.5."""

ALIKE = "one patient, one class"
UNALIKE = "one patient, two classes"


@dataclass(frozen=True)
class Finding:
    """One sentence of what was found.

    Attributes:
        kind: ``leak`` spoils every figure measured on the split, ``warning`` may mislead, ``good``
            was looked for and not found.
        text: what, and what to do about it.
    """

    kind: Literal["leak", "warning", "good"]
    text: str


def findings_of(audit: Audit) -> list[Finding]:
    """What a reader must know, the worst first."""
    found = [*_leaks(audit), *_lacking(audit), *_films(audit), *_shortcuts(audit)]
    order = ("leak", "warning", "good")
    return sorted(found, key=lambda finding: order.index(finding.kind))


def _named(names: Sequence[str], shown: Callable[[str], str] = printable) -> str:
    rest = len(names) - NAMED
    return ", ".join(map(shown, names[:NAMED])) + (f" and {rest} more" if rest > 0 else "")


def _named_copies(
    audit: Audit, groups: Sequence[CopyGroup], of: Callable[[AuditedFilm], str | None]
) -> str:
    """Two copies of each group that differ in something that is known of both."""
    what = {film.path: of(film) for film in audit.films}
    pairs = []
    for group in groups:
        known = [path for path in group.paths if what[path] is not None]
        other = next(path for path in known if what[path] != what[known[0]])
        pairs.append(f"{known[0]} = {other}")
    return _named(pairs)


def _leaks(audit: Audit) -> Iterator[Finding]:
    if audit.split_patients:
        yield Finding(
            "leak",
            f"{counted(len(audit.split_patients), 'patient', 'has', 'have')} films in more than one part: "
            f"{_named(list(audit.split_patients))}. Split again by patient: edge-xray split.",
        )
    if audit.split_copies:
        named = _named_copies(audit, audit.split_copies, lambda film: film.part)
        yield Finding(
            "leak",
            f"{counted(len(audit.split_copies), 'film', 'has', 'have')} copies in another part: {named}. "
            "Split again: edge-xray split keeps copies together.",
        )
    if not audit.leaks and len(audit.parts) > 1:
        patient = "known patient" if audit.unknown_patients else "patient"
        yield Finding("good", f"No {patient} and no copy of a film stands in two parts.")


def _lacking(audit: Audit) -> Iterator[Finding]:
    for part in audit.parts:
        lacking = [label for label, own in audit.classes.items() if not own.films.get(part)]
        if lacking:
            yield Finding(
                "warning",
                f"The part {part} has no film of {', '.join(lacking)}: it can neither teach nor measure "
                "what it lacks.",
            )


def _films(audit: Audit) -> Iterator[Finding]:
    if audit.damaged:
        yield Finding(
            "warning",
            f"{counted(len(audit.damaged), 'file')} cannot be read: {_named(list(audit.damaged))}. Mend or "
            "remove them.",
        )
    if audit.left_out:
        yield Finding(
            "warning",
            f"Left out of the class folders, as no films by ending and content: "
            f"{counted(len(audit.left_out), 'file')}, {_named(audit.left_out, str)}.",
        )
    if audit.changed:
        yield Finding(
            "warning",
            f"{counted(len(audit.changed), 'film', 'is', 'are')} missing or changed since the split: "
            f"{_named(audit.changed)}. Split again.",
        )
    if audit.blank:
        yield Finding(
            "warning",
            f"{counted(len(audit.blank), 'film', 'shows', 'show')} next to nothing: {_named(audit.blank)}. Such films teach nothing; "
            "copies are not looked for among them.",
        )
    in_colour = sum(film.look is not None and film.look.in_colour for film in audit.films)
    if in_colour:
        yield Finding(
            "warning",
            f"{counted(in_colour, 'film', 'is', 'are')} in colour, and a network sees greys unless it is trained with --channels 3. "
            "Copies and shortcuts are looked for in the greys.",
        )
    contradicting = [group for group in audit.copies if len(group.labels) > 1]
    if contradicting:
        named = _named_copies(audit, contradicting, lambda film: film.label)
        wrong = "One of the labels is wrong."
        if not all(group.exact for group in contradicting):
            wrong = "Look at them: where two are one film, one of the labels is wrong."
        yield Finding(
            "warning",
            f"{counted(len(contradicting), 'film', 'has', 'have')} copies under another label: {named}. {wrong}",
        )
    shared = [group for group in audit.copies if len(group.known_patients) > 1]
    if shared:
        named = _named_copies(audit, shared, lambda film: film.patient or None)
        yield Finding(
            "warning",
            f"{counted(len(shared), 'film', 'has', 'have')} copies in another patient's name: {named}. They are "
            "kept together in a split.",
        )
    if audit.copies:
        count = sum(len(group.paths) - 1 for group in audit.copies)
        words = counted(
            count, "film", "is a copy of another and counts", "are copies of others and count"
        )
        yield Finding("warning", f"{words} twice in training.")
    else:
        yield Finding("good", "No film is a copy of another.")
    if audit.unknown_patients:
        yield Finding(
            "warning",
            f"The patient of {audit.unknown_patients} of {len(audit.films)} films is not known, so "
            "films of one patient may stand in two parts. Give a CSV: --patients.",
        )
    if audit.mixed_patients:
        yield Finding("warning", _mixed(audit))


def _mixed(audit: Audit) -> str:
    text = f"{counted(len(audit.mixed_patients), 'patient', 'has', 'have')} films of more than one class."
    alike = audit.likeness
    if UNALIKE in alike and "two patients" in alike:
        mixed, strangers = alike[UNALIKE], alike["two patients"]
        same = alike.get(ALIKE)
        # Few films are no less alike than films of one patient either; of one patient there is no interval.
        if mixed.low <= strangers.high and (same is None or mixed.high < same.low):
            text += (
                " Their films in two classes are no more alike than those of two patients "
                f"(correlation {cell_text(mixed)} against {cell_text(strangers)}): each class seems to "
                "be numbered on its own, so that one number is one patient in each. Keeping them "
                "together in a split does no harm."
            )
    return text


def _shortcuts(audit: Audit) -> Iterator[Finding]:
    if not audit.border:
        read = {film.label for film in audit.films if film.look is not None}
        why = (
            "a class has films of one patient only"
            if len(read) > 1
            else "it takes films of two classes that can be read"
        )
        yield Finding("warning", f"How much the border gives away was not measured: {why}.")
        return
    sure = {name: own for name, own in audit.border.items() if own.low >= SHORTCUT_WARNING}
    # One without an interval is among these.
    unsure = {name: own for name, own in audit.border.items() if not own.high <= SHORTCUT_WARNING}
    name, worst = max((sure or unsure or audit.border).items(), key=lambda item: item[1].value)
    if sure:
        yield Finding(
            "warning",
            f"From the border alone (two of 224 pixels a side) {name} is told from the rest with an AUC "
            f"of {cell_text(worst)}. A network can learn that instead of the finding: train with crops, "
            "shifts and border dropout, and look at the shortcut table of edge-xray evaluate.",
        )
    elif unsure:
        yield Finding(
            "warning",
            f"The films are too few to say what the border alone tells: AUC {cell_text(worst)} for {name}.",
        )
    else:
        yield Finding("good", f"The border alone tells little: AUC {cell_text(worst)} for {name}.")
