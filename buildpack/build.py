"""App folder in, image in the store out: read, stack, resolve, plan, hooks, layers, image."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.read import App, read_app
from buildpack.dataclass import dataclass, field, replace
from buildpack.errors import build as errors
from buildpack.errors.build import Refuted
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, assemble, convert
from buildpack.oci.reference import Reference, format_for, parse_reference
from buildpack.oci.store import Store
from buildpack.options import Launcher, Options
from buildpack.plan import PlannedLayer
from buildpack.progress import Progress
from buildpack.session import SILENT, Listener, Session
from buildpack.stacks.find_python import usable_versions
from buildpack.stacks.resolve import fetch_layers
from buildpack.stacks.stack import Stack
from buildpack.steps import assembly
from buildpack.steps.assembly import MadeLayer, Origin, WheelShelf
from buildpack.steps.earlier_images import NONE, Lookup, Previous
from buildpack.steps.explanation import explain_layers, explain_stack
from buildpack.steps.install_target import layout_for
from buildpack.steps.planning import Decision, Material, decide, look_up_for_tests, material_for
from buildpack.steps.stack_choice import asks_for_several, choose_stack, platform_of, sibling_of
from buildpack.steps.stack_compiler import StackCompiler

if TYPE_CHECKING:
    from buildpack.hooks.preparation import Preparation


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The image of a build, and where each part of it came from.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An image that can be made: all that it needs was found, and none of its layers was written yet."""

    app: App
    references: tuple[str, ...]
    previous: Previous
    material: Material
    decision: Decision
    compiler: StackCompiler
    options: Options
    session: Session
    begin: float

    @property
    def stack(self) -> Stack:
        """The stack below the image's own layers."""
        return self.compiler.stack

    def refreshed(self) -> Planned:
        """Return the plan with the layers that another build has put into the store since."""
        if self.options.no_cache:
            return self
        known = assembly.known_layers(self.decision.plan.layers, self.session.store)
        return replace(self, decision=replace(self.decision, known=known))


def build(
    folder: Path, *, options: Options, launcher: Launcher, session: Session, listener: Listener = SILENT
) -> Built:
    """Build the app in `folder` into an image in the session's store.

    Raises BuildpackError, with everything that is wrong in the folder at once before anything is fetched.
    """
    with ExitStack() as exits:
        return make_image(plan_image(folder, exits, options=options, launcher=launcher, session=session), listener)


def plan_image(folder: Path, exits: ExitStack, *, options: Options, launcher: Launcher, session: Session) -> Planned:
    """Read the app and decide what its image will hold; `exits` ends what was started for it. Raises as `build`."""
    begin = time.perf_counter()
    if options.no_cache:
        session = replace(session, store=Store(session.store.root, doubting=True))
    app = _read(folder, options, session)
    references = _references(app, options)
    lookup = _look_up(app, references, options, session)
    session.observer(Progress(stage="stack", done=0))

    def attempt(believed: Callable[[], Previous]) -> Planned:
        stack = choose_stack(app, believed, options, session)
        material = material_for(app, stack, launcher, options, session)
        compiler = exits.enter_context(StackCompiler(stack, session, sibling=partial(sibling_of, stack, app, session)))
        if options.tested and stack.machine == session.own_python.machine:
            look_up_for_tests(app, compiler, session)
        previous = believed()
        return Planned(
            app=app,
            references=references,
            previous=previous,
            material=material,
            decision=decide(app, material, previous, compiler=compiler, options=options, session=session),
            compiler=compiler,
            options=options,
            session=session,
            begin=begin,
        )

    try:
        return attempt(lookup.result)
    except Refuted as refuted:
        # An earlier image contradicts its base. No layer was written yet, so planning starts over without such images.
        disbelieved = Previous(refuted=refuted.what)
    return attempt(lambda: disbelieved)


def make_image(planned: Planned, listener: Listener = SILENT, *, named: bool = True) -> Built:
    """Run the app's hooks, make the layers, and put the image together.

    With `named` false the image is only kept in the store, and its references mean what they meant before.
    """
    app, stack, decision, options = planned.app, planned.stack, planned.decision, planned.options
    session, store, references = planned.session, planned.session.store, planned.references
    if options.whole or stack.name.startswith(("oci:", "archive:")):  # nobody else can fetch layers from a disk
        fetch_layers(stack, store, session.environ, session.transport)
    listener.begin(references, stack.platform, stack.layers, unknown=bool(decision.written))
    shelf = WheelShelf(decision.resolution.wheels, app.lock.sources, session)
    with _hooks(planned, shelf) as hooks:
        layers = assembly.make_layers(
            decision.plan.layers,
            decision.known,
            _entries(planned, hooks, shelf),
            session,
            taken={key: each.layer for key, each in decision.taken.items()},
            listener=listener,
            give_up=hooks.stop if hooks else lambda: None,
        )
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
    explained = explain_layers(
        layers,
        decision,
        planned.material,
        previous=planned.previous,
        stored=store.image(references[0], stack.platform),
        store=store,
    )
    elsewhere = _elsewhere(image, planned)
    if elsewhere:
        changed = all(one.image is None or one.image.digest != image.digest for one in planned.previous.images)
    else:
        changed = store.put_image(image, references if named and not asks_for_several(app) else ())
    return Built(
        app=app,
        stack=_with_grafted(stack, decision, store),
        image=image,
        references=references,
        stack_layers=explain_stack(stack, store),
        layers=explained,
        warnings=_warnings(planned),
        notes=decision.resolution.notes,
        seconds=time.perf_counter() - planned.begin,
        unchanged=not changed,
        previous=planned.previous,
        elsewhere=elsewhere,
    )


