"""The services behind the tests' add-ons in app.json: Heroku CI's ``in-dyno`` ones, as containers.

Everything here is a value; a trial starts them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from buildpack.app.app_json import Addon
from buildpack.dataclass import dataclass, field
from buildpack.errors import UsageError
from buildpack.oci.reference import parse_reference
from deployer.engines.engine import Service
from deployer.errors import ci as errors


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How a server is started in its official image; ``{password}`` and ``{address}`` are replaced.

    `attached_as` is the first part of the variable's name if app.json gives none. The server is ready as soon as
    `probe` prints `ready`, run in its container.
    """

    image: str
    version: str
    attached_as: str
    url: str
    probe: Sequence[str]
    ready: str
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


_KINDS = {
    "heroku-postgresql": _Kind(
        image="postgres",
        version="17",
        attached_as="DATABASE",
        # libpq takes `postgres:` as well, SQLAlchemy does not.
        url="postgresql://app:{password}@{address}:5432/app",
        # The image's first server, which makes the database, listens on a Unix socket alone.
        probe=("pg_isready", "-h", "127.0.0.1", "-U", "app", "-d", "app"),
        ready="accepting connections",
        environment={"POSTGRES_USER": "app", "POSTGRES_DB": "app", "POSTGRES_PASSWORD": "{password}"},
    ),
    "heroku-redis": _Kind(
        image="redis",
        version="7",
        attached_as="REDIS",
        url="redis://:{password}@{address}:6379",
        probe=("redis-cli", "ping"),
        ready="PONG",
        command=("redis-server", "--requirepass", "{password}", "--save", "", "--appendonly", "no"),
        environment={"REDISCLI_AUTH": "{password}"},
    ),
}


def parse_service_images(texts: Iterable[str]) -> Mapping[str, str]:
    """Read ``ADDON=IMAGE`` operands of `--service`; raises UsageError."""
    images = {}
    for text in texts:
        addon, _, image = text.partition("=")
        if addon not in _KINDS:
            raise errors.bad_service(text, f"deploy starts {' and '.join(_KINDS)}")
        try:
            parse_reference(image)
        except UsageError as error:
            raise errors.bad_service(text, error.what) from error
        images[addon] = image
    return images


def choose_services(
    addons: Sequence[Addon],
    images: Mapping[str, str],
    *,
    given: Collection[str],
    warn: Callable[[str], object],
    make: Callable[[], str] = lambda: secrets.token_hex(16),
) -> tuple[Service, ...]:
    """Return what to start; `images` are by add-on, and `make` makes a password.

    A service whose variable is `given` is not started. An unknown add-on is not started either, and `warn` is called.
    Raises UsageError for images of add-ons that app.json does not have, AppError for two services with one variable.
    """
    for name in images:
        if all(each.name != name for each in addons):
            raise errors.service_not_asked_for(name)
    found: dict[str, Service] = {}
    for addon in addons:
        kind = _KINDS.get(addon.name)
        if kind is None:
            warn(errors.addon_unknown(addon.name))
            continue
        variable = f"{addon.attached_as or kind.attached_as}_URL"
        if variable in given:
            continue
        if variable in found:
            raise errors.variable_twice(variable)
        found[variable] = _service(addon, kind, variable, images.get(addon.name, ""), make())
    return tuple(found.values())


def _service(addon: Addon, kind: _Kind, variable: str, image: str, password: str) -> Service:
    def fill(text: str) -> str:
        return text.replace("{password}", password)

    return Service(
        addon=addon.name,
        variable=variable,
        image=image or f"{kind.image}:{addon.version or kind.version}",
        probe=kind.probe,
        ready=kind.ready,
        command=[fill(word) for word in kind.command],
        environment={name: fill(value) for name, value in kind.environment.items()},
        password=password,
        url_pattern=fill(kind.url),
    )
