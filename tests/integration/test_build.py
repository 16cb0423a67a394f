"""`deploy build` on real input: what it prints, and that the same input gives the same bits."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from buildpack.oci.digest import Digest
from buildpack.oci.store import Store
from tests.support.command import EXAMPLES, deploy
from tests.support.tiny import write_app
from tests.support.validate import validate


@pytest.fixture(scope="module")
def reference(home: Path) -> str:
    """The digest of the example, built once plainly."""
    done = deploy("build", EXAMPLES / "blasto", "-t", "plain:1", "-q", home=home)
    assert done.code == 0, done.err
    return done.out.strip()


def test_json_has_what_the_documentation_says(home, reference):
    report = deploy("build", EXAMPLES / "blasto", "-t", "plain:1", "--json", home=home).report
    assert report["schema"] == 1
    assert report["digest"] == reference
    assert report["references"] == ["docker.io/library/plain:1"]
    assert report["platform"].startswith("linux/")
    assert report["stack"]["name"] == "host"
    assert report["processes"] == {"web": "gunicorn blasto:APP"}
    assert report["size"] > sum(layer["size"] for layer in report["layers"])
    assert report["seconds"] > 0
    assert report["warnings"] == []
    assert [layer["kind"] for layer in report["layers"][-1:]] == ["app"]
    for layer in report["layers"]:
        assert set(layer) == {"digest", "diff_id", "size", "kind", "members", "source", "reason"}
        assert layer["source"] == "store"
        Digest.parse(layer["digest"])
        Digest.parse(layer["diff_id"])
    members = [member["name"] for layer in report["layers"] for member in layer["members"]]
    assert sorted(members) == sorted(set(members))
    assert {"flask", "gunicorn", "werkzeug"} <= set(members)


def test_every_digest_diff_id_and_size_is_right(home, reference):
    store = Store(home)
    image = store.image("docker.io/library/plain:1")
    assert image is not None
    assert str(image.digest) == reference
    assert validate(image, store.open) == []


@pytest.mark.registry
def test_skopeo_reads_the_store(home, reference):
    done = subprocess.run(
        ["skopeo", "inspect", f"oci:{home}:docker.io/library/plain:1"], capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout)["Digest"] == reference


def test_an_image_written_among_the_app_s_files_is_warned_of(home, reference, tmp_path):
    app = Path(shutil.copytree(EXAMPLES / "blasto", tmp_path / "blasto"))
    command = ["build", app, "--json", "--to", f"oci:{tmp_path}/beside", "--to", f"oci:{app}/inside"]
    warning = (
        f"--to oci:{app}/inside is in the app's folder, so the next image would contain this one; "
        "name a place elsewhere, or list it in .dockerignore."
    )
    report = deploy(*command, home=home).report
    assert report["digest"] == reference
    assert report["warnings"] == [warning]
    (app / ".dockerignore").write_text("inside\n")
    assert deploy(*command, home=home).report["warnings"] == []


def hostile_folder(source: Path, target: Path) -> Path:
    """Copy files in reverse order, with odd times and modes: what git does not keep must not matter."""
    paths = sorted((path for path in source.rglob("*") if "__pycache__" not in path.parts), reverse=True)
    for path in paths:
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o600)
        os.utime(copy, (1_700_000_000 + len(path.name), 1_234_567_890 + len(path.name)))
    return target


HOSTILE = {
    "TZ": "Pacific/Chatham",
    "LC_ALL": "C",
    "LANG": "",
    "PYTHONHASHSEED": "4711",
    "PYTHONOPTIMIZE": "1",
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "COLUMNS": "20",
}


@pytest.mark.slow
def test_the_same_bits_from_an_empty_store_in_a_hostile_environment(reference, tmp_path):
    app = hostile_folder(EXAMPLES / "blasto", tmp_path / "deep" / "er" / "blasto")
    done = deploy(
        "build",
        app,
        "-q",
        home=tmp_path / "cold",
        cwd=tmp_path,
        env=HOSTILE,
        prefix=("sh", "-c", 'umask 077; exec "$@"', "sh"),
    )
    assert done.out.strip() == reference, done.err


WRITING = {
    "app.json": '{"env": {"MADE": {"generator": "secret"}}}',
    "bin/post_compile": '#!/bin/sh\necho kept > "$2/kept"\n',
    "Procfile": "web: python -m http.server $PORT\n",
    "lib/lib.py": "",
    "lib/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "lib/backend.py": """
import zipfile

