"""Build and push for a pipeline: one image, or an index of several platforms' images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from buildpack.dataclass import replace
from buildpack.delivery.deliver import build_and_deliver, until_whole
from buildpack.oci.image import Platform
from buildpack.options import Options
from buildpack.session import Session
from buildpack.stacks.platforms import read_platforms
from buildpack.steps.built import Built, BuiltImage
from deployer.errors import ci as errors
from deployer.interrupts import ending_promptly
from deployer.text import plural, size_text

_T = TypeVar("_T")


class Maker:
    """Builds an app and pushes the image; layers that a registry has stay there until one is needed here."""

    def __init__(self, app: Path, options: Options, session: Session, *, push: bool, sbom: bool) -> None:
        self._app = app
        self._options = replace(options, pushed=push, whole=False)
        self._session = session
        self._sbom = sbom

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that are asked for; empty if none are."""
        return read_platforms(self._app, environ=self._session.environ, flag=self._options.platform)

    def build(self, *, tested: bool) -> Built:
        """Build for the platforms that are asked for; `tested` is as in `Options`. Raises BuildpackError."""
        return self._build(replace(self._options, tested=tested), self.platforms)

    def _build(self, options: Options, platforms: tuple[Platform, ...]) -> Built:
        with ending_promptly():
            return build_and_deliver(self._app, options=options, session=self._session, platforms=platforms)

    def push(self, made: Built) -> str:
        """Push it under its references; return what was sent, in words. Raises StackError."""
        said, warnings = self.whole(made, self._push)
        return "; ".join((said, *warnings))

    def whole(self, made: Built, use: Callable[[Built, frozenset[str]], _T]) -> tuple[_T, tuple[str, ...]]:
        """Call `use` with the image, and with the blobs that a registry turned out to lack.

        Layers that a registry or the store lost are made again, and `use` is called once more. Return what it returns,
        and warnings. Raises MachineError if the second image differs.
        """
        attempts = 0

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
        from deployer.building.sent import pushed_text
        from deployer.proof.attaching import attached_text

        assert self._session.transport is not None
        targets = parse_targets(made.references)
        said = pushed_text(push_built(made, targets, self._session, gone=gone), made.image)
        if not self._sbom:
            return said
        return f"{said}; {attached_text(made.image, targets, transport=self._session.transport)}"


def fitting(made: Built, machine: str) -> BuiltImage | None:
    """Return the image that this machine (``uname -m``) can run; None if there is none."""
    return next((one for one in made.images if one.stack.machine == machine), None)


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
