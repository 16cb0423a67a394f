"""Builds an image again from its source, on an empty store, and compares bit for bit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from buildpack.app.read import read_app
from buildpack.dataclass import dataclass, replace
from buildpack.delivery.deliver import build_and_deliver
from buildpack.errors import StackError
from buildpack.errors.wheels import BuildFailed
from buildpack.oci.compare import Comparison, EntryDifference, LayerDifference, compare_images
from buildpack.oci.compare_documents import ValueDifference
from buildpack.oci.image import Platform
from buildpack.oci.reference import parse_reference
from buildpack.oci.store import Store
from buildpack.options import Options
from buildpack.session import Session
from buildpack.stacks.platforms import parse_platform
from buildpack.steps.built import BuiltImage
from buildpack.steps.provenance import read_provenance
from buildpack.system.temporary import temporary_folder
from deployer.errors import proof as errors
from deployer.errors.proof import Reason
from deployer.proof.found import Found, Origin, find_image
from deployer.proof.reasons import explain

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One image, compared with the one that was built again; `reasons` are possible causes of the differences.

    `stack` is the exact base of the second image, and `seconds` the time to build it. If both are equal, `read` counts
    the blobs in the store that were read and have their digest; other blobs are in a registry only.
    """

    name: str
    origin: Origin
    platform: Platform
    digest: str
    rebuilt: str
    stack: str
    comparison: Comparison
    reasons: tuple[Reason, ...]
    seconds: float
    read: int

    @property
    def equal(self) -> bool:
        """True if both are the same, bit for bit."""
        return self.digest == self.rebuilt


def verify(
    reference: str,
    folder: Path,
    options: Options,
    session: Session,
    *,
    remote: bool,
    app: str = "",
) -> tuple[Verdict, ...]:
    """Build a folder again and compare it with the image of this name; return a verdict for each of its platforms.

    `options` are those of the first build; with a platform in them there is only that one. `app` is as `find_image`
    takes it. Raises BuildpackError if the image cannot be found or built, and LostError if blobs in the store are
    damaged.
    """
    store, environ = session.store, session.environ
    verdicts = []
    waiting: list[Platform | None] = [parse_platform(options.platform) if options.platform else None]
    while waiting:
        chosen = waiting.pop(0)
        with find_image(reference, platform=chosen, remote=remote, store=store, environ=environ, app=app) as found:
            if chosen is None:
                waiting += [each for each in found.platforms if each != found.platform]
            verdicts.append(_judge(found, folder, options, session))
    return tuple(verdicts)


@contextmanager
def _keeping_log(store: Store) -> Iterator[None]:
    """Copy the log of a failed package build to `store`, because the temporary store with the log is removed."""
    try:
        yield
    except BuildFailed as failed:
        if failed.log:
            kept = shutil.copyfile(failed.log, store.folder("logs") / failed.log.name)
            failed.why, failed.log = failed.why.replace(str(failed.log), str(kept)), kept
        raise


def _read_blobs(found: Found) -> int:
    """Read each blob of an image that the store has, and return their number; raises LostError for damaged ones."""
    digests = {found.image.config_digest, *(layer.digest for layer in found.image.layers)}
    here = [digest for digest in sorted(digests, key=str) if found.origin == "store" and found.store.has(digest)]
    if damaged := [str(digest) for digest in here if not found.store.verify(digest)]:
        raise errors.blobs_damaged(found.name, damaged, len(here), found.store.root)
    return len(here)


def _judge(found: Found, folder: Path, options: Options, session: Session) -> Verdict:
    begin = time.perf_counter()
    # In the store's folder, because the system's temporary folder may be small.
    with temporary_folder(found.store.folder("tmp")) as scratch:
        empty = Store(scratch)
        with _keeping_log(found.store):
            built = _build_again(found, folder, options, replace(session, store=empty))
        seconds = time.perf_counter() - begin
        comparison = compare_images(
            found.image,
            built.image,
            open_image=found.open_layer,
            open_rebuilt=lambda layer: empty.open(layer.digest),
        )
    return Verdict(
        name=found.name,
        origin=found.origin,
        platform=found.platform,
        digest=str(found.image.digest),
        rebuilt=str(built.image.digest),
        stack=built.stack.reference,
        read=_read_blobs(found) if found.image.digest == built.image.digest else 0,
        comparison=comparison,
        reasons=explain(found.image, built, comparison, environ=session.environ),
        seconds=seconds,
    )


def _build_again(found: Found, folder: Path, options: Options, session: Session) -> BuiltImage:
    """Build on the base that the image names, if the app asks for a tag, because the tag may have moved."""

    def attempt(stack: str | None) -> BuiltImage:
        asked = replace(options, stack=stack, platform=str(found.platform), no_cache=True, format=found.image.format)
        return build_and_deliver(folder, options=asked, session=session).images[0]

    pinned = None if options.stack else _pinned_stack(found, folder, options, session)
    if pinned is None:
        return attempt(options.stack)
    try:
        return attempt(pinned)
    except StackError:
        # The image may name a base that its repository never had. The comparison will show that.
        return attempt(None)


def _pinned_stack(found: Found, folder: Path, options: Options, session: Session) -> str | None:
    """Return the app's stack with the digest that the image names; None if the app does not ask for a tag."""
    app = read_app(
        folder,
        Options(platform=str(found.platform), categories=options.categories),
        environ=session.environ,
        today=session.today,
        own_python=session.own_python.version,
    )
    provenance = read_provenance(found.image)
    version = app.python.version if app.python else None
    asked = app.settings.stack.value if app.settings.stack else f"python:{version}-slim"
    if provenance.stack is None or provenance.host or asked == "host" or asked.startswith(("oci:", "archive:")):
        return None
    reference = parse_reference(asked)
    return None if reference.digest else str(reference.pinned(provenance.stack))


def render(verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    """Return what `--json` prints, schema 1."""
    first = verdicts[0]
    return {
        "schema": SCHEMA,
        "reference": first.name,
        "source": first.origin,
        "equal": all(verdict.equal for verdict in verdicts),
        "images": [_render_verdict(verdict) for verdict in verdicts],
    }


def _render_verdict(verdict: Verdict) -> dict[str, Any]:
    comparison = verdict.comparison
    return {
        "platform": str(verdict.platform),
        "digest": verdict.digest,
        "rebuilt": verdict.rebuilt,
        "equal": verdict.equal,
        "same_content": comparison.same_content,
        "reordered": comparison.reordered,
        "stack": verdict.stack,
        "seconds": round(verdict.seconds, 3),
        "blobs_read": verdict.read,
        "layers": [_render_layer(layer) for layer in comparison.layers],
        "config": [_render_value(value) for value in comparison.config],
        "manifest": [_render_value(value) for value in comparison.manifest],
        "reasons": [{"why": reason.why, "hint": reason.hint or None} for reason in verdict.reasons],
    }


def _render_layer(layer: LayerDifference) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "only": layer.only,
        "same_key": layer.same_key,
        "same_tar": layer.same_tar,
        "note": layer.note or None,
        "entries": [_render_entry(entry) for entry in layer.entries],
        "more": layer.more,
    }


def _render_entry(entry: EntryDifference) -> dict[str, Any]:
    return {"path": f"/{entry.path}", "only": entry.only, "fields": [_render_value(field) for field in entry.fields]}


def _render_value(value: ValueDifference) -> dict[str, str]:
    return {"path": value.path, "image": value.image, "rebuilt": value.rebuilt}
