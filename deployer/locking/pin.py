"""Pins the stack's digest in deploy.toml."""

from __future__ import annotations

from pathlib import Path


def pin_stack(folder: Path, reference: str) -> bool:
    """Write `reference`, with its digest, as ``stack`` into deploy.toml; tell whether that changed anything.

    Comments and everything else stay as they are. The file is replaced as a whole.
    """
    import tomlkit

    from buildpack.app.textfile import read_text
    from deployer.locking.lock import replace_file

    path = folder / "deploy.toml"
    document = tomlkit.parse(read_text(folder, path.name) or "")
    if document.get("stack") == reference:
        return False
    document["stack"] = reference
    replace_file(path, document.as_string().encode())
    return True
