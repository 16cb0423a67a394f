"""Errors of images: their names, their copies on disk, and their way to an engine.

`origin` is the source of an image as the user wrote it: a reference, ``oci:DIR`` or ``archive:FILE``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from buildpack.errors import EngineError, MachineError, StackError, UsageError, sentence

REFUSED = "it refused the connection"
UNKNOWN_NAME = "its name does not resolve"


def why_unanswered(failure: BaseException, otherwise: str) -> str:
    """Return why an index, a registry or an engine did not answer; `otherwise` if the failure is not a usual one.

    The system's error may be the cause of a library's.
    """
    import socket

    error: BaseException | None = failure
    while error is not None:
        if isinstance(error, TimeoutError):
            return "it did not answer in time"
        if isinstance(error, socket.gaierror):
            return UNKNOWN_NAME
        if isinstance(error, ConnectionRefusedError):
            return REFUSED
        if isinstance(error, FileNotFoundError):
            return "there is no socket at this path"
        if isinstance(error, ConnectionError):
            return "it cut the connection"
        error = error.__cause__ or error.__context__
    return otherwise


def invalid_reference(text: str, reason: str, *, suggestion: str = "") -> UsageError:
    hint = (
        f"write {suggestion!r}."
        if suggestion
        else "write it as [REGISTRY/]NAME[:TAG][@sha256:DIGEST], like 'python:3.12-slim'."
    )
    return UsageError(f"{text!r} is not an image reference", why=f"{sentence(reason)}.", hint=hint)


# Manifests and blobs from any source


def manifest_too_large(origin: str, limit: int) -> StackError:
    return StackError(
        f"{origin} cannot be used",
        why=f"Its manifest or config is larger than {limit} bytes.",
        hint="use another image.",
    )


def blob_damaged(origin: str, wanted: str, reason: str) -> StackError:
    return StackError(
        f"{origin} arrived damaged",
        why=f"Blob {wanted}: {reason}.",
        hint="try again; if it happens again, the image or the connection is damaged.",
    )


def damaged_manifest(origin: str, reason: str) -> StackError:
    return StackError(
        f"{origin} is not an image that can be read",
        why=f"Its manifest breaks the OCI image specification: {reason}.",
        hint="use another image, or make this one again.",
    )


def unknown_manifest(origin: str, media_type: str) -> StackError:
    return StackError(
        f"{origin} is not a container image",
        why=f"That name means a document of the media type {media_type}.",
        hint="use an image in the OCI format or in Docker's (schema 2).",
    )


def not_a_container_image(origin: str, media_type: str) -> StackError:
    return StackError(
        f"{origin} is not a container image",
        why=f"It is an artifact whose config has the media type {media_type}.",
        hint="name an image with Python in it, like 'python:3.12-slim'.",
    )


def schema1_refused(origin: str) -> StackError:
    return StackError(
        f"{origin} is in a format that is no longer in use",
        why="Its manifest is Docker's schema 1, given up in 2017; its layers cannot be verified.",
        hint="use a newer tag, or pull and push the image again with a current Docker.",
    )


def unknown_layer_type(origin: str, number: int, media_type: str) -> StackError:
    return StackError(
        f"{origin} cannot be used",
        why=f"Layer {number} has the media type {media_type}, which is not a tar, plain or compressed with gzip or "
        "zstd.",
        hint="use another image.",
    )


def no_such_platform(origin: str, platform: str, available: Sequence[str]) -> StackError:
    return StackError(
        f"{origin} has no image for {platform}",
        why=f"It has one for: {', '.join(available)}." if available else "It lists no platform at all.",
        hint="choose one with `--platform`, or another stack.",
    )


# Images on disk


def not_an_image(origin: str, reason: str) -> StackError:
    return StackError(
        f"{origin} is not an image",
        why=f"{sentence(reason)}.",
        hint="name an OCI layout (`oci:DIR`), or what `docker save`, `podman save` or `skopeo copy` wrote "
        "(`archive:FILE`).",
    )


def not_an_archive(origin: str, reason: str) -> StackError:
    return StackError(
        f"{origin} is not an image",
        why=f"The file cannot be read as a tar archive: {reason}.",
        hint="name what `docker save`, `podman save` or `skopeo copy` wrote.",
    )


class ArchiveDamaged(StackError):
    """An archive that contradicts itself."""


def archive_damaged(origin: str, reason: str) -> ArchiveDamaged:
    return ArchiveDamaged(f"{origin} is damaged", why=f"{sentence(reason)}.", hint="write it again.")


def zstd_archive(origin: str) -> StackError:
    return StackError(
        f"{origin} cannot be read",
        why="The archive as a whole is compressed with zstd, which Python has no reader for.",
        hint="decompress it with `zstd -d`, and name the result.",
    )


def blob_missing(origin: str, digest: str) -> StackError:
    return StackError(
        f"{origin} is incomplete",
        why=f"Its manifest names the blob {digest}, which is missing.",
        hint="write it again.",
    )


def ambiguous_image(origin: str, names: Sequence[str]) -> StackError:
    return StackError(
        f"{origin} holds several images",
        why="They are: " + ", ".join(names) + ".",
        hint=f"add the name of one: `{origin}:NAME`.",
    )


def image_not_listed(origin: str, wanted: str, names: Sequence[str]) -> StackError:
    return StackError(
        f"{origin} has no image {wanted}",
        why=f"It has: {', '.join(names)}." if names else "Its images have no names.",
        hint="name one of these." if names else "leave the name out.",
    )


def image_unreadable(origin: str, reason: str) -> StackError:
    return StackError(
        f"{origin} cannot be read", why=f"{sentence(reason)}.", hint="check the path and its permissions."
    )


def folder_taken(folder: str) -> UsageError:
    return UsageError(
        f"{folder} is neither empty nor an OCI layout",
        why="An image would be mixed with the files there.",
        hint="name a new folder, an empty one, or an OCI layout to add to.",
    )


def cannot_write(path: str, reason: str) -> MachineError:
    return MachineError(
        f"{path} cannot be written",
        why=f"{sentence(reason)}.",
        hint="use a shorter name."
        if reason == os.strerror(errno.ENAMETOOLONG)
        else "make the folder first, or name another place."
        if reason == os.strerror(errno.ENOENT)
        else "check the folder's permissions and the space that is left, or name another place.",
    )


# Engines


def engine_missing(tried: Sequence[str]) -> EngineError:
    return EngineError(
        "no container engine was found",
        why="Looked for: " + ", ".join(tried) + ".",
        hint="start Docker or Podman (`systemctl --user start podman.socket`), or set DOCKER_HOST; "
        "`--to archive:FILE` needs no engine.",
    )


def engine_unreachable(host: str, reason: str) -> EngineError:
    return EngineError(
        f"the container engine at {host} is not running",
        why=f"{sentence(reason)}.",
        hint="start it, or set DOCKER_HOST to another one; `--to archive:FILE` needs no engine.",
    )


def engine_slow(host: str, reason: str) -> EngineError:
    return EngineError(
        f"the container engine at {host} does not finish its answer",
        why=f"The transfer was stopped: {reason}.",
        hint="see the engine's own log, and restart it; `--to archive:FILE` needs no engine.",
    )


def engine_denied(host: str) -> EngineError:
    return EngineError(
        f"the container engine at {host} does not let you in",
        why="This user has no permission to open its socket.",
        hint="join the group that may (`sudo usermod -aG docker $USER`, then log in again), or use rootless "
        "Docker or Podman; `--to archive:FILE` needs no engine.",
    )


def engine_speaks_ssh(host: str) -> EngineError:
    return EngineError(
        f"the container engine at {host} is reached over ssh, which is not supported",
        why="Images are loaded over a unix socket, tcp, or tcp with TLS.",
        hint="forward its socket, `ssh -N -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set "
        "DOCKER_HOST=unix:///tmp/docker.sock.",
    )


def engine_unreadable_host(host: str, source: str) -> EngineError:
    return EngineError(
        f"{source} does not name a container engine",
        why=f"It says {host!r}; unix:///PATH and tcp://HOST:PORT are understood.",
        hint=f"correct {source}, or unset it to use the default engine.",
    )


def engine_unknown_context(name: str, source: str, names: Sequence[str]) -> EngineError:
    return EngineError(
        f"there is no Docker context {name!r}",
        why=f"{source} names it; there are: {', '.join(names)}.",
        hint="choose one with `docker context use`, or unset DOCKER_CONTEXT.",
    )


def engine_tls(host: str, reason: str) -> EngineError:
    return EngineError(
        f"the container engine at {host} cannot be trusted",
        why=f"TLS failed: {reason}.",
        hint="check ca.pem, cert.pem and key.pem in DOCKER_CERT_PATH.",
    )


def engine_disk_full(host: str, message: str) -> EngineError:
    return EngineError(
        f"the disk of the container engine at {host} is full",
        why=f"It said: {message}",
        hint="make room with `docker system prune`, and build again: what is built already is kept.",
    )


def engine_refused(host: str, message: str) -> EngineError:
    return EngineError(
        f"the container engine at {host} refused the image",
        why=f"It said: {message}",
        hint="see the engine's own log; `--to archive:FILE` keeps the image for a closer look.",
    )
