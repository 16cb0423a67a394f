"""Links that are let through stay in the folder, says the kernel."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from buildpack.app.links import leads_out

FOLDERS = ("", "a/", "a/b/")
PLACE = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(["l", "m", "n"])).map("".join)
TARGET = st.lists(st.sampled_from(["..", "..", ".", "a", "b", "l", "m", "n", ""]), min_size=1, max_size=5)


@given(st.dictionaries(PLACE, TARGET.map(lambda parts: "/".join(parts).lstrip("/") or "."), min_size=1, max_size=5))
def test_a_link_that_is_let_through_stays_inside(links: dict[str, str]) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        root = top / "outer" / "root"
        (root / "a/b").mkdir(parents=True)
        for path, target in links.items():
            (root / path).symlink_to(target)
        for path in links:
            if not leads_out(path, links):
                try:
                    resolved = (root / path).resolve(strict=True)
                except (OSError, RuntimeError):
                    continue  # a loop, or nothing there
                assert resolved.is_relative_to(root.resolve())
    finally:
        shutil.rmtree(top)


@given(st.dictionaries(PLACE, TARGET.map("/".join), min_size=1, max_size=5))
def test_any_links_are_decided(links: dict[str, str]) -> None:
    for path in links:
        assert leads_out(path, links) in (True, False)


def test_steps_outside_count_even_where_the_end_is_inside() -> None:
    assert leads_out("x", {"x": "../root/a"})
    assert leads_out("a/x", {"a/x": "../../root/a"})
    assert not leads_out("a/b/x", {"a/b/x": "../../a"})
    assert leads_out("x", {"x": "a/up/../y", "a/up": ".."})
