"""App folder in, image in the store out: read, resolve, plan, make layers, assemble. It reads top to bottom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from buildpack import assembly, plan
from buildpack.ahead import LookAhead
from buildpack.app.read import App, read_app
from buildpack.assembly import MadeLayer, Origin
from buildpack.compilation import StackCompiler
from buildpack.errors import BuildpackError, UsageError
from buildpack.errors import build as errors
from buildpack.hooks.preparation import Preparation, Site
from buildpack.oci.entry import EPOCH
from buildpack.oci.image import ANNOTATION, Image, Layer, Platform, assemble
from buildpack.oci.layer import LAYER_FORMAT
from buildpack.oci.reference import parse_reference
from buildpack.oci.store import Store
from buildpack.plan import AppFile, Plan, PlannedLayer
from buildpack.progress import Observer, Progress, ignore
from buildpack.reasons import why_built
from buildpack.resolution import Ground, Resolution, layout_for, resolve, target_of
from buildpack.stacks.platforms import choose_platform, native_platform, parse_platforms
from buildpack.stacks.stack import Stack, fetch_layers, resolve_stack

__all__ = ["Built", "Launcher", "Listener", "Options", "OwnPython", "build"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What starts processes in an image: files below ``/opt/deploy``, of which ``__main__.py`` is the entry point."""

    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller asks for beyond the folder; None and empty mean the app's settings or the default.

    `no_cache` trusts nothing that an earlier build left. `categories` of the lock are installed beside ``default``.
    `build_env` are variables for the app's hooks. `epoch` is SOURCE_DATE_EPOCH, in seconds since 1970.
    """

    references: tuple[str, ...] = ()
    stack: str | None = None
    platform: str | None = None
    no_cache: bool = False
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    build_env: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPython:
    """The interpreter that runs this, the default on the stack ``host``: its version (``3.12``) and its path.

    `machine` is what it runs on, as ``uname -m`` says it.
    """

    version: str
    executable: str
    machine: str = field(default_factory=lambda: os.uname().machine)


class Listener:
    """Hears of the image while it is built; the default does nothing."""

    def begin(self, references: Sequence[str], platform: Platform, stack: Sequence[Layer], *, unknown: bool) -> None:
        """The stack's layers are in the store and ours follow; with `unknown` some must be written first."""

    @property
    def wants_tars(self) -> bool:
        """Whether `layer` should get the tars of layers that are written; asked after `begin`."""
        return False

    def layer(self, position: int, layer: Layer, tar: BinaryIO | None) -> None:
        """The layer at this position of ours is in the store; called from several threads, in any order.

        `tar` is the layer uncompressed, in a file that is the listener's to close.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built.

    `stack_layers` and `layers`, ours, are in order, each with where it came from and why it was not reused.
    """

    app: App
    stack: Stack
    image: Image
    references: tuple[str, ...]
    stack_layers: tuple[tuple[Layer, Origin, str], ...]
    layers: tuple[tuple[MadeLayer, str], ...]
    warnings: tuple[str, ...]
    seconds: float
    unchanged: bool


def build(
    folder: Path,
    *,
    options: Options,
    launcher: Launcher,
    store: Store,
    environ: Mapping[str, str],
    own_python: OwnPython,
    today: date,
    observer: Observer = ignore,
    listener: Listener | None = None,
    clock: Callable[[], float] = time.perf_counter,
    named: bool = True,
) -> Built:
    """Build the app in `folder` into an image in `store`.

    `today` tells which versions of Python have reached their end of life. With `named` false the image is only kept
    there, and its references mean what they meant: `multi` gives them to an index of several. Raises BuildpackError,
    with everything that is wrong in the folder at once before anything is fetched.
    """
    begin = clock()
    hears = listener or Listener()
    if options.no_cache:
        store = Store(store.root, doubting=True)
    app = read_app(
        folder,
        environ=environ,
        today=today,
        own_python=own_python.version,
        stack=options.stack,
        platform=options.platform,
        categories=options.categories,
    )
    references = _references(app, options)
    observer(Progress(stage="stack", done=0))
    stack = _resolve_stack(app, options=options, store=store, environ=environ, own_python=own_python, observer=observer)
    native = native_platform(own_python.machine)
    sibling = partial(_sibling, stack, native, app=app, store=store, environ=environ)
    with StackCompiler(stack, store, environ, machine=own_python.machine, sibling=sibling) as compiler:
        bytecode, no_bytecode = compiler.decide()
        resolution = resolve(
            app.lock,
            app.lock.packages,
            ground=_ground(stack, compiler),
            store=store,
            environ=environ,
            observer=observer,
            folder=app.folder,
            fresh=options.no_cache,
        )
        mtime = EPOCH if options.epoch is None else max(options.epoch, EPOCH)
        content = _read_content(app, mtime)
        runtime = _runtime(launcher, stack)
        shelf = assembly.WheelShelf(resolution.wheels, app.lock.sources, store=store, environ=environ)
        preparation = Preparation.of(
            Site(
                app=app,
                stack=stack,
                resolution=resolution,
                content=content,
                launch=_launch(app),
                mtime=mtime,
                given=options.build_env,
                wheel_path=shelf.path,
                compiler=compiler,
                store=store,
                environ=environ,
                observer=observer,
            )
        )
        planned = _plan(
            app,
            stack,
            resolution,
            content,
            runtime,
            bytecode=bytecode,
            options=options,
            mtime=mtime,
            hooks=preparation.key,
        )
        fetch_layers(stack, store)
        known = {} if options.no_cache else assembly.known_layers(planned.layers, store)
        unknown = len(known) < len(planned.layers)
        hears.begin(references, planned.platform, stack.layers, unknown=unknown)
        with preparation:
            layers = assembly.make_layers(
                planned.layers,
                known,
                _entries(
                    stack=stack,
                    runtime=runtime,
                    compiler=compiler,
                    compiled=bool(bytecode.python),
                    store=store,
                    shelf=shelf,
                    preparation=preparation,
                ),
                store=store,
                observer=observer,
                ready=hears.layer,
                spool=hears.wants_tars,
            )
    image = assemble(
        [*stack.layers, *(made.layer for made in layers)],
        platform=planned.platform,
        created=planned.created,
        config=planned.config,
        annotations=planned.annotations,
    )
    previous = store.image(references[0], stack.platform)
    explained = _explain(layers, previous, content, store)
    changed = store.put_image(image, references if named else ())
    warnings = [*app.warnings, *stack.warnings, *resolution.warnings, *preparation.warnings(planned.layers[-1].key)]
    if no_bytecode:
        warnings.append(errors.no_bytecode(stack.name, no_bytecode))
    return Built(
        app=app,
        stack=stack,
        image=image,
        references=references,
        stack_layers=_explain_stack(stack, store),
        layers=explained,
        warnings=tuple(warnings),
        seconds=clock() - begin,
        unchanged=not changed,
    )


