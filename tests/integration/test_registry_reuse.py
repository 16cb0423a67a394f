"""`deploy build --to registry` on an empty machine: only what changed moves, and no claim goes unchecked."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buildpack.oci.image import unpack
from buildpack.oci.store import Store
from tests.support import proxy as proxies
from tests.support import tiny
from tests.support.bases import make_base
from tests.support.command import Done, deploy
from tests.support.index import Index, serving
from tests.support.proxy import Proxy
from tests.support.stand_in import push
from tests.support.wheels import Packed, write_wheel

pytestmark = pytest.mark.registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NAMES = ("blinker", "click", "flask", "gunicorn", "jinja2", "werkzeug")


@dataclass(frozen=True, kw_only=True)
class World:
    """A registry behind a proxy, with a base; an index; and a store that has built before, for what a cold build gives.

    `base` is the base's reference, pinned, through the proxy. `folder` is for apps.
    """

    proxy: Proxy
    registry: str
    index: Index
    base: str
    home: Path
    folder: Path

    def build(self, app: Path, home: Path, *arguments: str, name: str = "", env: dict[str, str] | None = None) -> Done:
        """Build under this name in the proxy's registry: with --to registry, or with other arguments."""
        options = ("--stack", self.base, *(("-t", self.named(name)) if name else ()), *arguments)
        return deploy("build", app, *options, home=home, env={**tiny.environ(self.index), **(env or {})})

    def named(self, name: str) -> str:
        return f"{self.proxy.name}/{name}"

    def cold(self, app: Path) -> str:
        """The digest of a build that looks at no registry but the base's."""
        return self.build(app, self.home, "--json").report["digest"]

    def app(self, name: str, **changed: Any) -> Path:
        made = tiny.write_app(self.folder / name, PACKAGES, stack="host")
        (made / ".python-version").write_text(SERIES)
        return made


PACKAGES: dict[str, Any] = {}
SERIES = f"{sys.version_info[0]}.{sys.version_info[1]}\n"
STATED = (
    "License: MIT\nAuthor-email: Ann <ann@example.org>\nRequires-Dist: click ; extra == 'cli'\nRequires-Dist: blinker\n"
)


