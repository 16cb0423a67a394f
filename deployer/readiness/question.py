"""Ask a web process one question over HTTP; connecting, waiting and reading together have one deadline.

Only the standard library is used: the text of this module also runs in containers, on the image's own Python.
"""

from __future__ import annotations

import http.client
import socket
import sys
import time
import urllib.parse

TYPE_CHECKING = False  # the image's Python need not load `typing`
if TYPE_CHECKING:
    from typing import Any

NOBODY = "nothing accepts connections"
LONGEST = 5.0
"""Seconds for one question."""

_CONNECT = 1.0
_BODY = 1 << 20
_IN_A_PATH = "/:?&=+,;@!$'()*~%[]"


class _TimedSocket(socket.socket):
    """A socket whose reads all end at one moment, even if each of them brings a byte."""

    end = 0.0

    def recv_into(self, *args: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)
        return super().recv_into(*args)


def ask(port: int, *, host: str, name: str, path: str, seconds: float) -> tuple[int, bytes, str]:
    """Send one GET with `name` as its Host header; return the status, the body of a 400, and what went wrong.

    The status is 0 if none came. A redirect is an answer. An empty `host` is this machine's own address.
    """
    end = time.monotonic() + seconds
    try:
        opened = socket.create_connection((host or _own_address(), port), timeout=min(_CONNECT, seconds))
    except OSError:
        return 0, b"", NOBODY
    with _TimedSocket(fileno=opened.detach()) as timed:
        timed.end = end
        timed.settimeout(seconds)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = timed
        target = urllib.parse.quote(path.partition("#")[0], safe=_IN_A_PATH)
        try:
            connection.request("GET", target, headers={"Host": name, "User-Agent": "deploy"})
        except TimeoutError:
            return 0, b"", "no answer came"
        except OSError:
            pass  # it may have answered without reading the question
        try:
            with connection.getresponse() as response:
                return response.status, _read_body(response) if response.status == 400 else b"", ""
        except TimeoutError:
            return 0, b"", "no answer came"
        except ConnectionError:
            return 0, b"", "it closed the connection without an answer"
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 0, b"", f"its answer is not HTTP: {type(error).__name__}"


def _own_address() -> str:
    """Return the address at which others reach this machine, so that 127.0.0.1 does not count."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def _read_body(response: http.client.HTTPResponse) -> bytes:
    """Return what comes of a body before the deadline; a body that is cut or broken still says why."""
    body = b""
    try:
        while len(body) < _BODY:
            piece = response.read1(_BODY - len(body))
            if not piece:
                break
            body += piece
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return body


def main(port: str, path: str, name: str, seconds: str, host: str = "") -> None:
    """Print the status and the body, or what went wrong."""
    status, body, problem = ask(int(port), host=host, name=name, path=path, seconds=float(seconds))
    if not status:
        sys.exit(problem)
    sys.stdout.buffer.write(b"%d\n%b" % (status, body))


if __name__ == "__main__":
    main(*sys.argv[1:])
