"""Errors that stop a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildpack.errors import AppError, BuildpackError, EngineError, MachineError, StackError, UsageError
from deployer.errors.readiness import BootError


class TestsFailedError(BuildpackError):
    """The app's tests ran, and failed."""

    __test__ = False  # pytest takes classes of such a name for its own
    exit_code = 60


def tests_failed(command: str, code: int, where: str) -> TestsFailedError:
    """Return the error of tests that failed; `code` is their own, `where` says what they ran in."""
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
    return f"`{command}` {ended}, in {where}. What it printed is above; nothing was pushed."


def no_tests_found() -> UsageError:
    """Return the error of `--test auto` for an app without tests that deploy knows how to run."""
    return UsageError(
        "--test auto finds nothing to run",
        why="app.json has no environments.test.scripts.test, and Pipfile.lock does not have pytest.",
        hint="name the command, as in `--test CMD`, or add pytest to Pipfile's [dev-packages] and run `deploy lock`.",
    )


def tests_not_run() -> str:
    """Return the warning that the app's tests are there and nothing runs them."""
    return (
        "tests/ is there and pytest is locked, but no command tests the app: --test auto runs pytest, and "
        "environments.test.scripts.test in app.json names another command."
    )


def bad_collect(text: str, reason: str) -> UsageError:
    """Return the error of an operand of `--collect` that cannot be used."""
    return UsageError(
        f"--collect {text!r} cannot be used",
        why=f"{reason}; it is PATH=DIR: a path in the app's folder, and a folder outside to copy it into.",
        hint="for example `--collect reports/junit.xml=../reports`.",
    )


def release_failed(command: str, code: int, where: str) -> BootError:
    """Return the error of a release process that failed; `code` is its own, `where` says what it ran in."""
    return BootError(
        f"a command of the release process {_NOT_RUN[code]}" if code in _NOT_RUN else "the release process failed",
        why=_how_it_ended(command, code, where),
        hint="fix what it printed; `deploy local release` runs it on your machine, with the variables of .env.",
    )


def no_release_process() -> UsageError:
    """Return the error of `--release` for an app without such a process."""
    return UsageError(
        "--release has nothing to run",
        why="The Procfile has no process type `release`.",
        hint="add a line such as `release: flask db upgrade` to the Procfile, or leave `--release` out.",
    )


def nothing_to_push_to() -> UsageError:
    """Return the error of a `--push` without a name."""
    return UsageError(
        "--push needs the name to push to",
        why="The app's own name says nothing about a registry.",
        hint="name it with -t, for example `-t registry.example.com/shop:1.0`.",
    )


def bad_health_path(text: str) -> UsageError:
    """Return the error of an operand of --health that is not a path."""
    return UsageError(
        f"--health {text!r} is not a path", why="It is what web is asked for.", hint="for example `--health /healthz`."
    )


def layer_unfit(problem: str) -> StackError:
    """Return the error of an app's layer, taken from an earlier image, that holds what none of ours does."""
    return StackError(
        "the app's layer cannot be unpacked to try it out",
        why=f"{problem[:1].upper()}{problem[1:]}.",
        hint="build with --no-cache, which takes nothing from the image that this layer is from.",
    )


def made_otherwise(before: str, after: str) -> MachineError:
    """Return the error of a second build of an image whose layers were lost, which made another image."""
    return MachineError(
        "the image that was built again is another one",
        why=f"Layers of {before} were damaged or gone, so it was built again, and is {after} now. The app's folder "
        "changed meanwhile, or a hook or a package's build does not make the same each time.",
        hint="run it again.",
    )


def layers_out_of_reach(reasons: Mapping[str, str]) -> StackError:
    """Return the error of layers of the image that a registry has, and does not give; `reasons` are by digest."""
    first = next(iter(reasons.values()))
    return StackError(
        f"{len(reasons)} of the image's layers cannot be fetched to try it out",
        why=f"{first[:1].upper()}{first[1:].rstrip('.')}.",
        hint="run it again; --no-cache takes nothing from a registry, --no-boot tries nothing out.",
    )


def file_unwritable(variable: str, path: str, reason: str) -> MachineError:
    """Return the error of a file of the CI service's that cannot be written."""
    return MachineError(
        f"{variable} cannot be written",
        why=f"{path}: {reason}.",
        hint="it is the CI service that sets it; unset it to do without.",
    )


def addon_unknown(name: str) -> str:
    """Warn of one of the tests' add-ons that deploy cannot start."""
    return (
        f"app.json's add-on {name} is not started: deploy does not know it. Start it in the pipeline, and name its "
        "network with --network and its address with --service-env."
    )


def services_not_started(names: Sequence[str], why: str) -> str:
    """Warn of the tests' add-ons that need a container engine; `why` says why there is none."""
    return (
        f"app.json's {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not started: {why}. "
        "--service-env names servers that run already."
    )


def bad_service(text: str, reason: str) -> UsageError:
    """Say that an operand of `--service` cannot be used."""
    return UsageError(
        f"--service {text!r} cannot be used",
        why=f"{reason[:1].upper()}{reason[1:]}; it is ADDON=IMAGE.",
        hint="for example `--service heroku-redis=mirror.example.com/redis:7`.",
    )


def service_not_asked_for(addon: str) -> UsageError:
    """Say that `--service` names an add-on that the tests do not have."""
    return UsageError(
        f"--service {addon} has nothing to start",
        why=f"environments.test.addons in app.json does not have {addon}.",
        hint="add it there, or leave `--service` out.",
    )


def variable_twice(variable: str) -> AppError:
    """Say that two of the tests' add-ons would set one variable."""
    return AppError(
        f"two add-ons of the test environment in app.json set {variable}",
        hint='give one of them a name, as in `{"plan": "heroku-redis:in-dyno", "as": "CACHE"}`, which sets CACHE_URL.',
        place="app.json",
    )


def _service_hint(addon: str, variable: str) -> str:
    return f"`--service {addon}=IMAGE` names another image, `--service-env {variable}=URL` a server that runs already."


def service_not_pulled(addon: str, variable: str, image: str, message: str) -> EngineError:
    """Return the error of an image that an engine lacks and cannot pull; `variable` tells the service's address."""
    return EngineError(
        f"the image {image} of {addon} cannot be pulled",
        why=f"The engine said: {message}",
        hint=_service_hint(addon, variable),
    )


def service_not_ready(addon: str, variable: str, image: str, ended: str, log: str) -> EngineError:
    """Return the error of a service that did not start; `log` is what it printed last."""
    printed = f" It printed last:\n\n{log}" if log else ""
    return EngineError(
        f"{addon} did not start",
        why=f"Its container of {image} {ended}.{printed}",
        hint=f"--boot-timeout gives it more time; {_service_hint(addon, variable)}",
    )


def service_without_address(addon: str, network: str) -> EngineError:
    """Return the error of a network that gives its containers no addresses."""
    return EngineError(
        f"{addon} cannot be reached",
        why=f"Containers have no address in the network {network}.",
        hint="name another one with `--network`, or leave that out.",
    )
