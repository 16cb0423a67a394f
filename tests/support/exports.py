"""Read exported files back with the programs they are for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import missing


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A service as systemd understood it."""

    argv: Sequence[str]
    env: Mapping[str, str]
    settings: Mapping[str, str]


def verify_units(folder: Path) -> dict[str, Unit]:
    """Let `systemd-analyze verify` check all units of a folder; returns its services as systemd read them."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is not installed; install systemd to run this test")
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".service", ".target"})
    command = ["systemd-analyze", "verify", "--man=no", *(f"./{name}" for name in names)]
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)
    complaints = [line for line in done.stderr.decode().splitlines() if any(name in line for name in names)]
    assert (done.returncode, complaints) == (0, []), done.stderr.decode()
    told = subprocess.run(
        command, cwd=folder, env={**environ, "SYSTEMD_LOG_LEVEL": "debug"}, capture_output=True, check=False
    )
    text = told.stdout.decode("utf-8", "surrogateescape")
    blocks = re.split(r"^\t-> Unit ", text, flags=re.MULTILINE)[1:]
    services = {block.partition(":\n")[0]: block for block in blocks}
    return {name: _read_unit(block) for name, block in services.items() if name in names and "Command Line: " in block}


def _read_unit(block: str) -> Unit:
    found = [line.strip("\t").partition(": ") for line in block.split("\n") if line.startswith("\t\t")]
    env = dict(value.split("=", 1) for name, _, value in found if name == "Environment")
    settings = {name: value for name, _, value in found if name != "Environment"}
    return Unit(argv=split_line(settings["Command Line"]), env=env, settings=settings)


def split_line(line: str) -> list[str]:
    """Take the words apart in which systemd shows an argument vector: bare, or quoted with C's escapes and ``$$``."""
    words = []
    for match in re.finditer(rb'"((?:[^"\\]|\\.)*)"|(\S+)', line.encode(), re.DOTALL):
        word = match[2] if match[1] is None else match[1]
        word = re.sub(rb"\\(x[0-9a-f]{2}|[0-7]{3}|.)", _unescape, word, flags=re.DOTALL)
        words.append(word.decode().replace("$$", "$"))
    return words


_ESCAPES = dict(zip(b"abfnrtvs", b"\a\b\f\n\r\t\v ", strict=True))


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if escaped[:1] == b"x":
        return bytes([int(escaped[1:], 16)])
    if len(escaped) == 3:
        return bytes([int(escaped, 8)])
    return bytes([_ESCAPES.get(escaped[0], escaped[0])])


def sourced(file: Path) -> dict[str, str]:
    """Read a file of variables as a POSIX shell does: systemd's syntax is the part both have."""
    script = 'set -a; . "$1"; exec env -0'
    done = subprocess.run(["sh", "-c", script, "sh", str(file)], env={}, capture_output=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)


def read_compose(file: Path) -> dict[str, Any]:
    """Let compose check a file; returns its services as it understood them."""
    program = shutil.which("docker-compose")
    if program is None:
        missing("docker-compose is not installed; install it to run this test")
    environ = {"PATH": os.environ["PATH"], "HOME": str(file.parent), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [program, "-f", str(file), "config"], cwd=file.parent, env=environ, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return parse_services(done.stdout)


def parse_services(text: bytes) -> dict[str, Any]:
    """Read YAML with the reader of Debian's compose; Debian's Python has it."""
    script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)"
    loaded = subprocess.run(["/usr/bin/python3", "-c", script], input=text, capture_output=True, check=True)
    services: dict[str, Any] = json.loads(loaded.stdout)["services"]
    return services
