"""Names of images from what GitHub's and GitLab's variables give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import UsageError
from buildpack.oci.reference import parse_reference
from deployer.ci.names import normalise_reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ghcr.io/me/app:1", "ghcr.io/me/app:1"),
        ("app", "app"),
        ("ghcr.io/me/app:1.0-RC", "ghcr.io/me/app:1.0-RC"),
        ("localhost:5000/me/app", "localhost:5000/me/app"),
        # ${{ github.repository }} and ${{ github.repository_owner }}
        ("ghcr.io/MyOrg/My-App:1", "ghcr.io/myorg/my-app:1"),
        ("GHCR.io/MyOrg/app", "ghcr.io/myorg/app"),
        ("MyOrg/app:1", "myorg/app:1"),
        ("MyOrg/App", "myorg/app"),
        ("ghcr.io/me/.github:1", "ghcr.io/me/github:1"),
        ("ghcr.io/me/a_-b..c___d:1", "ghcr.io/me/a-b-c-d:1"),
        # ${{ github.ref_name }}, ${{ github.ref }}, $CI_COMMIT_REF_NAME
        ("ghcr.io/me/app:feature/login", "ghcr.io/me/app:feature-login"),
        ("ghcr.io/me/app:refs/heads/main", "ghcr.io/me/app:main"),
        ("ghcr.io/me/app:refs/tags/v1.0+build", "ghcr.io/me/app:v1.0-build"),
        ("ghcr.io/me/app:12/merge", "ghcr.io/me/app:12-merge"),
        ("ghcr.io/me/app:-x", "ghcr.io/me/app:x"),
        ("registry.gitlab.com/Group/Sub-Group/app:Fix/#12_ä", "registry.gitlab.com/group/sub-group/app:Fix-12_-"),
        ("127.0.0.1:5000/Me/app:a/b", "127.0.0.1:5000/me/app:a-b"),
        ("app:feature/login", "app:feature-login"),
        ("ghcr.io/me/app:dependabot/npm/@types/node", "ghcr.io/me/app:dependabot-npm-types-node"),
        ("ghcr.io/me/app:" + "x" * 200, "ghcr.io/me/app:" + "x" * 128),
    ],
)
def test_names(text, expected):
    assert normalise_reference(text) == expected
    parse_reference(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://ghcr.io/Me/App:main",
        "ghcr.io/",
        "ghcr.io/me/app:",
        "ghcr.io/me/app@sha256:1",
        "a" * 64,
        "ghcr.io//:1",
    ],
)
def test_what_names_nothing_is_still_an_error(text):
    with pytest.raises(UsageError) as caught:
        normalise_reference(text)
    assert str(caught.value).startswith(repr(text))


@given(st.text(max_size=40))
def test_what_comes_out_is_valid(text):
    try:
        made = normalise_reference(text)
    except UsageError:
        return
    parse_reference(made)
    assert normalise_reference(made) == made
