"""Errors and warnings of `deploy ci`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildpack.errors import AppError, BuildpackError, EngineError, MachineError, StackError, UsageError
from deployer.errors.readiness import BootError


class TestsFailedError(BuildpackError):
    """The app's tests ran, and failed."""

    __test__ = False  # pytest collects classes with such a name
    exit_code = 60


def tests_failed(command: str, code: int, where: str) -> TestsFailedError:
    """`code` is the exit code of the tests, `where` the place in which they ran."""
    if code in _NOT_RUN:
        return TestsFailedError(
            f"a command of the tests {_NOT_RUN[code]}",
            why=_how_it_ended(command, code, where),
            hint="name a program that a package of Pipfile.lock or the base image has: `deploy add --dev PACKAGE` adds "
            "a package for tests.",
        )
    return TestsFailedError(
        "the app's tests failed",
        why=_how_it_ended(command, code, where),
        hint="fix what the tests found; `deploy local -- sh -c COMMAND` runs them on your machine.",
    )


_NOT_RUN = {126: "cannot be executed", 127: "was not found"}
"""Exit codes of a shell for a command that it could not run."""


def _how_it_ended(command: str, code: int, where: str) -> str:
    ended = f"was ended by signal {code - 128}" if code > 128 else f"exited with {code}"
    return f"`{command}` {ended}, in {where}. Its output is above; nothing was pushed."


def no_tests_found() -> UsageError:
    return UsageError(
        "--test auto finds nothing to run",
        why="app.json has no environments.test.scripts.test, and Pipfile.lock does not have pytest.",
        hint="name the command, as in `--test CMD`, or add pytest to Pipfile's [dev-packages] and run `deploy lock`.",
    )


def tests_not_run() -> str:
    return (
        "the app has a folder tests/ and locks pytest, but no command runs its tests; use `--test auto`, or name a "
        "command at environments.test.scripts.test in app.json."
    )


def bad_collect(text: str, reason: str) -> UsageError:
    return UsageError(
        f"--collect {text!r} cannot be used",
        why=f"{reason}. It is PATH=DIR: a path in the app's folder, and a folder outside to copy it to.",
        hint="for example `--collect reports/junit.xml=../reports`.",
    )


def release_failed(command: str, code: int, where: str) -> BootError:
    """`code` is the exit code of the release process, `where` the place in which it ran."""
    return BootError(
        f"a command of the release process {_NOT_RUN[code]}" if code in _NOT_RUN else "the release process failed",
        why=_how_it_ended(command, code, where),
        hint="fix what it printed; `deploy local release` runs it on your machine, with the variables of .env.",
    )


def no_release_process() -> UsageError:
    return UsageError(
        "--release has nothing to run",
        why="The Procfile has no process type `release`.",
        hint="add a line such as `release: flask db upgrade` to the Procfile, or leave `--release` out.",
    )


def nothing_to_push_to() -> UsageError:
    return UsageError(
        "--push needs the name to push to",
        why="The app's own name does not have a registry in it.",
        hint="name it with -t, for example `-t registry.example.com/shop:1.0`.",
    )


def bad_health_path(text: str) -> UsageError:
    return UsageError(
        f"--health {text!r} is not a path",
        why="It is the path that deploy requests from web.",
        hint="for example `--health /healthz`.",
    )


def layer_unfit(problem: str) -> StackError:
    return StackError(
        "the app's layer cannot be unpacked to run it",
        why=f"{problem[:1].upper()}{problem[1:]}.",
        hint="build with --no-cache, which reuses no layer of an earlier image.",
    )


def made_otherwise(before: str, after: str) -> MachineError:
    return MachineError(
        "the second build made a different image",
        why=f"Layers of {before} were damaged or gone, so it was built again, and became {after}. Either the app's "
        "folder changed in the meantime, or a hook or a package's build has different results each time.",
        hint="run it again.",
    )


def layers_out_of_reach(reasons: Mapping[str, str]) -> StackError:
    """`reasons` are by digest."""
    first = next(iter(reasons.values()))
    return StackError(
        f"{len(reasons)} of the image's layers cannot be fetched to run it",
        why=f"{first[:1].upper()}{first[1:].rstrip('.')}.",
        hint="run it again; --no-cache reuses nothing from a registry, --no-boot does not run the image.",
    )


def file_unwritable(variable: str, path: str, reason: str) -> MachineError:
    return MachineError(
        f"{variable} cannot be written",
        why=f"{path}: {reason}.",
        hint="the CI service sets this variable; unset it to run without the file.",
    )


def addon_unknown(name: str) -> str:
    return (
        f"app.json's add-on {name} is not started, because deploy does not know it; start it in the pipeline, and "
        "name its network with --network and its address with --service-env."
    )


def services_not_started(names: Sequence[str], why: str) -> str:
    """Return the warning that add-ons of the tests need an engine; `why` says why there is none."""
    return (
        f"app.json's {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not started: {why}. "
        "--service-env names servers that run already."
    )


def bad_service(text: str, reason: str) -> UsageError:
    return UsageError(
        f"--service {text!r} cannot be used",
        why=f"{reason[:1].upper()}{reason[1:]}. It is ADDON=IMAGE.",
        hint="for example `--service heroku-redis=mirror.example.com/redis:7`.",
    )


def service_not_asked_for(addon: str) -> UsageError:
    return UsageError(
        f"--service {addon} has nothing to start",
        why=f"environments.test.addons in app.json does not have {addon}.",
        hint="add it there, or leave `--service` out.",
    )


def variable_twice(variable: str) -> AppError:
    return AppError(
        f"two add-ons of the test environment in app.json set {variable}",
        hint='give one of them a name, as in `{"plan": "heroku-redis:in-dyno", "as": "CACHE"}`, which sets CACHE_URL.',
        place="app.json",
    )


def _service_hint(addon: str, variable: str) -> str:
    return f"`--service {addon}=IMAGE` names another image, `--service-env {variable}=URL` a server that runs already."


def service_not_pulled(addon: str, variable: str, image: str, message: str) -> EngineError:
    """`variable` is the one that holds the address of the service."""
    return EngineError(
        f"the image {image} of {addon} cannot be pulled",
        why=f"The engine said: {message}",
        hint=_service_hint(addon, variable),
    )


def service_not_ready(addon: str, variable: str, image: str, ended: str, log: str) -> EngineError:
    """`log` is the end of the service's output."""
    printed = f" The end of its output:\n\n{log}" if log else ""
    return EngineError(
        f"{addon} did not start",
        why=f"Its container of {image} {ended}.{printed}",
        hint=f"--boot-timeout gives it more time; {_service_hint(addon, variable)}",
    )


def service_without_address(addon: str, network: str) -> EngineError:
    return EngineError(
        f"{addon} cannot be reached",
        why=f"Containers have no address in the network {network}.",
        hint="name another one with `--network`, or leave that out.",
    )
