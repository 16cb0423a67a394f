"""A formation as a compose file: a service for each process type, all of one image."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from honcho.export.base import BaseExport, File

from buildpack.app.procfile import ONE_OFF
from deployer.errors.files import unportable_value
from deployer.export.files import STOP_SECONDS, TURNING, ExportedFile, load_templates
from deployer.formation import PORT, Formation

FILE = "compose.yaml"

# Characters that YAML does not allow in quotes, or reads as the end of a line; JSON escapes all below a space.
_UNPRINTABLE = re.compile(rf"[\x7f-\x9f{TURNING}\ufeff\ufffe\uffff]")

_PLAIN_LINE = re.compile(r"\s*(?:#.*)?|[A-Za-z_][A-Za-z0-9_]*=(?:[^\s'\"\\$#`](?:[^'\"\\$#`]*[^\s'\"\\$#`])?)?")


class ComposeExport(BaseExport):
    """Honcho's exporter for one more program."""

    def render(self, processes: Sequence[Mapping[str, Any]], context: Mapping[str, Any]) -> Iterator[File]:
        """Yield the one file."""
        template = self.get_template(FILE)  # type: ignore[no-untyped-call]
        yield File(FILE, template.render({**context, "services": processes}))  # type: ignore[no-untyped-call]


def render_compose(formation: Formation, *, image: str, env_files: Sequence[str]) -> list[ExportedFile]:
    """Return the compose file; it names `env_files` as they are, so they are relative to its folder."""
    for name, value in formation.variables.items():
        if "\0" in name + value or any("\ud800" <= character <= "\udfff" for character in name + value):
            raise unportable_value(name, "compose")
    templates = load_templates("compose", scalar=quote_scalar)
    services = [
        {
            "name": name,
            "count": count,
            "ports": _published(formation.port, count) if name == "web" else None,
            "environment": _environment(formation, name),
            "release": name == "release",
            "once": name in ONE_OFF,
        }
        for name, count in formation.counts.items()
    ]
    context = {
        "app": formation.name,
        "image": image,
        "env_files": env_files,
        "after_release": "release" in formation.counts,
        "stop_seconds": STOP_SECONDS,
        "memory": formation.limits.memory,
        "cpus": f"{formation.limits.nano_cpus / 10**9:g}" if formation.limits.nano_cpus else None,
    }
    export = ComposeExport(template_env=templates)  # type: ignore[no-untyped-call]
    secret = bool(formation.variables)
    return [
        ExportedFile(name=file.name, content=file.content, secret=secret) for file in export.render(services, context)
    ]


def _published(port: int, count: int) -> str:
    outside = str(port) if count == 1 else f"{port}-{port + count - 1}"
    return f"127.0.0.1:{outside}:{PORT}"


def _environment(formation: Formation, name: str) -> dict[str, str]:
    """Return a service's variables, with PORT, because a file of variables may set another one."""
    own = {"PORT": str(PORT)} if name == "web" else {}
    return {**{key: formation.variables[key] for key in sorted(formation.variables)}, **own}


def quote_scalar(text: str) -> str:
    """Quote a scalar: JSON's quotes, which YAML reads, and ``$$`` for compose, which would expand ``$NAME``."""
    quoted = json.dumps(text.replace("$", "$$"), ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def unlike_elsewhere(text: str) -> int | None:
    """Return the number of the first line that compose may read in another way than deploy; None if there is none.

    Releases of compose differ in how they read quotes, escapes, ``$``, ``#`` and ``export``.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not _PLAIN_LINE.fullmatch(line):
            return number
    return None
