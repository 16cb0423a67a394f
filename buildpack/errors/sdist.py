"""Wording for what goes wrong while a wheel is made from sources (exit code 20)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import AppError, BuildpackError, DependencyError, MachineError
from buildpack.errors.app import show

_TAIL = 15
_ASK_AUTHORS = "lock a version that has a wheel, or ask the package's authors with these lines"


def _pinned(name: str, version: str | None) -> str:
    return f"{name} {version}" if version else name


def _tail(output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_TAIL:])


def interpreter_differs(name: str, version: str | None, target: str, here: str) -> DependencyError:
    """Sources can be built for this machine's platform only, and the stack's is another one."""
    return DependencyError(
        f"{_pinned(name, version)} cannot be built for the stack",
        why=f"It has no wheel, so it would be built here, for {here}; the stack is {target}.",
        hint="lock a version that has a wheel for the stack, or build on a machine like it.",
    )


def newer_libc(name: str, version: str | None, here: str, stack: str) -> DependencyError:
    """What is compiled here would need a newer C library than the stack has."""
    return DependencyError(
        f"{_pinned(name, version)} cannot be built for the stack",
        why=f"It has no wheel, and what is compiled here, with {here}, does not run on the stack's {stack}.",
        hint="lock a version that has a wheel, choose a newer stack, or build on an older machine.",
    )


class BuildFailed(DependencyError):
    """A package's own build failed; `log` is the file with all of its output, None if it could not be written."""

    log: Path | None = None


def not_grafted(filename: str, reason: str) -> DependencyError:
    """Word a wheel into which the libraries that it needs could not be copied."""
    return DependencyError(
        f"{filename} cannot be completed with the shared libraries that it needs",
        why=f"{reason.strip().rstrip('.')}.",
        hint="lock a version that has a wheel, or build on a stack that has the libraries.",
    )


def library_too_large(filename: str, library: Path, size: int, limit: int) -> DependencyError:
    """A wheel needs a library of this machine that is too large to copy."""
    return DependencyError(
        f"{filename} needs {library}, which is too large to copy into it",
        why=f"The library has {size >> 20} MiB. A library that is copied may have {limit >> 20} MiB.",
        hint="lock a version that has a wheel, or build on a stack that has the library.",
    )


def no_patchelf() -> MachineError:
    """Word an installation without the program that changes ELF files."""
    return MachineError(
        "patchelf is not installed",
        why="A package that was built here needs shared libraries that the stack lacks; patchelf adds them.",
        hint="install deploy again, which brings patchelf with it.",
    )


def build_failed(
    name: str,
    version: str | None,
    what: str,
    lines: Sequence[str],
    *,
    missing: Sequence[str] = (),
    instead: str | None = None,
    remedies: Sequence[str] = (),
    log: Path | None = None,
) -> BuildFailed:
    """The package's own build failed; `lines` are of its output, `instead` is another package or version.

    `remedies` are settings for the build that its output suggests.
    """
    why = f"It has no wheel for the stack, so it was built from {what}, and that failed."
    if missing:
        why += f" Missing: {'; '.join(missing)}."
    if lines:
        why += " From its output:\n" + "\n".join(f"  {line}" for line in lines)
    if log:
        why += f"\nThe whole log, which -v prints: {log}"
    hints = list(remedies)
    if instead:
        hints.append(f"ask for {instead} in Pipfile, which has a wheel, and run `deploy lock`")
    if missing:
        hints.append("install what is missing on this machine, and on the stack what the package needs to run")
    hint = "; or ".join(hints) or _ASK_AUTHORS
    error = BuildFailed(f"{_pinned(name, version)} could not be built", why=why, hint=f"{hint}.")
    error.log = log
    return error


def requirement_failed(
    name: str, version: str | None, what: str, failure: BuildFailed, *, instead: str | None
) -> BuildFailed:
    """Report that what the build of a package requires could not be built; `instead` is another version with a wheel.

    Pipfile names the package, and not what its build requires.
    """
    hint = f"ask for {instead} in Pipfile, which has a wheel, and run `deploy lock`" if instead else _ASK_AUTHORS
    error = BuildFailed(
        f"{_pinned(name, version)} could not be built",
        why=f"It has no wheel for the stack, so it is built from {what}. That build requires another package, and "
        f"{failure.what}:\n{failure.why}",
        hint=f"{hint}.",
    )
    error.log = failure.log
    return error


def bad_constraints(variable: str, name: str, reason: str) -> DependencyError:
    """Report a file of constraints that cannot be used."""
    return DependencyError(
        f"{variable} names constraints that cannot be used",
        why=f"{name}: {reason}.",
        hint=f"correct the file, or unset {variable}.",
    )


