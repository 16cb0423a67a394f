"""What an earlier image says of itself, and how far that is believed: as far as it agrees with our own plan.

Pure. Whoever may write to the image's repository wrote all of this. Keys are never taken from it, they are compared
with those that follow from our inputs; what no comparison can tell is what a layer holds (docs/decisions/0014).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildpack.app.lockfile import LockedPackage
from buildpack.bounded import parse_json, parse_version
from buildpack.dataclass import dataclass, field, replace
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import ANNOTATION, LAYER_GZIP, Image, Layer, canonical_json, unpack
from buildpack.plan import Member, PlannedLayer, layer_annotations, members_of
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings
from buildpack.stacks.stack import Facts, Stack

if TYPE_CHECKING:
    from buildpack.python.files import LockedFile, WheelFile
    from buildpack.python.target import Target

_FILENAME = re.compile(r"[A-Za-z0-9][\w.!+-]{0,250}\.whl", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"3\.\d{1,2}\.\d{1,3}(?:(?:a|b|rc)\d{1,2})?", re.ASCII)
_EXECUTABLE = re.compile(r"(?:/(?!\.\.?(?:/|$))[\w.+-]{1,64}){1,16}", re.ASCII)
_LIBRARIES = re.compile(r"(?:[\w.+-]{1,128}=sha256:[0-9a-f]{64} ?){0,64}", re.ASCII)
_WORD = re.compile(r"[\w.+-]{1,128}", re.ASCII)
_ACCOUNTS = re.compile(r"[\x20-\x7e\n]{0,65536}")
_MOST_SONAMES = 20_000

_MOST = {"host": 1 << 30, "runtime": 32 << 20, "app": 16 << 30}
"""Bytes of a layer whose size follows from no wheel."""
_OTHER_WORDS = "its annotations differ (another version of deploy, other pins for a build, or a change by hand)"
_PER_MEMBER = 1 << 20
_GROWTH = 16
"""A layer has its wheels' compressed streams and their byte code: many times their size it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What an image says of its stack and its wheels.

    `facts` are those of the base whose manifest has the digest `stack`; with a `host` the stack was gathered from a
    machine, and that is its identity. `bytecode` is the version of the interpreter that compiled, empty for none;
    `members` are its wheels by name.
    """

    stack: Digest | None = None
    host: str = ""
    facts: Facts | None = None
    bytecode: str = ""
    members: Mapping[str, Member] = field(default_factory=dict)

    def on(self, stack: Stack) -> Claims:
        """Return what is believed on this stack: all of it on the same base, and the choice of wheels on one like it.

        The same locked files are the best ones on every stack with the same Python, machine and C library.
        """
        facts = self.facts
        if facts is None or (facts.python.version, facts.machine, facts.libc) != (
            stack.python.version,
            stack.machine,
            stack.facts.libc,
        ):
            return NOTHING
        return self if self.stack == stack.digest else replace(self, bytecode="")

    def without(self, written: Sequence[PlannedLayer]) -> Claims:
        """Return what is left to be believed where these layers have to be written.

        Their wheels are fetched, and found where every wheel is; and whether byte code can be compiled here is tried.
        """
        gone = {member.name for layer in written for member in layer.members}
        return replace(
            self,
            bytecode=self.bytecode if all(layer.kind == "app" for layer in written) else "",
            members={name: member for name, member in self.members.items() if name not in gone},
        )


NOTHING = Claims()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An earlier image's layers that fit a plan, and why others that claim to are not taken; both by key."""

    layers: Mapping[str, Layer]
    doubts: Mapping[str, str]


def parse_claims(image: Image) -> Claims:
    """Read an image's annotations and labels; what is absent or nonsense claims nothing."""
    stack, host, facts = _parse_stack(image.manifest)
    return Claims(
        stack=stack,
        host=host,
        facts=facts,
        bytecode=_label(image.config, "dev.deploy.bytecode"),
        members={member.name: member for layer in image.layers for member in members_of(layer)},
    )


def _parse_stack(manifest: bytes) -> tuple[Digest | None, str, Facts | None]:
    try:
        told = unpack(parse_json(manifest)["annotations"][ANNOTATION + "stack"])
        digest, host = Digest.parse(told["digest"]), str(told.get("host", ""))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None, "", None
    facts = Facts.parse(told)
    return digest, host, facts if facts is not None and _plausible(facts) else None


def _plausible(facts: Facts) -> bool:
    """Tell whether facts are of a form that may enter a plan, paths and accounts above all."""
    python = facts.python
    words = (facts.machine, *facts.sonames)
    accounts = (facts.passwd, facts.group)
    return (
        all(isinstance(text, str) for text in (python.version, python.executable, *words))
        and _VERSION.fullmatch(python.version) is not None
        and _EXECUTABLE.fullmatch(python.executable) is not None
        # It names files in layers whose keys say the series and no more.
        and (python.implementation, python.cache_tag) == ("cpython", f"cpython-{python.series.replace('.', '')}")
        and facts.libc[0] in {"glibc", "musl"}
        and len(facts.sonames) <= _MOST_SONAMES
        and all(_WORD.fullmatch(word) for word in words)
        and all(text is None or (isinstance(text, str) and _ACCOUNTS.fullmatch(text)) for text in accounts)
    )


