"""Read from an image's manifest and config how it was made: its stack, its packages.

Pure. Anyone can write such an image, so its statements are shown and compared, and nothing is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import ANNOTATION, Image, Layer, canonical_json, unpack
from buildpack.plan import Member, members_of
from buildpack.python.about import NEED
from buildpack.stacks.packages import parse_packages
from buildpack.stacks.stack import Facts
from buildpack.steps.reuse import parse_claims

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The origin of an image. A field is empty or None if the image does not state it.

    `ours` is true if this tool built it: a layer has a key. `host` is true if the stack was gathered from a machine:
    then its digest follows from its layers. `facts` are the stack's, `python` is its version, `bytecode` the version of
    the interpreter that compiled, and `lock` the lock's digest. `packages` are in order of their names. `system` maps
    the package URLs of the operating system's packages in a host stack to their licences. `direct` are the packages
    that the app itself asks for, as `NEED` has them. `created` is as in the config, and `config` is its ``config``
    object.
    """

    ours: bool
    stack: Digest | None
    host: bool
    facts: Facts | None
    python: str
    bytecode: str
    lock: str
    packages: tuple[Member, ...]
    system: Mapping[str, tuple[str, ...]]
    direct: tuple[str, ...]
    stack_layers: tuple[Layer, ...]
    created: str
    config: Mapping[str, Any]
    labels: Mapping[str, str]

    def layer_of(self, kind: str, image: Image) -> Layer | None:
        """Return the last layer of this kind."""
        return next((layer for layer in reversed(image.layers) if _kind(layer) == kind), None)


def read_provenance(image: Image) -> Provenance:
    """Read manifest and config. A value of the wrong form counts as absent."""
    claims = parse_claims(image)
    body = _object(_parsed(image.config))
    config = _object(body.get("config"))
    labels = {name: _short(value) for name, value in _object(config.get("Labels")).items() if isinstance(value, str)}
    ours = any(layer.key for layer in image.layers)
    stack_layers = tuple(layer for layer in image.layers if not layer.key) if ours else ()
    members = {member.name: member for layer in image.layers for member in members_of(layer) if _whole(member)}
    annotations = _object(_object(_parsed(image.manifest)).get("annotations")) if ours else {}
    stack = _object(_parsed(_text(annotations.get(ANNOTATION + "stack")), unpack))
    gathered = sha256(canonical_json([str(layer.diff_id) for layer in stack_layers]))
    return Provenance(
        ours=ours,
        stack=claims.stack if ours else None,
        host=ours and claims.stack == gathered,
        facts=claims.facts if ours else None,
        python=labels.get("dev.deploy.python", ""),
        bytecode=labels.get("dev.deploy.bytecode", ""),
        lock=labels.get("dev.deploy.lock", ""),
        packages=tuple(members[name] for name in sorted(members)),
        system=parse_packages(_text(stack.get("packages"))),
        direct=tuple(filter(NEED.fullmatch, _text(annotations.get(ANNOTATION + "direct")).split())),
        stack_layers=stack_layers,
        created=_short(body.get("created", "")),
        config=config,
        labels=dict(sorted(labels.items())),
    )


def _kind(layer: Layer) -> str:
    return layer.annotations.get(ANNOTATION + "kind", "")


def _whole(member: Member) -> bool:
    named = 0 < len(member.name) < _LONGEST and len(member.version) < _LONGEST and len(member.filename) < _LONGEST
    return named and _SHA256.fullmatch(member.sha256) is not None


def _parsed(raw: bytes | str, parse: Callable[[Any], Any] = parse_json) -> Any:
    try:
        return parse(raw)
    except ValueError:
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _short(value: Any) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""
