"""What the caller of a build asks for and brings along."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Literal

from buildpack.dataclass import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What starts processes in an image: files below ``/opt/deploy``, of which ``__main__.py`` is the entry point."""

    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller asks for beyond the folder; None and empty mean the app's settings or the default.

    `no_cache` trusts nothing that an earlier build left, here or in a registry. `categories` of the lock are installed
    beside ``default``; with `strict` what the app is warned of is an error. `build_env` are variables for the
    app's hooks. `epoch` is SOURCE_DATE_EPOCH, in seconds since 1970.

    Layers are taken from the images that `cache_from` names and, with `pushed`, from those that the references mean in
    their registries, where the new one is to go. `whole` tells that all layers are wanted in the store; else those
    that a registry has stay there. `gone` names blobs that a registry turned out to lack. `format` is that of the
    manifest; None means Docker's if a registry that the image goes to is known to take no other, else OCI's.

    `tested` says that the app's tests will run in the image. If this machine can run the image, the packages that only
    tests need are looked up before anything is made.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPython:
    """The interpreter that runs this, the default on the stack ``host``: its version (``3.12``) and its path.

    `machine` is the architecture that it runs on, as in ``uname -m``.
    """

    version: str = f"{sys.version_info[0]}.{sys.version_info[1]}"
    executable: str = sys.executable
    machine: str = field(default_factory=lambda: os.uname().machine)
