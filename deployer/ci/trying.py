"""The steps of a pipeline that try the image out: test, release, boot."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache

from buildpack.app.app_json import Script
from buildpack.app.health_host import find_health_host
from buildpack.app.read import App
from buildpack.dataclass import replace
from buildpack.pipeline import Built, BuiltImage
from deployer.ci.checking import Checked
from deployer.ci.layers import Layers
from deployer.ci.making import fitting
from deployer.ci.request import Shared
from deployer.ci.trial import Trial
from deployer.errors import ci as errors
from deployer.errors.engines import NotStartedError, local_cannot
from deployer.errors.readiness import BootError
from deployer.readiness.health import DISALLOWED_HOST
from deployer.text import operand_text


class Tryout:
    """Tries out the image that this machine can run.

    `heal` calls a function, and calls it again once what it found damaged in the store was made again.
    """

    def __init__(
        self, made: Built, checked: Checked, shared: Shared, heal: Callable[[Callable[[], object]], None]
    ) -> None:
        self._made, self._checked, self._shared, self._heal = made, checked, shared, heal
        self._request, self._console, self._ledger = shared.request, shared.console, shared.ledger
        self._provided: Mapping[str, str] = {}
        """The variables of services that were started."""

    def run(self) -> None:
        """Run the tests, the release process and the boot, or note why they are left out."""
        built = fitting(self._made, os.uname().machine) if self._request.boot else None
        if built is None:
            reason = self._why_not()
            for step in ("test", *(["release"] if self._request.release else []), "boot"):
                self._ledger.skip(step, reason)
            return
        with ExitStack() as exits:
            place = cache(lambda: self._choose_trial(built, exits))
            script = self._choose_test(built)
            if script.test:
                with self._ledger.step("test", f"test: {script.test}") as entry:
                    entry.reason = self._test(place(), script)
            else:
                self._ledger.skip("test", self._why_no_tests())
            self._release(place, built, script)
            if any(process.name == "web" for process in built.app.processes):
                with self._ledger.step("boot", "boot") as entry:
                    entry.reason = self._boot(place(), built.app, script)
            else:
                self._ledger.skip("boot", "the Procfile has no web")

    def _choose_test(self, built: BuiltImage) -> Script:
        """Return the script with the command that tests; for `--test auto` it is app.json's, else pytest."""
        script, lock = self._checked.script, built.app.lock
        has_pytest = any(each.name == "pytest" for each in (*lock.packages, *lock.develop))
        if self._request.test == "auto" and not script.test:
            if not has_pytest:
                raise errors.no_tests_found()
            return replace(script, test="pytest")
        if self._request.test is None and not script.test and has_pytest and os.path.isdir(self._request.app / "tests"):
            self._shared.warn([errors.tests_not_run()])
        return script

    def _test(self, trial: Trial, script: Script) -> str:
        try:
            code = trial.test(self._with_services(script), self._request.collect)
        except NotStartedError as error:
            error.exit_code = errors.TestsFailedError.exit_code
            raise
        if code:
            command = f"{script.setup} && {script.test}" if script.setup else script.test
            raise errors.tests_failed(command, code, trial.where)
        return f"in {trial.where}"

    def _with_services(self, script: Script) -> Script:
        return replace(script, environment={**script.environment, **self._provided, **self._request.services})

    def _release(self, place: Callable[[], Trial], built: BuiltImage, script: Script) -> None:
        command = next((each.command for each in built.app.processes if each.name == "release"), "")
        if self._request.release:
            with self._ledger.step("release", f"release: {command}") as entry:
                trial = place()
                code = trial.release(self._with_services(script).environment)
                if code:
                    raise errors.release_failed(command, code, trial.where)
                entry.reason = f"in {trial.where}"
        elif command:
            app = operand_text(str(self._request.app))
            self._console.say(f"release is not run; `deploy ci{app} --release` runs it before the boot")

    def _boot(self, trial: Trial, app: App, script: Script) -> str:
        asked = self._request.health
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
            self._shared.warn([f"web answered 400 to GET {health.path} when it was booted: {told}."])
        if booted.status >= 500:
            self._shared.warn([f"web answered {booted.status} to GET {health.path} when it was booted."])
        return f"web answered {booted.status} after {booted.seconds:.1f} s, in {trial.where}"

    def _choose_trial(self, built: BuiltImage, exits: ExitStack) -> Trial:
        from deployer.engines.docker.choice import choose_engine

        session = self._shared.session
        assert session.transport is not None
        choice = choose_engine(self._request.engine, session.environ)
        layers = Layers(built, session.store, session.transport, heal=self._heal)
        if choice.engine is None:
            from deployer.ci.local_trial import LocalTrial

            if self._request.network is not None:
                raise local_cannot(["--network"], choice.why)
            self._console.say(f"engine: {choice}")
            if self._checked.services:
                names = [each.addon for each in self._checked.services]
                self._shared.warn([errors.services_not_started(names, choice.why)])
            self._console.say("tried out: the app's layer and the same wheels on this machine's Python, not the image")
            return exits.enter_context(LocalTrial(built, session, layers=layers, console=self._console))
        from deployer.ci.engine_trial import EngineTrial

        exits.callback(choice.engine.close)
        self._console.say(f"engine: {choice}")
        network = self._request.network
        trial = EngineTrial(choice.engine, built, session, layers=layers, console=self._console, network=network)
        exits.enter_context(trial)
        self._provided = trial.start(self._checked.services, seconds=self._request.health.seconds)
        return trial

    def _why_not(self) -> str:
        if not self._request.boot:
            return "--no-boot is given"
        platforms = ", ".join(str(one.stack.platform) for one in self._made.images)
        reason = f"this machine does not run {platforms}"
        self._shared.warn(
            [f"the image is pushed untried: {reason}." if self._request.push else f"not tried out: {reason}."]
        )
        return reason

    def _why_no_tests(self) -> str:
        if self._request.test == "":
            return "--no-test is given"
        return "app.json has no environments.test.scripts.test, and --test is not given"
