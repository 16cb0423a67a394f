"""The choice of hooks, their user, their key, and the remedies that their output suggests, without running any."""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from buildpack.app.hook_programs import plan_hooks
from buildpack.app.read import App, read_app
from buildpack.app.source import SourceFile
from buildpack.hooks.collectstatic import find_remedies, settle_manifests, why_unknown
from buildpack.system.processes import Outcome, User, acting_as
from buildpack.system.unprivileged import choose_user, is_reachable, reachable_folder
from tests.conftest import missing

SITE = Path(__file__).parents[3] / "apps" / "django_site"


@pytest.fixture(scope="module")
def site() -> App:
    return read_app(SITE, environ={}, today=date(2026, 1, 1))


def with_files(app: App, *paths: str) -> App:
    files = tuple(SourceFile(path=path, kind="file") for path in sorted(paths))
    return replace(app, source=replace(app.source, files=files))


@pytest.mark.parametrize(
    ("paths", "steps"),
    [
        ((), []),
        (("app.py", "bin/pre_compile.sh", "pre_compile"), []),
        (("bin/post_compile", "bin/pre_compile"), ["bin/pre_compile", "bin/post_compile"]),
        (
            ("bin/post_compile", "bin/pre_compile", "manage.py"),
            ["bin/pre_compile", "manage.py collectstatic", "bin/post_compile"],
        ),
        (("a/b/manage.py", "b/manage.py", "z/manage.py"), ["b/manage.py collectstatic"]),
        (("a/b/manage.py",), ["a/b/manage.py collectstatic"]),
        (("a/b/c/manage.py",), []),
    ],
)
def test_what_is_run_and_in_which_order(site, paths, steps):
    hooks = plan_hooks(with_files(site, *paths), given={}, environ={})
    assert [step.name for step in hooks.steps] == steps
    assert bool(hooks) == bool(steps)


@pytest.mark.parametrize(
    ("given", "environ", "runs"),
    [
        ({}, {}, True),
        ({}, {"DISABLE_COLLECTSTATIC": "1"}, False),
        ({}, {"DISABLE_COLLECTSTATIC": "0"}, True),
        ({}, {"DISABLE_COLLECTSTATIC": ""}, True),
        ({"DISABLE_COLLECTSTATIC": "yes"}, {}, False),
        ({"DISABLE_COLLECTSTATIC": "0"}, {"DISABLE_COLLECTSTATIC": "1"}, True),
    ],
)
def test_collectstatic_can_be_left_out_as_on_heroku(site, given, environ, runs):
    assert bool(plan_hooks(site, given=given, environ=environ)) is runs


def test_collectstatic_needs_a_locked_django(site):
    packages = tuple(package for package in site.lock.packages if package.name != "django")
    assert not plan_hooks(replace(site, lock=replace(site.lock, packages=packages)), given={}, environ={})


def test_the_key_follows_from_all_that_hooks_are_given_and_from_nothing_else(site):
    def key(app: App = site, *, stack: str = "s", wheels: tuple[str, ...] = ("w",), **given: str) -> str:
        return plan_hooks(app, given=given, environ={"HOME": os.urandom(4).hex()}).key(stack=stack, wheels=wheels)

    variants = [
        key(),
        key(stack="t"),
        key(wheels=("w", "x")),
        key(A="1"),
        key(A="2"),
        key(replace(site, build_env={"A": "1"})),
        key(with_files(site, "manage.py", "bin/pre_compile")),
    ]
    assert len(set(variants)) == len(variants)
    assert key(A="1") == variants[3]
    assert with_files(site).source.files == ()
    assert key(with_files(site)) == ""


ERROR = "django.core.exceptions.ImproperlyConfigured: "


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (
            f"{ERROR}You're using the staticfiles app without having set the STATIC_ROOT setting to a filesystem path.",
            'set STATIC_ROOT in the settings, for example `STATIC_ROOT = BASE_DIR / "staticfiles"`',
        ),
        (
            "KeyError: 'DATABASE_URL'",
            "give DATABASE_URL a value for the build, with `--build-env DATABASE_URL=VALUE` or ",
        ),
        (f"{ERROR}Set the API_KEY environment variable", "give API_KEY a value for the build, "),
        ("decouple.UndefinedValueError: DEBUG not found. Declare it as envvar", "give DEBUG a value for the build, "),
        (f"{ERROR}The SECRET_KEY setting must not be empty.", "give SECRET_KEY a value for the build, "),
        (
            "ModuleNotFoundError: No module named 'corsheaders.middleware'",
            "add the package of the module corsheaders to Pipfile and run `deploy lock`",
        ),
        (
            "ValueError: The file 'pages/land.svg' could not be found with <Storage object at 0x7f>.",
            "add the file that the stylesheet or script refers to, or fix the reference",
        ),
    ],
)
def test_what_the_output_suggests(line, remedy):
    [found] = find_remedies(["Traceback (most recent call last):", line])
    assert found.startswith(remedy)


def test_output_that_suggests_nothing():
    assert find_remedies(["OSError: [Errno 28] No space left on device"]) == []


@pytest.mark.parametrize(("code", "line", "unknown"), [(1, "", False), (1, "Unknown", True), (0, "Unknown", False)])
def test_a_command_that_is_not_there(code, line, unknown):
    lines = (f"{line} command: 'collectstatic'", "Type 'manage.py help' for usage.")
    assert bool(why_unknown(Outcome(code=code, lines=lines))) is unknown


