"""Errors and warnings of the checks of an app, except those of modules."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import NamedTuple

from buildpack.errors import AppError, BuildpackError, Notice, bullets, listed, quoted, show

_SHOWN = 8


class Started(NamedTuple):
    """A process type that starts something, and the Procfile's line (``Procfile:1``)."""

    process: str
    place: str


def strict(notices: Sequence[str]) -> BuildpackError:
    return AppError(
        "there is a warning, and --strict makes it an error"
        if len(notices) == 1
        else f"there are {len(notices)} warnings, and --strict makes them errors",
        why=bullets(notices),
        hint="fix what they name, or leave --strict out.",
    )


def submodule_not_fetched(path: str) -> Notice:
    return Notice(
        what=f"the git submodule {show(path)} is empty, so the image lacks its files",
        hint="run `git submodule update --init --recursive`.",
        place=".gitmodules",
    )


def lfs_pointers(paths: Sequence[str]) -> Notice:
    shown = listed([*map(show, paths)], 3)
    return Notice(
        what=f"git-lfs did not fetch {shown}, so the image gets a pointer in place of each file",
        hint="run `git lfs pull` in the clone, or put the files themselves there.",
        place=paths[0],
    )


def debugs(started: Started, words: str) -> Notice:
    return Notice(
        what=f"`{started.process}` runs with the debugger ({show(words)}), which lets visitors run code",
        hint="leave that out; `deploy local --dev` is for development.",
        place=started.place,
    )


def program_not_locked(
    started: Started, package: str, *, stack: str | None, category: str | None
) -> BuildpackError | Notice:
    """`stack` is a base image that may have the program; `category` is a category of the lock that has it."""
    if stack is not None:
        return Notice(
            what=f"`{started.process}` runs {package}, which Pipfile.lock does not have",
            hint=f"it has to be in the stack {show(stack)}.",
            place=started.place,
        )
    if category is not None:
        hint = f"build with `--category {show(category)}`, or move {package} to [packages] in Pipfile and lock again."
    else:
        hint = f"run `deploy add {package}`, and commit Pipfile and Pipfile.lock."
    found = f" Its category `{show(category)}` does, and is not installed." if category is not None else ""
    return AppError(
        f"{package} is not in Pipfile.lock",
        why=f"{started.place}: `{started.process}` runs {package}, which Pipfile.lock does not have.{found}",
        hint=hint,
        place=started.place,
    )


def no_program(started: Started, program: str, *, near: str | None) -> Notice:
    return Notice(
        what=f"`{started.process}` runs {show(program)}, which neither Pipfile.lock nor the stack provides",
        hint=f"did you mean `{near}`?"
        if near
        else f"use another program, or make a base image that has {show(program)} and name it with `stack`.",
        place=started.place,
    )


def runner_in_image(started: Started, named: str, command: str) -> BuildpackError:
    """`named` are the words of the command that start the tool."""
    tool = named.partition(" ")[0]
    return AppError(
        f"`{named}` does not work in the image",
        why=f"{started.place}: `{started.process}` starts {tool}, which Pipfile.lock does not have. The image needs no "
        f"{tool}: its environment is active already.",
        hint=f"write `{started.process}: {show(command)}` in the Procfile."
        if command
        else f"write a command without {tool} in the Procfile, for example `{started.process}: python app.py`.",
        place=started.place,
    )


def runner_in_tests(named: str, command: str, setting: str) -> BuildpackError:
    """`setting` is the option, or app.json's script."""
    tool = named.partition(" ")[0]
    option = setting.startswith("--")
    if not command:
        hint = f"leave {setting} out." if not option else f"name a command without {tool}, for example `--test pytest`."
    elif option:
        hint = f"write `{setting} {quote(command)}`."
    else:
        hint = f"write `{show(command)}` as {setting} in app.json."
    return AppError(
        f"`{named}` does not work in the image",
        why=f"{setting} starts {tool}, which Pipfile.lock does not have. The image needs no {tool}: its environment is "
        "active already.",
        hint=hint,
        place="" if option else "app.json",
    )


