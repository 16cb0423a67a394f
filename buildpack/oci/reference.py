"""Names of images: ``[registry/]repository[:tag][@digest]``, as Docker writes and reads them.

The grammar is that of github.com/distribution/reference, with Docker's defaults: no registry means
``docker.io``, a single component there means ``library/``, no tag and no digest means ``latest``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from buildpack.dataclass import dataclass, replace
from buildpack.errors import BuildpackError
from buildpack.errors import transfer as errors
from buildpack.oci.digest import Digest
from buildpack.oci.image import Format

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_LONGEST = 255
_HUB = "docker.io"
_DOCKER_ONLY = frozenset({"registry.heroku.com", "docker.pkg.github.com"})
"""Registries that refuse OCI manifests (devcenter.heroku.com, "Container Registry & Runtime")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The name of one image in one registry; `str()` gives the full name, which all tools read the same way.

    At least one of `tag` and `digest` is set. If both are, the digest decides, and the tag is for people.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Registry and repository: ``docker.io/library/python``."""
        return f"{self.registry}/{self.repository}"

    @property
    def selector(self) -> str:
        """The digest, or else the tag: the last part of a manifest's address."""
        return str(self.digest) if self.digest else str(self.tag)

    @property
    def host(self) -> str:
        """The host (and port) of the registry's API; Docker Hub's host is not its name."""
        return "registry-1.docker.io" if self.registry == _HUB else self.registry

    def pinned(self, digest: Digest) -> Reference:
        """Return this reference with `digest`, the tag kept."""
        return replace(self, digest=digest)


def format_for(references: Iterable[Reference]) -> Format:
    """Return the manifest format that the registries of these references accept."""
    return "docker" if any(each.registry in _DOCKER_ONLY for each in references) else "oci"


def parse_reference(text: str) -> Reference:
    """Read a reference as a user writes it; raises UsageError for an invalid one."""
    name, _, digest_text = text.partition("@")
    digest = _parse_digest(text, digest_text) if "@" in text else None
    tag: str | None = None
    before, colon, after = name.rpartition(":")
    if colon and "/" not in after:
        name, tag = before, after
        if not _TAG.fullmatch(tag):
            reason = f"{tag!r} is not a tag: letters, digits, '_', '.' and '-', at most 128"
            raise errors.invalid_reference(text, reason)
    registry, repository = _split_registry(text, name)
    _check_repository(text, repository)
    if registry == _HUB and "/" not in repository:
        repository = f"library/{repository}"
    if len(registry) + 1 + len(repository) > _LONGEST:
        raise errors.invalid_reference(text, f"the name is longer than {_LONGEST} characters")
    if tag is None and digest is None:
        tag = "latest"
    return Reference(registry=registry, repository=repository, tag=tag, digest=digest)


def full_name(text: str) -> str:
    """Return a reference in full: ``app`` is ``docker.io/library/app:latest``; the text itself if it is not one."""
    try:
        return str(parse_reference(text))
    except BuildpackError:
        return text


def _parse_digest(text: str, digest: str) -> Digest:
    try:
        return Digest.parse(digest)
    except ValueError:
        raise errors.invalid_reference(
            text, f"{digest!r} is not a digest: 'sha256:' and 64 hexadecimal digits in lower case"
        ) from None


def _split_registry(text: str, name: str) -> tuple[str, str]:
    """Split a name into registry and repository: a registry has a dot, a colon or capitals, or is localhost."""
    first, slash, rest = name.partition("/")
    if not slash or not (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower()):
        return _HUB, name
    if not _HOST.fullmatch(first):
        raise errors.invalid_reference(text, f"{first!r} is not a registry: a host name, with or without a port")
    return (_HUB if first == "index.docker.io" else first), rest


def _check_repository(text: str, repository: str) -> None:
    if not repository:
        raise errors.invalid_reference(text, "it names no repository")
    if _IDENTIFIER.fullmatch(repository):
        raise errors.invalid_reference(text, "64 hexadecimal digits are an image's ID, which registries do not use")
    for component in repository.split("/"):
        if _COMPONENT.fullmatch(component):
            continue
        if _COMPONENT.fullmatch(component.lower()):
            raise errors.invalid_reference(
                text,
                "repositories are written in lower case",
                suggestion=text.replace(repository, repository.lower(), 1),
            )
        raise errors.invalid_reference(
            text,
            f"{component!r} is not a part of a repository: lower-case letters and digits, "
            "with single '.', '_', '__' or any number of '-' between them",
        )