def test_manifests_are_sorted_and_nothing_else_is_touched(tmp_path):
    from hashlib import sha256

    manifest = json.dumps({"paths": {"b.css": "b.1.css", "a.css": "a.1.css"}, "version": "1.1", "hash": "1"})
    (tmp_path / "static").mkdir()
    made = tmp_path / "static" / "staticfiles.json"
    others = {
        "own.json": manifest,
        "other.json": '{"paths": {"b": 1, "a": 2}, "more": 1, "version": 1}',
        "broken.json": '{"paths": {',
        "list.json": "[2, 1]",
    }
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    made.write_text(manifest)
    (tmp_path / "link.json").symlink_to("own.json")
    settle_manifests(tmp_path, {"own.json": sha256(manifest.encode()).hexdigest()})
    assert made.read_text() == ('{"paths": {"a.css": "a.1.css", "b.css": "b.1.css"}, "version": "1.1", "hash": "1"}')
    assert {name: (tmp_path / name).read_text() for name in others} == others
    assert (tmp_path / "link.json").is_symlink()


@pytest.mark.parametrize(
    ("capabilities", "mapped", "accounts", "chosen"),
    [
        ("000001ffffffffff", "0 0 4294967295", "root:x:0:0:::\n", 1000),
        ("000001ffffffffff", "0 0 4294967295", "root:x:0:0:::\nanna:x:1000:1000:::\n", 65534),
        ("00000000000000c1", "0 0 4294967295", "", 1000),
        ("00000000000000c0", "0 0 4294967295", "", None),
        ("0000000000000000", "0 0 4294967295", "", None),
        ("000001ffffffffff", "0 1000 1", "", None),
        ("000001ffffffffff", "0 1000 1\n1 100000 65536", "", 1000),
        ("000001ffffffffff", "0 1000 1\n1 100000 999", "", None),
    ],
)
def test_whom_root_hands_over_to(tmp_path, capabilities, mapped, accounts, chosen):
    (tmp_path / "status").write_text(f"Name:\tpython\nCapEff:\t{capabilities}\n")
    for name in ("uid_map", "gid_map"):
        (tmp_path / name).write_text(f"{mapped}\n")
    (tmp_path / "passwd").write_text(accounts)
    found = choose_user(accounts=tmp_path / "passwd", process=tmp_path)
    expected = User(uid=chosen, gid=chosen) if chosen and os.geteuid() == 0 else None
    assert found == expected


def test_root_does_not_hand_over_to_the_owner_of_a_mounted_checkout(tmp_path):
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    (tmp_path / "passwd").touch()
    checkout = tmp_path / "checkout"
    (checkout / "app").mkdir(parents=True)
    for owner, chosen in ((0, 1000), (1000, 65534), (1001, 1000)):
        os.chown(checkout, owner, owner)
        assert choose_user(accounts=tmp_path / "passwd", folder=checkout / "app") == User(uid=chosen, gid=chosen)


def test_root_works_only_where_no_other_user_can_put_a_link_in_a_folder_s_place(tmp_path, anyones, monkeypatch):
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    monkeypatch.setattr(tempfile, "tempdir", str(anyones))
    hidden, store = tmp_path / "hidden" / "tmp", anyones / "store" / "tmp"
    for folder in (hidden, store):
        folder.mkdir(parents=True)
        folder.parent.chmod(0o755)
    (tmp_path / "hidden").chmod(0o700)
    user = User(uid=65534, gid=65534)
    for mode, owner, used in ((0o1777, 0, True), (0o755, 0, True), (0o777, 0, False), (0o755, 65534, False)):
        anyones.chmod(mode)
        os.chown(anyones, owner, owner)
        assert reachable_folder(hidden, user).is_relative_to(anyones) is used
        assert (reachable_folder(store, user) == store) is used


def test_what_another_user_gets_to(tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    file = inside / "file"
    file.write_text("")
    file.chmod(0o644)
    for folder in (tmp_path / "a", inside):
        folder.chmod(0o755)
    reachable = is_reachable(tmp_path / "a")
    assert is_reachable(file) is reachable
    inside.chmod(0o700)
    assert not is_reachable(file)
    inside.chmod(0o711)
    assert is_reachable(file) is reachable
    file.chmod(0o600)
    assert not is_reachable(file)
    assert not is_reachable(tmp_path / "nowhere")


def test_a_thread_that_acts_as_another_user_reaches_only_that_users_files(tmp_path):
    """Root reads the files that a hook left like this, so a link that leads out gives it nothing."""
    if os.geteuid() != 0:
        missing("only root may reach files as another user")
    private, own = tmp_path / "private", tmp_path / "own"
    private.mkdir(mode=0o750)  # for root's group as well
    private.joinpath("secret").write_text("secret")
    private.joinpath("secret").chmod(0o640)
    own.mkdir()
    own.joinpath("link").symlink_to(private)
    descriptor = os.open(own, os.O_PATH)
    path = f"/proc/self/fd/{descriptor}/link/secret"
    groups = os.getgroups()
    with ThreadPoolExecutor(1) as others:
        others.submit(int).result()  # its thread is there before
        with acting_as(User(uid=65534, gid=65534)):
            with pytest.raises(PermissionError):
                Path(path).read_text()
            assert others.submit(Path(path).read_text).result() == "secret"
    assert Path(path).read_text() == "secret"
    assert os.getgroups() == groups
    os.close(descriptor)
