"""Finds what somebody meant who mistyped a word: the one known word at a small distance, or none."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 40
_PREFIX = 3


def find_nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like `word`; None if all are too different to be meant.

    One slip of the keyboard is allowed for every three letters: a letter too many, missing, wrong, or swapped with the
    next one. A beginning of at least three letters counts too. Case and dashes at the beginning make no difference.
    """
    plain = word.lstrip("-").lower()
    if not plain or len(plain) > _LONGEST:
        return None
    best: tuple[int, str] | None = None
    for each in known:
        other = each.lstrip("-").lower()
        distance = 0 if len(plain) >= _PREFIX and other.startswith(plain) else _distance(plain, other)
        if (
            distance <= max(1, len(plain) // 3)
            and distance < min(len(plain), len(other))
            and (best is None or distance < best[0])
        ):
            best = distance, each
    return best[1] if best else None


def _distance(word: str, other: str) -> int:
    """Count the slips between two words (optimal string alignment)."""
    if abs(len(word) - len(other)) > len(word) // 3 + 1:
        return len(word) + len(other)
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(word, start=1):
        before, last, row = row, before, [at]
        for to, wanted in enumerate(other, start=1):
            cost = min(before[to] + 1, row[-1] + 1, before[to - 1] + (letter != wanted))
            if at > 1 and to > 1 and letter == other[to - 2] and word[at - 2] == wanted:
                cost = min(cost, last[to - 2] + 1)
            row.append(cost)
    return row[-1]
