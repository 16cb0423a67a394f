from __future__ import annotations

import pytest

from buildpack.errors import UsageError
from buildpack.oci.digest import Digest
from buildpack.oci.reference import parse_reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/library/python", "docker.io/library/python:latest"),
        ("someone/app:1", "docker.io/someone/app:1"),
        ("quay.io/team/app", "quay.io/team/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("Registry/app", "Registry/app:latest"),
        ("[::1]:5000/a/b__c-d.e", "[::1]:5000/a/b__c-d.e:latest"),
        (f"python@sha256:{HEX}", f"docker.io/library/python@sha256:{HEX}"),
        (f"python:3.12@sha256:{HEX}", f"docker.io/library/python:3.12@sha256:{HEX}"),
    ],
)
def test_a_reference_has_a_full_name(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full
    assert str(parse_reference(full)) == full


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("python", "registry-1.docker.io"),
        ("quay.io/app", "quay.io"),
        ("localhost/app", "localhost"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000"),
        ("[::1]:80/app", "[::1]:80"),
    ],
)
def test_a_reference_has_a_host(text: str, host: str) -> None:
    assert parse_reference(text).host == host


def test_the_digest_decides() -> None:
    reference = parse_reference(f"python:3.12@sha256:{HEX}")
    assert reference.selector == f"sha256:{HEX}"
    assert parse_reference("python:3.12").selector == "3.12"
    assert parse_reference("python:3.12").pinned(Digest(HEX)) == reference


FORM = "hint: write it as [REGISTRY/]NAME[:TAG][@sha256:DIGEST], like 'python:3.12-slim'."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "quay.io/Team/App:1",
            (
                "'quay.io/Team/App:1' is not an image reference\n\nRepositories are written in lower case.\n\n"
                "hint: write 'quay.io/team/app:1'."
            ),
        ),
        (
            "app:one two",
            (
                "'app:one two' is not an image reference\n\n'one two' is not a tag: letters, digits, '_', '.' and '-', "
                f"at most 128.\n\n{FORM}"
            ),
        ),
        ("", f"'' is not an image reference\n\nIt names no repository.\n\n{FORM}"),
        (
            "a//b",
            (
                "'a//b' is not an image reference\n\n'' is not a part of a repository: lower-case letters and digits, "
                f"with single '.', '_', '__' or any number of '-' between them.\n\n{FORM}"
            ),
        ),
        (
            HEX,
            (
                f"'{HEX}' is not an image reference\n\n"
                f"64 hexadecimal digits are an image's ID, which registries do not use.\n\n{FORM}"
            ),
        ),
        (
            "app@sha512:00",
            (
                "'app@sha512:00' is not an image reference\n\n'sha512:00' is not a digest: 'sha256:' and 64 "
                f"hexadecimal digits in lower case.\n\n{FORM}"
            ),
        ),
        (
            "-bad.example/app",
            (
                "'-bad.example/app' is not an image reference\n\n'-bad.example' is not a registry: a host name, with "
                f"or without a port.\n\n{FORM}"
            ),
        ),
        (
            "a" * 250,
            f"'{'a' * 250}' is not an image reference\n\nThe name is longer than 255 characters.\n\n{FORM}",
        ),
    ],
)
def test_mistakes_are_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2
