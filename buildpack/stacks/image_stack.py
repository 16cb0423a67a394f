"""What registry and on-disk stacks share: from an image to a stack, its facts looked up as rarely as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from buildpack.bounded import parse_json
from buildpack.dataclass import replace
from buildpack.errors import stacks as errors
from buildpack.errors.previous import refuted
from buildpack.oci.digest import Digest
from buildpack.oci.image import Image, Layer, Platform
from buildpack.oci.store import Store
from buildpack.stacks.facts import FACTS_FORMAT, read_facts
from buildpack.stacks.platforms import platform_of
from buildpack.stacks.stack import Facts, Stack
from buildpack.system.temporary import temporary_folder

_KIND = "stack"
_UNPACKED = "unpacked"
_APP = "dev.deploy.lock"
"""The label of an image that we built, and so has packages of its own."""


def make_stack(
    image: Image,
    *,
    name: str,
    reference: str,
    platform: Platform,
    python: str | None,
    warnings: Sequence[str],
    store: Store,
    known_facts: Callable[[Digest], Any] | None,
    get_layers: Callable[[Sequence[Layer]], None],
    witnesses: Sequence[str],
    expires: float | None = None,
) -> Stack:
    """Make the stack of an image; its layers are asked for (`get_layers`) only where its facts are not known yet.

    Raises StackError where the base cannot be one, AppError where it has another Python than the app asks for.
    """
    config = parse_json(image.config).get("config") or {}
    if _APP in (config.get("Labels") or {}):
        raise errors.app_as_base(name)
    key = f"{image.digest}+{FACTS_FORMAT}"
    facts = Facts.parse(store.recall(_KIND, key))
    claimed = facts is None and known_facts is not None
    if facts is None and known_facts is not None:
        facts = _told(known_facts(image.digest), platform)
    if facts is None:
        claimed = False
        get_layers(image.layers)
        facts = read_facts(unpacked(image.digest, image.layers, store, stack=name), config, stack=name)
        store.remember(_KIND, key, facts.render())
    return Stack(
        name=name,
        reference=reference,
        digest=image.digest,
        platform=platform,
        layers=image.layers,
        config=config,
        facts=facts,
        warnings=(*warnings, *_compare(name, python, facts.python.version, facts.python.series)),
        witnesses=tuple(witnesses),
        expires=expires,
        claimed=claimed,
    )


def _told(known: Any, platform: Platform) -> Facts | None:
    """Read what an earlier image says of the base, unless that is for another machine."""
    facts = Facts.parse(known)
    return facts if facts is not None and platform_of(facts.machine).architecture == platform.architecture else None


def confirm_facts(stack: Stack, root: Path, store: Store) -> None:
    """Hold what an earlier image said of this base against the base, unpacked below `root`; raises Refuted."""
    if Facts.parse(store.recall(_KIND, f"{stack.digest}+{FACTS_FORMAT}")) is not None:
        return
    facts = read_facts(root, stack.config, stack=stack.name)
    if replace(facts, sonames=stack.sonames) != stack.facts:
        raise refuted(stack.name, str(stack.digest))
    store.remember(_KIND, f"{stack.digest}+{FACTS_FORMAT}", facts.render())


def _compare(name: str, asked: str | None, version: str, series: str) -> list[str]:
    if asked is None or asked in (version, series):
        return []
    if ".".join(asked.split(".")[:2]) != series:
        raise errors.wrong_python(name, asked, version)
    return [errors.other_patch_level(asked, version)]


def unpacked(digest: Digest, layers: Sequence[Layer], store: Store, *, stack: str) -> Path:
    """Return the folder that holds the base's interpreter and libraries, unpacked from the store where need be.

    What an earlier build unpacked is held against its digest before it is used again.
    """
    from buildpack.stacks.extract import Tree, apply_layer
    from buildpack.stacks.tree_hash import digest_tree

    place = store.folder("stacks") / digest.hex
    found = store.lease.use(place)
    if found:
        known = store.recall(_UNPACKED, digest.hex)
        if known and known == digest_tree(place):
            return place
    with temporary_folder(store.folder("tmp")) as scratch:
        tree = Tree(scratch, stack)
        for layer in layers:
            with store.open(layer.digest) as blob:
                apply_layer(tree, blob, layer.media_type)
        tree.settle(scratch / "root")
        # First, and the same for every build that unpacks this base: it never tells of another tree than will be there.
        store.remember(_UNPACKED, digest.hex, digest_tree(scratch / "root"))
        with suppress(OSError):
            # Not what another build has put there meanwhile: its interpreter may run from it.
            if found and place.stat().st_ino == found.st_ino:
                place.rename(scratch / "damaged")
        try:
            (scratch / "root").rename(place)
        except OSError:
            # Another build was faster.
            if not place.is_dir():
                raise
    return place
