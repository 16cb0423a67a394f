"""Whatever a lock or Pipfile holds, it is read or refused in words, and a lock that was read pins everything."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from buildpack.app.pipfile import is_marker, parse_pipfile, pipfile_hashes
from buildpack.app.pipfile_lock import parse_lock
from buildpack.errors import AppError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
HASH = st.sampled_from(["sha256:" + "a" * 64, "sha256:" + "a" * 63, "md5:x", "", "sha512:" + "a" * 128])
KEYS = [
    "version",
    "hashes",
    "markers",
    "extras",
    "index",
    "git",
    "ref",
    "path",
    "file",
    "editable",
    "sys_platform",
    "hg",
]
VALUES = JSON | st.lists(HASH) | st.sampled_from(
    ["==1.0", "*", ">=1", "==1.0+x", "os_name == 'nt'", "== 'linux'", "0" * 40, "https://x/y", "./x", "pypi"]
)  # fmt: skip
ENTRY = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6) | JSON


@given(st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,5}", fullmatch=True), ENTRY, max_size=4))
def test_entries_are_pinned_or_refused(default: dict[str, Any]) -> None:
    text = json.dumps({"_meta": {"pipfile-spec": 6}, "default": default})
    try:
        lock = parse_lock(text)
    except AppError:
        return  # any other exception is a mistake of ours
    for package in lock.packages:
        commit = package.git is not None and len(package.ref or "") in (40, 64)
        pinned = (package.version is not None or package.file is not None) and package.hashes
        conditional = package.markers is not None and not package.version and not package.hashes
        assert commit or pinned or package.path or conditional


@given(JSON, JSON)
def test_any_json_is_read_or_refused(document: Any, meta: Any) -> None:
    for value in (document, {"_meta": document}, {"_meta": {"pipfile-spec": 6, "sources": document, "requires": meta}}):
        try:
            parse_lock(json.dumps(value))
        except AppError:
            continue


@given(st.text(alphabet="[]{}=.,'\"# \nab1\t\0ä", max_size=60))
def test_any_pipfile_is_read_or_refused(text: str) -> None:
    try:
        pipfile = parse_pipfile(text)
    except AppError:
        return
    assert len(pipfile_hashes(pipfile)) in (0, 2)
    pipfile.wanted("default")


@given(
    st.lists(
        st.sampled_from(
            ["(", ")", " and ", " or ", "os_name", " == ", " in ", " not in ", "'x'", '"y"', "@", "python_version"]
        ),
        max_size=14,
    ).map("".join)
)
def test_markers_are_judged_as_packaging_judges_them(text: str) -> None:
    from packaging.markers import InvalidMarker, Marker

    try:
        Marker(text)
    except InvalidMarker:
        assert not is_marker(text)
    else:
        assert is_marker(text)
