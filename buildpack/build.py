"""App folder in, image in the store out: read, resolve, plan, make layers, assemble. It reads top to bottom."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from buildpack.app.python_version import HOST_DEFAULT, newer
from buildpack.app.read import App, read_app
from buildpack.dataclass import dataclass, field, replace
from buildpack.errors import BuildpackError, StackError, UsageError
from buildpack.errors import build as errors
from buildpack.errors.previous import Refuted
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, Platform, assemble, convert
from buildpack.oci.reference import Reference, format_for, parse_reference
from buildpack.oci.store import Store
from buildpack.options import Launcher, Options, OwnPython
from buildpack.plan import PlannedLayer
from buildpack.progress import Observer, Progress, ignore
from buildpack.stacks.find_python import candidate_witnesses, usable_versions
from buildpack.stacks.platforms import choose_platform, native_platform, parse_platforms
from buildpack.stacks.resolve import fetch_layers, resolve_stack
from buildpack.stacks.stack import Claimed, Stack, StackRequest
from buildpack.steps import assembly
from buildpack.steps.assembly import MadeLayer, Origin
from buildpack.steps.earlier_images import NONE, Lookup, Previous
from buildpack.steps.explanation import explain_layers, explain_stack
from buildpack.steps.planning import Decision, Material, decide, look_up_for_tests, material_for
from buildpack.steps.prefetch import LookAhead
from buildpack.steps.resolution import layout_for, target_of
from buildpack.steps.stack_compiler import StackCompiler

if TYPE_CHECKING:
    from buildpack.hooks.preparation import Preparation
    from buildpack.oci.transport import Transport


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

    `stack_layers` and `layers`, ours, are in order, each with where it came from and why it was not reused. `previous`
    are the earlier images that were looked at; `elsewhere` names, for each layer that is not in the store, an image in
    a registry that has it. With such layers the store does not know the image by its references.
    """

    app: App
    stack: Stack
    image: Image
    references: tuple[str, ...]
    stack_layers: tuple[tuple[Layer, Origin, str], ...]
    layers: tuple[tuple[MadeLayer, str], ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    unchanged: bool
    previous: Previous = NONE
    elsewhere: Mapping[Digest, Reference] = field(default_factory=dict)


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
    transport: Transport | None = None,
) -> Built:
    """Build the app in `folder` into an image in `store`.

    `today` tells which versions of Python have reached their end of life. With `named` false the image is only kept
    there, and its references mean what they meant: `multi` gives them to an index of several. Registries are spoken to
    through `transport`, without which none is asked for an earlier image. Raises BuildpackError, with everything that
    is wrong in the folder at once before anything is fetched.
    """
    begin = clock()
    hears = listener or Listener()
    if options.no_cache:
        store = Store(store.root, doubting=True)
    app = read_app(
        folder,
        options,
        environ=environ,
        today=today,
        own_python=own_python.version,
        installed=partial(usable_versions, environ=environ, own=own_python.executable, store=store),
    )
    references = _references(app, options)
    attempt = partial(
        _attempt,
        app,
        references,
        options=options,
        launcher=launcher,
        store=store,
        environ=environ,
        own_python=own_python,
        observer=observer,
        hears=hears,
        transport=transport,
    )
    lookup = _look_up(app, references, options=options, own_python=own_python, transport=transport)
    try:
        stack, material, decision, layers, previous = attempt(lookup=lookup)
    except Refuted as refuted:
        # No layer was written yet, and nobody told of one: see `StackCompiler.decide`.
        stack, material, decision, layers, previous = attempt(lookup=partial(Previous, refuted=refuted.what))
    image = convert(
        assemble(
            [*stack.layers, *(made.layer for made in layers)],
            platform=stack.platform,
            created=decision.plan.created,
            config=decision.plan.config,
            annotations=decision.plan.annotations,
        ),
        options.format or format_for(map(parse_reference, references) if options.pushed else ()),
    )
    stored = store.image(references[0], stack.platform)
    explained = explain_layers(layers, decision, material, previous=previous, stored=stored, store=store)
    elsewhere = _elsewhere(image, stack, previous, store)
    if elsewhere:
        changed = all(earlier.image is None or earlier.image.digest != image.digest for earlier in previous.images)
    else:
        changed = store.put_image(image, references if named and not _is_one_of_several(app) else ())
    told = store.recall("hooks", decision.plan.layers[-1].key) or () if material.hooks else ()
    warnings = [*app.warnings, *decision.told, *stack.warnings, *decision.resolution.warnings, *told]
    if decision.no_bytecode:
        warnings.append(errors.no_bytecode(stack.name, decision.no_bytecode))
    grafted = [wheel for wheel in decision.resolution.wheels if wheel.libraries]
    if grafted:
        from buildpack.steps.grafting import grafted_from

        stack = replace(stack, witnesses=(*stack.witnesses, *grafted_from(grafted, store)))
    return Built(
        app=app,
        stack=stack,
        image=image,
        references=references,
        stack_layers=explain_stack(stack, store),
        layers=explained,
        warnings=tuple(warnings),
        notes=decision.resolution.notes,
        seconds=clock() - begin,
        unchanged=not changed,
        previous=previous,
        elsewhere=elsewhere,
    )