@pytest.fixture(scope="module")
def world(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("reuse")
    # Its Python only states its version: byte code comes from the same version on this machine.
    layout = make_base(folder / "base", machine=platform.machine(), python=platform.python_version())
    push(layout, registry, "reuse/python:3.11-slim")
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    with serving() as index, Proxy(registry) as proxy:
        PACKAGES.update(tiny.add_wheels(index, folder / "wheels", *NAMES, stated=STATED))
        base = f"{proxy.name}/reuse/python:3.11-slim@{digest}"
        yield World(
            proxy=proxy, registry=registry, index=index, base=base, home=folder / "home", folder=folder / "apps"
        )


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository for this test alone."""
    return f"reuse/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}:1"


@pytest.fixture
def app(world: World, request: pytest.FixtureRequest) -> Path:
    return world.app(request.node.name)


@pytest.fixture
def pushed(world: World, app: Path, name: str) -> dict[str, Any]:
    """The app's image in the registry, from a store that knows everything; then silence on all lines."""
    report = world.build(app, world.home, "--to", "registry", "--json", name=name).report
    world.proxy.clear()
    world.index.asked.clear()
    return report


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A store that knows nothing."""
    return tmp_path / "empty"


def change_line(app: Path) -> None:
    with (app / "tiny" / "__init__.py").open("a") as file:
        file.write("# changed\n")


def sources(report: dict[str, Any]) -> dict[str, list[str]]:
    """Return the kinds of layers by their origin."""
    found: dict[str, list[str]] = {}
    for layer in report["layers"]:
        found.setdefault(layer["source"], []).append(layer["kind"])
    return found


def kinds(report: dict[str, Any]) -> list[str]:
    return [layer["kind"] for layer in report["layers"]]


def reasons(report: dict[str, Any]) -> set[str]:
    return {layer["reason"] for layer in report["layers"] if layer["kind"] != "stack"}


# Traffic


def test_one_changed_line_moves_nothing_but_itself(world, app, name, pushed, empty):
    change_line(app)
    report = world.build(app, empty, "--to", "registry", "--json", name=name).report

    assert sources(report) == {"registry": kinds(pushed)[:-1], "built": ["app"]}
    assert report["layers"][-1]["reason"] == "the app's files changed"
    assert world.index.asked == []
    asked = sorted((each.method, each.path.split("/")[-2]) for each in world.proxy.log)
    assert asked == [
        ("GET", "blobs"),
        ("GET", "blobs"),
        ("GET", "manifests"),
        ("GET", "manifests"),
        ("POST", "uploads"),
        ("POST", "uploads"),
        ("PUT", "manifests"),
        ("PUT", "uploads"),
        ("PUT", "uploads"),
    ]
    assert world.proxy.sent - report["layers"][-1]["size"] < 10_000
    assert (report["requests"], report["bytes_sent"]) == (world.proxy.requests, pytest.approx(world.proxy.sent, 0.1))
    assert report["digest"] == digest_of(world, name) == world.cold(app)


def test_what_can_go_side_by_side_does(world, app, name, pushed, tmp_path):
    """Manifests, configs, uploads begun, uploads ended, the tag: five rounds, where the machine has time for it."""
    rounds = []
    for number in range(10):
        change_line(app)
        world.proxy.clear()
        assert world.build(app, tmp_path / f"empty {number}", "--to", "registry", name=name).code == 0
        rounds.append(world.proxy.rounds)
        if rounds[-1] <= 6:
            return
    raise AssertionError(rounds)


def test_the_store_keeps_only_what_was_made_here(world, app, name, pushed, empty):
    change_line(app)
    done = world.build(app, empty, "--to", "registry", name=name)
    assert done.code == 0
    assert "  kept     not in the store: reused layers are in the registry only\n" in done.err
    assert f"\nNext: docker run --rm -e PORT=8000 -p 8000:8000 {world.named(name)}\n" in done.err
    store = Store(empty)
    assert store.images() == {}
    assert len(list((empty / "layers").iterdir())) == 1
    # Whoever builds another app in this store starts from nothing.
    plain = world.build(app, empty, "--json").report
    assert plain["digest"] == done.out.strip()
    assert sources(plain) == {"registry": ["stack"], "built": kinds(pushed)[1:-1], "store": ["app"]}


def test_the_same_once_more_sends_nothing(world, app, name, pushed, empty):
    report = world.build(app, empty, "--to", "registry", "--json", name=name).report
    assert report["digest"] == pushed["digest"]
    assert set(sources(report)) == {"registry"}
    assert {each.method for each in world.proxy.log} == {"GET", "HEAD"}
    assert world.index.asked == []


def test_one_changed_dependency_moves_its_bucket_and_the_lock(world, app, name, pushed, empty, tmp_path):
    metadata = b"Name: click\nVersion: 2.0\nLicense-Expression: BSD-3-Clause\nRequires-Dist: jinja2[cli]\n"
    files = {"click/__init__.py": b"NEWER = True\n", "click-2.0.dist-info/METADATA": metadata}
    newer = write_wheel(tmp_path, files, name="click", version="2.0")
    world.index.add("click", newer.name, newer.read_bytes())
    tiny.write_lock(app, {**PACKAGES, "click": tiny.entry(newer.read_bytes(), version="2.0")})
    report = world.build(app, empty, "--to", "registry", "--json", name=name).report
    written = [layer for layer in report["layers"] if layer["source"] == "built"]
    assert [layer["kind"] for layer in written] == ["dependencies", "app"]
    with_click = [member["name"] for member in written[0]["members"]]
    assert "click" in with_click
    assert written[0]["reason"] == "click 1.0 -> 2.0"
    # Its neighbours in the bucket are looked up as well, and nobody else.
    assert {path.split("/")[2] for path in world.index.paths() if path.startswith("/simple")} == set(with_click)
    uploads = [each for each in world.proxy.log if each.method == "PUT" and "/blobs/" in each.path]
    assert len(uploads) == 3  # the two and the config
    assert report["digest"] == world.cold(app)
    # So the bill of materials is the one of a cold build, too, though most wheels were never here.
    found = json.loads(deploy("inspect", world.named(name), "--remote", "--sbom", home=empty).out)
    parts = {part["name"]: part for part in found["components"]}
    licences = {each: parts[each]["licenses"][0] for each in ("click", "jinja2")}
    assert licences["click"] == {"expression": "BSD-3-Clause", "acknowledgement": "declared"}
    assert licences["jinja2"] == {"license": {"id": "MIT", "acknowledgement": "declared"}}
    assert parts["jinja2"]["supplier"]["name"] == "Ann"
    needs = {row["ref"]: row.get("dependsOn") for row in found["dependencies"]}
    assert needs["pkg:pypi/click@2.0"] == ["pkg:pypi/jinja2@1.0"]
    assert needs["pkg:pypi/jinja2@1.0"] == ["pkg:pypi/blinker@1.0", "pkg:pypi/click@2.0"]
    assert needs["pkg:pypi/flask@1.0"] == ["pkg:pypi/blinker@1.0"]
    assert len(needs["app"]) == len(NAMES)


BACKEND = """\
import maker, os, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    info = "aged-1.0.dist-info"
    files = {
        "aged.py": f"MAKER = {maker.VERSION}\\n",
        info + "/METADATA": "Metadata-Version: 2.1\\nName: aged\\nVersion: 1.0\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        info + "/RECORD": "",
    }
    with zipfile.ZipFile(os.path.join(folder, "aged-1.0-py3-none-any.whl"), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(zipfile.ZipInfo(path, moment), content)
    return "aged-1.0-py3-none-any.whl"
"""


def sdist() -> bytes:
    """An archive of sources that brings what builds it."""
    out = io.BytesIO()
    project = '[build-system]\nrequires = ["maker"]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, content in (("pyproject.toml", project), ("backend.py", BACKEND)):
            member = tarfile.TarInfo(f"aged-1.0/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return out.getvalue()


def test_packages_that_share_a_path_are_installed_alike_by_an_empty_machine(world, name, empty, tmp_path):
    def app(**wheels: dict[str, bytes | Packed]) -> Path:
        packages = dict(PACKAGES)
        for package, files in wheels.items():
            wheel = write_wheel(tmp_path, files, name=package)
            world.index.projects[package] = []
            world.index.add(package, wheel.name, wheel.read_bytes())
            packages[package] = tiny.entry(wheel.read_bytes())
        folder = world.folder / "sharing"
        shutil.rmtree(folder, ignore_errors=True)
        tiny.write_app(folder, packages, stack="host")
        (folder / ".python-version").write_text(SERIES)
        return folder

    large = {"zeta.bin": Packed(bytes(2 << 20), method=zipfile.ZIP_STORED)}
    alpha = {"shared.py": b"WHO = 'alpha'\n"}
    folder = app(alpha=alpha, zeta={"shared.py": b"WHO = 'zeta'\n", **large})
    world.build(folder, world.home, "--to", "registry", "-q", name=name)
    (folder / "tiny" / "page.html").write_text("<p>changed</p>\n")
    world.index.asked.clear()
    report = world.build(folder, empty, "--to", "registry", "--json", name=name).report
    assert world.index.paths() == []
    assert report["digest"] == world.cold(folder)
    assert [[m["name"] for m in layer["members"]] for layer in report["layers"]][-2] == ["alpha", "zeta"]
    shutil.rmtree(empty)
    changed = app(alpha=alpha, zeta=large)
    again = world.build(changed, empty, "--to", "registry", "--json", name=name).report
    assert again["digest"] == world.cold(changed)
    assert ["alpha", "zeta"] not in [[m["name"] for m in layer["members"]] for layer in again["layers"]]
    # Neither wheel of this image has a file of the other's. Then one gets such a file, and the other was never here.
    shutil.rmtree(empty)
    world.index.asked.clear()
    conflicting = app(alpha=alpha, zeta={"shared.py": b"WHO = 'zeta'\n", **large})
    last = world.build(conflicting, empty, "--to", "registry", "--json", name=name).report
    assert last["digest"] == world.cold(conflicting)
    assert [[m["name"] for m in layer["members"]] for layer in last["layers"]][-2] == ["alpha", "zeta"]
    fetched = {path.rpartition("/")[2].partition("-")[0] for path in world.index.paths() if path.endswith(".whl")}
    assert {"alpha", "zeta"} <= fetched < {"alpha", "zeta", *NAMES}, "no more than the layers that change"


def test_what_was_built_from_an_archive_of_sources_is_not_built_again(world, app, name, empty, tmp_path):
    archive, (first, second) = sdist(), make_makers(world, tmp_path)
    world.index.add("aged", "aged-1.0.tar.gz", archive)
    tiny.write_lock(app, {**PACKAGES, "aged": tiny.entry(archive), "maker": first})
    world.build(app, world.home, "--to", "registry", "-q", name=name)
    world.index.asked.clear()
    change_line(app)
    report = world.build(app, empty, "--to", "registry", "--json", name=name).report
    assert sources(report)["built"] == ["app"]
    assert "aged" in [member["name"] for layer in report["layers"] for member in layer["members"]]
    assert world.index.asked == []
    assert report["digest"] == world.cold(app)

    # Another pin of what its build requires makes another wheel of it.
    tiny.write_lock(app, {**PACKAGES, "aged": tiny.entry(archive), "maker": second})
    shutil.rmtree(empty)
    changed = world.build(app, empty, "--to", "registry", "--json", name=name).report
    written = {
        each["name"]: layer["reason"]
        for layer in changed["layers"]
        for each in layer["members"]
        if layer["source"] == "built"
    }
    assert written["aged"] == "aged 1.0 is another file"
    assert written["maker"] == "maker 1.0 -> 2.0"
    assert changed["digest"] == world.cold(app)


def make_makers(world: World, folder: Path) -> list[tiny.Entry]:
    """Put two versions of what builds `aged` on the index; their entries for a lock."""
    entries = []
    for version in ("1.0", "2.0"):
        wheel = write_wheel(folder, {"maker.py": f"VERSION = {version}\n".encode()}, name="maker", version=version)
        world.index.add("maker", wheel.name, wheel.read_bytes())
        entries.append(tiny.entry(wheel.read_bytes(), version=version))
    return entries


def test_several_names_and_repositories_get_the_image(world, app, name, pushed, empty):
    other = f"reuse/other-{name.partition('/')[2]}"
    tags = (name, name.replace(":1", ":2"), other)
    change_line(app)
    named = [option for tag in tags for option in ("-t", world.named(tag))]
    done = world.build(app, empty, "--to", "registry", *named)
    assert done.code == 0
    assert {digest_of(world, tag) for tag in tags} == {done.out.strip()}
    assert world.index.asked == []


def test_layers_come_from_another_repository_too(world, app, name, pushed, empty):
    change_line(app)
    other = f"reuse/branch-{name.partition('/')[2]}"
    report = world.build(app, empty, "--to", "registry", "--cache-from", world.named(name), "--json", name=other).report
    assert sources(report)["built"] == ["app"]
    mounted = [each for each in world.proxy.log if each.method == "POST" and "mount=" in each.path]
    assert len(mounted) == len(pushed["layers"]) - 1
    assert all(each.status == 201 for each in mounted)
    assert digest_of(world, other) == report["digest"]


def test_the_host_s_own_layers_are_not_gathered_again(world, app, name, empty):
    def build(home: Path, *arguments: str) -> dict[str, Any]:
        options = ("--stack", "host", "-t", world.named(name), "--json", *arguments)
        return deploy("build", app, *options, home=home, env=tiny.environ(world.index)).report

    first = build(world.home, "--to", "registry")
    change_line(app)
    report = build(empty, "--to", "registry")
    assert sources(report) == {"registry": kinds(first)[:-1], "built": ["app"]}
    assert [layer["digest"] for layer in report["layers"][:2]] == [layer["digest"] for layer in first["layers"][:2]]
    assert report["digest"] == digest_of(world, name) == build(world.home)["digest"]
    # Nothing of it is remembered: who needs the layers here gathers them.
    assert sources(build(empty))["built"][:2] == ["stack", "stack"]


def test_a_cache_brings_layers_here_where_nothing_is_pushed(world, app, name, pushed, empty):
    report = world.build(app, empty, "--cache-from", world.named(name), "--json").report
    assert sources(report) == {"registry": kinds(pushed)}
    assert report["digest"] == pushed["digest"]
    assert world.index.asked == []
    store = Store(empty)
    image = store.image("docker.io/library/tiny:latest")
    assert image is not None
    assert store.missing(image.layers) == ()
    assert not list((empty / "layers").iterdir())


# False claims


def test_no_cache_trusts_nothing(world, app, name, pushed, empty):
    report = world.build(app, empty, "--to", "registry", "--no-cache", "--json", name=name).report
    assert sources(report) == {"registry": ["stack"], "built": kinds(pushed)[1:]}
    assert report["digest"] == pushed["digest"]


Forge = Callable[[dict[str, Any], dict[str, Any]], object]


def bucket(manifest: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """A dependency layer of a manifest."""
    kind = "dev.deploy.kind"
    return [one for one in manifest["layers"] if one.get("annotations", {}).get(kind) == "dependencies"][number]


def claim_another_s_blob(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    bucket(manifest).update({key: bucket(manifest, 1)[key] for key in ("digest", "size")})


def claim_other_members(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    layer = bucket(manifest)
    rows = unpack(layer["annotations"]["dev.deploy.members"])
    layer["annotations"]["dev.deploy.members"] = json.dumps([[rows[0][0], "0" * 64, rows[0][2]], *rows[1:]])


def forget_facts(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    """Leave out what older versions of deploy did not write."""
    manifest["annotations"].pop("dev.deploy.direct")
    for layer in manifest["layers"]:
        if rows := layer.get("annotations", {}).get("dev.deploy.members"):
            layer["annotations"]["dev.deploy.members"] = json.dumps([row[:3] for row in unpack(rows)])


def drop_a_diff_id(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    config["rootfs"]["diff_ids"].pop()


def claim_accounts(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    facts = unpack(manifest["annotations"]["dev.deploy.stack"])
    facts["passwd"] = "root::0:0:root:/root:/bin/sh\n"
    manifest["annotations"]["dev.deploy.stack"] = json.dumps(facts)


def claim_another_base(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    facts = unpack(manifest["annotations"]["dev.deploy.stack"])
    facts["digest"] = f"sha256:{'0' * 64}"
    manifest["annotations"]["dev.deploy.stack"] = json.dumps(facts)


def claim_another_machine(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    config["architecture"] = "s390x"


NOT_BELIEVED = "{} has a layer with this key that is not believed: "
OTHER = NOT_BELIEVED + "its annotations differ (another version of deploy, other pins for a build, or a change by hand)"
TWICE = NOT_BELIEVED + "it has the same layer twice, under two keys or one"


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (claim_another_s_blob, TWICE),
        (claim_other_members, OTHER),
        (forget_facts, OTHER),
        (drop_a_diff_id, "{} cannot be used: {} is not an image that can be read"),
        (claim_accounts, "an earlier image states wrong facts about {base}"),
        (claim_another_base, ""),
        (claim_another_machine, "{} cannot be used: {} has no image for linux/amd64"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_claim_that_is_found_false_is_a_reason_to_build(world, app, name, pushed, empty, forge: Forge, why: str):
    forge_image(world, name, forge)
    report = world.build(app, empty, "--to", "registry", "--json", name=name).report
    assert report["digest"] == pushed["digest"] == digest_of(world, name)
    # A base that no image describes is looked into, and then the other claims count as usual.
    full = world.named(name)
    assert reasons(report) - {""} == ({why.replace("{base}", world.base).format(full, full)} if why else set())


def test_what_a_writer_of_the_repository_can_do_stays_in_that_repository(world, app, name, pushed, empty, tmp_path):
    """The right key on another layer: the one lie that needs the layer itself to be found."""
    evil = b"\x1f\x8b\x08" + bytes(100)

    def lie(manifest: dict[str, Any], config: dict[str, Any]) -> None:
        bucket(manifest).update(put_blob(world, name, evil))

    forge_image(world, name, lie)
    taken = world.build(app, empty, "--to", "registry", "--json", name=name).report
    assert taken["digest"] != pushed["digest"]  # docs/decisions/0014 says what is trusted
    # It does not get into the store, so no other app gets it; and a command that needs it here finds out.
    here = world.build(app, tmp_path / "here", "--cache-from", world.named(name), "--json").report
    assert here["digest"] == pushed["digest"]
    assert reasons(here) - {""} == {
        f"the layer that {world.named(name)} has under this key is not what its config says"
    }
    # Another repository is not asked, and --no-cache asks none.
    other = f"reuse/safe-{name.partition('/')[2]}"
    assert world.build(app, empty, "--to", "registry", "--json", name=other).report["digest"] == pushed["digest"]
    clean = world.build(app, empty, "--to", "registry", "--no-cache", "--json", name=name).report
    assert clean["digest"] == pushed["digest"] == digest_of(world, name)


def test_verify_names_what_a_writer_of_the_repository_put_under_a_right_key(world, app, name, pushed, empty):
    """A good layer with one more line in one file, with its true diff_id: only building it again can show that."""
    repository = name.partition(":")[0]

    def lie(manifest: dict[str, Any], config: dict[str, Any]) -> None:
        layer = bucket(manifest)
        place = manifest["layers"].index(layer)
        content, _ = ask(world, "GET", f"/v2/{repository}/blobs/{layer['digest']}")
        tar = with_another_line(gzip.decompress(content))
        layer.update(put_blob(world, name, gzip.compress(tar, mtime=0)))
        config["rootfs"]["diff_ids"][place] = f"sha256:{hashlib.sha256(tar).hexdigest()}"

    forge_image(world, name, lie)
    taken = world.build(app, empty, "--to", "registry", "--json", name=name).report
    assert taken["digest"] != pushed["digest"]  # it is taken unseen: docs/decisions/0014
    arguments = ("verify", world.named(name), app, "--remote", "--stack", world.base)
    done = deploy(*arguments, home=empty, env=tiny.environ(world.index))
    assert done.code == 60, done.err
    assert "/__init__.py: size" in done.err
    assert "has the key of the layer that was built here, but other content." in done.err
    assert "hint: do not run it; run `deploy build " in done.err


def with_another_line(tar: bytes) -> bytes:
    """Write a tar again, with a line more in the first ``__init__.py``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(tar)) as old, tarfile.open(fileobj=out, mode="w") as new:
        changed = False
        for entry in old:
            body = old.extractfile(entry).read() if entry.isreg() else b""  # type: ignore[union-attr]
            if entry.name.endswith("/__init__.py") and not changed:
                body, changed = body + b"import os\n", True
                entry.size = len(body)
            new.addfile(entry, io.BytesIO(body))
    assert changed
    return out.getvalue()


# Missing images, and obstacles


def test_a_first_build_says_so(world, app, name, empty):
    report = world.build(app, world.home, "--to", "registry", "--json", name=name).report
    assert report["digest"] == digest_of(world, name)
    mounted = [each for each in world.proxy.log if each.method == "POST" and "mount=" in each.path]
    assert any(each.status == 201 for each in mounted)  # the base's layer, from the base's repository


def test_what_skopeo_made_of_it_is_a_reason_to_build(world, app, name, pushed, empty):
    reference = f"docker://{world.registry}/{name}"
    options = ["--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", "v2s2"]
    subprocess.run(["skopeo", "copy", *options, reference, reference], check=True, capture_output=True)
    report = world.build(app, empty, "--to", "registry", "--json", name=name).report
    assert report["digest"] == pushed["digest"] == digest_of(world, name)
    assert reasons(report) == {
        f"the layers of {world.named(name)} have no keys: it was built, or copied, by a tool that drops annotations"
    }


def test_a_layer_that_the_registry_lost_is_made_again(world, app, name, pushed, empty):
    lost = next(layer for layer in pushed["layers"] if layer["kind"] == "dependencies")
    proxies.lose(world.registry, name.partition(":")[0], lost["digest"])
    change_line(app)
    report = world.build(app, empty, "--to", "registry", "--json", name=name).report
    [made] = [layer for layer in report["layers"] if layer["digest"] == lost["digest"]]
    assert (made["source"], made["reason"]) == ("built", f"the registry had lost it from {world.named(name)}")
    assert len(sources(report)["registry"]) == len(pushed["layers"]) - 2
    assert report["digest"] == digest_of(world, name) == world.cold(app)
    copy = ["skopeo", "copy", "--quiet", "--src-tls-verify=false"]
    subprocess.run([*copy, f"docker://{world.registry}/{name}", f"dir:{empty}/copy"], check=True, capture_output=True)


def test_a_layer_that_comes_altered_is_built(world, app, name, pushed, empty):
    layer = next(layer for layer in pushed["layers"] if layer["kind"] == "dependencies")
    world.proxy.fault("GET", layer["digest"], proxies.alter(), times=-1)
    report = world.build(app, empty, "--cache-from", world.named(name), "--json").report
    world.proxy.clear()
    [made] = [one for one in report["layers"] if one["digest"] == layer["digest"]]
    full = world.named(name)
    assert (made["source"], made["reason"]) == ("built", f"it could not be taken from {full}: {full} arrived damaged")
    assert report["digest"] == pushed["digest"]


def test_a_registry_that_refuses_everybody_is_reported_before_anything_is_built(world, app, empty):
    world.index.asked.clear()
    with refusing() as host:
        done = world.build(app, empty, "--to", "registry", "-t", f"{host}/me/app:1")
    assert (done.code, done.out) == (30, "")
    assert done.err.startswith(f"error: {host}/me/app:1 cannot be pushed anonymously\n")
    assert world.index.paths() == []


def test_a_cache_that_lets_nobody_in_is_a_reason_to_build(world, app, empty, name):
    with refusing() as host:
        report = world.build(app, world.home, "--cache-from", f"{host}/me/app:1", "--json").report
    assert report["digest"] == world.cold(app)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--to", "registry"),
            (
                "error: the registry to push to is not named\n\nNone of the image's names has a registry in it.\n\n"
                "hint: name it: `-t ghcr.io/you/app:1`.\n"
            ),
        ),
        (
            ("--to", "registry", "-t", "tiny"),
            (
                "error: you cannot push to docker.io/library/tiny:latest\n\n"
                "Without a registry it means Docker Hub's official images, which nobody else may write to.\n\n"
                "hint: name your own repository: `-t ghcr.io/you/tiny`, or `-t docker.io/you/tiny`.\n"
            ),
        ),
    ],
)
def test_a_push_to_nowhere_is_an_error_at_once(world, app, empty, arguments, message):
    done = world.build(app, empty, *arguments)
    assert (done.code, done.out, done.err) == (2, "", message)


