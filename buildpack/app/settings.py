"""Read the settings of an app: from a flag, ``DEPLOY_*``, ``deploy.toml``, or the default, in this order.

To add a setting, add a row to `_KEYS`, a field to `Settings`, and its description to `errors/settings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from buildpack.app.app_json import AppJson, check_variable
from buildpack.app.links import OutsideError, find_inside
from buildpack.app.textfile import parse_toml, read_text
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError, together
from buildpack.errors import settings as errors

FILE = "deploy.toml"
_TABLE = "build"
"""A table of deploy.toml that holds no setting."""
_VARIABLES = f"[{_TABLE}.env]"
"""The only table in it, as messages name it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A value and its origin, as messages name it: ``--stack``, ``DEPLOY_STACK``, ``deploy.toml:2``."""

    value: str
    origin: str

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of an app. `stack` and `platform` are None if nothing sets them.

    Commas separate several platforms, even if the file lists them. `title` is the name in deploy.toml, empty without
    one: unlike `name` it is the same in every folder and environment.
    """

    name: Setting
    title: str = ""
    stack: Setting | None = None
    platform: Setting | None = None


_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_PLATFORM = r"linux/[a-z0-9_]+(?:/[a-z0-9_.]+)?"
_PLATFORMS = re.compile(rf"{_PLATFORM}(?:, *{_PLATFORM})*")
_STACK = re.compile(r"host|(?:oci|archive):.+|(?!(?:oci|archive):)[A-Za-z0-9][A-Za-z0-9._:/@+-]*")


_KEYS: Mapping[str, Callable[[str], bool]] = {
    "name": lambda value: len(value) <= 128 and _NAME.fullmatch(value) is not None,
    "stack": lambda value: value.isprintable() and _STACK.fullmatch(value) is not None,
    "platform": lambda value: _PLATFORMS.fullmatch(value) is not None,
}
"""The settings, each with a test of its values."""
_LISTS = ("platform",)
"""Settings that a file may give as a list."""
_KNOWN = (*sorted(_KEYS), _VARIABLES)
"""The keys of deploy.toml, as messages list them."""


def read_settings(folder: Path, *, environ: Mapping[str, str], flags: Mapping[str, str | None]) -> Settings:
    """Read the settings of the app in `folder`; `flags` has the options of the command line by key, None if not given.

    Raises AppError, or Problems if several are wrong: deploy.toml is not TOML or has an unknown key, or a value is
    wrong.
    """
    problems: list[BuildpackError] = []
    from_file = _read_file(folder, problems)
    found: dict[str, Setting] = {}
    for key in _KEYS:
        if (flag := flags.get(key)) is not None:
            found[key] = Setting(value=flag, origin=f"--{key}")
        elif variable := environ.get(f"DEPLOY_{key.upper()}"):
            found[key] = Setting(value=variable, origin=f"DEPLOY_{key.upper()}")
        elif key in from_file:
            found[key] = from_file[key]
    for key, setting in found.items():
        if not _KEYS[key](setting.value):
            suggested = name_of_folder(setting.value) if key == "name" else ""
            shown = repr(setting.value[:80])
            problems.append(errors.bad_setting(key, setting.origin, shown, suggested=suggested or ""))
        elif key == "stack" and _is_almost_host(setting.value):
            problems.append(errors.almost_host(setting.origin, setting.value))
    if "name" not in found:
        here = folder_name(folder)
        name = name_of_folder(here)
        if name is None:
            problems.append(errors.no_name(here))
        found["name"] = Setting(value=name or "", origin="the folder's name")
    if problems:
        raise together(problems)
    title = from_file.get("name")
    return Settings(**found, title=title.value if title and _KEYS["name"](title.value) else "")


def read_build_env(folder: Path, app_json: AppJson) -> Mapping[str, str]:
    """Read the variables that an app gives its build; raises AppError that names the place.

    They are those of app.json's ``env`` and of deploy.toml's ``[build.env]``, which wins.
    """
    found = {name: each.value for name, each in app_json.variables().items() if each.value is not None}
    if (text := read_text(folder, FILE)) is not None:
        found.update(_build_env(text, parse_toml(text, FILE).get(_TABLE, {})))
    return found


