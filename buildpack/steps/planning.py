"""Decide the content of the image with as few look-ups as possible.

Resolving, planning and the search for known layers repeat until they agree. An earlier image's claims about a wheel
count while its layer with that wheel is taken. If the layer must be written, its wheels are looked up like all others,
and the plan is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildpack import plan
from buildpack.app.findings import settle
from buildpack.app.hook_programs import Hooks, plan_hooks
from buildpack.app.read import App
from buildpack.dataclass import dataclass, field, replace
from buildpack.errors import checks as check_errors
from buildpack.errors import together
from buildpack.oci.entry import image_time, render_time
from buildpack.oci.image import ANNOTATION, Layer, canonical_json, pack
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.plan import Bytecode, Plan, PlannedLayer
from buildpack.python.about import need
from buildpack.python.build_settings import read_settings
from buildpack.session import Session
from buildpack.stacks.stack import Stack
from buildpack.steps import assembly
from buildpack.steps.earlier_images import Previous, pull_layers
from buildpack.steps.install_target import InstallTarget, Resolution, layout_for, recall_brought, target_of
from buildpack.steps.resolution import resolve
from buildpack.steps.reuse import NOTHING
from buildpack.steps.runtime import Runtime, make_runtime, read_launcher
from buildpack.steps.stack_compiler import StackCompiler


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The content of the layers besides wheels, and the hooks that run on the app's files first.

    `mtime` is that of the app's files, in seconds since 1970.
    """

    content: assembly.AppContent
    runtime: Runtime
    launch: bytes
    mtime: int
    hooks: Hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The plan of an image, its wheels, and the layers that exist already.

    `known` are layers of the store, `taken` are layers of earlier images, and `doubts` say why other layers of theirs
    are not taken; all by key. `settled` are warnings about the app that depend on the wheels.
    """

    plan: Plan
    resolution: Resolution
    bytecode: Bytecode
    known: Mapping[str, Layer]
    taken: Mapping[str, Layer]
    doubts: Mapping[str, str] = field(default_factory=dict)
    settled: tuple[str, ...] = ()

    @property
    def written(self) -> tuple[PlannedLayer, ...]:
        """The layers that must be written."""
        return tuple(each for each in self.plan.layers if each.key not in self.known and each.key not in self.taken)


def material_for(app: App, stack: Stack, options: Options, session: Session) -> Material:
    """Read the app's files, and gather the content of the other layers that is not wheels."""
    mtime = image_time(options.epoch)
    return Material(
        content=assembly.read_content(app.folder, app.source.files, mtime=mtime),
        runtime=make_runtime(options.launcher or read_launcher(), stack),
        launch=plan.launch_json(
            processes={process.name: process.command for process in app.processes},
            default=app.default,
            app_object=app.app_object.target if app.app_object else None,
            formation=app.formation,
        ),
        mtime=mtime,
        hooks=plan_hooks(app, given=options.build_env, environ=session.environ),
    )


def decide(
    app: App, material: Material, previous: Previous, *, compiler: StackCompiler, options: Options, session: Session
) -> Decision:
    """Decide what the image holds, on the compiler's stack.

    Raises DependencyError if a wheel is not available, and FactsContradicted if an earlier image contradicts its base.
    """
    stack, store = compiler.stack, session.store
    claims = previous.claims(stack)
    target = target_on(compiler, app, session)
    gone = dict.fromkeys(options.gone, "")
    while True:  # Each round believes less: fewer claims, or fewer layers of earlier images. So the loop ends.
        bytecode = compiler.decide(claims.bytecode)
        resolution = resolve(app.lock, app.lock.packages, target, session, folder=app.folder, claims=claims)
        planned = _plan(app, stack, resolution, material, bytecode=bytecode, labels=options.labels)
        known = {} if options.no_cache else assembly.known_layers(planned.layers, store)
        taken, doubts = previous.take([each for each in planned.layers if each.key not in known], gone=gone)
        if options.whole and session.transport:
            places = [(layer, place) for layer in taken.values() if (place := previous.place_of(layer.digest))]
            if lost := pull_layers(places, store, session.transport):
                gone |= lost
                continue
        decision = Decision(
            plan=planned, resolution=resolution, bytecode=bytecode, known=known, taken=taken, doubts=doubts
        )
        needing = material.hooks and any(layer.kind == "app" for layer in decision.written)
        fewer = NOTHING if needing else claims.without(decision.written)  # hooks need every wheel
        if fewer == claims:
            if stack.claimed and any(layer.kind == "runtime" for layer in decision.written):
                # The layer is made of the base's facts, such as its accounts. So they must be verified now.
                from buildpack.stacks.run_python import look_into

                look_into(stack, store, session.environ, session.transport)
            return replace(decision, settled=_settle(app, stack, resolution, store, strict=options.strict))
        claims = fewer


