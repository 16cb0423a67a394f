"""Check that the programs of a Procfile's commands are in the image: scripts of packages, the stack's, and the app's.

The app's own files are checked only if the command is one program. Another program before it may make the file, or
ask whether it exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from buildpack.app.checks.commands import SHELLS, Invocation, inside_app
from buildpack.app.checks.image_files import HOOKS, Files
from buildpack.app.checks.packages import PROGRAMS, has_only_python, kind_of_stack
from buildpack.app.checks.serving import Serving
from buildpack.app.findings import Doubt
from buildpack.app.lockfile import Lock
from buildpack.app.nearest import find_nearest
from buildpack.app.source import SourceTree
from buildpack.errors import BuildpackError, Notice
from buildpack.errors import checks as errors
from buildpack.errors.checks import Started

_PYTHON = re.compile(r"(?:python|pip|idle|pydoc|2to3-?)(?:3(?:\.\d+)?)?")
_BUILTINS = frozenset(
    """
    : . [ alias bg break builtin cd command continue declare dirs disown echo enable eval exec exit export false fc fg
    getopts hash help history jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return
    set shift shopt source suspend test times trap true type typeset ulimit umask unalias unset wait time
    """.split()  # noqa: SIM905 - forty quoted words read no better
)
HOST_PROGRAMS = tuple(
    """
    sh bash sed grep [ b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df dir
    dirname du echo env expand expr factor false fmt fold groups head hostid id install join link ln logname ls md5sum
    mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pr printenv printf ptx pwd readlink
    realpath rm rmdir seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat stty sum sync
    tac tail tee test timeout touch tr true truncate tsort tty uname unexpand uniq unlink vdir wc who whoami yes
    """.split()  # noqa: SIM905 - a hundred quoted words read no better
)
"""The programs that the stack `host` takes from a machine: a shell, and coreutils."""
_HOST = _BUILTINS | frozenset(HOST_PROGRAMS)
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
    invocation: Invocation, started: Started, files: Files, lock: Lock, stack: str | None
) -> Iterator[BuildpackError | Notice | Doubt]:
    """Check that the lock or the stack has a program, and each program that wraps it; says nothing if nobody can know.

    `stack` is the one that was asked for, None for the default.
    """
    wrappers = [name for name in invocation.wrappers if name not in RUNNERS or lock.has(name)]
    for name in (*wrappers, *([] if invocation.module else [invocation.program])):
        if name in PROGRAMS:
            yield from _check_package(name, started, lock, stack)
        elif not files.generated and "PATH" not in invocation.variables and re.fullmatch(r"[\w.+-]+", name):
            yield from _check_other(name, started, files, lock, stack)
    if invocation.module and invocation.program in PROGRAMS:
        yield from _check_package(invocation.program, started, lock, stack)


def _check_package(program: str, started: Started, lock: Lock, stack: str | None) -> Iterator[BuildpackError | Notice]:
    packages = PROGRAMS[program]
    if not any(lock.has(name) for name in packages):
        category = "develop" if any(one.name in packages for one in lock.develop) else None
        base = None if has_only_python(stack) else stack
        yield errors.program_not_locked(started, packages[0], stack=base, category=category)


def _check_other(
    program: str, started: Started, files: Files, lock: Lock, stack: str | None
) -> Iterator[Notice | Doubt]:
    kind = kind_of_stack(stack)
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
    """Return True if a package of the lock may bring a program, guessed from its name."""
    if program.startswith(("node", "np")) and any(one.name.startswith("node") for one in lock.packages):
        return True
    parts = {program.lower(), *re.split(r"[-_.]", program.lower())}
    return "*" in files.brought or not files.brought.isdisjoint(parts)


def check_program(invocation: Invocation, started: Started, files: Files) -> Iterator[BuildpackError | Notice]:
    """Check the file of the app that is started; yields at most one finding, none if the app's hooks may make it."""
    if files.generated or invocation.folder is None:
        return
    named, read_by = _file(invocation)
    path = inside_app(invocation.folder, named) if named else None
    if not path:
        if _is_meant_as_file(invocation, files):
            yield errors.not_on_path(started, invocation.program)
    elif path not in files.paths:
        if files.left_out(path):
            yield errors.program_left_out(started, path)
        elif not _may_be_there(path, files):
            yield errors.no_such_program(started, path)
    elif not read_by and files.executable(path) is False:
        yield errors.program_not_executable(started, path)
    elif read_by != "python" and _has_windows_line_ends(path, files, shell=read_by == "shell"):
        yield errors.program_of_windows(started, path)


def check_config_files(serving: Serving, started: Started, files: Files) -> Iterator[BuildpackError | Notice]:
    """Check the files that a server reads because its options say so."""
    for path, option in serving.files:
        if path in files.paths or files.generated or _may_be_there(path, files):
            continue
        if files.left_out(path):
            yield errors.config_left_out(started, serving.server, option, path)
        else:
            yield errors.no_such_config(started, serving.server, option, path)


def check_hooks(tree: SourceTree) -> Iterator[BuildpackError]:
    """Check the hooks of the build: one with the line ends of Windows fails in ways that look like success."""
    for file in tree.files:
        if file.path in HOOKS and file.kind == "file":
            begin = tree.read(file.path, 4096) or b""
            if begin.partition(b"\n")[0].endswith(b"\r") and not begin.startswith(b"\x7fELF"):
                yield errors.hook_of_windows(file.path)


def _file(invocation: Invocation) -> tuple[str, str]:
    """Return the file that is started as it is written, and what reads it: ``python``, ``shell``, or the system."""
    program, arguments = invocation.program, invocation.arguments
    first = arguments[0] if arguments else ""
    if program == "python" and first.endswith(".py"):
        return first, "python"
    if program in SHELLS and first.endswith(".sh"):
        return first, "shell"
    return (program, "") if "/" in program else ("", "")


def _is_meant_as_file(invocation: Invocation, files: Files) -> bool:
    """Return True if the program is a file in its folder, which a shell does not search for programs."""
    program = invocation.program
    if "/" in program or "PATH" in invocation.variables or not program.endswith((".sh", ".py")):
        return False
    return f"{invocation.folder}/{program}".lstrip("/") in files.paths


def _may_be_there(path: str, files: Files) -> bool:
    """Return True if the path may exist in the image after all: it is a folder, or below a link that the app has."""
    return any(str(parent) in files.paths for parent in PurePosixPath(path).parents) or any(
        one.startswith(f"{path}/") for one in files.paths
    )


def _has_windows_line_ends(path: str, files: Files, *, shell: bool) -> bool:
    """Return True if its lines end as on Windows, so that a carriage return counts as the end of a word."""
    first = (files.read(path) or b"").partition(b"\n")[0]
    return first.endswith(b"\r") and (shell or first.startswith(b"#!"))
