"""Files that a CI service reads back: outputs that hold any value, a summary in which the app's words stay words."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpack.errors import MachineError
from deployer.ci.summary import escape, render_outputs, render_summary, write_outputs, write_summary


def parse_outputs(text: str) -> dict[str, str]:
    """Read a file of outputs as GitHub's runner does (FileCommandManager.cs, SetOutputFileCommand)."""
    lines, found = text.split("\n"), {}
    while lines:
        line = lines.pop(0)
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if equals >= 0 and (heredoc < 0 or equals < heredoc):
            found[line[:equals]] = line[equals + 1 :]
            continue
        name, _, delimiter = line.partition("<<")
        value = []
        while (line := lines.pop(0)) != delimiter:
            value.append(line)
        found[name] = "\n".join(value)
    return found


VALUES = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]))


@given(st.dictionaries(st.sampled_from(["digest", "reference", "size"]), VALUES))
def test_outputs_come_back_as_they_were(values):
    assert parse_outputs(render_outputs(values)) == values


def test_no_value_ends_itself():
    numbers = count()
    rendered = render_outputs({"digest": "x\nD0\nD1\nevil=1"}, token=lambda: f"D{next(numbers)}")
    assert rendered == "digest<<D2\nx\nD0\nD1\nevil=1\nD2\n"


def test_outputs_and_summary_are_added_to_their_files(tmp_path):
    environ = {"GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    (tmp_path / "out").write_text("earlier=1\n")
    write_outputs({"digest": "sha256:0"}, environ)
    write_summary("one\n", environ)
    write_summary("two ✅\n", environ)
    assert parse_outputs((tmp_path / "out").read_text()) == {"earlier": "1", "digest": "sha256:0"}
    assert (tmp_path / "summary").read_text(encoding="utf-8") == "one\ntwo ✅\n"


def test_nothing_is_written_where_nothing_is_asked_for():
    write_outputs({"digest": "sha256:0"}, {})
    write_summary("one", {"GITHUB_STEP_SUMMARY": ""})


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(MachineError) as caught:
        write_summary("one", {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "such")})
    assert str(caught.value) == (
        "GITHUB_STEP_SUMMARY cannot be written\n\n"
        f"{tmp_path}/no/such: No such file or directory.\n\n"
        "hint: the CI service sets this variable; unset it to run without the file."
    )
    assert caught.value.exit_code == 70


REPORT: dict[str, Any] = {
    "schema": 1,
    "digest": "sha256:" + "a" * 64,
    "references": ["registry.example/shop:1", "registry.example/shop:main"],
    "platform": "linux/amd64",
    "stack": {"name": "python:3.13-slim", "reference": "x", "digest": "sha256:0"},
    "python": "3.13.1",
    "processes": {"web": "gunicorn shop:APP"},
    "size": 61_000_000,
    "layers": [
        {"kind": "stack", "digest": "sha256:0", "size": 41_000_000, "source": "registry", "reason": ""},
        {"kind": "dependencies", "digest": "sha256:1", "size": 19_949_000, "source": "registry", "reason": ""},
        {"kind": "app", "digest": "sha256:2", "size": 51_000, "source": "built", "reason": "shop/views.py changed"},
    ],
    "warnings": ["Procfile:2: `web` | <b>"],
    "steps": [
        {"name": "check", "status": "passed", "seconds": 0.01, "reason": "nothing to fix"},
        {"name": "build", "status": "passed", "seconds": 0.4, "reason": "61 MB in 3 layers"},
        {"name": "test", "status": "skipped", "seconds": 0.0, "reason": "--no-boot is given"},
        {"name": "boot", "status": "skipped", "seconds": 0.0, "reason": "--no-boot is given"},
        {"name": "push", "status": "passed", "seconds": 0.2, "reason": "1 layer"},
    ],
    "requests": 8,
    "bytes_sent": 52_000,
    "bytes_received": 9_000,
}


def test_the_summary_of_a_push():
    text = render_summary(REPORT, app="shop")
    assert text == (
        "### ✅ <code>registry.example/shop:1</code> built and pushed\n\n"
        "| | |\n|---|---|\n"
        "| image | <code>registry.example/shop:1</code><br><code>registry.example/shop:main</code> |\n"
        f"| digest | <code>sha256:{'a' * 64}</code> |\n"
        "| size | 61 MB in 3 layers |\n"
        "| python | 3.13.1 on python:3.13-slim &#40;linux/amd64&#41; |\n"
        "| reused | 2 layers, 61 MB |\n"
        "| written | 1 layer, 51 KB<br>app &#40;51 KB&#41;: shop/views.py changed |\n"
        "| moved | 52 KB sent, 9.0 KB received, 8 requests |\n\n"
        "| step | | seconds | |\n|---|---|--:|---|\n"
        "| check | ✅ passed | 0.01 | nothing to fix |\n"
        "| build | ✅ passed | 0.40 | 61 MB in 3 layers |\n"
        "| test | ⏭ skipped |  | --no-boot is given |\n"
        "| boot | ⏭ skipped |  | --no-boot is given |\n"
        "| push | ✅ passed | 0.20 | 1 layer |\n\n"
        "**Warnings**\n\n- Procfile:2: &#96;web&#96; &#124; &#60;b&#62;\n\n"
    )


def test_a_layer_that_one_platform_wrote_for_another_is_written():
    again = [{**layer, "source": "store", "reason": ""} for layer in REPORT["layers"]]
    platforms = [REPORT, {**REPORT, "platform": "linux/arm64", "layers": again}]
    for order in (platforms, platforms[::-1]):
        text = render_summary({**REPORT, "platforms": order}, app="shop")
        assert "| reused | 2 layers, 61 MB |\n" in text
        assert "| written | 1 layer, 51 KB<br>app &#40;51 KB&#41;: shop/views.py changed |\n" in text


def test_the_summary_of_a_failure_tells_what_to_do():
    steps = [{"name": "check", "status": "failed", "seconds": 0.01, "reason": "there is no Pipfile.lock"}]
    text = render_summary({"schema": 1, "steps": steps, "warnings": []}, app="shop", error="no lock\n\nhint: `lock`")
    assert text == (
        "### ❌ <code>shop</code>: check failed, nothing was pushed\n\n"
        "| step | | seconds | |\n|---|---|--:|---|\n"
        "| check | ❌ failed | 0.01 | there is no Pipfile.lock |\n\n"
        "<pre>no lock<br><br>hint: &#96;lock&#96;</pre>\n\n"
    )


@given(st.text())
def test_nothing_in_a_text_is_markdown_or_html(text):
    shown = escape(text)
    assert not set(re.sub(r"&#[0-9]+;|<br>", "", shown)) & set("<>|`*[]()!~\\\"'@$\n\r")
