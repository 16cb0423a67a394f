"""Pulls from a registry: manifests and blobs of one repository, and believes no byte unseen.

Proxies and CA certificates come from the environment, as `requests` reads them; a registry on this machine is
spoken to directly, over plain http.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Protocol, Self

from buildpack.errors import transfer as errors
from buildpack.oci import manifest as manifests
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import Image, Platform
from buildpack.oci.reference import Reference
from buildpack.oci.registry_http import ATTEMPTS, Authorization, Connection, pause

__all__ = ["Fetched", "Pulled", "Registry", "Sink"]

_CHUNK = 1 << 20
_STREAKS = 50
"""How often one blob's transfer is taken up again, progress or not: a server may send a byte at a time."""


class Sink(Protocol):
    """What blobs are written to."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A manifest or an index as it came; `digest` is that of `raw`."""

    raw: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """An image for one platform, and the reference pinned to what the tag names: the index, where there is one."""

    reference: Reference
    image: Image


class Registry:
    """One repository of a registry; threads may share it.

    Every method raises StackError where the registry does not give what is asked. `sleep` waits between attempts,
    in seconds; `authorization` replaces the anonymous flow.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        authorization: Authorization | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reference = reference
        self._origin = str(reference)
        self._sleep = sleep
        self._connection = Connection(reference, authorization=authorization, sleep=sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def fetch_manifest(self, selector: str | Digest | None = None) -> Fetched:
        """Fetch a manifest or index by tag or digest (default: the reference's own), verified against the digest."""
        wanted = str(selector) if selector is not None else self._reference.selector
        raw, headers = self._read(f"/manifests/{wanted}", limit=manifests.MANIFEST_LIMIT)
        media_type = headers.get("Content-Type", "")
        if "html" in media_type or raw.lstrip()[:1] == b"<":
            raise errors.not_a_registry(self._reference.host, "a web page")
        digest = sha256(raw)
        promised = wanted if wanted.startswith("sha256:") else headers.get("Docker-Content-Digest", "")
        if promised.startswith("sha256:") and promised != str(digest):
            raise errors.digest_mismatch(self._origin, promised, str(digest))
        return Fetched(raw=raw, media_type=media_type, digest=digest)

    def fetch_image(self, platform: Platform) -> Pulled:
        """Fetch manifest and config of the image for `platform`; no layer is fetched."""
        top = found = self.fetch_manifest()
        if manifests.is_index(top.raw, media_type=top.media_type, origin=self._origin):
            listed = manifests.parse_index(top.raw, origin=self._origin)
            chosen = manifests.select_platform(listed, platform, origin=self._origin)
            found = self.fetch_manifest(chosen.digest)
            if manifests.is_index(found.raw, media_type=chosen.media_type, origin=self._origin):
                raise errors.damaged_manifest(self._origin, "it lists another index for a platform")
        config = self._fetch_config(found.raw)
        offered = manifests.parse_config_platform(config, origin=self._origin)
        if not manifests.serves(offered, platform):
            raise errors.no_such_platform(self._origin, str(platform), [str(offered)])
        image = manifests.parse_image(found.raw, config, origin=self._origin)
        return Pulled(reference=self._reference.pinned(top.digest), image=image)

    def fetch_blob(self, digest: Digest, size: int, out: Sink) -> None:
        """Stream one blob of `size` bytes into `out`, verified as it passes; a cut transfer goes on where it ended.

        Where this raises, `out` holds bytes that are not the blob.
        """
        hashed, received, failures = hashlib.sha256(), 0, 0
        for _ in range(_STREAKS):
            before = received
            for chunk in self._stream(digest, received):
                received += len(chunk)
                if received > size:
                    raise errors.blob_damaged(self._origin, str(digest), f"more than its {size} bytes came")
                hashed.update(chunk)
                out.write(chunk)
            if received == size:
                break
            failures = 1 if received > before else failures + 1
            if failures >= ATTEMPTS:
                break
            self._sleep(pause(failures))
        if received < size:
            raise errors.blob_cut(self._origin, str(digest), received, size)
        found = Digest(hashed.hexdigest())
        if found != digest:
            raise errors.blob_damaged(self._origin, str(digest), f"its bytes have the digest {found}")

    def _fetch_config(self, manifest: bytes) -> bytes:
        described = manifests.parse_manifest_config(manifest, origin=self._origin)
        out = BytesIO()
        self.fetch_blob(described.digest, described.size, out)
        return out.getvalue()

    def _stream(self, digest: Digest, start: int) -> Iterator[bytes]:
        """Yield a blob's bytes from `start` on, whether or not the server knows ranges; end where it is cut."""
        from urllib3.exceptions import HTTPError

        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._connection.send("GET", f"/blobs/{digest}", headers=headers) as response:
            skip = start if response.status_code != 206 else 0
            while True:
                try:
                    chunk = response.raw.read(_CHUNK, decode_content=False)
                except HTTPError:
                    return
                if not chunk:
                    return
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))

    def _read(self, path: str, *, limit: int) -> tuple[bytes, Mapping[str, str]]:
        """Return a whole body of at most `limit` bytes, and the headers."""
        from urllib3.exceptions import HTTPError

        for attempt in range(1, ATTEMPTS + 1):
            with self._connection.send("GET", path, headers={"Accept": ", ".join(manifests.ACCEPTED)}) as response:
                raw = b""
                try:
                    raw = response.raw.read(limit + 1, decode_content=False)
                except HTTPError:
                    raw = b""
                if len(raw) > limit:
                    raise errors.manifest_too_large(self._origin, limit)
                if raw and int(response.headers.get("Content-Length", len(raw))) == len(raw):
                    return raw, response.headers
            self._sleep(pause(attempt))
        raise errors.registry_unreachable(self._reference.host, "the connection was cut again and again")
