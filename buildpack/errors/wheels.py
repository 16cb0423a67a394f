"""Errors of wheels: their contents, conflicts between them, and builds from sources."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from buildpack.errors import AppError, BuildpackError, DependencyError, LostError, MachineError, Problems, pinned, show

_HINT = (
    "the file has the hash of Pipfile.lock, so it was published this way: ask for another version of {name} in "
    "Pipfile, run `deploy lock`, and build again."
)


def wheel_damaged(filename: str, detail: str) -> DependencyError:
    return DependencyError(
        f"{filename} is not a readable wheel",
        why=f"A wheel is a zip archive, and in this one {detail}.",
        hint=_hint(filename),
    )


def wheel_refused(filename: str, detail: str) -> DependencyError:
    """`detail` is a clause that begins with "it" or "its"."""
    return DependencyError(
        f"{filename} cannot be installed",
        why=f"{detail[0].upper()}{detail[1:]}.",
        hint=_hint(filename),
    )


def member_refused(filename: str, member: str, reason: str) -> DependencyError:
    return DependencyError(
        f"{filename} holds a file that cannot go into an image",
        why=f"The file {member!r} {reason}.",
        hint=_hint(filename),
    )


def _hint(filename: str) -> str:
    return _HINT.format(name=filename.partition("-")[0])


def setuptools_added(name: str, version: str, setuptools: str) -> str:
    return (
        f"{name} {version} imports pkg_resources, and no package of Pipfile.lock has it: setuptools {setuptools} was "
        f'added. Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )


def setuptools_outgrown(name: str, version: str, setuptools: str) -> str:
    return (
        f"{name} {version} imports pkg_resources, which setuptools {setuptools} of Pipfile.lock no longer has: "
        f'if it needs that, it fails when it starts. Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )


def shared_paths(loser: str, winner: str, paths: Sequence[str], advice: str) -> str:
    """`paths` is not empty."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{loser} and {winner} ship different files as /{paths[0]}{more}; {winner}'s files are used. {advice}"


def one_to_drop(loser: str, winner: str, loser_for: Sequence[str], winner_for: Sequence[str]) -> str:
    """Return advice on which of two packages to remove; `*_for` are the packages that require each."""
    if not loser_for:
        return f"Remove {loser} from Pipfile: its files are replaced, and no other package requires it."
    if not winner_for:
        return f"Remove {winner} from Pipfile: {loser_for[0]} requires {loser}, and no other package requires {winner}."
    return f"{loser_for[0]} requires {loser}, and {winner_for[0]} requires {winner}: lock versions that agree."


def only_for_tests(error: BuildpackError) -> BuildpackError:
    """Add to an error that only the tests need the package; the exit code stays."""
    for problem in error.problems if isinstance(error, Problems) else (error,):
        problem.why = f"{problem.why}\nOnly the tests need it: it is a develop package.".lstrip()
        problem.hint = f"{problem.hint.rstrip('.')}, or leave out the tests with `--no-test`.".lstrip(", ")
    return error


def another_package(filename: str, locked: tuple[str, str], found: tuple[str, str]) -> DependencyError:
    return DependencyError(
        f"{filename} is not {' '.join(locked).strip()}",
        why=f"Pipfile.lock lists its hash for {' '.join(locked).strip()}, and its METADATA says {' '.join(found)}.",
        hint="find out who changed Pipfile.lock; `deploy lock` writes the hashes that the index has.",
    )


def file_and_folder(names: Sequence[str], path: str) -> DependencyError:
    return DependencyError(
        f"{' and '.join(names)} cannot be installed together",
        why=f"/{path} is a file in one of them and a folder in another.",
        hint="ask for only one of them in Pipfile, run `deploy lock`, and build again.",
    )


def cannot_build_here(name: str, version: str | None, target: str) -> DependencyError:
    return DependencyError(
        f"{pinned(name, version)} has no wheel, and cannot be built here",
        why=f"It must be built with {target}, and this machine has no such interpreter.",
        hint="lock a version that has a wheel for this platform, or build on a machine of the stack's platform.",
    )


def wheel_lost(filename: str, folder: object) -> LostError:
    return LostError(
        f"{filename} in {folder} is damaged or gone",
        why="It was built here from sources, so no index has it.",
        hint="build again, which makes it again. If this happens a second time, check the disk.",
    )


_TAIL = 15
_ASK_AUTHORS = "lock a version that has a wheel, or ask the package's authors with these lines"


def _tail(output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_TAIL:])


def interpreter_differs(name: str, version: str | None, target: str, here: str) -> DependencyError:
    return DependencyError(
        f"{pinned(name, version)} cannot be built for the stack",
        why=f"It has no wheel, and a build here gives one for {here}; the stack is {target}.",
        hint="lock a version that has a wheel for the stack, or build on a machine like it.",
    )


def newer_libc(name: str, version: str | None, here: str, stack: str) -> DependencyError:
    return DependencyError(
        f"{pinned(name, version)} cannot be built for the stack",
        why=f"It has no wheel, and code that is compiled here, with {here}, does not run on the stack's {stack}.",
        hint="lock a version that has a wheel, choose a newer stack, or build on an older machine.",
    )


class BuildFailed(DependencyError):
    """A package's own build failed; `log` is the file with its whole output, None if that could not be written."""

    log: Path | None = None


def not_grafted(filename: str, reason: str) -> DependencyError:
    return DependencyError(
        f"the shared libraries that {filename} needs cannot be added to it",
        why=f"{reason.strip().rstrip('.')}.",
        hint="lock a version that has a wheel, or build on a stack that has the libraries.",
    )


