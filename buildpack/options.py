"""The options of a build, the launcher of its image, and the interpreter that runs the build."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from buildpack.dataclass import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """The program that starts processes in an image: files below ``/opt/deploy``; ``__main__.py`` is run."""

    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A place to deliver an image to: an engine, the registries of its references, an OCI layout, or an archive.

    `path` is the layout's folder or the archive's file.
    """

    kind: Literal["docker", "registry", "oci", "archive"]
    path: Path | None = None

    def __str__(self) -> str:
        """Return it as `--to` takes it."""
        return self.kind if self.path is None else f"{self.kind}:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a build. None and empty mean the app's settings or the default.

    `references` name the image; the default is ``NAME:latest``. `stack` and `platform` replace those of the app's
    settings. `pull` looks the stack's tag up again. `no_cache` trusts nothing that an earlier build left, here or in a
    registry. `categories` of the lock are installed beside ``default``. With `strict` a warning about the app is an
    error. `build_env` are variables for the app's hooks. `epoch` is SOURCE_DATE_EPOCH, in seconds since 1970.

    `cache_from` names images in registries whose layers the build may take. With `pushed`, which says that the image
    will be pushed, it may take layers of the images that have the references in their registries. With `whole` the
    store gets every layer; without it, layers that a registry has stay there. `gone` are digests of blobs that a
    registry turned out to lack. `format` is the format of the manifest. None means Docker's if the image goes to a
    registry that is known to take no other, else OCI's.

    With `tested` the app's tests will run in the image. If this machine can run it, the build looks up the packages
    that only tests need before it makes anything. `launcher` starts the processes; None means the runner that is
    installed beside this library, which is the one of `deploy`.
    """

    references: tuple[str, ...] = ()
    stack: str | None = None
    platform: str | None = None
    no_cache: bool = False
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    build_env: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    categories: tuple[str, ...] = ()
    strict: bool = False
    cache_from: tuple[str, ...] = ()
    pushed: bool = False
    whole: bool = True
    gone: frozenset[str] = frozenset()
    format: Literal["oci", "docker"] | None = None
    tested: bool = False
    launcher: Launcher | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPython:
    """The interpreter that runs this code: its version (``3.12``), its path, and the machine as ``uname -m`` has it.

    It is the default on the stack ``host``.
    """

    version: str = f"{sys.version_info[0]}.{sys.version_info[1]}"
    executable: str = sys.executable
    machine: str = field(default_factory=lambda: os.uname().machine)
