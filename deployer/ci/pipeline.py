"""Run a pipeline's steps: check, build, test, boot, push. The first failure ends it, and nothing is pushed then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass, replace
from buildpack.errors import BuildpackError, Problems
from buildpack.oci.reference import parse_reference
from buildpack.oci.transport import Transport
from buildpack.session import Session
from buildpack.steps.built import Built
from deployer.ci.checking import check, check_tests
from deployer.ci.console import Console, Place, find_place
from deployer.ci.ledger import Counts, Entry, Ledger, Step
from deployer.ci.making import Maker, describe
from deployer.ci.request import Request, Shared
from deployer.ci.trying import Tryout
from deployer.errors import ci as errors
from deployer.interrupts import ending_promptly
from deployer.text import harmless, plural, styled

if TYPE_CHECKING:
    from deployer.engines.engine import Engine

STEPS = ("check", "build", "test", "release", "boot", "push")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result: the steps in their order, the image, and the error that ended the pipeline; None for success."""

    steps: tuple[Step, ...]
    built: Built | None
    warnings: tuple[str, ...]
    error: BuildpackError | None


def run_pipeline(
    request: Request,
    session: Session,
    console: Console,
    *,
    fit: Callable[[BuildpackError], object] = lambda _error: None,
    fit_warning: Callable[[str], str] = str,
) -> Outcome:
    """Run the steps; errors of the app, the machine or a registry are in the outcome, and not raised.

    `fit` is called with the error that ends it, before it is shown; `fit_warning` returns a warning as it is shown.
    Raises UsageError if the request itself contradicts itself.
    """
    if request.push:
        from buildpack.delivery.pushing import parse_targets

        if not parse_targets(request.options.references):
            raise errors.nothing_to_push_to()
    homes = map(parse_reference, (*request.options.references, *request.options.cache_from))
    failure: BuildpackError | None = None
    with Transport(session.environ, homes=homes) as transport:
        if request.push or request.options.cache_from:
            transport.warm()
        pipeline = _Pipeline(request, replace(session, transport=transport), console, fit_warning)
        try:
            pipeline.run()
        except BuildpackError as error:
            fit(error)
            failure = error
            pipeline.give_up(error)
        finally:
            pipeline.close()
    return Outcome(
        steps=tuple(pipeline.ledger.steps),
        built=pipeline.built,
        warnings=tuple(pipeline.warnings),
        error=failure,
    )


class _Pipeline:
    """One run of the steps."""

    def __init__(self, request: Request, session: Session, console: Console, fit_warning: Callable[[str], str]) -> None:
        self.request, self.ledger = request, Ledger(console, count=self._count)
        self.built: Built | None = None
        self.warnings: list[str] = []
        self._session, self._console, self._fit_warning = session, console, fit_warning
        self._engine: Engine | None = None
        self._maker = Maker(request.app, request.options, session, push=request.push, sbom=request.sbom)

    def run(self) -> None:
        """Do one step after the other."""
        request = self.request
        shared = Shared(
            request=request,
            session=self._session,
            console=self._console,
            ledger=self.ledger,
            warn=self._warn,
            engine=self._connect,
        )
        with self.ledger.step("check", f"check {request.app}") as entry:
            checked = check(shared)
            entry.reason = plural(len(self.warnings), "warning") if self.warnings else "nothing to fix"
        with self.ledger.step("build", "build") as entry:
            tested = check_tests(checked, shared, self._maker.platforms)
            self.built = made = self._build(entry, tested=tested)
        Tryout(made, checked, shared, self._heal).run()
        if not request.push:
            self.ledger.skip("push", "--push is not given")
            return
        with self.ledger.step("push", "push") as entry, ending_promptly():
            entry.reason = self._maker.push(made)

    def _connect(self) -> Engine:
        from deployer.engines.choice import choose_engine

        if self._engine is None:
            self._engine = choose_engine(self.request.engine, self._session.environ)
        return self._engine

    def close(self) -> None:
        """Close the connection to the engine."""
        if self._engine is not None:
            # A signal's exception may leave a lock of the connections taken, for which closing them then waits.
            with ending_promptly():
                self._engine.close()

    def give_up(self, error: BuildpackError) -> None:
        """Print what went wrong, and leave out the other steps."""
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
        transport = self._session.transport
        assert transport is not None
        traffic = transport.traffic
        return Counts(requests=traffic.requests, sent=traffic.sent, received=traffic.received)

    def _build(self, entry: Entry, *, tested: bool) -> Built:
        made = self._maker.build(tested=tested)
        self._warn(made.warnings)
        lines, entry.reason = describe(made)
        for line in lines:
            self._console.say(line)
        self._console.say(f"  digest   {made.image.digest}")
        return made

    def _heal(self, attempt: Callable[[], object]) -> None:
        """Call `attempt`, and once more if it found damaged layers in the store, which are made again before."""
        assert self.built is not None
        _, told = self._maker.whole(self.built, lambda _made, _gone: attempt())
        self._warn(told)

    def _warn(self, warnings: Iterable[str]) -> None:
        """Print the warnings that were not printed yet."""
        for text in map(self._fit_warning, warnings):
            if text not in self.warnings:
                self.warnings.append(text)
                self._console.say(f"{styled('warning:', 'yellow')} {harmless(text)}")
                self._console.annotate("warning", text, find_place(text))


def _place(problem: BuildpackError) -> Place | None:
    file, _, line = problem.place.partition(":")
    if file:
        return Place(file=file, line=parse_integer(line) or 0)
    return find_place(str(problem))
