"""Run by the interpreter of the host stack: the byte code of its standard library, ready for the image.

Reads a JSON object on stdin: `pack`, the file to write, and `sources`, pairs of a path in the image and the
source on disk. Answers with a JSON list of path, offset and size of each pyc in the pack.

An installed interpreter has compiled its library already. Loading that and naming the image's path in it takes a
seventh of the time of compiling, and gives the same bytes: sets are written in sorted order from 3.11 on
(bpo-37596), and marshal's version 2 knows no references. What cannot be written that way is left out.

This file runs on every Python that a stack may have, and imports nothing of ours.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]

import _imp
import json
import marshal
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from types import CodeType

UNCHECKED_HASH = (0b01).to_bytes(4, "little")
SETS_ARE_SORTED = sys.version_info >= (3, 11)


def compiled_before(source: str, image_path: str) -> CodeType | None:
    """Return the code that lies beside the source, if the interpreter itself would use it (PEP 552)."""
    if not SETS_ARE_SORTED:
        return None
    try:
        cached = memoryview(Path(cache_from_source(source)).read_bytes())
        stat = Path(source).stat()
    except (OSError, NotImplementedError):
        return None
    stamp = int(stat.st_mtime).to_bytes(8, "little")[:4] + stat.st_size.to_bytes(8, "little")[:4]
    if bytes(cached[:16]) != MAGIC_NUMBER + bytes(4) + stamp:
        return None
    code: CodeType = marshal.loads(cached[16:])  # noqa: S302 - the interpreter trusts this file as well
    _imp._fix_co_filename(code, image_path)  # type: ignore[attr-defined]
    return code


def pyc(image_path: str, source: str) -> bytes | None:
    """Return the unchecked-hash pyc of one source file, or None where it has none."""
    text = Path(source).read_bytes()
    code = compiled_before(source, image_path)
    try:
        if code is None:
            code = compile(text, image_path, "exec", dont_inherit=True, optimize=0)
        return MAGIC_NUMBER + UNCHECKED_HASH + source_hash(text) + marshal.dumps(code, 2)
    except (SyntaxError, ValueError):
        return None


def main() -> None:
    """Write the pack and tell what is where."""
    task = json.load(sys.stdin)
    index = []
    with Path(task["pack"]).open("wb") as pack:
        for image_path, source in task["sources"]:
            body = pyc(image_path, source)
            if body is not None:
                index.append((cache_from_source(image_path), pack.tell(), len(body)))
                pack.write(body)
    json.dump(index, sys.stdout)


if __name__ == "__main__":
    main()