def _attempt(
    app: App,
    references: Sequence[str],
    *,
    options: Options,
    launcher: Launcher,
    store: Store,
    environ: Mapping[str, str],
    own_python: OwnPython,
    observer: Observer,
    hears: Listener,
    transport: Transport | None,
    lookup: Callable[[], Previous],
) -> tuple[Stack, Material, Decision, tuple[MadeLayer, ...], Previous]:
    """Resolve the stack, decide, and make the layers; raises Refuted where an earlier image told lies of the stack."""
    observer(Progress(stage="stack", done=0))
    stack = _resolve_stack(
        app,
        options=options,
        store=store,
        environ=environ,
        own_python=own_python,
        observer=observer,
        transport=transport,
        lookup=lookup,
    )
    material = material_for(app, stack, launcher, options=options, environ=environ)
    native = native_platform(own_python.machine)
    sibling = partial(_sibling, stack, native, app=app, store=store, environ=environ, transport=transport)
    with StackCompiler(
        stack, store, environ, machine=own_python.machine, sibling=sibling, transport=transport
    ) as compiler:
        if options.tested and stack.machine == own_python.machine:
            look_up_for_tests(app, stack, compiler=compiler, store=store, environ=environ)
        previous = lookup()
        decision = decide(
            app,
            stack,
            material,
            options=options,
            compiler=compiler,
            previous=previous,
            store=store,
            environ=environ,
            observer=observer,
            transport=transport,
        )
        if options.whole or stack.name.startswith(("oci:", "archive:")):  # from a disk nobody else can fetch them
            fetch_layers(stack, store, environ, transport)
        hears.begin(references, stack.platform, stack.layers, unknown=bool(decision.written))
        shelf = assembly.WheelShelf(decision.resolution.wheels, app.lock.sources, store=store, environ=environ)
        hooks = _prepare(
            str(app.settings.name),
            stack,
            decision,
            material,
            shelf=shelf,
            compiler=compiler,
            store=store,
            environ=environ,
            observer=observer,
        )
        with hooks as preparation:
            layers = assembly.make_layers(
                decision.plan.layers,
                decision.known,
                _entries(stack, decision, material, preparation, shelf=shelf, compiler=compiler, store=store),
                taken={key: each.layer for key, each in decision.taken.items()},
                store=store,
                observer=observer,
                ready=hears.layer,
                spool=hears.wants_tars,
                give_up=preparation.stop if preparation else lambda: None,
            )
    return stack, material, decision, layers, previous


def _look_up(
    app: App, references: Sequence[str], *, options: Options, own_python: OwnPython, transport: Transport | None
) -> Callable[[], Previous]:
    """Begin to look for earlier images, where any are to be believed; returns what waits for them."""
    pushed = tuple(map(parse_reference, references)) if options.pushed else ()
    wanted = tuple(dict.fromkeys((*pushed, *map(parse_reference, options.cache_from))))
    if options.no_cache or transport is None or not wanted:
        return lambda: NONE
    platform = _platform(app, native_platform(own_python.machine))
    return Lookup(wanted, platform=platform, transport=transport, pushed=pushed).result


