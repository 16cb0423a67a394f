"""Pages, file names and the choice of a file, without a server; tests/integration has the rest."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from buildpack.python.files import IndexFile
from buildpack.python.simple import parse_html, parse_json, parse_page
from buildpack.python.target import Target
from buildpack.python.wheel_choice import best_wheel, file_version, misfits, parse_wheel_name

TARGET = Target(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))
HASH = "ab" * 32
URL = "https://index.example/simple/flask/"


def offered(filename: str, **options: object) -> IndexFile:
    return IndexFile(filename=filename, link=f"https://files.example/{filename}", hashes={}, **options)  # type: ignore[arg-type]


def test_html_of_pypi() -> None:
    page = (
        f'<a href="https://files.example/p/Flask-3.0.0-py3-none-any.whl#sha256={HASH}" '
        f'data-requires-python="&gt;=3.8" data-upload-time="2023">Flask-3.0.0-py3-none-any.whl</a><br/>'
    )

    assert parse_html(page.encode(), URL) == [
        IndexFile(
            filename="Flask-3.0.0-py3-none-any.whl",
            link="https://files.example/p/Flask-3.0.0-py3-none-any.whl",
            hashes={"sha256": HASH},
            requires_python=">=3.8",
        )
    ]


@pytest.mark.parametrize(
    ("anchor", "link"),
    [
        ('<a href="../../files/a-1.tar.gz">', "https://index.example/files/a-1.tar.gz"),
        ("<a href='/files/a-1.tar.gz'>", "https://index.example/files/a-1.tar.gz"),
        ("<A HREF=a-1.tar.gz>", "https://index.example/simple/flask/a-1.tar.gz"),
        ('<a\n  rel="internal"\n  href = "a-1.tar.gz"\n>', "https://index.example/simple/flask/a-1.tar.gz"),
        ('<a data-requires-python=">=3.8,<4" href="a-1.tar.gz" />', "https://index.example/simple/flask/a-1.tar.gz"),
        ('<a href="//cdn.example/a-1.tar.gz?x=1&amp;y=2#md5=00">', "https://cdn.example/a-1.tar.gz?x=1&y=2"),
        ('<base href="https://other.example/x/"><a href="a-1.tar.gz">', "https://other.example/x/a-1.tar.gz"),
    ],
)
def test_html_of_other_indexes(anchor: str, link: str) -> None:
    (file,) = parse_html(f"<!-- <a href='no.whl'> --><abbr title='x'>{anchor}a</a><a name='top'>".encode(), URL)

    assert (file.link, file.filename) == (link, "a-1.tar.gz")


def test_html_names_are_unquoted_and_yanked_files_are_known() -> None:
    page = (
        b'<a href="a%2Bb-1.0%2Bcpu.tar.gz">x</a><a href="c-1.tar.gz" data-yanked="bad &quot;build&quot;">x</a>'
        b'<a href="d-1.tar.gz" data-yanked>x</a>'
    )

    assert [(file.filename, file.yanked) for file in parse_html(page, URL)] == [
        ("a+b-1.0+cpu.tar.gz", None),
        ("c-1.tar.gz", 'bad "build"'),
        ("d-1.tar.gz", ""),
    ]


def test_json_of_pep_691_and_700() -> None:
    page = {
        "meta": {"api-version": "1.1"},
        "name": "flask",
        "files": [
            {
                "filename": "a-1.whl",
                "url": "../../f/a-1.whl",
                "hashes": {"sha256": HASH.upper()},
                "size": 12,
                "yanked": False,
            },
            {
                "filename": "b-1.whl",
                "url": "https://x.example/b-1.whl",
                "hashes": {},
                "requires-python": ">=3",
                "yanked": True,
            },
            {"filename": "c-1.whl", "url": "c-1.whl#sha256=00", "hashes": {"blake2b": "0"}, "yanked": "broken"},
        ],
    }

    assert parse_page(json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json; charset=utf-8", URL) == [
        IndexFile(filename="a-1.whl", link="https://index.example/f/a-1.whl", hashes={"sha256": HASH}, size=12),
        IndexFile(filename="b-1.whl", link="https://x.example/b-1.whl", hashes={}, requires_python=">=3", yanked=""),
        IndexFile(
            filename="c-1.whl",
            link="https://index.example/simple/flask/c-1.whl",
            hashes={"blake2b": "0"},
            yanked="broken",
        ),
    ]


@pytest.mark.parametrize("page", [b"[]", b"{}", b'{"files": 3}', b"not json"])
def test_json_that_is_not_a_page(page: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(page, URL)


def test_unwanted_files_are_left_out_unless_their_hash_is_unknown() -> None:
    other = "cd" * 32
    hrefs = (f"a.whl#sha256={HASH}", f"b.whl#sha256={other}", "c.whl#md5=0f", "d.whl")
    html = "".join(f'<a href="{href}"></a>' for href in hrefs)
    files = [
        {"filename": name, "url": name, "hashes": hashes}
        for name, hashes in [
            ("a.whl", {"sha256": HASH}),
            ("b.whl", {"sha256": other}),
            ("c.whl", {"md5": "0f"}),
            ("d.whl", {}),
        ]
    ]

    for page, kind in [(html, "text/html"), (json.dumps({"files": files}), "application/json")]:
        found = parse_page(page.encode(), kind, URL, wanted={HASH})
        assert [file.filename for file in found] == ["a.whl", "c.whl", "d.whl"]


def test_a_hostile_page_takes_no_time() -> None:
    assert parse_html(b"<a " + b"\"'" * 200_000, URL) == []
    assert parse_html(b"<a x" * 50_000, URL) == []


def test_links_never_print() -> None:
    assert "files.example" not in repr(offered("a-1.tar.gz"))


@pytest.mark.parametrize(
    ("filename", "name", "version"),
    [
        ("flask-3.0.0-py3-none-any.whl", "flask", "3.0.0"),
        ("Flask_Login-0.6-py3-none-any.whl", "flask-login", "0.6"),
        ("flask-3.0.0.tar.gz", "flask", "3.0.0"),
        ("zope.interface-6.0.zip", "zope-interface", "6.0"),
        ("python-dateutil-2.9.0.post0.tar.gz", "python-dateutil", "2.9.0.post0"),
        ("foo-bar-1.0-1.tar.gz", "foo-bar", "1.0-1"),
        ("flask-3.0.0.exe", "flask", None),
        ("flask_login-0.6.tar.gz", "flask", None),
        ("other-1.0-py3-none-any.whl", "flask", None),
    ],
)
def test_versions_by_file_name(filename: str, name: str, version: str | None) -> None:
    assert file_version(filename, name) == version


def test_wheel_names() -> None:
    wheel = parse_wheel_name("Foo.Bar-1.0_local-2b-py2.py3-none-manylinux1_x86_64.manylinux2014_x86_64.whl")

    assert wheel is not None
    assert (wheel.name, wheel.version, wheel.build) == ("foo-bar", "1.0-local", (2, "b"))
    assert (wheel.pythons, wheel.abis) == (("py2", "py3"), ("none",))
    assert wheel.platforms == ("manylinux1_x86_64", "manylinux2014_x86_64")
    assert [parse_wheel_name(name) for name in ("a-1-py3-none.whl", "a-1-x-py3-none-any.whl", "a-1.tar.gz")] == [
        None
    ] * 3


RANKED = [
    "p-1-cp311-cp311-manylinux_2_28_x86_64.whl",
    "p-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "p-1-cp39-abi3-manylinux_2_28_x86_64.whl",
    "p-1-2b-py3-none-any.whl",
    "p-1-2a-py3-none-any.whl",
    "p-1-1-py3-none-any.whl",
    "p-1-py3-none-any.whl",
]


def test_the_best_wheel_by_tag_then_build_number_in_any_order() -> None:
    useless = ["p-1.tar.gz", "p-1-cp312-cp312-manylinux_2_28_x86_64.whl", "p-1-cp311-cp311-musllinux_1_2_x86_64.whl"]
    for first in range(len(RANKED)):
        names = [*RANKED[first:], *useless]
        random.Random(first).shuffle(names)
        best = best_wheel([offered(name) for name in names], TARGET)
        assert best is not None
        assert best.filename == RANKED[first]
    assert best_wheel([offered(name) for name in useless], TARGET) is None


def test_a_name_that_stands_for_a_million_million_tags_is_ranked_by_those_that_fit() -> None:
    python, abi, platform = (".".join([*(f"{kind}{number}" for number in range(10_000)), fits, fits])
                             for kind, fits in (("x", "py3"), ("y", "none"), ("z", "any")))  # fmt: skip
    hostile = f"p-1-{python}-{abi}-{platform}.whl"
    assert best_wheel([offered(hostile)], TARGET) == offered(hostile)
    assert best_wheel([offered(hostile.replace("-py3", "-py2").replace(".py3", ".py2"))], TARGET) is None


def test_requires_python_excludes_a_wheel_and_nonsense_does_not() -> None:
    assert best_wheel([offered("p-1-py3-none-any.whl", requires_python=">=3.12")], TARGET) is None
    assert best_wheel([offered("p-1-py3-none-any.whl", requires_python=">=3.8.*")], TARGET) is not None
    assert best_wheel([offered("p-1-py3-none-any.whl", requires_python="three")], TARGET) is not None


def test_why_files_do_not_fit() -> None:
    names = [
        "p-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "p-1-cp310-cp310-manylinux_2_28_x86_64.whl",
        "p-1-cp311-cp311-win_amd64.whl",
        "p-1-cp311-cp311-manylinux_2_28_aarch64.whl",
        "p-1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "p-1-cp311-cp311-manylinux_2_39_x86_64.whl",
        "p-1.exe",
    ]
    files = [*map(offered, names), offered("p-1-py3-none-any.whl", requires_python=">=3.12")]

    assert list(misfits(files, TARGET).items()) == [
        ("needs Python >=3.12", ["p-1-py3-none-any.whl"]),
        ("for a newer glibc than 2.36", ["p-1-cp311-cp311-manylinux_2_39_x86_64.whl"]),
        ("for another libc (musl)", ["p-1-cp311-cp311-musllinux_1_2_x86_64.whl"]),
        (
            "for another Python",
            ["p-1-cp310-cp310-manylinux_2_28_x86_64.whl", "p-1-cp312-cp312-manylinux_2_28_x86_64.whl"],
        ),
        (
            "for another machine or system",
            ["p-1-cp311-cp311-manylinux_2_28_aarch64.whl", "p-1-cp311-cp311-win_amd64.whl"],
        ),
        ("neither a wheel nor an archive of sources", ["p-1.exe"]),
    ]


def test_importing_these_modules_costs_nothing_heavy() -> None:
    modules = "target, select, index, fetch, http, simple, wheel_choice, credentials, source_tree, editable, sdist"
    script = (
        f"import sys; from buildpack.python import {modules}; "
        "print([m for m in ('requests', 'packaging', 'urllib3', 'ssl', 'zipfile', 'concurrent.futures', 'subprocess', "
        "'build', 'tempfile', 'tomllib') if m in sys.modules])"
    )

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"
