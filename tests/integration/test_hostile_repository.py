"""Folders and repositories of strangers: git is asked about them, and runs nothing that they name."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.app.git import ask
from buildpack.app.lockfile import LockedPackage
from buildpack.app.source import SourceTree, read_source
from buildpack.app.worktree import list_uncommitted, public_address, read_commit
from buildpack.errors import AppError, DependencyError
from buildpack.python.checkout import fetch_commit
from buildpack.python.source_tree import MOST_BYTES
from tests.support.command import ROOT, deploy
from tests.support.git_server import git, make_repository
from tests.support.raw_server import SteppingClock, raw_server
from tests.support.tiny import write_lock

GIT = "/usr/bin/git"


class Trap:
    """A program that a repository names, and the file that it makes if it is run."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "executed"
        self.path = folder / "trap"
        self.path.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.mark}\nexit 1\n')
        self.path.chmod(0o755)

    @property
    def sprung(self) -> bool:
        return self.mark.exists()

    def __str__(self) -> str:
        return str(self.path)


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    make_repository(tmp_path / "app", {"app.py": "APP = 1\n", "notes.txt": "1\n", ".gitignore": "*.log\n"})
    (tmp_path / "app/x.log").write_text("")
    return tmp_path / "app"


def read(folder: Path) -> SourceTree:
    return read_source(folder, environ=os.environ)


def names(folder: Path) -> list[str]:
    return [file.path for file in read(folder).files]


def touch(path: Path) -> None:
    """Change a file without changing its size, so that git has to read it."""
    path.write_text(path.read_text().swapcase())
    os.utime(path, (1, 1))


# Files that git ignores


def test_a_missing_blob_is_not_fetched(app: Path, trap: Trap) -> None:
    git(app, "update-index", "--skip-worktree", ".gitignore")
    blob = git(app, "rev-parse", "HEAD:.gitignore")
    (app / ".git/objects" / blob[:2] / blob[2:]).unlink()
    (app / ".gitignore").unlink()
    git(app, "config", "core.repositoryFormatVersion", "1")
    git(app, "config", "extensions.partialClone", "origin")
    git(app, "config", "remote.origin.url", str(app))
    git(app, "config", "remote.origin.promisor", "true")
    git(app, "config", "remote.origin.uploadpack", str(trap))

    assert names(app) == ["app.py", "notes.txt", "x.log"]
    assert not trap.sprung


def test_a_file_system_monitor_and_hooks_are_not_run(app: Path, trap: Trap) -> None:
    git(app, "config", "core.fsmonitor", str(trap))
    for place in (app / ".git/hooks", app / "hooks"):
        place.mkdir(exist_ok=True)
        for name in ("post-index-change", "pre-auto-gc", "reference-transaction"):
            (place / name).write_bytes(trap.path.read_bytes())
            (place / name).chmod(0o755)
    touch(app / "app.py")

    assert "x.log" not in names(app)
    assert list_uncommitted(GIT, app, os.environ) >= {"app.py"}
    git(app, "config", "core.hooksPath", str(app / "hooks"))
    assert list_uncommitted(GIT, app, os.environ) >= {"app.py"}
    assert not trap.sprung


def test_a_folder_that_looks_like_a_repository_is_refused(app: Path) -> None:
    inner = app / "inner"
    make_repository(inner, {"code.py": "1\n", "y.log": ""})
    for path in (inner / ".git").iterdir():
        path.rename(inner / path.name)
    (inner / ".git").rmdir()
    git(app, "--git-dir", str(inner), "config", "core.bare", "false")
    git(app, "--git-dir", str(inner), "config", "core.worktree", str(inner))
    (inner / "patterns").write_text("code.py\n")
    git(app, "--git-dir", str(inner), "config", "core.excludesFile", str(inner / "patterns"))

    with pytest.raises(AppError, match=r"cannot use bare repository '.*/inner'"):
        read(inner)


def test_a_pipe_in_the_place_of_patterns_does_not_stop_the_build(app: Path) -> None:
    (app / ".gitignore").unlink()
    os.mkfifo(app / ".gitignore")

    code, _ = ask(GIT, app, ["ls-files", "--others", "--exclude-standard"], os.environ).answer(patience=0.2)

    assert code == -9


