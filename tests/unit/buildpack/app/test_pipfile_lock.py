"""Pipfile.lock: the packages that entries give, and the entries that are refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildpack.app.indexes import PYPI, Source, expand_url, holds_credential, without_credentials
from buildpack.app.lockfile import LockedPackage
from buildpack.app.pipfile import is_marker, is_version, parse_pipfile
from buildpack.app.pipfile_lock import parse_lock, read_lock
from buildpack.errors import AppError, DependencyError

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOCK_HINT = "hint: run `deploy lock`, commit Pipfile.lock, and build again."


def text(default: Any = None, *, indent: int | None = 4, **meta: Any) -> str:
    document = {"_meta": {"hash": {"sha256": "x"}, "pipfile-spec": 6, **meta}, "default": default or {}, "develop": {}}
    return json.dumps(document, indent=indent)


def entry(value: Any, pipfile: str | None = None) -> LockedPackage:
    lock = parse_lock(text({"pkg": value}, indent=None), pipfile=parse_pipfile(pipfile) if pipfile else None)
    return lock.packages[0]


def refused(value: Any) -> str:
    """Return the message about an entry, without the text around it."""
    with pytest.raises(AppError) as caught:
        entry(value)
    before, _, after = str(caught.value).partition("  - Pipfile.lock: default: pkg ")
    assert before == "Pipfile.lock has an entry that cannot be used\n\n"
    said, _, rest = after.partition("\n\n")
    assert rest == (
        f"Each entry needs a pinned version and its sha256 hashes, or a commit, or a local path.\n\n{LOCK_HINT}"
    )
    return said


def failure(content: str) -> str:
    with pytest.raises(AppError) as caught:
        parse_lock(content)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "package"),
    [
        ({"version": "==1.0", "hashes": [A, B]}, {"version": "1.0", "hashes": (A, B)}),
        ({"version": "===1.0.odd", "hashes": [A]}, None),
        ({"version": "==1!2.0rc1.post2.dev3+local.1", "hashes": [A]}, {"version": "1!2.0rc1.post2.dev3+local.1"}),
        ({"version": "==1.0", "hashes": ["md5:x", A]}, {"hashes": (A,)}),
        ({"version": "==1", "hashes": [A], "extras": ["b", "a"]}, {"extras": ("b", "a")}),
        ({"version": "==1", "hashes": [A], "markers": "os_name == 'nt'"}, {"markers": "os_name == 'nt'"}),
        (
            {"version": "==1", "hashes": [A], "markers": "os_name == 'nt'", "sys_platform": "== 'x'"},
            {"markers": "(os_name == 'nt') and (sys_platform == 'x')"},
        ),
        ({"git": "https://x/y.git", "ref": COMMIT, "editable": True}, {"git": "https://x/y.git", "ref": COMMIT}),
        ({"git": "https://x/y", "ref": COMMIT, "subdirectory": "z"}, {"subdirectory": "z", "version": None}),
        ({"path": ".", "editable": True}, {"path": ".", "editable": True}),
        ({"file": "./x-1.whl"}, {"path": "./x-1.whl"}),
        ({"file": "file:///x-1.whl"}, {"path": "/x-1.whl"}),
        ({"file": "https://x/y-1.whl", "hashes": [A]}, {"file": "https://x/y-1.whl", "hashes": (A,)}),
        ({"version": "*", "markers": "os_name == 'nt'"}, {"version": None, "hashes": (), "markers": "os_name == 'nt'"}),
    ],
)
def test_an_entry_becomes_a_package(value: Any, package: dict[str, Any] | None) -> None:
    if package is None:
        assert refused(value) == "has no pinned version: `===1.0.odd`"
        return
    found = entry(value)
    assert {key: getattr(found, key) for key in package} == package


def test_a_path_that_pipfile_lists_under_another_name_is_named() -> None:
    pipfile = parse_pipfile('[packages]\nsix = "*"\ne1839a8 = {path = ".", editable = true}\n')
    with pytest.raises(AppError) as caught:
        parse_lock(text({"six": {"version": "==1"}, "app": {"version": "==1"}}, indent=None), pipfile=pipfile)
    wanted_message = str(caught.value).splitlines()
    assert "  - Pipfile.lock: default: six has no hashes" in wanted_message
    assert (
        "  - Pipfile.lock: default: app has no hashes; if Pipfile:3 lists it as `e1839a8`, write `app` there"
        in wanted_message
    )


@pytest.mark.parametrize(
    ("value", "wanted_message"),
    [
        ([], "is not an object"),
        ({}, "has no pinned version"),
        ({"version": "*"}, "has no pinned version"),
        ({"version": "*", "hashes": [A], "markers": "os_name == 'nt'"}, "has no pinned version"),
        ({"version": ">=1", "hashes": [A]}, "has no pinned version: `>=1`"),
        ({"version": "==1.*", "hashes": [A]}, "has no pinned version: `==1.*`"),
        ({"version": "1.0", "hashes": [A]}, "has no pinned version: `1.0`"),
        ({"version": 1, "hashes": [A]}, "has a `version` that is not a string"),
        ({"version": "==1"}, "has no hashes"),
        ({"version": "==1", "hashes": []}, "has no hashes"),
        ({"version": "==1", "markers": "os_name == 'nt'"}, "has no hashes"),
        ({"version": "==1", "hashes": ["md5:x"]}, "has no sha256 hash, only others"),
        ({"version": "==1", "hashes": ["sha256:" + "A" * 64]}, "has no sha256 hash, only others"),
        ({"version": "==1", "hashes": A}, "has `hashes` that are not a list of strings"),
        ({"version": "==1", "hashes": [A], "extras": [1]}, "has `extras` that are not a list of strings"),
        ({"version": "==1", "hashes": [A], "markers": "x\ny"}, "has markers that cannot be read: x\\ny"),
        ({"git": "https://x/y", "ref": "main"}, "comes from git, and `main` is not the full hash of a commit"),
        ({"git": "https://x/y"}, "comes from git, and `` is not the full hash of a commit"),
        ({"svn": "https://x/y"}, "comes from svn; only git is supported"),
        (
            {"file": "http://x/y.whl"},
            "is a file from the network, without a hash: write `#sha256=...` behind its address in Pipfile",
        ),
        ({"git": "--upload-pack=x", "ref": "0" * 40}, "comes from git, and its address begins with a dash"),
        (
            {"version": "==1", "hashes": [A], "index": "in\nner"},
            "comes from the index `in\\nner`, which is not among the sources: `pypi`",
        ),
    ],
)
def test_an_entry_that_cannot_be_installed_safely_is_refused(value: Any, wanted_message: str) -> None:
    assert refused(value) == wanted_message


def test_pipfiles_markers_serve_where_the_lock_has_none() -> None:
    found = entry({"version": "*"}, '[packages]\nPKG = {version = "*", sys_platform = "== \'win32\'"}\n')
    assert (found.markers, found.version, found.place) == ("sys_platform == 'win32'", None, "Pipfile:2")


def test_packages_are_sorted_named_canonically_and_know_their_lines() -> None:
    pinned = {"version": "==1", "hashes": [A]}
    lock = parse_lock(text({"Zope.X": pinned, "abc": pinned}), pipfile=parse_pipfile('[packages]\nZope-X = "*"\n'))
    assert [(one.name, one.requested, one.place) for one in lock.packages] == [
        ("abc", False, "Pipfile.lock:15"),
        ("zope-x", True, "Pipfile:2"),
    ]
    assert (lock.has("abc"), lock.has("abd")) == (True, False)


def test_sources_and_requirements(tmp_path: Path) -> None:
    sources = [
        {"name": "pypi", "url": "https://pypi.python.org/simple/", "verify_ssl": True},
        {"name": "a", "url": "https://user:secret@a.example.org/simple", "verify_ssl": "true"},
        {"name": "b", "url": "https://${USER}:${KEY}@b.example.org/simple", "verify_ssl": False},
    ]
    requires = {"python_version": "3.11", "python_full_version": "3.11.2"}
    content = text({}, sources=sources, requires=requires)
    (tmp_path / "Pipfile.lock").write_text(content)
    lock = read_lock(tmp_path, None)
    assert lock is not None
    assert lock.sources == (
        PYPI,
        Source(name="a", url="https://user:secret@a.example.org/simple"),
        Source(name="b", url="https://${USER}:${KEY}@b.example.org/simple", verify_ssl=False),
    )
    assert lock.warnings == (
        (
            "the source `a` has a credential in Pipfile.lock; write ${NAME} in its place in Pipfile, "
            "keep the value in the environment, and run `deploy lock`."
        ),
        "deploy does not verify the server of the source `b` (verify_ssl = false).",
    )
    assert (lock.python_version, lock.python_full_version, lock.input_hash) == ("3.11", "3.11.2", "x")
    assert lock.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert "secret" not in repr(lock)
    assert read_lock(tmp_path / "nowhere", None) is None
    assert parse_lock(text()).sources == (PYPI,)


def test_a_python_version_that_is_a_number_is_shown_as_it_is() -> None:
    assert parse_lock(text(requires={"python_version": 3.1})).python_version == "3.1"


@pytest.mark.parametrize(
    ("meta", "wanted_message"),
    [
        ({"sources": {}}, "Pipfile.lock: `_meta.sources` is not a list"),
        ({"sources": [{"name": "x"}]}, "Pipfile.lock: source 1 has no `url`"),
        ({"sources": [{"url": "x", "name": 1}]}, "Pipfile.lock: the name of source 1 is not a string"),
        ({"sources": [{"url": "x", "name": "n"}] * 2}, "Pipfile.lock: two sources are called `n`"),
        ({"requires": []}, "Pipfile.lock: `_meta.requires` is a list, not an object"),
        ({"hash": "x"}, "Pipfile.lock: `_meta.hash` is a string, not an object"),
    ],
)
def test_a_head_that_cannot_be_used(meta: dict[str, Any], wanted_message: str) -> None:
    assert f"\n\n  - {wanted_message}\n\n" in failure(text({}, **meta))


@pytest.mark.parametrize(
    ("content", "wanted_message"),
    [
        (
            "[]",
            (
                "Pipfile.lock is not a lock of pipenv\n\n"
                f"Pipfile.lock: it holds a list where an object is expected.\n\n{LOCK_HINT}"
            ),
        ),
        ("{}", f"Pipfile.lock is not a lock of pipenv\n\nPipfile.lock: it has no `_meta` object.\n\n{LOCK_HINT}"),
        (
            '{"_meta": {"pipfile-spec": 5}}',
            (
                "Pipfile.lock has an unknown format\n\n"
                f"Its `pipfile-spec` is 5; deploy reads 6, which pipenv has written since 2018.\n\n{LOCK_HINT}"
            ),
        ),
        (
            '{\n  "a": 1\n  "b": 2\n}',
            (
                "Pipfile.lock is not valid JSON\n\n"
                "Pipfile.lock:3:3: expecting ',' delimiter\n"
                '      "b": 2\n      ^\n\n'
                "hint: run `deploy lock` to make it again, and commit it."
            ),
        ),
        (
            "",
            (
                "Pipfile.lock is not valid JSON\n\nPipfile.lock:1:1: expecting value\n\n"
                "hint: run `deploy lock` to make it again, and commit it."
            ),
        ),
        (
            '{"a": 1, "b": {"c": 1, "c": 2}}',
            (
                "Pipfile.lock is not valid JSON\n\nPipfile.lock: one object has a key twice: `c`\n\n"
                "hint: run `deploy lock` to make it again, and commit it."
            ),
        ),
        (
            '{"a":' * 100_000,
            (
                "Pipfile.lock is not valid JSON\n\nPipfile.lock: it nests too deep\n\n"
                "hint: run `deploy lock` to make it again, and commit it."
            ),
        ),
        (
            '{"a":' + "1" * 5000 + "}",
            (
                "Pipfile.lock is not valid JSON\n\nPipfile.lock: a number has thousands of digits\n\n"
                "hint: run `deploy lock` to make it again, and commit it."
            ),
        ),
        *(
            (
                f'{{"path": "a{escape}b"}}',
                (
                    "Pipfile.lock is not valid JSON\n\nPipfile.lock: a text has NUL or half a surrogate pair in it, "
                    "which paths and variables cannot have\n\n"
                    "hint: run `deploy lock` to make it again, and commit it."
                ),
            )
            for escape in (r"\u0000", r"\uD800")
        ),
    ],
)
def test_a_file_that_is_not_a_lock_is_refused(content: str, wanted_message: str) -> None:
    assert failure(content) == wanted_message


def test_two_spellings_of_one_package_are_refused() -> None:
    pinned = {"version": "==1", "hashes": [A]}
    assert "  - Pipfile.lock:15: a-b is there twice, once in another spelling\n" in failure(
        text({"A_B": pinned, "a-b": pinned})
    )


def test_a_section_that_is_not_an_object_and_a_text_that_is_not_a_name() -> None:
    assert "  - Pipfile.lock: `default` is not an object\n" in failure(text([1]))
    assert "  - Pipfile.lock:9: ../x is not a package name\n" in failure(text({"../x": {}}))


REFUSED = """\
Pipfile.lock has variables where deploy does not expand them

  - the source `own`: ${DEPLOY_REGISTRY_PASSWORD} belongs to deploy
  - the source `proxy`: ${https_proxy} belongs to deploy
  - the source `login`: ${DOCKER_AUTH_CONFIG} belongs to deploy
  - the source `host`: ${A} is only a part of the host
  - the source `host`: ${B} is only a part of the host
  - the source `scheme`: ${A} is only a part of the host
  - commit (Pipfile.lock): ${A} is not in the login
  - file (Pipfile.lock): ${DEPLOY_REGISTRY_PASSWORD} belongs to deploy
  - file (Pipfile.lock): ${A} is not in the login

