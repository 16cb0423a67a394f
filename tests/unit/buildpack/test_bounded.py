"""One reader of numbers, ports, waits, URLs, versions and JSON that others wrote: it returns a value or None."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.bounded import (
    LARGEST,
    allows_version,
    join_url,
    origin_of,
    parse_integer,
    parse_json,
    parse_port,
    parse_seconds,
    parse_url,
    parse_version,
)

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
HOSTILE = ["9" * 5000, "-1", "+1", "1_0", " 1", "1 ", "", "0x1", "٣", "²", "1e9", "nan", "1.5", "1\n", "\0"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_integer_port_or_url_with_such_a_port(text: str) -> None:
    assert parse_integer(text) is None
    assert parse_port(text) is None
    if text.strip():  # RFC 3986, 3.2.3 allows an empty port, and the parser drops line ends
        assert parse_url(f"http://host:{text}/") is None or text == "1\n"


def test_integers_and_their_bounds() -> None:
    assert parse_integer("0") == parse_integer("0" * 5000) == 0
    assert parse_integer("12") == 12
    assert parse_integer("ff", base=16) == 255
    assert parse_integer("0x1f", base=16) is None
    assert parse_integer(str(LARGEST)) == LARGEST
    assert parse_integer(str(LARGEST + 1)) is None
    assert parse_integer("3", least=4) is parse_integer("3", most=2) is None
    assert (parse_port("1"), parse_port("65535")) == (1, 65535)
    assert parse_port("0") is parse_port("65536") is None


def test_waits() -> None:
    assert parse_seconds("120", most=60) == parse_seconds(120, most=60) == parse_seconds("9" * 5000, most=60) == 60
    assert parse_seconds(float("inf"), most=60) == parse_seconds(10**400, most=60) == 60
    assert parse_seconds(1.5, most=60) == 1.5
    for nonsense in ("-1", "soon", -1, float("nan"), True, None, [], ""):
        assert parse_seconds(nonsense, most=60) is None


def test_urls() -> None:
    for bad in ("http://[::1", "http://[x]/", "http://h:0/", "http://h:99999/", "http://h:x/", "http://a℀b/"):
        assert parse_url(bad) is None
        assert origin_of(bad) == ("", "", 0)
        assert join_url("https://index/simple/", bad) is None
    assert origin_of("HTTPS://Host/x") == origin_of("https://host:443/y") == ("https", "host", 443)
    assert join_url("https://index/simple/a/", "../b") == "https://index/simple/b"


@pytest.mark.parametrize(
    "raw",
    [
        "9" * 5000,
        "1e400",
        "-Infinity",
        "NaN",
        "[" * 100_000,
        '{"a":' * 50_000,
        "",
        "{",
        b"\xff",
        r'"\u0000"',
        r'{"\uD800": 1}',
    ],
)
def test_json_that_is_refused_with_one_kind_of_error(raw: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  its words differ
        parse_json(raw)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-LARGEST, LARGEST)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    )
)
def test_json_reads_what_json_writes(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


def test_versions() -> None:
    assert str(parse_version("1.0")) == "1.0"
    assert allows_version(">=3.9,<4", "3.12.1") is True
    assert allows_version(">=3.13", "3.12.1") is False
    for bad in ("9" * 5000, "1." * 5000, "x", ""):
        assert parse_version(bad) is None
    for bad in (f">={'9' * 5000}", f"~={'9' * 900}", "nonsense", "," * 5000 + "x"):
        assert allows_version(bad, "3.12.1") in {None, False}
