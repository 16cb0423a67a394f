"""One app for two platforms: an index of two images that share what is the same, each right on its own machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from buildpack.oci.image import Platform
from buildpack.oci.layout import open_layout
from buildpack.oci.store import Store
from buildpack.stacks.platforms import native_platform, parse_platform
from deployer.text import size_text
from tests.conftest import missing
from tests.support import unchanged
from tests.support.command import EXAMPLES, ROOT, deploy
from tests.support.emulator import emulate_in, find_emulator
from tests.support.rootfs import unpack
from tests.support.stand_in import INDEX, join_platforms, make_stand_in
from tests.support.tiny import build_here
from tests.support.validate import validate

pytestmark = pytest.mark.slow

NAME = "deploy-test-platforms:1"
FULL = f"docker.io/library/{NAME}"
AMD64, ARM64 = Platform(architecture="amd64"), Platform(architecture="arm64")
BOTH = "linux/amd64,linux/arm64"

Report = dict[str, Any]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base for both platforms, of exactly the same version of Python."""
    try:
        layouts = [make_stand_in(architecture=name) for name in ("arm64", "amd64")]
    except RuntimeError as error:
        missing(f"the stand-ins for python:3.11-slim could not be made: {error}")
    return f"oci:{join_platforms(layouts, tmp_path_factory.mktemp('base') / 'both')}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store") / "home")


@pytest.fixture(scope="module")
def another_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Another machine's: it knows nothing, and comes to know the platforms in another order."""
    return Store(tmp_path_factory.mktemp("another") / "home")


def build(stack: str, store: Store, *arguments: str | Path, app: Path = EXAMPLES / "blasto") -> Report:
    options = ("--stack", stack, "-t", NAME, "--json", *arguments)
    return deploy("build", app, *options, home=store.root).report


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def first(stack: str, store: Store, out: Path) -> Report:
    to = ("--to", f"oci:{out}/layout", "--to", f"archive:{out}/archive.tar")
    return build(stack, store, "--platform", BOTH, *to)


def layers(report: Report, number: int) -> list[dict[str, Any]]:
    return list(report["platforms"][number]["layers"])


def count(report: Report) -> int:
    """Count the layers of all platforms, each once."""
    return len({layer["digest"] for one in report["platforms"] for layer in one["layers"]})


def test_the_report_is_of_the_index_and_of_each_platform(first: Report) -> None:
    assert list(first) == ["schema", "digest", "references", "size", "seconds", "platforms", "warnings"]
    assert (first["schema"], first["references"], first["warnings"]) == (1, [FULL], [])
    assert [one["platform"] for one in first["platforms"]] == ["linux/amd64", "linux/arm64"]
    assert {one["python"] for one in first["platforms"]} == {"3.11.2"}
    assert first["digest"] not in {one["digest"] for one in first["platforms"]}


def test_layers_of_pure_wheels_launcher_and_app_are_shared(first: Report) -> None:
    amd64, arm64 = layers(first, 0), layers(first, 1)
    own = {layer["digest"] for layer in amd64} ^ {layer["digest"] for layer in arm64}
    for one in (amd64, arm64):
        kinds = [(layer["kind"], [m["name"] for m in layer["members"]]) for layer in one if layer["digest"] in own]
        assert kinds == [("stack", []), ("dependencies", ["markupsafe"])]
    # Neither made again ...
    later = min(first["platforms"], key=lambda one: sum(layer["source"] == "built" for layer in one["layers"]))
    assert [layer["kind"] for layer in later["layers"] if layer["source"] == "built"] == ["dependencies"]
    # ... nor counted twice.
    assert first["size"] < sum(one["size"] for one in first["platforms"])


def test_byte_code_is_of_the_same_version_on_each_platform(first: Report, store: Store) -> None:
    for platform in (AMD64, ARM64):
        image = store.image(FULL, platform)
        assert image is not None
        labels = json.loads(image.config)["config"]["Labels"]
        assert labels["dev.deploy.bytecode"] == labels["dev.deploy.python"] == "3.11.2"


