"""Read app.json, Heroku's description of an app ("app.json Schema"); errors name the line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from buildpack.app.textfile import parse_json, read_text
from buildpack.dataclass import dataclass, field
from buildpack.errors import AppError, show
from buildpack.errors import settings as errors

FILE = "app.json"
_HINT = "fix app.json, or remove it."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ATTACHED = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+){0,2}")
_MOST_PROCESSES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """A variable that ``env`` describes.

    `value` is None if there is none; `secret` is true if deploy generates one. `required` is None if app.json does not
    say it.
    """

    value: str | None = field(default=None, repr=False)
    secret: bool = False
    required: bool | None = None


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
    """The tests of an app: shell commands, empty if app.json has none, and variables.

    `setup` comes before `test`, which does not start if `setup` fails.
    """

    test: str = ""
    setup: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    addons: tuple[Addon, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AppJson:
    """app.json, parsed. Each method reads one part of it, and raises AppError that names the line of a fault there."""

    text: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)

    def formation(self) -> Mapping[str, int]:
        """Return ``formation``, as ``{"web": {"quantity": 2}}``, by process type."""
        formation = self.document.get("formation", {})
        if not isinstance(formation, dict):
            raise errors.bad_formation(self.line("formation"), "`formation` is not an object")
        found = {}
        for name, entry in formation.items():
            line, shown = self.line("formation", name), show(name)
            if not isinstance(entry, dict):
                raise errors.bad_formation(line, f"`{shown}` is not an object")
            quantity = entry.get("quantity", 1)
            if isinstance(quantity, bool) or not isinstance(quantity, int) or not 0 <= quantity <= _MOST_PROCESSES:
                raise errors.bad_formation(
                    line, f"the quantity of `{shown}` is not a number from 0 to {_MOST_PROCESSES}"
                )
            found[name] = quantity
        return found

    def variables(self) -> Mapping[str, Variable]:
        """Return the variables of ``env``."""
        env = self.document.get("env", {})
        if not isinstance(env, dict):
            raise errors.bad_variable(f"{FILE}:{self.line('env')}", "env", "`env` is not an object")
        found = {}
        for name, entry in env.items():
            described = entry if isinstance(entry, dict) else {"value": entry}
            required = described.get("required")
            value = described.get("value")
            check_variable(f"{FILE}:{self.line('env', name)}", name, "" if value is None else value)
            found[name] = Variable(
                value=value,
                secret=described.get("generator") == "secret",
                required=required if isinstance(required, bool) else None,
            )
        return found

    def script(self) -> Script:
        """Return ``environments.test``: the tests of the app, and their environment (Heroku CI's schema)."""
        environment = self._table("environments", "test")
        return Script(
            test=self._command("test"),
            setup=self._command("test-setup"),
            environment=dict(self._test_variables()),
            addons=tuple(self._addons(environment.get("addons", []))),
        )

    def health_hosts(self) -> Iterator[str]:
        """Yield the Host headers of the web process's ``healthchecks``; nothing if they are not as in the schema."""
        try:
            for check in self.document["healthchecks"]["web"]:
                for header in check.get("httpHeaders", ()):
                    if str(header["name"]).lower() == "host":
                        yield str(header["value"])
        except (KeyError, TypeError, AttributeError):
            return

    def line(self, *keys: str) -> int:
        """Return the line of the last of these keys, each of which is inside the one before; of the last one found."""
        at = 0
        for key in keys:
            found = self.text.find(f'"{key}"', at)
            at = found if found >= 0 else at
        return self.text.count("\n", 0, at) + 1

    def _table(self, *keys: str) -> Mapping[str, Any]:
        """Return the object at the end of this path; an empty one if there is none."""
        table = self.document
        for at, key in enumerate(keys, start=1):
            table = table.get(key, {})
            if not isinstance(table, dict):
                raise errors.bad_script(self.line(*keys[:at]), f"`{key}` is not an object")
        return table

    def _command(self, name: str) -> str:
        value = self._table("environments", "test", "scripts").get(name, "")
        if not isinstance(value, str):
            line = self.line("environments", "test", "scripts", name)
            raise errors.bad_script(line, f"the script `{name}` is not a string")
        return value.strip()

    def _test_variables(self) -> Iterator[tuple[str, str]]:
        """Yield the variables that have a value, without those that Heroku generates or asks for."""
        for name, entry in self._table("environments", "test", "env").items():
            value = entry.get("value") if isinstance(entry, dict) else entry
            if value is None:
                continue
            if not isinstance(value, str) or not name or "=" in name or "\0" in f"{name}{value}":
                line = self.line("environments", "test", "env", name)
                raise errors.bad_script(line, f"the variable `{show(name)}` is not a string")
            yield name, value

    def _addons(self, listed: object) -> Iterator[Addon]:
        line = self.line("environments", "test", "addons")
        if not isinstance(listed, list):
            raise errors.bad_addons(line, "`addons` is not a list")
        for entry in listed:
            described: Mapping[str, Any] = entry if isinstance(entry, dict) else {"plan": entry}
            plan, attached_as = described.get("plan"), described.get("as") or ""
            name = plan.partition(":")[0].strip() if isinstance(plan, str) else ""
            if not name:
                raise errors.bad_addons(line, "an add-on has no `plan`")
            if not isinstance(attached_as, str) or (attached_as and not _ATTACHED.fullmatch(attached_as)):
                raise errors.bad_addons(line, f"`as` of {show(name)} is not the name of a variable")
            options = described.get("options") or {}
            version = str(options.get("version") or "") if isinstance(options, dict) else ""
            if version and not _VERSION.fullmatch(version):
                raise errors.bad_addons(line, f"`version` of {show(name)} is not a version such as 16")
            yield Addon(name=name, attached_as=attached_as, version=version)


def read_app_json(folder: Path) -> AppJson:
    """Read app.json in `folder`; an empty one if there is none. Raises as `read_text` and `parse_app_json` do."""
    text = read_text(folder, FILE)
    return AppJson() if text is None else parse_app_json(text)


def parse_app_json(text: str) -> AppJson:
    """Parse app.json; raises as `parse_json` does, and AppError if it does not hold an object."""
    document = parse_json(text, FILE, hint=_HINT)
    if not isinstance(document, dict):
        raise errors.no_object(FILE, hint=_HINT)
    return AppJson(text=text, document=document)


def read_script(folder: Path, *, needed: bool = True) -> Script:
    """Read the tests of the app in `folder`; raises AppError.

    If they are not `needed`, an app.json that is not valid JSON has no tests; the checks warn of it.
    """
    try:
        app_json = read_app_json(folder)
    except AppError:
        if needed:
            raise
        return Script()
    return app_json.script()


def is_name(text: str) -> bool:
    """Return True if this can be a variable's name."""
    return _NAME.fullmatch(text) is not None


def check_variable(origin: str, name: str, value: object) -> None:
    """Raise AppError if this cannot be a variable; `origin` is its file and line."""
    if not is_name(name):
        raise errors.bad_variable(origin, name, "that is not the name of a variable")
    if not isinstance(value, str) or "\0" in value:
        raise errors.bad_variable(origin, name, "its value is not a string")
