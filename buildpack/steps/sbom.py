"""The bill of materials of an image, in CycloneDX 1.6 (ECMA-424): its packages, Python, stack and app.

It follows from the image's manifest and config alone, so any machine can make it for any image of this tool.
One version of deploy makes the same document for an image each time: time and serial number follow from the image.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any

from buildpack.oci.image import Image, Layer, canonical_json
from buildpack.python.about import About, parse_need
from buildpack.python.files import WheelFile
from buildpack.steps.provenance import Provenance, read_provenance

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.contact import OrganizationalEntity
    from cyclonedx.model.license import License
    from packageurl import PackageURL

MEDIA_TYPE = "application/vnd.cyclonedx+json"

_SPACE = uuid.UUID("5d1a3e0c-6a0b-5c52-9d0e-0f6c2f6b7a11")
"""Namespace of serial numbers (RFC 9562, 6.6)."""
_RELEASE = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_EPOCH = "1980-01-01T00:00:00Z"
_ID = re.compile(
    r"0BSD|Apache-2\.0|BSD-[23]-Clause|CC0-1\.0|L?GPL-3\.0-(?:only|or-later)|GPL-2\.0-(?:only|or-later)|HPND|ISC"
    r"|LGPL-2\.1-(?:only|or-later)|MIT|MIT-CMU|MPL-2\.0|PSF-2\.0|Python-2\.0|Unlicense|Zlib|ZPL-2\.1"
)
"""SPDX identifiers that ``License`` often has. The library has all of them, but its list depends on its version."""


def make_sbom(image: Image) -> bytes:
    """Return the bill of materials as JSON, the same bytes for the same image. Images of other tools only have layers.

    Licences, suppliers and dependencies of packages are as their authors state them. An image that an older version
    built says nothing of them.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    known = read_provenance(image)
    root = _component(
        ComponentType.CONTAINER,
        known.labels.get("org.opencontainers.image.title") or "image",
        version=str(image.digest),
        ref="image",
        sha256=image.digest.hex,
    )
    # An image of another tool may name one package twice, in two spellings.
    parts = {str(part.bom_ref): part for part in _parts(image, known)}
    bom = Bom(
        serial_number=uuid.uuid5(_SPACE, str(image.digest)),
        metadata=BomMetaData(
            timestamp=_time(known.created), component=root, tools=ToolRepository(components=[_tool()])
        ),
        components=parts.values(),
    )
    graph = _graph(known, parts)
    for ref, needed in graph.items():
        bom.register_dependency(parts.get(ref, root), [parts[each] for each in needed])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library adds an empty row for each other part, which would say that it depends on nothing.
    document["dependencies"] = [row for row in document["dependencies"] if row["ref"] in graph]
    # The order of keys may change with the library's version.
    return canonical_json(document) + b"\n"


def _graph(known: Provenance, refs: Iterable[str]) -> dict[str, set[str]]:
    """Return by reference what each part depends on. A part whose dependencies are unknown is not in it.

    The app depends on the packages that Pipfile names, on all of them if there is no Pipfile, and on those that no
    package requires. The image depends on the parts that nothing else depends on.
    """
    refs = set(refs)
    purls = {member.name: _ref(member) for member in known.packages}
    graph: dict[str, set[str]] = {}
    for member in known.packages:
        if member.about is not None:
            graph.setdefault(purls[member.name], set()).update(ref for ref, _, _ in _libraries(member))
    for name, required in _requirements(known).items():
        graph[purls[name]].update(purls[each] for each in required)
    packages = set(purls.values())
    direct = {purls[name] for _, name, _ in map(parse_need, known.direct) if name in purls}
    app = (direct or packages) | packages.difference(*graph.values())
    reached: set[str] = set()
    for purl in (*sorted(app), *sorted(packages)):
        if purl not in reached:
            # Of packages that require each other, and that nothing else requires, the first one counts as the app's.
            app.add(purl)
            _reach(purl, graph, reached)
    if "stack" in refs:
        graph["stack"] = {ref for ref in refs if ref.startswith(("pkg:deb/", "python@"))}
    graph.setdefault("app" if "app" in refs else "image", set()).update(app)
    graph.setdefault("image", set()).update(refs.difference(*graph.values()))
    return graph


def _reach(start: str, graph: Mapping[str, Iterable[str]], reached: set[str]) -> None:
    """Add to `reached` all that depends on nothing but what `start` leads to, and `start` itself."""
    waiting = [start]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += graph.get(ref, ())


def _requirements(known: Provenance) -> dict[str, set[str]]:
    """Return by name which installed packages each package requires, also for the extras that it is asked for."""
    stated: dict[str, dict[str, list[tuple[str, tuple[str, ...]]]]] = {}
    for member in known.packages:
        if member.about is not None:
            by_extra = stated[member.name] = {}
            for extra, name, extras in map(parse_need, member.about.requires):
                by_extra.setdefault(extra, []).append((name, extras))
    found: dict[str, set[str]] = {name: set() for name in stated}
    installed = {member.name for member in known.packages}
    waiting = [(name, "") for name in stated]
    waiting += [(name, extra) for _, name, extras in map(parse_need, known.direct) for extra in extras]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = asked = waiting.pop()
        if asked in seen or name not in stated:
            continue
        seen.add(asked)
        for required, extras in stated[name].get(extra, ()):
            waiting += [(required, each) for each in extras]
            if required in installed and required != name:
                found[name].add(required)
    return found