def _label(config: bytes, name: str) -> str:
    try:
        labels: Any = parse_json(config)["config"]["Labels"]
        return str(labels.get(name, ""))
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def find_layers(planned: Sequence[PlannedLayer], image: Image) -> Found:
    """Return those layers of the image that say, in every word, what our plan says of a layer."""
    digests = Counter(layer.digest for layer in image.layers)
    diff_ids = Counter(layer.diff_id for layer in image.layers)
    keys = Counter(layer.key for layer in image.layers)
    by_key = {layer.key: layer for layer in image.layers if layer.key}
    layers: dict[str, Layer] = {}
    doubts: dict[str, str] = {}
    for wanted in planned:
        offered = by_key.get(wanted.key)
        if offered is None:
            continue
        if offered.annotations != layer_annotations(wanted):
            doubts[wanted.key] = _OTHER_WORDS
        elif keys[offered.key] > 1 or digests[offered.digest] > 1 or diff_ids[offered.diff_id] > 1:
            doubts[wanted.key] = "it has the same layer twice, under two keys or one"
        elif offered.media_type != LAYER_GZIP or not 0 < offered.size <= _largest(wanted):
            doubts[wanted.key] = "its media type or size is none that deploy writes"
        else:
            layers[wanted.key] = offered
    return Found(layers=layers, doubts=doubts)


def find_host_layers(image: Image, claims: Claims, identity: str) -> tuple[Layer, ...]:
    """Return the image's layers of a host stack with this identity, which has two; none where anything is amiss."""
    layers = tuple(layer for layer in image.layers if not layer.annotations)
    fitting = (
        claims.host == identity
        and len({layer.digest for layer in layers}) == len({layer.diff_id for layer in layers}) == 2
        and layers == image.layers[:2]
        and all(layer.media_type == LAYER_GZIP and 0 < layer.size <= _MOST["host"] for layer in layers)
        and claims.stack == sha256(canonical_json([str(layer.diff_id) for layer in layers]))
    )
    return layers if fitting else ()


def _largest(planned: PlannedLayer) -> int:
    """Return how many bytes the layer can have at most."""
    if planned.kind != "dependencies":
        return _MOST[planned.kind]
    return sum(_PER_MEMBER + _GROWTH * member.size for member in planned.members)


def answering(
    package: LockedPackage, claims: Claims, target: Target, settings: BuildSettings = NO_SETTINGS
) -> WheelFile | None:
    """Return the wheel that the image has for a locked package, if the lock and the target allow that very file.

    A wheel that was built with other settings, or with other pins of what its build required, does not answer.

    That it is the best of several that are locked is believed: see `Claims.on`.
    """
    member = claims.members.get(package.name)
    # An image of an older version does not have the facts that this one puts into the manifest.
    if member is None or member.about is None or package.path or not _is_allowed(member, package, settings):
        return None
    from buildpack.python.files import WheelFile
    from buildpack.python.wheel_choice import parse_wheel_name, rank_wheel

    name = parse_wheel_name(member.filename)
    if (
        name is None
        or name.name != package.name
        or not _FILENAME.fullmatch(member.filename)
        or not _SHA256.fullmatch(member.sha256)
        or member.size <= 0
        or not _LIBRARIES.fullmatch(member.libraries)
        or rank_wheel(name, target) is None
        or not _is_of(name.version, package)
    ):
        return None
    return WheelFile(
        name=member.name,
        version=member.version,
        filename=member.filename,
        url="",
        sha256=member.sha256,
        size=member.size,
        source="",
        origin=member.origin,
        required=member.required,
        libraries=member.libraries,
    )


def origin_of(package: LockedPackage, archive: LockedFile | None, built_with: str = "") -> str:
    """Return what a package's wheel was built from, as the lock names it; `archive` is the one an index had."""
    suffix = f"+{built_with}" if built_with else ""
    if package.git:
        return f"git:{package.ref}#{package.subdirectory or ''}{suffix}"
    return (f"sha256:{archive.sha256}" if archive else package.hashes[0]) + suffix


def _is_allowed(member: Member, package: LockedPackage, settings: BuildSettings) -> bool:
    """Tell whether the lock has this file's hash, or that of what it was built from with the pins of today."""
    if not package.git and f"sha256:{member.sha256}" in package.hashes:
        return True
    suffix = f"+{settings.key}" if settings.key else ""
    origins = {f"{sha256}{suffix}" for sha256 in package.hashes}
    if package.git:
        origins = {origin_of(package, None, settings.key)}
    return member.origin in origins and settings.agrees(member.required)


def _is_of(version: str, package: LockedPackage) -> bool:
    if not package.version or version == package.version:
        return True
    parsed = parse_version(version)
    return parsed is not None and parsed == parse_version(package.version)
