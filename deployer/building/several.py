"""Builds an app for several platforms and sends the index where it is wanted: `building` for more than one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.dataclass import replace
from buildpack.oci.image import Platform
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.platforms import BuiltIndex, build_platforms
from buildpack.progress import Observer
from deployer.building.delivery import until_whole
from deployer.building.destinations import Delivery, Destination, deliver, shipped_next, write_to_disk
from deployer.building.launcher import read_launcher
from deployer.errors.commands import engine_of_another_platform
from deployer.interrupts import ending_promptly
from deployer.session import open_session

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport


def build_and_deliver_several(
    app: Path,
    *,
    platforms: Sequence[Platform],
    options: Options,
    destinations: Sequence[Destination],
    store: Store,
    environ: Mapping[str, str],
    observer: Observer,
    transport: Transport | None = None,
) -> tuple[BuiltIndex, list[str]]:
    """Build the app for each platform; returns the index, and what was sent to each destination, in words.

    An engine gets the image of its own platform. Registries are spoken to through `transport`. What turns out damaged
    in the store, or gone from a registry, is made anew, once.
    """
    engines = [destination for destination in destinations if destination.kind == "docker"]
    chosen = _of_engine(platforms, environ) if engines else None

    session = open_session(store, environ, observer=observer, transport=transport)

    def attempt(options: Options) -> tuple[BuiltIndex, list[str]]:
        with Delivery(engines, store, environ, observer) as delivery:
            built = build_platforms(
                app,
                platforms=platforms,
                options=options,
                launcher=read_launcher(),
                session=session,
                listeners={chosen: delivery} if chosen else None,
            )
            said: list[str] = []
            for destination in destinations:
                if destination.kind == "docker":
                    one = next(one for one in built.platforms if one.stack.platform == chosen)
                    said += deliver(delivery, one)
                elif destination.kind == "registry":
                    said.append(_push(built, store, observer, transport, options.gone))
                else:
                    said.append(write_to_disk(built.index, destination, store, built.references))
            return _warning(built, shipped_next(destinations, app, environ)), said

    with ending_promptly():
        (built, said), told = until_whole(attempt, options, store)
        return _warning(built, told), said


def _warning(built: BuiltIndex, texts: Sequence[str]) -> BuiltIndex:
    first, *others = built.platforms
    return replace(built, platforms=(replace(first, warnings=(*first.warnings, *texts)), *others))


def _push(
    built: BuiltIndex, store: Store, observer: Observer, transport: Transport | None, gone: frozenset[str]
) -> str:
    from deployer.building.pushing import parse_targets, push_several, pushed_text

    assert transport is not None
    targets = parse_targets(built.references)
    pushed = push_several(built, targets, store=store, transport=transport, observer=observer, gone=gone)
    return pushed_text(pushed, built.index)


def _of_engine(platforms: Sequence[Platform], environ: Mapping[str, str]) -> Platform:
    """Return which of the platforms is the engine's; raises EngineError where none is."""
    from buildpack.oci.engine_host import require_engine
    from buildpack.oci.engine_http import Connection
    from buildpack.oci.engine_images import engine_platform
    from buildpack.oci.manifest import serves
    from buildpack.stacks.platforms import native_platform

    connection = Connection(require_engine(environ))
    try:
        engine = engine_platform(connection) or native_platform()
    finally:
        connection.close()
    found = next((platform for platform in platforms if serves(platform, engine)), None)
    if found is None:
        raise engine_of_another_platform(str(engine), [str(platform) for platform in platforms])
    return found
