"""The steps of a pipeline that try the image out: test, release, boot."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache

from buildpack.app.app_json import Script
from buildpack.app.health_host import find_health_host
from buildpack.app.read import App
from buildpack.dataclass import replace
from buildpack.steps.built import Built, BuiltImage
from deployer.ci.checking import Checked
from deployer.ci.collecting import collect
from deployer.ci.request import Shared
from deployer.engines.engine import Candidate, Ground, Job, Layers, ReadFile, Trial
from deployer.engines.foreground import Foreground
from deployer.errors import ci as errors
from deployer.errors.engines import NotStartedError
from deployer.errors.readiness import BootError
from deployer.interrupts import keep_for_later, raise_dropped
from deployer.readiness.health import DISALLOWED_HOST, Boot, Outcome
from deployer.runner.supervisor import Settings
from deployer.text import operand_text

_STOP_SECONDS = 5.0
"""Seconds that web gets to end by itself: nobody waits for its answers any more."""


class Tryout:
    """Tries out the image that this machine can run.

    `heal` calls a function, and calls it once more if it found damaged layers, which are made again before.
    """

    def __init__(
        self, made: Built, checked: Checked, shared: Shared, heal: Callable[[Callable[[], object]], None]
    ) -> None:
        self._made, self._checked, self._shared, self._heal = made, checked, shared, heal
        self._request, self._console, self._ledger = shared.request, shared.console, shared.ledger
        self._provided: Mapping[str, str] = {}  # the variables of services that were started

    def run(self) -> None:
        """Run the tests, the release process and the boot, or note why they are left out."""
        machine = os.uname().machine
        fitting = (one for one in self._made.images if one.stack.machine == machine)
        built = next(fitting, None) if self._request.boot else None
        if built is None:
            reason = self._why_not()
            for step in ("test", *(["release"] if self._request.release else []), "boot"):
                self._ledger.skip(step, reason)
            return
        with ExitStack() as exits:
            place = cache(lambda: self._begin(built, exits))
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
        """Return the script with the test command; for `--test auto` it is app.json's, else pytest."""
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
        def collect_all(read: ReadFile) -> None:
            for each in self._request.collect:
                collect(each, read, say=self._console.say)

        environment = {**script.environment, **self._provided, **self._request.services}
        job = Job(
            process="test.1", command=shell_command(script), environment=environment, develop=True, read=collect_all
        )
        try:
            code = trial.run(job)
        except NotStartedError as error:
            error.exit_code = errors.TestsFailedError.exit_code
            raise
        if code:
            command = f"{script.setup} && {script.test}" if script.setup else script.test
            raise errors.tests_failed(command, code, trial.where)
        return f"in {trial.where}"

    def _release(self, place: Callable[[], Trial], built: BuiltImage, script: Script) -> None:
        command = next((each.command for each in built.app.processes if each.name == "release"), "")
        if self._request.release:
            with self._ledger.step("release", f"release: {command}") as entry:
                trial = place()
                given = {**script.environment, **self._provided, **self._request.services}
                given |= {"PS": "release.1", "DYNO": "release.1"}
                code = trial.run(Job(process="release.1", command=["release"], environment=given))
                if code:
                    raise errors.release_failed(command, code, trial.where)
                entry.reason = f"in {trial.where}"
        elif command:
            app = operand_text(str(self._request.app))
            self._console.say(f"release is not run; `deploy ci{app} --release` runs it before the boot")

    def _boot(self, trial: Trial, app: App, script: Script) -> str:
        assert self._request.boot is not None
        host = self._request.boot.host or find_health_host(app.source, script.environment)
        boot = replace(self._request.boot, host=host)
        environment = {**script.environment, **self._provided}
        try:
            answer = self._run_until_ready(trial.web(environment), boot)
        except (BootError, NotStartedError) as error:
            error.exit_code = BootError.exit_code  # a process that died gave its own
            raise
        status = answer.status or 0
        if answer.reason == DISALLOWED_HOST:
            reason = f"the host `{host or 'localhost'}` is not in ALLOWED_HOSTS; --health-host names another"
            self._shared.warn([f"web answered 400 to GET {boot.path} when it was booted: {reason}."])
        if status >= 500:
            self._shared.warn([f"web answered {status} to GET {boot.path} when it was booted."])
        return f"web answered {status} after {answer.seconds:.1f} s, in {trial.where}"

    def _run_until_ready(self, ground: Ground, boot: Boot) -> Outcome:
        """Run web until it has answered, then stop it; return the answer. Raises BootError."""
        answers: list[Outcome] = []

        def on_ready(outcome: Outcome) -> None:
            answers.append(outcome)
            foreground.supervisor.stop()

        foreground = Foreground(
            ground,
            Settings(stop_timeout=_STOP_SECONDS),
            boot=boot,
            out=self._console.output,
            environ=self._shared.session.environ,
            on_ready=on_ready,
        )
        # The loop stops web. A signal after its last look at them must count, too.
        code = foreground.run(keep_for_later)
        raise_dropped()
        if not answers:
            raise SystemExit(code)  # its output was lost
        return answers[0]

    def _begin(self, built: BuiltImage, exits: ExitStack) -> Trial:
        """Choose the engine, and begin a trial there with the services that the tests need."""
        session = self._shared.session
        engine = self._shared.engine()
        engine.require(["--network"] if self._request.network is not None else [])
        self._console.say(f"engine: {engine.name} ({engine.why})")
        candidate = Candidate(
            built=built,
            session=session,
            layers=Layers(built, session, self._heal),
            say=self._console.say,
            warn=lambda text: self._shared.warn([text]),
            write=self._console.write,
            network=self._request.network,
        )
        trial = exits.enter_context(engine.trial(candidate))
        assert self._request.boot is not None
        self._provided = trial.start(self._checked.services, seconds=self._request.boot.seconds)
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


def shell_command(script: Script) -> Sequence[str]:
    """Return the command that runs a script, its set-up first."""
    if not script.setup:
        return ["sh", "-c", script.test]
    return ["sh", "-c", 'sh -c "$1" && exec sh -c "$2"', "sh", script.setup, script.test]
