"""Finds logins for registries in the places where docker, podman and pipelines keep them.

The first of these with a login for the registry counts: DEPLOY_REGISTRY_USER with DEPLOY_REGISTRY_PASSWORD, docker's
``config.json`` (``credHelpers``, ``credsStore``, ``auths``), podman's ``auth.json`` (containers-auth.json(5)), which
may have logins for one namespace or repository. A place that cannot be read counts as empty, and is reported only if a
login turns out to be needed: a broken helper must not block a public image.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass
from buildpack.net.secret import Secret
from buildpack.oci.registry_helper import HelperFailed, ask_helper, text_of

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_NONE = Secret("")
_IDENTITY = Secret("<token>")
"""The user name with which a helper says that its secret is an identity token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user (also secret: tokens are often sent as the user) and a password, or a token.

    `identity` is an OAuth2 refresh token, `bearer` a token that is sent as it is; `source` says where the login is
    from.
    """

    source: str
    user: Secret = _NONE
    password: Secret = _NONE
    identity: Secret = _NONE
    bearer: Secret = _NONE

    @property
    def basic(self) -> str:
        """The header for basic authentication (RFC 7617, in UTF-8); "" if there is only a token."""
        from base64 import b64encode

        if not self.password:
            return ""
        # A variable may have bytes that are not UTF-8; they are sent unchanged.
        pair = f"{self.user.reveal()}:{self.password.reveal()}".encode(errors="surrogateescape")
        return f"Basic {b64encode(pair).decode()}"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Texts that must not be shown."""
        return tuple(each for each in (self.password, self.identity, self.bearer, Secret(self.basic[6:])) if each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The logins for one registry, each with a namespace, "" for all repositories; earlier logins are preferred.

    `notes` are sentences about configuration that could not be used.
    """

    found: tuple[tuple[str, Login], ...]
    notes: tuple[str, ...] = ()

    def of(self, repository: str) -> Login | None:
        """Return the login for a repository."""
        fitting = (login for place, login in self.found if not place or f"{repository}/".startswith(f"{place}/"))
        return next(fitting, None)


def find_logins(registry: str, environ: Mapping[str, str], *, home: bool) -> Logins:
    """Find the logins for a registry; `home` is True if DEPLOY_REGISTRY_USER is for it."""
    notes: list[str] = []
    # Secrets of pipelines often end with a line break; `docker login --password-stdin` removes it too.
    user, password = (
        environ.get("DEPLOY_REGISTRY_USER", "").strip(),
        environ.get("DEPLOY_REGISTRY_PASSWORD", "").strip("\r\n"),
    )
    if user and password:
        if home:
            login = Login(source="DEPLOY_REGISTRY_USER", user=Secret(user), password=Secret(password))
            return Logins(found=(("", login),))
        notes.append("DEPLOY_REGISTRY_USER is for the registries of `-t` and `--cache-from`, not for this one.")
    elif user or password:
        there, missing = ("USER", "PASSWORD") if user else ("PASSWORD", "USER")
        notes.append(f"DEPLOY_REGISTRY_{there} is set, DEPLOY_REGISTRY_{missing} is not.")
    keys = registry_keys(registry)
    found: list[tuple[str, Login]] = []
    for path in _config_files(environ):
        config = _read_config(path, notes)
        found += _from_config(config, str(path), keys, environ, notes)
        if any(namespace == "" for namespace, _ in found):
            break
    return Logins(found=tuple(found), notes=tuple(dict.fromkeys(notes)))


def registry_keys(registry: str) -> tuple[str, ...]:
    """Return the names that a registry's login may have, the usual one first."""
    return (*_HUB_KEYS[:1], registry, *_HUB_KEYS[1:]) if registry == "docker.io" else (registry,)


def _config_files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = environ.get("HOME", "")
    if folder := environ.get("DOCKER_CONFIG", ""):
        yield Path(folder, "config.json")
    elif home:
        yield Path(home, ".docker", "config.json")
    if file := environ.get("REGISTRY_AUTH_FILE", ""):
        yield Path(file)
        return
    if runtime := environ.get("XDG_RUNTIME_DIR", ""):
        yield Path(runtime, "containers", "auth.json")
    elif sys.platform == "linux":
        yield Path(f"/run/containers/{os.getuid()}/auth.json")
    if folder := environ.get("XDG_CONFIG_HOME", ""):
        yield Path(folder, "containers", "auth.json")
    elif home:
        yield Path(home, ".config", "containers", "auth.json")


def _read_config(path: Path, notes: list[str]) -> Mapping[str, Any]:
    try:
        config = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        notes.append(f"{path} cannot be read: {error.strerror}.")
        return {}
    except ValueError:
        notes.append(f"{path} is not JSON.")
        return {}
    if isinstance(config, dict):
        return config
    notes.append(f"{path} is not a JSON object.")
    return {}


def _from_config(
    config: Mapping[str, Any], source: str, keys: tuple[str, ...], environ: Mapping[str, str], notes: list[str]
) -> list[tuple[str, Login]]:
    """Ask the helper for this registry, then the helper for all, then read the file itself."""
    helpers = config.get("credHelpers")
    own = [helpers[key] for key in keys if key in helpers] if isinstance(helpers, dict) else []
    # As in docker, an empty name means that this registry's login is in the file.
    for name in own[:1] if own[:1] == [""] else [*own[:1], config.get("credsStore")]:
        if isinstance(name, str) and name:
            login = _from_helper(name, keys, environ, notes)
            if login is not None:
                return [("", login)]
    auths = config.get("auths")
    return _from_auths(auths, source, keys, notes) if isinstance(auths, dict) else []


def _from_helper(name: str, keys: tuple[str, ...], environ: Mapping[str, str], notes: list[str]) -> Login | None:
    try:
        answer = ask_helper(name, keys, environ)
    except HelperFailed as failed:
        notes.append(str(failed))
        return None
    if answer is None:
        return None
    user, secret = answer
    source = f"docker-credential-{name}"
    return (
        Login(source=source, identity=secret) if user == _IDENTITY else Login(source=source, user=user, password=secret)
    )


def _from_auths(
    auths: Mapping[str, Any], source: str, keys: tuple[str, ...], notes: list[str]
) -> list[tuple[str, Login]]:
    """Read the logins in ``auths`` for a registry, the longest namespace first."""
    found: dict[str, Login] = {}
    for key in keys:
        # The exact key comes before keys with the same meaning.
        for name in sorted(auths, key=lambda name: name != key):
            host, namespace = _parse_key(name)
            if host == _parse_key(key)[0] and namespace not in found:
                login = _from_entry(auths[name], source, notes)
                if login is not None:
                    found[namespace] = login
    return sorted(found.items(), key=lambda each: -len(each[0]))


def _parse_key(key: str) -> tuple[str, str]:
    """Split a key of ``auths`` into host and namespace.

    Docker's keys may be addresses, ``https://HOST/v1/``, whose path has no meaning; podman's may have a namespace.
    """
    bare = key.removeprefix("https://").removeprefix("http://")
    host, _, path = bare.partition("/")
    path = path.strip("/")
    return host, path if bare == key and path not in {"v1", "v2"} else ""


def _from_entry(entry: object, source: str, notes: list[str]) -> Login | None:
    """Read an entry of ``auths``; None if it is empty, as a credential store leaves it."""
    from base64 import b64decode

    if not isinstance(entry, dict):
        return None
    user, password = text_of(entry, "username"), text_of(entry, "password")
    if coded := text_of(entry, "auth"):
        try:
            # As docker reads it: base64 may be wrapped, and its content padded. `echo` adds a line break.
            user, _, password = b64decode("".join(coded.split()), validate=True).decode().partition(":")
        except ValueError:
            notes.append(f"{source}: the auth of an entry is not USER:PASSWORD in base64.")
            return None
        password = password.strip("\0").rstrip("\r\n")
    identity, bearer = text_of(entry, "identitytoken"), text_of(entry, "registrytoken")
    if not ((user and password) or identity or bearer):
        return None
    return Login(
        source=source, user=Secret(user), password=Secret(password), identity=Secret(identity), bearer=Secret(bearer)
    )
