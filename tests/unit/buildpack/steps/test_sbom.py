"""The bill of materials: valid by CycloneDX's own schema, complete, and the same for the same image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from buildpack.oci.digest import sha256
from buildpack.oci.image import Image, Layer, Platform, assemble, canonical_json
from buildpack.plan import PlannedLayer, layer_annotations
from buildpack.python.about import About, within
from buildpack.python.files import WheelFile
from buildpack.stacks.stack import Facts, StackPython
from buildpack.steps.provenance import read_provenance
from buildpack.steps.sbom import make_sbom

ROOT = Path(__file__).parents[4]
FACTS = Facts(
    python=StackPython(version="3.12.4", executable="/usr/local/bin/python3.12", cache_tag="cpython-312"),
    libc=("glibc", 2, 36),
    machine="x86_64",
    sonames=frozenset({"libc.so.6"}),
)
MEMBERS = (
    WheelFile(name="flask", version="3.0.3", filename="flask-3.0.3-py3-none-any.whl", sha256="a" * 64, size=100),
    WheelFile(
        name="ruamel-yaml", version="0.18.6", filename="ruamel.yaml-0.18.6-py3-none-any.whl", sha256="b" * 64, size=9
    ),
    WheelFile(
        name="own",
        version="1.0",
        filename="own-1.0-py3-none-any.whl",
        sha256="c" * 64,
        size=5,
        origin="git:" + "d" * 40,
    ),
)


def layer(name: str, planned: PlannedLayer | None = None) -> Layer:
    digest = sha256(name.encode())
    return Layer(digest=digest, diff_id=digest, size=1, annotations=layer_annotations(planned) if planned else {})


def make_image(
    *,
    host: bool = False,
    members: tuple[WheelFile, ...] = MEMBERS,
    labels: dict[str, str] | None = None,
    system: object = (),
    direct: str = "",
) -> Image:
    stack = [layer("stack 1"), layer("stack 2")]
    digest = sha256(canonical_json([str(each.diff_id) for each in stack])) if host else sha256(b"base")
    layers = [
        *stack,
        layer("runtime", PlannedLayer(kind="runtime", slot="runtime", key="1" * 64)),
        layer("bucket", PlannedLayer(kind="dependencies", slot="bucket 1", key="2" * 64, members=members)),
        layer("app", PlannedLayer(kind="app", slot="app", key="3" * 64)),
    ]
    own = {"dev.deploy.python": "3.12.4", "dev.deploy.bytecode": "3.12.4", "dev.deploy.lock": "sha256:1"}
    return assemble(
        layers,
        platform=Platform(),
        created="2024-05-06T07:08:09Z",
        config={"Labels": {**own, **(labels or {})}},
        annotations={
            "dev.deploy.stack": json.dumps({"digest": str(digest), "packages": system, **FACTS.render()}),
            "dev.deploy.direct": direct,
        },
    )


def check(raw: bytes) -> dict:
    # Only here, since it makes 38 grammars when it is loaded.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(raw.decode())
    assert problem is None, problem
    found = json.loads(raw)
    # The schema knows nothing of these rules.
    refs = [part["bom-ref"] for part in (found["metadata"]["component"], *found["components"])]
    rows = [row["ref"] for row in found["dependencies"]]
    assert len(set(refs)) == len(refs)
    assert len(set(rows)) == len(rows)
    assert {*rows, *(ref for row in found["dependencies"] for ref in row.get("dependsOn", ()))} <= set(refs)
    assert reached("image", graph(found)) == set(refs)
    return found


def graph(found: dict) -> dict[str, list[str]]:
    return {row["ref"]: row.get("dependsOn", []) for row in found["dependencies"]}


def reached(start: str, needs: dict[str, list[str]]) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        more = set(needs.get(waiting.pop(), ())) - found
        found |= more
        waiting += more
    return found


@pytest.mark.parametrize("host", [True, False])
def test_the_sbom_has_packages_python_stack_launcher_and_app(host):
    image = make_image(host=host)
    found = check(make_sbom(image))
    assert found["metadata"]["timestamp"] == "2024-05-06T07:08:09+00:00"
    assert found["metadata"]["component"]["version"] == str(image.digest)
    parts = {part["bom-ref"]: part for part in found["components"]}
    assert set(parts) == {
        "app",
        "runtime",
        "stack",
        "python@3.12.4",
        "pkg:pypi/flask@3.0.3",
        "pkg:pypi/ruamel-yaml@0.18.6",
        "pkg:pypi/own@1.0",
    }
    flask = parts["pkg:pypi/flask@3.0.3"]
    assert (flask["name"], flask["version"], flask["purl"]) == ("flask", "3.0.3", "pkg:pypi/flask@3.0.3")
    assert flask["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert flask["properties"] == [{"name": "dev.deploy.wheel", "value": "flask-3.0.3-py3-none-any.whl"}]
    assert {"name": "dev.deploy.built-from", "value": "git:" + "d" * 40} in parts["pkg:pypi/own@1.0"]["properties"]
    assert parts["python@3.12.4"]["cpe"] == "cpe:2.3:a:python:python:3.12.4:*:*:*:*:*:*:*"
    stack = parts["stack"]
    assert (stack["type"], stack["name"]) == (("operating-system", "host") if host else ("container", "base image"))
    assert {"name": "dev.deploy.libc", "value": "glibc 2.36"} in stack["properties"]
    assert {"name": "dev.deploy.layer.2", "value": str(sha256(b"stack 2"))} in stack["properties"]
    assert parts["app"]["hashes"] == [{"alg": "SHA-256", "content": sha256(b"app").hex}]
    assert graph(found) == {
        "image": ["app", "runtime", "stack"],
        "stack": ["python@3.12.4"],
        "app": ["pkg:pypi/flask@3.0.3", "pkg:pypi/own@1.0", "pkg:pypi/ruamel-yaml@0.18.6"],
    }


def test_the_sbom_has_the_operating_system_s_packages_and_the_tool():
    rows = ["libc6:amd64=2.36-9+deb12u8;GPL-2,LGPL-2.1", "libstdc++6:amd64=12.2.0-14", "libgmp10:amd64=2:6.2.1"]
    hostile = [
        "x:\x1b[2J=1",
        "flask=1",
        "",
        "y:amd64=1?arch=z&w",
        "x" * 9000,
        "z:amd64=\u0661",
        "z:amd64=1;\x1b",
        "z:amd64=1;" + "x," * 99,
    ]
    found = check(make_sbom(make_image(host=True, system=" ".join(["debian/12", *rows, *hostile, rows[0]]))))
    debs = {part["name"]: part["version"] for part in found["components"] if "pkg:deb/" in part.get("purl", "")}
    [libc] = [part for part in found["components"] if part["name"] == "libc6"]
    assert [each["license"]["name"] for each in libc["licenses"]] == ["GPL-2", "LGPL-2.1"]
    assert debs == {"libc6": "2.36-9+deb12u8", "libstdc++6": "12.2.0-14", "libgmp10": "2:6.2.1"}
    [tool] = found["metadata"]["tools"]["components"]
    assert (tool["name"], tool["version"]) == ("deploy", version("procdeploy"))
    for system in ("nonsense", "\x1b libc6:amd64=1", 7, None, ["libc6:amd64=1"], {}):
        parts = check(make_sbom(make_image(system=system)))["components"]
        assert [part for part in parts if "pkg:deb/" in part.get("purl", "")] == []


def package(name: str, *requires: str, libraries: str = "", **stated: Any) -> WheelFile:
    about = About(requires=within(requires), **stated)
    filename = f"{name}-1-py3-none-any.whl"
    return WheelFile(
        name=name, version="1", filename=filename, sha256="a" * 64, size=9, libraries=libraries, about=about
    )


def packages(found: dict) -> dict[str, list[str]]:
    """Return the graph of the packages and the app, by their names."""

    def name(ref: str) -> str:
        return ref.removeprefix("pkg:pypi/").removesuffix("@1")

    return {name(ref): [*map(name, needs)] for ref, needs in graph(found).items() if ref not in {"image", "stack"}}


def test_licences_and_suppliers_come_from_the_wheels():
    members = (
        package("one", expression="MIT OR Apache-2.0", suppliers=(("Ann", "ann@example.org"), ("Bob", ""))),
        package("two", licences=("MIT",), suppliers=(("", "ann@example.org"),)),
        package("three", licences=("MIT License", "Public Domain")),
        package("none"),
    )
    parts = {part["name"]: part for part in check(make_sbom(make_image(members=members)))["components"]}
    declared = {"acknowledgement": "declared"}
    assert parts["one"]["licenses"] == [{"expression": "MIT OR Apache-2.0", **declared}]
    assert parts["one"]["supplier"] == {
        "name": "Ann, Bob",
        "contact": [{"name": "Ann", "email": "ann@example.org"}],
    }
    assert parts["two"]["licenses"] == [{"license": {"id": "MIT", **declared}}]
    assert parts["two"]["supplier"] == {"name": "ann@example.org", "contact": [{"email": "ann@example.org"}]}
    assert parts["three"]["licenses"] == [
        {"license": {"name": name, **declared}} for name in ("MIT License", "Public Domain")
    ]
    assert "supplier" not in parts["three"]
    assert not {"licenses", "supplier"} & parts["none"].keys()


def test_packages_depend_on_the_installed_ones_that_they_require():
    members = (
        package("celery", "redis[fast]", "kombu", "not-installed", "x:never"),
        package("redis", "fast:hiredis", "slow:never", "redis"),
        package("hiredis", libraries=f"libx.so.1=sha256:{'b' * 64}"),
        package("kombu"),
        package("never"),
        package("web", "cli:click"),
        package("click"),
    )
    found = check(make_sbom(make_image(members=members, direct="celery web[cli] gone[x]")))
    assert packages(found) == {
        # Nothing requires `never`, and it is installed.
        "app": ["celery", "never", "web"],
        "celery": ["kombu", "redis"],
        "redis": ["hiredis"],
        "hiredis": ["hiredis@1#libx.so.1"],
        "kombu": [],
        "never": [],
        "web": ["click"],
        "click": [],
    }


def test_packages_in_a_circle_belong_to_the_app_too():
    members = (package("a", "b"), package("b", "a"), package("web"))
    assert packages(check(make_sbom(make_image(members=members, direct="web")))) == {
        "app": ["a", "web"],
        "a": ["b"],
        "b": ["a"],
        "web": [],
    }


def test_without_a_pipfile_the_app_depends_on_all_packages():
    members = (package("web", "click"), package("click"))
    assert packages(check(make_sbom(make_image(members=members))))["app"] == ["click", "web"]


SCRIPT = """
import pickle, sys
from buildpack.steps.sbom import make_sbom
sys.stdout.buffer.write(make_sbom(pickle.load(sys.stdin.buffer)))
"""


def test_every_machine_makes_the_same_sbom():
    import pickle

    image = make_image()
    made = set()
    for seed, zone in (("1", "UTC"), ("2", "Pacific/Chatham")):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            input=pickle.dumps(image),
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C", "PYTHONPATH": str(ROOT)},
        )
        made.add(done.stdout)
    assert made == {make_sbom(image)}


def test_another_image_has_another_serial_number():
    one, two = (json.loads(make_sbom(make_image(labels={"x": value}))) for value in "12")
    assert one["serialNumber"] != two["serialNumber"]
    assert one["components"] == two["components"]


def test_the_sbom_of_another_tool_s_image_has_its_layers():
    image = assemble([layer("one"), layer("two")], platform=Platform(), created="", config={}, annotations={})
    assert not read_provenance(image).ours
    found = check(make_sbom(image))
    assert [part["name"] for part in found["components"]] == ["layer 1", "layer 2"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 5000},
        {"name": "Flask"},
        {"name": "..", "version": "\x1b[2J"},
        {"sha256": "no hash"},
        {"version": "1:*:*", "filename": "é" * 300},
        {"about": About(requires=("flask", "flask[x]", "own", "x:own[x]"))},
        {"name": "Flask", "about": About(requires=("own",)), "libraries": f"x=sha256:{'e' * 64} " * 2},
    ],
)
def test_the_sbom_is_valid_for_hostile_claims(change):
    hostile = replace(MEMBERS[0], **change)
    for direct in ("", "flask[x] flask \x1b[2J [ :"):
        image = make_image(members=(*MEMBERS, hostile, hostile), labels={"dev.deploy.python": "*:*"}, direct=direct)
        check(make_sbom(image))


def test_documents_of_the_wrong_form_state_nothing():
    good = make_image()
    deep = b"[" * 900 + b"]" * 900
    for manifest, config in (
        (b"{}", b'{"config": {"Labels": {"x": %b}}, "created": %b}' % (deep, deep)),
        (b"[]", b"null"),
        (b"{", b"{"),
        (b"{}", b'{"config": [], "created": 1}'),
    ):
        check(make_sbom(Image(manifest=manifest, config=config, layers=good.layers)))
