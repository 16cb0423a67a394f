"""What is known about byte code without compiling any: its format, its place, whether it can be had."""

from __future__ import annotations

BYTECODE_FORMAT = "1"
"""Goes into layer keys and names of packs; grows when the same source and interpreter give other bytes."""


def unsupported(version: str, cache_tag: str) -> str:
    """Say why this interpreter's byte code cannot be reproduced; empty where it can."""
    if not cache_tag.startswith("cpython-"):
        return f"byte code of {cache_tag or 'this interpreter'} is not known to be reproducible"
    if tuple(int(part) for part in version.split(".")[:2]) >= (3, 14):
        return f"byte code of Python {version} is not known to be reproducible"
    return ""


def pyc_path(source: str, cache_tag: str) -> str:
    """Return where the interpreter looks for a module's byte code (PEP 3147)."""
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{cache_tag}.pyc"