# deploy push


def test_push_sends_what_the_store_has(world, app, name, empty):
    built = world.build(app, world.home, name=name).out.strip()
    done = deploy("push", world.named(name), home=world.home)
    assert (done.code, done.out) == (0, f"{built}\n")
    assert f"Pushed to {world.named(name)}: " in done.err
    assert digest_of(world, name) == built


def test_push_sends_an_app_s_image_to_the_named_registry(world, app, name, empty):
    built = world.build(app, world.home).out.strip()
    report = deploy("push", app, "-t", world.named(name), "--json", home=world.home).report
    assert report["digest"] == built == digest_of(world, name)
    assert set(report) == {
        "schema",
        "digest",
        "references",
        "sent",
        "mounted",
        "present",
        "sbom",
        "requests",
        "bytes_sent",
        "bytes_received",
    }
    again = deploy("push", app, "-t", world.named(name), home=world.home)
    assert again.err.startswith(f"Pushed to {world.named(name)}: no layer; ")


def test_push_says_what_the_store_lacks(world, app, name, empty):
    nothing = deploy("push", world.named(name), home=empty)
    assert (nothing.code, nothing.err) == (
        30,
        (
            f"error: {world.named(name)} is not in the store\n\nNothing in {empty} has that name.\n\n"
            f"hint: build it first with `deploy build -t {world.named(name)}`.\n"
        ),
    )
    home = world.home
    world.build(app, home, name=name)
    image = Store(home).image(world.named(name))
    assert image is not None
    path = Store(home).path(image.layers[-1].digest)
    path.rename(path.with_suffix(".away"))
    try:
        partly = deploy("push", world.named(name), home=home)
    finally:
        path.with_suffix(".away").rename(path)
    assert (partly.code, partly.err) == (
        30,
        (
            f"error: {world.named(name)} cannot be pushed: the store has it only in part\n\n"
            "One of its layers is missing.\n\n"
            "hint: build it again with `deploy build --to registry`, which takes those layers from a registry.\n"
        ),
    )