def _read(folder: Path, options: Options, session: Session) -> App:
    own, environ, store = session.own_python, session.environ, session.store
    return read_app(
        folder,
        options,
        environ=environ,
        today=session.today,
        own_python=own.version,
        installed=partial(usable_versions, environ=environ, own=own.executable, store=store),
    )


def _references(app: App, options: Options) -> tuple[str, ...]:
    """Return the full names of what is built, each once: those asked for, else the app's name as ``latest``."""
    references = [parse_reference(text) for text in options.references or (f"{app.settings.name}:latest",)]
    for reference in references:
        if reference.digest is not None:
            raise errors.digest_asked(str(reference))
    return tuple(dict.fromkeys(map(str, references)))


def _look_up(app: App, references: tuple[str, ...], options: Options, session: Session) -> Lookup:
    """Begin to look for the earlier images that the build may reuse."""
    pushed = tuple(map(parse_reference, references)) if options.pushed else ()
    wanted = tuple(dict.fromkeys((*pushed, *map(parse_reference, options.cache_from))))
    return Lookup(
        () if options.no_cache else wanted,
        platform=platform_of(app, session),
        transport=session.transport,
        pushed=pushed,
    )


def _hooks(planned: Planned, shelf: WheelShelf) -> AbstractContextManager[Preparation | None]:
    """Return what runs the app's hooks, if it has any, once its layer has to be written."""
    if not planned.material.hooks:
        return nullcontext()
    from buildpack.hooks.preparation import Preparation

    return Preparation(
        name=str(planned.app.settings.name),
        material=planned.material,
        resolution=planned.decision.resolution,
        shelf=shelf,
        compiler=planned.compiler,
        session=planned.session,
    )


def _entries(planned: Planned, hooks: Preparation | None, shelf: WheelShelf) -> Callable[[PlannedLayer], Any]:
    """Return what makes the entries of a planned layer, when it has to be written."""
    material, stack = planned.material, planned.stack
    compiler = planned.compiler if planned.decision.bytecode.python else None

    def entries(layer: PlannedLayer) -> Any:
        if layer.kind == "runtime":
            return assembly.runtime_entries(material.runtime, compiler)
        if layer.kind == "dependencies":
            layout = layout_for(stack)
            return assembly.dependency_entries(layer, shelf, layout=layout, compiler=compiler)
        if hooks is not None:
            return hooks.entries(layer.key)
        return assembly.app_entries(material.content, material.launch, mtime=material.mtime)

    return entries


def _elsewhere(image: Image, planned: Planned) -> dict[Digest, Reference]:
    """Return which of the image's layers are not in the store, and which image in a registry has each."""
    stack, previous = planned.stack, planned.previous
    base = {layer.digest for layer in stack.layers if stack.name != "host"}
    places = {
        layer.digest: parse_reference(stack.reference) if layer.digest in base else previous.place_of(layer.digest)
        for layer in planned.session.store.missing(image)
    }
    return {digest: place for digest, place in places.items() if place is not None}


def _warnings(planned: Planned) -> tuple[str, ...]:
    app, stack, decision = planned.app, planned.stack, planned.decision
    hooks = planned.session.store.recall("hooks", decision.plan.layers[-1].key) if planned.material.hooks else None
    warnings = [*app.warnings, *decision.told, *stack.warnings, *decision.resolution.warnings, *(hooks or ())]
    if decision.no_bytecode:
        warnings.append(errors.no_bytecode(stack.name, decision.no_bytecode))
    return tuple(warnings)


def _with_grafted(stack: Stack, decision: Decision, store: Store) -> Stack:
    """Add the libraries of this machine that were copied into wheels to the files that decide the next build."""
    grafted = [wheel for wheel in decision.resolution.wheels if wheel.libraries]
    if not grafted:
        return stack
    from buildpack.steps.grafting import grafted_from

    return replace(stack, witnesses=(*stack.witnesses, *grafted_from(grafted, store)))