def _elsewhere(image: Image, stack: Stack, previous: Previous, store: Store) -> dict[Digest, Reference]:
    """Return which of the image's layers are not in the store, and which image in a registry has each."""
    base = {layer.digest for layer in stack.layers if stack.name != "host"}
    places = {
        layer.digest: parse_reference(stack.reference) if layer.digest in base else previous.place_of(layer.digest)
        for layer in store.missing(image)
    }
    return {digest: place for digest, place in places.items() if place is not None}


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
    transport: Transport | None,
    lookup: Callable[[], Previous],
) -> Stack:
    """Resolve the stack that was asked for; by default the slim image of the app's Python."""
    asked = app.settings.stack.value if app.settings.stack else ""
    version = app.python.version if app.python else None
    ahead = None
    if asked == "host" and not options.no_cache:
        own = own_python.executable
        ahead = LookAhead(
            app,
            python=version,
            own=own,
            store=store,
            environ=environ,
            observer=observer,
            needed=lambda: not lookup().layers,
        )
    try:
        stack = resolve_stack(
            StackRequest(
                name=asked or f"python:{version}-slim",
                python=version,
                platform=_platform(app, native_platform(own_python.machine)),
                pull=options.pull or options.no_cache,
                own=own_python.executable,
            ),
            store=store,
            environ=environ,
            claimed=Claimed(
                facts=lambda digest: lookup().facts(digest),
                # Earlier layers of the host are enough unless all layers are wanted in the store.
                layers=None if options.whole else lambda identity: lookup().host_layers(identity, gone=options.gone),
            ),
            transport=transport,
        )
    except BaseException as error:
        if ahead is not None:
            ahead.cancel()
        if isinstance(error, UsageError) and app.settings.stack and not app.settings.stack.origin.startswith("--"):
            raise errors.bad_stack(app.settings.stack.origin, error) from error
        if isinstance(error, StackError) and not asked and not options.pushed:
            raise errors.default_stack(f"python:{version}-slim", error, linux=sys.platform == "linux") from error
        raise
    if ahead is not None:
        ahead.join(target_of(stack))
    if app.python is not None and app.python.origin == HOST_DEFAULT:
        # A newer interpreter that is installed later would be chosen then.
        places = (candidate_witnesses(one, environ=environ, own=own_python.executable) for one in newer(version or ""))
        stack = replace(stack, witnesses=(*stack.witnesses, *(path for each in places for path in each)))
    return stack


def _is_one_of_several(app: App) -> bool:
    """Tell whether the app asks for several platforms: then its name is an index's, which one image must not take."""
    asked = app.settings.platform
    return asked is not None and len(parse_platforms(asked.value)) > 1


def _platform(app: App, native: Platform) -> Platform:
    """Return the platform to build for: of several in the settings this machine's, else the first."""
    asked = app.settings.platform
    return choose_platform(parse_platforms(asked.value), native) if asked else native


def _sibling(
    stack: Stack,
    native: Platform,
    *,
    app: App,
    store: Store,
    environ: Mapping[str, str],
    transport: Transport | None,
) -> Stack | None:
    """Resolve the same stack for this machine; None where it is that already, or there is none."""
    if stack.platform == native:
        return None
    with suppress(BuildpackError):
        version = app.python.version if app.python else None
        request = StackRequest(name=stack.name, python=version, platform=native)
        return resolve_stack(request, store=store, environ=environ, transport=transport)
    return None


def _prepare(
    name: str,
    stack: Stack,
    decision: Decision,
    material: Material,
    *,
    shelf: assembly.WheelShelf,
    compiler: StackCompiler,
    store: Store,
    environ: Mapping[str, str],
    observer: Observer,
) -> AbstractContextManager[Preparation | None]:
    """Return what runs the app's hooks, if it has any, once its layer has to be written."""
    if not material.hooks:
        return nullcontext()
    from buildpack.hooks.preparation import Preparation

    return Preparation(
        name=name,
        hooks=material.hooks,
        stack=stack,
        resolution=decision.resolution,
        content=material.content,
        launch=material.launch,
        mtime=material.mtime,
        wheel_path=shelf.path,
        compiler=compiler,
        store=store,
        environ=environ,
        observer=observer,
    )


def _entries(
    stack: Stack,
    decision: Decision,
    material: Material,
    preparation: Preparation | None,
    *,
    shelf: assembly.WheelShelf,
    compiler: StackCompiler,
    store: Store,
) -> Callable[[PlannedLayer], Any]:
    """Return what makes the entries of a planned layer, when it has to be written."""
    compiled = bool(decision.bytecode.python)

    def entries(planned: PlannedLayer) -> Any:
        if planned.kind == "runtime":
            return assembly.runtime_entries(material.runtime, compiler, compiled=compiled)
        if planned.kind == "app":
            if preparation is not None:
                return preparation.entries(planned.key)
            return assembly.app_entries(material.content, material.launch, mtime=material.mtime)
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
