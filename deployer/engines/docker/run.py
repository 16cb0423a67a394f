"""Runs an app or an image on a container engine: clear leftovers, get the image, then the formation or one command."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from buildpack.app.procfile import ONE_OFF
from buildpack.app.source import SourceTree
from buildpack.dataclass import dataclass, field
from buildpack.oci.reference import parse_reference
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.progress import Observer, Progress
from deployer.engines.docker import images
from deployer.engines.docker.client import Engine
from deployer.engines.docker.container import Blueprint, Limits, clear_leftovers
from deployer.engines.docker.launch import Launch
from deployer.engines.docker.owner import Owner, this_owner
from deployer.engines.ports import ports_of_web, read_port, require_free
from deployer.errors import engines as errors
from deployer.formation import PORT, choose_formation, find_one_off, one_off_text

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  what to poll for them, not what to bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to run, as the command line has it; `reference` is an image where no app was meant.

    `named` is empty if no process type was named, `environment` holds -e over env files. `options` say how to build.
    `port` and `host` are this machine's. Times are in seconds. `again` is the command that runs the same app or image,
    to which a process type can be added.
    """

    folder: Path
    reference: str | None
    named: Mapping[str, int]
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    host: str
    limits: Limits
    confined: bool
    build: bool
    options: Options = Options()
    terminal: bool
    boot_timeout: float
    health_host: str = ""
    stop_timeout: float
    restart: str
    log_format: str
    quiet: bool
    again: str = "deploy run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image to run: its name for people, the app's name, and its process types, None where it is not ours.

    `source` holds the app's files if the image was built from them just now.
    """

    shown: str
    app: str
    found: images.Found
    launch: Launch | None
    source: SourceTree | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """Who hears what is going on: `progress` of long work, and lines of text to `say` or to `warn` of."""

    progress: Observer
    say: Callable[[str], None]
    warn: Callable[[str], None]


def prepare(engine: Engine, request: Request, *, store: Store, environ: Mapping[str, str], hears: Observing) -> Image:
    """Clear what dead owners left, and get the image into the engine; raises BuildpackError."""
    owner = this_owner()
    for name in clear_leftovers(engine, owner):
        hears.say(f"removed {name}, which an earlier run left")
    if request.reference is not None:
        return _get_image(engine, request.reference, store=store, owner=owner, hears=hears)
    if request.build:
        return _build(engine, request, store=store, environ=environ, hears=hears)
    return _get_built(engine, request.folder, store=store, owner=owner, environ=environ, hears=hears)


def _build(engine: Engine, request: Request, *, store: Store, environ: Mapping[str, str], hears: Observing) -> Image:
    from buildpack.delivery.deliver import build_and_deliver
    from buildpack.options import Destination
    from buildpack.session import open_session

    done = build_and_deliver(
        request.folder,
        options=request.options,
        destinations=[Destination(kind="docker")],
        session=open_session(store, environ, observer=hears.progress),
    )
    built = done.images[0]
    if not done.unchanged:  # then its warnings are new
        for text in done.warnings:
            hears.warn(text)
    found = images.find_image(engine, built.references[0])
    assert found is not None, "just loaded"
    launch = Launch(processes=tuple(process.name for process in built.app.processes), formation=built.app.formation)
    return Image(
        shown=str(request.folder),
        app=built.app.settings.name.value,
        found=found,
        launch=launch,
        source=built.app.source,
    )


def _get_built(
    engine: Engine, folder: Path, *, store: Store, owner: Owner, environ: Mapping[str, str], hears: Observing
) -> Image:
    from buildpack.app.settings import read_settings

    name = read_settings(folder, environ=environ, flags={}).name.value
    reference = str(parse_reference(f"{name}:latest"))
    found = _find(engine, reference, store=store, hears=hears)
    if found is None:
        raise errors.image_unknown(f"{name}:latest")
    launch = images.read_launch(engine, found.id, owner=owner, suffix=secrets.token_hex(3))
    return Image(shown=f"{name}:latest", app=name, found=found, launch=launch)


def _get_image(engine: Engine, text: str, *, store: Store, owner: Owner, hears: Observing) -> Image:
    reference = parse_reference(text)
    found = _find(engine, str(reference), store=store, hears=hears)
    if found is None:
        hears.say(f"pulling {text}")
        images.pull_image(engine, str(reference), failed=partial(errors.image_not_pulled, text))
        found = images.find_image(engine, str(reference))
    if found is None:
        raise errors.image_not_pulled(text, "the engine does not have it after all.")
    launch = images.read_launch(engine, found.id, owner=owner, suffix=secrets.token_hex(3))
    return Image(shown=text, app=reference.repository.rpartition("/")[2], found=found, launch=launch)


def _find(engine: Engine, reference: str, *, store: Store, hears: Observing) -> images.Found | None:
    found = images.find_image(engine, reference)
    if found is not None:
        return found

    def observe(sent: int) -> None:
        hears.progress(Progress(stage="load", done=sent, unit="bytes"))

    return (
        images.find_image(engine, reference) if images.load_stored(engine, store, reference, observer=observe) else None
    )


def run_one(engine: Engine, request: Request, image: Image, *, warn: Callable[[str], None]) -> int:
    """Run one command with the terminal itself; returns its exit code."""
    from deployer.engines.docker.oneoff import run_command

    blueprint = Blueprint(
        app=image.app,
        process="run.1",
        image=image.found.id,
        command=list(request.command),
        environment=request.environment,
        limits=request.limits,
        confined=request.confined,
        stop_timeout=request.stop_timeout,
        terminal=request.terminal,
        interactive=True,
    )
    return run_command(blueprint, engine=engine, owner=this_owner(), suffix=secrets.token_hex(3), warn=warn)


def run_formation(
    engine: Engine,
    request: Request,
    image: Image,
    *,
    out: BinaryIO,
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> int:
    """Run the image's processes, a container each, until the first ends or a signal comes; returns the exit code.

    `say` is told what is not run.
    """
    from buildpack.app.health_host import find_health_host
    from deployer.engines.docker.group import Containers
    from deployer.engines.foreground import Boot, Foreground
    from deployer.interrupts import dismiss_helper
    from deployer.runner.supervisor import Settings

    if image.launch is None:
        raise errors.foreign_image(image.shown)
    formation = choose_formation(
        request.named, processes=image.launch.processes, formation=image.launch.formation, where=image.shown
    )
    if not (request.named or request.quiet) and (left := find_one_off(image.launch.processes, formation)):
        say(one_off_text(left, request.again))
    blueprints = draw_blueprints(request, image, formation)
    if engine.remote is None:
        require_free([one.published[2] for one in blueprints if one.published], address=request.host)
    settings = Settings(
        stop_timeout=request.stop_timeout,
        restart=request.restart,
        log_format=request.log_format,
        narrate=not request.quiet,
    )
    environment = {**image.found.environment, **request.environment}
    boot = Boot(
        seconds=request.boot_timeout,
        host=request.health_host or find_health_host(image.source, environment),
    )
    ground = Containers(blueprints, engine=engine, owner=this_owner())
    address = _reachable(engine, request.host)
    webs = ground.webs(address=address, shown=_shown(engine, request.host), host=boot.host) if address else []
    dismiss_helper()
    return Foreground(ground, settings, webs=webs, boot=boot, out=out, environ=environ).run()


def draw_blueprints(request: Request, image: Image, formation: Mapping[str, int]) -> list[Blueprint]:
    """Turn a formation into containers: ``web.2`` is published one port above ``web.1``, other types are not."""
    assert image.launch is not None
    inside = read_port({**image.found.environment, **request.environment}, PORT)
    outside = ports_of_web(request.port, formation.get("web", 0))
    types = sorted(image.launch.processes, key=lambda name: (name != "web", name in ONE_OFF))
    types = types if "web" in types else ["web", *types]
    blueprints = []
    for place, name in enumerate(types):
        for number in range(1, formation.get(name, 0) + 1):
            web = name == "web"
            port = inside if web else inside + 100 * place + number - 1
            process = f"{name}.{number}"
            blueprints.append(
                Blueprint(
                    app=image.app,
                    process=process,
                    image=image.found.id,
                    command=[name],
                    environment={**request.environment, "PORT": str(port), "PS": process, "DYNO": process},
                    limits=request.limits,
                    confined=request.confined,
                    published=(inside, request.host, outside[number - 1]) if web else None,
                    stop_timeout=request.stop_timeout,
                )
            )
    return blueprints


def _reachable(engine: Engine, host: str) -> str | None:
    """Return the address at which a port published on `host` answers from here; None where it does not."""
    if engine.remote is not None:
        return None if host in {"127.0.0.1", "::1"} else engine.remote
    return _ANY.get(host, host)


def _shown(engine: Engine, host: str) -> str:
    """Return the host of the URL that people are told."""
    if engine.remote is not None:
        return engine.remote
    return "localhost" if _ANY.get(host, host) == "127.0.0.1" else _bracketed(_ANY.get(host, host))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