def _references(app: App, options: Options) -> tuple[str, ...]:
    """Return the full names of what is built, each once: those asked for, else the app's name as ``latest``."""
    references = [parse_reference(text) for text in options.references or (f"{app.settings.name}:latest",)]
    for reference in references:
        if reference.digest is not None:
            raise errors.digest_asked(str(reference))
    return tuple(dict.fromkeys(map(str, references)))


def _resolve_stack(
    app: App,
    *,
    options: Options,
    store: Store,
    environ: Mapping[str, str],
    own_python: OwnPython,
    observer: Observer,
) -> Stack:
    """Resolve the stack that was asked for; by default the slim image of the app's Python."""
    asked = app.settings.stack.value if app.settings.stack else ""
    version = app.python.version if app.python else None
    ahead = None
    if asked == "host" and not options.no_cache:
        own = own_python.executable
        ahead = LookAhead(
            app.lock,
            folder=app.folder,
            python=version,
            own=own,
            store=store,
            environ=environ,
            observer=observer,
        )
    try:
        stack = resolve_stack(
            asked or f"python:{version}-slim",
            python=version,
            store=store,
            environ=environ,
            platform=_platform(app, native_platform(own_python.machine)),
            pull=options.pull or options.no_cache,
            own=own_python.executable,
        )
    except BaseException as error:
        if ahead is not None:
            ahead.cancel()
        if isinstance(error, UsageError) and app.settings.stack and not app.settings.stack.origin.startswith("--"):
            raise errors.bad_stack(app.settings.stack.origin, error) from error
        raise
    if ahead is not None:
        ahead.join(target_of(stack))
    return stack


def _platform(app: App, native: Platform) -> str:
    """Return the platform to build for: of several in the settings this machine's, else the first."""
    asked = app.settings.platform
    return str(choose_platform(parse_platforms(asked.value), native) if asked else native)


def _sibling(stack: Stack, native: Platform, *, app: App, store: Store, environ: Mapping[str, str]) -> Stack | None:
    """Resolve the same stack for this machine; None where it is that already, or there is none."""
    if stack.platform == native:
        return None
    with suppress(BuildpackError):
        version = app.python.version if app.python else None
        return resolve_stack(stack.name, python=version, store=store, environ=environ, platform=str(native))
    return None


def _ground(stack: Stack, compiler: StackCompiler) -> Ground:
    def lacking(needed: Mapping[str, frozenset[str]]) -> Sequence[str]:
        from buildpack.stacks.libraries import missing_sonames

        return missing_sonames(needed, stack)

    return Ground(
        target=target_of(stack),
        layout=layout_for(stack),
        identity=str(stack.digest),
        interpreter=compiler.interpreter,
        arrived=compiler.arrived,
        lacking=lacking,
    )


def _read_content(app: App, mtime: int) -> assembly.AppContent:
    listed = [(file.path, file.kind, file.executable, file.target) for file in app.source.files]
    return assembly.read_content(app.folder, listed, mtime=mtime)


def _runtime(launcher: Launcher, stack: Stack) -> assembly.Runtime:
    from buildpack.python.venv import venv_entries

    return assembly.Runtime(
        launcher=launcher.files,
        environment=tuple(venv_entries(layout_for(stack))),
        passwd=_with_user(stack.passwd, ("app", "x", str(plan.USER), str(plan.USER), "", "/app", "/bin/sh")),
        group=_with_user(stack.group, ("app", "x", str(plan.USER), "")),
    )


