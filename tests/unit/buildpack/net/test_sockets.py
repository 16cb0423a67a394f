"""Proxies and addresses of servers."""

from __future__ import annotations

import pytest

from buildpack.net.sockets import Names, find_proxy


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://pypi.org/simple/", "http://p.example:3128"),
        ("http://pypi.org/simple/", ""),
        ("https://in.example/simple/", ""),
        ("https://a.corp:8443/simple/", ""),
    ],
)
def test_the_proxy_for_a_url(url: str, proxy: str) -> None:
    assert find_proxy({"HTTPS_PROXY": "http://p.example:3128", "no_proxy": "in.example,.corp"}, url) == proxy


def test_all_proxy_is_used_for_schemes_without_a_proxy() -> None:
    environ = {"all_proxy": "http://all:1", "HTTP_PROXY": "http://plain:2"}
    assert [find_proxy(environ, f"{scheme}://host/") for scheme in ("http", "https")] == [
        "http://plain:2",
        "http://all:1",
    ]


def test_addresses_of_a_name() -> None:
    names = Names()
    assert names.addresses("127.0.0.1", 80) == ("127.0.0.1",)
    assert names.addresses("nobody.invalid", 80) == ()
    assert names.addresses("x" * 300, 80) == ()
