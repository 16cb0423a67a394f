"""Registries that want a login: with a password file, and with tokens from a server on loopback."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.conftest import serving_registry

USER = "robot$team"
PASSWORD = "correct horse"
_HASH = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
SERVICE = "test registry"
ISSUER = "test issuer"


@contextmanager
def registry_with_passwords(folder: Path) -> Iterator[str]:
    """Run a registry that knows one user and asks for basic authentication."""
    (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
    with serving_registry(folder, more=f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n") as name:
        yield name


@contextmanager
def registry_with_tokens(folder: Path) -> Iterator[tuple[str, TokenServer]]:
    """Run a registry that believes a token server, and that server."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    server = TokenServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    auth = f"realm: {server.url}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {folder}/cert.pem\n"
    try:
        with serving_registry(folder, more=f"auth:\n  token:\n    {auth}") as name:
            yield name, server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TokenServer(ThreadingHTTPServer):
    """Gives tokens for everything to `USER`, and for pulling to everybody, unless `grants` says otherwise.

    `seen` are the requests: (method, user or "", grant type or "", scopes). `identity` is the refresh token it takes.
    """

    daemon_threads = True
    identity = "an identity token"

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._folder = folder
        lines = (folder / "cert.pem").read_text().splitlines()
        self._certificate = "".join(line for line in lines if not line.startswith("-----"))
        self.clear()

    def clear(self) -> None:
        self.seen: list[tuple[str, str, str, tuple[str, ...]]] = []
        self.lasts = 300

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/token?account=none"

    def make(self, scopes: tuple[str, ...], actions: frozenset[str], *, age: float = 0) -> str:
        """Sign a token (distribution's JWT) for some actions on what the scopes name, given out `age` seconds ago."""
        access = []
        for scope in scopes:
            kind, name, wanted = scope.split(":")
            access.append({"type": kind, "name": name, "actions": sorted(actions & set(wanted.split(",")))})
        now = int(time.time() - age)
        claims: dict[str, Any] = {"iss": ISSUER, "sub": "", "aud": SERVICE, "jti": str(time.monotonic_ns())}
        claims |= {"iat": now, "nbf": now - 10, "exp": now + 300, "access": access}
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._certificate]}
        text = ".".join(_coded(json.dumps(part).encode()) for part in (header, claims))
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._folder / "key.pem")],
            input=text.encode(), capture_output=True, check=True,
        ).stdout  # fmt: skip
        return f"{text}.{_coded(signed)}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: TokenServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["service"] == [SERVICE]
        scopes = tuple(query.get("scope", []))
        login = self.headers.get("Authorization", "")
        user, _, password = b64decode(login.removeprefix("Basic ")).decode().partition(":")
        self.server.seen.append(("GET", user, "", scopes))
        if user and (user, password) != (USER, PASSWORD):
            self.refuse()
        else:
            self.give("token", scopes, frozenset({"pull", "push"} if user else {"pull"}))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        assert form["service"] == SERVICE
        assert form["client_id"]
        scopes = tuple(form["scope"].split())
        self.server.seen.append(("POST", "", form["grant_type"], scopes))
        if form.get("refresh_token") != self.server.identity:
            self.refuse()
        else:
            self.give("access_token", scopes, frozenset({"pull", "push"}))

    def give(self, name: str, scopes: tuple[str, ...], actions: frozenset[str]) -> None:
        token = self.server.make(scopes, actions)
        self.reply(200, {name: token, "expires_in": self.server.lasts})

    def refuse(self) -> None:
        echo = self.headers.get("Authorization", "")
        self.reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": f"bad login {echo}"}]})

    def reply(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        pass


def docker_config(folder: Path, **content: Any) -> dict[str, str]:
    """Write docker's ``config.json`` into a folder; the environment that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return {"DOCKER_CONFIG": str(folder)}


def coded_login(user: str = USER, password: str = PASSWORD) -> str:
    """An ``auth`` entry's value."""
    return b64encode(f"{user}:{password}".encode()).decode()


def _coded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
