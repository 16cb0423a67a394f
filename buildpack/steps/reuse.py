"""Parse an earlier image's claims about itself. They are believed as far as they agree with our own plan.

Pure. Anyone who may write to the image's repository may have written these claims. No key is taken from them: they are
compared with the keys of our inputs. No comparison verifies the content of a layer (docs/decisions/0014).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildpack.app.lockfile import LockedPackage
from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass, field, replace
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import ANNOTATION, LAYER_GZIP, Image, Layer, canonical_json, unpack
from buildpack.plan import PlannedLayer, layer_annotations, members_of
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
"""Largest size in bytes of a layer that has no wheels."""
_OTHER_ANNOTATIONS = "its annotations differ (another version of deploy, other pins for a build, or a change by hand)"
_PER_MEMBER = 1 << 20
_GROWTH = 16
"""A layer has the compressed streams of its wheels, and their byte code. It cannot be many times their size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of an image about its stack and its wheels.

    `facts` are those of the base whose manifest has the digest `stack`. `host` is the identity of a stack that was
    gathered from a machine. `bytecode` is the version of the interpreter that compiled, empty without byte code.
    `members` are the wheels by name.
    """

    stack: Digest | None = None
    host: str = ""
    facts: Facts | None = None
    bytecode: str = ""
    members: Mapping[str, WheelFile] = field(default_factory=dict)

    def on(self, stack: Stack) -> Claims:
        """Return the claims that are believed on this stack: all on the same base, and the wheels on a similar one.

        On stacks with the same Python, machine and C library the same locked files are the best ones.
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
        """Return the claims that are still believed if these layers must be written.

        The claims about their wheels are not needed, because those are looked up. The claim about byte code is not
        needed, because compiling is tried.
        """
        gone = {member.name for layer in written for member in layer.members}
        return replace(
            self,
            bytecode=self.bytecode if all(layer.kind == "app" for layer in written) else "",
            members={name: member for name, member in self.members.items() if name not in gone},
        )


NOTHING = Claims()


def parse_claims(image: Image) -> Claims:
    """Read an image's annotations and labels. A value that is absent or of the wrong form claims nothing."""
    stated = stack_of(annotations_of(image))
    digest = _digest(stated.get("digest"))
    facts = Facts.parse(stated) if digest is not None else None
    return Claims(
        stack=digest,
        host=text_of(stated.get("host")),
        facts=facts if facts is not None and _plausible(facts) else None,
        bytecode=text_of(object_of(config_of(image).get("Labels")).get("dev.deploy.bytecode")),
        members={member.name: member for layer in image.layers for member in members_of(layer)},
    )


def annotations_of(image: Image) -> dict[str, Any]:
    """Return the annotations of the manifest. This and the next functions return nothing for a wrong form."""
    return object_of(parsed(image.manifest).get("annotations"))


