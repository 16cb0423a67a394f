"""The wording of what the wheels of a lock do to each other."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.errors import BuildpackError, DependencyError, LostError, Problems


def setuptools_added(name: str, version: str, setuptools: str) -> str:
    """Word the warning about a package that imports `pkg_resources` without requiring setuptools."""
    return (
        f"{name} {version} imports pkg_resources, and nothing in Pipfile.lock provides it: setuptools {setuptools} was "
        f'added. Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )


def setuptools_outgrown(name: str, version: str, setuptools: str) -> str:
    """Word the warning about a package that imports `pkg_resources` where the locked setuptools has none."""
    return (
        f"{name} {version} imports pkg_resources, which setuptools {setuptools} of Pipfile.lock no longer has: "
        f'unless it can do without, it dies as it starts. Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )


def shared_paths(loser: str, winner: str, paths: Sequence[str], advice: str) -> str:
    """Word that two wheels ship different files of one path; `paths` is not empty."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{loser} and {winner} ship different files as /{paths[0]}{more}; {winner}'s counts. {advice}"


def one_to_drop(loser: str, winner: str, loser_for: Sequence[str], winner_for: Sequence[str]) -> str:
    """Advise which of two packages to drop; with those that require each."""
    if not loser_for:
        return f"Drop {loser} from Pipfile: its files are replaced, and no other package requires it."
    if not winner_for:
        return f"Drop {winner} from Pipfile: {loser_for[0]} requires {loser}, and no other package requires {winner}."
    return f"{loser_for[0]} requires {loser}, and {winner_for[0]} requires {winner}: lock versions that share one."


def only_for_tests(error: BuildpackError) -> BuildpackError:
    """Add to what is wrong with packages that only the app's tests need them; the exit code stays."""
    for problem in error.problems if isinstance(error, Problems) else (error,):
        problem.why = f"{problem.why}\nOnly the tests need it: it is a develop package.".lstrip()
        problem.hint = f"{problem.hint.rstrip('.')}, or leave out the tests with `--no-test`.".lstrip(", ")
    return error


def another_package(filename: str, locked: tuple[str, str], found: tuple[str, str]) -> DependencyError:
    """Word a wheel that has a locked hash and is another package, or another version; both are (name, version)."""
    return DependencyError(
        f"{filename} is not {' '.join(locked).strip()}",
        why=f"Pipfile.lock lists its hash for {' '.join(locked).strip()}, and its METADATA says {' '.join(found)}.",
        hint="find out who changed Pipfile.lock; `deploy lock` writes the hashes that the index has.",
    )


def file_and_folder(names: Sequence[str], path: str) -> DependencyError:
    """Word wheels of which one has a file where another has a folder."""
    return DependencyError(
        f"{' and '.join(names)} cannot be installed together",
        why=f"/{path} is a file in one of them and a folder in another.",
        hint="ask for only one of them in Pipfile, run `deploy lock`, and build again.",
    )


def cannot_build_here(name: str, version: str | None, target: str) -> DependencyError:
    """Word that a package has to be built for a platform that this machine is not."""
    return DependencyError(
        f"{name} {version or ''}".rstrip() + " has no wheel, and cannot be built here",
        why=f"It has to be built by {target}, and no such interpreter runs on this machine.",
        hint="lock a version that has a wheel for this platform, or build on a machine of the stack's platform.",
    )


def wheel_lost(filename: str, folder: object) -> LostError:
    """Word a wheel that was built here and is not there any more, or damaged; it is dropped by now."""
    return LostError(
        f"{filename} in {folder} is damaged or gone",
        why="It was built here from sources, so no index has it.",
        hint="build again; it is built anew. If it happens again, check the disk.",
    )
