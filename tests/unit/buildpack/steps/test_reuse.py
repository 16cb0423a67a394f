"""Claims of an earlier image, compared with a lock, a target and a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from buildpack.app.lockfile import LockedPackage
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import LAYER_TAR, Image, Layer, Platform, assemble, canonical_json
from buildpack.plan import PlannedLayer, layer_annotations
from buildpack.python.about import About
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings
from buildpack.python.files import WheelFile
from buildpack.python.target import Target
from buildpack.steps.reuse import NOTHING, Claims, answering, find_host_layers, find_layers, parse_claims

TARGET = Target(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))
FACTS: dict[str, Any] = {
    "python": {
        "version": "3.11.7",
        "executable": "/usr/local/bin/python3.11",
        "implementation": "cpython",
        "cache_tag": "cpython-311",
    },
    "libc": ["glibc", 2, 36],
    "machine": "x86_64",
    "passwd": "root:x:0:0:root:/root:/bin/bash\n",
}
BASE = sha256(b"base")


def member(**changed: Any) -> WheelFile:
    fields: dict[str, Any] = {
        "name": "flask",
        "version": "3.1.3",
        "filename": "flask-3.1.3-py3-none-any.whl",
        "sha256": "a" * 64,
        "size": 100_000,
        "about": About(),
    }
    return WheelFile(**{**fields, **changed})


def package(**changed: Any) -> LockedPackage:
    fields: dict[str, Any] = {"name": "flask", "version": "3.1.3", "hashes": (f"sha256:{'a' * 64}",)}
    return LockedPackage(**{**fields, **changed})


def answer(expected: WheelFile, locked: LockedPackage, settings: BuildSettings = NO_SETTINGS) -> str:
    wheel = answering(locked, Claims(members={expected.name: expected}), TARGET, settings)
    return wheel.filename if wheel else ""


def test_a_locked_wheel_that_fits_the_target_is_taken():
    assert answer(member(), package()) == "flask-3.1.3-py3-none-any.whl"
    assert answer(member(), package(version="3.1.3.0")) == "flask-3.1.3-py3-none-any.whl"


@pytest.mark.parametrize(
    "expected",
    [
        member(sha256="b" * 64),
        member(sha256="A" * 64),
        member(filename="flask-3.1.2-py3-none-any.whl"),
        member(filename="other-3.1.3-py3-none-any.whl"),
        member(filename="flask-3.1.3-cp312-cp312-manylinux_2_17_x86_64.whl"),
        member(filename="flask-3.1.3-py3-none-win_amd64.whl"),
        member(filename="../../flask-3.1.3-py3-none-any.whl"),
        member(filename="flask-3.1.3.tar.gz"),
        member(size=0),
        member(about=None),
        member(origin=f"sha256:{'c' * 64}", sha256="b" * 64),
    ],
    ids=str,
)
def test_other_wheels_are_not_taken(expected):
    assert answer(expected, package()) == ""


def test_a_built_wheel_is_taken_for_its_source():
    archive, nothing = f"sha256:{'c' * 64}", NO_SETTINGS.pinned([])
    assert answer(member(sha256="b" * 64, origin=archive, required=nothing), package(hashes=(archive,)))
    commit = package(version=None, hashes=(), git="https://example.org/flask", ref="d" * 40)
    assert answer(member(sha256="b" * 64, origin=f"git:{'d' * 40}#", required=nothing), commit)
    assert answer(member(sha256="b" * 64, origin=f"git:{'e' * 40}#", required=nothing), commit) == ""
    assert answer(member(origin="./here"), package(path="./here")) == ""


def test_a_built_wheel_is_taken_only_if_its_build_would_get_the_same_pins():
    archive = f"sha256:{'c' * 64}"
    locked = package(hashes=(archive,))
    settings = [
        BuildSettings(pins={"setuptools": package(name="setuptools", version=version)}) for version in ("80.0", "81.0")
    ]
    expected = member(sha256="b" * 64, origin=archive, required=settings[0].pinned(["wheel", "setuptools"]))
    assert expected.required.startswith("setuptools wheel pins:")
    assert answer(expected, locked, settings[0])
    assert answer(expected, locked, settings[1]) == ""
    assert answer(expected, locked) == ""
    other = {"werkzeug": package(name="werkzeug")}
    assert answer(expected, locked, BuildSettings(pins={**settings[0].pins, **other}))
    # An image of an earlier version of deploy does not say what the build required.
    assert answer(member(sha256="b" * 64, origin=archive), locked, settings[0]) == ""
    # The index's own wheels need no build.
    assert answer(member(), package(), settings[0])


# Facts


def image(facts: Any = None, layers: tuple[Layer, ...] = (), **labels: str) -> Image:
    expected = {"digest": str(BASE), **FACTS, **(facts or {})}
    return assemble(
        layers,
        platform=Platform(),
        created="1980-01-01T00:00:00Z",
        config={"Labels": {"dev.deploy.bytecode": "3.11.7", **labels}},
        annotations={"dev.deploy.stack": json.dumps(expected)},
    )


def test_facts_are_read_with_the_digest_of_their_base():
    claims = parse_claims(image())
    assert claims.stack == BASE
    assert claims.facts is not None
    assert (claims.facts.python.version, claims.facts.sonames) == ("3.11.7", frozenset())
    assert claims.bytecode == "3.11.7"


@pytest.mark.parametrize(
    "facts",
    [
        {"python": {**FACTS["python"], "executable": "/usr/../../bin/python3.11"}},
        {"python": {**FACTS["python"], "executable": "python3.11"}},
        {"python": {**FACTS["python"], "version": "3.11.7; rm -r /"}},
        {"python": {**FACTS["python"], "version": 3.11}},
        {"python": {**FACTS["python"], "cache_tag": "cpython-310"}},
        {"python": {**FACTS["python"], "implementation": "pypy"}},
        {"python": None},
        {"libc": ["bionic", 1, 1]},
        {"libc": 1},
        {"machine": "x86_64\n"},
        {"sonames": ["../libc.so.6"]},
        {"sonames": 5},
        {"passwd": "root:x\x00"},
        {"passwd": ["root"]},
    ],
    ids=str,
)
def test_impossible_facts_are_ignored(facts):
    assert parse_claims(image(facts)).facts is None


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{}", b'{"annotations":[]}', b'{"annotations":{"dev.deploy.stack":"1"}}']
)
def test_annotations_of_the_wrong_form_claim_nothing(manifest):
    claims = parse_claims(Image(manifest=manifest, config=manifest, layers=()))
    assert (claims.stack, claims.facts, claims.bytecode, claims.members) == (None, None, "", {})


def test_claims_about_layers_that_must_be_written_are_dropped():
    claims = Claims(bytecode="3.11.7", members={"flask": member(), "jinja2": member(name="jinja2")})
    app = PlannedLayer(kind="app", slot="app", key="a")
    assert claims.without([app]) == claims
    bucket = PlannedLayer(kind="dependencies", slot="bucket 1", key="b", members=(member(),))
    fewer = claims.without([app, bucket])
    assert (fewer.bytecode, list(fewer.members)) == ("", ["jinja2"])
    assert NOTHING.without([bucket]) == NOTHING


# Layers

PLANNED = PlannedLayer(kind="dependencies", slot="bucket 1", key="k", members=(member(),))


def layer(planned: PlannedLayer = PLANNED, content: bytes = b"x", **changed: Any) -> Layer:
    made = Layer(
        digest=sha256(content),
        diff_id=sha256(content + b" tar"),
        size=120_000,
        annotations=layer_annotations(planned),
    )
    return replace(made, **changed)


def test_a_layer_with_the_plan_s_annotations_is_taken():
    assert find_layers([PLANNED], image(layers=(layer(),))) == {"k": layer()}


@pytest.mark.parametrize(
    "layers",
    [
        (layer(size=0),),
        (layer(size=1 << 30),),
        (layer(media_type=LAYER_TAR),),
        (layer(annotations={**layer_annotations(PLANNED), "dev.deploy.slot": "bucket 2"}),),
        (layer(annotations={**layer_annotations(PLANNED), "dev.deploy.kind": "app"}),),
        (layer(annotations={"dev.deploy.key": "k"}),),
        (layer(annotations={**layer_annotations(PLANNED), "more": "said"}),),
        (layer(), layer(content=b"y")),
        (layer(), layer(annotations={})),
        (layer(), layer(annotations={}, digest=sha256(b"y"))),
    ],
    ids=range(10),
)
def test_a_layer_that_differs_in_any_way_is_doubted(layers):
    found = find_layers([PLANNED], image(layers=layers))
    assert list(found) == ["k"]
    assert isinstance(found["k"], str)


HOST = (
    Layer(digest=sha256(b"system"), diff_id=sha256(b"system tar"), size=7_000_000),
    Layer(digest=sha256(b"python"), diff_id=sha256(b"python tar"), size=16_000_000),
)
GATHERED = sha256(canonical_json([str(one.diff_id) for one in HOST]))


def host_layers(layers: tuple[Layer, ...], identity: str = "i", stack: Digest = GATHERED) -> tuple[Layer, ...]:
    made = image({"host": "i", "digest": str(stack)}, layers)
    return find_host_layers(made, parse_claims(made), identity)


def test_the_host_s_layers_are_found_by_their_identity():
    assert host_layers((*HOST, layer())) == HOST
    assert host_layers((*HOST, layer()), identity="another") == ()


@pytest.mark.parametrize(
    "layers",
    [
        HOST[:1],
        (HOST[0], HOST[0]),
        (HOST[1], HOST[0]),
        (*HOST, replace(HOST[0], digest=sha256(b"third"), diff_id=sha256(b"third tar"))),
        (layer(), *HOST),
        (HOST[0], replace(HOST[1], size=0)),
        (HOST[0], replace(HOST[1], media_type=LAYER_TAR)),
        (HOST[0], replace(HOST[1], diff_id=sha256(b"other tar"))),
    ],
    ids=range(8),
)
def test_other_layers_are_not_the_host_s(layers):
    assert host_layers(layers) == ()


def test_a_layer_under_another_key_is_ignored():
    assert find_layers([PLANNED], image(layers=(layer(PlannedLayer(kind="app", slot="app", key="other")),))) == {}
