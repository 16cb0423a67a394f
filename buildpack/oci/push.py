"""Pushes an image: the blobs that the registry lacks, several at once, and then the manifest under each tag.

A tag never names an incomplete image: a push that ends early leaves only blobs that nothing names.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import BinaryIO

from buildpack.dataclass import dataclass
from buildpack.errors import LostError
from buildpack.errors import registry as errors
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import INDEX, Image
from buildpack.oci.reference import Reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport
from buildpack.oci.upload import Outcome, Source, upload
from buildpack.progress import Observer, Progress, ignore

_AT_ONCE = 6
ELSEWHERE: Mapping[Digest, Reference] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The result of a push: the references with the digest, and how each blob, including the config, got there."""

    digest: Digest
    references: tuple[Reference, ...]
    sent: tuple[Digest, ...] = ()
    mounted: tuple[Digest, ...] = ()
    present: tuple[Digest, ...] = ()


class _MissingHereError(Exception):
    """A blob is neither on this machine nor in a repository from which it could be fetched."""


class _StoppedError(Exception):
    """Another blob's upload failed, so this upload stops."""


class _Watch:
    """Adds up the bytes that all uploads have sent; `stopped` stops them before their next bytes. Threads share it."""

    def __init__(self, observer: Observer, total: int) -> None:
        self._observer = observer
        self._total = total
        self._sent: dict[Digest, int] = {}
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def observe(self, digest: Digest, sent: int) -> None:
        """Take the number of bytes of this blob that were sent."""
        if self.stopped.is_set():
            raise _StoppedError
        with self._lock:
            self._sent[digest] = sent
            done = sum(self._sent.values())
            self._observer(Progress(stage="push", done=done, total=self._total, unit="bytes", item=digest.short))


