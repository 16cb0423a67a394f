"""The wording of what the checks of an app find: errors for what cannot work, notices for what may be meant."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import NamedTuple

from buildpack.errors import AppError, BuildpackError
from buildpack.errors.app import bullets, show
from buildpack.errors.notice import Notice

_SHOWN = 8


def strict(notices: Sequence[str]) -> BuildpackError:
    """With ``--strict`` warnings are errors."""
    return AppError(
        "there is a warning, and --strict takes it for an error"
        if len(notices) == 1
        else f"there are {len(notices)} warnings, and --strict takes them for errors",
        why=bullets(notices),
        hint="mend what they name, or leave --strict out.",
    )


def app_json_not_read(error: BuildpackError) -> Notice:
    """app.json cannot be parsed, and the command does not need it."""
    place = error.place or "app.json"
    reason = (error.why or "").partition("\n")[0]
    return Notice(
        what=f"{error.what}, so its formation and variables do not count ({show(reason.removesuffix('.'))})",
        hint="fix it, or remove it.",
        place="" if reason.startswith("app.json:") else place,
    )


def unknown_process(name: str) -> str:
    return f"app.json: the formation names `{show(name)}`, which the Procfile does not have."


def credential_left_out(name: str) -> str:
    return f"{name} holds a credential, so it is left out of the image."


def almost_named(found: str, meant: str) -> Notice:
    """A file's name is one slip away from one that is read, and the real one is missing."""
    return Notice(
        what=f"nobody reads {show(found)}, and there is no {meant}",
        hint=f"if it is meant to be one, run `mv {show(found)} {meant}`.",
        place=found,
    )


# What the Procfile serves


class Asked(NamedTuple):
    """A server that a process type starts, the target that it serves, and the place in the Procfile.

    `line` is 0 if there is no Procfile; `joint` is what the server has between module and object.
    """

    process: str
    line: int
    server: str
    target: str
    verb: str = "serve"
    joint: str = ":"

    @property
    def place(self) -> str:
        """The Procfile's line."""
        return f"Procfile:{self.line}" if self.line else "Procfile"

    @property
    def says(self) -> str:
        """Who asks for what, as the beginning of a reason."""
        return f"{self.place}: `{self.process}` has {self.server} {self.verb} `{show(self.target)}`"

    @property
    def module(self) -> str:
        """The module that the target names, as it is written."""
        before, _, _ = self.target.partition(self.joint) if self.joint == ":" else self.target.rpartition(self.joint)
        return before

    def spell(self, module: str, name: str) -> str:
        """Return the target that names an object of a module, as the server reads it."""
        return f"{module}{self.joint}{name}" if name else module


def not_bound(asked: Asked, path: str, name: str, binds: Sequence[str], near: str | None) -> BuildpackError:
    """The module is there, and does not bind the object."""
    if near:
        meant = asked.spell(asked.module, near)
        hint = f"write `{meant}` in the Procfile, if that is what is meant, or bind `{name}` in {show(path)}."
    else:
        factory = next((one for one in ("create_app", "make_app") if one in binds), None)
        hint = f"bind `{name}` in {show(path)}"
        if factory and asked.verb != "run":
            hint += f", for example `{name} = {factory}()`, or write `'{asked.module}:{factory}()'` in the Procfile"
        hint += "."
    return AppError(
        f"{show(path)} does not bind `{name}`",
        why=f"{asked.says}. {show(path)} binds {_listed(binds)}.",
        hint=hint,
        place=asked.place,
    )


def bound_in_script(asked: Asked, place: str, name: str) -> BuildpackError:
    """The object is made only where the module is run as a script."""
    return AppError(
        f'`{name}` is bound only under `if __name__ == "__main__":`',
        why=f"{asked.says}; a server imports the module, and then that part of it does not run ({show(place)}).",
        hint=f"bind `{name}` above that `if`, and leave only the call of `{name}.run()` below it.",
        place=place,
    )


