from __future__ import annotations

import json
from typing import Any

import pytest
from installer.utils import parse_metadata_file

from buildpack.python.about import About, read_about, within

HEAD = "Metadata-Version: 2.4\nName: demo\nVersion: 1\n"
ANN = (("Ann", "ann@example.org"),)


def read(*lines: str) -> About:
    return read_about(parse_metadata_file(HEAD + "".join(f"{line}\n" for line in lines)))


def test_metadata_that_states_nothing() -> None:
    assert read() == About()
    assert read("License: UNKNOWN", "Author: UNKNOWN", "Author-email: UNKNOWN", "Maintainer: ") == About()


@pytest.mark.parametrize(
    ("lines", "expression", "licences"),
    [
        (["License-Expression: MIT OR (Apache-2.0 AND BSD-2-Clause)"], "MIT OR (Apache-2.0 AND BSD-2-Clause)", ()),
        (["License-Expression: MIT", "License: GPL", "Classifier: License :: OSI Approved :: BSD License"], "MIT", ()),
        (["License: Apache 2.0", "Classifier: License :: OSI Approved :: BSD License"], "", ("Apache 2.0",)),
        (
            [
                "Classifier: Programming Language :: Python",
                "Classifier: License :: OSI Approved",
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: Apache Software License",
                "Classifier: License :: OSI Approved :: MIT License",
            ],
            "",
            ("MIT License", "Apache Software License"),
        ),
        (
            ["License: Permission is granted", "        to anyone.", "Classifier: License :: Public Domain"],
            "",
            ("Public Domain",),
        ),
        (["License: " + "x" * 101, "Classifier: License :: Public Domain"], "", ("Public Domain",)),
        (["License: " + "x" * 100], "", ("x" * 100,)),
        (["License: red\x1b[31m", "Classifier: License :: \u202eevil"], "", ()),
        (["License-Expression: MIT\x1b[2J", "License: MIT"], "", ("MIT",)),
        (["License-Expression: " + "(" * 501, "License: MIT"], "", ("MIT",)),
        ([f"Classifier: License :: {number}" for number in range(5000)], "", tuple(map(str, range(10)))),
    ],
    ids=lambda value: str(value)[:40],
)
def test_licences(lines: list[str], expression: str, licences: tuple[str, ...]) -> None:
    found = read(*lines)
    assert (found.expression, found.licences) == (expression, licences)


@pytest.mark.parametrize(
    ("lines", "suppliers"),
    [
        (["Author: Ann", "Author-email: ann@example.org"], ANN),
        (["Author-email: Ann <ann@example.org>"], ANN),
        (["Author: Ann", "Author-email: Ann <ann@example.org>"], ANN),
        (["Author: Ann"], (("Ann", ""),)),
        (["Author-email: ann@example.org"], (("", "ann@example.org"),)),
        (["Author: Bob", "Maintainer: Ann", "Maintainer-email: ann@example.org"], ANN),
        (["Author: Ann", "Author-email: Bob <bob@b.org>"], (("Ann", ""), ("Bob", "bob@b.org"))),
        (
            ['Author-email: "A, B" <a+x@b.org>,', "        Käthe <k@b.org>, c@d.org"],
            (("A, B", "a+x@b.org"), ("Käthe", "k@b.org"), ("", "c@d.org")),
        ),
        (["Author: Ann\x1b[2J", "Author-email: ann@example.org"], (("", "ann@example.org"),)),
        (["Author-email: Ann\u202e <ann\u202e@example.org>, x@y"], (("", "x@y"),)),
        (["Author: " + "x" * 101, "Author-email: " + "a@b, " * 10_000], ()),
        (["Author-email: " + '"' * 900], ()),
        (
            ["Author-email: " + ", ".join(f"{number}@b" for number in range(50))],
            tuple(("", f"{n}@b") for n in range(10)),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_suppliers(lines: list[str], suppliers: tuple[tuple[str, str], ...]) -> None:
    assert read(*lines).suppliers == suppliers


FULL = About(expression="MIT", suppliers=(*ANN, ("Bob", "")), requires=("click", "redis[a,b]", "x:flask"))


@pytest.mark.parametrize("about", [About(), FULL, About(licences=("MIT License", "GPL"), suppliers=(("", "a@b"),))])
def test_json_gives_it_back(about: About) -> None:
    assert About.parse(json.loads(json.dumps(about.render()))) == about


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "",
        {"expression": "MIT\n"},
        {"expression": 7},
        {"expression": ""},
        {"licences": "MIT"},
        {"licences": ["x" * 101]},
        {"licences": ["\x1b[2J"]},
        {"licences": [""]},
        {"licences": ["x"] * 11},
        {"suppliers": [["Ann"]]},
        {"suppliers": [[None, "a@b"]]},
        {"suppliers": [["", ""]]},
        {"suppliers": [["Ann", "no address"]]},
        {"suppliers": ["ab"]},
        {"requires": ["click"]},
        {"requires": "click click"},
        {"requires": "x:a click"},
        {"requires": "Click"},
        {"requires": "a" * 4001},
        {"other": 1},
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_metadata_leads_to_is_unknown(value: Any) -> None:
    assert About.parse(value) is None


def test_names_that_no_extra_asks_for_come_first_and_there_is_a_limit() -> None:
    assert within(["z", "a:x", "z", "b"]) == ("b", "z", "a:x")
    many = within(f"package-{number}" for number in range(10_000))
    assert len(many) > 300
    assert len(" ".join(many)) <= 4000
