"""The bill of materials of an image, in CycloneDX 1.6 (ECMA-424): its packages, its Python, its stack, its app.

It follows from the image's manifest and config alone, so any machine can make it of any image that this tool built.
One version of deploy makes the same of one image every time: the time and the serial number follow from the image.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

from buildpack.oci.image import Image, Layer, canonical_json
from buildpack.provenance import Provenance, read_provenance

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

__all__ = ["MEDIA_TYPE", "make_sbom"]

MEDIA_TYPE = "application/vnd.cyclonedx+json"

_SPACE = uuid.UUID("5d1a3e0c-6a0b-5c52-9d0e-0f6c2f6b7a11")
"""Namespace of serial numbers (RFC 9562, 6.6)."""
_RELEASE = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_EPOCH = "1980-01-01T00:00:00Z"


def make_sbom(image: Image) -> bytes:
    """Return the bill of materials as JSON, the same bytes for the same image; an image of others has but its layers.

    Licences are not in it: they stand in the wheels, which need not be here.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    told = read_provenance(image)
    root = _component(
        ComponentType.CONTAINER,
        told.labels.get("org.opencontainers.image.title") or "image",
        version=str(image.digest),
        ref="image",
        sha256=image.digest.hex,
    )
    # An image of others may name one package twice, in two spellings.
    parts = list({str(part.bom_ref): part for part in _parts(image, told)}.values())
    bom = Bom(
        serial_number=uuid.uuid5(_SPACE, str(image.digest)),
        metadata=BomMetaData(timestamp=_time(told.created), component=root, tools=ToolRepository(components=[_tool()])),
        components=parts,
    )
    bom.register_dependency(root, parts)
    # The library's order of keys is its own affair, and may change with its version.
    return canonical_json(json.loads(JsonV1Dot6(bom).output_as_string())) + b"\n"


def _tool() -> Component:
    from importlib.metadata import PackageNotFoundError, version

    from cyclonedx.model.component import ComponentType

    try:
        own = version("deploy")
    except PackageNotFoundError:  # a source tree that nobody installed
        own = None
    return _component(ComponentType.APPLICATION, "deploy", version=own, ref="tool")


def _parts(image: Image, told: Provenance) -> Iterator[Component]:
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    if told.stack is not None:
        yield _component(
            ComponentType.OPERATING_SYSTEM if told.host else ComponentType.CONTAINER,
            "host" if told.host else "base image",
            version=str(told.stack),
            ref="stack",
            sha256=told.stack.hex,
            properties=_stack_properties(told),
        )
    if told.python:
        yield _component(
            ComponentType.PLATFORM,
            "python",
            version=told.python,
            ref=f"python@{told.python}",
            cpe=f"cpe:2.3:a:python:python:{told.python}:*:*:*:*:*:*:*" if _RELEASE.fullmatch(told.python) else None,
            purl=PackageURL("generic", None, "python", told.python),
        )
    for text in told.system:
        package = PackageURL.from_string(text)
        yield _component(ComponentType.LIBRARY, package.name, version=package.version, ref=str(package), purl=package)
    for member in told.packages:
        purl = PackageURL("pypi", None, member.name, member.version)
        properties = {"dev.deploy.wheel": member.filename, "dev.deploy.built-from": member.origin}
        yield _component(
            ComponentType.LIBRARY,
            member.name,
            version=member.version,
            ref=str(purl),
            sha256=member.sha256,
            purl=purl,
            properties=properties,
        )
        for library in member.libraries.split():
            soname, _, digest = library.partition("=sha256:")
            yield _component(
                ComponentType.LIBRARY,
                soname,
                ref=f"{purl}#{soname}",
                sha256=digest,
                properties={"dev.deploy.copied-into": str(purl)},
            )
    for kind, name in (("runtime", "deploy launcher"), ("app", "app")):
        layer = told.layer_of(kind, image)
        if layer is not None:
            yield _component(ComponentType.APPLICATION, name, ref=kind, **_of_layer(layer))
    if not told.ours:
        for number, layer in enumerate(image.layers, 1):
            yield _component(ComponentType.FILE, f"layer {number}", ref=f"layer-{number}", **_of_layer(layer))


def _stack_properties(told: Provenance) -> dict[str, str]:
    named = {f"dev.deploy.layer.{number}": str(layer.digest) for number, layer in enumerate(told.stack_layers, 1)}
    if told.facts is None:
        return named
    name, *version = told.facts.libc
    return {
        "dev.deploy.libc": f"{name} {'.'.join(map(str, version))}",
        "dev.deploy.machine": told.facts.machine,
        **named,
    }


def _of_layer(layer: Layer) -> dict[str, Any]:
    return {"sha256": layer.diff_id.hex, "properties": {"dev.deploy.layer": str(layer.digest)}}


def _component(
    kind: Any,
    name: str,
    *,
    ref: str,
    version: str | None = None,
    sha256: str = "",
    purl: Any = None,
    cpe: str | None = None,
    properties: dict[str, str] | None = None,
) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component

    return Component(
        type=kind,
        name=name,
        version=version,
        bom_ref=ref,
        purl=purl,
        cpe=cpe,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else (),
        properties=[Property(name=key, value=value) for key, value in (properties or {}).items() if value],
    )


def _time(created: str) -> Any:
    """Read RFC 3339; what is nonsense is the time that this tool gives by default."""
    from datetime import datetime

    try:
        found = datetime.fromisoformat(created)
    except ValueError:
        found = datetime.fromisoformat(_EPOCH)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