def names_a_module(asked: Asked, path: str, module: str, binds: Sequence[str], near: str | None) -> BuildpackError:
    """The object is the name of a module inside the package."""
    package = module.rpartition(".")[0]
    return AppError(
        f"`{show(asked.target)}` is a module, not an app object",
        why=f"{asked.says}. That is the module {module}; {show(path)} binds {_listed(binds)}.",
        hint=f"did you mean `{asked.spell(package, near)}`?"
        if near
        else f"name an object in it, for example `{asked.spell(module, 'app')}`, or bind one in {show(path)}.",
        place=asked.place,
    )


def factory_not_called(asked: Asked, place: str, name: str) -> BuildpackError:
    """A factory is served in place of what it makes."""
    return AppError(
        f"`{name}` is a factory, and is served uncalled",
        why=f"{asked.says}. {show(place)} defines it with fewer arguments than a WSGI app has, so each request fails.",
        hint=f"write `'{asked.target}()'` in the Procfile, with the quotes.",
        place=asked.place,
    )


def call_not_read(asked: Asked, target: str, option: str) -> BuildpackError:
    """The target has parentheses, and the server takes a name alone."""
    return AppError(
        f"{asked.server} does not call what it serves",
        why=f"{asked.says}; {asked.server} takes the name of an object, without parentheses.",
        hint=f"write `{option} {target}` in the Procfile."
        if option
        else f"bind what the call returns to a name, and serve that in place of `{target}()`.",
        place=asked.place,
    )


def factory_needs_arguments(asked: Asked, place: str, name: str) -> BuildpackError:
    """The server calls a factory without arguments, and the factory needs some."""
    return AppError(
        f"`{name}` needs arguments, and {asked.server} calls it without any",
        why=f"{asked.says} as a factory. {show(place)} defines it.",
        hint=f"give each argument of `{name}` a default.",
        place=place,
    )


def option_not_locked(asked: Asked, package: str) -> BuildpackError:
    """An option has a server import what no package of the lock brings."""
    return AppError(
        f"{package} is not in Pipfile.lock",
        why=f"{asked.says}, which needs {package}.",
        hint=f"run `deploy add {package}`, and commit Pipfile and Pipfile.lock.",
        place=asked.place,
    )


def hidden_module(path: str, module: str, package: str | None) -> Notice:
    """A module of the app has the name of a package's, or of one of Python's own, and wins."""
    hidden = f"the package {package} of Pipfile.lock" if package else f"Python's own module {module}"
    return Notice(
        what=f"{show(path)} hides {hidden} from everything that imports `{module}`",
        hint="rename it.",
        place=path,
    )


def submodule_not_fetched(path: str) -> Notice:
    """A git submodule's folder is empty."""
    return Notice(
        what=f"the git submodule {show(path)} is empty, so the image lacks its files",
        hint="run `git submodule update --init --recursive`.",
        place=".gitmodules",
    )


