"""Fetches and pushes the manifests and blobs of one repository in a registry; verifies every byte it fetches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NoReturn

from buildpack.dataclass import dataclass
from buildpack.errors import StackError, transfer
from buildpack.errors import registry as errors
from buildpack.net.pace import ATTEMPTS, LOOKS, allowance, pause
from buildpack.oci import manifest as manifests
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import Image, Platform
from buildpack.oci.reference import Reference
from buildpack.oci.registry_http import RepositoryClient
from buildpack.oci.registry_replies import codes_in, digests_in

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    from buildpack.net.http1 import Response

_CHUNK = 1 << 20
_STREAKS = 50
"""How often one blob's transfer is resumed, even if it makes progress: a server may send a byte at a time."""

_ABOUT_MANIFESTS = frozenset({400, 403, 404, 405, 406, 409, 412, 413, 415, 422})
"""Statuses that refuse a manifest, for a reason that the registry's codes give."""
_FIXED = ("immutab", "already exist", "overwrit", "updating assets")
"""Parts of the messages with which registries refuse to move a tag; the last is Nexus's."""
_LACKING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
"""Codes with which a registry refuses a manifest because it lacks a blob or manifest named there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A manifest or an index as the registry sent it; `digest` is the digest of `raw`."""

    raw: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """An image for one platform, and the reference pinned to the tag's digest: that of the index, if there is one."""

    reference: Reference
    image: Image


