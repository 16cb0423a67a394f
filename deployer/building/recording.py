"""Write build records, which `record` describes.

The answer follows from the app's folder, the stack, the tool itself and the store. A record has the stamps of all of
them; the app's files are stamped before they are read. There is no record if a file was changed while the build ran or
just before: within the resolution of the file system's clock it could change again and look the same (git,
racy-git.txt).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.file_stamps import Stamp, stamp
from buildpack.app.git_inputs import watch_passed_over
from buildpack.errors import BuildpackError
from buildpack.oci.blobs import replace_file
from buildpack.oci.digest import sha256
from buildpack.oci.store import Store
from buildpack.python.build_settings import read_constraints
from deployer.building.record import FOLDER, Asked, day_of, fold, seal

if TYPE_CHECKING:
    from buildpack.oci.image import Image
    from buildpack.oci.index import ImageIndex
    from buildpack.steps.built import Built, BuiltImage
    from deployer.building.record import Answer

_Stamps = dict[str, Stamp | None]

_FINE = 100_000_000
_COARSE = 2_100_000_000
"""Nanoseconds that must have passed since a change: FAT counts pairs of seconds, ext4 the kernel's clock ticks."""
_SECOND = 1_000_000_000
_DAY = 86400

_TOOL = ("buildpack", "deployer", "deflate", "honcho", "installer")
"""Packages whose code decides the content of an image."""


def write_record(
    asked: Asked,
    made: Built,
    answer: Answer | None,
    *,
    store: Store,
    environ: Mapping[str, str],
    now: float,
    loaded: bool = False,
) -> None:
    """Remember the answer, unless it follows from an input that cannot be watched, or that was just changed.

    Without an answer the record only says that nothing changed. With `loaded` the answer is valid while an engine has
    the image. It is not an error if the record cannot be written.
    """
    with suppress(OSError, BuildpackError):
        inputs = _inputs_of_all(made.images, environ)
        if inputs is None or not all(is_settled(each, asked.begin) for group in inputs for each in group.values()):
            return
        results = _results(made.image, made.references, store)
        if results is None:
            return
        folder, image = str(made.images[0].app.folder), made.images[0].image
        # Its ID in an engine is that of its config in Docker and Podman, and of its manifest in containerd.
        ids = [image.config_digest.hex, image.digest.hex]
        record = {
            "answer": answer,
            "loaded": (made.references, ids) if loaded else None,
            "made": now,
            "day": day_of(asked.begin),
            "expires": min((one.stack.expires for one in made.images if one.stack.expires), default=None),
            "folder": folder,
            "real": os.path.realpath(folder),
            "witnesses": [[list(group), fold(group.values())] for group in (*inputs, results)],
        }
        _replace(store, Path(asked.path), seal(record), now=now)


def _inputs_of_all(builds: Sequence[BuiltImage], environ: Mapping[str, str]) -> tuple[_Stamps, _Stamps] | None:
    """Return the stamps of all images' inputs; None if an input cannot be watched, or changed between two builds."""
    app: _Stamps = {}
    others: _Stamps = {}
    for built in builds:
        inputs = _inputs(built, environ)
        if inputs is None:
            return None
        for found, made in zip(inputs, (app, others), strict=True):
            if any(made.get(path, each) != each for path, each in found.items()):
                return None
            made.update(found)
    return app, others


def _inputs(built: BuiltImage, environ: Mapping[str, str]) -> tuple[_Stamps, _Stamps] | None:
    """Return stamps of the app and of all other inputs of the image; None if an input cannot be watched."""
    app = built.app
    # The app's files lack a package that is installed from another folder. It is built again each time.
    if app.stamps is None or any(package.path for package in app.lock.packages):
        return None
    _, constraints = read_constraints(environ)
    passed_over = watch_passed_over(app.folder, app.source.passed_over, environ)
    if passed_over is None:
        return None
    others = {path: stamp(path) for path in (*built.stack.witnesses, *constraints, *_tool())}
    return {**passed_over, **app.stamps}, others


def _tool() -> Iterator[str]:
    """List the tool's own files, and the paths at which packages of the same names would hide them."""
    yield sys.executable
    for package in (*_TOOL, "certifi"):
        for place in sys.path:
            yield f"{place or '.'}/{package}"
            yield f"{place or '.'}/{package}.py"
    for package in _TOOL:
        spec = find_spec(package)
        assert spec is not None, package
        waiting = list(spec.submodule_search_locations or ())
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                found = [entry for entry in entries if entry.name != "__pycache__"]
            yield from (entry.path for entry in found)
            waiting += [entry.path for entry in found if entry.is_dir()]


def _results(kept: Image | ImageIndex, references: Sequence[str], store: Store) -> _Stamps | None:
    """Return stamps of the image's files in the store; None if another build has changed the store since."""
    sizes = {sha256(document): len(document) for document in kept.documents}
    sizes |= {layer.digest: layer.size for layer in kept.layers}
    stamps = {str(path): stamp(str(path)) for path in (store.root / "index.json", *map(store.path, sizes))}
    # The index is read after it was stamped. If another build replaces it in between, this record never answers.
    names = store.images()
    whole = all(store.has(digest, size) for digest, size in sizes.items())
    return stamps if whole and all(names.get(name) == kept.digest for name in references) else None


def is_settled(found: Stamp | None, begin: float) -> bool:
    """Return True if a file changed so long before `begin` that another change would show."""
    if found is None:
        return True
    _, _, modified, changed, *_ = found
    return all(time < int(begin * _SECOND) - (_FINE if time % _SECOND else _COARSE) for time in (modified, changed))


def _replace(store: Store, path: Path, content: bytes, *, now: float) -> None:
    """Write the record in one step, and remove records of other days and files of dead writers."""
    folder = store.folder(FOLDER)
    replace_file(path, content, folder, durable=False)
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            if entry.stat().st_mtime < now - _DAY:
                Path(entry.path).unlink()
