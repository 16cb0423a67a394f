"""Run a pipeline's steps: check, build, test, boot, push. The first failure ends it, and nothing is pushed then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from buildpack.dataclass import dataclass, replace
from buildpack.delivery.deliver import build_and_deliver, until_whole
from buildpack.errors import BuildpackError, Problems, split_place
from buildpack.oci.image import Platform
from buildpack.oci.reference import parse_reference
from buildpack.oci.transport import Transport
from buildpack.options import Options
from buildpack.session import Session
from buildpack.stacks.platforms import read_platforms
from buildpack.steps.built import Built
from deployer.ci.checking import Checked, check, check_tests
from deployer.ci.console import Console, Place, find_place
from deployer.ci.ledger import Step
from deployer.ci.request import Request, Shared
from deployer.ci.trying import Tryout
from deployer.errors import ci as errors
from deployer.interrupts import ending_promptly
from deployer.text import harmless, plural, pushed_text, size_text, styled

_T = TypeVar("_T")

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
        shared = Shared(request, replace(session, transport=transport), console, fit_warning=fit_warning)
        maker = _Maker(shared)
        try:
            _run_steps(shared, maker)
        except BuildpackError as error:
            fit(error)
            failure = error
            _give_up(shared, error)
        finally:
            shared.close()
    return Outcome(
        steps=tuple(shared.ledger.steps),
        built=maker.built,
        warnings=tuple(shared.warnings),
        error=failure,
    )


def _run_steps(shared: Shared, maker: _Maker) -> None:
    """Do one step after the other."""
    request, ledger, say = shared.request, shared.ledger, shared.console.say
    with ledger.step("check", f"check {request.app}") as entry:
        checked = check(shared)
        entry.reason = plural(len(shared.warnings), "warning") if shared.warnings else "nothing to fix"
    with ledger.step("build", "build") as entry:
        made = maker.build(checked)
        lines, entry.reason = describe(made)
        say("\n".join([*lines, f"  digest   {made.image.digest}"]))
    Tryout(made, checked, shared, maker.heal).run()
    if not request.push:
        ledger.skip("push", "--push is not given")
        return
    with ledger.step("push", "push") as entry, ending_promptly():
        entry.reason = maker.push()


def _give_up(shared: Shared, error: BuildpackError) -> None:
    """Print what went wrong, and leave out the other steps."""
    for problem in error.problems if isinstance(error, Problems) else (error,):
        shared.console.say(f"{styled('error:', 'red')} {harmless(str(problem))}")
        shared.console.annotate("error", str(problem), _place(problem))
    done = {step.name for step in shared.ledger.steps}
    failed = shared.ledger.steps[-1].name
    for name in STEPS:
        if name not in done and (name != "release" or shared.request.release):
            shared.ledger.skip(name, f"{failed} failed")


class _Maker:
    """Builds the app and pushes the image; layers that a registry has stay there until one is needed here."""

    def __init__(self, shared: Shared) -> None:
        self.built: Built | None = None
        self._shared, self._session, self._request = shared, shared.session, shared.request
        self._options = replace(shared.request.options, pushed=shared.request.push, whole=False)

    def build(self, checked: Checked) -> Built:
        """Build for the platforms that are asked for. Raises BuildpackError."""
        platforms = read_platforms(self._request.app, environ=self._session.environ, flag=self._options.platform)
        tested = check_tests(checked, self._shared, platforms)
        self.built = self._build(replace(self._options, tested=tested), platforms)
        self._shared.warn(self.built.warnings)
        return self.built

    def _build(self, options: Options, platforms: tuple[Platform, ...]) -> Built:
        with ending_promptly():
            return build_and_deliver(self._request.app, options=options, session=self._session, platforms=platforms)

    def push(self) -> str:
        """Push the image under its references; return what was sent, in words. Raises StackError."""
        said, warnings = self._whole(self._push)
        return "; ".join((said, *warnings))

    def heal(self, attempt: Callable[[], object]) -> None:
        """Call `attempt`, and once more if it found damaged layers in the store, which are made again before."""
        _, warnings = self._whole(lambda _made, _gone: attempt())
        self._shared.warn(warnings)

    def _whole(self, use: Callable[[Built, frozenset[str]], _T]) -> tuple[_T, tuple[str, ...]]:
        """Call `use` with the image, and with the blobs that a registry turned out to lack.

        Layers that a registry or the store lost are made again, and `use` is called once more. Return what it returns,
        and warnings. Raises MachineError if the second image differs.
        """
        assert self.built is not None
        made, attempts = self.built, 0

        def attempt(options: Options) -> _T:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                return use(made, frozenset())
            again = self._build(options, tuple(one.stack.platform for one in made.images))
            if again.image.digest != made.image.digest:
                raise errors.made_otherwise(str(made.image.digest), str(again.image.digest))
            return use(again, options.gone)

        return until_whole(attempt, self._options, self._session.store)

    def _push(self, made: Built, gone: frozenset[str]) -> str:
        from buildpack.delivery.pushing import parse_targets, push_built
        from deployer.proof.attaching import attached_text

        assert self._session.transport is not None
        targets = parse_targets(made.references)
        said = pushed_text(push_built(made, targets, self._session, gone=gone), made.image)
        if not self._request.sbom:
            return said
        return f"{said}; {attached_text(made.image, targets, transport=self._session.transport)}"


def describe(made: Built) -> tuple[list[str], str]:
    """Return a line for each layer that was written, with the reason, and a summary of the sizes."""
    lines, counts = [], []
    for one in made.images:
        written = [(each, reason) for each, reason in one.layers if each.source == "built"]
        lines += [f"  written  {each.planned.slot:<14} {size_text(each.layer.size):>7}  {why}" for each, why in written]
        counts.append(
            f"{len(one.stack_layers)} of the stack, {len(one.layers) - len(written)} reused, {len(written)} written"
        )
    amount = f"{size_text(made.image.size)} in {plural(len(made.image.layers), 'layer')}"
    if len(made.images) == 1:
        return lines, f"{amount}: {counts[0]}"
    each = "; ".join(f"{one.stack.platform} {count}" for one, count in zip(made.images, counts, strict=True))
    return lines, f"{amount}: {each}"


def _place(problem: BuildpackError) -> Place | None:
    file, line = split_place(problem.place)
    return Place(file=file, line=line or 0) if file else find_place(str(problem))
