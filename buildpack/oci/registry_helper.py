"""Asks a credential helper, a program that the user installed, for a login. It may hang, fail, or print anything.

The protocol is that of github.com/docker/docker-credential-helpers: ``docker-credential-NAME get`` reads the registry
and prints a JSON object.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from buildpack.bounded import parse_json
from buildpack.net.secret import Secret

if TYPE_CHECKING:
    from subprocess import Popen

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LASTS = 60.0
"""Seconds. Some helpers ask a cloud for a token first."""
_LONGEST = 1 << 20
"""Bytes of an answer; tokens of clouds have some thousands."""
_TICK = 0.1
"""Seconds between checks if the helper ended: a key ring that it started may keep its output open."""
_OURS = frozenset({"DEPLOY_REGISTRY_USER", "DEPLOY_REGISTRY_PASSWORD"})


class HelperFailed(Exception):
    """The helper gave no answer. The message repeats nothing of its output, which may be a secret."""


class _TooMuch(Exception):
    """The output is longer than any answer."""


def ask_helper(
    name: str, servers: Sequence[str], environ: Mapping[str, str], *, lasts: float = _LASTS
) -> tuple[Secret, Secret] | None:
    """Return the user and the secret for the first of these servers that the helper knows; None if it knows none.

    The helper gets `environ` without DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD. `lasts` is in seconds, for all
    servers together. Raises HelperFailed.
    """
    import shutil
    import subprocess

    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environ.get("PATH", "")) if _NAME.fullmatch(name) else None
    if path is None:
        raise HelperFailed(f"The credential helper {program!r} is not installed.")
    handed = {variable: value for variable, value in environ.items() if variable not in _OURS}
    end = time.monotonic() + lasts
    for server in servers:
        try:
            code, output = _run(path, server, handed, end)
        except subprocess.TimeoutExpired:
            raise HelperFailed(f"{program} gave no answer within {lasts:.0f} seconds.") from None
        except _TooMuch:
            raise HelperFailed(f"{program} printed more than {_LONGEST} bytes, which cannot be a login.") from None
        except OSError as error:
            raise HelperFailed(f"{program} cannot be run: {error.strerror}.") from None
        if code == 0:
            return _parse_answer(output, program)
        if b"credentials not found" not in output:
            raise HelperFailed(f"{program} failed with exit code {code}.")
    return None


def text_of(entry: Mapping[str, object], name: str) -> str:
    """Return a text of a JSON object; "" if it is missing or cannot be encoded, such as half a surrogate pair."""
    value = entry.get(name)
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value


def _parse_answer(output: bytes, program: str) -> tuple[Secret, Secret] | None:
    try:
        answer = parse_json(output)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise HelperFailed(f"{program} did not answer with JSON.")
    secret = text_of(answer, "Secret")
    return (Secret(text_of(answer, "Username")), Secret(secret)) if secret else None


def _run(path: str, server: str, environ: Mapping[str, str], end: float) -> tuple[int, bytes]:
    """Run a helper until it exits, or kill it at `end`.

    It stays in our process group, so that Ctrl-C in a terminal also ends the helper and its children.
    """
    import subprocess

    process = subprocess.Popen(
        [path, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(server.encode())
                process.stdin.close()
            output = _read(process, end)
            code = process.wait(max(0.0, end - time.monotonic()))
        except BaseException:
            process.kill()
            process.wait()
            raise
    return code, output


def _read(process: Popen[bytes], end: float) -> bytes:
    """Read a helper's output until it closes the output, or exits."""
    import selectors
    import subprocess

    assert process.stdout is not None
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            gone = process.poll() is not None
            if not selector.select(0 if gone else min(left, _TICK)):
                if gone:
                    return output
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return output
            output += chunk
            if len(output) > _LONGEST:
                raise _TooMuch
