"""HTTP/1.1 to an engine over its raw socket: small questions, and uploads that stay open while a build runs.

No HTTP library: importing one takes a quarter of the time that loading a changed app takes, and none hands out an
upload that stays open.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass
from buildpack.errors import EngineError
from buildpack.errors import transfer as errors
from buildpack.network import Pace, paced, paced_tls, set_pace
from buildpack.oci.engine_host import Endpoint
from buildpack.oci.http1 import Framed, MalformedError, read_head

if TYPE_CHECKING:
    from io import BufferedReader

_CONNECT_TIMEOUT = 10.0
_TIMEOUT = 900.0
"""Seconds of silence: an engine on a slow disk unpacks a big layer without a word."""
_BODY_LIMIT = 16 << 20
_SMALL = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An engine's answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def object(self) -> dict[str, Any]:
        """Return the body's JSON object; empty where it is none."""
        try:
            value = parse_json(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def failure(self) -> str:
        """What went wrong, in the engine's words; empty where nothing did.

        A stream of messages may begin with 200 and end with an error.
        """
        if self.status >= 400:
            said = self.object()
            return str(said.get("message") or said.get("cause") or f"status {self.status}").strip()
        for line in self.body.splitlines():
            try:
                message = parse_json(line)
            except ValueError:
                continue
            if not isinstance(message, dict):
                continue
            if message.get("error") or message.get("errorDetail"):
                detail = message.get("errorDetail")
                return str(message.get("error") or (detail.get("message") if isinstance(detail, dict) else detail))
            # Docker on containerd only prints that it could not unpack.
            if (printed := str(message.get("stream", "")).strip()).lower().startswith("error"):
                return printed
        return ""


class Connection:
    """One kept connection; not for two threads at once. Raises EngineError where the engine cannot be reached."""

    def __init__(self, endpoint: Endpoint, *, timeout: float = _TIMEOUT) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._socket = _connect(endpoint)
        self._begin()
        self._file: BufferedReader = self._socket.makefile("rb")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def _begin(self) -> Pace:
        """Begin the time of an exchange: an engine may be silent while it unpacks, and ends in hours at the latest."""
        pace = Pace(self._slow, patience=self._timeout, steady=False)
        set_pace(self._socket, pace)
        return pace

    def _slow(self, reason: str) -> EngineError:
        return errors.engine_slow(str(self._endpoint), reason)

    def ask(self, method: str, path: str) -> Answer:
        """Send a request without a body, and read the answer."""
        self._begin()
        body = "Content-Length: 0\r\n" if method == "POST" else ""
        try:
            self._socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: engine\r\n{body}\r\n".encode())
        except OSError as error:
            raise _unreachable(self._endpoint, error) from None
        return self.answer()

    def send(self, piece: bytes) -> None:
        """Send raw bytes; raises OSError."""
        self._socket.sendall(piece)

    def answered(self) -> bool:
        """Tell whether an answer has begun to come."""
        import select

        return bool(select.select([self._socket], [], [], 0)[0])

    def answer(self) -> Answer:
        """Read one whole answer."""
        pace = self._begin()
        try:
            return _read_answer(self._file, pace)
        except (OSError, ValueError) as error:
            raise _unreachable(self._endpoint, error) from None


class Upload:
    """A POST whose body is sent bit by bit. The engine begins to work as soon as the first bytes come."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        self._endpoint = endpoint
        self._connection = Connection(endpoint)
        self._broken = False
        self.sent = 0
        """Bytes of the body so far."""
        self._connection.send(
            f"POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/x-tar\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._connection.close()

    def send(self, piece: bytes) -> None:
        """Send the next bytes of the body. Where the engine has stopped listening, its answer tells why."""
        if not piece or self._broken:
            return
        self.sent += len(piece)
        framed = (b"%x\r\n%b\r\n" % (len(piece), piece),)
        if len(piece) > _SMALL:
            framed = (b"%x\r\n" % len(piece), piece, b"\r\n")  # type: ignore[assignment]
        try:
            for part in framed:
                self._connection.send(part)
        except OSError:
            self._broken = True

    def finish(self) -> None:
        """End the body."""
        try:
            self._connection.send(b"0\r\n\r\n")
        except OSError:
            self._broken = True

    def answered(self) -> bool:
        """Tell whether the answer has begun to come."""
        return self._connection.answered()

    def answer(self) -> Answer:
        """Wait for the answer."""
        return self._connection.answer()


def _connect(endpoint: Endpoint) -> socket.socket:
    try:
        if isinstance(endpoint.address, str):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made.connect(endpoint.address)
            except BaseException:
                made.close()
                raise
        else:
            made = socket.create_connection(endpoint.address, timeout=_CONNECT_TIMEOUT)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(_TIMEOUT)
        made = paced(made)
        return _wrap(made, endpoint) if endpoint.certificates else made
    except PermissionError:
        raise errors.engine_denied(str(endpoint)) from None
    except OSError as error:
        raise _unreachable(endpoint, error) from None


def _wrap(plain: socket.socket, endpoint: Endpoint) -> socket.socket:
    import ssl

    assert endpoint.certificates is not None
    folder = endpoint.certificates
    try:
        context = ssl.create_default_context(
            cafile=str(folder / "ca.pem") if os.path.exists(folder / "ca.pem") else None
        )
        context.sslsocket_class = paced_tls()
        if not endpoint.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if os.path.exists(folder / "cert.pem"):
            context.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
        return context.wrap_socket(plain, server_hostname=endpoint.address[0])
    except (ssl.SSLError, OSError) as error:
        plain.close()
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror or str(error)
        raise errors.engine_tls(str(endpoint), str(reason)) from None


def _unreachable(endpoint: Endpoint, error: Exception) -> EngineError:
    if isinstance(error, FileNotFoundError):
        reason = "there is no socket at this path"
    elif isinstance(error, TimeoutError):
        reason = "it does not answer"
    elif isinstance(error, ConnectionRefusedError):
        reason = "nothing listens there"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = str(error)
    return errors.engine_unreachable(str(endpoint), reason)


def _read_answer(file: BufferedReader, pace: Pace) -> Answer:
    """Read a response; raises OSError, and ValueError for what is none."""
    try:
        head = read_head(file)
    except MalformedError:
        raise ValueError("what answers is not an engine") from None
    framed = Framed(file, head)
    pace.answered(framed.size)
    body = framed.read(_BODY_LIMIT)
    if not framed.ended and framed.read(1):
        raise ValueError("its answer is too long")
    return Answer(status=head.status, headers=head.headers, body=body)
