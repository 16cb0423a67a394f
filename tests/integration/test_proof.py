"""`deploy inspect` and `deploy verify`: what is in an image, and whether it is what its source builds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from buildpack.oci.compare import compare_images
from buildpack.oci.compression import gunzip
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.entry import file
from buildpack.oci.image import Image, Layer, assemble, canonical_json, unpack
from buildpack.oci.layer import write_layer
from buildpack.oci.manifest import parse_image
from buildpack.oci.push import push_image
from buildpack.oci.reference import parse_reference
from buildpack.oci.referrers import fetch_referrers
from buildpack.oci.registry import Registry
from buildpack.oci.store import Store
from buildpack.oci.tar_reader import read_members
from buildpack.oci.transport import Transport
from deployer.cli.command import run
from deployer.proof.attaching import attach_sboms, make_referrer
from deployer.proof.reasons import explain
from tests.conftest import missing
from tests.support import stand_in
from tests.support.command import Done
from tests.support.images import Blobs, image_of
from tests.support.index import Index, serving
from tests.support.proxy import Proxy, answer
from tests.support.tiny import add_wheels, build_here, environ, write_app, write_lock

PACKAGES = ("alpha", "bravo", "charlie")
TINY = "docker.io/library/tiny:latest"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class World:
    """An app, its index, and a store that has built it."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.index, self.home = index, folder / "home"
        self.app = write_app(folder / "tiny", add_wheels(index, folder / "wheels", *PACKAGES))
        self.environ = {**os.environ, **environ(index), "DEPLOY_HOME": str(self.home)}
        self.built = build_here(self.app, self.home, self.environ)

    @property
    def digest(self) -> str:
        return str(self.built.image.digest)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving() as index:
        yield World(tmp_path_factory.mktemp("proof"), index)


Command = Callable[..., Done]


@pytest.fixture
def deploy(world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Call the command in this process, with the world's store."""
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str | Path, env: dict[str, str] | None = None) -> Done:
        with monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = run(list(map(str, arguments)))
        out, err = capfd.readouterr()
        return Done(code=code, out=out, err=err)

    return call


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    """The app, to change at will."""
    return Path(shutil.copytree(world.app, tmp_path / "tiny"))


def plain(text: str) -> str:
    """Leave out what differs between machines."""
    return re.sub(r"in [\d.]+ s", "in N s", DIGEST.sub("sha256:...", text))


# Inspect


def test_it_shows_what_is_in_an_image(world, deploy):
    done = deploy("inspect", "tiny", "--layers")
    assert done.code == 0
    stack = world.built.stack
    head, _, layers = done.out.partition("\n\n")
    size = re.search(r"size +(\d+ MB) in 7 layers: 2 of the stack, 5 on top", head)
    assert size is not None
    assert head.splitlines() == [
        "tiny:latest, in the store",
        f"  digest {world.digest}",
        f"  platform   {stack.platform}",
        "  created    1980-01-01T00:00:00Z",
        f"  python     {stack.python.version}, byte code compiled",
        "  stack      host",
        f"         {stack.digest}",
        f"  libc       glibc {stack.facts.libc[1]}.{stack.facts.libc[2]}, {stack.machine}",
        "  web        python -m wsgiref.simple_server (default)",
        "  app object tiny:app",
        f"  size       {size[1]} in 7 layers: 2 of the stack, 5 on top",
        "  packages   alpha 1.0, bravo 1.0, charlie 1.0",
        "  label      org.opencontainers.image.title=tiny",
    ]
    rows = [re.split(r"\s{2,}", line.strip()) for line in layers.splitlines()]
    assert [row[0] for row in rows[:3]] == ["stack", "stack", "runtime"]
    assert rows[-1][0] == "app"
    assert sorted(row[3] for row in rows if len(row) > 3) == ["alpha 1.0", "bravo 1.0", "charlie 1.0"]
    assert max(map(len, done.out.splitlines())) == 80