def build_wheel(out, settings=None, metadata=None):
    with zipfile.ZipFile(out + "/lib-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write("lib.py")
        info = "lib-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: lib\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "lib-1.0-py3-none-any.whl"
""",
}


@pytest.mark.parametrize("umask", ["000", "777"])
def test_no_umask_opens_or_closes_the_store(umask, tmp_path):
    home = tmp_path / "home"
    app = write_app(tmp_path / "tiny", {"lib": {"path": "./lib"}})
    for path, text in WRITING.items():
        (app / path).parent.mkdir(parents=True, exist_ok=True)
        (app / path).write_text(text)
        (app / path).chmod(0o755)
    prefix = ("sh", "-c", f'umask {umask}; exec "$@"', "sh")
    commands = (
        ("ci", app, "--engine", "local", "--no-test"),  # begins with what app.json makes
        *[("build", app, "-q")] * 2,  # the second one leaves a record
        ("local", app, "--", "python", "-c", "import os, lib; assert os.environ['MADE']"),
        ("export", "systemd", app, "-o", home / "exported"),
    )
    # An app's own processes have the user's umask, for what Python caches, too.
    env = {"TINY_INDEX": "127.0.0.1:9", "PYTHONDONTWRITEBYTECODE": "1"}
    for command in commands:
        done = deploy(*command, home=home, env=env, prefix=prefix)
        assert done.code == 0, done.err
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [home, *home.rglob("*")] if not path.is_symlink()}
    allowed = {True: {0o700, 0o755}, False: {0o600, 0o644, 0o755}}  # programs of the stack, too
    assert {path: oct(mode) for path, mode in modes.items() if mode not in allowed[path.is_dir()]} == {}


NOBODY = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
    # The tests' own interpreter may be in root's home, which the user nobody may not enter.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def test_the_same_bits_for_another_user(home, reference, tmp_path):
    if os.getuid() != 0:
        pytest.fail("this test changes the user, so it has to run as root")
    # A store of its own, with this one's wheels: nobody may not write to ours.
    place = Path("/tmp") / f"deploy-nobody-{os.getpid()}"
    try:
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        app = hostile_folder(EXAMPLES / "blasto", place / "blasto")
        for path in (app, *app.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.copytree(home / "wheels", place / "home" / "wheels")
        shutil.copytree(home / "facts", place / "home" / "facts")
        subprocess.run(["chown", "-R", "nobody", str(place)], check=True)
        done = deploy(
            "build",
            app,
            "-q",
            home=place / "home",
            cwd=Path("/"),
            env={"HOME": str(place)},
            prefix=NOBODY,
        )
        assert done.out.strip() == reference, done.err
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_no_cache_gives_the_same_bits(home, reference):
    done = deploy("build", EXAMPLES / "blasto", "-t", "plain:1", "--no-cache", "--json", home=home)
    assert done.report["digest"] == reference
    assert {layer["source"] for layer in done.report["layers"]} == {"built"}


def test_an_empty_store_has_the_stack_gathered(blasto, tmp_path):
    report = deploy("build", blasto, "-t", "cold:1", "--json", home=tmp_path / "home").report
    origins = {(layer["source"], layer["reason"]) for layer in report["layers"] if layer["kind"] == "stack"}
    assert origins == {("built", "gathered from this machine")}


def test_a_first_build_says_so_also_if_it_shares_layers_with_others(home, blasto):
    deploy("build", blasto, "-t", "one:1", home=home)
    again = deploy("build", blasto, "-t", "one:1", "--no-cache", home=home)
    assert "  written  all of ours: --no-cache was given\n" in again.err
    (blasto / "blasto" / "__init__.py").write_text("from blasto.app import create_app\n\nAPP = create_app()\n# new\n")
    spaced = blasto.rename(blasto.with_name("with space"))
    done = deploy("build", spaced.name, "-t", "two:1", home=home, cwd=spaced.parent)
    lines = done.err.splitlines()
    assert [line for line in lines if line.startswith("  written")] == [
        "  written  app              11 KB  first build"
    ]
    assert lines[-1] == "Next: deploy run two:1"
    plain = deploy("build", spaced.name, home=home, cwd=spaced.parent)
    assert plain.err.splitlines()[-1] == "Next: deploy run 'with space'"


def test_one_changed_line_writes_one_layer_and_says_why(home, blasto):
    deploy("build", blasto, "-t", "changed:1", home=home)
    path = blasto / "blasto" / "app.py"
    path.write_text(path.read_text() + "# one more line\n")
    report = deploy("build", blasto, "-t", "changed:1", "--json", home=home).report
    written = [(layer["kind"], layer["reason"]) for layer in report["layers"] if layer["source"] == "built"]
    assert written == [("app", "blasto/app.py changed")]


def test_one_changed_line_loads_nothing_that_looks_up_packages(home, blasto):
    deploy("build", blasto, home=home)
    source = blasto / "blasto" / "__init__.py"
    source.write_text(source.read_text() + "# changed\n")
    done = deploy("build", blasto, home=home, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.code == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.err.splitlines() if line.startswith("import time:")}
    assert "buildpack.steps.resolution" in loaded
    heavy = {"requests", "urllib3", "ssl", "docker", "rich", "asyncio", "installer", "zipfile", "logging", "subprocess",
             "concurrent.futures", "packaging.requirements", "packaging.tags", "buildpack.python.index"}  # fmt: skip
    assert heavy.isdisjoint(loaded)


def test_a_changed_version_writes_one_bucket_and_says_why(home, blasto):
    deploy("build", blasto, "-t", "bumped:1", home=home)
    lock = json.loads((blasto / "Pipfile.lock").read_text())
    assert lock["default"]["itsdangerous"]["version"] != "==2.1.2"
    lock["default"]["itsdangerous"].update(
        version="==2.1.2",
        hashes=["sha256:2c2349112351b88699d8d4b6b075022c0808887cb7ad10069318a8b0bc88db44"],
    )
    (blasto / "Pipfile.lock").write_text(json.dumps(lock, indent=4))
    report = deploy("build", blasto, "-t", "bumped:1", "--json", home=home).report
    written = [(layer["kind"], layer["reason"]) for layer in report["layers"] if layer["source"] == "built"]
    assert written == [("dependencies", "itsdangerous 2.2.0 -> 2.1.2"), ("app", "Pipfile.lock changed")]


def test_source_date_epoch_sets_created_and_the_app_s_times_only(home, blasto):
    plain = deploy("build", blasto, "-t", "epoch:1", "--json", home=home).report
    dated = deploy(
        "build", blasto, "-t", "epoch:2", "--json", home=home, env={"SOURCE_DATE_EPOCH": "1700000000"}
    ).report
    differ = [
        old["kind"] for old, new in zip(plain["layers"], dated["layers"], strict=True) if old["digest"] != new["digest"]
    ]
    assert differ == ["app"]
    image = Store(home).image("docker.io/library/epoch:2")
    assert image is not None
    assert json.loads(image.config)["created"] == "2023-11-14T22:13:20Z"
    (app,) = (layer for layer in dated["layers"] if layer["kind"] == "app")
    assert app["reason"] == "first build"
    undated = deploy("build", blasto, "-t", "epoch:2", "-v", home=home).err
    assert undated.count("  reused   ") == len(plain["layers"]) - 2
    assert not [line for line in undated.splitlines() if line.endswith(" ")]


def test_a_name_counts_once_and_holds_no_digest(home, blasto):
    twice = deploy("build", blasto, "-t", "q:1", "-t", "docker.io/library/q:1", "--json", home=home)
    assert twice.report["references"] == ["docker.io/library/q:1"]
    name = f"docker.io/library/q:1@sha256:{'0' * 64}"
    done = deploy("build", blasto, "-t", name, home=home)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: an image cannot be built as {name}\n\nThe digest of an image follows from its content.\n\n"
        "hint: leave out the part from `@` on.\n"
    )


def test_quiet_prints_the_digest_alone(home, reference):
    done = deploy("build", EXAMPLES / "blasto", "-t", "plain:1", "-q", home=home)
    assert (done.code, done.out, done.err) == (0, f"{reference}\n", "")


def test_nothing_in_a_procfile_commands_the_terminal(home, blasto):
    (blasto / "Procfile").write_text("web: gunicorn blasto:APP\nworker: echo \x1b]0;title\x07\n")
    for _ in range(2):  # built, and unchanged
        done = deploy("build", blasto, home=home)
        assert done.code == 0
        assert "  worker   echo \\x1b]0;title\\x07\n" in done.err
        assert "\x1b" not in done.err


def test_the_summary_of_an_unchanged_build(home, reference):
    deploy("build", EXAMPLES / "blasto", "-t", "plain:1", "-q", home=home)
    done = deploy("build", "examples/blasto", "-t", "plain:1", home=home)
    lines = done.err.splitlines()
    assert lines[0].startswith("Unchanged: plain:1 from examples/blasto in ")
    assert lines[2] == "  web      gunicorn blasto:APP"
    assert lines[3].endswith("6 reused, 0 written")
    assert lines[-1] == "Next: deploy run plain:1"
    plain = deploy("build", "examples/blasto", home=home)
    assert plain.err.splitlines()[-1] == "Next: deploy run examples/blasto"
