"""`deploy cache`: shows and frees the disk space that the store uses."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from buildpack.dataclass import dataclass
from deployer.cli import options
from deployer.cli.messages import print_json, print_line, print_warning
from deployer.errors.commands import bad_age, bad_size
from deployer.text import harmless, plural, size_text

if TYPE_CHECKING:
    from buildpack.oci.prune import Item, Pruned
    from buildpack.oci.store import Store

EXAMPLES = """\b
Examples:
  deploy cache info                       show the sizes
  deploy cache prune --keep-storage 2GB   reduce the store to 2 GB
"""

INFO_EXAMPLES = """\b
Examples:
  deploy cache info          for people
  deploy cache info --json   for scripts
"""

PRUNE_EXAMPLES = """\b
Examples:
  deploy cache prune --keep-storage 2GB          reduce the store to 2 GB
  deploy cache prune --older-than 7d --dry-run   show what would be removed
"""

SCHEMA = 1
_FACTS = ("address", "app-files", "built", "resolution", "scan", "sdist", "wheel", "wheel-summary")
"""Facts about apps and packages, which grow with each change. Facts about stacks are few, and are not pruned."""

SHELVES = (
    *("wheels", "bytecode", "stacks", "pythons", "environments", "hook-caches", "logs"),
    *(f"facts/{kind}" for kind in _FACTS),
)
"""Folders of the store whose entries a build can make again."""

SHARED = ("stacks", "pythons", "environments", "hook-caches")
"""Folders of the same kind in the temporary folder, where builds of root keep what strangers' code needs."""

_TITLES = {
    "images": "layers of named images",
    "blobs": "layers of earlier builds",
    "wheels": "packages",
    "bytecode": "compiled packages",
    "stacks": "unpacked interpreters of base images",
    "pythons": "copies of interpreters",
    "environments": "for `deploy local` and hooks",
    "hook-caches": "CACHE_DIR of hooks",
    "facts": "facts about apps and packages",
    "other": "records, locks, unfinished work",
}