# The owner of the checkout


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a checkout to somebody else")
@pytest.mark.parametrize("what", ["checkout", "repository"])
def test_a_checkout_of_somebody_else_is_not_asked(app: Path, trap: Trap, what: str, tmp_path: Path) -> None:
    (app / "service").mkdir()
    (app / "service/app.py").write_text("")
    (app / "service/x.log").write_text("")
    os.chown(app if what == "checkout" else app / ".git", 12345, 12345)

    tree = read(app / "service")

    assert [file.path for file in tree.files] == ["app.py", "x.log"]
    assert tree.stamps is None
    (warning,) = tree.warnings
    assert warning == (
        f"{app}/.git belongs to another user, so deploy does not ask git, and ships files that git ignores, unless "
        ".dockerignore names them."
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a checkout to somebody else")
def test_a_checkout_of_the_app_s_own_owner_is_asked(app: Path) -> None:
    for path in (app, *app.rglob("*")):
        os.lchown(path, 12345, 12345)

    assert names(app) == [".gitignore", "app.py", "notes.txt"]


# Uncommitted files, and the time of the commit


def test_no_filter_or_converter_is_run(app: Path, trap: Trap) -> None:
    (app / ".gitattributes").write_text("*.py filter=a=b\n*.txt filter=long diff=shown\n")
    for key in ("filter.a=b.clean", "filter.long.process", "diff.shown.textconv", "diff.shown.command"):
        git(app, "config", key, str(trap))
    git(app, "config", "filter.a=b.required", "true")
    git(app, "config", "diff.external", str(trap))
    for name in ("app.py", "notes.txt"):
        touch(app / name)
    (app / "notes.txt").write_text("2\n")

    assert list_uncommitted(GIT, app, os.environ) == {".gitattributes", "app.py", "notes.txt"}
    assert not trap.sprung


def test_no_filter_of_a_submodule_is_run(app: Path, trap: Trap, tmp_path: Path) -> None:
    make_repository(tmp_path / "part", {"code.py": "x = 1\n", ".gitattributes": "*.py filter=part\n"})
    git(app, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "part"), "part")
    git(app, "commit", "-q", "-a", "-m", "part")
    git(app / "part", "config", "filter.part.clean", str(trap))
    touch(app / "part/code.py")

    assert list_uncommitted(GIT, app, os.environ) == set()
    assert not trap.sprung


def test_the_time_of_a_commit_needs_no_check_of_its_signature(app: Path, trap: Trap) -> None:
    tree = git(app, "rev-parse", "HEAD^{tree}")
    signed = (
        f"tree {tree}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1700000000 +0100\n"
        "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\ncommitter B <b@c> 5 +0000\n"
    )
    made = subprocess.run(
        ["git", "-C", app, "hash-object", "-t", "commit", "-w", "--stdin"],
        input=signed.encode(), capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    git(app, "update-ref", "HEAD", made.strip())
    git(app, "config", "log.showSignature", "true")
    git(app, "config", "gpg.program", str(trap))

    git(app, "config", "remote.origin.url", "https://robot:hunter2@example.org/shop.git?token=hunter2#x")

    commit = read_commit(GIT, app, os.environ)

    assert commit is not None
    assert (commit.revision, commit.time) == (made.strip(), 1700000000)
    assert commit.source == "https://example.org/shop.git"
    assert not trap.sprung


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("git@github.com:owner/name.git", "ssh://github.com/owner/name.git"),
        ("ssh://git@example.org:2222/name", "ssh://example.org:2222/name"),
        ("https://token@example.org/name", "https://example.org/name"),
        ("https://me:p@ss@example.org:8443/a%20b/name", "https://example.org:8443/a%20b/name"),
        *[
            (each, "")
            for each in (
                "https://example.org/me:t0ken@x/name",
                "https://me:t0/ken@example.org/name",
                "https://me:80/t0ken@example.org/name",
                "https://me:t0#ken@example.org/name",
                "https://me:80#t0ken@example.org/name",
                "https://me:80?t0ken@example.org/name",
                "https://example.org/name;token=t0ken",
                "https://example.org/name%3Btoken=t0ken",
                "https://example.org/t0ken%40x/name",
                "git@example.org:me:t0ken@x/name",
            )
        ],
        *[
            (each, "")
            for each in ("/srv/name", "../name", "file:///srv/name", "ext::sh -c x", "https://[", "", "a b:c")
        ],
    ],
)
def test_an_address_for_a_label_has_no_login_and_no_path_of_this_machine(remote: str, expected: str) -> None:
    assert public_address(remote) == expected


@pytest.mark.parametrize("file", ["action.yml", "docs/pipelines.md"])
def test_pipelines_leave_git_to_deploy(file: str) -> None:
    assert re.findall(r"(?:^|[\s(`])git(?:\s+-|\s+log\b).*", (ROOT / file).read_text(), re.MULTILINE) == []