def no_shell_reads(started: Started, slip: str) -> Notice:
    bare = slip.endswith(")") and len(slip) < 80 and not {*slip} & {*"'\""}
    return Notice(
        what=f"no shell can read the command of `{started.process}`, from `{show(slip[:80])}` on",
        hint=f"write `'{show(slip)}'`, with the quotes." if bare else "end the quotes there.",
        place=started.place,
    )


# The files that the build and the processes start


def no_static_root(path: str) -> Notice:
    return Notice(
        what="the settings have no STATIC_ROOT, without which the build's `collectstatic` fails",
        hint='write `STATIC_ROOT = BASE_DIR / "staticfiles"` there, or `DISABLE_COLLECTSTATIC = "1"` below '
        "`[build.env]` in deploy.toml.",
        place=path,
    )


def hook_of_windows(path: str) -> BuildpackError:
    return _of_windows(
        path,
        "Every build runs it, and the system takes the carriage return at the end of a line for a part of a word.",
    )


def _of_windows(path: str, why: str) -> BuildpackError:
    return AppError(
        f"the lines of {show(path)} end as on Windows",
        why=why,
        hint=f"write it with Unix line ends; `{show(path)} text eol=lf` in .gitattributes has git keep them.",
        place=path,
    )


def no_such_program(started: Started, path: str) -> Notice:
    return Notice(
        what=f"`{started.process}` starts {show(path)}, which does not exist",
        hint="add it, or fix the Procfile.",
        place=started.place,
    )


def no_such_config(started: Started, server: str, words: str, path: str) -> BuildpackError:
    return AppError(
        f"there is no file {show(path)}",
        why=f"{started.place}: `{started.process}` has {server} read it (`{show(words)}`).",
        hint=f"add {show(path)}, or fix that option in the Procfile.",
        place=started.place,
    )


def config_left_out(started: Started, server: str, words: str, path: str) -> Notice:
    return left_out(f"`{started.process}` has {server} read {show(path)} (`{show(words)}`), which", path, started.place)


def program_left_out(started: Started, path: str) -> Notice:
    return left_out(f"`{started.process}` starts {show(path)}, which", path, started.place)


def left_out(subject: str, path: str, place: str) -> Notice:
    """`subject` begins the sentence, up to the word before "the image"."""
    return Notice(
        what=f"{subject} the image leaves out",
        why="git ignores it, or .dockerignore or .slugignore names it",
        hint=f"write `!{show(path)}` at the end of .dockerignore, or of the file that names it.",
        place=place,
    )


def program_not_executable(started: Started, path: str) -> BuildpackError:
    return AppError(
        f"{show(path)} may not be executed",
        why=f"{started.place}: `{started.process}` starts it, and its mode has no x.",
        hint=f"run `chmod +x {show(path)}` (git on Windows: `git update-index --chmod=+x {show(path)}`).",
        place=path,
    )


def not_on_path(started: Started, path: str) -> BuildpackError:
    return AppError(
        f"`{show(path)}` is not among the programs",
        why=f"{started.place}: `{started.process}` starts it without its folder, and a shell then searches PATH only.",
        hint=f"write `./{show(path)}`.",
        place=started.place,
    )


def program_of_windows(started: Started, path: str) -> BuildpackError:
    why = f"{started.place}: `{started.process}` starts it, and the system takes the carriage return at the end of its "
    return _of_windows(path, f"{why}first line for a part of a name.")


# Its address


