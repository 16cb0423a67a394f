"""Errors and warnings of modules: those that a server loads, and those that the app imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from buildpack.errors import AppError, BuildpackError, Notice, quoted, show
from buildpack.errors.checks import left_out

# The target of a command


class Asked(NamedTuple):
    """A server that a process type starts, the Procfile's line, and the target that it serves.

    `joint` is the character that the server has between module and object.
    """

    process: str
    place: str
    server: str
    target: str
    verb: str = "serve"
    joint: str = ":"

    @property
    def says(self) -> str:
        """The beginning of a reason: the place, and who serves the target."""
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
        why=f"{asked.says}. {show(path)} binds {quoted(binds)}.",
        hint=hint,
        place=asked.place,
    )


def bound_in_script(asked: Asked, place: str, name: str) -> BuildpackError:
    return AppError(
        f'`{name}` is bound only under `if __name__ == "__main__":`',
        why=f"{asked.says}; a server imports the module, and then that part of it does not run ({show(place)}).",
        hint=f"bind `{name}` above that `if`, and leave only the call of `{name}.run()` below it.",
        place=place,
    )


def names_a_module(asked: Asked, path: str, module: str, binds: Sequence[str], near: str | None) -> BuildpackError:
    package = module.rpartition(".")[0]
    return AppError(
        f"`{show(asked.target)}` is a module, not an app object",
        why=f"{asked.says}. That is the module {module}; {show(path)} binds {quoted(binds)}.",
        hint=f"did you mean `{asked.spell(package, near)}`?"
        if near
        else f"name an object in it, for example `{asked.spell(module, 'app')}`, or bind one in {show(path)}.",
        place=asked.place,
    )


def factory_not_called(asked: Asked, place: str, name: str) -> BuildpackError:
    return AppError(
        f"`{name}` is a factory, and nothing calls it",
        why=f"{asked.says}. {show(place)} defines it with fewer arguments than a WSGI app has, so each request fails.",
        hint=f"write `'{asked.target}()'` in the Procfile, with the quotes.",
        place=asked.place,
    )


def call_not_read(asked: Asked, target: str, option: str) -> BuildpackError:
    return AppError(
        f"{asked.server} does not call what it serves",
        why=f"{asked.says}; {asked.server} takes the name of an object, without parentheses.",
        hint=f"write `{option} {target}` in the Procfile."
        if option
        else f"bind what the call returns to a name, and serve that instead of `{target}()`.",
        place=asked.place,
    )


def factory_needs_arguments(asked: Asked, place: str, name: str) -> BuildpackError:
    return AppError(
        f"`{name}` needs arguments, and {asked.server} calls it without any",
        why=f"{asked.says} as a factory. {show(place)} defines it.",
        hint=f"give each argument of `{name}` a default.",
        place=place,
    )


def option_not_locked(asked: Asked, package: str) -> BuildpackError:
    return AppError(
        f"{package} is not in Pipfile.lock",
        why=f"{asked.says}, which needs {package}.",
        hint=f"run `deploy add {package}`, and commit Pipfile and Pipfile.lock.",
        place=asked.place,
    )


def hidden_module(path: str, module: str, package: str | None) -> Notice:
    hidden = f"the package {package} of Pipfile.lock" if package else f"Python's own module {module}"
    return Notice(
        what=f"{show(path)} hides {hidden} from everything that imports `{module}`",
        hint="rename it.",
        place=path,
    )


def no_such_module(asked: Asked, name: str, near: str | None, binder: str | None) -> BuildpackError:
    """`near` is a module with a similar name; `binder` is one that binds the object."""
    bound = asked.target.removeprefix(asked.module).removeprefix(asked.joint)
    if near and asked.target.startswith(name):
        hint = f"did you mean `{near}{asked.target.removeprefix(name)}`?"
    elif binder:
        hint = f"did you mean `{asked.spell(binder, bound)}`?"
    else:
        hint = "name a module that exists, or add it."
    return AppError(
        f"there is no module `{show(name)}`",
        why=f"{asked.says}. Neither the app nor a package of Pipfile.lock has it.",
        hint=hint,
        place=asked.place,
    )


def unknown_module(asked: Asked, name: str, error: BuildpackError) -> Notice:
    return Notice(
        what=f"the app has no module `{show(name)}`, which `{asked.process}` has {asked.server} {asked.verb}",
        why="no package of Pipfile.lock has that name either",
        hint=error.hint,
        place=asked.place,
    )


def missing_import(place: str, module: str, owners: Sequence[str], *, develop: str | None) -> Notice:
    """`develop` is the package of dev-packages that has the module."""
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
    return left_out(f"{show(place)} imports {show(path)}, which", path, place)


def no_such_submodule(asked: Asked, path: str) -> BuildpackError:
    return AppError(
        f"there is no module {show(path)}.py",
        why=f"{asked.says}. There is neither {show(path)}.py nor a package {show(path)}/.",
        hint="name a module that exists, or add it.",
        place=asked.place,
    )


def module_left_out(asked: Asked, path: str) -> Notice:
    subject = f"`{asked.process}` has {asked.server} {asked.verb} `{show(asked.target)}` of {show(path)}, which"
    return left_out(subject, path, asked.place)


def target_is_path(asked: Asked, module: str) -> BuildpackError:
    _, colon, expression = asked.target.partition(":")
    return AppError(
        f"`{show(asked.target)}` names a file, not a module",
        why=f"{asked.says}; it imports what it serves by the name of a module, with dots.",
        hint=f"write `{show(module)}{colon}{show(expression)}` in the Procfile.",
        place=asked.place,
    )