def test_json_has_what_the_documentation_says(world, deploy):
    report = deploy("inspect", "tiny", "--json").report
    assert report["schema"] == 1
    assert (report["reference"], report["source"], report["digest"]) == (TINY, "store", world.digest)
    assert report["platforms"] == [report["platform"]]
    assert report["stack"] == {"name": "host", "digest": str(world.built.stack.digest), "layers": 2}
    assert report["processes"] == {"web": "python -m wsgiref.simple_server"}
    assert (report["default"], report["app_object"], report["built_by_deploy"]) == ("web", "tiny:app", True)
    assert [package["name"] for package in report["packages"]] == list(PACKAGES)
    assert report["size"] == world.built.image.size
    assert [layer["digest"] for layer in report["layers"]] == [str(each.digest) for each in world.built.image.layers]
    assert report["entrypoint"][1:] == ["-I", "/opt/deploy"]
    by_digest = deploy("inspect", world.digest, "--json").report
    assert by_digest == {**report, "reference": world.digest}


def test_an_image_that_is_nowhere(world, deploy):
    missing = "sha256:" + "0" * 64
    assert deploy("inspect", missing).err == (
        f"error: the store at {world.home} has no image {missing}\n\n"
        "A digest alone does not say which registry to ask.\n\n"
        f"hint: name the repository as well: REGISTRY/NAME@{missing}.\n"
    )
    done = deploy("inspect", "127.0.0.1:9/nothing:1")
    assert done.code == 30
    assert done.err.startswith(
        "error: the registry 127.0.0.1:9 cannot be reached\n\n"
        f"It is not in the store at {world.home}, so its registry was asked. "
    )


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_an_app_that_was_never_built(deploy, copy, tmp_path, command):
    """Docker Hub is not asked for an image that cannot be there, unless with --remote; a registry in the name is."""
    home = {"DEPLOY_HOME": str(tmp_path / "empty"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = deploy(command, copy, env=home)
    assert (done.code, done.out) == (30, "")
    assert done.err == (
        f"error: the app in {copy} has no image yet\n\n"
        f"The store at {tmp_path}/empty has no image docker.io/library/tiny:latest.\n\n"
        f"hint: build it with `deploy build {copy}`, or name the image that was built.\n"
    )
    asked = "the registry registry-1.docker.io cannot be reached\n\nThe proxy cannot be reached, or refuses."
    assert deploy(command, copy, "--remote", env=home).err.startswith(f"error: {asked}")
    (copy / "deploy.toml").write_text('name = "ghcr.io/me/tiny"\n')
    assert "so its registry was asked." in deploy(command, copy, env=home).err


@pytest.mark.registry
def test_an_image_in_a_registry(world, deploy, registry, tmp_path):
    name = f"{registry}/proof/tiny:1"
    pushed = deploy("push", world.app, "-t", name)
    assert pushed.code == 0, pushed.err
    assert pushed.err.endswith("; bill of materials attached\n")
    elsewhere = {"DEPLOY_HOME": str(tmp_path / "empty")}
    report = deploy("inspect", name, "--json", env=elsewhere).report
    assert report["source"] == "registry"
    here = deploy("inspect", "tiny", "--json").report
    assert {**report, "reference": TINY, "source": "store"} == here
    assert deploy("inspect", name, env=elsewhere).out.startswith(f"{name}, in the registry\n")
    assert deploy("inspect", name, "--sbom", env=elsewhere).out == deploy("inspect", "tiny", "--sbom").out


@pytest.mark.registry
def test_an_image_of_another_tool(deploy, registry):
    blobs = Blobs()
    image = image_of(blobs.layer({"bin/true": b""}), label="theirs")
    name = parse_reference(f"{registry}/proof/foreign:1")
    with Transport({}) as transport:
        push_image(image, [name], blobs.open, transport=transport)
    done = deploy("inspect", str(name))
    assert plain(done.out).splitlines() == [
        f"{name}, in the registry",
        "not built by deploy, so its layers do not say what they contain",
        "  digest sha256:...",
        "  platform   linux/amd64",
        "  created    1980-01-01T00:00:00Z",
        '  command    ["/none"]',
        f"  size       {image.size} B in 1 layer",
        "  label      label=theirs",
    ]
    assert deploy("inspect", str(name), "--json").report["built_by_deploy"] is False
    done = deploy("inspect", str(name), "--platform", "linux/s390x")
    assert (done.code, done.err) == (
        30,
        f"error: {name} is for linux/amd64, not for linux/s390x\n\nhint: leave --platform out.\n",
    )


# The bill of materials


def referrers_of(name: str, digest: str) -> list[dict]:
    with Transport({}) as transport:
        there = Registry(parse_reference(name), transport)
        return list(fetch_referrers(there, Digest.parse(digest), "application/vnd.cyclonedx+json").listed)


@pytest.mark.registry
def test_the_bill_of_materials_goes_with_the_image(world, deploy, registry):
    name = f"{registry}/proof/bill:1"
    done = deploy("push", world.app, "-t", name, "--no-sbom")
    assert "bill of materials" not in done.err
    assert referrers_of(name, world.digest) == []

    for words in ("attached", "there already"):
        assert deploy("push", world.app, "-t", name).err.endswith(f"; bill of materials {words}\n")
        (listed,) = referrers_of(name, world.digest)
    with Transport({}) as transport:
        there = Registry(parse_reference(name), transport)
        manifest = json.loads(there.fetch_manifest(Digest.parse(listed["digest"])).raw)
        assert manifest["subject"]["digest"] == world.digest
        (layer,) = manifest["layers"]
        out = bytearray()

        class Sink:
            def write(self, piece: bytes) -> None:
                out.extend(piece)

        there.fetch_blob(Digest.parse(layer["digest"]), layer["size"], Sink())
    told = deploy("inspect", "tiny", "--sbom").out
    assert out.decode() == told
    # Only here, since it makes 38 grammars when it is loaded.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(told) is None
    assert {part["name"] for part in json.loads(told)["components"]} >= {"python", "host", "app", *PACKAGES}


@pytest.mark.registry
def test_a_build_attaches_one_where_it_is_asked_to(world, deploy, registry):
    name = f"{registry}/proof/built:1"
    done = deploy("build", world.app, "-t", name, "--to", "registry", "--sbom")
    assert "  sent     bill of materials attached\n" in done.err
    assert len(referrers_of(name, world.digest)) == 1
    done = deploy("build", world.app, "--sbom")
    assert (done.code, done.err) == (
        2,
        "error: --sbom is for images that are pushed\n\nhint: add --to registry, or use `deploy inspect REF --sbom`.\n",
    )


@pytest.mark.registry
def test_every_image_in_every_repository_gets_its_own(registry):
    """As with an index of several platforms under two names."""
    blobs = Blobs()
    images = [image_of(blobs.layer({"a": b"%d" % number})) for number in range(3)]
    names = [parse_reference(f"{registry}/proof/{name}:1") for name in ("one", "two", "two")]
    with Transport({}) as transport:
        for image in images:
            push_image(image, names, blobs.open, transport=transport)
        done = attach_sboms(images, names, transport=transport)
    assert [each.trouble for each in done] == [""] * 6
    for name in names[:2]:
        for image in images:
            (listed,) = referrers_of(str(name), str(image.digest))
            assert listed["digest"] == str(make_referrer(image).digest)


@pytest.mark.registry
def test_a_registry_whose_list_of_referrers_fails_lists_them_by_a_tag(world, deploy, registry):
    with Proxy(registry) as proxy:
        name = f"{proxy.name}/proof/refused:1"
        proxy.fault("GET", r"/referrers/", answer(403), times=-1)
        done = deploy("push", world.app, "-t", name)
    assert done.code == 0
    assert done.out == f"{world.digest}\n"
    assert "; bill of materials attached, listed by a tag (GET http://" in done.err
    assert done.err.endswith(" answered 403)\n")


# Verify


def test_an_image_is_what_its_source_builds(world, deploy):
    done = deploy("verify", "tiny", world.app)
    assert (done.code, done.out) == (0, f"{world.digest}\n")
    assert plain(done.err).splitlines()[-3:] == [
        f"Verified: tiny:latest, in the store, is what {world.app} builds, bit for bit",
        f"  built again in N s on host ({world.built.stack.platform})",
        f"  read {len(world.built.image.layers) + 1} blobs in the store",
    ]
    assert list((world.home / "tmp").iterdir()) == []


def test_blobs_that_are_damaged_in_the_store_are_found_although_the_digest_is_right(world, deploy, tmp_path):
    home = Path(shutil.copytree(world.home, tmp_path / "home"))
    damaged = sorted((world.built.layers[0][0].layer.digest, world.built.layers[-1][0].layer.digest), key=str)
    for digest in damaged:
        path = Store(home).path(digest)
        path.write_bytes(b"\0" * path.stat().st_size)
    done = deploy("verify", "tiny", world.app, env={"DEPLOY_HOME": str(home)})
    assert (done.code, done.out) == (70, "")
    count = len(world.built.image.layers) + 1
    assert f"error: 2 of {count} blobs of {TINY} in the store at {home} are damaged\n" in done.err
    assert f"They were removed: {damaged[0]}, {damaged[1]}." in done.err
    assert deploy("build", world.app, "-q", env={"DEPLOY_HOME": str(home)}).code == 0
    assert deploy("verify", "tiny", world.app, env={"DEPLOY_HOME": str(home)}).code == 0


def test_a_changed_line_is_found_and_named(world, deploy, copy):
    (copy / "tiny" / "__init__.py").write_text((copy / "tiny" / "__init__.py").read_text() + "# more\n")
    (copy / "notes.txt").write_text("")
    done = deploy("verify", "tiny", copy)
    size = (world.app / "tiny" / "__init__.py").stat().st_size
    assert (done.code, done.out) == (60, "")
    assert plain(done.err).partition("error: ")[2] == (
        f"tiny:latest is not what {copy} builds\n\n"
        "Digests:\n"
        "  the image    sha256:...\n"
        "  built again  sha256:...\n"
        "The layer app:\n"
        "  /app/notes.txt: not in the image\n"
        f"  /app/tiny/__init__.py: size {size} in the image, {size + 7} built; other content\n\n"
        "The app's files are not those that it was built from.\n\n"
        "hint: check out the commit that it was built from, and verify there.\n"
    )


def test_uncommitted_files_are_reported(deploy, copy):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=copy, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    (copy / "tiny" / "page.html").write_text("<p>changed</p>\n")
    report = json.loads(deploy("verify", "tiny", copy, "--json").out)
    assert report["equal"] is False
    (one,) = report["images"]
    assert one["reasons"] == [
        {
            "why": "1 file of this folder is not as committed: tiny/page.html.",
            "hint": "commit or stash the changes, and repeat.",
        }
    ]
    (layer,) = one["layers"]
    (entry,) = layer["entries"]
    assert (entry["path"], [field["path"] for field in entry["fields"]]) == ("/app/tiny/page.html", ["size", "content"])


def test_what_else_decides_an_image_is_named(world, deploy):
    """Times, labels: found in one go, each with the way to repeat it."""
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    built = deploy("build", world.app, "-t", "tiny:dated", "--label", "release=7", "-q", env=env)
    assert built.code == 0
    done = deploy("verify", "tiny:dated", world.app)
    assert done.code == 60
    text = plain(done.err)
    assert re.search(r"The layer app:\n  \d+ entries: mtime 2023-11-14T22:13:20Z in the image, 1980-01-01", text)
    assert "The config:\n  config.Labels.release 7 in the image, none built\n  created 2023-11-14T22:13:20Z" in text
    assert "Its time of creation is 2023-11-14T22:13:20Z, and this build's is 1980-01-01T00:00:00Z" in text
    assert done.err.endswith("hint: repeat with SOURCE_DATE_EPOCH=1700000000.\nhint: repeat with --label release=7.\n")
    assert deploy("verify", "tiny:dated", world.app, "--label", "release=7", env=env).code == 0


def test_another_lock_is_named_with_its_packages(world, deploy, copy, tmp_path):
    packages = add_wheels(world.index, tmp_path / "more", "alpha", "delta")
    write_lock(copy, packages)
    done = deploy("verify", "tiny", copy)
    assert done.code == 60
    assert (
        "It was built from another Pipfile.lock. These packages differ: bravo is only in the image, "
        "charlie is only in the image, delta is not in the image." in done.err
    )


def replaced(world: World, kind: str, change: Callable[[str, bytes], bytes]) -> Image:
    """Return the image with another content in the first layer of this kind, under the same key."""
    store = Store(world.home)
    image = world.built.image
    layers: list[Layer] = []
    done = False
    for layer in image.layers:
        if layer.annotations.get("dev.deploy.kind") == kind and not done:
            done = True
            with store.open(layer.digest) as blob:
                entries = [
                    file(member.path, change(member.path, b"".join(content)), executable=bool(member.mode & 0o111))
                    for member, content in read_members(gunzip(blob), origin="it")
                    if member.kind == "file"
                ]
            with store.blob() as out:
                made = write_layer(entries, out)
                out.commit(made.digest)
            layers.append(replace(layer, digest=made.digest, diff_id=made.diff_id, size=made.size))
        else:
            layers.append(layer)
    config = json.loads(image.config)
    return assemble(
        layers,
        platform=world.built.stack.platform,
        created=config["created"],
        config=config["config"],
        annotations=json.loads(image.manifest)["annotations"],
    )


def test_a_layer_that_was_altered_under_its_key_is_found(world, deploy):
    def change(path: str, body: bytes) -> bytes:
        return body + b"import os\n" if path.endswith("/__init__.py") else body

    evil = replaced(world, "dependencies", change)
    Store(world.home).put_image(evil, ["docker.io/library/tiny:evil"])
    done = deploy("verify", "tiny:evil", world.app)
    assert done.code == 60
    assert "/__init__.py: size" in done.err
    assert "has the key of the layer that was built here, but other content." in done.err
    assert "hint: do not run it; run `deploy build " in done.err


def altered(image: Image, change: Callable[[dict, dict, list[dict]], object]) -> Image:
    """Change an image's annotations, its config, and what it says of its layers, and put it together again."""
    manifest, config = json.loads(image.manifest), json.loads(image.config)
    change(manifest.get("annotations", {}), config, manifest["layers"])
    raw = canonical_json(config)
    manifest["config"] |= {"digest": str(sha256(raw)), "size": len(raw)}
    return parse_image(canonical_json(manifest), raw, origin="altered")


def of_kind(layers: list[dict], kind: str) -> dict:
    return next(each["annotations"] for each in layers if each.get("annotations", {}).get("dev.deploy.kind") == kind)


def other_wheel(_annotations: dict, _config: dict, layers: list[dict]) -> None:
    of_kind(layers, "dependencies")["dev.deploy.key"] = "0" * 64
    members = unpack(of_kind(layers, "dependencies")["dev.deploy.members"])
    members[0][1] = "0" * 64  # its hash
    of_kind(layers, "dependencies")["dev.deploy.members"] = json.dumps(members)
    layers[3]["digest"] = layers[4]["digest"]  # another content


def other_runtime(_annotations: dict, _config: dict, layers: list[dict]) -> None:
    of_kind(layers, "runtime")["dev.deploy.key"] = "0" * 64
    layers[2]["digest"] = layers[3]["digest"]


def on_top(_annotations: dict, config: dict, layers: list[dict]) -> None:
    layers.append({**layers[0], "annotations": {}})
    config["rootfs"]["diff_ids"].append(config["rootfs"]["diff_ids"][0])
    config["history"].append(config["history"][0])


def strip(_annotations: dict, _config: dict, layers: list[dict]) -> None:
    for layer in layers:
        layer.pop("annotations", None)


ALTERED = {
    "byte code": (
        lambda _annotations, config, _layers: config["config"]["Labels"].update({"dev.deploy.bytecode": "3.9.1"}),
        "Its byte code was compiled by Python 3.9.1, here by Python ",
    ),
    "another wheel": (other_wheel, "was built from source. Two such builds may differ in times, paths"),
    "another version of deploy": (other_runtime, "Its launcher is of another version of deploy."),
    "a layer on top": (on_top, " was put on top of what deploy builds."),
    "no annotations": (strip, "Only compression or annotations differ: containers of both see the same files."),
    "the user": (
        lambda _annotations, config, _layers: config["config"].update({"User": "0"}),
        "Labels, keys and packages agree, so someone or something changed it after it was built.",
    ),
}


def test_another_entrypoint_is_shown_beside_what_the_launcher_would_start(world, deploy):
    def replace_entrypoint(_annotations: dict, config: dict, _layers: list[dict]) -> None:
        config["config"]["Entrypoint"] = ["/bin/sh", "-c", "evil"]

    Store(world.home).put_image(altered(world.built.image, replace_entrypoint), ["docker.io/library/tiny:entry"])
    shown = deploy("inspect", "tiny:entry").out
    assert '  entrypoint ["/bin/sh", "-c", "evil"]\n' in shown
    assert "  web " in shown
    assert "entrypoint" not in deploy("inspect", "tiny").out


EVIL = "\x1b]0;x\x07\n\nhint: run evil \u202e"


def speak_to_the_terminal(_annotations: dict, config: dict, layers: list[dict]) -> None:
    config["created"] = EVIL
    config["config"]["Labels"] |= {EVIL: EVIL, "dev.deploy.bytecode": EVIL, "dev.deploy.python": EVIL}
    notes = of_kind(layers, "dependencies")
    members = unpack(notes["dev.deploy.members"])
    notes["dev.deploy.members"] = json.dumps([*members, ["evil-1.whl", "0" * 64, 1, {"name": EVIL, "version": EVIL}]])
    notes["dev.deploy.slot"] = notes["dev.deploy.kind"] = EVIL


def test_no_image_speaks_to_the_terminal(world, deploy):
    evil = altered(world.built.image, speak_to_the_terminal)
    Store(world.home).put_image(evil, ["docker.io/library/tiny:speaking"])
    for command in (["inspect"], ["inspect", "--layers"], ["verify"]):
        done = deploy(*command, "tiny:speaking", *([world.app] if command == ["verify"] else []))
        assert done.code == (60 if command == ["verify"] else 0), done.err
        told = done.out + done.err
        assert all(line.isprintable() for line in told.split("\n")), command
        assert "\nhint: run evil" not in told
        assert r"\x1b]0;x\x07\n\nhint: run evil \u202e" in told.replace("\n" + " " * 12, "")


@pytest.mark.parametrize("case", ALTERED)
def test_every_reason_is_found(world, case):
    change, told = ALTERED[case]
    image = altered(world.built.image, change)
    store = Store(world.home)

    def open_layer(layer: Layer) -> BinaryIO:
        return store.open(layer.digest)

    comparison = compare_images(image, world.built.image, open_image=open_layer, open_rebuilt=open_layer)
    reasons = explain(image, world.built, comparison, environ={})
    assert [reason.why for reason in reasons if told in reason.why and "layer layer" not in reason.why], reasons
    assert len(reasons) == 1, reasons


@pytest.mark.registry
def test_verify_trusts_nothing_and_fetches_no_layer_that_is_equal(world, deploy, registry, tmp_path):
    """From an empty store and a registry: only documents come, since every digest is the same."""
    with Proxy(registry) as proxy:
        name = f"{proxy.name}/proof/verified:1"
        assert deploy("push", world.app, "-t", name).code == 0
        proxy.clear()
        done = deploy("verify", name, world.app, env={"DEPLOY_HOME": str(tmp_path / "empty")})
        assert done.code == 0, done.err
        assert proxy.received < 40_000
        assert ", in the registry, is what" in done.err


@pytest.mark.registry
def test_a_base_s_tag_that_moved_since_makes_no_difference(deploy, copy, registry, tmp_path):
    """The image names the base by its digest, and that one is built on; another has to be asked for."""
    try:
        base = stand_in.make_stand_in()
    except RuntimeError as error:
        missing(str(error))
    tag = stand_in.push(base, registry, "proof/python:3.11-slim")
    (copy / "deploy.toml").write_text(f'name = "tiny"\nstack = "{tag}"\n')
    built = deploy("build", copy, "-t", "tiny:based", "-q")
    assert built.code == 0, built.err
    first = deploy("inspect", "tiny:based", "--json").report["stack"]
    assert first["name"] == f"{tag}@{first['digest']}"

    name = f"{registry}/proof/tiny:based"
    assert deploy("push", "tiny:based", "-t", name, "-q").code == 0
    shown = deploy("inspect", name, env={"DEPLOY_HOME": str(tmp_path / "empty")}).out
    row = "stack      named by the image only; this machine has no name for its digest"
    assert f"  {row}\n         {first['digest']}\n" in shown

    stand_in.push(base, registry, "proof/python:3.11-slim", form="v2s2")
    done = deploy("verify", "tiny:based", copy)
    assert (done.code, done.out) == (0, built.out)
    assert f"on {tag}@{first['digest']} (" in done.err

    done = deploy("verify", "tiny:based", copy, "--stack", tag)
    assert done.code == 60
    assert f"It was built on another stack: on {first['digest']}, and this build on sha256:" in done.err
    assert f"hint: pin the base's digest with `deploy lock {copy}`, or name it with --stack REF@DIGEST." in done.err
