"""Errors of an app's hooks, each of which names a file to fix (exit code 10)."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from buildpack.errors import AppError, UsageError, build, bullets, listed, show

_TAIL = 20
_SKIP = 'to skip it, add `[build.env]` and `DISABLE_COLLECTSTATIC = "1"` to deploy.toml'


class ProgramError(AppError):
    """A program of the app failed; `why` ends with the last lines that it printed."""

    def __init__(self, what: str, *, why: str, lines: Sequence[str], hint: str, place: str) -> None:
        super().__init__(what, why=f"{why}{_tail(lines)}", hint=hint, place=place)
        self._why = why

    def without_lines(self) -> AppError:
        """Return the error for a user who has seen what the program printed."""
        return AppError(self.what, why=self._why, hint=self.hint, place=self.place)


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by the signal {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _tail(lines: Sequence[str]) -> str:
    said = [line for line in lines if line.strip()][-_TAIL:]
    if not said:
        return " It printed nothing."
    return " Its last lines:\n\n" + "\n".join(f"  {show(line)}" for line in said)


def _ran(steps: Sequence[str]) -> str:
    return " and ".join(steps) if len(steps) < 3 else f"{', '.join(steps[:-1])} and {steps[-1]}"


def hook_failed(path: str, code: int, lines: Sequence[str]) -> ProgramError:
    return ProgramError(
        f"{path} {_ending(code)}",
        why="Every build runs it on a copy of the app, as on Heroku.",
        lines=lines,
        hint=f"fix {path}, or remove or rename it so that builds do not run it.",
        place=path,
    )


def cannot_start(path: str, interpreter: str, reason: str) -> AppError:
    return AppError(
        f"{path} cannot be started",
        why=f"It asks for {show(interpreter)}, and the system says: {reason}.",
        hint=f"fix the first line of {path}, or install what it names on the machine that builds.",
        place=f"{path}:1",
    )


def collectstatic_failed(path: str, code: int, lines: Sequence[str], remedies: Sequence[str]) -> ProgramError:
    """`remedies` are what the output suggests."""
    return ProgramError(
        "Django's static files could not be collected",
        why=f"`python {path} collectstatic --noinput` {_ending(code)}.",
        lines=lines,
        hint="; ".join([*remedies, _SKIP]) + ".",
        place=path,
    )


def nltk_failed(path: str, code: int, lines: Sequence[str]) -> ProgramError:
    return ProgramError(
        f"NLTK could not download what {path} names",
        why=f"`nltk.download` of each word in {path} {_ending(code)}.",
        lines=lines,
        hint=f"fix {path}; behind a proxy add `--build-env HTTPS_PROXY`.",
        place=path,
    )


def remedy_static_root() -> str:
    return 'set STATIC_ROOT in the settings, for example `STATIC_ROOT = BASE_DIR / "staticfiles"`'


def remedy_variable(name: str) -> str:
    return (
        f"give {show(name)} a value for the build, with `--build-env {show(name)}=VALUE` or below `[build.env]` in "
        "deploy.toml, or a default in the settings"
    )


def remedy_module(name: str) -> str:
    return f"add the package of the module {show(name)} to Pipfile and run `deploy lock`"


def remedy_missing_file() -> str:
    return "add the file that the stylesheet or script refers to, or fix the reference"


def no_interpreter(step: str, stack: str, platform: str, reason: str) -> AppError:
    skip = f"; or {_SKIP}" if step.endswith("collectstatic") else f"; or do without {step}"
    return AppError(
        f"{step} cannot run on this machine",
        why=f"It needs the Python of the stack {stack} ({platform}): {reason}.",
        hint=f"build on a machine of that platform, or one with emulation (binfmt_misc){skip}.",
        place=step.partition(" ")[0],
    )


def escaping_links(steps: Sequence[str], links: Sequence[tuple[str, str]]) -> AppError:
    """`links` are pairs of path and target."""
    return AppError(
        "a symbolic link leads out of the app"
        if len(links) == 1
        else f"{len(links)} symbolic links lead out of the app",
        why=f"{_ran(steps)} left:\n\n"
        + bullets([f"{show(path)} -> {show(target)}" for path, target in links])
        + "\n\nDuring the build the app is in another folder than in the image.",
        hint="make relative links inside the app (`ln -sr`), or copies.",
        place=links[0][0],
    )


def undecodable_name(steps: Sequence[str], path: str) -> AppError:
    return AppError(
        f"the file name {show(path)} is not UTF-8",
        why=f"{_ran(steps)} left it, and an image's names are UTF-8.",
        hint="give the file another name there.",
    )


def bad_build_env(name: str) -> UsageError:
    """The message leaves out the part after ``=``, which may be a secret."""
    return UsageError(
        f"--build-env cannot be {show(name)!r}",
        why="It takes NAME=VALUE, or NAME for the value that the variable has here; names are letters, digits and `_`.",
        hint="for example `--build-env SECRET_KEY=for-the-build`.",
    )


def unset_build_env(name: str) -> UsageError:
    return UsageError(
        f"the variable {name} is not set",
        why=f"`--build-env {name}` takes its value from the environment.",
        hint=f"set it, or write `--build-env {name}=VALUE`.",
    )


# Warnings


def ran_as_root(steps: Sequence[str]) -> str:
    return build.ran_as_root(_ran(steps))


def read_before(steps: Sequence[str], paths: Sequence[str]) -> str:
    shown = ", ".join(paths)
    return (
        f"{_ran(steps)} changed {shown} after deploy had read it: the image gets the new file, and the build "
        "followed the old one."
    )


def names_the_copy(steps: Sequence[str], paths: Sequence[str]) -> str:
    shown = listed([*map(show, paths)], 3)
    return f"{_ran(steps)} wrote the path of the folder in which it ran into {shown}. In the image the app is in /app."