@click.group("cache", epilog=EXAMPLES)
def command() -> None:
    """Show and free the disk space that the store uses.

    The store is in $DEPLOY_HOME, else in $XDG_CACHE_HOME/deploy, else in ~/.cache/deploy.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """Things of one kind; `oldest` and `newest` are times of last use, None if there are no things."""

    count: int
    size: int
    oldest: float | None
    newest: float | None


@command.command("info", cls=options.Command, epilog=INFO_EXAMPLES)
@options.as_json
def info(*, as_json: bool) -> int:
    """Show how much disk space the store uses, and for what."""
    from buildpack.oci.prune import measure, measure_folder
    from buildpack.system.unprivileged import shared_folder

    store = _open_store()
    sums = _add_up(measure(store, SHELVES))
    total = sum(each.size for each in sums.values())
    images = store.images()
    shared = shared_folder()
    sums_beside = _add_up(measure_folder(shared, SHARED)) if shared else {}
    beside = sum(each.size for each in sums_beside.values())
    if as_json:
        value = {
            "schema": SCHEMA,
            "store": str(store.root),
            "size": total,
            "images": [{"reference": name, "digest": str(digest)} for name, digest in images.items()],
            "kinds": {kind: _render(each) for kind, each in sums.items()},
        }
        if shared:
            kinds = {kind: _render(each) for kind, each in sums_beside.items() if kind in SHARED}
            value["shared"] = {"folder": str(shared), "size": beside, "kinds": kinds}
        print_json(value)
        return 0
    print(harmless(f"{store.root}: {size_text(total)}, {plural(len(images), 'image')}"))
    _print_sums(sums)
    if beside:
        print(harmless(f"{shared}: {size_text(beside)}, shared by all stores of this user"))
        _print_sums(sums_beside)
    return 0


def _print_sums(sums: Mapping[str, _Sum]) -> None:
    now = time.time()
    for kind, each in sums.items():
        if each.count:
            ages = f"{_age(now, each.oldest)} to {_age(now, each.newest)}"
            print(f"  {kind:<12} {size_text(each.size):>7}  {each.count:>6}  {ages:<16} {_TITLES[kind]}".rstrip())


@command.command("prune", cls=options.Command, epilog=PRUNE_EXAMPLES)
@options.option("--keep-storage", metavar="SIZE", help="Reduce the store to this size: 2GB, 500MB, 2GiB.")
@options.option("--older-than", metavar="AGE", help="Remove what was not used for this long: 7d, 12h, 30m.")
@options.option("--all", "everything", is_flag=True, help="Also remove images and what they need.")
@options.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@options.as_json
def prune(*, keep_storage: str | None, older_than: str | None, everything: bool, dry_run: bool, as_json: bool) -> int:
    """Remove the least recently used content of the store.

    Later builds download or build it again when they need it. Named images stay, unless --all is given. Pruning is
    safe while builds run: what they need stays. Builds of root also keep Pythons and environments in the temporary
    folder; SIZE applies to that folder separately.
    """
    from buildpack.oci.prune import Limits, prune_folder, prune_store
    from buildpack.system.unprivileged import shared_folder
    from deployer.errors.commands import nothing_to_prune

    if keep_storage is None and older_than is None:
        raise nothing_to_prune()
    now = time.time()
    limits = Limits(
        keep=None if keep_storage is None else parse_size(keep_storage, "--keep-storage"),
        cutoff=None if older_than is None else now - parse_age(older_than, "--older-than"),
        images=everything,
    )
    store = _open_store(to_prune=True)
    done = prune_store(store, limits, shelves=SHELVES, now=now, dry_run=dry_run)
    shared = shared_folder()
    beside = prune_folder(shared, limits, shelves=SHARED, dry_run=dry_run) if shared else None
    if as_json:
        value = {
            "schema": SCHEMA,
            "store": str(store.root),
            "dry_run": dry_run,
            **_render_pruned(done),
        }
        if beside:
            value["shared"] = {"folder": str(shared), **_render_pruned(beside)}
        print_json(value)
        return 0
    _print_pruned(done, "", dry_run=dry_run)
    if beside and (beside.dropped or beside.left):
        _print_pruned(beside, f" in {shared}", dry_run=dry_run)
    spared = [*done.spared, *(beside.spared if beside else ())]
    if spared:
        print_line(f"{plural(len(spared), 'item')} stayed, because running builds may need them.")
    if limits.keep is not None and done.left > limits.keep and not everything:
        print_line(f"More than {size_text(limits.keep)} are left, because images need them. --all also removes images.")
    return 0


def _render_pruned(done: Pruned) -> dict[str, Any]:
    return {
        "freed": done.freed,
        "left": done.left,
        "spared": len(done.spared),
        "dropped": {kind: _render(each) for kind, each in _add_up(done.dropped).items() if each.count},
    }


def _print_pruned(done: Pruned, where: str, *, dry_run: bool) -> None:
    print(f"{'Would free' if dry_run else 'Freed'} {size_text(done.freed)}{where}; {size_text(done.left)} left")
    for kind, each in _add_up(done.dropped).items():
        if each.count:
            print(f"  {kind:<12} {size_text(each.size):>7}  {each.count:>6}")


def _open_store(*, to_prune: bool = False) -> Store:
    """Open the store that the environment names; raises MachineError if it cannot be written and `to_prune` is set.

    A build would use a temporary folder instead, but the command is about the named store.
    """
    from buildpack.oci.store import Store
    from buildpack.oci.store_path import locate_store, wanted_place
    from buildpack.session import open_store
    from deployer.errors.commands import store_unwritable

    wanted = wanted_place(os.environ)
    if wanted is not None and locate_store(os.environ) is None:
        if to_prune:
            raise store_unwritable(Path(wanted))
        if os.path.isdir(wanted):
            return Store(Path(wanted))
    return open_store(os.environ, warn=print_warning)


def _add_up(items: Iterable[Item]) -> dict[str, _Sum]:
    groups: dict[str, list[Item]] = {kind: [] for kind in _TITLES}
    for item in items:
        kind = item.kind.partition("/")[0]
        groups[kind if kind in groups else "other"].append(item)
    return {
        kind: _Sum(
            count=len(group),
            size=sum(item.size for item in group),
            oldest=min((item.used for item in group), default=None),
            newest=max((item.used for item in group), default=None),
        )
        for kind, group in groups.items()
    }


def _render(each: _Sum) -> dict[str, Any]:
    return {"count": each.count, "size": each.size, "oldest": each.oldest, "newest": each.newest}


def _age(now: float, then: float | None) -> str:
    """Return the time since `then`, in its largest unit."""
    seconds = max(0.0, now - (then or now))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


_SIZES = {
    "": 1,
    "b": 1,
    **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("kib", "mib", "gib", "tib"), 1)},
}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]*)", re.ASCII)


def parse_size(text: str, option: str) -> int:
    """Read ``2GB``, ``500MB`` (powers of 1000) or ``2GiB`` (of 1024); bytes without a unit. Raises UsageError."""
    match = _AMOUNT.fullmatch(text.strip().lower())
    if match is None or match[2] not in _SIZES:
        raise bad_size(option, text)
    return int(float(match[1]) * _SIZES[match[2]])


def parse_age(text: str, option: str) -> float:
    """Read ``7d``, ``12h``, ``30m``, ``45s`` or ``2w``; in seconds. Raises UsageError."""
    match = _AMOUNT.fullmatch(text.strip().lower())
    if match is None or match[2] not in _AGES:
        raise bad_age(option, text)
    return float(match[1]) * _AGES[match[2]]
