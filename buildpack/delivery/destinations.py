"""The places that an image can be delivered to, besides the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from buildpack.dataclass import replace
from buildpack.errors.delivery import destination_in_app, engine_of_another_platform, unknown_destination
from buildpack.oci.image import Platform
from buildpack.options import Destination, Options


def parse_destinations(texts: Sequence[str]) -> tuple[Destination, ...]:
    """Read the operands of `--to`, each once; raises UsageError."""
    found: dict[str, Destination] = {}
    for text in texts:
        kind, _, path = text.partition(":")
        if text == "docker":
            destination = Destination(kind="docker")
        elif text == "registry":
            destination = Destination(kind="registry")
        elif kind == "oci" and path:
            destination = Destination(kind="oci", path=Path(path))
        elif kind == "archive" and path:
            destination = Destination(kind="archive", path=Path(path))
        else:
            raise unknown_destination(text)
        found[str(destination)] = destination
    return tuple(found.values())


def fit_options(options: Options, destinations: Sequence[Destination]) -> Options:
    """Return the options of a build for these destinations: layers that only a registry needs may stay in one."""
    kinds = {destination.kind for destination in destinations}
    return replace(options, pushed="registry" in kinds, whole=kinds != {"registry"})


def warn_of_shipping(destinations: Sequence[Destination], folder: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each destination among the app's files, because the next image would contain this one."""
    root = folder.resolve()
    inside = {
        destination: place.relative_to(root)
        for destination in destinations
        if destination.path is not None and (place := destination.path.resolve()).is_relative_to(root)
    }
    if not inside:
        return ()
    from buildpack.app.source import read_source

    shipped = [Path(file.path) for file in read_source(folder, environ=environ).files]
    return tuple(
        destination_in_app(str(destination))
        for destination, place in inside.items()
        if any(path.is_relative_to(place) for path in shipped)
    )


def platform_of_engine(platforms: Sequence[Platform], environ: Mapping[str, str]) -> Platform:
    """Return the platform, of several, that the engine runs; raises EngineError if it runs none of them."""
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
