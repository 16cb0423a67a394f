"""Sends one blob to a repository: mounts it if possible, else uploads it, and resumes an upload that was cut.

An upload is one POST, and one PUT with the whole blob (distribution specification 1.1, "Pushing blobs"). It is sent in
pieces (PATCH) if the registry asks for pieces or refuses a request of that size, and after a cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Literal

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass
from buildpack.errors import StackError
from buildpack.errors import registry as errors
from buildpack.net.pace import ATTEMPTS, allowance, is_busy, pause
from buildpack.oci.digest import Digest
from buildpack.oci.registry_http import RepositoryClient
from buildpack.oci.registry_replies import codes_in
from buildpack.oci.transport import InterruptedRequest, wait_asked

if TYPE_CHECKING:
    from buildpack.net.http1 import Response

Outcome = Literal["present", "mounted", "sent"]

_READ = 1 << 16
"""Bytes written at once, because a socket's time limit is for each write."""
_PIECE = 8 << 20
_SMALLEST_PIECE = 1 << 18
_STREAKS = 50
"""How often one upload is resumed, even if it makes progress: a registry may accept a byte at a time."""
_PATIENCE_LEAST, _PATIENCE = 60.0, 600.0
"""Seconds for the answer to the last bytes, of a small and of the largest blob."""
_HASHED = 2e6
"""Bytes a second. Some registries hash or copy the whole blob before they answer, so `_PATIENCE` grows with it."""
_RESTARTING = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID"})
"""Codes after which an upload starts again."""
_NOWHERE = b'{"message": "it gives no address for the upload, or one without TLS"}'
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A blob to send; `open_blob` opens it at its start, `observe` is called with the number of bytes sent."""

    digest: Digest
    size: int
    open_blob: Callable[[], BinaryIO]
    observe: Callable[[int], object] = lambda _sent: None


@dataclass(slots=True, kw_only=True)
class _Session:
    """An upload in progress: the registry has `offset` bytes; it wants pieces of `least` bytes, 0 for none."""

    location: str
    least: int = 0
    offset: int = 0


class _Part:
    """The bytes of a blob from `start` to `end`, read again each time they are sent."""

    def __init__(self, source: Source, start: int, end: int, count: Callable[[int], None]) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._count = count

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[bytes]:
        try:
            with self._source.open_blob() as opened:
                opened.seek(self._start)
                place = self._start
                while place < self._end and (chunk := opened.read(min(_READ, self._end - place))):
                    place += len(chunk)
                    yield chunk
                    self._count(len(chunk))
                    self._source.observe(place)
                if place < self._end:
                    # Without an error, the registry would wait for the rest.
                    raise errors.source_unreadable(str(self._source.digest), f"it ends after {place} bytes")
        except OSError as error:
            # An OSError would look like an error of the connection.
            raise errors.source_unreadable(str(self._source.digest), error.strerror or str(error)) from error


def has_blob(connection: RepositoryClient, digest: Digest) -> bool:
    """Return True if the registry answers clearly that the repository has a blob."""
    response = connection.look_up("HEAD", connection.url(f"/blobs/{digest}"))
    if response is None:
        return False
    connection.transport.finish(response)
    # Some servers answer every request with a web page.
    return response.status == 200 and "html" not in response.headers.get("Content-Type", "")


def may_push(connection: RepositoryClient) -> None:
    """Begin an upload and cancel it; raises StackError if the registry refuses it."""
    _cancel(connection, _begin(connection))


def upload(connection: RepositoryClient, source: Source, *, mount: str = "", assume_missing: bool = False) -> Outcome:
    """Make sure that the repository has this blob; `mount` is another repository of the registry that has it.

    With `assume_missing` the registry is not asked if it has the blob. Raises StackError; MachineError if the blob
    cannot be read here.
    """
    begun = _mount(connection, source.digest, mount) if mount else None
    if begun == "mounted":
        return "mounted"
    if not assume_missing and has_blob(connection, source.digest):
        if begun is not None:
            _cancel(connection, begun)
        return "present"
    _Upload(connection, source, begun).run()
    return "sent"


class _Upload:
    """Sends one blob, over several connections if they are cut; `session` is an upload begun already, or None."""

    def __init__(self, connection: RepositoryClient, source: Source, session: _Session | None) -> None:
        self._connection = connection
        self._source = source
        self._session = session
        self._piece = 0
        self._goes_on = True
        self._was_cut = False
        self._reason = ""

    def run(self) -> None:
        """Send until the registry has the whole blob."""
        failures = troubles = 0
        clock = self._connection.transport.clock
        end = clock() + allowance(self._source.size)
        while True:
            before = self._session.offset if self._session else 0
            wait: float | None = 0.0
            try:
                session = self._session = self._session or _begin(self._connection)
                aim = self._end(session)
                if self._advance(session):
                    return
            except InterruptedRequest as interrupted:
                self._reason, wait, self._was_cut = interrupted.error.why, None, True
                if self._recover():
                    return
            except _BusyError as busy:
                self._reason, wait = busy.reason, busy.wait
                self._recover()
            reached = self._session.offset if self._session else 0
            failures = 0 if reached > before else failures + 1
            troubles += reached < aim
            if failures >= ATTEMPTS or troubles >= _STREAKS or clock() > end:
                break
            wait = pause(failures or 1) if wait is None else wait
            if wait:
                self._connection.transport.sleep(wait)
        digest = str(self._source.digest)
        raise errors.upload_cut(self._connection.origin, digest, self._source.size, self._reason, troubles)

    def _advance(self, session: _Session) -> bool:
        """Send the next piece; return True once the registry confirms the whole blob."""
        size, end = self._source.size, self._end(session)
        # Many registries forget a PUT that was cut, but keep a PATCH, so the second attempt can be resumed.
        lasting = self._was_cut and self._goes_on and size > _SMALLEST_PIECE
        whole = session.offset == 0 and end == size and not lasting
        body = _Part(self._source, session.offset, end, self._count) if end > session.offset else b""
        headers = {"Content-Type": "application/octet-stream"}
        method, url = "PATCH", session.location
        if whole or session.offset == size:
            method, url = "PUT", f"{url}{'&' if '?' in url else '?'}digest=sha256%3A{self._source.digest.hex}"
        else:
            headers["Content-Range"] = f"{session.offset}-{end - 1}"
        patience = min(_PATIENCE, _PATIENCE_LEAST + size / _HASHED)
        response = self._connection.exchange(method, url, headers=headers, body=body, patience=patience)
        if response.status >= 300:
            self._judge(response, method, end - session.offset)
            return False
        self._connection.transport.finish(response)
        if method == "PUT":
            return True
        session.location = self._connection.located(response) or session.location
        session.offset = _offset(response, end)
        return False

    def _end(self, session: _Session) -> int:
        """Return the end of the next request's bytes."""
        size = self._source.size
        piece = self._piece or (session.least if session.least < size else 0)
        return min(size, session.offset + piece) if piece else size

    def _judge(self, response: Response, method: str, length: int) -> None:
        """Decide how to continue after an error; raises StackError if the upload cannot continue."""
        status = response.status
        if is_busy(status):
            wait = wait_asked(response)
            raw = self._connection.transport.finish(response)
            raise _BusyError(str(self._connection.transport.answer(response, raw)), wait)
        raw = self._connection.transport.finish(response)
        answer = self._connection.transport.answer(response, raw)
        if status == 403 and answer.said:
            # The upload could begin, so the login may push; a full quota is reported this late.
            raise errors.refused(self._connection.origin, answer)
        if status in {401, 403}:
            raise self._connection.refusal(response, raw=raw)
        self._reason = str(answer)
        if status == 416 and self._session is not None:
            offset = self._session.offset
            if self._recover() or (self._session and self._session.offset != offset):
                return
        elif status == 413:
            self._piece = min(_PIECE, (length + 1) // 2)
            if self._piece < max(_SMALLEST_PIECE, self._session.least if self._session else 0):
                raise errors.too_large(self._connection.origin, answer, self._source.size)
        elif method == "PATCH" and not self._piece and self._goes_on:
            # The registry does not resume uploads: from now on, send the whole blob.
            self._goes_on = False
        elif status != 404 and not codes_in(raw) & _RESTARTING:
            raise errors.refused(self._connection.origin, answer)
        self._session = None

    def _recover(self) -> bool:
        """Ask how many bytes the registry has; return True if the upload is complete."""
        session, self._session = self._session, None
        if session is None:
            return False
        try:
            response = self._connection.exchange("GET", session.location)
        except (InterruptedRequest, StackError):
            return False
        self._connection.transport.finish(response)
        offset = _offset(response, 0)
        if response.status == 204 and self._goes_on and offset <= self._source.size:
            session.offset = offset
            session.location = self._connection.located(response) or session.location
            self._session = session
            return False
        # Perhaps only the last answer was lost.
        return response.status == 404 and has_blob(self._connection, self._source.digest)

    def _count(self, sent: int) -> None:
        self._connection.transport.traffic.count(sent=sent)


class _BusyError(Exception):
    """The registry is busy; it asks for a wait of `wait` seconds, None if it does not say."""

    def __init__(self, reason: str, wait: float | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


def _mount(connection: RepositoryClient, digest: Digest, source: str) -> _Session | Literal["mounted"] | None:
    """Ask for a mount. A registry that does not mount begins an upload, which is returned; None for other answers."""
    url = connection.url("/blobs/uploads/", {"mount": str(digest), "from": source})
    response = connection.look_up("POST", url, mounts=source)
    if response is None:
        return None
    connection.transport.finish(response)
    if response.status == 201:
        return "mounted"
    try:
        return _session(connection, response) if response.status == 202 else None
    except StackError:
        return None


def _begin(connection: RepositoryClient) -> _Session:
    response = connection.send("POST", connection.url("/blobs/uploads/"))
    connection.transport.finish(response)
    return _session(connection, response)


def _session(connection: RepositoryClient, response: Response) -> _Session:
    location = connection.located(response)
    if location is None:
        raise errors.refused(connection.origin, connection.transport.answer(response, _NOWHERE))
    least = parse_integer(response.headers.get("OCI-Chunk-Min-Length", "").strip())
    return _Session(location=location, least=max(least, _PIECE) if least else 0)


def _cancel(connection: RepositoryClient, session: _Session) -> None:
    """Cancel an upload, which the registry would otherwise keep for days."""
    try:
        connection.transport.finish(connection.exchange("DELETE", session.location))
    except (StackError, InterruptedRequest):
        return


def _offset(response: Response, otherwise: int) -> int:
    """Return how many bytes the registry has; "0-0" also means none."""
    found = _RANGE.fullmatch(response.headers.get("Range", "").strip())
    last = parse_integer(found[1]) if found else None
    if last is None:
        return otherwise
    return last + 1 if last else 0
