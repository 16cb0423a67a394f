"""Logins for registries, from where docker, podman and pipelines keep them.

The first of these that knows the registry: DEPLOY_REGISTRY_USER with DEPLOY_REGISTRY_PASSWORD, docker's ``config.json``
(``credHelpers``, ``credsStore``, ``auths``), podman's ``auth.json``. What cannot be read counts as no login, and is
told where one turns out to be needed: a broken helper must not stand in the way of a public image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildpack.oci.reference import Reference
from buildpack.secret import Secret

__all__ = ["Found", "Login", "find_login", "registry_keys"]

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NONE = Secret("")
_HELPER_LASTS = 60.0
"""Seconds: some ask a cloud for a token first."""
_IDENTITY = "<token>"
"""The user name with which a helper says that its secret is an identity token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user (a secret too: tokens are often sent as the user) and a password, or a token.

    `identity` is an OAuth2 refresh token, `bearer` one that is sent as it is; `source` says where all this came from.
    """

    source: str
    user: Secret = _NONE
    password: Secret = _NONE
    identity: Secret = _NONE
    bearer: Secret = _NONE

    @property
    def basic(self) -> str:
        """The header for basic authentication (RFC 7617, in UTF-8), empty where there is only a token."""
        from base64 import b64encode

        if not self.password:
            return ""
        pair = f"{self.user.reveal()}:{self.password.reveal()}".encode()
        return f"Basic {b64encode(pair).decode()}"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be shown."""
        return tuple(each for each in (self.password, self.identity, self.bearer, Secret(self.basic[6:])) if each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A login, if there is one, and what was in the way of finding one."""

    login: Login | None
    notes: tuple[str, ...] = ()


def find_login(reference: Reference, environ: Mapping[str, str], *, home: bool) -> Found:
    """Look for the login of a reference's registry; `home` registries are those that DEPLOY_REGISTRY_USER is for."""
    notes: list[str] = []
    user, password = environ.get("DEPLOY_REGISTRY_USER", ""), environ.get("DEPLOY_REGISTRY_PASSWORD", "")
    if user and password:
        if home:
            return Found(
                login=Login(source="DEPLOY_REGISTRY_USER", user=Secret(user), password=Secret(password)), notes=()
            )
        notes.append(
            "DEPLOY_REGISTRY_USER is for the registries of `-t` and `--cache-from`; "
            f"DEPLOY_REGISTRY={reference.registry} would make it this one's."
        )
    elif user or password:
        there, missing = ("USER", "PASSWORD") if user else ("PASSWORD", "USER")
        notes.append(f"DEPLOY_REGISTRY_{there} is set, DEPLOY_REGISTRY_{missing} is not.")
    keys = registry_keys(reference.registry)
    for path in _config_files(environ):
        config = _read_config(path, notes)
        login = _from_config(config, str(path), keys, environ, notes)
        if login is not None:
            return Found(login=login, notes=tuple(notes))
    return Found(login=None, notes=tuple(notes))


def registry_keys(registry: str) -> tuple[str, ...]:
    """Return the names under which a registry's login may be kept, the usual one first."""
    return (*_HUB_KEYS[:1], registry, *_HUB_KEYS[1:]) if registry == "docker.io" else (registry,)


def _config_files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = environ.get("HOME", "")
    if folder := environ.get("DOCKER_CONFIG", ""):
        yield Path(folder, "config.json")
    elif home:
        yield Path(home, ".docker", "config.json")
    if file := environ.get("REGISTRY_AUTH_FILE", ""):
        yield Path(file)
    elif runtime := environ.get("XDG_RUNTIME_DIR", ""):
        yield Path(runtime, "containers", "auth.json")


def _read_config(path: Path, notes: list[str]) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        notes.append(f"{path} cannot be read: {error.strerror}.")
        return {}
    except (ValueError, RecursionError):
        notes.append(f"{path} is not JSON.")
        return {}
    if isinstance(config, dict):
        return config
    notes.append(f"{path} is not a JSON object.")
    return {}


def _from_config(
    config: Mapping[str, Any], source: str, keys: tuple[str, ...], environ: Mapping[str, str], notes: list[str]
) -> Login | None:
    """Ask the helper of this registry, then the one for all, then the file itself, as docker does."""
    helpers = config.get("credHelpers")
    helper = next((helpers[key] for key in keys if helpers.get(key)), "") if isinstance(helpers, dict) else ""
    for name in (helper, config.get("credsStore")):
        if isinstance(name, str) and name:
            login = _ask_helper(name, keys, environ, notes)
            if login is not None:
                return login
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    by_host = {_host(str(key)): entry for key, entry in auths.items()}
    for key in keys:
        login = _from_entry(auths.get(key) or by_host.get(_host(key)), source, notes)
        if login is not None:
            return login
    return None


def _host(key: str) -> str:
    """Reduce ``https://HOST/v1/`` to ``HOST``, as docker does."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _from_entry(entry: object, source: str, notes: list[str]) -> Login | None:
    """Read an entry of ``auths``; an empty one is what a credential store leaves there."""
    from base64 import b64decode

    if not isinstance(entry, dict):
        return None
    user, password = _text(entry, "username"), _text(entry, "password")
    if coded := _text(entry, "auth"):
        try:
            user, _, password = b64decode(coded, validate=True).decode().partition(":")
        except ValueError:
            notes.append(f"{source}: an entry's auth is not USER:PASSWORD in base64.")
            return None
        password = password.rstrip("\0")
    identity, bearer = _text(entry, "identitytoken"), _text(entry, "registrytoken")
    if not ((user and password) or identity or bearer):
        return None
    return Login(
        source=source, user=Secret(user), password=Secret(password), identity=Secret(identity), bearer=Secret(bearer)
    )


def _text(entry: Mapping[str, object], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _ask_helper(name: str, keys: tuple[str, ...], environ: Mapping[str, str], notes: list[str]) -> Login | None:
    """Run ``docker-credential-NAME get`` (github.com/docker/docker-credential-helpers); it reads the registry."""
    import shutil
    import subprocess

    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environ.get("PATH", "")) if _HELPER.fullmatch(name) else None
    if path is None:
        notes.append(f"The credential helper {program!r} is not installed.")
        return None
    for key in keys:
        try:
            ran = subprocess.run(
                [path, "get"],
                input=key.encode(),
                capture_output=True,
                env=dict(environ),
                timeout=_HELPER_LASTS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            notes.append(f"{program} gave no answer within {_HELPER_LASTS:.0f} seconds.")
            return None
        except OSError as error:
            notes.append(f"{program} cannot be run: {error.strerror}.")
            return None
        if ran.returncode == 0:
            return _parse_helper(ran.stdout, program, notes)
        if b"credentials not found" not in ran.stdout:
            # What it printed is not repeated: nobody knows what a helper prints.
            notes.append(f"{program} failed with exit code {ran.returncode}.")
            return None
    return None


def _parse_helper(output: bytes, program: str, notes: list[str]) -> Login | None:
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        notes.append(f"{program} did not answer with JSON.")
        return None
    user, secret = _text(answer, "Username"), _text(answer, "Secret")
    if not secret:
        return None
    if user == _IDENTITY:
        return Login(source=program, identity=Secret(secret))
    return Login(source=program, user=Secret(user), password=Secret(secret))
