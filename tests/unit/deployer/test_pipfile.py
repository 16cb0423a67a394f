from __future__ import annotations

import pytest

from buildpack.app.pipfile import parse_pipfile
from deployer.pipfile import add_packages, remove_packages

PIPFILE = """\
# of the app
[packages]  # needed
Flask_Login = "*"  # why
web = {version = "*", index = "inhouse"}

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


def test_removing_what_was_added_leaves_the_text_as_it_was():
    text = add_packages(PIPFILE, ["six==1.16", "attrs"], dev=False)
    assert remove_packages(text, ["SIX", "attrs"], dev=False) == PIPFILE