def test_one_module_starts_git() -> None:
    started = re.compile(r"""\[["']git["'], ?["'*]|which\(["']git["']""")
    modules = [*ROOT.glob("buildpack/**/*.py"), *ROOT.glob("deployer/**/*.py")]

    found = {str(path.relative_to(ROOT)) for path in modules if started.search(path.read_text())}

    assert found == {"buildpack/app/git.py"}


# Links out of an app's folder


@pytest.mark.parametrize("path", ["/root", "../..", "/dev", "../.git", "file:///etc", "linked"])
def test_a_local_package_outside_the_work_tree_is_refused(path: str, app: Path, tmp_path: Path) -> None:
    service = app / "service"
    service.mkdir()
    (service / "Procfile").write_text("web: python -m lib\n")
    (service / "Pipfile").write_text("")
    (service / "linked").symlink_to("/usr")
    write_lock(service, {"lib": {"file" if ":" in path else "path": path}})

    done = deploy("check", service, home=tmp_path / "home")

    named = path.removeprefix("file://")
    assert done.code == 10
    assert (
        f"the sources of lib are outside the app\n\nPipfile.lock:17 names the path {named}, which leads to "
        f"{os.path.realpath(service / named)}. Local packages come from the app's folder, or from visible folders of "
        "the same git work tree.\n\nhint: put the package into the app's folder or its git repository, or lock a "
        "release from an index."
    ) in done.err


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a repository to somebody else")
@pytest.mark.parametrize("owners", [(0, 12345, 0), (0, 12345, 12345), (12345, 12345, 0)])
def test_a_repository_of_somebody_else_makes_no_work_tree(owners: tuple[int, int, int], tmp_path: Path) -> None:
    """Any user can make ``.git`` in /tmp; `owners` are those of the folder, of ``.git`` in it, and of the app."""
    work, service = tmp_path / "work", tmp_path / "work/service"
    service.mkdir(parents=True)
    (work / ".git").mkdir()
    (work / "private").mkdir()
    (work / "private/pyproject.toml").write_text("hunter2")
    (service / "Procfile").write_text("web: python -m lib\n")
    (service / "Pipfile").write_text("")
    write_lock(service, {"lib": {"path": "../private"}})
    (service / "build.env").symlink_to("../private/pyproject.toml")
    for path, owner in zip((work, work / ".git", service), owners, strict=True):
        os.chown(path, owner, -1)

    done = deploy("check", service, home=tmp_path / "home")
    built = deploy("check", service, "--env-file", service / "build.env", home=tmp_path / "home")

    assert (done.code, built.code) == (10, 10)
    assert f"names the path ../private, which leads to {work}/private." in done.err
    assert f"build.env is a link that leads out of the app's folder\n\nIt leads to {work}/private" in built.err


def test_a_local_archive_has_a_largest_size(app: Path, tmp_path: Path) -> None:
    (app / "Procfile").write_text("web: python -m lib\n")
    (app / "Pipfile").write_text("")
    write_lock(app, {"lib": {"path": "lib-1.0.tar.gz"}})
    with (app / "lib-1.0.tar.gz").open("wb") as archive:
        archive.truncate(MOST_BYTES + 1)

    env = {"TINY_INDEX": "127.0.0.1:9"}
    done = deploy("build", app, "--stack", "host", home=tmp_path / "home", env=env)

    assert done.code == 20
    assert f"{app}/lib-1.0.tar.gz is too large for a local package" in done.err


def test_the_app_s_own_variables_do_not_expand_those_of_deploy(app: Path, tmp_path: Path) -> None:
    (app / "Procfile").write_text("web: python app.py\n")
    (app / "Pipfile").write_text("")
    write_lock(app, {})
    (app / ".env").write_text("OWN=own\nLEAK=${AWS_SECRET_ACCESS_KEY}-${OWN}\n")
    (app / "more.env").write_text("MORE=${AWS_SECRET_ACCESS_KEY}-${LEAK}\n")
    env = {"AWS_SECRET_ACCESS_KEY": "hunter2"}

    done = deploy("export", "systemd", app, "--env-file", app / "more.env", "-o", "-", home=tmp_path / "home", env=env)

    assert done.code == 0, done.err
    assert "hunter2" not in done.out + done.err
    assert 'LEAK="-own"' in done.out
    assert 'MORE="--own"' in done.out


