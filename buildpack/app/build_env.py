"""Variables that an app's build may see: `app.json`'s ``env``, and `deploy.toml`'s ``[build.env]``, which wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildpack.app.jsonfile import APP_JSON, AppJson, read_app_json
from buildpack.app.textfile import read_text
from buildpack.app.tomlfile import parse_toml
from buildpack.dataclass import dataclass, field
from buildpack.errors import app as app_errors
from buildpack.errors import hooks as errors

TABLE = "build"
"""The table of deploy.toml that is read here, and no setting."""

VARIABLES = f"[{TABLE}.env]"
"""The only table in that, as messages write it."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A variable that app.json's ``env`` describes (Heroku's "app.json Schema").

    `value` is None if there is none, `secret` if one is to be made. `required` is None if app.json does not say.
    """

    value: str | None = field(default=None, repr=False)
    secret: bool = False
    required: bool | None = None


def is_name(text: str) -> bool:
    """Tell whether this can be a variable's name."""
    return _NAME.fullmatch(text) is not None


def read_build_env(folder: Path, app_json: AppJson | None) -> Mapping[str, str]:
    """Read the variables that the app in `folder` gives its build: those of app.json, and those of deploy.toml.

    Raises AppError that names the place.
    """
    described = _of_app_json(app_json)
    found = {name: each.value for name, each in described.items() if each.value is not None}
    if (text := read_text(folder, "deploy.toml")) is not None:
        found.update(_of_settings(text, parse_toml(text, "deploy.toml").get(TABLE, {})))
    return found


def read_variables(folder: Path) -> Mapping[str, Variable]:
    """Read ``env`` of the app.json in `folder`, which may not be there; raises AppError that names the place."""
    return _of_app_json(read_app_json(folder))


def _of_app_json(app_json: AppJson | None) -> Mapping[str, Variable]:
    if app_json is None:
        return {}
    text, env = app_json.text, app_json.document.get("env", {})
    if not isinstance(env, dict):
        raise errors.bad_variable(_place(APP_JSON, text, "env"), "env", "`env` is not an object")
    found = {}
    for name, entry in env.items():
        value = entry.get("value") if isinstance(entry, dict) else entry
        origin = _place(APP_JSON, text, name, "env")
        if not is_name(name):
            raise errors.bad_variable(origin, name, "that is not the name of a variable")
        if value is not None and (not isinstance(value, str) or "\0" in value):
            raise errors.bad_variable(origin, name, "its value is not a string")
        described = entry if isinstance(entry, dict) else {}
        required = described.get("required")
        found[name] = Variable(
            value=value,
            secret=described.get("generator") == "secret",
            required=required if isinstance(required, bool) else None,
        )
    return found


def _of_settings(text: str, build: Any) -> Mapping[str, str]:
    env = build.get("env", {}) if isinstance(build, dict) else None
    if isinstance(build, dict) and (unknown := sorted(build.keys() - {"env"})):
        place = _place("deploy.toml", text, unknown[0], TABLE)
        raise app_errors.unknown_setting(place, f"{TABLE}.{unknown[0]}", VARIABLES, [VARIABLES])
    if not isinstance(env, dict):
        raise errors.bad_variable(_place("deploy.toml", text, TABLE), TABLE, "it holds the table `[build.env]` alone")
    for name, value in env.items():
        origin = _place("deploy.toml", text, name, TABLE)
        if not is_name(name):
            raise errors.bad_variable(origin, name, "that is not the name of a variable")
        if not isinstance(value, str) or "\0" in value:
            raise errors.bad_variable(origin, name, "its value is not a string")
    return dict(env)


def _place(file: str, text: str, *keys: str) -> str:
    """Return where the first of `keys` stands, which is inside the second, if there is one."""
    at = 0
    for key in reversed(keys):
        found = re.compile(rf"(?<![\w-])[\"']?{re.escape(key)}(?![\w-])").search(text, at)
        at = found.end() if found else at
    return f"{file}:{text.count(chr(10), 0, at) + 1}"
