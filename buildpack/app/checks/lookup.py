"""Look up the programs that a Procfile's commands name, among the scripts of packages and the stack's programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from buildpack.app.checks.app_target import Files
from buildpack.app.checks.commands import Invocation
from buildpack.app.checks.doubts import Doubt
from buildpack.app.checks.packages import PROGRAMS
from buildpack.app.lockfile import Lock
from buildpack.app.nearest import find_nearest
from buildpack.errors import BuildpackError, Notice
from buildpack.errors import checks as errors

_PYTHON = re.compile(r"(?:python|pip|idle|pydoc|2to3-?)(?:3(?:\.\d+)?)?")
_BUILTINS = frozenset(
    """
    : . [ alias bg break builtin cd command continue declare dirs disown echo enable eval exec exit export false fc fg
    getopts hash help history jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return
    set shift shopt source suspend test times trap true type typeset ulimit umask unalias unset wait time
    """.split()  # noqa: SIM905 - forty quoted words read no better
)
_HOST = _BUILTINS | frozenset(
    """
    sh bash sed grep b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df dir dirname
    du env expand expr factor fmt fold groups head hostid id install join link ln logname ls md5sum mkdir mkfifo mknod
    mktemp mv nice nl nohup nproc numfmt od paste pathchk pr printenv ptx readlink realpath rm rmdir seq sha1sum
    sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat stty sum sync tac tail tee timeout touch tr
    truncate tsort tty uname unexpand uniq unlink vdir wc who whoami yes
    """.split()  # noqa: SIM905 - a hundred quoted words read no better
)
"""The programs that stacks/system.py takes from a machine, and the shell's builtins."""
_DEBIAN = _HOST | frozenset(
    """
    dash awk mawk egrep fgrep rgrep find xargs diff cmp diff3 sdiff gzip gunzip zcat zgrep zless zmore tar perl hostname
    getconf getent locale localedef iconv ldd ldconfig clear tput reset infocmp tic toe mount umount mountpoint findmnt
    lsblk dmesg more rev script setsid setpriv taskset ionice chrt prlimit flock getopt logger login su runuser passwd
    useradd userdel usermod groupadd groupdel adduser addgroup apt apt-get apt-cache apt-mark dpkg dpkg-query
    update-alternatives update-ca-certificates openssl c_rehash run-parts tempfile which pidof killall5 service
    start-stop-daemon chroot pinky stdbuf runcon arch cal fallocate ipcs ipcrm ipcmk last lastb mesg nsenter unshare
    renice savelog ischroot whereis
    """.split()  # noqa: SIM905 - a hundred quoted words read no better
)
"""The programs of python:X.Y-slim: those of Debian's required packages, apt and OpenSSL."""
_NOWHERE = frozenset(
    """
    npm npx node nodejs yarn pnpm bun java mvn gradle ruby bundle rake rails php composer go cargo docker
    docker-compose podman heroku foreman nginx apache2 httpd caddy traefik redis-server redis-cli postgres psql pg_dump
    pg_restore mysql mysqld mongod memcached rabbitmq-server ffmpeg wkhtmltopdf chromium google-chrome sudo systemctl
    cron crond
    """.split()  # noqa: SIM905 - fifty quoted words read no better
)
"""Programs that no image of Python has, and that people have on the machine they write on."""
_NOT_SLIM = frozenset(
    {"git", "curl", "wget", "make", "gcc", "g++", "ssh", "unzip", "zip", "file", "rsync", "vim", "jq"}
)
RUNNERS = frozenset({"pipenv", "poetry", "uv"})
"""Tools that make environments, and run commands in them."""


def look_up_program(
    invocation: Invocation, *, process: str, line: int, files: Files, lock: Lock, stack: str | None
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check that the lock or the stack has a program, and each program that wraps it; says nothing if nobody can tell.

    `stack` is the one that was asked for, None for the default.
    """
    wrappers = [name for name in invocation.wrappers if name not in RUNNERS or lock.has(name)]
    for name in (*wrappers, *([] if invocation.module else [invocation.program])):
        if name in PROGRAMS:
            yield from _check_package(name, process, line, lock, stack)
        elif not files.generated and "PATH" not in invocation.variables and re.fullmatch(r"[\w.+-]+", name):
            yield from _check_other(name, errors.Started(process=process, line=line), files, lock, stack)
    if invocation.module and invocation.program in PROGRAMS:
        yield from _check_package(invocation.program, process, line, lock, stack)


def _check_package(
    program: str, process: str, line: int, lock: Lock, stack: str | None
) -> Iterator[BuildpackError | Notice]:
    packages = PROGRAMS[program]
    if any(lock.has(name) for name in packages):
        return
    develop = any(one.name in packages for one in lock.develop)
    yield errors.program_not_locked(
        process,
        line,
        packages[0],
        stack=None if has_only_python(stack) else stack,
        category="develop" if develop else None,
    )


def _check_other(
    program: str, started: errors.Started, files: Files, lock: Lock, stack: str | None
) -> Iterator[Notice | Doubt]:
    kind = _kind(stack)
    held = _HOST if kind == "host" else _DEBIAN
    if kind == "other" or program in held or _PYTHON.fullmatch(program) or program.endswith((".sh", ".py")):
        return
    known = [name for name, packages in PROGRAMS.items() if any(map(lock.has, packages))]
    near = find_nearest(program, known)
    finding = errors.no_program(started, program, near=near)
    lacking = program in _NOWHERE or (program in _NOT_SLIM and kind != "full")
    if _may_bring(program, lock, files):
        yield Doubt(kind="program", name=program, finding=finding)
    elif lacking or near:
        yield finding
    elif kind != "full":
        yield Doubt(kind="program", name=program, finding=finding)


def _may_bring(program: str, lock: Lock, files: Files) -> bool:
    """Say whether a package of the lock may bring a program, as far as its name tells."""
    if program.startswith(("node", "np")) and any(one.name.startswith("node") for one in lock.packages):
        return True
    parts = {program.lower(), *re.split(r"[-_.]", program.lower())}
    return "*" in files.brought or not files.brought.isdisjoint(parts)


def has_only_python(stack: str | None) -> bool:
    """Say whether a stack is known to bring no packages."""
    return _kind(stack) != "other"


def _kind(stack: str | None) -> Literal["host", "slim", "full", "other"]:
    if stack is None or stack == "host":
        return "host" if stack else "slim"
    name = stack.removeprefix("docker.io/").removeprefix("library/")
    if not name.startswith("python:"):
        return "other"
    return "slim" if "slim" in name or "alpine" in name else "full"
