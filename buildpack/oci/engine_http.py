"""Sends requests to an engine, and uploads that stay open while a build runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from buildpack.bounded import parse_object
from buildpack.dataclass import dataclass
from buildpack.errors import EngineError
from buildpack.errors import transfer as errors
from buildpack.net import http1
from buildpack.net.pace import Pace
from buildpack.net.sockets import make_context, paced, set_pace
from buildpack.oci.engine_host import Endpoint

_CONNECT_TIMEOUT = 10.0
_TIMEOUT = 900.0
"""Seconds of silence: an engine on a slow disk sends nothing while it unpacks a big layer."""
_BODY_LIMIT = 16 << 20
_SMALL = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An engine's answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def object(self) -> dict[str, Any]:
        """Return the body's JSON object; empty if it is not one."""
        return parse_object(self.body)

    @property
    def failure(self) -> str:
        """The engine's error message; "" if there was no error.

        A stream of messages may begin with 200 and end with an error.
        """
        if self.status >= 400:
            said = self.object()
            return str(said.get("message") or said.get("cause") or f"status {self.status}").strip()
        for line in self.body.splitlines():
            message = parse_object(line)
            if message.get("error") or message.get("errorDetail"):
                detail = message.get("errorDetail")
                return str(message.get("error") or (detail.get("message") if isinstance(detail, dict) else detail))
            # Docker on containerd reports a failure to unpack only as printed text.
            if (printed := str(message.get("stream", "")).strip()).lower().startswith("error"):
                return printed
        return ""


class Connection:
    """A connection to an engine, for one thread at a time. Raises EngineError if the engine cannot be reached."""

    def __init__(self, endpoint: Endpoint, *, timeout: float = _TIMEOUT) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._connection = http1.Connection(_connect(endpoint))
        self._begin()

    def close(self) -> None:
        """Close the connection, even in the middle of an exchange."""
        self._connection.close()

    def answered(self) -> bool:
        """Return True if an answer has begun to arrive."""
        return self._connection.has_input()

    def _begin(self) -> Pace:
        """Start the time of an exchange: an engine may be silent while it unpacks, and has hours in all."""
        pace = Pace(partial(errors.engine_slow, str(self._endpoint)), patience=self._timeout, steady=False)
        set_pace(self._connection.socket, pace)
        return pace

    def ask(self, method: str, path: str) -> Answer:
        """Send a request without a body, and read the answer."""
        self._begin()
        try:
            self._connection.socket.sendall(_render(method, path, {"Content-Length": "0"} if method == "POST" else {}))
        except OSError as error:
            raise _unreachable(self._endpoint, error) from None
        return self.answer()

    def send(self, piece: bytes) -> None:
        """Send raw bytes; raises OSError."""
        self._connection.socket.sendall(piece)

    def answer(self) -> Answer:
        """Read one whole answer."""
        pace = self._begin()
        try:
            response = self._connection.answer(pace)
            body = response.read(_BODY_LIMIT)
            if not response.ended and response.read(1):
                raise ValueError("its answer is too long")
        except http1.MalformedError:
            raise _unreachable(self._endpoint, ValueError("the server is not an engine")) from None
        except (OSError, ValueError) as error:
            raise _unreachable(self._endpoint, error) from None
        return Answer(status=response.status, headers=response.headers, body=body)


class Upload(Connection):
    """A POST whose body is sent in pieces. The engine begins to work when the first bytes arrive."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        super().__init__(endpoint)
        self._broken = False
        fields = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        self._connection.socket.sendall(_render("POST", path, fields))

    def send(self, piece: bytes) -> None:
        """Send the next bytes of the body. If the engine has stopped listening, its answer tells why."""
        if not piece or self._broken:
            return
        size = b"%x\r\n" % len(piece)
        self._write(*((size, piece, b"\r\n") if len(piece) > _SMALL else (size + piece + b"\r\n",)))

    def finish(self) -> None:
        """End the body."""
        self._write(b"0\r\n\r\n")

    def _write(self, *parts: bytes) -> None:
        try:
            for part in parts:
                self._connection.socket.sendall(part)
        except OSError:
            self._broken = True


def _render(method: str, path: str, fields: Mapping[str, str]) -> bytes:
    return http1.render_head(method, path, {"Host": "engine", **fields})


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
    except PermissionError:
        raise errors.engine_denied(str(endpoint)) from None
    except OSError as error:
        raise _unreachable(endpoint, error) from None
    return _encrypt(made, endpoint) if endpoint.certificates else made


def _encrypt(plain: socket.socket, endpoint: Endpoint) -> socket.socket:
    assert endpoint.certificates is not None
    authorities, certificate, key = (str(endpoint.certificates / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    try:
        context = make_context(authorities if os.path.exists(authorities) else None, verified=endpoint.verify)
        if os.path.exists(certificate):
            context.load_cert_chain(certificate, key)
        return context.wrap_socket(plain, server_hostname=endpoint.address[0])
    except OSError as error:
        plain.close()
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror or str(error)
        raise errors.engine_tls(str(endpoint), str(reason)) from None


def _unreachable(endpoint: Endpoint, error: Exception) -> EngineError:
    otherwise = getattr(error, "strerror", "") or str(error)
    return errors.engine_unreachable(str(endpoint), errors.why_unanswered(error, otherwise))