# The registry, as anybody can speak to it


def ask(world: World, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[bytes, Any]:
    url = path if path.startswith("http") else f"http://{world.registry}{path}"
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read(), answer.headers


def digest_of(world: World, name: str) -> str:
    repository, _, tag = name.partition(":")
    _, headers = ask(world, "HEAD", f"/v2/{repository}/manifests/{tag}", Accept=MANIFEST)
    return str(headers["Docker-Content-Digest"])


def put_blob(world: World, name: str, content: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    _, headers = ask(world, "POST", f"/v2/{name.partition(':')[0]}/blobs/uploads/", b"")
    ask(world, "PUT", f"{headers['Location']}&digest={digest}", content, **{"Content-Type": "application/octet-stream"})
    return {"digest": digest, "size": len(content)}


def forge_image(world: World, name: str, forge: Forge) -> None:
    """Put another manifest and config under the tag."""
    repository, _, tag = name.partition(":")
    manifest = json.loads(ask(world, "GET", f"/v2/{repository}/manifests/{tag}", Accept=MANIFEST)[0])
    config = json.loads(ask(world, "GET", f"/v2/{repository}/blobs/{manifest['config']['digest']}")[0])
    forge(manifest, config)
    manifest["config"] |= put_blob(world, name, json.dumps(config).encode())
    ask(
        world,
        "PUT",
        f"/v2/{repository}/manifests/{tag}",
        json.dumps(manifest).encode(),
        **{"Content-Type": MANIFEST},
    )


class _Refusal(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="here"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


class refusing:
    """A registry that lets nobody in; its ``host:port``."""

    def __enter__(self) -> str:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusal)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return f"127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