def _build_env(text: str, build: Any) -> Mapping[str, str]:
    env = build.get("env", {}) if isinstance(build, dict) else None
    table = _line(text, _TABLE)
    if isinstance(build, dict) and (unknown := sorted(build.keys() - {"env"})):
        place = f"{FILE}:{_line(text, unknown[0], below=table)}"
        raise errors.unknown_setting(place, f"{_TABLE}.{unknown[0]}", _VARIABLES, [_VARIABLES])
    if not isinstance(env, dict):
        raise errors.bad_variable(f"{FILE}:{table}", _TABLE, f"it holds the table `{_VARIABLES}` alone")
    for name, value in env.items():
        check_variable(f"{FILE}:{_line(text, name, below=table)}", name, value)
    return dict(env)


def _is_almost_host(stack: str) -> bool:
    """Return True if this is ``host`` misspelt: no image has such a short name."""
    if stack == "host" or not stack.isalpha() or abs(len(stack) - 4) > 1:
        return False
    from difflib import SequenceMatcher

    return SequenceMatcher(None, stack.lower(), "host").ratio() > 0.7


def name_of_folder(folder: str) -> str | None:
    """Make an image's name of a folder's: in lower case, with ``-`` for other characters; None if nothing is left."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.lower())
    name = re.sub(r"[._-]*\.[._-]*|_{3,}|[._-]*(?:_-|-_)[._-]*", "-", name) if not _NAME.fullmatch(name) else name
    name = name[:128].strip("._-")
    return name if _NAME.fullmatch(name) else None


def folder_name(folder: Path) -> str:
    """Return the folder's name, also for ``.``."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _read_file(folder: Path, problems: list[BuildpackError]) -> dict[str, Setting]:
    try:
        text = read_text(folder, FILE)
        document = {} if text is None else parse_toml(text, FILE)
    except BuildpackError as error:
        problems.append(error)
        return {}
    found = {}
    for key, value in document.items():
        if key == _TABLE:
            continue
        place = f"{FILE}:{_line(text or '', key)}"
        if key not in _KEYS:
            problems.append(errors.unknown_setting(place, key, _nearest(key), _KNOWN))
        elif key in _LISTS and isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            found[key] = Setting(value=",".join(value), origin=place)
        elif not isinstance(value, str):
            kind = "a string or a list of strings" if key in _LISTS else "a string"
            problems.append(errors.bad_setting(key, place, _toml(value), kind=kind))
        else:
            found[key] = Setting(value=value, origin=place)
    if "stack" in found:
        _place_stack(folder, found, problems)
    return found


def _place_stack(folder: Path, found: dict[str, Setting], problems: list[BuildpackError]) -> None:
    """Resolve a relative path that deploy.toml names as the stack in the app's folder; refuse one that leaves it.

    A path may end in ``:NAME``, and may contain colons, so every part up to a colon must be inside.
    """
    setting = found["stack"]
    kind, _, path = setting.value.partition(":")
    if kind not in {"oci", "archive"} or not path or path.startswith("/"):
        return
    try:
        parts = path.split(":")
        for count in range(1, len(parts) + 1):
            find_inside(folder, ":".join(parts[:count]))
    except (OutsideError, ValueError) as error:
        problems.append(errors.stack_leads_out(setting.origin, setting.value, str(getattr(error, "filename", ""))))
    found["stack"] = Setting(value=f"{kind}:{folder / path}", origin=setting.origin)


def _nearest(key: str) -> str | None:
    from buildpack.app.nearest import find_nearest

    tables = dict.fromkeys((_TABLE, "env", "variables"), _VARIABLES)
    near = find_nearest(key, sorted({*_KEYS, *tables}))
    return tables.get(near, near) if near else None


def _line(text: str, key: str, *, below: int = 1) -> int:
    """Return the line of a key or a table, from the line `below` on; that line if there is none."""
    start = sum(len(line) + 1 for line in text.split("\n")[: below - 1])
    name = rf"[\"']?{re.escape(key)}(?![\w-])"
    for before in (r"^[ \t]*+\[*+[ \t]*+", r"[{,.][ \t]*+"):
        if found := re.compile(before + name, re.MULTILINE).search(text, start):
            return text.count("\n", 0, found.end()) + 1
    return below


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else str(value)[:80]
