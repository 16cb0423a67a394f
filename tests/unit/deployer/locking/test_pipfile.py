from __future__ import annotations

import pytest

from buildpack.app.pipfile import parse_pipfile
from deployer.locking.pipfile import add_packages, remove_packages

PIPFILE = """\
# of the app
[packages]  # needed
Flask_Login = "*"  # why
web = {version = "*", index = "inhouse"}
tool = {git = "https://h/x", ref = "1", markers = "os_name == 'nt'"}

[requires]
python_version = "3.11"
"""


@pytest.mark.parametrize(
    ("package", "key", "entry"),
    [
        ("six", "six", "*"),
        ("six==1.16", "six", "==1.16"),
        ("flask-login", "Flask_Login", "*"),
        ("flask.login>=1", "Flask_Login", ">=1"),
        ("web[fast]>=2", "web", {"version": ">=2", "index": "inhouse", "extras": ["fast"]}),
        ("six; os_name == 'nt'", "six", {"version": "*", "markers": 'os_name == "nt"'}),
        ("tool>=2", "tool", {"version": ">=2", "markers": "os_name == 'nt'"}),
        ("tool[x]", "tool", {"git": "https://h/x", "ref": "1", "markers": "os_name == 'nt'", "extras": ["x"]}),
    ],
)
def test_a_requirement_becomes_an_entry(package, key, entry):
    text = add_packages(PIPFILE, [package], dev=False)
    assert parse_pipfile(text).document["packages"][key] == entry
    assert text.startswith("# of the app\n[packages]  # needed\n")
    assert text.endswith('\n\n[requires]\npython_version = "3.11"\n')


def test_a_section_is_made_for_the_first_package():
    text = add_packages(PIPFILE, ["pytest"], dev=True)
    assert parse_pipfile(text).document["dev-packages"] == {"pytest": "*"}


def test_a_new_entry_comes_before_the_comment_of_the_next_section():
    text = '[packages]\nflask = "*"\n# web = "*"\n\n# tools\n[dev-packages]\n\n# the end\n'
    text = add_packages(text, ["six", "web"], dev=False)
    assert add_packages(text, ["pytest"], dev=True) == (
        '[packages]\nflask = "*"\nsix = "*"\nweb = "*"\n# web = "*"\n\n# tools\n[dev-packages]\npytest = "*"\n\n'
        "# the end\n"
    )


def test_new_lines_end_as_the_others_do():
    text = PIPFILE.replace("\n", "\r\n")
    assert add_packages(text, ["six"], dev=False) == add_packages(PIPFILE, ["six"], dev=False).replace("\n", "\r\n")
    assert add_packages(text, ["six"], dev=True) == add_packages(PIPFILE, ["six"], dev=True).replace("\n", "\r\n")


def test_removing_what_was_added_leaves_the_text_as_it_was():
    text = add_packages(PIPFILE, ["six==1.16", "attrs"], dev=False)
    assert remove_packages(text, ["SIX", "attrs"], dev=False) == PIPFILE
