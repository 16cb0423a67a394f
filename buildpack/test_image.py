"""The image that tests run in: the very layers that were built, and the lock's develop packages on top of them.

It comes after a build and is thrown away after the tests: it has no name in the store and is never pushed. What is
tested is thus bit for bit what is shipped, and never an image with other layers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from buildpack.app.read import App
from buildpack.app.source import IGNORE_FILES, SourceFile, read_source
from buildpack.build import Built
from buildpack.dataclass import replace
from buildpack.oci.entry import EPOCH, Entry
from buildpack.oci.image import Image, Layer, assemble
from buildpack.oci.layer import LAYER_FORMAT
from buildpack.plan import (
    LAUNCH_FILE,
    Bytecode,
    Group,
    PlannedLayer,
    app_key,
    dependency_key,
    group_members,
    members_of,
)
from buildpack.python.build_settings import read_settings
from buildpack.session import Session
from buildpack.steps import assembly
from buildpack.steps.install_target import Resolution, layout_for
from buildpack.steps.planning import target_on
from buildpack.steps.resolution import resolve
from buildpack.steps.stack_compiler import StackCompiler

_NO_BYTECODE = Bytecode(python="", format="")


def held_back(app: App, environ: Mapping[str, str]) -> tuple[SourceFile, ...]:
    """Return the files that only ``.dockerignore`` and ``.slugignore`` keep out of the image: often the tests."""
    if not any(os.path.isfile(app.folder / name) for name in IGNORE_FILES):
        return ()
    # Not compared with `app.source`, from which files with a credential are withheld as well.
    kept = {file.path for file in read_source(app.folder, environ=environ).files}
    everything = read_source(app.folder, environ=environ, ignore_files=())
    return tuple(file for file in everything.files if file.path not in kept)


def with_develop(built: Built, session: Session) -> Image:
    """Return the built image with more on top: the develop packages, and the files that are `held_back`.

    The layers of the built image need not be in the store; those that are added are. Raises BuildpackError.
    """
    added = [
        *_packages(built, session),
        *_files(built, session),
    ]
    body: Any = json.loads(built.image.config)
    return assemble(
        [*built.image.layers, *added],
        platform=built.stack.platform,
        created=body["created"],
        config=body["config"],
        annotations={},
    )


def _packages(built: Built, session: Session) -> Sequence[Layer]:
    app, stack = built.app, built.stack
    with StackCompiler(stack, session) as compiler:
        target = target_on(compiler, read_settings(app, session.environ), session)
        # Tests run once: compiling what they need takes as long as importing it uncompiled.
        target = replace(target, on_fetched=lambda _wheel, _contents: None, missing_libraries=lambda _needed: ())
        found = resolve(app.lock, app.lock.only_develop, target, session, folder=app.folder)
        resolution = _beside(found, built)
        shelf = assembly.WheelShelf(resolution.wheels, app.lock.sources, session)

        def entries(planned: PlannedLayer) -> list[Entry]:
            layout = layout_for(stack)
            return assembly.dependency_entries(planned, shelf, layout=layout, compiler=None)

        return _make([_planned(built, group) for group in group_members(resolution.members)], entries, session)


def _beside(resolution: Resolution, built: Built) -> Resolution:
    """Leave out what the image has already: a resolution of its own may add setuptools once more."""
    there = {member.name for layer in built.image.layers for member in members_of(layer)}
    wheels = tuple(wheel for wheel in resolution.wheels if wheel.name not in there)
    return Resolution(wheels=wheels, warnings=(), shared=resolution.shared)


def _planned(built: Built, group: Group) -> PlannedLayer:
    key = dependency_key(
        group,
        layer_format=_layer_format(),
        python=built.stack.python.series,
        bytecode=_NO_BYTECODE,
    )
    return PlannedLayer(kind="dependencies", slot=f"develop {group.slot}", key=key, members=group.members)


def _files(built: Built, session: Session) -> Sequence[Layer]:
    files = held_back(built.app, session.environ)
    if not files:
        return ()
    listed = [(file.path, file.kind, file.executable, file.target) for file in files]
    content = assembly.read_content(built.app.folder, listed)
    key = app_key(content.files, layer_format=_layer_format(), launch=b"held back", mtime=EPOCH)

    def entries(_planned: PlannedLayer) -> Iterator[Entry]:
        made = assembly.app_entries(content, b"", mtime=EPOCH)
        # The app's layer below says what the launcher starts.
        return (entry for entry in made if entry.path != LAUNCH_FILE)

    return _make([PlannedLayer(kind="app", slot="held back", key=key)], entries, session)


def _layer_format() -> str:
    return f"{LAYER_FORMAT}+{assembly.ENTRIES_FORMAT}"


def _make(planned: Sequence[PlannedLayer], entries: Any, session: Session) -> Sequence[Layer]:
    made = assembly.make_layers(planned, assembly.known_layers(planned, session.store), entries, session)
    return tuple(each.layer for each in made)