def _settle(app: App, stack: Stack, resolution: Resolution, store: Store, *, strict: bool) -> tuple[str, ...]:
    """Return warnings about modules and programs that no wheel has; raises AppError for those that the app needs."""
    if not app.doubts:
        return ()
    sums = [(wheel.sha256,) for wheel in resolution.wheels]
    brought = None if resolution.claimed else recall_brought(sums, store, machine=stack.machine)
    found, notices = settle(app.doubts, brought)
    if found:
        raise together(found)
    warnings = tuple(map(str, notices))
    if strict and warnings:
        raise check_errors.strict(warnings)
    return warnings


def target_on(compiler: StackCompiler, app: App, session: Session) -> InstallTarget:
    """Return the environment of the app's image on the compiler's stack."""
    stack = compiler.stack
    return InstallTarget(
        target=target_of(stack),
        layout=layout_for(stack),
        # Facts that an earlier image claims must not be confused with facts that were seen.
        identity=f"{stack.digest}{' claimed' if stack.claimed else ''}",
        interpreter=compiler.builder,
        settings=read_settings(app, session.environ),
        stack=stack,
        compiler=compiler,
    )


def _plan(
    app: App, stack: Stack, resolution: Resolution, material: Material, *, bytecode: Bytecode, labels: Mapping[str, str]
) -> Plan:
    layer_format = assembly.FORMAT
    runtime_key = plan.runtime_key(layer_format=layer_format, files=material.runtime.listed(), bytecode=bytecode)
    app_key = plan.app_key(
        material.content.files,
        layer_format=layer_format,
        launch=material.launch,
        mtime=material.mtime,
        hooks=material.hooks.key(stack=str(stack.digest), wheels=[wheel.sha256 for wheel in resolution.wheels]),
    )
    layers = (
        PlannedLayer(kind="runtime", slot="runtime", key=runtime_key),
        *plan.dependency_layers(
            resolution.wheels, layer_format=layer_format, python=stack.python.series, bytecode=bytecode
        ),
        PlannedLayer(kind="app", slot="app", key=app_key),
    )
    stated = {
        "org.opencontainers.image.title": app.settings.title,
        "org.opencontainers.image.version": app.version,
        "org.opencontainers.image.base.name": stack.base_name,
    }
    given = {
        **{name: value for name, value in stated.items() if value},
        "org.opencontainers.image.base.digest": str(stack.digest),
        "dev.deploy.python": stack.python.version,
        "dev.deploy.bytecode": bytecode.python or "none",
        "dev.deploy.lock": f"sha256:{app.lock.sha256}",
        **labels,
    }
    return Plan(
        layers=layers,
        platform=stack.platform,
        created=render_time(material.mtime),
        config=plan.image_config(stack.config, stack_python=stack.python.executable, labels=given),
        annotations={
            ANNOTATION + "stack": pack(canonical_json({"digest": str(stack.digest), **_facts(stack)})),
            **({ANNOTATION + "direct": direct} if (direct := _direct(app)) else {}),
        },
    )


def _direct(app: App) -> str:
    """Return the packages that Pipfile names, as `NEED` has them; empty if there is no Pipfile."""
    return " ".join(need(package.name, package.extras) for package in app.lock.packages if package.requested)


def _facts(stack: Stack) -> dict[str, Any]:
    """Return the facts that the next build needs. They are few, because every push sends them."""
    facts = {name: value for name, value in stack.facts.render().items() if name != "sonames" and value is not None}
    if stack.packages:
        facts["packages"] = stack.packages
    return {**facts, "host": stack.identity} if stack.identity else facts
