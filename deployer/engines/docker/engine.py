"""A container engine, Docker or Podman, as a place that runs apps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from buildpack.app.procfile import ONE_OFF
from buildpack.app.read import App
from buildpack.app.source import SourceTree
from buildpack.dataclass import dataclass
from buildpack.oci.reference import parse_reference
from buildpack.oci.store import Store
from buildpack.session import Session
from deployer.engines.docker import images
from deployer.engines.docker.client import Client
from deployer.engines.docker.container import Blueprint
from deployer.engines.docker.ground import Containers
from deployer.engines.docker.owner import clear_containers
from deployer.engines.docker.trial import DockerTrial
from deployer.engines.engine import Candidate, Listener, Request
from deployer.engines.ports import ports_of_web, read_port, require_free
from deployer.errors import engines as errors
from deployer.formation import PORT, Launch, choose_formation, left_out_text
from deployer.interrupts import dismiss_helper


class DockerEngine:
    """A connection to a container engine; see `deployer.engines.engine.Engine` for its methods."""

    def __init__(self, client: Client, *, why: str) -> None:
        self.name, self.why = client.name, why
        self._client = client

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def require(self, options: Sequence[str]) -> None:
        """Accept every option."""

    def offer(
        self, request: Request, *, store: Callable[[], Store], environ: Mapping[str, str], listener: Listener
    ) -> ImageApp:
        """Remove containers that dead owners left, and get the image into the engine; raises BuildpackError."""
        client, opened = self._client, store()
        given = _read_variables(request, environ, listener)
        if not request.command:
            read_port(given, PORT)  # before a build that would be useless
        for name in clear_containers(client):
            listener.say(f"removed {name}, which an earlier run left")
        get = _build if request.build and request.reference is None else _get_image
        image = get(client, request, store=opened, environ=environ, listener=listener)
        return ImageApp(client, request, image, given, listener)

    def check_tests(self, app: App, session: Session) -> bool:
        """Return True: the develop packages go into a layer, which the build checks."""
        return True

    def trial(self, candidate: Candidate) -> DockerTrial:
        """Return a trial in containers."""
        return DockerTrial(self._client, candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image to run: its name for people, the app's name, and its process types, None if it is not ours.

    `source` holds the app's files if the image was built from them just now.
    """

    shown: str
    app: str
    found: images.Found
    launch: Launch | None
    source: SourceTree | None = None


class ImageApp:
    """An image that the engine has, and how to run it."""

    def __init__(
        self, client: Client, request: Request, image: Image, given: Mapping[str, str], listener: Listener
    ) -> None:
        self._client, self._request, self._image, self._given = client, request, image, given
        self._listener = listener
        self.source = image.source
        self.environment: Mapping[str, str] = {**image.found.environment, **given}

    def ground(self) -> Containers:
        """Return a container for each process of the formation."""
        request, launch = self._request, self._image.launch
        if launch is None:
            raise errors.foreign_image(self._image.shown)
        types = list(launch.processes)
        counts = choose_formation(request.named, processes=types, formation=launch.formation, where=self._image.shown)
        if not (request.named or request.quiet) and (left := left_out_text(types, counts, request.again)):
            self._listener.say(left)
        blueprints = draw_blueprints(request, self._image, types, counts, self._given)
        if self._client.remote is None:
            require_free([one.published[2] for one in blueprints if one.published], address=request.host)
        dismiss_helper()
        return Containers(blueprints, client=self._client)

    def attach(self) -> int:
        """Run the request's command with the terminal itself."""
        from deployer.engines.docker.oneoff import run_command

        request = self._request
        blueprint = Blueprint(
            app=self._image.app,
            process="run.1",
            image=self._image.found.id,
            command=list(request.command),
            environment=self._given,
            limits=request.limits,
            confined=request.confined,
            stop_timeout=request.stop_timeout,
            terminal=request.terminal,
            interactive=True,
        )
        return run_command(blueprint, client=self._client, warn=self._listener.warn)


