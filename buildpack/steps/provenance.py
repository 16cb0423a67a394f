"""Read from an image's manifest and config how it was made: its stack, its packages.

Pure. Anyone can write such an image, so its statements are shown and compared, and nothing is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from buildpack.dataclass import dataclass
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import ANNOTATION, Image, Layer, canonical_json
from buildpack.python.about import NEED
from buildpack.python.files import WheelFile
from buildpack.stacks.packages import parse_packages
from buildpack.stacks.stack import Facts
from buildpack.steps.reuse import NOTHING, annotations_of, config_of, object_of, parse_claims, parsed, stack_of, text_of

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
    packages: tuple[WheelFile, ...]
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
    ours = any(layer.key for layer in image.layers)
    claims = parse_claims(image) if ours else NOTHING
    annotations = annotations_of(image) if ours else {}
    config = config_of(image)
    labels = {name: _short(value) for name, value in object_of(config.get("Labels")).items() if isinstance(value, str)}
    stack_layers = tuple(layer for layer in image.layers if not layer.key) if ours else ()
    members = {name: member for name, member in claims.members.items() if _whole(member)}
    gathered = sha256(canonical_json([str(layer.diff_id) for layer in stack_layers]))
    return Provenance(
        ours=ours,
        stack=claims.stack,
        host=claims.stack == gathered,
        facts=claims.facts,
        python=labels.get("dev.deploy.python", ""),
        bytecode=labels.get("dev.deploy.bytecode", ""),
        lock=labels.get("dev.deploy.lock", ""),
        packages=tuple(members[name] for name in sorted(members)),
        system=parse_packages(text_of(stack_of(annotations).get("packages"))),
        direct=tuple(filter(NEED.fullmatch, text_of(annotations.get(ANNOTATION + "direct")).split())),
        stack_layers=stack_layers,
        created=_short(parsed(image.config).get("created", "")),
        config=config,
        labels=dict(sorted(labels.items())),
    )


def _kind(layer: Layer) -> str:
    return layer.annotations.get(ANNOTATION + "kind", "")


def _whole(member: WheelFile) -> bool:
    named = 0 < len(member.name) < _LONGEST and len(member.version) < _LONGEST and len(member.filename) < _LONGEST
    return named and _SHA256.fullmatch(member.sha256) is not None


def _short(value: Any) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""