def _run_at_once(work: Callable[[], None], count: int, *, stop: Callable[[], None]) -> None:
    """Do the same work in `count` threads; if this thread is interrupted, call `stop` and wait for them.

    A pool of `concurrent.futures` takes 4 ms to load, and most pushes send two blobs.
    """
    threads = [threading.Thread(target=work, name="push") for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop()
        for thread in threads:
            thread.join()
        raise


class Push:
    """A push to one repository; `places` names another repository that has a blob.

    `moved` is True if the repository got any blob; `sent_late` are blobs that it turned out to lack.
    """

    def __init__(
        self,
        *,
        reference: Reference,
        transport: Transport,
        open_blob: Callable[[Digest], BinaryIO],
        places: Mapping[Digest, Reference] = ELSEWHERE,
    ) -> None:
        self.reference = reference
        self.sent_late: list[Digest] = []
        self.moved = False
        self._transport = transport
        self._open_blob = open_blob
        self._places = places
        self._registry = Registry(reference, transport, writes=True)

    def run(
        self,
        blobs: Mapping[Digest, int],
        *,
        absent: frozenset[Digest] = frozenset(),
        observer: Observer = ignore,
        mounting: bool = True,
    ) -> dict[Digest, Outcome]:
        """Mount or send blobs, several at once, the largest first; raises BlobVanished for blobs found nowhere.

        `blobs` has their sizes. Without `mounting` no blob is mounted, and the registry is asked for each.
        """
        if not blobs:
            return {}
        watch = _Watch(observer, sum(blobs.values()))
        fates: dict[Digest, Outcome] = {}
        lacking: list[Digest] = []
        failures: list[BaseException] = []
        todo = iter(sorted(blobs.items(), key=lambda blob: (-blob[1], blob[0])))

        def send() -> None:
            # Threads may share this iterator: the GIL gives each item to one of them.
            for digest, size in todo:
                try:
                    fates[digest] = self._send(digest, size, watch, mounting=mounting, missing=digest in absent)
                except _MissingHereError:
                    lacking.append(digest)
                except _StoppedError:
                    return
                except BaseException as failure:  # noqa: BLE001  raised again in the main thread
                    failures.append(failure)
                    watch.stopped.set()
                if watch.stopped.is_set():
                    return

        _run_at_once(send, min(_AT_ONCE, len(blobs)), stop=watch.stopped.set)
        if failures:
            raise failures[0]
        if lacking:
            raise errors.blobs_vanished(str(self.reference), sorted(map(str, lacking)), None)
        self.moved |= any(fate != "present" for fate in fates.values())
        return fates

    def put(
        self,
        image: Image,
        selectors: Sequence[str | Digest],
        blobs: Mapping[Digest, int],
        *,
        unasked: Mapping[Digest, int],
    ) -> None:
        """Push the manifest under each selector; `unasked` are blobs that only a manifest promises."""
        if self.moved:
            wanting = list(selectors)
        else:
            # The registry lacked no blob, so it may have the manifest too.
            wanting = [each for each in selectors if self._registry.find_digest(each) != image.digest]
            if len(wanting) < len(selectors):
                # Without a PUT the registry does not check these blobs, so ask for each.
                self._add_late(self.run(unasked, mounting=False))
        for selector in wanting:
            self._put(image, selector, blobs)

    def _put(self, image: Image, selector: str | Digest, blobs: Mapping[Digest, int]) -> None:
        """Push the manifest; once, send blobs again that the registry turns out to have lost."""
        try:
            self._registry.push_manifest(image.manifest, image.media_type, selector, accepted=self.moved)
        except errors.BlobVanished as vanished:
            named = {digest: size for digest, size in blobs.items() if str(digest) in vanished.digests}
            self._add_late(self.run(named or blobs, absent=frozenset(named)))
            self._registry.push_manifest(image.manifest, image.media_type, selector)

    def _add_late(self, found: Mapping[Digest, Outcome]) -> None:
        self.sent_late += [digest for digest, fate in found.items() if fate == "sent"]

    def _send(self, digest: Digest, size: int, watch: _Watch, *, mounting: bool, missing: bool) -> Outcome:
        """Mount or send one blob."""
        place = self._places.get(digest)
        near = place is not None and place.registry == self.reference.registry and place.name != self.reference.name
        source = Source(
            digest=digest,
            size=size,
            open_blob=lambda: self._open(digest, size),
            observe=partial(watch.observe, digest),
        )
        mount = place.repository if place is not None and near and mounting else ""
        return upload(self._registry, source, mount=mount, assume_missing=missing)

    def _open(self, digest: Digest, size: int) -> BinaryIO:
        """Open a blob that is here, or fetch it from another repository, verified."""
        try:
            return self._open_blob(digest)
        except LostError:
            place = self._places.get(digest)
        if place is None:
            raise _MissingHereError
        import tempfile

        spool: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  the reader closes it
        try:
            Registry(place, self._transport).fetch_blob(digest, size, spool)
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return spool


def push_image(
    image: Image,
    references: Sequence[Reference],
    open_blob: Callable[[Digest], BinaryIO],
    *,
    transport: Transport,
    present: frozenset[Digest] = frozenset(),
    absent: frozenset[Digest] = frozenset(),
    mounts: Mapping[Digest, Reference] = ELSEWHERE,
    observer: Observer = ignore,
) -> Pushed:
    """Push an image under these references; one without a tag pushes by digest only.

    `present` are blobs that the first reference's repository has, by a manifest that was just read from it; `absent`
    are new, so no registry is asked for them. `mounts` names another repository that has a blob: the blob is mounted
    from there, or fetched if that fails and `open_blob` raises LostError.

    Raises BlobVanished if a blob is neither in the registry nor here, another StackError if the registry fails.
    """
    config = image.config_digest
    blobs = {**{layer.digest: layer.size for layer in image.layers}, config: len(image.config)}
    repositories = _by_repository(references, image.digest)
    first = next(iter(repositories))
    pushes: list[tuple[Push, dict[Digest, int]]] = []
    fates: dict[Digest, Outcome] = {}
    for reference in repositories:
        # The other repositories can mount the blobs of the first.
        places = mounts if reference is first else {**dict.fromkeys(blobs, first), **mounts}
        push = Push(
            reference=reference,
            transport=transport,
            open_blob=lambda digest: io.BytesIO(image.config) if digest == config else open_blob(digest),
            places=places,
        )
        has = present if reference is first else frozenset[Digest]()
        unasked = {digest: size for digest, size in blobs.items() if digest in has}
        asked = {digest: size for digest, size in blobs.items() if digest not in has}
        found = push.run(asked, absent=absent, observer=observer)
        if reference is first:
            fates = {digest: found.get(digest, "present") for digest in blobs}
        pushes.append((push, unasked))
    for push, unasked in pushes:
        push.put(image, repositories[push.reference], blobs, unasked=unasked)
        fates.update(dict.fromkeys(push.sent_late, "sent"))
    return Pushed(
        digest=image.digest,
        references=tuple(each.pinned(image.digest) for each in references),
        sent=tuple(digest for digest, fate in fates.items() if fate == "sent"),
        mounted=tuple(digest for digest, fate in fates.items() if fate == "mounted"),
        present=tuple(digest for digest, fate in fates.items() if fate == "present"),
    )


def push_index(raw: bytes, references: Sequence[Reference], *, transport: Transport, media_type: str = INDEX) -> Pushed:
    """Push an index under these references, whose repositories have all its images; raises StackError.

    A tag that names the index already is not pushed again.
    """
    digest = sha256(raw)
    for reference, selectors in _by_repository(references, digest).items():
        registry = Registry(reference, transport, writes=True)
        for selector in selectors:
            if registry.find_digest(selector) != digest:
                registry.push_manifest(raw, media_type, selector)
    return Pushed(digest=digest, references=tuple(each.pinned(digest) for each in references))


def _by_repository(references: Sequence[Reference], digest: Digest) -> dict[Reference, list[str | Digest]]:
    """Return the tags to push in each repository, in the order in which they are named; the digest if none is named."""
    grouped: dict[tuple[str, str], tuple[Reference, list[str | Digest]]] = {}
    for reference in references:
        _, selectors = grouped.setdefault((reference.registry, reference.repository), (reference, []))
        selector: str | Digest = reference.tag or digest
        if selector not in selectors:
            selectors.append(selector)
    return dict(grouped.values())
