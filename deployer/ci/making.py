"""What a pipeline makes and pushes: one image, or an index of several platforms' images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from buildpack.build import Built
from buildpack.dataclass import replace
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Platform
from buildpack.oci.index import ImageIndex
from buildpack.oci.reference import Reference
from buildpack.oci.store import Store
from buildpack.oci.transport import Transport
from buildpack.options import Options
from buildpack.platforms import BuiltIndex
from buildpack.progress import Observer
from buildpack.stacks.platforms import read_platforms
from deployer.building.delivery import build_and_deliver, until_whole
from deployer.building.several import build_and_deliver_several
from deployer.errors import ci as errors
from deployer.text import plural, size_text

Made = Built | BuiltIndex
_T = TypeVar("_T")


class Maker:
    """Builds an app and pushes what was built; layers that a registry has stay there until one is needed here."""

    def __init__(
        self,
        app: Path,
        options: Options,
        *,
        push: bool,
        sbom: bool,
        store: Store,
        environ: Mapping[str, str],
        observer: Observer,
        transport: Transport,
    ) -> None:
        self._app = app
        self._options = replace(options, pushed=push, whole=False)
        self._sbom = sbom
        self._store, self._environ = store, environ
        self._observer, self._transport = observer, transport

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that are asked for; empty if none are."""
        return read_platforms(self._app, environ=self._environ, flag=self._options.platform)

    def build(self, *, tested: bool) -> Made:
        """Build for the platforms that are asked for; `tested` is as in `Options`. Raises BuildpackError."""
        return self._build(replace(self._options, tested=tested), self.platforms)

    def _build(self, options: Options, platforms: tuple[Platform, ...]) -> Made:
        if len(platforms) > 1:
            return build_and_deliver_several(
                self._app,
                platforms=platforms,
                options=options,
                destinations=(),
                store=self._store,
                environ=self._environ,
                observer=self._observer,
                transport=self._transport,
            )[0]
        return build_and_deliver(
            self._app,
            options=options,
            destinations=(),
            store=self._store,
            environ=self._environ,
            observer=self._observer,
            transport=self._transport,
        )[0]

    def push(self, made: Made) -> str:
        """Push it under its references; returns what was sent, in words. Raises StackError."""
        said, told = self.whole(made, self._push)
        return "; ".join((said, *told))

    def whole(self, made: Made, use: Callable[[Made, frozenset[str]], _T]) -> tuple[_T, tuple[str, ...]]:
        """Call `use` with what was built, and with the blobs that a registry turned out to lack.

        Layers that a registry or the store lost are made again, and `use` is called once more. Return what it returns,
        and warnings. Raises MachineError if the image that is made then is another one.
        """
        attempts = 0

        def attempt(options: Options) -> _T:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                return use(made, frozenset())
            platforms = tuple(one.stack.platform for one in made.platforms) if isinstance(made, BuiltIndex) else ()
            again = self._build(options, platforms)
            if digest_of(again) != digest_of(made):
                raise errors.made_otherwise(str(digest_of(made)), str(digest_of(again)))
            return use(again, options.gone)

        return until_whole(attempt, self._options, self._store)

    def _push(self, made: Made, gone: frozenset[str]) -> str:
        from deployer.building.pushing import parse_targets, push_built, push_several, pushed_text

        targets = parse_targets(made.references)
        if isinstance(made, BuiltIndex):
            pushed = push_several(
                made, targets, store=self._store, transport=self._transport, observer=self._observer, gone=gone
            )
            return self._attached(pushed_text(pushed, made.index), made.index, targets)
        pushed = push_built(
            made, targets, store=self._store, transport=self._transport, observer=self._observer, gone=gone
        )
        return self._attached(pushed_text(pushed, made.image), made.image, targets)

    def _attached(self, said: str, image: Image | ImageIndex, targets: Sequence[Reference]) -> str:
        """Attach the bill of materials, where it is wanted, and add what came of it."""
        from deployer.proof.attaching import attached_text

        return f"{said}; {attached_text(image, targets, transport=self._transport)}" if self._sbom else said


def digest_of(made: Made) -> Digest:
    """Return the digest that people name it by."""
    return made.index.digest if isinstance(made, BuiltIndex) else made.image.digest


def size_of(made: Made) -> int:
    """Return its size in bytes, a layer that several platforms share counted once."""
    return made.index.size if isinstance(made, BuiltIndex) else made.image.size


def fitting(made: Made, machine: str) -> Built | None:
    """Return the image that this machine (``uname -m``) can run; None where there is none."""
    images = made.platforms if isinstance(made, BuiltIndex) else (made,)
    return next((one for one in images if one.stack.machine == machine), None)


def describe(made: Made) -> tuple[list[str], str]:
    """Say which layers were written and why, a line each, and how much of it all that is."""
    images = made.platforms if isinstance(made, BuiltIndex) else (made,)
    lines, counts = [], []
    for one in images:
        written = [(each, reason) for each, reason in one.layers if each.source == "built"]
        lines += [f"  written  {each.planned.slot:<14} {size_text(each.layer.size):>7}  {why}" for each, why in written]
        counts.append(
            f"{len(one.stack_layers)} of the stack, {len(one.layers) - len(written)} reused, {len(written)} written"
        )
    layers = made.index.layers if isinstance(made, BuiltIndex) else made.image.layers
    amount = f"{size_text(size_of(made))} in {plural(len(layers), 'layer')}"
    if len(images) == 1:
        return lines, f"{amount}: {counts[0]}"
    told = "; ".join(f"{one.stack.platform} {count}" for one, count in zip(images, counts, strict=True))
    return lines, f"{amount}: {told}"