class Registry(RepositoryClient):
    """One repository of a registry; threads may share it.

    Every method raises StackError if the registry does not return what was requested.
    """

    def fetch_manifest(self, selector: str | Digest | None = None, *, look: bool = False) -> Fetched:
        """Fetch a manifest or index by tag or digest (default: the reference's own), verified against the digest.

        A `look` only saves work, so it does not wait for a busy registry.
        """
        wanted = str(selector) if selector is not None else self.reference.selector
        found = self.read(self.url(f"/manifests/{wanted}"), accept=manifests.ACCEPTED, look=look)
        assert found is not None
        raw, headers = found
        media_type = headers.get("Content-Type", "")
        if "html" in media_type or raw.lstrip()[:1] == b"<":
            raise errors.not_a_registry(self.reference.host, "a web page")
        digest = sha256(raw)
        promised = wanted if wanted.startswith("sha256:") else headers.get("Docker-Content-Digest", "")
        if promised.startswith("sha256:") and promised != str(digest):
            raise errors.digest_mismatch(self.origin, promised, str(digest))
        return Fetched(raw=raw, media_type=media_type, digest=digest)

    def fetch_image(self, platform: Platform, *, look: bool = False) -> Pulled:
        """Fetch the manifest and the config of the image for `platform`, no layers. For `look` see `fetch_manifest`."""
        top = found = self.fetch_manifest(look=look)
        if manifests.is_index(top.raw, media_type=top.media_type, origin=self.origin):
            listed = manifests.parse_index(top.raw, origin=self.origin)
            chosen = manifests.select_platform(listed, platform, origin=self.origin)
            found = self.fetch_manifest(chosen.digest, look=look)
            if manifests.is_index(found.raw, media_type=chosen.media_type, origin=self.origin):
                raise transfer.damaged_manifest(self.origin, "it lists another index for a platform")
        config = self._fetch_config(found.raw, look=look)
        offered = manifests.parse_config_platform(config, origin=self.origin)
        if not manifests.serves(offered, platform):
            raise transfer.no_such_platform(self.origin, str(platform), [str(offered)])
        image = manifests.parse_image(found.raw, config, origin=self.origin)
        return Pulled(reference=self.reference.pinned(top.digest), image=image)

    def fetch_blob(self, digest: Digest, size: int, out: SupportsWrite[bytes], *, look: bool = False) -> None:
        """Stream one blob of `size` bytes into `out` and verify it; a cut transfer is resumed where it ended.

        If this raises, the bytes in `out` are useless. For `look` see `fetch_manifest`.
        """
        hashed, received, failures = hashlib.sha256(), 0, 0
        end = self.transport.clock() + allowance(size)
        for _ in range(_STREAKS):
            before = received
            for chunk in self._stream(digest, received, look=look):
                received += len(chunk)
                if received > size:
                    raise transfer.blob_damaged(self.origin, str(digest), f"more than its {size} bytes came")
                hashed.update(chunk)
                out.write(chunk)
            if received == size:
                break
            failures = 1 if received > before else failures + 1
            if failures >= (LOOKS if look else ATTEMPTS) or self.transport.clock() > end:
                break
            self.transport.sleep(pause(failures))
        if received < size:
            raise errors.blob_cut(self.origin, str(digest), received, size)
        found = Digest(hashed.hexdigest())
        if found != digest:
            raise transfer.blob_damaged(self.origin, str(digest), f"its bytes have the digest {found}")

    def find_digest(self, selector: str | Digest) -> Digest | None:
        """Return the digest of the manifest with this tag or digest; None unless the registry answers clearly."""
        url, accept = self.url(f"/manifests/{selector}"), {"Accept": ", ".join(manifests.ACCEPTED)}
        response = self.look_up("HEAD", url, headers=accept)
        if response is None:
            return None
        self.transport.finish(response)
        if response.status != 200:
            return None
        try:
            return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
        except ValueError:
            pass
        try:
            # The header is optional in the specification.
            return self.fetch_manifest(selector, look=True).digest
        except StackError:
            return None

    def push_manifest(self, raw: bytes, media_type: str, selector: str | Digest, *, accepted: bool = True) -> bool:
        """Push a manifest or index under a tag or its digest, after everything that it names.

        `accepted` is True if the registry has just accepted blobs, and so is not read-only. Returns True if the
        registry may list the manifest as a referrer of its subject (distribution specification 1.1, "Pushing Manifests
        with Subject"). Raises BlobVanished if the registry lacks a blob that the manifest names.
        """
        digest, url = sha256(raw), self.url(f"/manifests/{selector}")
        headers = {"Content-Type": media_type}
        try:
            response = self.send("PUT", url, headers=headers, body=raw, allowed=_ABOUT_MANIFESTS)
            if response.status >= 300:
                self._explain_manifest(response, media_type, accepted=accepted)
        except errors.BlobVanished:
            raise
        except StackError as error:
            # A registry may refuse a tag that names this manifest already. Some do not support HEAD for manifests.
            kept_there = self._find_manifest(selector)
            if kept_there is not None and kept_there.digest == digest:
                return True
            if kept_there is not None and isinstance(error, errors.ManifestRefused):
                same = kept_there.media_type.partition(";")[0].strip() == media_type
                raise errors.tag_kept(error, self.origin, str(kept_there.digest), same_format=same) from None
            raise
        self.transport.finish(response)
        kept = response.headers.get("Docker-Content-Digest", "")
        if kept.startswith("sha256:") and kept != str(digest):
            raise errors.pushed_otherwise(self.origin, str(digest), kept)
        return "OCI-Subject" in response.headers

    def _explain_manifest(self, response: Response, media_type: str, *, accepted: bool) -> NoReturn:
        raw = self.transport.finish(response)
        answer = self.transport.answer(response, raw)
        if codes_in(raw) & _LACKING:
            raise errors.blobs_vanished(self.origin, digests_in(raw), answer)
        if response.status in {403, 404, 405} and not accepted:
            raise self.refusal(response, raw=raw)
        said = answer.said.lower().replace("_", " ")
        fixed = response.status in {409, 412} or any(words in said for words in _FIXED)
        raise errors.manifest_refused(self.origin, answer, media_type, fixed=fixed)

    def _find_manifest(self, selector: str | Digest) -> Fetched | None:
        try:
            return self.fetch_manifest(selector, look=True)
        except StackError:
            return None

    def _fetch_config(self, manifest: bytes, *, look: bool) -> bytes:
        described = manifests.parse_manifest_config(manifest, origin=self.origin)
        out = BytesIO()
        self.fetch_blob(described.digest, described.size, out, look=look)
        return out.getvalue()

    def _stream(self, digest: Digest, start: int, *, look: bool = False) -> Iterator[bytes]:
        """Yield a blob's bytes from `start` on, even if the server ignores ranges; end if the connection is cut."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self.send("GET", self.url(f"/blobs/{digest}"), headers=headers, look=look) as response:
            skip = start if response.status != 206 else 0
            while True:
                try:
                    chunk = response.read(_CHUNK)
                except OSError:
                    return
                if not chunk:
                    return
                self.transport.traffic.count(received=len(chunk))
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))

    def read(
        self, url: str, *, accept: Sequence[str], optional: bool = False, look: bool = False
    ) -> tuple[bytes, Mapping[str, str]] | None:
        """Fetch a whole manifest and the answer's headers; None for a 404 if the manifest is `optional`."""
        headers, limit = {"Accept": ", ".join(accept)}, manifests.MANIFEST_LIMIT
        allowed = frozenset({404}) if optional else frozenset[int]()
        for attempt in range(1, (LOOKS if look else ATTEMPTS) + 1):
            with self.send("GET", url, headers=headers, allowed=allowed, look=look) as response:
                if response.status == 404:
                    self.transport.finish(response)
                    return None
                try:
                    raw = response.read(limit + 1)
                except OSError:
                    raw = b""
                self.transport.traffic.count(received=len(raw))
                if len(raw) > limit:
                    raise transfer.manifest_too_large(self.origin, limit)
                if raw and response.headers.get("Content-Length", str(len(raw))) == str(len(raw)):
                    return raw, response.headers
            self.transport.sleep(pause(attempt))
        raise errors.unreachable(self.reference.host, "the connection was cut again and again")