def leading_out(name: str, version: str | None, what: str) -> DependencyError:
    """Refuse sources whose pyproject.toml is a link to something of this machine."""
    return DependencyError(
        f"{_pinned(name, version)} cannot be built",
        why=f"It is built from {what}, whose pyproject.toml is a link that leads out of the sources.",
        hint="lock a version that has a wheel, or ask the package's authors.",
    )


def unusable_archive(name: str, filename: str, reason: str) -> DependencyError:
    """The archive of sources cannot be unpacked, or holds what it should not."""
    return DependencyError(
        f"{filename} cannot be unpacked",
        why=f"It is the locked archive of {name}, and {reason}.",
        hint="lock another version (`deploy lock`), and tell the package's authors.",
    )


def cannot_unpack(name: str, filename: str, error: OSError) -> BuildpackError:
    """The system refuses to write what the archive holds: for its names, or for want of room."""
    reason = error.strerror or str(error)
    if error.errno in {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}:
        return unusable_archive(name, filename, f"it holds a name that this system does not take ({reason})")
    return MachineError(
        f"{filename} cannot be unpacked",
        why=f"It is the locked archive of {name}. The system says: {reason}.",
        hint="make room where the store is, or let DEPLOY_HOME name another folder.",
    )


def path_unreadable(name: str, path: str, place: str, error: OSError) -> DependencyError:
    """A local path in the lock cannot be read, or changed while it was."""
    where = f" ({error.filename})" if error.filename else ""
    return DependencyError(
        f"the sources of {name} cannot be read",
        why=f"{place} names the path {path!r}. The system says: {error.strerror or error}{where}.",
        hint="let this user read it, and build again once nothing writes to it.",
    )


def another_file(name: str, filename: str, path: str, place: str, sha256: str) -> DependencyError:
    """A local file has another hash than was locked."""
    return DependencyError(
        f"{filename} is not the file that was locked",
        why=f"{place} names the path {path!r}, whose file has the hash sha256:{sha256} now. Pipfile.lock has another.",
        hint=f"if you changed it, run `deploy lock`; if not, find out who changed {name}.",
    )


def bad_setup_cfg(reason: str) -> AppError:
    """The app's setup.cfg cannot be parsed."""
    return AppError("setup.cfg cannot be read", why=f"setup.cfg: {reason}", hint="mend setup.cfg, and build again.")


def unexpected_wheel(name: str, version: str | None, filename: str, target: str) -> DependencyError:
    """The build gave a wheel that is of another package, or does not fit."""
    return DependencyError(
        f"{_pinned(name, version)} became another wheel than expected",
        why=f"The result is {filename}, which cannot be installed as {_pinned(name, version)} on {target}.",
        hint="check the entry in Pipfile, and lock a version that has a wheel.",
    )


def no_such_path(name: str, path: str, place: str) -> DependencyError:
    """A local path in the lock leads nowhere."""
    return DependencyError(
        f"the sources of {name} are not there",
        why=f"{place} names the path {path!r}, relative to the app's folder, and nothing is there.",
        hint="put the sources there, or mend the path in Pipfile and run `deploy lock`.",
    )


def path_outside(name: str, path: str, place: str, target: str) -> AppError:
    """A local path in the lock, or a link in the project there, leads to what is not the app's own."""
    return AppError(
        f"the sources of {name} are outside the app",
        why=f"{show(place)} names the path {show(path)}, which leads to {show(target)}. Local packages come from the "
        "app's folder, or from visible folders of the same git work tree.",
        hint="put the package into the app's folder or its git repository, or lock a release from an index.",
        place=place,
    )


def project_too_large(path: str, most: int, files: int) -> DependencyError:
    """The files of a local project are more, or larger, than any real one's."""
    return DependencyError(
        f"{show(path)} is too large for a local package",
        why=f"At most {most:,} bytes in {files:,} files are read.",
        hint="check which folder the path in Pipfile names; data belongs outside the package.",
    )


def no_git(name: str) -> DependencyError:
    """Git is not installed."""
    return DependencyError(
        f"{name} cannot be fetched",
        why="Pipfile.lock takes it from a git repository, and git is not installed here.",
        hint="install git, or lock a release from an index.",
    )


def git_failed(name: str, url: str, ref: str, output: str, *, slow: bool = False) -> DependencyError:
    """Git could not fetch the commit, because its server is too `slow` or refuses; no text has a credential."""
    refused = (
        "check the address, the commit and your access to it; private repositories take ${USER}:${TOKEN}@ in the URL, "
        "or git's own credential helpers."
    )
    waiting = "build again when the server is faster; git's variable GIT_HTTP_LOW_SPEED_TIME sets the seconds it waits."
    return DependencyError(
        f"the locked commit of {name} cannot be fetched",
        why=f"{url} was asked for {ref}:\n{_tail(output)}",
        hint=waiting if slow else refused,
    )
