"""A formation as systemd's units: a target, one for each process type, and a service for each process.

The units come from Honcho's exporter; the templates are ours, and so is the quoting: systemd.syntax(7) for words,
systemd.service(5), "Command lines", for ``$``, systemd.unit(5), "Specifiers", for ``%``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from honcho.export.base import File, dashrepl
from honcho.export.systemd import Export

from buildpack.app.procfile import ONE_OFF
from buildpack.dataclass import dataclass
from deployer.errors.files import bad_user, unportable_path, unportable_value, unportable_variable
from deployer.export.files import STOP_SECONDS, TURNING, ExportedFile, load_templates
from deployer.formation import Formation
from deployer.runner.command import command_argv
from deployer.runner.defaults import default_flask_app
from deployer.runner.formation import Process, expand

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_MEGABYTE = 1 << 20
_WORKER_MEGABYTES = 256
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?|[0-9]{1,9}")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
# systemd does not accept Unicode's noncharacters (U+FFFE, U+1FFFF ...) as UTF-8.
_NONCHARACTERS = r"\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
_NOT_UTF8 = re.compile(rf"[\ud800-\udfff{_NONCHARACTERS}]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPED = re.compile(rf"[\x00-\x1f\x7f-\x9f{TURNING}{_NONCHARACTERS}]")
_REFUSED_IN_VALUES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process as a unit; Honcho makes the unit's name from `name`, such as ``web.1``."""

    name: str
    unit: str
    argv: Sequence[str]
    env: Mapping[str, str]
    shell: bool
    release: bool
    once: bool


def render_systemd(
    formation: Formation, *, venv: Path, user: str | None, variables_file: Path | None
) -> list[ExportedFile]:
    """Return the units; the first one starts all others.

    `venv` is the environment that has the commands. Without `user` the units are for a user's own systemd.
    `variables_file` will hold the config vars; None if there are none.
    """
    if user is not None and not _USER.fullmatch(user):
        raise bad_user(user)
    quote_path(venv)
    unit = unit_name(formation.name)
    services = [_service(process, unit) for process in _expand(formation, venv)]
    templates = load_templates("systemd", argument=quote_argument, path=quote_path, glob=_quote_glob, word=quote_word)
    context = {
        "app": unit,
        "folder": formation.folder,
        "user": user,
        "variables_file": variables_file,
        "releases": [f"{service.unit}.service" for service in services if service.release],
        "stop_seconds": STOP_SECONDS,
        "memory": formation.limits.memory,
        "cpu_percent": -(-formation.limits.nano_cpus // 10**7) if formation.limits.nano_cpus else None,
    }
    export = Export(template_env=templates)  # type: ignore[no-untyped-call]
    files: Iterator[File] = export.render(services, context)  # type: ignore[no-untyped-call]
    return [ExportedFile(name=file.name, content=file.content) for file in files]


def unit_name(app: str) -> str:
    """Return the name of an app's units, with dashes instead of ``/`` and ``.``."""
    return str(dashrepl(app))  # type: ignore[no-untyped-call]


def _expand(formation: Formation, venv: Path) -> list[Process]:
    env = {
        "PATH": f"{venv}/bin:{SYSTEM_PATH}",
        "VIRTUAL_ENV": str(venv),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(formation.folder),
        "PYTHONUNBUFFERED": "1",
        "WEB_CONCURRENCY": str(_web_concurrency(formation)),
    }
    folder, served = str(formation.folder), formation.app_object
    env |= default_flask_app(env, served, app=folder)
    return expand(formation.processes, formation.counts, port=formation.port, env=env, app_object=served, app=folder)


def _web_concurrency(formation: Formation) -> int:
    """Return the number that the launcher would choose for these limits. It ignores this machine's cores."""
    if formation.limits.memory is None:
        return 2
    workers = max(1, formation.limits.memory // _MEGABYTE // _WORKER_MEGABYTES)
    return (
        workers if formation.limits.nano_cpus is None else min(workers, 2 * -(-formation.limits.nano_cpus // 10**9) + 1)
    )


def _service(process: Process, unit: str) -> Service:
    assert isinstance(process.command, str)
    argv = command_argv(process.command, "/bin")
    shell = argv[1:] == ["-c", process.command] or argv[0].startswith("-")
    return Service(
        name=process.name,
        unit=f"{unit}-{unit_name(process.name)}",
        # systemd looks programs up in a PATH of its own; env takes the unit's.
        argv=["/usr/bin/env", *(["bash", "-c", process.command] if shell else argv)],
        env=process.env,
        shell=shell,
        release=process.type == "release",
        once=process.type in ONE_OFF,
    )


def render_variables(formation: Formation, venv: Path) -> ExportedFile:
    """Return config vars as a file that `EnvironmentFile=` reads: there neither ``%`` nor ``$NAME`` is expanded.

    It wins over the units' own variables, so a PATH gets the environment first, and VIRTUAL_ENV is left out. Raises
    UsageError for variables that systemd would leave out with only a line in its journal.
    """
    app = unit_name(formation.name)
    variables = {key: value for key, value in formation.variables.items() if key != "VIRTUAL_ENV"}
    if "PATH" in variables:
        variables["PATH"] = f"{venv}/bin:{variables['PATH']}"
    name = f"{app}.env"
    lines = [f"# {name} of {app}: written by `deploy export systemd`\n"]
    for key in sorted(variables):
        if not _NAME.fullmatch(key):
            raise unportable_variable(key, "systemd")
        lines.append(f"{key}={quote_value(key, variables[key])}\n")
    return ExportedFile(name=name, content="".join(lines), secret=True)


def quote_value(name: str, value: str) -> str:
    """Quote a value of an environment file; raises UsageError for one that systemd does not accept."""
    if _REFUSED_IN_VALUES.search(value) or _NOT_UTF8.search(value):
        raise unportable_value(name, "systemd")
    return '"' + re.sub(r'["\\`$]', r"\\\g<0>", value) + '"'


def quote_word(text: str) -> str:
    """Quote one word of a setting that takes words, such as `Environment=`: no specifier in it is expanded."""
    if _PLAIN.fullmatch(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + _ESCAPED.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), text) + '"'


def quote_argument(text: str) -> str:
    """Quote one argument of `ExecStart=`, in which a ``$`` would also begin a variable."""
    return quote_word(text).replace("$", "$$")


def quote_path(path: Path) -> str:
    """Return a path for a setting without quotes; raises UsageError for a path that such a setting cannot hold."""
    text = str(path)
    if _CONTROL.search(text) or text != text.strip() or text.endswith("\\") or _NOT_UTF8.search(text):
        raise unportable_path(path, "systemd")
    return text.replace("%", "%%")


def _quote_glob(path: Path) -> str:
    return re.sub(r"[\\*?\[]", r"\\\g<0>", quote_path(path))
