"""Credential helpers, which are programs of the user and may do anything."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from buildpack.oci.registry_helper import HelperFailed, ask_helper

SERVERS = ("first.example", "second.example")
ANSWER = '{"Username":"me","Secret":"pass word"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def ask(folder: Path, script: str, *, lasts: float = 30.0, **environ: str) -> tuple[str, str] | None:
    program = folder / "docker-credential-test"
    program.write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
    program.chmod(0o755)
    found = ask_helper("test", SERVERS, {"PATH": f"{folder}{os.pathsep}{os.defpath}", **environ}, lasts=lasts)
    return (found[0].reveal(), found[1].reveal()) if found else None


def refused(folder: Path, script: str, **options: float) -> str:
    with pytest.raises(HelperFailed) as caught:
        ask(folder, script, **options)  # type: ignore[arg-type]
    return str(caught.value)


def running_in(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").samefile(folder):
                found.append((process / "cmdline").read_text())
    return found


@pytest.mark.parametrize(
    "script",
    [
        f"cat >asked; printf '{ANSWER}'",
        f"exec <&-; printf '{ANSWER}'",  # it does not listen
        f"cat >/dev/null; printf '{ANSWER}' | dd bs=1 2>/dev/null",  # byte by byte
        f"head -c 300000 /dev/zero >&2; printf '{ANSWER}'",  # what it complains of is not waited for
    ],
)
def test_an_answer_is_read(folder: Path, script: str) -> None:
    assert ask(folder, script) == ("me", "pass word")


def test_the_next_name_is_asked_if_the_first_is_unknown(folder: Path) -> None:
    script = f"""
        read -r server
        test "$server" = second.example && printf '{ANSWER}' && exit
        echo credentials not found in native keychain; exit 1"""
    assert ask(folder, script) == ("me", "pass word")
    assert ask(folder, "echo credentials not found in native keychain; exit 1") is None


def test_the_helper_does_not_get_our_own_login(folder: Path) -> None:
    ours = {"DEPLOY_REGISTRY_USER": "robot", "DEPLOY_REGISTRY_PASSWORD": "secret", "DEPLOY_REGISTRY": "ghcr.io"}
    assert ask(folder, f"env >environment; printf '{ANSWER}'", AWS_PROFILE="team", **ours)
    told = dict(line.split("=", 1) for line in (folder / "environment").read_text().splitlines())
    assert told["AWS_PROFILE"] == "team"
    assert told["DEPLOY_REGISTRY"] == "ghcr.io"
    assert "secret" not in told.values()
    assert "robot" not in told.values()


@pytest.mark.parametrize(
    "script",
    [
        "cat /bin/sh",  # anything but text
        "printf '[]'",
        "printf '{'",
        r"""printf '%s' '{"Secret":"\ud800"}'""",
        "head -c 100000 /dev/zero | tr '\\0' '['",  # deeper than anything can be read
        ":",
    ],
)
def test_garbage_is_an_error(folder: Path, script: str) -> None:
    assert refused(folder, script) == "docker-credential-test did not answer with JSON."


@pytest.mark.parametrize("answer", ["{}", '{"Username":"me","Secret":["a"]}'])
def test_an_answer_without_a_usable_secret_counts_as_none(folder: Path, answer: str) -> None:
    (folder / "answer").write_text(answer)
    assert ask(folder, "cat answer") is None


def test_a_flood_is_cut(folder: Path) -> None:
    """Only the size of an answer is read, and the helper is killed."""
    told = refused(folder, "exec yes")
    assert told == "docker-credential-test printed more than 1048576 bytes, which cannot be a login."
    assert running_in(folder) == []


def test_a_helper_that_hangs_is_killed(folder: Path) -> None:
    told = refused(folder, "exec sleep 1000", lasts=1.0)
    assert told == "docker-credential-test gave no answer within 1 seconds."
    assert running_in(folder) == []


def test_a_helper_that_prints_now_and_then_is_killed(folder: Path) -> None:
    told = refused(folder, "while :; do echo word; sleep 0.05; done", lasts=1.0)
    assert told == "docker-credential-test gave no answer within 1 seconds."


def test_programs_that_the_helper_leaves_running_do_not_delay_us(folder: Path) -> None:
    """A key ring, for example, that keeps the output open."""
    try:
        assert ask(folder, f"sleep 1000 & echo $! >pid; printf '{ANSWER}'") == ("me", "pass word")
    finally:
        with suppress(ProcessLookupError):
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
