"""Make valid image names from a CI service's variables, which have owners with capitals and branches with slashes."""

from __future__ import annotations

import re

from buildpack.errors import UsageError
from buildpack.oci.reference import Reference, parse_reference

_REF = re.compile(r"refs/(?:heads|tags|pull)/")
"""The beginning of GitHub's `github.ref`; `github.ref_name` and GitLab's `CI_COMMIT_REF_NAME` lack it."""
_DIGEST = re.compile(r"@sha256:.*")
_PORT = re.compile(r"[^/:]+:\d+")
_LONGEST_TAG = 128


def normalise_reference(text: str) -> str:
    """Return a valid name like `text`: ``ghcr.io/Me/App:feature/x`` becomes ``ghcr.io/me/app:feature-x``.

    A name that is valid is returned as it is. Raises UsageError if no valid name can be made of it.
    """
    try:
        if _names_a_registry(parse_reference(text)):
            return text
    except UsageError:
        if "://" in text:
            # In a registry's address the scheme would count as the name, and the rest as the tag.
            raise
        made = _normalise(text)
        try:
            parse_reference(made)
        except UsageError:
            made = ""
        if not made:
            raise
        return made
    return _normalise(text)


def _names_a_registry(reference: Reference) -> bool:
    """Return False for an owner with capitals, which the grammar reads as a host."""
    registry = reference.registry
    return registry == registry.lower() or any(mark in registry for mark in ".:")


def _normalise(text: str) -> str:
    # Branches may have an @ in their names: `dependabot/npm_and_yarn/@types/node`.
    found = _DIGEST.search(text)
    name, digest = (text[: found.start()], found[0]) if found else (text, "")
    first, slash, rest = name.partition("/")
    is_host = bool(slash) and (("." in first and ":" not in first) or _PORT.fullmatch(first) or first == "localhost")
    host, path = (f"{first}/", rest) if is_host else ("", name)
    repository, colon, tag = path.partition(":")
    components = [_component(part) for part in repository.split("/")]
    return f"{host.lower()}{'/'.join(components)}{colon}{_tag(tag)}{digest}"


def _component(text: str) -> str:
    """Follow the grammar of a repository's part: lower case, single separators inside."""
    made = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    return re.sub(r"(?!__[a-z0-9]|-+[a-z0-9])[._-]{2,}", "-", made.strip("._-"))


def _tag(text: str) -> str:
    made = re.sub(r"[^A-Za-z0-9_.-]+", "-", _REF.sub("", text, count=1))
    return made.lstrip(".-")[:_LONGEST_TAG]
