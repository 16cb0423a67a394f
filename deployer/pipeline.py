"""A pipeline's steps: check, build, test, boot, push. The first that fails is the last, and nothing is pushed then."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from buildpack.app.read import App, read_app
from buildpack.app.script import Script, read_script
from buildpack.build import Built, Options
from buildpack.errors import BuildpackError, Problems
from buildpack.oci.store import Store
from buildpack.progress import Observer
from deployer.building import build_and_deliver, own_python
from deployer.ci import errors
from deployer.ci.console import Console, Place, find_place
from deployer.ci.ledger import Entry, Ledger, Step
from deployer.ci.trial import Health, Trial
from deployer.cli.messages import plural, size_text

__all__ = ["STEPS", "Outcome", "Request", "run_pipeline"]

STEPS = ("check", "build", "test", "boot", "push")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to do, as the command line has it.

    `test` is the command that tests the app, None where app.json says it, and empty for no tests. `boot` is whether
    the image is tried out at all, tests included. `environment` is what tests and web find in theirs; nothing of this
    process's own environment is among it. `engine` is ``auto``, ``docker`` or ``local``.
    """

    app: Path
    options: Options
    push: bool = False
    test: str | None = None
    boot: bool = True
    strict: bool = False
    engine: str = "auto"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    health: Health = field(default_factory=Health)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went: the steps in their order, what was built, and the error that ended it; None for success."""

    steps: tuple[Step, ...]
    built: Built | None
    warnings: tuple[str, ...]
    error: BuildpackError | None


def run_pipeline(
    request: Request, *, store: Store, environ: Mapping[str, str], console: Console, observer: Observer, today: date
) -> Outcome:
    """Run the steps; what is wrong with the app, the machine or a registry is in the outcome, and not raised.

    Raises UsageError where the request itself makes no sense.
    """
    if request.push and not request.options.references:
        raise errors.nothing_to_push_to()
    pipeline = _Pipeline(request, store=store, environ=environ, console=console, observer=observer, today=today)
    failure: BuildpackError | None = None
    try:
        pipeline.run()
    except BuildpackError as error:
        failure = error
        pipeline.give_up(error)
    return Outcome(
        steps=tuple(pipeline.ledger.steps), built=pipeline.built, warnings=tuple(pipeline.warnings), error=failure
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
    ) -> None:
        self.request, self.ledger = request, Ledger(console)
        self.built: Built | None = None
        self.warnings: list[str] = []
        self._store, self._environ, self._observer = store, environ, observer
        self._console, self._today = console, today

    def run(self) -> None:
        """Do one step after the other."""
        request = self.request
        with self.ledger.step("check", f"check {request.app}") as entry:
            app, script = self._check()
            entry.reason = plural(len(app.warnings), "warning") if app.warnings else "nothing to mend"
        with self.ledger.step("build", "build") as entry:
            self.built = built = self._build(entry)
        self._try_out(built, script)
        if not request.push:
            self.ledger.skip("push", "--push is not given")

    def give_up(self, error: BuildpackError) -> None:
        """Tell what went wrong, and leave out what is left."""
        problems = error.problems if isinstance(error, Problems) else (error,)
        for problem in problems:
            self._console.say(f"error: {problem}")
            self._console.annotate("error", str(problem), _place(problem))
        done = {step.name for step in self.ledger.steps}
        failed = self.ledger.steps[-1].name
        for name in STEPS:
            if name not in done:
                self.ledger.skip(name, f"{failed} failed")

    # The steps

    def _check(self) -> tuple[App, Script]:
        request = self.request
        app = read_app(
            request.app,
            environ=self._environ,
            today=self._today,
            own_python=own_python().version,
            stack=request.options.stack,
            platform=request.options.platform,
        )
        found = read_script(request.app)
        test = found.test if request.test is None else request.test
        script = Script(
            test=test,
            setup=found.setup if request.test is None else "",
            environment={**found.environment, **request.environment},
        )
        if request.strict and app.warnings:
            raise errors.warnings_are_errors(app.warnings)
        self._warn(app.warnings)
        return app, script

    def _build(self, entry: Entry) -> Built:
        request = self.request
        built, _ = build_and_deliver(
            request.app,
            options=request.options,
            destinations=(),
            store=self._store,
            environ=self._environ,
            observer=self._observer,
        )
        self._warn(built.warnings)
        if request.strict and built.warnings:
            raise errors.warnings_are_errors(built.warnings)
        written = [(made, reason) for made, reason in built.layers if made.source == "built"]
        for made, reason in written:
            self._console.say(f"  written  {made.planned.slot:<14} {size_text(made.layer.size):>7}  {reason}")
        self._console.say(f"  digest   {built.image.digest}")
        stack, reused = len(built.stack_layers), len(built.layers) - len(written)
        entry.reason = (
            f"{size_text(built.image.size)} in {plural(len(built.image.layers), 'layer')}: {stack} of the stack, "
            f"{reused} reused, {len(written)} written"
        )
        return built

    def _try_out(self, built: Built, script: Script) -> None:
        reason = self._why_not(built)
        web = any(process.name == "web" for process in built.app.processes)
        with ExitStack() as exits:
            trial: list[Trial] = []

            def place() -> Trial:
                if not trial:
                    trial.append(self._choose_trial(built, exits))
                return trial[0]

            if reason or not script.test:
                self.ledger.skip("test", reason or self._why_no_tests())
            else:
                with self.ledger.step("test", f"test: {script.test}") as entry:
                    code = place().test(script)
                    if code:
                        raise errors.tests_failed(script.test, code, place().where)
                    entry.reason = f"in {place().where}"
            if reason or not web:
                self.ledger.skip("boot", reason or "the Procfile has no web")
            else:
                with self.ledger.step("boot", "boot") as entry:
                    entry.reason = self._boot(place(), script)

    def _boot(self, trial: Trial, script: Script) -> str:
        asked = self.request.health
        health = Health(path=asked.path, strict=asked.strict, seconds=asked.seconds, environment=script.environment)
        try:
            booted = trial.boot(health)
        except BuildpackError as error:
            if error.exit_code < 30:  # a web process that died gave its own
                error.exit_code = 50
            raise
        if booted.status >= 500:
            self._warn([f"web answered {booted.status} to GET {health.path} when it was booted."])
        return f"web answered {booted.status} after {booted.seconds:.1f} s, in {trial.where}"

    def _choose_trial(self, built: Built, exits: ExitStack) -> Trial:
        from deployer.engines.choice import choose_engine

        choice = choose_engine(self.request.engine, self._environ)
        if choice.engine is None:
            from deployer.ci.local_trial import LocalTrial

            self._console.say(
                f"engine: {choice}: what is tried out is the app's layer and the same wheels, not the image"
            )
            return exits.enter_context(
                LocalTrial(
                    built,
                    store=self._store,
                    open_blob=self._store.open,
                    environ=self._environ,
                    console=self._console,
                    observer=self._observer,
                )
            )
        from deployer.ci.engine_trial import EngineTrial

        exits.callback(choice.engine.close)
        self._console.say(f"engine: {choice}")
        return exits.enter_context(
            EngineTrial(
                choice.engine,
                built,
                store=self._store,
                open_blob=self._store.open,
                environ=self._environ,
                console=self._console,
                observer=self._observer,
            )
        )

    def _why_not(self, built: Built) -> str:
        """Return why the image is not tried out; empty where it is."""
        if not self.request.boot:
            return "--no-boot is given"
        machine = built.stack.machine
        if machine != os.uname().machine:
            return f"the image is for {built.stack.platform}, which this machine does not run"
        return ""

    def _why_no_tests(self) -> str:
        if self.request.test == "":
            return "--no-test is given"
        return "app.json has no environments.test.scripts.test, and --test is not given"

    def _warn(self, warnings: tuple[str, ...] | list[str]) -> None:
        """Tell what was not told yet."""
        for text in warnings:
            if text not in self.warnings:
                self.warnings.append(text)
                self._console.say(f"warning: {text}")
                self._console.annotate("warning", text, find_place(text))


def _place(problem: BuildpackError) -> Place | None:
    file, _, line = problem.place.partition(":")
    if file:
        return Place(file=file, line=int(line) if line.isdigit() else 0)
    return find_place(str(problem))
