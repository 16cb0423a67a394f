"""Facts that a wheel's METADATA states for the bill of materials: licences, suppliers and required packages.

The wheel's author claims them, and nobody checks them. The image's manifest carries them, so that a bill of materials
can be made without the wheels. They are short, because every push sends the manifest (docs/decisions/0033).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from buildpack.app.lockfile import canonical_name
from buildpack.dataclass import dataclass

if TYPE_CHECKING:
    from email.message import Message

NEED = re.compile(
    r"(?:(?P<extra>[a-z0-9][a-z0-9-]*):)?(?P<name>[a-z0-9][a-z0-9-]*)(?:\[(?P<extras>[a-z0-9,-]+)\])?", re.ASCII
)
"""The form of each text in `About.requires`."""

_EXPRESSION = re.compile(r"[A-Za-z0-9.+:() -]{1,500}", re.ASCII)
"""The characters of an SPDX expression."""
_ADDRESS = re.compile(r'(?:"([^"]*)" ?|([^",<>]*))<([^@<>\s]+@[^@<>\s]+)>|([^@<>",\s]+@[^@<>",\s]+)')
_MAIL = re.compile(r"[^@<>\s]+@[^@<>\s]+")
_LONGEST = 100
"""Characters of a licence's or a supplier's name. A longer ``License`` is the licence's text."""
_LONGEST_LIST = 1000
"""Characters of a header that lists mail addresses."""
_MOST = 10
"""Licences, or suppliers, of one wheel."""
_MOST_REQUIRED = 4000
"""Characters of all required names together. The largest projects with extras have about as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Facts of one wheel, each empty if METADATA does not state it.

    `expression` is an SPDX licence expression; only without one there are `licences`, by name. `suppliers` are names
    and mail addresses; one of the two may be empty. `requires` are the packages that ``Requires-Dist`` names and whose
    markers hold on the target, in the form of `NEED`: the extra that asks for it if there is one, and the extras that
    are asked for.
    """

    expression: str = ""
    licences: tuple[str, ...] = ()
    suppliers: tuple[tuple[str, str], ...] = ()
    requires: tuple[str, ...] = ()

    def render(self) -> dict[str, Any]:
        """Return the facts that METADATA states as JSON values."""
        stated = {
            "expression": self.expression,
            "licences": list(self.licences),
            "suppliers": [list(supplier) for supplier in self.suppliers],
            "requires": " ".join(self.requires),
        }
        return {name: value for name, value in stated.items() if value}

    @classmethod
    def parse(cls, value: Any) -> About | None:
        """Read what `render` returned. None for anything else, and for values that no METADATA gives."""
        try:
            found = cls(
                expression=value.get("expression", ""),
                licences=tuple(value.get("licences", ())),
                suppliers=tuple((name, mail) for name, mail in value.get("suppliers", ())),
                requires=tuple(value.get("requires", "").split()),
            )
            return found if found.render() == value and found._is_plausible() else None
        except (AttributeError, TypeError, ValueError):
            return None

    def _is_plausible(self) -> bool:
        named = [*self.licences, *(name for name, _ in self.suppliers if name)]
        return (
            max(len(self.licences), len(self.suppliers)) <= _MOST
            and (not self.expression or _EXPRESSION.fullmatch(self.expression) is not None)
            and all(text and _short(text) == text for text in named)
            and all(any(pair) and all(isinstance(text, str) for text in pair) for pair in self.suppliers)
            and all(not mail or _address(mail) == mail for _, mail in self.suppliers)
            and within(self.requires) == self.requires
            and all(NEED.fullmatch(each) for each in self.requires)
        )


def read_about(metadata: Message) -> About:
    """Read the licences and suppliers that METADATA states (core metadata 1.0 to 2.4); `requires` stays empty.

    A licence is a ``License-Expression``, else a ``License`` of one short line, else the classifiers' names. Suppliers
    are the maintainers, else the authors.
    """
    expression = _stated(metadata, "License-Expression")
    if not _EXPRESSION.fullmatch(expression):
        expression = ""
    return About(
        expression=expression,
        licences=() if expression else _licences(metadata),
        suppliers=_suppliers(metadata, "Maintainer") or _suppliers(metadata, "Author"),
    )


def need(name: str, extras: Iterable[str], extra: str = "") -> str:
    """Return a required package in the form of `NEED`, with the extras asked of it; `extra` is the one that asks."""
    asked = ",".join(sorted(map(canonical_name, extras)))
    return f"{canonical_name(extra)}:" * bool(extra) + canonical_name(name) + f"[{asked}]" * bool(asked)


def parse_need(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the extra that asks, the package's name, and the extras asked of it."""
    found = NEED.fullmatch(text)
    assert found is not None, text
    return found["extra"] or "", found["name"], tuple(filter(None, (found["extras"] or "").split(",")))


def within(names: Iterable[str]) -> tuple[str, ...]:
    """Return as many names as fit into the manifest; names that no extra asks for come first."""
    kept: list[str] = []
    left = _MOST_REQUIRED
    for name in sorted(set(names), key=lambda name: (":" in name, name)):
        left -= len(name) + 1
        if left < 0:
            break
        kept.append(name)
    return tuple(kept)


def _stated(metadata: Message, header: str) -> str:
    """Return a header's text; empty if it is missing or ``UNKNOWN``, which old tools write instead of nothing."""
    found = str(metadata.get(header, "")).strip()
    return "" if found == "UNKNOWN" else found


def _short(text: str) -> str:
    """Return a name of one line without control characters; empty if it is not one."""
    text = text.strip()
    return text if len(text) <= _LONGEST and text.isprintable() else ""


def _licences(metadata: Message) -> tuple[str, ...]:
    stated = _short(_stated(metadata, "License"))
    if stated:
        return (stated,)
    classifiers = (str(each).split(" :: ") for each in metadata.get_all("Classifier") or ())
    # `License :: OSI Approved` alone names no licence.
    named = (_short(parts[-1]) for parts in classifiers if parts[0] == "License" and parts[-1] != "OSI Approved")
    return tuple(dict.fromkeys(filter(None, named)))[:_MOST]


def _suppliers(metadata: Message, role: str) -> tuple[tuple[str, str], ...]:
    """Read ``Maintainer`` or ``Author``, and the header of mail addresses, which may name other people."""
    name = _short(_stated(metadata, role))
    listed = " ".join(_stated(metadata, f"{role}-email").split())
    found = [
        (_short(quoted or plain), _address(mail or bare))
        for quoted, plain, mail, bare in (_ADDRESS.findall(listed) if len(listed) <= _LONGEST_LIST else ())
    ]
    if name and len(found) == 1 and found[0][0] in {"", name}:
        found = [(name, found[0][1])]
    elif name:
        found.insert(0, (name, ""))
    return tuple(dict.fromkeys(each for each in found if any(each)))[:_MOST]


def _address(mail: str) -> str:
    return mail if len(mail) <= _LONGEST and mail.isprintable() and _MAIL.fullmatch(mail) else ""
