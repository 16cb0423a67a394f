"""Connections, TLS, secrets and counts that all requests to registries share."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from buildpack.bounded import origin_of
from buildpack.oci.reference import parse_reference
from buildpack.oci.registry_replies import codes_in, digests_in, said_by
from buildpack.oci.transport import Traffic, Transport, shown
from tests.support.spec_registry import spec_registry


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8").stdout


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    loaded = run(
        "import sys\nfrom buildpack.oci import push, registry, transport\n"
        "with transport.Transport({}): print(*sys.modules)\n"
    )
    heavy = {"requests", "urllib3", "http.client", "ssl", "subprocess", "concurrent.futures", "tempfile", "logging"}
    assert heavy & set(loaded.split()) == set()


def test_tls_is_loaded_in_a_thread() -> None:
    """The thread ends after loading; all connections use its result."""
    code = (
        "import sys, threading\nfrom buildpack.oci.reference import parse_reference\n"
        "from buildpack.oci.transport import Transport\n"
        "for name in ('127.0.0.1:5000/app', 'ghcr.io/team/app'):\n"
        "    with Transport({}, homes=[parse_reference(name)]) as transport:\n        transport.warm()\n"
        "        [each.join() for each in threading.enumerate() if each.name == 'registry code']\n"
        "        print('ssl' in sys.modules)\n"
    )
    assert run(code) == "False\nTrue\n"


def test_traffic_is_counted_in_threads() -> None:
    traffic = Traffic()

    def count() -> None:
        for _ in range(2000):
            traffic.count(requests=1, sent=2, received=3)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (traffic.requests, traffic.sent, traffic.received) == (16_000, 32_000, 48_000)


@pytest.mark.parametrize("value", ["ghcr.io", "https://ghcr.io", "https://ghcr.io/team", "ghcr.io/"])
def test_the_login_is_for_one_registry(value: str) -> None:
    own = parse_reference("quay.io/team/app:1")
    named = Transport({"DEPLOY_REGISTRY": value}, homes=[own])
    assert (named.homes, "quay.io" in named.own) == ({"ghcr.io"}, True)
    unnamed = Transport({}, homes=[own])
    assert unnamed.homes == {"quay.io"}
    assert Transport({"DEPLOY_REGISTRY": "index.docker.io"}).homes == {"docker.io"}


@pytest.mark.parametrize(
    ("name", "insecure", "base"),
    [
        ("localhost/a", "", "http://localhost"),
        ("localhost:5000/a", "", "http://localhost:5000"),
        ("127.8.0.1/a", "", "http://127.8.0.1"),
        ("localhost.example.org/a", "", "https://localhost.example.org"),
        ("127.0.0.1.example.org/a", "", "https://127.0.0.1.example.org"),
        ("[::1]:5000/a", "", "http://[::1]:5000"),
        ("127.example.com/a", "", "https://127.example.com"),
        ("python", "", "https://registry-1.docker.io"),
        ("registry:5000/a", "", "https://registry:5000"),
        ("registry:5000/a", "other registry:5000", "http://registry:5000"),
        ("registry:5000/a", "registry", "http://registry:5000"),
        ("registry:5001/a", "registry:5000", "https://registry:5001"),
        ("my.registry/a", "registry", "https://my.registry"),
    ],
)
def test_some_registries_need_no_tls(name: str, insecure: str, base: str) -> None:
    assert Transport({"DEPLOY_INSECURE_REGISTRIES": insecure}).base(parse_reference(name)) == base


def test_a_url_has_a_proxy() -> None:
    transport = Transport(
        {"HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "http://proxy:3128", "no_proxy": "quay.io"}
    )
    assert transport.proxy("https://ghcr.io/v2/") == "http://proxy:3128"
    assert transport.proxy("https://quay.io/v2/") == ""
    assert transport.proxy("http://127.0.0.1:5000/v2/") == ""
    assert transport.proxy("http://[::1]:5000/v2/") == ""


def test_addresses_are_shown_without_secrets() -> None:
    assert (
        origin_of("https://Example.com/a") == origin_of("https://example.com:443/b") != origin_of("http://example.com/")
    )
    assert shown("https://me:secret@host:5000/v2/a?state=secret#x") == "https://host:5000/v2/a"


def test_a_closed_transport_can_be_used_again() -> None:
    with spec_registry() as server, Transport({}) as transport:
        for _ in range(2):
            url = f"http://{server.name}/v2/a/blobs/none"
            assert transport.exchange("HEAD", url, headers={}).status == 404
            transport.close()


# The small print


def errors(*entries: object) -> bytes:
    return json.dumps({"errors": list(entries)}).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (errors({"code": "DENIED", "message": "no\x1b[31m  way\r\n"}), "DENIED: no [31m way"),
        (errors({"code": "A"}, {"message": "b", "detail": "c"}, {"detail": {}}, "d", None), "A; b: c"),
        (
            errors({"code": "UNKNOWN", "message": "unknown error", "detail": {"Enclosed": {"Op": "write", "Err": 28}}}),
            'UNKNOWN: unknown error: {"Enclosed": {"Op": "write", "Err": 28}}',
        ),
        (errors({"code": "manifest_unknown", "message": "no", "detail": {"Tag": "1"}}), "manifest_unknown: no"),
        (errors({"code": "A", "message": "A", "detail": [[[[[["deep"]]]]]]}), 'A: [[[["…"]]]]'),
        (b'{"error": "invalid_grant", "error_description": "expired"}', "invalid_grant: expired"),
        (b'{"details": "incorrect username or password"}', "incorrect username or password"),
        (errors({"message": "x" * 400}), "x" * 299 + "\N{HORIZONTAL ELLIPSIS}"),
        (b"<html>", ""),
        (b"[1]", ""),
        (b'{"errors": 1}', ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_registry_s_errors_are_one_line(raw: bytes, said: str) -> None:
    assert said_by(raw, str) == said


@pytest.mark.parametrize("secret", ["key " * 100, '{"key":\n"a \\ b"}', "\x1b\N{PILE OF POO}"])
def test_secrets_in_a_registry_s_errors_are_hidden(secret: str) -> None:
    """Secrets of any length and form are hidden before the text is cut or escaped."""
    raw = errors({"code": "UNKNOWN", "message": f"no {secret}", "detail": {"login": [f"as {secret}"], secret: 1}})
    said = said_by(raw, lambda text: text.replace(secret, "[redacted]"))
    assert said == 'UNKNOWN: no [redacted]: {"login": ["as [redacted]"], "[redacted]": 1}'


def test_codes_and_digests_are_found() -> None:
    one, two = ("sha256:" + each * 64 for each in "ab")
    raw = errors(
        {"code": "blob_unknown", "detail": one}, {"code": "X", "detail": {"digest": two}}, {"detail": [one, "sha256:c"]}
    )
    assert codes_in(raw) >= {"BLOB_UNKNOWN", "X"}
    assert digests_in(raw) == (one, two)