Pipfile.lock decides which server gets the value of a variable. The login of an address may be a variable. In a source \
the host and parts of the path may be one, too. Variables that belong to deploy (DEPLOY_*, DOCKER_*, proxies) go to no \
server.

hint: change the address in Pipfile, run `deploy lock`, commit Pipfile.lock, and build again."""


class TestUrls:
    def test_a_lock_does_not_say_where_variables_go(self) -> None:
        sources = {
            "own": "http://evil.example/$DEPLOY_REGISTRY_PASSWORD/simple",
            "proxy": "http://evil.example/${https_proxy}/simple",
            "login": "http://u:${DOCKER_AUTH_CONFIG}@evil.example/simple",
            "host": "http://u@${A}.$B.evil.example/simple",
            "scheme": "${A}://evil.example/simple",
            "fine": "https://$USER:${KEY}@${HOST}:8443/${TOKEN}-$X/simple",
            "also": "${BASE}/${TOKEN}/simple",
        }
        default = {
            "commit": {"git": "https://u:${KEY}@evil.example/${A}/$B.git", "ref": COMMIT},
            "file": {"file": "https://evil.example/${A}/x-1.whl?${DEPLOY_REGISTRY_PASSWORD}", "hashes": [A]},
            "fine": {"git": "git+ssh://${USER}@git.example/a.git", "ref": COMMIT},
        }
        named = [{"name": name, "url": url, "verify_ssl": True} for name, url in sources.items()]
        with pytest.raises(AppError) as caught:
            parse_lock(text(default, sources=named, indent=None))
        assert str(caught.value) == REFUSED

    def test_variables_are_put_in(self) -> None:
        url = "https://${USER}:$KEY@example.org/$UNKNOWN/${PATH_}"
        environ = {"USER": "u", "KEY": "k", "PATH_": "p$USER"}
        assert expand_url(url, environ, where="x") == "https://u:k@example.org/$UNKNOWN/p$USER"

    def test_missing_ones_are_named(self) -> None:
        with pytest.raises(DependencyError) as caught:
            expand_url("https://${B}:${A}@x/${B}", {}, where="the source `private`")
        assert str(caught.value) == (
            "A and B are not set\n\nThe source `private` has ${A} and ${B} in its address in Pipfile.lock.\n\n"
            "hint: set A and B in the environment of `deploy`."
        )
        assert caught.value.exit_code == 20

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("https://u:p@x/y", "https://x/y"),
            ("https://u:p@w@x/y@z", "https://x/y@z"),
            ("git+ssh://git@x/y", "git+ssh://x/y"),
            ("https://x/y@z", "https://x/y@z"),
            ("https://x:8443/y@z", "https://x:8443/y@z"),
            ("https://u:p/w@x/y", "https://x/y"),
        ],
    )
    def test_credentials_are_left_out_of_what_is_shown(self, url: str, shown: str) -> None:
        assert without_credentials(url) == shown

    @pytest.mark.parametrize(
        ("text", "holds"),
        [
            ('url = "https://robot:hunter2@example.org/simple"', True),
            ('"git": "https://ghp_0123@github.com/x/y.git"', True),
            ("--extra-index-url http://robot:hunter2@example.org/simple", True),
            ('url = "https://${USER}:${PASS}@example.org/simple"', False),
            ('"git": "https://git@github.com/x/y.git"', False),
            ('"git": "ssh://git@github.com/x/y.git"', False),
            ('url = "https://example.org/simple"  # a@b', False),
        ],
    )
    def test_credentials_are_seen_in_a_file(self, text: str, holds: bool) -> None:
        assert holds_credential(text) is holds


class TestMarkersAndVersions:
    @pytest.mark.parametrize(
        "marker",
        [
            "python_version >= '3.7'",
            "python_version < '4' and (sys_platform == \"linux\" or os_name != 'nt')",
            "((python_version >= '3.7' and python_version < '4.0'))",
            "'linux' in sys_platform",
            "platform_machine not in 'x86_64 i686'",
            "python_implementation == 'CPython'",
            "os_name == '@' or os_name == 'a and b'",
        ],
    )
    def test_good_markers(self, marker: str) -> None:
        assert is_marker(marker)

    @pytest.mark.parametrize(
        "marker",
        [
            "",
            "x",
            "python_version",
            "python_version >= 3.7",
            "@",
            "@ and @",
            "(os_name == 'a'",
            "os_name == 'a' or",
            "(" * 9999,
        ],
    )
    def test_bad_markers(self, marker: str) -> None:
        assert not is_marker(marker)

    def test_versions(self) -> None:
        assert all(is_version(version) for version in ("1", "1.2.3", "1.0rc1.post2.dev3", "1!2", "1.0+x.1", "v1.0"))
        assert not any(is_version(version) for version in ("", "x", "1.*", "1" * 5000))

    def test_reading_ordinary_locks_does_not_import_packaging(self) -> None:
        content = text(
            {"pkg": {"version": "==1.2rc1", "hashes": [A], "markers": "os_name == 'a' and (os_name == 'b')"}}
        )
        program = (
            "import sys; from buildpack.app.pipfile_lock import parse_lock; parse_lock(sys.argv[1])\n"
            "print(sorted({name.partition('.')[0] for name in sys.modules} & {'packaging', 'requests', 'subprocess'}))"
        )
        root = Path(__file__).parents[4]
        said = subprocess.run(
            [sys.executable, "-c", program, content], cwd=root, capture_output=True, text=True, check=True
        )
        assert said.stdout == "[]\n"
