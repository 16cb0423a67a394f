"""The image that tests run in: the layers that were built, and on top of them the packages and files for tests.

The image ships exactly as tested, because its own layers are the same bytes. The test image is made after a build and
removed after the tests. It has no name in the store, and nobody pushes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from buildpack.app.read import App
from buildpack.app.source import IGNORE_FILES, SourceFile, read_source
from buildpack.dataclass import replace
from buildpack.oci.entry import EPOCH, Entry
from buildpack.oci.image import Image, Layer, assemble
from buildpack.plan import LAUNCH_FILE, Bytecode, PlannedLayer, app_key, dependency_layers, members_of
from buildpack.session import Session
from buildpack.stacks.stack import Stack
from buildpack.steps import assembly
from buildpack.steps.install_target import layout_for
from buildpack.steps.planning import target_on
from buildpack.steps.resolution import resolve
from buildpack.steps.stack_compiler import StackCompiler


def held_back(app: App, environ: Mapping[str, str]) -> tuple[SourceFile, ...]:
    """Return the files that only ``.dockerignore`` and ``.slugignore`` keep out of the image: often the tests."""
    if not any(os.path.isfile(app.folder / name) for name in IGNORE_FILES):
        return ()
    # `app.source` lacks files with a credential too, so it is not compared with.
    kept = {file.path for file in read_source(app.folder, environ=environ).files}
    everything = read_source(app.folder, environ=environ, ignore_files=())
    return tuple(file for file in everything.files if file.path not in kept)


def with_develop(image: Image, app: App, stack: Stack, session: Session) -> Image:
    """Return the app's image on this stack with more on top: the develop packages, and the files that are `held_back`.

    The layers of the image need not be in the store; the added ones are. Raises BuildpackError.
    """
    added = [*_packages(image, app, stack, session), *_files(app, session)]
    body: Any = json.loads(image.config)
    return assemble(
        [*image.layers, *added], platform=stack.platform, created=body["created"], config=body["config"], annotations={}
    )


def _packages(image: Image, app: App, stack: Stack, session: Session) -> Sequence[Layer]:
    with StackCompiler(stack, session) as compiler:
        target = target_on(compiler, app, session)
        # Tests run once: compiling their packages takes as long as importing them uncompiled.
        target = replace(target, compiler=None)
        found = resolve(app.lock, app.lock.only_develop, target, session, folder=app.folder)
        # This resolution may add setuptools although the image has it.
        there = {member.name for layer in image.layers for member in members_of(layer)}
        wheels = tuple(wheel for wheel in found.wheels if wheel.name not in there)
        fetcher = assembly.WheelFetcher(wheels, app.lock.sources, session)

        def entries(planned: PlannedLayer) -> list[Entry]:
            return assembly.dependency_entries(planned, fetcher, layout=layout_for(stack), compiler=None)

        layers = dependency_layers(
            wheels, layer_format=assembly.FORMAT, python=stack.python.series, bytecode=Bytecode()
        )
        planned = [replace(layer, slot=f"develop {layer.slot}") for layer in layers]
        return _make(planned, entries, session)


def _files(app: App, session: Session) -> Sequence[Layer]:
    files = held_back(app, session.environ)
    if not files:
        return ()
    content = assembly.read_content(app.folder, files)
    key = app_key(content.files, layer_format=assembly.FORMAT, launch=b"held back", mtime=EPOCH)

    def entries(_planned: PlannedLayer) -> Iterator[Entry]:
        made = assembly.app_entries(content, b"", mtime=EPOCH)
        # The app's own layer has this file.
        return (entry for entry in made if entry.path != LAUNCH_FILE)

    return _make([PlannedLayer(kind="app", slot="held back", key=key)], entries, session)


def _make(planned: Sequence[PlannedLayer], entries: assembly.Entries, session: Session) -> Sequence[Layer]:
    made = assembly.make_layers(planned, assembly.known_layers(planned, session.store), entries, session)
    return tuple(each.layer for each in made)