def stack_of(annotations: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an image's annotations state about its stack."""
    return parsed(text_of(annotations.get(ANNOTATION + "stack")), unpack)


def config_of(image: Image) -> dict[str, Any]:
    """Return the ``config`` object of the image's config."""
    return object_of(parsed(image.config).get("config"))


def parsed(raw: bytes | str, parse: Callable[[Any], Any] = parse_json) -> dict[str, Any]:
    """Return the object that this JSON is."""
    try:
        return object_of(parse(raw))
    except ValueError:
        return {}


def object_of(value: Any) -> dict[str, Any]:
    """Return the value if it is an object."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str:
    """Return the value if it is a text."""
    return value if isinstance(value, str) else ""


def _digest(value: Any) -> Digest | None:
    try:
        return Digest.parse(value)
    except (AttributeError, TypeError, ValueError):
        return None


def _plausible(facts: Facts) -> bool:
    """Return True if the facts have a form that may enter a plan, above all their paths and accounts."""
    python = facts.python
    words = (facts.machine, *facts.sonames)
    accounts = (facts.passwd, facts.group)
    return (
        all(isinstance(text, str) for text in (python.version, python.executable, *words))
        and _VERSION.fullmatch(python.version) is not None
        and _EXECUTABLE.fullmatch(python.executable) is not None
        # The tag names files in layers, and their keys contain the series only.
        and (python.implementation, python.cache_tag) == ("cpython", f"cpython-{python.series.replace('.', '')}")
        and facts.libc[0] in {"glibc", "musl"}
        and len(facts.sonames) <= _MOST_SONAMES
        and all(_WORD.fullmatch(word) for word in words)
        and all(text is None or (isinstance(text, str) and _ACCOUNTS.fullmatch(text)) for text in accounts)
    )


def find_layers(planned: Sequence[PlannedLayer], image: Image) -> dict[str, Layer | str]:
    """Return the layers of the image with keys of our plan, by key.

    A layer whose annotations are not exactly those of our plan is doubted: in its place is the reason.
    """
    digests = Counter(layer.digest for layer in image.layers)
    diff_ids = Counter(layer.diff_id for layer in image.layers)
    keys = Counter(layer.key for layer in image.layers)
    by_key = {layer.key: layer for layer in image.layers if layer.key}
    found: dict[str, Layer | str] = {}
    for wanted in planned:
        offered = by_key.get(wanted.key)
        if offered is None:
            continue
        found[wanted.key] = offered
        if offered.annotations != layer_annotations(wanted):
            found[wanted.key] = _OTHER_ANNOTATIONS
        elif keys[offered.key] > 1 or digests[offered.digest] > 1 or diff_ids[offered.diff_id] > 1:
            found[wanted.key] = "it has the same layer twice, under two keys or one"
        elif offered.media_type != LAYER_GZIP or not 0 < offered.size <= _largest(wanted):
            found[wanted.key] = "its media type or size is none that deploy writes"
    return found


def find_host_layers(image: Image, claims: Claims, identity: str) -> tuple[Layer, ...]:
    """Return the image's two layers of a host stack with this identity; nothing if a detail does not fit."""
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
    """Return the largest size that the layer can have, in bytes."""
    if planned.kind != "dependencies":
        return _MOST[planned.kind]
    return sum(_PER_MEMBER + _GROWTH * member.size for member in planned.members)


def answering(
    package: LockedPackage, claims: Claims, target: Target, settings: BuildSettings = NO_SETTINGS
) -> WheelFile | None:
    """Return the wheel that the image has for a locked package, if the lock and the target allow that very file.

    A wheel that was built with other settings, or with other pins of its build requirements, is not allowed. The claim
    that it is the best of several locked files is believed: see `Claims.on`.
    """
    member = claims.members.get(package.name)
    # Images that an older version built lack the metadata of wheels.
    if member is None or member.about is None or package.path or not _is_allowed(member, package, settings):
        return None
    from buildpack.python.wheel_choice import parse_wheel_name, rank_wheel, same_version

    name = parse_wheel_name(member.filename)
    if (
        name is None
        or name.name != package.name
        or not _FILENAME.fullmatch(member.filename)
        or not _SHA256.fullmatch(member.sha256)
        or member.size <= 0
        or not _LIBRARIES.fullmatch(member.libraries)
        or rank_wheel(name, target) is None
        or not same_version(name.version, package.version or name.version)
    ):
        return None
    return member


def origin_of(package: LockedPackage, archive: LockedFile | None, built_with: str = "") -> str:
    """Return the origin of a package's wheel as the lock names it; `archive` is the source archive of an index."""
    suffix = f"+{built_with}" if built_with else ""
    if package.git:
        return f"git:{package.ref}#{package.subdirectory or ''}{suffix}"
    return (f"sha256:{archive.sha256}" if archive else package.hashes[0]) + suffix


def _is_allowed(member: WheelFile, package: LockedPackage, settings: BuildSettings) -> bool:
    """Return True if the lock has the hash of this file, or of its source archive and the same pins."""
    if not package.git and f"sha256:{member.sha256}" in package.hashes:
        return True
    suffix = f"+{settings.key}" if settings.key else ""
    origins = {f"{sha256}{suffix}" for sha256 in package.hashes}
    if package.git:
        origins = {origin_of(package, None, settings.key)}
    return member.origin in origins and settings.agrees(member.required)