def _read_variables(request: Request, environ: Mapping[str, str], listener: Listener) -> dict[str, str]:
    """Return the variables of -e, over --env-file, over the app's .env, over its app.json; none of this process's."""
    from deployer.settings.app_variables import default_variables
    from deployer.settings.environment import merge_environment, pass_on, read_env_files

    app = request.folder if request.reference is None else None
    files = read_env_files(request.env_files, app=app, own=app is not None, environ={})
    given = merge_environment(
        given=pass_on(request.assignments, environ, warn=listener.warn), environ={}, files=files, defaults={}
    )
    if app is None:
        return given
    defaults = default_variables(app, given={name for name in given if given[name]}, environ=environ)
    defaults.tell(say=listener.say, warn=listener.warn, insist=not request.command)
    return defaults.below(given)


def _build(client: Client, request: Request, *, store: Store, environ: Mapping[str, str], listener: Listener) -> Image:
    from buildpack.delivery.deliver import build_and_deliver
    from buildpack.options import Destination
    from buildpack.session import open_session

    done = build_and_deliver(
        request.folder,
        options=request.options,
        destinations=[Destination(kind="docker")],
        session=open_session(store, environ, observer=listener.progress),
    )
    built = done.images[0]
    if not done.unchanged:  # then its warnings are new
        for text in done.warnings:
            listener.warn(text)
    found = images.find_image(client, built.references[0])
    assert found is not None, "just loaded"
    processes = {process.name: process.command for process in built.app.processes}
    return Image(
        shown=str(request.folder),
        app=built.app.settings.name.value,
        found=found,
        launch=Launch(processes=processes, formation=built.app.formation),
        source=built.app.source,
    )


def _get_image(
    client: Client, request: Request, *, store: Store, environ: Mapping[str, str], listener: Listener
) -> Image:
    """Get the image that the request names, or the last one that was built of its app, which nobody can pull."""
    from buildpack.app.settings import read_settings

    name = "" if request.reference else read_settings(request.folder, environ=environ, flags={}).name.value
    text = request.reference or f"{name}:latest"
    reference = parse_reference(text)
    found = images.find_or_load(client, store, str(reference), listener.progress)
    if found is None and name:
        raise errors.image_unknown(text)
    if found is None:
        listener.say(f"pulling {text}")
        images.pull_image(client, str(reference), failed=partial(errors.image_not_pulled, text))
        found = images.find_image(client, str(reference))
    if found is None:
        raise errors.image_not_pulled(text, "the engine does not have it after all.")
    app = name or reference.repository.rpartition("/")[2]
    return Image(shown=text, app=app, found=found, launch=images.read_launch(client, found.id))


def draw_blueprints(
    request: Request, image: Image, types: Sequence[str], counts: Mapping[str, int], given: Mapping[str, str]
) -> list[Blueprint]:
    """Turn a formation into containers: ``web.2`` is published one port above ``web.1``, other types are not."""
    inside = read_port({**image.found.environment, **given}, PORT)
    outside = ports_of_web(request.port or request.default_port, counts.get("web", 0))
    ordered = sorted(types, key=lambda name: (name != "web", name in ONE_OFF))
    ordered = ordered if "web" in ordered else ["web", *ordered]
    blueprints = []
    for place, name in enumerate(ordered):
        for number in range(1, counts.get(name, 0) + 1):
            web = name == "web"
            port = inside if web else inside + 100 * place + number - 1
            process = f"{name}.{number}"
            blueprints.append(
                Blueprint(
                    app=image.app,
                    process=process,
                    image=image.found.id,
                    command=[name],
                    environment={**given, "PORT": str(port), "PS": process, "DYNO": process},
                    limits=request.limits,
                    confined=request.confined,
                    published=(inside, request.host, outside[number - 1]) if web else None,
                    stop_timeout=request.stop_timeout,
                )
            )
    return blueprints
