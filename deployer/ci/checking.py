"""The first step of a pipeline: find every error of the app and the request before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from buildpack.app.app_json import Script, read_script
from buildpack.app.checks.processes import check_test_command
from buildpack.app.pipfile import read_scripts
from buildpack.app.read import App
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError, together
from buildpack.errors.checks import strict
from buildpack.oci.image import Platform
from buildpack.stacks.platforms import native_platform
from buildpack.steps.check import check_app
from deployer.ci.request import Request, Shared
from deployer.ci.services import choose_services
from deployer.engines.engine import Service
from deployer.engines.ports import read_port
from deployer.errors import ci as errors
from deployer.settings.app_variables import default_variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An app that can be built, the script that tests it, and the services that the tests need."""

    app: App
    script: Script
    services: tuple[Service, ...] = ()


def check(shared: Shared) -> Checked:
    """Check the app, app.json's test environment and the request; raises everything that is wrong at once."""
    request, session = shared.request, shared.session
    report = check_app(
        request.app,
        request.options,
        environ=session.environ,
        today=session.today,
        own_python=session.own_python,
    )
    problems = list(report.errors)
    script = Script()
    services: tuple[Service, ...] = ()
    try:
        script, services = _read_script(shared)
    except BuildpackError as error:
        problems.append(error)
    if report.app is not None and request.boot:
        problems += _check_test_commands(request, script, report.app)
        try:
            read_port(script.environment, 0)  # the boot would find a bad PORT too late
        except BuildpackError as error:
            problems.append(error)
    if request.release and not problems and all(process.name != "release" for process in report.processes):
        problems.append(errors.no_release_process())
    warnings = tuple(map(str, report.warnings))
    shared.warn(warnings)
    if not problems and request.options.strict and warnings:
        problems.append(strict(warnings))
    if problems:
        failure = together(problems)
        failure.exit_code = report.exit_code or failure.exit_code
        raise failure
    assert report.app is not None
    return Checked(app=report.app, script=script, services=services)


def check_tests(checked: Checked, shared: Shared, platforms: Sequence[Platform]) -> bool:
    """Check the packages for tests without an engine; return True if the build has to, for tests with one."""
    request, session = shared.request, shared.session
    runs_here = not platforms or native_platform() in platforms
    if not request.boot or not runs_here or not (checked.script.test or request.test == "auto"):
        return False
    if request.engine == "docker":
        return True
    return shared.engine().check_tests(checked.app, session)


def _read_script(shared: Shared) -> tuple[Script, tuple[Service, ...]]:
    asked = shared.request
    own = asked.test in {None, "auto"}
    found = read_script(asked.app, needed=own and asked.boot is not None)
    told = {**found.environment, **asked.environment}
    services: tuple[Service, ...] = ()
    if asked.boot:
        services = choose_services(
            found.addons,
            asked.service_images,
            given={**asked.environment, **asked.services},
            warn=lambda text: shared.warn([text]),
        )
    given = {name for name in told if told[name]} | {service.variable for service in services}
    defaults = default_variables(asked.app, given=given, environ=shared.session.environ)
    defaults.tell(say=shared.console.say, warn=lambda text: shared.warn([text]), insist=False, own_file=False)
    script = Script(
        test=found.test if own else asked.test or "",
        setup=found.setup if own else "",
        environment=defaults.below(told),
    )
    return script, services


def _check_test_commands(request: Request, script: Script, app: App) -> list[BuildpackError]:
    own = "environments.test.scripts."
    named = "--test" if request.test not in {None, "auto"} else f"{own}test"
    stack = app.settings.stack.value if app.settings.stack is not None else None
    found = (
        check_test_command(
            command, setting=setting, lock=app.lock, stack=stack, scripts=lambda: read_scripts(request.app)
        )
        for setting, command in ((f"{own}test-setup", script.setup), (named, script.test))
    )
    return [problem for problem in found if problem is not None]
