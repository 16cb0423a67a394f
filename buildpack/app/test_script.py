"""``app.json``'s ``environments.test``: what tests the app, and in which environment (Heroku CI's schema)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildpack.app.jsonfile import AppJson, parse_app_json, read_app_json
from buildpack.dataclass import dataclass, field
from buildpack.errors import AppError
from buildpack.errors import script as errors
from buildpack.errors.app import show

_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+){0,2}")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Addon:
    """A service that the tests need: ``heroku-redis``, without its plan.

    `attached_as` is the first part of its variable's name, and `version` the server's; both are empty if app.json says
    nothing.
    """

    name: str
    attached_as: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """How the app is tested: shell commands, empty where app.json has none, and variables.

    `setup` comes before `test`, which does not start where it fails.
    """

    test: str = ""
    setup: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    addons: tuple[Addon, ...] = ()


def read_script(folder: Path, *, needed: bool = True) -> Script:
    """Read the test environment of the app's app.json; raises AppError as `parse_script` does.

    If it is not `needed`, an app.json that is not valid JSON has none: the check warns of that file.
    """
    try:
        app_json = read_app_json(folder)
    except AppError:
        if needed:
            raise
        return Script()
    return Script() if app_json is None else _script(app_json)


def parse_script(text: str) -> Script:
    """Parse ``environments.test``; raises AppError that names the line."""
    return _script(parse_app_json(text))


def _script(app_json: AppJson) -> Script:
    text = app_json.text
    environment = _table(text, _table(text, app_json.document, "environments"), "test")
    scripts = _table(text, environment, "scripts")
    return Script(
        test=_command(text, scripts, "test"),
        setup=_command(text, scripts, "test-setup"),
        environment=_variables(text, _table(text, environment, "env")),
        addons=_addons(text, environment.get("addons", [])),
    )


def _addons(text: str, listed: object) -> tuple[Addon, ...]:
    if not isinstance(listed, list):
        raise errors.bad_addons(_line(text, "addons"), "`addons` is not a list")
    return tuple(_addon(text, entry) for entry in listed)


def _addon(text: str, entry: object) -> Addon:
    described: Mapping[str, Any] = entry if isinstance(entry, dict) else {"plan": entry}
    plan, attached_as = described.get("plan"), described.get("as") or ""
    name = plan.partition(":")[0].strip() if isinstance(plan, str) else ""
    if not name:
        raise errors.bad_addons(_line(text, "addons"), "an add-on has no `plan`")
    if not isinstance(attached_as, str) or (attached_as and not _VARIABLE.fullmatch(attached_as)):
        raise errors.bad_addons(_line(text, "addons"), f"`as` of {show(name)} is not the name of a variable")
    options = described.get("options") or {}
    version = str(options.get("version") or "") if isinstance(options, dict) else ""
    if version and not _VERSION.fullmatch(version):
        raise errors.bad_addons(_line(text, "addons"), f"`version` of {show(name)} is not a version such as 16")
    return Addon(name=name, attached_as=attached_as, version=version)


def _table(text: str, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise errors.bad_script(_line(text, name), f"`{name}` is not an object")
    return value


def _command(text: str, scripts: Mapping[str, Any], name: str) -> str:
    value = scripts.get(name, "")
    if not isinstance(value, str):
        raise errors.bad_script(_line(text, name), f"the script `{name}` is not a string")
    return value.strip()


def _variables(text: str, table: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what has a value; what Heroku would generate or ask for has none here."""
    found = {}
    for name, entry in table.items():
        value = entry.get("value") if isinstance(entry, dict) else entry
        if value is None:
            continue
        if not isinstance(value, str) or not name or "=" in name or "\0" in f"{name}{value}":
            raise errors.bad_script(_line(text, name), f"the variable `{show(name)}` is no string")
        found[name] = value
    return found


def _line(text: str, key: str) -> int:
    at = text.find(f'"{key}"', max(0, text.find('"environments"')))
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
