"""Operands of `--memory`, `--cpus` and `--host`, parsed and checked."""

from __future__ import annotations

import re

from buildpack.bounded import LARGEST
from deployer.errors.engines import bad_cpus, bad_host, bad_memory

_MEMORY = re.compile(r"(\d{1,19}(?:\.\d{1,9})?) ?([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LEAST = 6 << 20


def parse_memory(text: str) -> int:
    """Read ``512m`` or ``1.5g`` as bytes (powers of 1024, as Docker has it); raises UsageError."""
    match = _MEMORY.fullmatch(text.strip())
    amount = int(float(match[1]) * 1024 ** _POWERS[match[2].lower()]) if match else 0
    if not _LEAST <= amount <= LARGEST:
        raise bad_memory(text)
    return amount


def parse_cpus(text: str) -> int:
    """Read a number of processors as billionths, which is what an engine takes; raises UsageError."""
    if not re.fullmatch(r"\d{1,4}(?:\.\d{1,9})?|\.\d{1,9}", text.strip(), re.ASCII) or not 0.01 <= float(text) <= 1024:
        raise bad_cpus(text)
    return round(float(text) * 1e9)


def parse_host(text: str) -> str:
    """Read an address of this machine; ``localhost`` is 127.0.0.1. Raises UsageError."""
    import ipaddress

    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise bad_host(text) from None
