"""Amounts as people write them: bytes and times."""

from __future__ import annotations

import re

from deployer.errors.commands import bad_age, bad_size

_SIZES = {
    "": 1,
    "b": 1,
    **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)", re.ASCII)


def parse_size(text: str, option: str) -> int:
    """Read ``2GB``, ``500MB`` (powers of 1000) or ``2GiB`` (of 1024); bytes without a unit. Raises UsageError."""
    match = _AMOUNT.fullmatch(text.strip().lower())
    if match is None or match[2] not in _SIZES:
        raise bad_size(option, text)
    return int(float(match[1]) * _SIZES[match[2]])


def parse_age(text: str, option: str) -> float:
    """Read ``7d``, ``12h``, ``30m``, ``45s`` or ``2w``; in seconds. Raises UsageError."""
    match = _AMOUNT.fullmatch(text.strip().lower())
    if match is None or match[2] not in _AGES:
        raise bad_age(option, text)
    return float(match[1]) * _AGES[match[2]]