@pytest.mark.parametrize(
    "name", ["deploy.toml", "Procfile", "Pipfile.lock", "app.json", ".python-version", ".dockerignore"]
)
def test_no_error_quotes_what_a_link_leads_to(name: str, app: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("[hunter2\nhunter2 = \n\\")
    (app / "Procfile").write_text("web: python app.py\n")
    (app / name).unlink(missing_ok=True)
    (app / name).symlink_to("../secret")

    done = deploy("check", app, home=tmp_path / "home")

    assert done.code == 10
    assert f"{name} is a link that leads out of the app's folder\n\nIt leads to {tmp_path}/secret." in done.err
    assert "hunter2" not in done.out + done.err


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["lock", "--no-pin"], "Pipfile"),
        (["lock", "--no-pin"], "Pipfile.lock"),
        (["local"], "deploy.toml"),
        (["local"], "Pipfile.lock"),
        (["local"], ".env"),
        (["export", "systemd"], "deploy.toml"),
        (["export", "systemd"], "Pipfile.lock"),
        (["export", "systemd"], ".env"),
        (["init", "-y", "--no-lock"], "requirements.txt"),
    ],
    ids=lambda each: each if isinstance(each, str) else each[0],
)
def test_no_command_follows_a_link_out(command: list[str], name: str, tmp_path: Path, blasto: Path) -> None:
    (tmp_path / "secret").write_text("hunter2 = \n")
    if command[0] == "init":
        (blasto / "Pipfile").unlink()
        (blasto / "Pipfile.lock").unlink()
    (blasto / name).unlink(missing_ok=True)
    (blasto / name).symlink_to("../secret")

    done = deploy(command[0], *command[1:], blasto, home=tmp_path / "home", cwd=tmp_path)

    assert "hunter2" not in done.out + done.err
    assert (tmp_path / "secret").read_text() == "hunter2 = \n"
    assert done.code == 10


@pytest.mark.parametrize("command", ["check", "build"])
@pytest.mark.parametrize("name", ["pipe", "../secret", "/dev/zero", "link"])
def test_the_stack_of_an_app_is_a_file_of_its_own(command: str, name: str, app: Path, tmp_path: Path) -> None:
    """An absolute path may lead anywhere, and still to regular files only."""
    (app / "Procfile").write_text("web: python app.py\n")
    (app / "Pipfile").write_text("")
    write_lock(app, {})
    (tmp_path / "secret").write_text("hunter2")
    os.mkfifo(app / "pipe")
    (app / "link").symlink_to("../secret")
    (app / ".dockerignore").write_text("link\npipe\n")
    (app / "deploy.toml").write_text(f'name = "app"\nstack = "archive:{name}"\n')

    done = deploy(command, app, home=tmp_path / "home", cwd=tmp_path, timeout=60)

    assert "hunter2" not in done.out + done.err
    if name in {"../secret", "link"}:
        assert done.code == 10
        assert (
            f"the stack `archive:{name}` is not in the app's folder\n\ndeploy.toml:2 names it, and it leads to "
            f"{tmp_path}/secret. A relative path in deploy.toml starts at the app's folder and stays in it, or in "
            f"visible folders of the same git work tree.\n\nhint: name the image on the command line: "
            f"`--stack archive:{name}`, or by its full path."
        ) in done.err
    else:
        path = name if name.startswith("/") else app / name
        assert done.code == 30
        assert f"archive:{path} cannot be read\n\nIt is neither a regular file nor a folder." in done.err


# The commit of a locked package


def fetch(url: str, commit: str, folder: Path, **environ: str) -> str:
    """Fetch a commit; returns git's complaint, "" if there is none."""
    folder.mkdir()
    try:
        fetch_commit(
            LockedPackage(name="lib", git=url, ref=commit, place="Pipfile.lock:5"), folder, {**os.environ, **environ}
        )
    except DependencyError as error:
        return str(error)
    return ""


def test_a_package_chooses_no_filter_of_the_user(tmp_path: Path, trap: Trap) -> None:
    commit = make_repository(tmp_path / "lib", {"code.py": "1\n", ".gitattributes": "*.py filter=own\n"})
    (tmp_path / ".gitconfig").write_text(f'[filter "own"]\n\tsmudge = {trap}\n\tclean = {trap}\n\trequired = true\n')

    assert fetch((tmp_path / "lib").as_uri(), commit, tmp_path / "made", HOME=str(tmp_path)) == ""
    assert (tmp_path / "made/code.py").read_text() == "1\n"
    assert not trap.sprung


