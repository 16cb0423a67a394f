"""A proxy on loopback before a real registry: it counts requests and bytes, and fails where a test wants it to.

    with Proxy(registry) as proxy:                      # registry: "127.0.0.1:PORT" of the real one
        reference = f"{proxy.name}/team/app:1"          # clients talk to the proxy; uploads' Locations lead there too
        proxy.fault("PUT", r"/blobs/uploads/", cut_request(100_000))
        ... push ...
        proxy.requests, proxy.sent, proxy.received      # sent by the client / received by it; headers included
        proxy.rounds                                    # requests of which none began before another one's end
        [str(each) for each in proxy.log]               # "PUT /v2/team/app/manifests/1 201"
        proxy.clear()                                   # forget what was counted, and all faults

`fault(method, path, action, times=1, skip=0)`: the next `times` requests (-1: all) of this method ("" for any) in
whose path and query `path` (a regular expression) is found, after `skip` of them, meet the action instead of the
registry; one fault at a time, in the order they were set. `met` of the returned fault says how often that happened.

    answer(429, retry_after="1")        that status at once, with a body and headers
    done_but(403)                       let the registry do it, and answer with that status
    cut()                               hang up as soon as the request's head is there
    cut_request(n)                      pass on n bytes of the request's body, then hang up on both sides
    cut_answer()                        let the registry do it, and hang up without a word of its answer
    cut_body(n)                         hang up after n bytes of the answer's body
    altered_request()                   flip a bit in every byte of the request's body
    alter()                             flip a bit in every byte of the answer's body
    change(function)                    pass on function(body) instead of the answer's body
    afterwards(function)                pass all on unchanged, and call function() before the client gets the answer
    with_login(header)                  pass on the request with another Authorization header, like an expired token's
    without_query()                     pass on the request without its query: a registry that ignores mounts
    without_header(name)                pass on the answer without a header
    with_header(name, value)            pass on the answer with a header

`lose(registry, repository, digest)` deletes a blob from a repository behind everybody's back.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_CHUNK = 1 << 16

Action = Callable[["Handler"], int]
"""Answers a request in some way; returns the status that went to the client, 0 for none."""


@dataclass
class Fault:
    """The fault that the next requests of a kind meet."""

    method: str
    path: re.Pattern[str]
    action: Action
    times: int
    skip: int
    met: int = 0

    def takes(self, method: str, path: str) -> bool:
        if self.method not in ("", method) or not self.path.search(path) or self.times == self.met:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.met += 1
        return True


@dataclass(frozen=True)
class Exchange:
    """One request and what became of it; bytes with headers, times in seconds of a monotonic clock."""

    method: str
    path: str
    status: int
    sent: int
    received: int
    begin: float
    end: float
    headers: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status or 'cut'}"


class Hangup(Exception):
    """Both sides are to be hung up on."""


class Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the registry."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    upstream: http.client.HTTPConnection | None = None
    sent = received = 0

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(1 << 16)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        begin, status = self.server.owner.begin(), 0
        self.sent = len(self.raw_requestline) + len(str(self.headers))
        self.received = 0
        try:
            fault = self.server.owner.match(self.command, self.path)
            status = fault.action(self) if fault is not None else self.forward()
        except (Hangup, OSError, http.client.HTTPException):
            self.hang_up()
        finally:
            done = Exchange(
                self.command, self.path, status, self.sent, self.received, begin, time.monotonic(), dict(self.headers)
            )
            self.server.owner.note(done)

    def finish(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def hang_up(self) -> None:
        self.close_connection = True
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def body(self, limit: int | None = None) -> Any:
        """Yield the request's body, `limit` bytes of it where that is given."""
        left = int(self.headers.get("Content-Length", "0"))
        left = left if limit is None else min(limit, left)
        while left and (chunk := self.rfile.read(min(_CHUNK, left))):
            left -= len(chunk)
            self.sent += len(chunk)
            yield chunk
        if left:
            raise Hangup

    def ask(
        self, path: str | None = None, limit: int | None = None, change: Callable[[bytes], bytes] = bytes
    ) -> http.client.HTTPResponse:
        """Pass the request on; with a `limit` hang up after so many bytes of its body."""
        if self.upstream is None:
            self.upstream = http.client.HTTPConnection(self.server.owner.upstream, timeout=60)
        self.upstream.putrequest(self.command, path or self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            self.upstream.putheader(name, value)
        self.upstream.endheaders()
        for chunk in self.body(limit):
            self.upstream.send(change(chunk))
        if limit is not None:
            self.settle()
            raise Hangup
        return self.upstream.getresponse()

    def settle(self) -> None:
        """Wait until the registry took what came and gave up: the client asks at once how far it got."""
        assert self.upstream is not None
        opened = self.upstream.sock
        with contextlib.suppress(OSError):
            opened.settimeout(30)
            opened.shutdown(socket.SHUT_WR)
            while opened.recv(_CHUNK):
                pass

    def tell(
        self,
        response: http.client.HTTPResponse,
        *,
        change: Callable[[bytes], bytes] | None = None,
        limit: int | None = None,
        drop: str = "",
        add: tuple[str, str] | None = None,
    ) -> int:
        """Pass the answer on."""
        whole = change(response.read()) if change is not None else None
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        chunked = response.headers.get("Transfer-Encoding") == "chunked"
        for name, value in response.headers.items():
            if name.lower() in (drop.lower(), "connection", "transfer-encoding"):
                continue
            changed = name.lower() == "content-length" and whole is not None
            lines.append(f"{name}: {len(whole or b'') if changed else value}")
        if chunked:
            whole = response.read() if whole is None else whole
            lines.append(f"Content-Length: {len(whole)}")
        if add is not None:
            lines.append(": ".join(add))
        self.give("\r\n".join([*lines, "", ""]).encode("latin-1"))
        left = limit
        while chunk := (whole if whole is not None else response.read(_CHUNK)):
            if left is not None and len(chunk) >= left:
                self.give(chunk[:left])
                raise Hangup
            self.give(chunk)
            left = None if left is None else left - len(chunk)
            if whole is not None:
                break
        if limit is not None:
            raise Hangup
        response.close()
        return response.status

    def give(self, content: bytes) -> None:
        self.wfile.write(content)
        self.received += len(content)

    def forward(self) -> int:
        return self.tell(self.ask())

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: Proxy

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Proxy:
    """See the module."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._log: list[Exchange] = []
        self._faults: list[Fault] = []
        self._lock = threading.Condition()
        self._under_way = 0
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def log(self) -> list[Exchange]:
        """All exchanges in the order they began, once all ended: a client may know an answer before it is noted."""
        with self._lock:
            self._lock.wait_for(lambda: self._under_way == 0, timeout=30)
            return sorted(self._log, key=lambda each: each.begin)

    @property
    def requests(self) -> int:
        return len(self.log)

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self.log)

    @property
    def received(self) -> int:
        return sum(each.received for each in self.log)

    @property
    def rounds(self) -> int:
        """The length of the longest row of exchanges that each began after the one before had ended."""
        count, last = 0, 0.0
        for each in sorted(self.log, key=lambda each: each.end):
            if each.begin >= last:
                count, last = count + 1, each.end
        return count

    def fault(self, method: str, path: str, action: Action, *, times: int = 1, skip: int = 0) -> Fault:
        made = Fault(method, re.compile(path), action, times, skip)
        with self._lock:
            self._faults.append(made)
        return made

    def clear(self) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._under_way == 0, timeout=30)
            self._log, self._faults = [], []

    def match(self, method: str, path: str) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._faults if fault.takes(method, path)), None)

    def begin(self) -> float:
        with self._lock:
            self._under_way += 1
            return time.monotonic()

    def note(self, exchange: Exchange) -> None:
        with self._lock:
            self._log.append(exchange)
            self._under_way -= 1
            self._lock.notify_all()


def answer(status: int, body: bytes = b"", **headers: str) -> Action:
    def act(handler: Handler) -> int:
        for _ in handler.body():
            pass
        lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        handler.give("\r\n".join([*lines, "", ""]).encode() + (b"" if handler.command == "HEAD" else body))
        return status

    return act


def done_but(status: int) -> Action:
    def act(handler: Handler) -> int:
        handler.ask().read()
        handler.give(f"HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n".encode())
        return status

    return act


def cut() -> Action:
    def act(handler: Handler) -> int:
        raise Hangup

    return act


def cut_request(after: int) -> Action:
    def act(handler: Handler) -> int:
        handler.ask(limit=after)
        raise Hangup

    return act


def cut_answer() -> Action:
    def act(handler: Handler) -> int:
        handler.ask().read()
        raise Hangup

    return act


def cut_body(after: int) -> Action:
    return lambda handler: handler.tell(handler.ask(), limit=after)


def altered_request() -> Action:
    return lambda handler: handler.tell(handler.ask(change=_flip))


def alter() -> Action:
    return change(_flip)


def _flip(body: bytes) -> bytes:
    return bytes(each ^ 1 for each in body)


def change(function: Callable[[bytes], bytes]) -> Action:
    return lambda handler: handler.tell(handler.ask(), change=function)


def afterwards(function: Callable[[], object]) -> Action:
    def act(handler: Handler) -> int:
        response = handler.ask()
        function()
        return handler.tell(response)

    return act


def without_query() -> Action:
    return lambda handler: handler.tell(handler.ask(handler.path.partition("?")[0]))


def with_login(header: str) -> Action:
    def act(handler: Handler) -> int:
        handler.headers.replace_header("Authorization", header)
        return handler.forward()

    return act


def without_header(name: str) -> Action:
    return lambda handler: handler.tell(handler.ask(), drop=name)


def with_header(name: str, value: str) -> Action:
    return lambda handler: handler.tell(handler.ask(), add=(name, value))


def lose(registry: str, repository: str, digest: object) -> None:
    request = urllib.request.Request(f"http://{registry}/v2/{repository}/blobs/{digest}", method="DELETE")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        assert response.status == 202