_ADVICE = {
    "gunicorn": "leave it out, and gunicorn listens on $PORT by itself.",
    "uvicorn": "write `--host 0.0.0.0 --port $PORT`.",
    "hypercorn": "write `--bind 0.0.0.0:$PORT`.",
    "daphne": "write `-b 0.0.0.0 -p $PORT`.",
    "waitress-serve": "write `--port=$PORT`.",
    "granian": "write `--host 0.0.0.0 --port $PORT`.",
    "flask": "write `flask run --host 0.0.0.0 --port $PORT`.",
    "runserver": "write `runserver 0.0.0.0:$PORT`, or better `gunicorn` with the project's wsgi module.",
    "http.server": "write `python -m http.server $PORT`.",
    "python": 'write `port=int(os.environ["PORT"])` and `host="0.0.0.0"` there.',
}
"""How each server listens on $PORT; `python` is a file that starts a server."""


def ignores_port(started: Started, words: str, server: str) -> Notice:
    what = f"`{started.process}` does not listen on $PORT ({show(words)})"
    return Notice(what=what, hint=_ADVICE[server], place=started.place)


def listens_on_loopback(started: Started, words: str, server: str) -> Notice:
    what = f"`{started.process}` listens on the container's own loopback address only ({show(words)})"
    return Notice(what=what, hint=_ADVICE[server], place=started.place)


# Shipped files


def private_file(path: str, what: str, *, variables: bool = False) -> Notice:
    instead = "give its values to the processes as variables" if variables else "mount it where the app runs"
    return Notice(
        what=f"a file that {what} enters the image",
        hint=f"add `{show(path)}` to .dockerignore, and {instead}.",
        place=path,
    )


def more_private_files(count: int) -> Notice:
    return Notice(what=f"{count} more files like these enter the image", hint="name them in .dockerignore too.")


def colliding_names(groups: Sequence[Sequence[str]]) -> Notice:
    shown = "; ".join(" and ".join(show(path) for path in group) for group in groups[:_SHOWN])
    more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    return Notice(
        what=f"these are one file on macOS and Windows: {shown}{more}",
        hint="rename all but one of each.",
        place=groups[0][0],
    )


def unportable_names(paths: Sequence[str]) -> Notice:
    shown = listed([*map(show, paths)])
    return Notice(what=f"Windows cannot check out {shown}", hint="rename them.", place=paths[0])


# Heroku's files


def aptfile(base: str, packages: Sequence[str], others: Sequence[str]) -> Notice:
    """The hint has the lines of a Dockerfile that make a base image from `base` with these packages."""
    hint = "make a base image with them from these two lines, push it, and name it as `stack` in deploy.toml"
    if others:
        hint += f" (add what is not a package's name yourself: {quoted([*map(show, others)])})"
    install = f"apt-get install -y --no-install-recommends {' '.join(map(show, packages)) or 'PACKAGE...'}"
    lines = (f"FROM {show(base)}", f"RUN apt-get update && {install} && rm -rf /var/lib/apt/lists/*")
    return Notice(
        what="deploy does not read this file",
        why="an image holds the system packages of its base, and no others",
        hint=f"{hint}:\n\n" + "".join(f"  {line}\n" for line in lines),
        place="Aptfile",
    )


NOT_READ = {
    ".buildpacks": ("it runs no buildpacks", "let bin/post_compile do what another buildpack did."),
    "heroku.yml": ("the image follows from Procfile and Pipfile.lock", "you need to do nothing."),
    "Procfile.windows": ("processes are those of Procfile", "you need to do nothing."),
}
"""Files that only Heroku reads, each with why and a hint."""


def not_read(name: str) -> Notice:
    why, hint = NOT_READ[name]
    return Notice(what="deploy does not read this file", why=why, hint=hint, place=name)


def reader_not_locked(name: str, package: str) -> Notice:
    reader, purpose = ("Flask", "read it") if name == ".flaskenv" else ("deploy", "download the data")
    return Notice(
        what=f"{reader} does not read this file",
        why=f"Pipfile.lock has no {package} to {purpose} with",
        hint=f"run `deploy add {package}`, or remove {name}.",
        place=name,
    )
