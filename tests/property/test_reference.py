"""A reference's full name reads back as the same reference; nothing else comes out of parsing but a UsageError."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import UsageError
from buildpack.oci.reference import parse_reference

component = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-+)[a-z0-9]{1,5}){0,2}", fullmatch=True)
host = st.sampled_from(["", "localhost/", "localhost:5000/", "quay.io/", "[::1]:80/", "Host/"])
tag = st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
digest = st.one_of(st.just(""), st.from_regex(r"@sha256:[0-9a-f]{64}", fullmatch=True))


@given(host, st.lists(component, min_size=1, max_size=4).map("/".join), tag, digest)
def test_full_names_are_stable(host: str, repository: str, tag: str, digest: str) -> None:
    with suppress(UsageError):  # 64 hexadecimal digits may come up
        reference = parse_reference(host + repository + tag + digest)
        assert parse_reference(str(reference)) == reference
        assert bool(reference.tag or reference.digest)


@given(st.text(max_size=100))
def test_any_text(text: str) -> None:
    with suppress(UsageError):
        assert parse_reference(str(parse_reference(text))) == parse_reference(text)