def _with_user(existing: str | None, row: tuple[str, ...]) -> bytes | None:
    """Return passwd or group with a row for the app's user; None where one with its ID is there."""
    lines = (existing or "").splitlines()
    if any(line.split(":")[2:3] == [row[2]] for line in lines):
        return None
    taken = {line.partition(":")[0] for line in lines}
    name = row[0] if row[0] not in taken else f"{row[0]}{row[2]}"
    return "".join(f"{line}\n" for line in (*lines, ":".join((name, *row[1:])))).encode()


def _plan(
    app: App,
    stack: Stack,
    resolution: Resolution,
    content: assembly.AppContent,
    runtime: assembly.Runtime,
    *,
    bytecode: plan.Bytecode,
    options: Options,
    mtime: int,
    hooks: str,
) -> Plan:
    layer_format = f"{LAYER_FORMAT}+{assembly.ENTRIES_FORMAT}"
    launch = _launch(app)
    runtime_key = plan.runtime_key(layer_format=layer_format, files=runtime.listed(), bytecode=bytecode)
    layers = [PlannedLayer(kind="runtime", slot="runtime", key=runtime_key)]
    for group in plan.group_members(resolution.members):
        key = plan.dependency_key(group, layer_format=layer_format, python=stack.python.series, bytecode=bytecode)
        layers.append(PlannedLayer(kind="dependencies", slot=group.slot, key=key, members=group.members))
    app_key = plan.app_key(content.files, layer_format=layer_format, launch=launch, mtime=mtime, hooks=hooks)
    layers.append(PlannedLayer(kind="app", slot="app", key=app_key))
    labels = {
        "org.opencontainers.image.base.digest": str(stack.digest),
        "dev.deploy.python": stack.python.version,
        "dev.deploy.bytecode": bytecode.python or "none",
        "dev.deploy.lock": f"sha256:{app.lock.sha256}",
        **options.labels,
    }
    return Plan(
        stack_layers=stack.layers,
        layers=tuple(layers),
        platform=stack.platform,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(mtime)),
        config=plan.image_config(stack.config, stack_python=stack.python.executable, labels=labels),
        annotations={ANNOTATION + "stack": plan.compact({"digest": str(stack.digest), **stack.facts.render()})},
    )


def _launch(app: App) -> bytes:
    return plan.launch_json(
        processes={process.name: process.command for process in app.processes},
        default=app.default,
        app_object=app.app_object.target if app.app_object else None,
        formation=app.formation,
    )


def _entries(
    *,
    stack: Stack,
    runtime: assembly.Runtime,
    compiler: StackCompiler,
    compiled: bool,
    store: Store,
    shelf: assembly.WheelShelf,
    preparation: Preparation,
) -> Callable[[PlannedLayer], Any]:
    """Return what makes the entries of a planned layer, when it has to be written."""

    def entries(planned: PlannedLayer) -> Any:
        if planned.kind == "runtime":
            return assembly.runtime_entries(runtime, compiler, compiled=compiled)
        if planned.kind == "app":
            return preparation.entries(planned.key)
        return assembly.dependency_entries(
            planned,
            shelf.path,
            layout=layout_for(stack),
            machine=stack.machine,
            store=store,
            compiler=compiler,
            compiled=compiled,
        )

    return entries


def _explain(
    layers: Sequence[MadeLayer], previous: Image | None, content: assembly.AppContent, store: Store
) -> tuple[tuple[MadeLayer, str], ...]:
    """Pair each layer with why it was written."""
    app = next(made.layer for made in layers if made.planned.kind == "app")
    before = previous.layers if previous else ()
    old_app = next((layer for layer in before if layer.annotations.get(ANNOTATION + "kind") == "app"), None)
    old_files = store.recall("app-files", str(old_app.diff_id)) if old_app else None
    files = {file.path: _fingerprint(file) for file in content.files}
    explained = tuple(
        (made, "" if made.source != "built" else why_built(made.planned, before, old_files=old_files, files=files))
        for made in layers
    )
    if old_app is None or old_app.diff_id != app.diff_id:
        store.remember("app-files", str(app.diff_id), files)
    return explained


def _explain_stack(stack: Stack, store: Store) -> tuple[tuple[Layer, Origin, str], ...]:
    """Pair the stack's layers with where they came from, which is another place than the store for new ones."""
    origin: Origin = "registry"
    reason = f"pulled for {stack.name}"
    if stack.name == "host":
        origin, reason = "built", "gathered from this machine"
    elif stack.name.startswith(("oci:", "archive:")):
        origin, reason = "store", f"copied from {stack.name}"
    return tuple(
        (layer, origin, reason) if layer.digest in store.added else (layer, "store", "") for layer in stack.layers
    )


def _fingerprint(file: AppFile) -> str:
    return f"{file.kind[0]}{'x' if file.executable else '-'}{file.content[:32]}"
