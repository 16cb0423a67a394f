"""A lock with a wrong hash may still satisfy Pipfile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from buildpack.app.locks import compare
from buildpack.app.pipfile import parse_pipfile
from buildpack.app.pipfile_lock import parse_lock

HASHES = ["sha256:" + "a" * 64]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def differences(wanted: str, locked: dict[str, Any] | None) -> list[str]:
    """Compare one line of [packages] with one entry of the lock."""
    sources = [{"name": name, "url": f"https://{name}/simple"} for name in ("pypi", "private")]
    default = {} if locked is None else {"redis": locked}
    lock = {"_meta": {"pipfile-spec": 6, "sources": sources}, "default": default}
    pipfile = parse_pipfile(f"[packages]\n{wanted}\n")
    return compare(pipfile, parse_lock(json.dumps(lock), pipfile=pipfile))


def pin(version: str, **more: Any) -> dict[str, Any]:
    return {"version": f"=={version}", "hashes": HASHES, **more}


@pytest.mark.parametrize(
    ("wanted", "locked"),
    [
        ('redis = "*"', pin("5")),
        ('Redis = ""', pin("5")),
        ('redis = ">=4,<6"', pin("5.0.1")),
        ('redis = "==5.*"', pin("5.0.1")),
        ('redis = "5.0.1"', pin("5.0.1")),
        ('redis = "5.0.*"', pin("5.0.1")),
        ('redis = "5"', pin("5.0.0")),
        ('REDIS = {version = "5.0.1"}', pin("5.0.1")),
        ('redis = {version = "*", extras = ["Ocsp_Support", "h.i"]}', pin("5", extras=["ocsp-support", "h-i"])),
        ('redis = ">=5"', pin("6.0b1")),
        ('redis = "~=5.0"', pin("5.9+local")),
        ('redis = {extras = ["HiRedis"], version = "*"}', pin("5", extras=["hiredis", "more"])),
        ('redis = {version = "*", index = "private"}', pin("5", index="private")),
        ('redis = {version = "*", index = "private"}', pin("5")),
        ('redis = {version = "*", sys_platform = "== \'win32\'"}', None),
        ('redis = {version = "*", markers = "os_name == \'nt\'"}', {"version": "*"}),
        ('redis = {git = "https://x/redis.git", ref = "main"}', {"git": "https://x/redis", "ref": COMMIT}),
        (f'redis = {{git = "git+https://u:p@x/redis", ref = "{COMMIT}"}}', {"git": "https://x/redis", "ref": COMMIT}),
        ('redis = {path = "./redis/", editable = true}', {"path": "./redis", "editable": True}),
        ('redis = {file = "./redis-5.whl"}', {"file": "./redis-5.whl"}),
        ('redis = {file = "https://x/redis-5.whl"}', {"file": "https://x/redis-5.whl", "hashes": HASHES}),
        ('redis = {path = "lib/redis"}', {"path": "./lib/redis"}),
        ('redis = {path = "./lib/redis"}', {"path": "lib/redis"}),
        ('redis = {path = "./lib//x/../redis/"}', {"file": "lib/redis"}),
        ('redis = {file = "lib/redis"}', {"path": "./lib/redis/"}),
        ('redis = {path = "."}', {"path": "./", "editable": True}),
        ('redis = {file = "file:///srv/app/lib/my%20redis"}', {"file": "lib/my redis"}),
        ('redis = {git = "git@x:a/redis.git", ref = "main"}', {"git": "ssh://git@x/a/redis.git", "ref": COMMIT}),
        ('redis = {git = "git+ssh://git@x/a/redis", ref = "main"}', {"git": "git@x:a/redis.git", "ref": COMMIT}),
        ('redis = {git = "ssh://git@x/a/redis.git"}', {"git": "git+git@x:/a/redis", "ref": COMMIT}),
        ("redis = \"==5.0.1 ; python_version > '3'\"", pin("5.0.1")),
        ("redis = \"5.0.1;sys_platform == 'win32'\"", None),
    ],
)
def test_no_false_alarm(wanted: str, locked: dict[str, Any] | None) -> None:
    assert differences(wanted, locked) == []


@pytest.mark.parametrize(
    ("wanted", "locked", "message"),
    [
        ('redis = ">=6"', pin("5.0.1"), "redis >=6; Pipfile.lock pins redis 5.0.1"),
        ('redis = "5.0.2"', pin("5.0.1"), "redis 5.0.2; Pipfile.lock pins redis 5.0.1"),
        ('redis = "5.1.*"', pin("5.0.1"), "redis 5.1.*; Pipfile.lock pins redis 5.0.1"),
        ('redis = "^5"', pin("5.0.1"), "redis ^5; Pipfile.lock pins redis 5.0.1"),
        ('redis = "*"', None, "redis; Pipfile.lock does not have it"),
        (
            'redis = {version = "*", extras = ["b", "A"]}',
            pin("5"),
            "redis[a,b]; Pipfile.lock pins redis 5 without that",
        ),
        (
            'redis = {version = "*", index = "private"}',
            pin("5", index="pypi"),
            "redis from private; Pipfile.lock pins redis 5 from pypi",
        ),
        (
            'redis = {git = "https://u:secret@x/redis", ref = "main"}',
            pin("5"),
            "redis from https://x/redis at main; Pipfile.lock pins redis 5",
        ),
        (
            f'redis = {{git = "https://x/redis", ref = "{"f" * 40}"}}',
            {"git": "https://x/redis", "ref": COMMIT},
            f"redis from https://x/redis at {'f' * 40}; Pipfile.lock pins redis from https://x/redis at {COMMIT}",
        ),
        ('redis = "*"', {"git": "https://u:secret@x/redis", "ref": COMMIT}, None),
        ('redis = "*"', {"path": "./redis"}, "redis; Pipfile.lock pins redis from ./redis"),
        ('redis = {path = "./redis"}', {"path": "./other"}, "redis from ./redis; Pipfile.lock pins redis from ./other"),
        ('redis = {path = "redis"}', {"path": "../redis"}, "redis from redis; Pipfile.lock pins redis from ../redis"),
        (
            'redis = {path = "/srv/redis"}',
            {"path": "redis"},
            "redis from /srv/redis; Pipfile.lock pins redis from redis",
        ),
        (
            'redis = {git = "git@x:a/redis.git"}',
            {"git": "https://x/a/redis.git", "ref": COMMIT},
            f"redis from git@x:a/redis.git; Pipfile.lock pins redis from https://x/a/redis.git at {COMMIT}",
        ),
        ("redis = \"5.0.2; python_version > '3'\"", pin("5.0.1"), "redis 5.0.2; Pipfile.lock pins redis 5.0.1"),
    ],
)
def test_real_differences_name_the_line(wanted: str, locked: dict[str, Any] | None, message: str | None) -> None:
    message = message or f"redis; Pipfile.lock pins redis from https://x/redis at {COMMIT}"
    assert differences(wanted, locked) == [f"Pipfile asks for {message} (Pipfile:2)."]


@pytest.mark.parametrize(
    ("wanted", "locked", "message"),
    [
        ({"python_version": "3.12"}, {"python_version": "3.12"}, []),
        ({}, {"python_version": "3.12"}, []),
        ({"python_version": "3.12"}, {"python_version": "3.11"}, ["3.12; Pipfile.lock was made for 3.11"]),
        ({"python_full_version": "3.12.1"}, {}, ["3.12.1; Pipfile.lock was made for no version in particular"]),
    ],
)
def test_the_python_version_counts(wanted: dict[str, str], locked: dict[str, str], message: list[str]) -> None:
    pipfile = "[requires]\n" + "".join(f'{key} = "{value}"\n' for key, value in wanted.items())
    lock = parse_lock(json.dumps({"_meta": {"pipfile-spec": 6, "requires": locked}}))
    assert compare(parse_pipfile(pipfile), lock) == [f"Pipfile asks for Python {one} (Pipfile:2)." for one in message]
