"""The wording of what can be wrong with Pipfile and Pipfile.lock."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import AppError, BuildpackError, DependencyError, UsageError
from buildpack.errors.app import bullets, show
from buildpack.errors.notice import Notice

_LOCK = "run `deploy lock`, commit Pipfile.lock, and build again."


def no_dependencies(found: str | None) -> BuildpackError:
    """There is neither Pipfile nor Pipfile.lock; `found` is another file that lists dependencies."""
    if found is None:
        return AppError(
            "there is no Pipfile.lock",
            why="An app is a folder with a Pipfile.lock, which says exactly what is to be installed.",
            hint="check that this is the app's folder, or run `deploy init` to begin.",
        )
    into = (
        f"`pipenv install -r {found}` makes a Pipfile of it"
        if found.endswith(".txt")
        else f"list what {found} lists in a Pipfile"
    )
    return AppError(
        f"there is {found}, but no Pipfile.lock",
        why=f"Only Pipfile.lock says exactly what is to be installed: each version, with its hashes. {found} does not.",
        hint=f"{into}; then run `deploy lock`, and commit Pipfile and Pipfile.lock.",
        place=found,
    )


def not_locked() -> BuildpackError:
    """There is a Pipfile without Pipfile.lock."""
    return AppError(
        "there is a Pipfile, but no Pipfile.lock",
        why="Pipfile says what the app asks for; only Pipfile.lock says exactly what is to be installed.",
        hint="run `deploy lock`, commit Pipfile.lock (check that .gitignore does not name it), and build again.",
        place="Pipfile",
    )


def other_locks(found: Sequence[str]) -> BuildpackError:
    """Locks of other package managers stand beside Pipfile.lock."""
    return AppError(
        f"{' and '.join(['Pipfile.lock', *found]) if len(found) == 1 else 'several locks'} say what to install",
        why=bullets(["Pipfile.lock", *found])
        + "\n\nThey belong to different tools, and nothing tells which one counts.",
        hint=f"keep Pipfile.lock and remove {' and '.join(found)}.",
        place=found[0],
    )


def no_pipfile() -> str:
    return "there is no Pipfile, so nothing tells whether Pipfile.lock is current."


def pipfile_changed() -> str:
    return "Pipfile changed since Pipfile.lock was made, but all it asks for is there; `deploy lock` refreshes it."


def no_lock(reason: str) -> BuildpackError:
    """Pipfile.lock is JSON, but no lock."""
    return AppError(
        "Pipfile.lock is no lock of pipenv's", why=f"Pipfile.lock: {reason}.", hint=_LOCK, place="Pipfile.lock"
    )


def other_specification(found: str) -> BuildpackError:
    """Pipfile.lock has another format."""
    return AppError(
        "Pipfile.lock has a format that is not known",
        why=f"Its `pipfile-spec` is {show(found)}; this tool reads 6, which pipenv has written since 2018.",
        hint=_LOCK,
        place="Pipfile.lock",
    )


def bad_entries(bad: Sequence[str]) -> BuildpackError:
    """Entries of Pipfile.lock cannot be used."""
    return AppError(
        "Pipfile.lock has an entry that cannot be used"
        if len(bad) == 1
        else f"Pipfile.lock has {len(bad)} entries that cannot be used",
        why=bullets(bad) + "\n\nEach entry needs a pinned version and its sha256 hashes, or a commit, or a local path.",
        hint=_LOCK,
        place=bad[0].partition(": ")[0],
    )


def misnamed(wanted: str, line: int, name: str) -> str:
    """Add to a bad entry that Pipfile seems to list the package under another name."""
    place = f"Pipfile:{line}" if line else "Pipfile"
    return f"; if {place} lists it as `{show(wanted)}`, write `{show(name)}` there"


def refused_variables(refused: Sequence[str], *, file: str) -> BuildpackError:
    """Addresses in Pipfile.lock or Pipfile have variables where deploy does not expand them."""
    then = " and run the command again." if file == "Pipfile" else f" {_LOCK}"
    return AppError(
        f"{file} has variables where deploy does not expand them",
        why=bullets(refused) + f"\n\n{file} decides which server gets the value of a variable. The login of an address "
        "may be a variable. In a source the host and parts of the path may be one, too. Variables that belong to "
        "deploy (DEPLOY_*, DOCKER_*, proxies) go to no server.",
        hint=f"change the address in Pipfile,{then}",
        place=file,
    )


def bad_pipfile(bad: Sequence[str]) -> BuildpackError:
    """Entries of Pipfile cannot be used."""
    return AppError(
        "Pipfile has an entry that cannot be used"
        if len(bad) == 1
        else f"Pipfile has {len(bad)} entries that cannot be used",
        why=bullets(bad),
        hint='an entry is `name = "*"`, or `name = {version = "*"}`.',
        place=bad[0].partition(": ")[0],
    )


def stale_lock(differences: Sequence[str]) -> BuildpackError:
    """Pipfile.lock does not pin what Pipfile asks for."""
    return AppError("Pipfile.lock does not match Pipfile", why="\n".join(differences), hint=_LOCK, place="Pipfile.lock")


def stale_dev_packages(differences: Sequence[str]) -> Notice:
    """Pipfile.lock does not pin what Pipfile's dev-packages ask for, and the image does not hold these."""
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    return Notice(
        what="Pipfile.lock does not match the dev-packages of Pipfile",
        why=show(" ".join(differences[:3])).rstrip(".") + more,
        hint="run `deploy lock`, and commit Pipfile.lock.",
        place="Pipfile.lock",
    )


def unknown_category(category: str, known: Sequence[str]) -> BuildpackError:
    """The lock has no such category."""
    return UsageError(
        f"Pipfile.lock has no category `{show(category)}`",
        why=f"Beside the packages of `default` it has: {', '.join(f'`{show(name)}`' for name in known)}.",
        hint="choose one of these, or add the category to Pipfile and run `deploy lock`.",
    )


def missing_variables(where: str, names: Sequence[str]) -> BuildpackError:
    """The address of an index needs variables that are not set."""
    told = " and ".join(f"${{{show(name)}}}" for name in names)
    return DependencyError(
        f"{' and '.join(show(name) for name in names)} {'is' if len(names) == 1 else 'are'} not set",
        why=f"{where[:1].upper()}{where[1:]} has {told} in its address in Pipfile.lock.",
        hint=f"set {' and '.join(show(name) for name in names)} in the environment of `deploy`.",
    )
