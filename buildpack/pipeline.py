"""App's folder in, image in the store out: read, stack, resolve, plan, hooks, layers, image."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.read import App, read_app
from buildpack.dataclass import dataclass, replace
from buildpack.errors import AppError, BuildpackError, LostError, Problems, UsageError
from buildpack.errors import build as errors
from buildpack.errors.build import FactsContradicted
from buildpack.errors.delivery import digest_asked
from buildpack.oci.digest import Digest
from buildpack.oci.entry import Entry
from buildpack.oci.image import Image, Platform, assemble, convert
from buildpack.oci.reference import Reference, format_for, parse_reference
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.plan import PlannedLayer
from buildpack.progress import Progress
from buildpack.session import SILENT, Listener, Session
from buildpack.stacks.find_python import usable_versions
from buildpack.stacks.resolve import fetch_layers
from buildpack.stacks.stack import Stack
from buildpack.steps import assembly
from buildpack.steps.assembly import MadeLayer, WheelFetcher
from buildpack.steps.built import Built, BuiltImage, alone, indexed
from buildpack.steps.earlier_images import Lookup, Previous
from buildpack.steps.install_target import layout_for
from buildpack.steps.planning import Decision, Material, decide, material_for, target_on
from buildpack.steps.rebuild_reasons import explain_layers, explain_stack
from buildpack.steps.resolution import look_up_develop
from buildpack.steps.stack_choice import asks_for_several, choose_stack, platform_of, sibling_of
from buildpack.steps.stack_compiler import StackCompiler

if TYPE_CHECKING:
    from buildpack.hooks.preparation import Preparation


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An image that can be made: everything that it needs was found, and none of its layers was written yet."""

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
    folder: Path, *, options: Options, session: Session, platforms: Sequence[Platform] = (), listener: Listener = SILENT
) -> Built:
    """Build the app in `folder` for each platform; put the image, or the index of several, into the session's store.

    Without `platforms` the image is for the platform of the options, else of the app's settings, else this machine's.
    All images are planned before the first is made, so that a missing wheel for one platform is known before another is
    built. Parts that two images share are fetched, compiled and compressed once. The references keep their meaning
    until all images exist. Raises BuildpackError, with all errors in the folder at once before anything is fetched.
    """
    begin = time.perf_counter()
    several = len(platforms) > 1
    images: list[BuiltImage] = []
    with ExitStack() as exits:
        for plan in plan_images(folder, exits, options=options, session=session, platforms=platforms):
            with _naming(str(plan.stack.platform) if several else None):
                images.append(make_image(plan.refreshed() if images else plan, listener, named=not several))
    return indexed(images, session.store, begin) if several else alone(images[0])


def plan_images(
    folder: Path, exits: ExitStack, *, options: Options, session: Session, platforms: Sequence[Platform] = ()
) -> tuple[Planned, ...]:
    """Plan the image for each platform, or the only image; `exits` ends what was started for it. Raises as `build`."""
    if len(platforms) < 2:
        return (_plan_image(folder, exits, options, session),)
    planned = []
    for platform in platforms:
        with _naming(str(platform)):
            planned.append(_plan_image(folder, exits, replace(options, platform=str(platform)), session))
    return tuple(planned)


def _plan_image(folder: Path, exits: ExitStack, options: Options, session: Session) -> Planned:
    """Read the app and decide everything about its image."""
    begin = time.perf_counter()
    if options.no_cache:
        session = replace(session, store=Store(session.store.root, ignore_facts=True))
    app = read_folder(folder, options, session)
    references = _references(app, options)
    lookup = _look_up(app, references, options, session)
    session.observer(Progress(stage="stack", done=0))

    def attempt(lookup: Lookup) -> Planned:
        stack = choose_stack(app, lookup, options, session)
        material = material_for(app, stack, options, session)
        compiler = exits.enter_context(StackCompiler(stack, session, sibling=partial(sibling_of, stack, app, session)))
        if options.tested and stack.machine == session.own_python.machine:
            look_up_develop(app.lock, target_on(compiler, app, session), session)
        previous = lookup.result()
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
        return attempt(lookup)
    except FactsContradicted as contradicted:
        # An earlier image contradicts its base. No layer was written yet, so planning starts over without such images.
        nothing = Lookup((), platform=platform_of(app, session), transport=None, contradicted=contradicted.what)
    return attempt(nothing)