def _tool() -> Component:
    from importlib.metadata import PackageNotFoundError, version

    from cyclonedx.model.component import ComponentType

    try:
        own = version("procdeploy")
    except PackageNotFoundError:  # a source tree that nobody installed
        own = None
    return _component(ComponentType.APPLICATION, "deploy", version=own, ref="tool")


def _parts(image: Image, known: Provenance) -> Iterator[Component]:
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    if known.stack is not None:
        yield _component(
            ComponentType.OPERATING_SYSTEM if known.host else ComponentType.CONTAINER,
            "host" if known.host else "base image",
            version=str(known.stack),
            ref="stack",
            sha256=known.stack.hex,
            properties=_stack_properties(known),
        )
    if known.python:
        yield _component(
            ComponentType.PLATFORM,
            "python",
            version=known.python,
            ref=f"python@{known.python}",
            cpe=f"cpe:2.3:a:python:python:{known.python}:*:*:*:*:*:*:*" if _RELEASE.fullmatch(known.python) else None,
            purl=PackageURL("generic", None, "python", known.python),
        )
    for text, licences in known.system.items():
        package = PackageURL.from_string(text)
        made = _component(ComponentType.LIBRARY, package.name, version=package.version, ref=str(package), purl=package)
        made.licenses = _licences(About(licences=licences))
        yield made
    for member in known.packages:
        yield _package(member)
        for ref, soname, digest in _libraries(member):
            properties = {"dev.deploy.copied-into": _ref(member)}
            yield _component(ComponentType.LIBRARY, soname, ref=ref, sha256=digest, properties=properties)
    for kind, name in (("runtime", "deploy launcher"), ("app", "app")):
        layer = known.layer_of(kind, image)
        if layer is not None:
            yield _component(ComponentType.APPLICATION, name, ref=kind, **_of_layer(layer))
    if not known.ours:
        for number, layer in enumerate(image.layers, 1):
            yield _component(ComponentType.FILE, f"layer {number}", ref=f"layer-{number}", **_of_layer(layer))


def _package(member: WheelFile) -> Component:
    from cyclonedx.model.component import ComponentType

    made = _component(
        ComponentType.LIBRARY,
        member.name,
        version=member.version,
        ref=_ref(member),
        sha256=member.sha256,
        purl=_purl(member),
        properties={"dev.deploy.wheel": member.filename, "dev.deploy.built-from": member.origin},
    )
    if member.about is not None:
        made.licenses = _licences(member.about)
        made.supplier = _supplier(member.about)
    return made


def _purl(member: WheelFile) -> PackageURL:
    from packageurl import PackageURL

    return PackageURL("pypi", None, member.name, member.version)


def _ref(member: WheelFile) -> str:
    return str(_purl(member))


def _libraries(member: WheelFile) -> Iterator[tuple[str, str, str]]:
    """Return reference, soname and SHA-256 of the libraries that were copied into a wheel."""
    for library in member.libraries.split():
        soname, _, digest = library.partition("=sha256:")
        yield f"{_ref(member)}#{soname}", soname, digest


def _licences(about: About) -> Iterable[License]:
    from cyclonedx.model.license import DisjunctiveLicense, LicenseAcknowledgement, LicenseExpression

    declared = LicenseAcknowledgement.DECLARED
    if about.expression:
        return [LicenseExpression(about.expression, acknowledgement=declared)]
    return [
        DisjunctiveLicense(id=name, acknowledgement=declared)
        if _ID.fullmatch(name)
        else DisjunctiveLicense(name=name, acknowledgement=declared)
        for name in about.licences
    ]


def _supplier(about: About) -> OrganizationalEntity | None:
    from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity

    if not about.suppliers:
        return None
    contacts = [OrganizationalContact(name=name or None, email=mail) for name, mail in about.suppliers if mail]
    return OrganizationalEntity(name=", ".join(name or mail for name, mail in about.suppliers), contacts=contacts)


def _stack_properties(known: Provenance) -> dict[str, str]:
    named = {f"dev.deploy.layer.{number}": str(layer.digest) for number, layer in enumerate(known.stack_layers, 1)}
    if known.facts is None:
        return named
    name, *version = known.facts.libc
    return {
        "dev.deploy.libc": f"{name} {'.'.join(map(str, version))}",
        "dev.deploy.machine": known.facts.machine,
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
    """Read RFC 3339; anything else counts as the default time of images."""
    from datetime import datetime

    try:
        found = datetime.fromisoformat(created)
    except ValueError:
        found = datetime.fromisoformat(_EPOCH)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
