"""A pipeline's steps: check, build, test, boot, push. The first that fails is the last, and nothing is pushed then."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from buildpack.app.app_json import Script, read_script
from buildpack.app.checks.processes import check_test_command
from buildpack.app.health_host import find_health_host
from buildpack.app.pipfile import read_scripts
from buildpack.app.read import App
from buildpack.bounded import parse_integer
from buildpack.build import Built
from buildpack.dataclass import dataclass, field, replace
from buildpack.errors import BuildpackError, Problems
from buildpack.errors.checks import strict
from buildpack.oci.reference import parse_reference
from buildpack.oci.store import Store
from buildpack.oci.transport import Transport
from buildpack.options import Options
from buildpack.progress import Observer
from buildpack.stacks.platforms import native_platform
from buildpack.steps.check import check_app
from deployer.building.made import Made
from deployer.ci.collecting import Collect
from deployer.ci.console import Console, Place, find_place
from deployer.ci.layers import Layers
from deployer.ci.ledger import Counts, Entry, Ledger, Step
from deployer.ci.making import Maker, describe, fitting
from deployer.ci.services import Service, choose_services
from deployer.ci.trial import Health, Trial
from deployer.engines.ports import read_port
from deployer.errors import ci as errors
from deployer.errors.engines import NotStartedError, local_cannot
from deployer.errors.readiness import BootError
from deployer.interrupts import ending_promptly
from deployer.readiness.health import DISALLOWED_HOST
from deployer.session import open_session, own_python
from deployer.settings.app_variables import default_variables
from deployer.text import harmless, operand_text, plural, styled

STEPS = ("check", "build", "test", "release", "boot", "push")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to do, as the command line has it.

    `test` is the command that tests the app, None where app.json says it, and empty for no tests. `release` is whether
    the release process runs before the boot, `boot` whether the image is tried out at all, tests included.
    `environment` is what tests and web find in theirs; nothing of this process's own environment is among it. `engine`
    is ``auto``, ``docker`` or ``local``. `sbom` is whether a bill of materials goes with the image.
    `services` are variables for the tests and the release process, and `service_images` replace, by add-on, the images
    that app.json's add-ons are started from.
    """

    app: Path
    options: Options
    push: bool = False
    sbom: bool = True
    test: str | None = None
    release: bool = False
    boot: bool = True
    engine: str = "auto"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    services: Mapping[str, str] = field(default_factory=dict, repr=False)
    service_images: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    collect: Sequence[Collect] = ()
    health: Health = field(default_factory=Health)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went: the steps in their order, what was built, and the error that ended it; None for success."""

    steps: tuple[Step, ...]
    built: Made | None
    warnings: tuple[str, ...]
    error: BuildpackError | None


def run_pipeline(
    request: Request,
    *,
    store: Store,
    environ: Mapping[str, str],
    console: Console,
    observer: Observer,
    today: date,
    fit: Callable[[BuildpackError], object] = lambda _error: None,
    fit_warning: Callable[[str], str] = str,
) -> Outcome:
    """Run the steps; what is wrong with the app, the machine or a registry is in the outcome, and not raised.

    `fit` is called with the error that ends it, before anybody reads that; `fit_warning` returns a warning as it is
    shown. Raises UsageError if the request itself makes no sense.
    """
    if request.push:
        from deployer.building.pushing import parse_targets

        if not parse_targets(request.options.references):
            raise errors.nothing_to_push_to()
    homes = map(parse_reference, (*request.options.references, *request.options.cache_from))
    failure: BuildpackError | None = None
    with Transport(environ, homes=homes) as transport:
        if request.push or request.options.cache_from:
            transport.warm()
        pipeline = _Pipeline(
            request,
            store=store,
            environ=environ,
            console=console,
            observer=observer,
            today=today,
            transport=transport,
            fit_warning=fit_warning,
        )
        try:
            pipeline.run()
        except BuildpackError as error:
            fit(error)
            failure = error
            pipeline.give_up(error)
    return Outcome(
        steps=tuple(pipeline.ledger.steps),
        built=pipeline.built,
        warnings=tuple(pipeline.warnings),
        error=failure,
    )


class _Pipeline:
    """One run of the steps; it owns the place where the image is tried out."""

    def __init__(
        self,
        request: Request,
        *,
        store: Store,
        environ: Mapping[str, str],
        console: Console,
        observer: Observer,
        today: date,
        transport: Transport,
        fit_warning: Callable[[str], str],
    ) -> None:
        self.request, self.ledger = request, Ledger(console, count=self._count)
        self._transport, self._fit_warning = transport, fit_warning
        self.built: Made | None = None
        self.warnings: list[str] = []
        self._app: App | None = None
        self._services: tuple[Service, ...] = ()
        self._provided: Mapping[str, str] = {}
        """The variables of services that were started."""
        self._store, self._environ, self._observer = store, environ, observer
        self._console, self._today = console, today
        self._maker = Maker(
            request.app,
            request.options,
            open_session(store, environ, observer=observer, transport=transport),
            push=request.push,
            sbom=request.sbom,
        )

    def run(self) -> None:
        """Do one step after the other."""
        request = self.request
        with self.ledger.step("check", f"check {request.app}") as entry:
            script = self._check()
            entry.reason = plural(len(self.warnings), "warning") if self.warnings else "nothing to mend"
        with self.ledger.step("build", "build") as entry:
            self.built = made = self._build(entry, tested=self._check_test_packages(script))
        self._try_out(made, script)
        if not request.push:
            self.ledger.skip("push", "--push is not given")
            return
        with self.ledger.step("push", "push") as entry, ending_promptly():
            entry.reason = self._maker.push(made)

    def give_up(self, error: BuildpackError) -> None:
        """Tell what went wrong, and leave out what is left."""
        problems = error.problems if isinstance(error, Problems) else (error,)
        for problem in problems:
            self._console.say(f"{styled('error:', 'red')} {harmless(str(problem))}")
            self._console.annotate("error", str(problem), _place(problem))
        done = {step.name for step in self.ledger.steps}
        failed = self.ledger.steps[-1].name
        for name in STEPS:
            if name not in done and (name != "release" or self.request.release):
                self.ledger.skip(name, f"{failed} failed")

    def _count(self) -> Counts:
        traffic = self._transport.traffic
        return Counts(requests=traffic.requests, sent=traffic.sent, received=traffic.received)

    # The steps

    def _check(self) -> Script:
        request = self.request
        report = check_app(
            request.app, request.options, environ=self._environ, today=self._today, own_python=own_python()
        )
        problems = list(report.errors)
        self._app = report.app
        script = Script()
        try:
            script = self._read_script()
        except BuildpackError as error:
            problems.append(error)
        if report.app is not None and request.boot:
            problems += _check_test_commands(request, script, report.app)
            problems += _check_port(script.environment)
        if request.release and not problems and all(process.name != "release" for process in report.processes):
            problems.append(errors.no_release_process())
        warnings = tuple(map(str, report.warnings))
        self._warn(warnings)
        if not problems and request.options.strict and warnings:
            problems.append(strict(warnings))
        if problems:
            raise _together(problems, report.exit_code)
        return script

    def _read_script(self) -> Script:
        asked = self.request
        own = asked.test in {None, "auto"}
        found = read_script(asked.app, needed=own and asked.boot)
        told = {**found.environment, **asked.environment}
        if asked.boot:
            own_variables = {**asked.environment, **asked.services}
            self._services = choose_services(
                found.addons, asked.service_images, given=own_variables, warn=lambda text: self._warn([text])
            )
        given = {name for name in told if told[name]} | {service.variable for service in self._services}
        defaults = default_variables(asked.app, given=given, environ=self._environ)
        defaults.tell(say=self._console.say, warn=lambda text: self._warn([text]), insist=False, own_file=False)
        return Script(
            test=found.test if own else asked.test or "",
            setup=found.setup if own else "",
            environment=defaults.below(told),
        )

    def _check_test_packages(self, script: Script) -> bool:
        """Check what tests without an engine need; returns whether the build has to check it, for tests with one."""
        platforms = self._maker.platforms
        runs_here = not platforms or native_platform() in platforms
        if not self.request.boot or not runs_here or not (script.test or self.request.test == "auto"):
            return False
        if self.request.engine == "docker":
            return True
        from deployer.engines.docker.choice import choose_engine

        engine = choose_engine(self.request.engine, self._environ).engine
        if engine is not None:
            engine.close()
            return True
        from deployer.ci.local_trial import check_test_packages

        assert self._app is not None
        check_test_packages(self._app, store=self._store, environ=self._environ)
        return False

    def _build(self, entry: Entry, *, tested: bool) -> Made:
        made = self._maker.build(tested=tested)
        self._warn(made.warnings)
        lines, entry.reason = describe(made)
        for line in lines:
            self._console.say(line)
        self._console.say(f"  digest   {made.image.digest}")
        return made

    def _try_out(self, made: Made, script: Script) -> None:
        built = fitting(made, os.uname().machine) if self.request.boot else None
        if built is None:
            reason = self._why_not(made)
            for step in ("test", *(["release"] if self.request.release else []), "boot"):
                self.ledger.skip(step, reason)
            return
        with ExitStack() as exits:
            trial: list[Trial] = []

            def place() -> Trial:
                if not trial:
                    trial.append(self._choose_trial(built, exits))
                return trial[0]

            script = self._choose_test(script, built)
            if script.test:
                with self.ledger.step("test", f"test: {script.test}") as entry:
                    entry.reason = self._test(place(), script)
            else:
                self.ledger.skip("test", self._why_no_tests())
            self._release(place, built, script)
            if any(process.name == "web" for process in built.app.processes):
                with self.ledger.step("boot", "boot") as entry:
                    entry.reason = self._boot(place(), built.app, script)
            else:
                self.ledger.skip("boot", "the Procfile has no web")

    def _choose_test(self, script: Script, built: Built) -> Script:
        """Return the script with the command that tests: of `--test auto` app.json's, else pytest."""
        lock = built.app.lock
        has_pytest = any(each.name == "pytest" for each in (*lock.packages, *lock.develop))
        if self.request.test == "auto" and not script.test:
            if not has_pytest:
                raise errors.no_tests_found()
            return replace(script, test="pytest")
        if self.request.test is None and not script.test and has_pytest and os.path.isdir(self.request.app / "tests"):
            self._warn([errors.tests_not_run()])
        return script

    def _test(self, trial: Trial, script: Script) -> str:
        try:
            code = trial.test(self._with_services(script), self.request.collect)
        except NotStartedError as error:
            error.exit_code = errors.TestsFailedError.exit_code
            raise
        if code:
            command = f"{script.setup} && {script.test}" if script.setup else script.test
            raise errors.tests_failed(command, code, trial.where)
        return f"in {trial.where}"

    def _with_services(self, script: Script) -> Script:
        return replace(script, environment={**script.environment, **self._provided, **self.request.services})

    def _release(self, place: Callable[[], Trial], built: Built, script: Script) -> None:
        command = next((each.command for each in built.app.processes if each.name == "release"), "")
        if self.request.release:
            with self.ledger.step("release", f"release: {command}") as entry:
                trial = place()
                code = trial.release(self._with_services(script).environment)
                if code:
                    raise errors.release_failed(command, code, trial.where)
                entry.reason = f"in {trial.where}"
        elif command:
            app = operand_text(str(self.request.app))
            self._console.say(f"release is not run; `deploy ci{app} --release` runs it before the boot")

    def _boot(self, trial: Trial, app: App, script: Script) -> str:
        asked = self.request.health
        host = asked.host or find_health_host(app.source, script.environment)
        health = replace(asked, host=host, environment={**script.environment, **self._provided})
        try:
            booted = trial.boot(health)
        except (BootError, NotStartedError) as error:
            error.exit_code = BootError.exit_code  # a process that died gave its own
            raise
        if booted.reason == DISALLOWED_HOST:
            shown = health.host or "localhost"
            told = f"the host `{shown}` is not in ALLOWED_HOSTS; --health-host names another"
            self._warn([f"web answered 400 to GET {health.path} when it was booted: {told}."])
        if booted.status >= 500:
            self._warn([f"web answered {booted.status} to GET {health.path} when it was booted."])
        return f"web answered {booted.status} after {booted.seconds:.1f} s, in {trial.where}"

    def _choose_trial(self, built: Built, exits: ExitStack) -> Trial:
        from deployer.engines.docker.choice import choose_engine

        choice = choose_engine(self.request.engine, self._environ)
        layers = Layers(built, self._store, self._transport, heal=self._heal)
        if choice.engine is None:
            from deployer.ci.local_trial import LocalTrial

            if self.request.network is not None:
                raise local_cannot(["--network"], choice.why)
            self._console.say(f"engine: {choice}")
            if self._services:
                self._warn([errors.services_not_started([each.addon for each in self._services], choice.why)])
            self._console.say("tried out: the app's layer and the same wheels on this machine's Python, not the image")
            return exits.enter_context(
                LocalTrial(
                    built,
                    layers=layers,
                    store=self._store,
                    environ=self._environ,
                    console=self._console,
                    observer=self._observer,
                )
            )
        from deployer.ci.engine_trial import EngineTrial

        exits.callback(choice.engine.close)
        self._console.say(f"engine: {choice}")
        trial = exits.enter_context(
            EngineTrial(
                choice.engine,
                built,
                layers=layers,
                transport=self._transport,
                store=self._store,
                environ=self._environ,
                console=self._console,
                observer=self._observer,
                network=self.request.network,
            )
        )
        self._provided = trial.start(self._services, seconds=self.request.health.seconds)
        return trial

    def _heal(self, attempt: Callable[[], object]) -> None:
        """Call `attempt`; again after what it found damaged in the store was made again."""
        assert self.built is not None
        _, told = self._maker.whole(self.built, lambda _made, _gone: attempt())
        self._warn(told)

    def _why_not(self, made: Made) -> str:
        if not self.request.boot:
            return "--no-boot is given"
        platforms = ", ".join(str(one.stack.platform) for one in made.images)
        reason = f"this machine does not run {platforms}"
        self._warn([f"the image is pushed untried: {reason}." if self.request.push else f"not tried out: {reason}."])
        return reason

    def _why_no_tests(self) -> str:
        if self.request.test == "":
            return "--no-test is given"
        return "app.json has no environments.test.scripts.test, and --test is not given"

    def _warn(self, warnings: tuple[str, ...] | list[str]) -> None:
        """Tell what was not told yet."""
        for text in map(self._fit_warning, warnings):
            if text not in self.warnings:
                self.warnings.append(text)
                self._console.say(f"{styled('warning:', 'yellow')} {harmless(text)}")
                self._console.annotate("warning", text, find_place(text))


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


def _check_port(variables: Mapping[str, str]) -> list[BuildpackError]:
    """Return the error of a PORT that web could not listen on, which the boot would find too late."""
    try:
        read_port(variables, 0)
    except BuildpackError as error:
        return [error]
    return []


def _together(problems: Sequence[BuildpackError], exit_code: int) -> BuildpackError:
    if len(problems) == 1:
        return problems[0]
    found = Problems(problems)
    found.exit_code = exit_code or found.exit_code
    return found


def _place(problem: BuildpackError) -> Place | None:
    file, _, line = problem.place.partition(":")
    if file:
        return Place(file=file, line=parse_integer(line) or 0)
    return find_place(str(problem))