def make_image(planned: Planned, listener: Listener = SILENT, *, named: bool = True) -> BuiltImage:
    """Run the app's hooks, make the layers, and put the image together.

    With `named` false the store keeps the image for an index, and its references keep their meaning.
    """
    app, stack, decision, options = planned.app, planned.stack, planned.decision, planned.options
    session, store, references = planned.session, planned.session.store, planned.references
    listener = listener if listener.hears(stack.platform) else SILENT
    if options.whole or stack.name.startswith(("oci:", "archive:")):  # only this machine can read them from its disk
        fetch_layers(stack, store, session.environ, session.transport)
    listener.begin(references, stack.platform, stack.layers, unknown=bool(decision.written))
    fetcher = WheelFetcher(decision.resolution.wheels, app.lock.sources, session)
    with _hooks(planned, fetcher) as hooks:
        layers = assembly.make_layers(
            decision.plan.layers,
            decision.known,
            _entries(planned, hooks, fetcher),
            session,
            taken=decision.taken,
            listener=listener,
            give_up=hooks.stop if hooks else lambda: None,
        )
    image = _put_together(planned, layers)
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
    return BuiltImage(
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


def _put_together(planned: Planned, layers: Sequence[MadeLayer]) -> Image:
    """Return the image of the stack's layers and these, in the manifest format that its registry takes."""
    stack, plan, options = planned.stack, planned.decision.plan, planned.options
    image = assemble(
        [*stack.layers, *(made.layer for made in layers)],
        platform=stack.platform,
        created=plan.created,
        config=plan.config,
        annotations=plan.annotations,
    )
    registries = map(parse_reference, planned.references) if options.pushed else ()
    return convert(image, options.format or format_for(registries))


@contextmanager
def _naming(platform: str | None) -> Iterator[None]:
    """Begin errors with the platform, except those about the folder or the command line, which concern all platforms.

    A LostError stays as it is, because the caller builds again after it.
    """
    try:
        yield
    except (AppError, UsageError, LostError):
        raise
    except BuildpackError as error:
        about_app = isinstance(error, Problems) and all(isinstance(problem, AppError) for problem in error.problems)
        if platform is None or about_app:
            raise
        raise errors.for_platform(platform, error) from error


def read_folder(folder: Path, options: Options, session: Session) -> App:
    """Read the app in `folder`, with the interpreters of this machine as a choice of its Python; raises as `build`."""
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
    """Return the full names of the image, each once; by default the app's name as ``latest``."""
    references = [parse_reference(text) for text in options.references or (f"{app.settings.name}:latest",)]
    for reference in references:
        if reference.digest is not None:
            raise digest_asked(str(reference))
    return tuple(dict.fromkeys(map(str, references)))


def _look_up(app: App, references: tuple[str, ...], options: Options, session: Session) -> Lookup:
    """Begin to look up the earlier images that the build may reuse."""
    pushed = tuple(map(parse_reference, references)) if options.pushed else ()
    wanted = tuple(dict.fromkeys((*pushed, *map(parse_reference, options.cache_from))))
    return Lookup(
        () if options.no_cache else wanted,
        platform=platform_of(app, session),
        transport=session.transport,
        pushed=pushed,
    )


def _hooks(planned: Planned, fetcher: WheelFetcher) -> AbstractContextManager[Preparation | None]:
    """Return the context that runs the app's hooks when its layer is written; it gives None if the app has none."""
    if not planned.material.hooks:
        return nullcontext()
    from buildpack.hooks.preparation import Preparation

    return Preparation(
        name=str(planned.app.settings.name),
        material=planned.material,
        resolution=planned.decision.resolution,
        fetcher=fetcher,
        compiler=planned.compiler,
        session=planned.session,
    )


def _entries(planned: Planned, hooks: Preparation | None, fetcher: WheelFetcher) -> assembly.Entries:
    """Return the function that makes the entries of a planned layer."""
    material, stack = planned.material, planned.stack
    compiler = planned.compiler if planned.decision.bytecode.python else None

    def entries(layer: PlannedLayer) -> Iterable[Entry]:
        if layer.kind == "runtime":
            return material.runtime.written(compiler)
        if layer.kind == "dependencies":
            layout = layout_for(stack)
            return assembly.dependency_entries(layer, fetcher, layout=layout, compiler=compiler)
        if hooks is not None:
            return hooks.entries(layer.key)
        return assembly.app_entries(material.content, material.launch, mtime=material.mtime)

    return entries


def _elsewhere(image: Image, planned: Planned) -> dict[Digest, Reference]:
    """Return, for each layer that is not in the store, the image in a registry that has it."""
    stack, previous = planned.stack, planned.previous
    base = {layer.digest for layer in stack.layers if stack.name != "host"}
    places = {
        layer.digest: parse_reference(stack.reference) if layer.digest in base else previous.place_of(layer.digest)
        for layer in planned.session.store.missing(image.layers)
    }
    return {digest: place for digest, place in places.items() if place is not None}


def _warnings(planned: Planned) -> tuple[str, ...]:
    app, stack, decision = planned.app, planned.stack, planned.decision
    hooks = planned.session.store.recall("hooks", decision.plan.layers[-1].key) if planned.material.hooks else None
    warnings = [*app.warnings, *decision.settled, *stack.warnings, *decision.resolution.warnings, *(hooks or ())]
    if decision.bytecode.reason:
        warnings.append(errors.no_bytecode(stack.name, decision.bytecode.reason))
    return tuple(warnings)


def _with_grafted(stack: Stack, decision: Decision, store: Store) -> Stack:
    """Add the libraries of this machine that wheels got copies of to the files that decide the next build."""
    grafted = [wheel for wheel in decision.resolution.wheels if wheel.libraries]
    if not grafted:
        return stack
    from buildpack.steps.grafting import grafted_from

    return replace(stack, witnesses=(*stack.witnesses, *grafted_from(grafted, store)))