def test_the_store_s_name_means_the_index(first: Report, store: Store) -> None:
    index = store.image_index(FULL)
    assert index is not None
    assert str(index.digest) == first["digest"]
    document = json.loads(index.manifest)
    assert [item["platform"] for item in document["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    assert [item["digest"] for item in document["manifests"]] == [one["digest"] for one in first["platforms"]]
    assert store.image(FULL) is None
    for image in index.images:
        assert validate(image, store.open) == []


def test_each_platform_alone_gives_the_same_image(first: Report, stack: str, another_store: Store) -> None:
    for one in reversed(first["platforms"]):
        assert build(stack, another_store, "--platform", one["platform"])["digest"] == one["digest"]


def test_neither_order_nor_place_of_the_list_matters(
    first: Report, stack: str, another_store: Store, tmp_path: Path
) -> None:
    app = Path(shutil.copytree(EXAMPLES / "blasto", tmp_path / "blasto"))
    settings = app / "deploy.toml"
    settings.write_text(settings.read_text() + 'platform = ["linux/arm64", "linux/amd64", "linux/arm64/v8"]\n')
    assert build(stack, another_store, app=app)["digest"] == first["digest"]
    assert build(stack, another_store, "--platform", "linux/aarch64,linux/x86_64")["digest"] == first["digest"]
    # A command that needs one of the images leaves the name to the index.
    one = build_here(app, another_store.root, os.environ, stack=stack, references=(NAME,))
    assert (str(one.image.digest), one.stack.platform) in {
        (each["digest"], parse_platform(each["platform"])) for each in first["platforms"]
    }
    assert str(another_store.images()[FULL]) == first["digest"]
    # A flag wins over the list.
    shown = deploy("build", app, "--stack", stack, "--platform", "linux/arm64", "-q", home=another_store.root)
    assert shown.out.strip() == first["platforms"][1]["digest"]


@pytest.mark.registry
def test_other_tools_read_the_layout_and_the_archive(first: Report, out: Path, registry: str, tmp_path: Path) -> None:
    for number, source in enumerate((f"oci:{out}/layout:{FULL}", f"oci-archive:{out}/archive.tar:{FULL}")):
        raw = subprocess.run(["skopeo", "inspect", "--raw", source], check=True, capture_output=True).stdout
        assert json.loads(raw)["mediaType"] == INDEX
        target = f"docker://{registry}/platforms-{number}:1"
        copy = ["skopeo", "copy", "--all", "--quiet", "--dest-tls-verify=false", source, target]
        digest = tmp_path / f"digest-{number}"
        subprocess.run([*copy, f"--digestfile={digest}"], check=True)
        assert digest.read_text().strip() == first["digest"]
    with tarfile.open(out / "archive.tar") as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    with open_layout(out / "layout", scratch=tmp_path) as images:
        assert [str(images.image(platform).digest) for platform in (AMD64, ARM64)] == [
            one["digest"] for one in first["platforms"]
        ]


def test_an_unchanged_build_says_so(first: Report, stack: str, store: Store) -> None:
    done = deploy("build", EXAMPLES / "blasto", "--stack", stack, "-t", NAME, "--platform", BOTH, home=store.root)
    assert (done.code, done.out.strip()) == (0, first["digest"])
    lines = [line for line in done.err.splitlines() if " ..." not in line]
    assert lines[0].startswith(f"Unchanged: {NAME} from {EXAMPLES}/blasto in ")
    amd64, arm64 = (
        f"{one['platform']}: {size_text(one['size'])} in {len(one['layers'])} layers: 1 of the stack, "
        f"{len(one['layers']) - 1} reused, 0 written"
        for one in first["platforms"]
    )
    assert lines[1:] == [
        f"  python   3.11.2 on {stack} (linux/amd64, linux/arm64)",
        "  web      gunicorn blasto:APP",
        f"  image    {amd64}",
        f"  image    {arm64}",
        f"  size     {size_text(first['size'])} in {count(first)} layers, {count(first) - 4} of them shared",
        "",
        f"Next: deploy run {NAME}",
    ]


def test_a_platform_that_fails_is_named_before_another_is_built_and_no_image_gets_a_name(
    first: Report, stack: str, store: Store, tmp_path: Path
) -> None:
    app = Path(shutil.copytree(EXAMPLES / "blasto", tmp_path / "blasto"))
    hook = app / "bin" / "post_compile"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho it ran\n")
    hook.chmod(0o755)
    options = ("--stack", stack, "-t", NAME, "-t", "never:1", "--platform", f"{BOTH},linux/s390x")
    done = deploy("build", app, *options, home=store.root)
    assert (done.code, done.out) == (30, "")
    assert done.err == (
        f"error: linux/s390x: {stack} has no image for linux/s390x\n\n"
        "It has one for: linux/amd64, linux/arm64.\n\n"
        "hint: choose one with `--platform`, or another stack.\n"
    )
    assert {name: str(digest) for name, digest in store.images().items()} == {FULL: first["digest"]}


def test_what_is_wrong_with_the_folder_concerns_every_platform(stack: str, tmp_path: Path) -> None:
    app = Path(shutil.copytree(EXAMPLES / "blasto", tmp_path / "blasto"))
    (app / "Pipfile.lock").unlink()
    alone, several = (
        deploy("build", app, "--stack", stack, "--platform", asked, home=tmp_path / "home")
        for asked in ("linux/amd64", BOTH)
    )
    assert alone.code == 10
    assert (several.code, several.err) == (alone.code, alone.err)


@pytest.mark.engine
def test_an_engine_gets_the_image_of_its_platform(
    first: Report, stack: str, store: Store, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    native = str(native_platform())
    [expected] = [one for one in first["platforms"] if one["platform"] == native]
    try:
        assert build(stack, store, "--platform", BOTH, "--to", "docker")["digest"] == first["digest"]
        [loaded] = json.loads(subprocess.run(["docker", "inspect", NAME], check=True, capture_output=True).stdout)
        assert f"linux/{loaded['Architecture']}" == native
        image = store.image(FULL, native_platform())
        assert image is not None
        assert (str(image.digest), str(image.config_digest)) == (expected["digest"], loaded["Id"])
        # `run` finds its platform's image under the index's name.
        subprocess.run(["docker", "rmi", "-f", NAME], check=True, capture_output=True)
        done = deploy("run", NAME, "--", "python", "-c", "print('it runs')", home=store.root)
        assert (done.code, done.out) == (0, "it runs\n")
        other = "linux/arm64,linux/s390x" if native == "linux/amd64" else "linux/amd64,linux/s390x"
        refused = deploy(
            "build", EXAMPLES / "blasto", "--stack", stack, "--platform", other, "--to", "docker", home=store.root
        )
        assert refused.code == 40
        assert refused.err.endswith(
            f"error: the engine runs {native}, and the image is for {other.replace(',', ', ')}\n\n"
            "An engine takes the image of its own platform.\n\n"
            f"hint: add {native} to the platforms, or send the image elsewhere: `--to oci:DIR`, `--to archive:FILE`.\n"
        )
    finally:
        subprocess.run(["docker", "rmi", "-f", NAME], check=False, capture_output=True)


@pytest.mark.registry
def test_a_registry_gets_both_images_and_then_the_index(
    first: Report, stack: str, store: Store, registry: str, tmp_path: Path
) -> None:
    name = f"{registry}/platforms/pushed:1"
    options = ("--stack", stack, "-t", name, "--platform", BOTH, "--to", "registry")
    pushed = deploy("build", EXAMPLES / "blasto", *options, "--json", home=store.root).report
    assert pushed["digest"] == first["digest"] == digest_of(name)

    # On a machine that knows nothing, after one line changed: what is the same on each platform stays where it is.
    app = Path(shutil.copytree(EXAMPLES / "blasto", tmp_path / "blasto"))
    (app / "blasto" / "app.py").write_text((app / "blasto" / "app.py").read_text() + "# changed\n")
    changed = deploy("build", app, *options, "--json", home=tmp_path / "home").report
    assert changed["digest"] == digest_of(name) != first["digest"]
    for one in changed["platforms"]:
        sources = {layer["kind"]: layer["source"] for layer in one["layers"] if layer["kind"] != "stack"}
        assert (sources["runtime"], sources["dependencies"]) == ("registry", "registry")
    app_layer = next(layer for layer in changed["platforms"][0]["layers"] if layer["kind"] == "app")
    assert changed["bytes_sent"] < app_layer["size"] + 40_000
    # The same as a cold build gives.
    assert build(stack, store, "--platform", BOTH, "-t", "again:1", app=app)["digest"] == changed["digest"]

    # A layer that both need and the registry lost is made again, once, and sent.
    [lost] = {layer["digest"] for one in changed["platforms"] for layer in one["layers"] if layer["kind"] == "runtime"}
    url = f"http://{registry}/v2/platforms/pushed/blobs/{lost}"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30) as answer:
        assert answer.status == 202
    (app / "blasto" / "app.py").write_text((app / "blasto" / "app.py").read_text() + "# and again\n")
    mended = deploy("build", app, *options, "--json", home=tmp_path / "home").report
    assert mended["digest"] == digest_of(name) != changed["digest"]
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert f"sha256:{hashlib.sha256(answer.read()).hexdigest()}" == lost

    again = deploy("build", app, *options, home=tmp_path / "home")
    assert (again.code, again.out.strip()) == (0, mended["digest"])
    assert f"Unchanged: {name} from {app} in " in again.err
    assert "  sent     to " in again.err


@pytest.mark.registry
def test_a_pipeline_pushes_the_index(first: Report, stack: str, store: Store, registry: str, tmp_path: Path) -> None:
    name = f"{registry}/platforms/pipeline:1"
    options = ("--stack", stack, "-t", name, "--platform", BOTH, "--push", "--no-boot", "--json")
    outputs = tmp_path / "outputs"
    env = {"GITHUB_OUTPUT": str(outputs), "GITHUB_ACTIONS": ""}
    report = deploy("ci", EXAMPLES / "blasto", *options, home=store.root, env=env).report
    assert report["digest"] == first["digest"] == digest_of(name)
    assert [one["digest"] for one in report["platforms"]] == [one["digest"] for one in first["platforms"]]
    assert {step["name"]: step["status"] for step in report["steps"]} == {
        "check": "passed",
        "build": "passed",
        "test": "skipped",
        "boot": "skipped",
        "push": "passed",
    }
    [build_step] = [step for step in report["steps"] if step["name"] == "build"]
    each = f"1 of the stack, {len(layers(first, 0)) - 1} reused, 0 written"
    assert build_step["reason"] == (
        f"{size_text(first['size'])} in {count(first)} layers: linux/amd64 {each}; linux/arm64 {each}"
    )
    assert f"\n{first['digest']}\n" in outputs.read_text()


def digest_of(name: str) -> str:
    """Ask the registry what this name means, with a tool that is not ours."""
    inspect = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    raw = subprocess.run(inspect, check=True, capture_output=True).stdout
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


PROBE = """
import os, platform, sys
os.chdir("/app")
sys.path.insert(0, "/app")
import blasto, flask, markupsafe._speedups
page = blasto.APP.test_client().get("/")
print(platform.machine(), sys.prefix, page.status_code, markupsafe._speedups.__file__.rpartition(".cpython")[2])
stale = [m.__name__ for m in sys.modules.values() if "/site-packages/" in (getattr(m, "__file__", "") or "")
         and m.__file__.endswith(".py") and not os.path.exists(m.__cached__)]
print(stale)
"""


@pytest.fixture(scope="module")
def emulator() -> Path:
    try:
        return find_emulator("aarch64")
    except RuntimeError as error:
        missing(f"QEMU for aarch64 is not here: {error}")


@pytest.fixture(scope="module")
def root(first: Report, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file system of the image for arm64."""
    image = store.image(FULL, ARM64)
    assert image is not None
    return unpack(image.layers, store, tmp_path_factory.mktemp("arm64") / "root")


def test_the_image_for_arm64_works_on_arm64(root: Path, emulator: Path) -> None:
    # With -v it says which byte code it took, and which it found wanting.
    done = emulate_in(root, emulator, "/opt/venv/bin/python", "-v", "-c", PROBE)
    assert done.stdout == "aarch64 /opt/venv 200 -311-aarch64-linux-gnu.so\n[]\n", done.stderr[-2000:]
    said = done.stderr.splitlines()
    used = [line for line in said if line.startswith("# code object from '/opt/venv/lib/") and ".pyc" in line]
    assert len(used) > 50
    assert [
        line for line in said if "site-packages" in line and ("bytecode is stale" in line or "bad magic" in line)
    ] == []
    launcher = emulate_in(
        root,
        emulator,
        "/usr/bin/python3.11",
        "-I",
        "-c",
        "import sys; sys.path.insert(0, '/opt/deploy'); import deployer.runner.launcher, honcho.printer as m; print(m)",
    )
    assert launcher.stdout == "<module 'honcho.printer' from '/opt/deploy/honcho/printer.py'>\n", launcher.stderr


WRITE = """
import hashlib, io, sys
sys.path[:0] = ["/tool"]
from buildpack.oci.entry import file
from buildpack.oci.layer import write_layer
numbers = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(40_000))
words = b" ".join(b"%d" % (number * number % 977) for number in range(600_000))
entries = [file("numbers", numbers), file("words", words), file("both", words[:70_000] + numbers + words[70_000:])]
print(write_layer(entries, io.BytesIO()).digest)
"""


def test_a_layer_written_on_arm64_is_the_same_to_the_last_bit(root: Path, emulator: Path, tmp_path: Path) -> None:
    wanted = f"deflate=={importlib.metadata.version('deflate')}"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    download += ["--platform=manylinux_2_17_aarch64", "--platform=manylinux_2_28_aarch64", "--python-version=3.11"]
    subprocess.run([*download, f"--dest={tmp_path}", wanted], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "tool")
    shutil.copytree(ROOT / "buildpack", root / "tool" / "buildpack", ignore=shutil.ignore_patterns("__pycache__"))
    there = emulate_in(root, emulator, "/usr/bin/python3.11", "-I", "-c", WRITE)
    here = subprocess.run(
        [sys.executable, "-c", WRITE.replace("/tool", str(ROOT))], check=True, capture_output=True, encoding="utf-8"
    )
    assert there.stdout == here.stdout, there.stderr[-2000:]
    assert here.stdout.startswith("sha256:")


def test_what_is_unchanged_is_answered_from_the_record(stack: str, store: Store, tmp_path: Path) -> None:
    unchanged.own_tool()  # it must be there for a while, too, before a record is made
    app = unchanged.make_app(tmp_path / "app")

    def again(*options: str) -> unchanged.Answer:
        return unchanged.build(app, "--stack", stack, "--platform", BOTH, *options, home=store.root)

    first, second = again("-v"), again("-v")
    assert (first.recorded, second.recorded) == (False, True)
    assert first.digest == second.digest
    assert second.err.startswith("Unchanged: app:latest from ")
    third = again("-v", "--tag", "app:latest")  # another call, which finds that nothing changed by looking
    assert not third.recorded
    assert second.err.splitlines()[1:] == third.err.splitlines()[1:]
    told, repeated = (json.loads(again("--json").out) for _ in range(2))
    assert [one.pop("seconds") for one in (told, repeated)]
    assert repeated == told

    (app / "server.py").write_text("GREETING = 'good evening'\n")
    changed = again("-v")
    assert not changed.recorded
    assert changed.digest != first.digest


def test_the_record_watches_each_platform_s_image(stack: str, store: Store, tmp_path: Path) -> None:
    unchanged.own_tool()  # it must be there for a while, too, before a record is made
    app = unchanged.make_app(tmp_path / "app")
    home = Path(shutil.copytree(store.root, tmp_path / "home", copy_function=os.link))

    def again() -> unchanged.Answer:
        return unchanged.build(app, "--stack", stack, "--platform", BOTH, "-q", home=home)

    first = again()
    for platform in (AMD64, ARM64):
        assert again().recorded
        image = Store(home).image("docker.io/library/app:latest", platform)
        assert image is not None
        Store(home).path(image.config_digest).unlink()
        mended = again()
        assert (mended.recorded, mended.digest) == (False, first.digest)