def library_too_large(filename: str, library: Path, size: int, limit: int) -> DependencyError:
    return DependencyError(
        f"{filename} needs {library}, which is too large to copy into it",
        why=f"The library has {size >> 20} MiB, and the limit is {limit >> 20} MiB.",
        hint="lock a version that has a wheel, or build on a stack that has the library.",
    )


def no_patchelf() -> MachineError:
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
    """`lines` are lines of its output, `instead` is another package or version, `remedies` are settings to try."""
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
        hints.append("install the missing parts on this machine, and on the stack those that the package needs to run")
    hint = "; or ".join(hints) or _ASK_AUTHORS
    error = BuildFailed(f"{pinned(name, version)} could not be built", why=why, hint=f"{hint}.")
    error.log = log
    return error


def requirement_failed(
    name: str, version: str | None, what: str, failure: BuildFailed, *, instead: str | None
) -> BuildFailed:
    """`instead` is another version with a wheel. The hint is about the package: Pipfile does not name `failure`'s."""
    hint = f"ask for {instead} in Pipfile, which has a wheel, and run `deploy lock`" if instead else _ASK_AUTHORS
    error = BuildFailed(
        f"{pinned(name, version)} could not be built",
        why=f"It has no wheel for the stack, so it must be built from {what}. That build requires another package, and "
        f"{failure.what}:\n{failure.why}",
        hint=f"{hint}.",
    )
    error.log = failure.log
    return error


def bad_constraints(variable: str, name: str, reason: str) -> DependencyError:
    return DependencyError(
        f"{variable} names constraints that cannot be used",
        why=f"{name}: {reason}.",
        hint=f"correct the file, or unset {variable}.",
    )


def leading_out(name: str, version: str | None, what: str) -> DependencyError:
    return DependencyError(
        f"{pinned(name, version)} cannot be built",
        why=f"It is built from {what}, whose pyproject.toml is a link that leads out of the sources.",
        hint="lock a version that has a wheel, or ask the package's authors.",
    )


def unusable_archive(name: str, filename: str, reason: str) -> DependencyError:
    return DependencyError(
        f"{filename} cannot be unpacked",
        why=f"It is the locked archive of {name}, and {reason}.",
        hint="lock another version (`deploy lock`), and tell the package's authors.",
    )


def cannot_unpack(name: str, filename: str, error: OSError) -> BuildpackError:
    reason = error.strerror or str(error)
    if error.errno in {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}:
        return unusable_archive(name, filename, f"it holds a name that cannot be created here ({reason})")
    return MachineError(
        f"{filename} cannot be unpacked",
        why=f"It is the locked archive of {name}. The system says: {reason}.",
        hint="free some space for the store, or set DEPLOY_HOME to another folder.",
    )


def path_unreadable(name: str, path: str, place: str, error: OSError) -> DependencyError:
    where = f" ({error.filename})" if error.filename else ""
    return DependencyError(
        f"the sources of {name} cannot be read",
        why=f"{place} names the path {path!r}. The system says: {error.strerror or error}{where}.",
        hint="give this user the right to read it, and build again when no other program writes to it.",
    )


def another_file(name: str, filename: str, path: str, place: str, sha256: str) -> DependencyError:
    return DependencyError(
        f"{filename} is not the file that was locked",
        why=f"{place} names the path {path!r}, whose file now has the hash sha256:{sha256}. Pipfile.lock has another.",
        hint=f"if you changed it, run `deploy lock`; if not, find out who changed {name}.",
    )


def bad_setup_cfg(reason: str) -> AppError:
    return AppError("setup.cfg cannot be read", why=f"setup.cfg: {reason}", hint="fix setup.cfg, and build again.")


def unexpected_wheel(name: str, version: str | None, filename: str, target: str) -> DependencyError:
    return DependencyError(
        f"the build of {pinned(name, version)} made an unexpected wheel",
        why=f"The result is {filename}, which cannot be installed as {pinned(name, version)} on {target}.",
        hint="check the entry in Pipfile, and lock a version that has a wheel.",
    )


def no_such_path(name: str, path: str, place: str) -> DependencyError:
    return DependencyError(
        f"the sources of {name} are missing",
        why=f"{place} names the path {path!r}, relative to the app's folder, and it does not exist.",
        hint="put the sources there, or fix the path in Pipfile and run `deploy lock`.",
    )


def path_outside(name: str, path: str, place: str, target: str) -> AppError:
    return AppError(
        f"the sources of {name} are outside the app",
        why=f"{show(place)} names the path {show(path)}, which leads to {show(target)}. Local packages come from the "
        "app's folder, or from visible folders of the same git work tree.",
        hint="put the package into the app's folder or its git repository, or lock a release from an index.",
        place=place,
    )


def project_too_large(path: str, most: int, files: int) -> DependencyError:
    return DependencyError(
        f"{show(path)} is too large for a local package",
        why=f"A local package may have at most {most:,} bytes in {files:,} files.",
        hint="check which folder the path in Pipfile names; data belongs outside the package.",
    )


def no_git(name: str) -> DependencyError:
    return DependencyError(
        f"{name} cannot be fetched",
        why="Pipfile.lock takes it from a git repository, and git is not installed here.",
        hint="install git, or lock a release from an index.",
    )


def git_failed(name: str, url: str, ref: str, output: str, *, slow: bool = False) -> DependencyError:
    """The server refuses or is too `slow`. No text may have a credential."""
    refused = (
        "check the address, the commit and your access to it; private repositories take ${USER}:${TOKEN}@ in the URL, "
        "or git's own credential helpers."
    )
    waiting = "build again when the server is faster; git's variable GIT_HTTP_LOW_SPEED_TIME sets the seconds it waits."
    return DependencyError(
        f"the locked commit of {name} cannot be fetched",
        why=f"git asked {url} for {ref}:\n{_tail(output)}",
        hint=waiting if slow else refused,
    )