def test_a_submodule_chooses_no_filter_of_the_user(tmp_path: Path, trap: Trap) -> None:
    """It has attributes of its own, and git fetches it in a process of its own."""
    make_repository(tmp_path / "part", {"code.py": "1\n", ".gitattributes": "*.py filter=own\n"})
    make_repository(tmp_path / "lib", {"code.py": "1\n"})
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    git(tmp_path / "lib", "-c", f"core.sshCommand={ssh}", "submodule", "add", "-q", f"ssh://host{tmp_path}/part", "p")
    git(tmp_path / "lib", "commit", "-q", "-m", "p")
    (tmp_path / ".gitconfig").write_text(f'[filter "own"]\n\tsmudge = {trap}\n\tclean = {trap}\n\trequired = true\n')
    commit = git(tmp_path / "lib", "rev-parse", "HEAD")

    made, environ = tmp_path / "made", {"HOME": str(tmp_path), "GIT_SSH_COMMAND": str(ssh)}
    assert fetch((tmp_path / "lib").as_uri(), commit, made, **environ) == ""
    assert (made / "p/code.py").read_text() == "1\n"
    assert not trap.sprung


@pytest.mark.parametrize("scheme", ["ext::{trap} %S", "git://127.0.0.1:9/lib", "http://192.0.2.1/lib"])
def test_a_package_comes_over_https_ssh_or_from_a_file(scheme: str, tmp_path: Path, trap: Trap) -> None:
    (tmp_path / ".gitconfig").write_text("[protocol]\n\tallow = always\n")

    told = fetch(scheme.format(trap=trap), "0" * 40, tmp_path / "made", HOME=str(tmp_path), GIT_ALLOW_PROTOCOL="ext")

    assert f"transport '{scheme.partition(':')[0]}' not allowed" in told
    assert not trap.sprung


def trickle(pace: threading.Event) -> Iterator[bytes]:
    """Begin an answer of git's, and go on with a few bytes a second."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n001e# service"
    while not pace.wait(0.1):
        yield b"x"


def test_a_server_that_trickles_is_too_slow(tmp_path: Path) -> None:
    asked, done = [], threading.Event()
    with raw_server(lambda _, path: asked.append(path) or trickle(done)) as host:
        told = fetch(f"http://{host}/lib", "0" * 40, tmp_path / "made", GIT_HTTP_LOW_SPEED_TIME="1")
        done.set()

    assert "Operation too slow. Less than 1024 bytes/sec transferred the last 1 seconds" in told
    assert "hint: build again when the server is faster" in told
    assert asked == ["/lib/info/refs?service=git-upload-pack"]


@pytest.mark.parametrize("scheme", ["http", "ssh"])
def test_a_server_that_goes_on_for_ever_has_a_deadline(scheme: str, tmp_path: Path) -> None:
    done, slow = threading.Event(), tmp_path / "slow"
    slow.write_text("#!/bin/sh\nwhile sleep 0.1; do printf x; done\n")
    slow.chmod(0o755)
    limits = {"GIT_HTTP_LOW_SPEED_LIMIT": "0", "GIT_SSH": str(slow)}
    (tmp_path / "made").mkdir()
    with raw_server(lambda *_: trickle(done)) as host:
        lib = LockedPackage(name="lib", git=f"{scheme}://{host}/lib", ref="0" * 40, place="Pipfile.lock:5")
        with pytest.raises(DependencyError) as caught:
            fetch_commit(lib, tmp_path / "made", {**os.environ, **limits}, clock=SteppingClock(300))
        done.set()

    assert caught.value.exit_code == 20
    assert f"git asked {scheme}://{host}/lib for" in str(caught.value)
    assert "git was stopped after 60 minutes" in str(caught.value)


def test_a_submodule_does_not_read_this_machine_s_repositories(tmp_path: Path) -> None:
    make_repository(tmp_path / "private", {"secret": "1\n"})
    make_repository(tmp_path / "lib", {"code.py": "1\n"})
    git(tmp_path / "lib", "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "private"), "p")
    git(tmp_path / "lib", "commit", "-q", "-m", "p")
    (tmp_path / ".gitconfig").write_text('[protocol "file"]\n\tallow = always\n')

    commit = git(tmp_path / "lib", "rev-parse", "HEAD")
    told = fetch((tmp_path / "lib").as_uri(), commit, tmp_path / "made", HOME=str(tmp_path))

    assert "transport 'file' not allowed" in told
    assert not (tmp_path / "made/p/secret").exists()
