"""What the fields of a model's metadata may hold, by the types that they are annotated with.

Anybody can write a model file whose hashes are right. What passes here can be printed, compared and calculated
with, so that nothing behind it has to ask again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from reprlib import Repr
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from edge_xray.errors import ModelError

MOST_LEVELS: Final = 16
"""Lists and objects within each other in a free-form field; the trainer and the converter need three."""

SHOWN: Final = 60
"""Characters of a value that a message shows; of several values together three times as many."""

TEXT: Final = "text on one line, without control characters"
"""What `is_text` asks for, in words."""

_ALSO_TEXT: Final = frozenset("\u00a0\u2009\u202f\u3000\u200c\u200d\u200e\u200f")
"""Not printable to Python, and nothing but text: spaces that French and Japanese set, joiners of Persian and
Hindi, and the two marks of direction of Arabic and Hebrew."""

_ONE: Final = {
    str: TEXT,
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    NoneType: "null",
}
_SEVERAL: Final = {str: "words", float: "numbers"}

_REPR: Final = Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = SHOWN
_REPR.maxlevel = 3


def shown(value: object) -> str:
    """A value as a message shows it: on one line, cut short, control characters as escapes."""
    text = _REPR.repr(value).replace("\n", " ")
    return text if len(text) <= 3 * SHOWN else f"{text[: 3 * SHOWN]}…"


def is_text(value: object) -> bool:
    """Whether a value is text on one line that a terminal can be given: letters of any script, no controls."""
    return isinstance(value, str) and (
        value.isprintable() or all(char.isprintable() or char in _ALSO_TEXT for char in value)
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number that a float can hold; true and false are none."""
    # An integer may have more digits than a float can: compared, it is not converted.
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def read_fields(record: object, cls: type, required: Collection[str] = ()) -> dict[str, Any]:
    """The fields of one object of a model's metadata.

    Args:
        record: the object, as JSON gives it.
        cls: the dataclass that is made of it, and that checks what the fields hold.
        required: fields that must be there although `cls` has a default for them.

    Raises:
        ModelError: it is no object, has a field that `cls` has not, or lacks one that must be there.
    """
    if not isinstance(record, Mapping):
        raise ModelError(f"model metadata: {_words(cls)} must be an object, got {shown(record)}")
    known = {field.name for field in fields(cls)}
    unknown = sorted(set(record) - known, key=str)
    if unknown:
        raise ModelError(
            f"{_words(cls)}: has unknown fields {shown(unknown)}; expected {sorted(known)}"
        )
    for field in fields(cls):
        optional = field.default is not MISSING or field.default_factory is not MISSING
        if field.name not in record and (field.name in required or not optional):
            raise ModelError(f"{_words(cls)}: lacks the field {field.name}")
    return dict(record)


def as_record(value: object, make: Callable[[Any], Any]) -> Any:
    """What is made of an object; anything else as it is, for `check_fields` to refuse."""
    return make(value) if isinstance(value, Mapping) else value


def as_tuple(value: object) -> Any:
    """A list as the tuple that a record keeps; anything else as it is, for `check_fields` to refuse."""
    return tuple(value) if isinstance(value, list) else value


def each(value: object, make: Callable[[Any], Any]) -> Any:
    """What is made of each item of a list, as a tuple; anything else as it is."""
    items = as_tuple(value)
    return tuple(map(make, items)) if isinstance(items, tuple) else items


def check_fields(record: Any) -> None:
    """Hold every field of a record against its annotated type.

    ``str`` is text on one line (`is_text`), ``float`` any finite number and ``int`` a whole one (`is_number`), and
    a mapping holds nothing but these, true, false, null, lists and mappings.

    Args:
        record: a dataclass.

    Raises:
        ModelError: names the field, what was expected, and the value received.
    """
    for name, hint in _hints(record.__class__).items():
        value = getattr(record, name)
        if not _fits(value, hint):
            raise wrong(record, name, _expected(hint))
        if get_origin(hint) is Mapping:
            # A field that holds what its writer likes.
            _check_plain(value, f"{place_of(record)}: {name}", MOST_LEVELS)


def check_at_least_0(record: Any, *names: str) -> None:
    """Refuse a number below 0 in the fields named; None passes.

    Raises:
        ModelError: names the field and the value received.
    """
    for name in names:
        value = getattr(record, name)
        if value is not None and not value >= 0:
            raise wrong(record, name, "0 or more")


def check_not_blank(record: Any, *names: str) -> None:
    """Refuse text of nothing but spaces in the fields named.

    Raises:
        ModelError: names the field and the value received.
    """
    for name in names:
        if not getattr(record, name).strip():
            raise wrong(record, name, "a word at least")


def wrong(record: Any, name: str, expected: str) -> ModelError:
    """The error for a field that does not hold what it must.

    Args:
        record: a dataclass.
        name: of the field.
        expected: what it must hold, in words.
    """
    value = shown(getattr(record, name))
    return ModelError(f"{place_of(record)}: {name} must be {expected}, got {value}")


def place_of(record: Any) -> str:
    """A record in words: its kind, and the name that tells it from others."""
    name = getattr(record, "name", None)
    return f"{_words(type(record))} {shown(name)}" if name else _words(type(record))


def _words(cls: type) -> str:
    """``OperatingPoint`` as ``operating point``."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in cls.__name__).strip()


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _fits(value: object, hint: Any) -> bool:
    if hint is str:
        return is_text(value)
    if hint is float:
        return is_number(value)
    if hint is int:
        return isinstance(value, int) and is_number(value)
    kind, parts = get_origin(hint) or hint, get_args(hint)
    # From NumPy 2.5 on NDArray is a type alias, and isinstance takes what it stands for.
    kind = get_origin(getattr(kind, "__value__", None)) or kind
    if kind is Literal:
        return isinstance(value, str) and value in parts
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    return isinstance(value, kind)


def _expected(hint: Any) -> str:
    if hint in _ONE:
        return _ONE[hint]
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Literal:
        return f"{', '.join(parts[:-1])} or {parts[-1]}"
    if kind in (Union, UnionType):
        return " or ".join(map(_expected, parts))
    if kind is tuple:
        return f"a list of {_several(parts[0])}"
    return "an object"


def _several(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"lists of {_several(get_args(hint)[0])}"
    return _SEVERAL.get(hint) or f"{_words(hint)}s"


def _check_plain(value: object, path: str, levels: int) -> None:
    """Check that a value is plain data of which every word and number can be printed."""
    items: Iterator[tuple[object, object]]
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif value is None or isinstance(value, bool) or is_number(value) or is_text(value):
        return
    else:
        raise ModelError(f"{path} must be a number or {TEXT}, got {shown(value)}")
    if levels == 0:
        raise ModelError(
            f"{path} must be one of at most {MOST_LEVELS} objects and lists within each other, got {shown(value)}"
        )
    for key, item in items:
        if not isinstance(key, int) and not is_text(key):
            raise ModelError(f"{path}: a name in it must be {TEXT}, got {shown(key)}")
        _check_plain(item, f"{path}.{key}", levels - 1)
