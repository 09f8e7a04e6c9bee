"""Numbers of things in words for people."""

from __future__ import annotations


def counted(number: int, what: str, one: str = "", more: str = "") -> str:
    """A number of things in words, perhaps with what one does, or more do: ``1 film``, ``2 films have``.

    Args:
        number: how many, 0 or more.
        what: one of them; more get an ``s``.
        one: said of one behind it.
        more: said of any other number.
    """
    words = f"{number} {what} {one}" if number == 1 else f"{number} {what}s {more}"
    return words.rstrip()