def lfs_pointers(paths: Sequence[str]) -> Notice:
    """Files hold git-lfs's pointers in place of their content."""
    shown = ", ".join(map(show, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return Notice(
        what=f"git-lfs did not fetch {shown}, so the image gets a pointer in place of each file",
        hint="run `git lfs pull` in the clone, or put the files themselves there.",
        place=paths[0],
    )


def debugs(started: Started, told: str) -> Notice:
    """A web process runs with Flask's debugger."""
    return Notice(
        what=f"`{started.process}` runs with the debugger ({show(told)}), which lets visitors run code",
        hint="leave that out; `deploy local --dev` is for development.",
        place=started.place,
    )


def no_such_module(asked: Asked, name: str, near: str | None, binder: str | None) -> BuildpackError:
    """There is no module of that name; `near` is one of almost that name, `binder` one that binds the object."""
    bound = asked.target.removeprefix(asked.module).removeprefix(asked.joint)
    if near and asked.target.startswith(name):
        hint = f"did you mean `{near}{asked.target.removeprefix(name)}`?"
    elif binder:
        hint = f"did you mean `{asked.spell(binder, bound)}`?"
    else:
        hint = "name a module that is there, or add it."
    return AppError(
        f"there is no module `{show(name)}`",
        why=f"{asked.says}. Neither the app nor a package of Pipfile.lock has it.",
        hint=hint,
        place=asked.place,
    )


def unknown_module(asked: Asked, name: str, error: BuildpackError) -> Notice:
    """Nobody looked into the packages yet, one of which may have the module."""
    return Notice(
        what=f"the app has no module `{show(name)}`, which `{asked.process}` has {asked.server} {asked.verb}",
        why="no package of Pipfile.lock has that name either",
        hint=error.hint,
        place=asked.place,
    )


def missing_import(place: str, module: str, owners: Sequence[str], *, develop: str | None) -> Notice:
    """A module of the app imports what no package brings; `develop` is the package of dev-packages that does."""
    if develop:
        return Notice(
            what=f"{show(place)} imports {show(module)}, which only the dev-packages of Pipfile.lock have",
            hint=f"move {develop} to [packages] in Pipfile, and run `deploy lock`.",
            place=place,
        )
    add = f"run `deploy add {owners[0]}`" if owners else "add the package that has it to Pipfile, run `deploy lock`"
    return Notice(
        what=f"{show(place)} imports {show(module)}, which Pipfile.lock does not have",
        hint=f"{add}, and commit Pipfile and Pipfile.lock.",
        place=place,
    )


def import_left_out(place: str, path: str) -> Notice:
    """A module of the app imports another one that the image lacks."""
    return Notice(
        what=f"{show(place)} imports {show(path)}, which the image leaves out",
        why="git ignores it, or .dockerignore or .slugignore names it",
        hint=f"if the image needs it, write `!{show(path)}` at the end of .dockerignore, or of the file that names it.",
        place=place,
    )


def no_such_submodule(asked: Asked, path: str) -> BuildpackError:
    """A package of the app does not have the module."""
    return AppError(
        f"there is no module {show(path)}.py",
        why=f"{asked.says}. There is neither {show(path)}.py nor a package {show(path)}/.",
        hint="name a module that is there, or add it.",
        place=asked.place,
    )


def module_left_out(asked: Asked, path: str) -> Notice:
    """The module is in the folder and not in the image."""
    return Notice(
        what=f"`{asked.process}` has {asked.server} {asked.verb} `{show(asked.target)}`, and the image leaves out "
        f"{show(path)}",
        why="git ignores it, or .dockerignore or .slugignore names it",
        hint=f"write `!{show(path)}` at the end of .dockerignore, or of the file that names it.",
        place=asked.place,
    )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def program_not_locked(
    process: str, line: int, package: str, *, stack: str | None, category: str | None
) -> BuildpackError | Notice:
    """A process type runs a program of a package that the lock does not have.

    `stack` is one that may have it, of somebody else's making; `category` a category of the lock that has it.
    """
    if stack is not None:
        return Notice(
            what=f"`{process}` runs {package}, which Pipfile.lock does not have",
            hint=f"it has to be in the stack {show(stack)}.",
            place=f"Procfile:{line}",
        )
    if category is not None:
        hint = f"build with `--category {show(category)}`, or move {package} to [packages] in Pipfile and lock again."
    else:
        hint = f"run `deploy add {package}`, and commit Pipfile and Pipfile.lock."
    found = f" Its category `{show(category)}` does, and is not installed." if category is not None else ""
    return AppError(
        f"{package} is not in Pipfile.lock",
        why=f"Procfile:{line}: `{process}` runs {package}, which Pipfile.lock does not have.{found}",
        hint=hint,
        place=f"Procfile:{line}",
    )


def no_program(started: Started, program: str, *, near: str | None) -> Notice:
    """A command's first word is neither a script of a package nor a program of the stack, as far as is known."""
    return Notice(
        what=f"`{started.process}` runs {show(program)}, which neither Pipfile.lock nor the stack provides",
        hint=f"did you mean `{near}`?"
        if near
        else f"use another program, or make a base image that has {show(program)} and name it with `stack`.",
        place=started.place,
    )


def runner_in_image(started: Started, named: str, command: str) -> BuildpackError:
    """A command goes through a tool that makes environments, which the image does not have; `named` are its words."""
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
    """A command that tests the app goes through such a tool; `setting` is the option, or app.json's script."""
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


def target_is_path(asked: Asked, module: str) -> BuildpackError:
    """A server is told a file where it wants a module."""
    _, colon, expression = asked.target.partition(":")
    return AppError(
        f"`{show(asked.target)}` names a file, not a module",
        why=f"{asked.says}; it imports what it serves by the name of a module, with dots.",
        hint=f"write `{show(module)}{colon}{show(expression)}` in the Procfile.",
        place=asked.place,
    )


def no_shell_reads(process: str, line: int, slip: str) -> Notice:
    """A command that stops every shell at this word: a quote does not end, or ``(`` stands bare."""
    bare = slip.endswith(")") and len(slip) < 80 and not {*slip} & {*"'\""}
    return Notice(
        what=f"no shell can read the command of `{process}`, from `{show(slip[:80])}` on",
        hint=f"write `'{show(slip)}'`, with the quotes." if bare else "end the quotes there.",
        place=f"Procfile:{line}",
    )


# The files that the build and the processes start


def no_static_root(path: str) -> Notice:
    """Django's collectstatic has nowhere to put the static files."""
    return Notice(
        what="the settings have no STATIC_ROOT, without which the build's `collectstatic` fails",
        hint='write `STATIC_ROOT = BASE_DIR / "staticfiles"` there, or `DISABLE_COLLECTSTATIC = "1"` below '
        "`[build.env]` in deploy.toml.",
        place=path,
    )


def hook_of_windows(path: str) -> BuildpackError:
    """A hook's lines end as on Windows."""
    return AppError(
        f"the lines of {show(path)} end as on Windows",
        why="Every build runs it, and the carriage return at the end of each line is taken for a part of a word.",
        hint=f"write it with Unix line ends; `{show(path)} text eol=lf` in .gitattributes has git keep them.",
        place=path,
    )


class Started(NamedTuple):
    """Which process type starts a file, and where the Procfile says so."""

    process: str
    line: int

    @property
    def place(self) -> str:
        """The Procfile's line."""
        return f"Procfile:{self.line}"


def no_such_program(started: Started, path: str) -> Notice:
    """The file is nowhere in the app; something that is mounted there may bring it."""
    return Notice(
        what=f"`{started.process}` starts {show(path)}, which is not there",
        hint="add it, or fix the Procfile.",
        place=started.place,
    )


def no_such_config(started: Started, server: str, told: str, path: str) -> BuildpackError:
    """The file is nowhere in the app."""
    return AppError(
        f"there is no file {show(path)}",
        why=f"{started.place}: `{started.process}` has {server} read it (`{show(told)}`).",
        hint=f"add {show(path)}, or fix that option in the Procfile.",
        place=started.place,
    )


def config_left_out(started: Started, server: str, told: str, path: str) -> Notice:
    """The file is in the folder and not in the image."""
    return Notice(
        what=f"`{started.process}` has {server} read {show(path)} (`{show(told)}`), which the image leaves out",
        why="git ignores it, or .dockerignore or .slugignore names it",
        hint=f"write `!{show(path)}` at the end of .dockerignore, or of the file that names it.",
        place=started.place,
    )


def program_left_out(started: Started, path: str) -> Notice:
    """The file is in the folder and not in the image."""
    return Notice(
        what=f"`{started.process}` starts {show(path)}, which the image leaves out",
        why="git ignores it, or .dockerignore or .slugignore names it",
        hint=f"write `!{show(path)}` at the end of .dockerignore, or of the file that names it.",
        place=started.place,
    )


def program_not_executable(started: Started, path: str) -> BuildpackError:
    """The file is there, and nobody may start it."""
    return AppError(
        f"{show(path)} may not be executed",
        why=f"{started.place}: `{started.process}` starts it, and its mode has no x.",
        hint=f"run `chmod +x {show(path)}` (git on Windows: `git update-index --chmod=+x {show(path)}`).",
        place=path,
    )


def not_on_path(started: Started, path: str) -> BuildpackError:
    """A file of the app's folder is started as a program, which is looked for elsewhere."""
    return AppError(
        f"`{show(path)}` is looked for among the programs only",
        why=f"{started.place}: `{started.process}` starts it without saying where it is.",
        hint=f"write `./{show(path)}`.",
        place=started.place,
    )


def program_of_windows(started: Started, path: str) -> BuildpackError:
    """The script's lines end as on Windows."""
    return AppError(
        f"the lines of {show(path)} end as on Windows",
        why=f"{started.place}: `{started.process}` starts it, and the carriage return at the end of its first line is "
        "taken for a part of a name.",
        hint=f"write it with Unix line ends; `{show(path)} text eol=lf` in .gitattributes has git keep them.",
        place=path,
    )


# Where it listens


def ignores_port(process: str, line: int, told: str, advice: str) -> Notice:
    """The web process listens on a port of its own."""
    return Notice(
        what=f"`{process}` does not listen on $PORT ({show(told)})",
        hint=f"{advice}.",
        place=f"Procfile:{line}",
    )


def listens_on_loopback(process: str, line: int, told: str, advice: str) -> Notice:
    """The web process can be reached from its own machine, which is the container, alone."""
    return Notice(
        what=f"`{process}` listens on the container's own loopback address only ({show(told)})",
        hint=f"{advice}.",
        place=f"Procfile:{line}",
    )


# Python


def lock_of_another_python(asked: str, origin: str, locked: str) -> Notice:
    """The lock was made for another Python than the image will have."""
    minor = ".".join(asked.split(".")[:2])
    place = origin if ":" in origin else ""
    subject = "this" if place else origin
    return Notice(
        what=f"{subject} asks for Python {asked}, and Pipfile.lock was made for {show(locked)}",
        why="what a lock holds depends on the version",
        hint=f'write `python_version = "{minor}"` into Pipfile\'s [requires] and run `deploy lock`.',
        place=place,
    )


# What is shipped


def private_file(path: str, what: str, *, variables: bool = False) -> Notice:
    """A file that should not leave the machine enters the image."""
    instead = "give its values to the processes as variables" if variables else "mount it where the app runs"
    return Notice(
        what=f"a file that {what} enters the image",
        hint=f"add `{show(path)}` to .dockerignore, and {instead}.",
        place=path,
    )


def more_private_files(count: int) -> Notice:
    """There are more such files than are told one by one."""
    return Notice(what=f"{count} more files like these enter the image", hint="name them in .dockerignore too.")


def colliding_names(groups: Sequence[Sequence[str]]) -> Notice:
    """Paths that are one file where case or Unicode normalisation does not count."""
    told = "; ".join(" and ".join(show(path) for path in group) for group in groups[:_SHOWN])
    more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    return Notice(
        what=f"these are one file on macOS and Windows: {told}{more}",
        hint="rename all but one of each.",
        place=groups[0][0],
    )


def unportable_names(paths: Sequence[str]) -> Notice:
    """Paths that Windows cannot have."""
    told = ", ".join(show(path) for path in paths[:_SHOWN])
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return Notice(what=f"Windows cannot check out {told}{more}", hint="rename them.", place=paths[0])


# Files of Heroku's


def aptfile(base: str, packages: Sequence[str], others: Sequence[str]) -> Notice:
    """Word an Aptfile, with the lines of a Dockerfile that make a base image from `base` with these packages."""
    hint = "make a base image with them from these two lines, push it, and name it as `stack` in deploy.toml"
    if others:
        hint += f" (add yourself what is no package's name: {_listed([show(each) for each in others])})"
    install = f"apt-get install -y --no-install-recommends {' '.join(map(show, packages)) or 'PACKAGE...'}"
    lines = (f"FROM {show(base)}", f"RUN apt-get update && {install} && rm -rf /var/lib/apt/lists/*")
    return Notice(
        what="deploy does not obey this file",
        why="an image holds the system packages of its base, and no others",
        hint=f"{hint}:\n\n" + "".join(f"  {line}\n" for line in lines),
        place="Aptfile",
    )


def buildpacks() -> Notice:
    """Word a list of buildpacks."""
    return Notice(
        what="deploy does not obey this file",
        why="it runs no buildpacks",
        hint="let bin/post_compile do what another buildpack did.",
        place=".buildpacks",
    )


def not_read(name: str, why: str) -> Notice:
    """Word a file that changes nothing."""
    return Notice(what="deploy does not obey this file", why=why, hint="nothing needs to be done.", place=name)


def reader_not_locked(name: str, package: str, *, what: str, purpose: str) -> Notice:
    """Report a file that only a package reads, and Pipfile.lock has no such package."""
    return Notice(
        what=what,
        why=f"Pipfile.lock has no {package} to {purpose} with",
        hint=f"run `deploy add {package}`, or remove {name}.",
        place=name,
    )
