"""Exported files: their content, the quoting of values, and files of others that are never overwritten."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from buildpack.errors import UsageError
from deployer.export.compose import quote_scalar, render_compose, unlike_elsewhere
from deployer.export.files import ExportedFile, find_leftovers, write_files
from deployer.export.systemd import (
    quote_argument,
    quote_path,
    quote_value,
    quote_word,
    render_systemd,
    render_variables,
    unit_name,
)
from deployer.formation import Formation, Limits

VENV = Path("/srv/blasto/.venv")

BLASTO = Formation(
    name="blasto",
    folder=Path("/srv/blasto"),
    processes={"web": "gunicorn blasto:APP", "worker": "python work.py && echo $DONE 100%"},
    counts={"web": 2, "worker": 1},
    port=8000,
    variables={},
    app_object="blasto:APP",
)

WEB_2 = """\
# blasto-web-2.service of blasto: written by `deploy export systemd`
[Unit]
Description=blasto web.2
PartOf=blasto-web.target
After=network.target
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
WorkingDirectory=/srv/blasto
Environment=PATH=/srv/blasto/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=VIRTUAL_ENV=/srv/blasto/.venv
Environment=LANG=C.UTF-8
Environment=PYTHONPATH=/srv/blasto
Environment=PYTHONUNBUFFERED=1
Environment=WEB_CONCURRENCY=2
Environment=FLASK_APP=blasto:APP
Environment=PORT=8001
Environment=PS=web.2
Environment=DYNO=web.2
# Two gunicorns with one folder would unlink each other's control sockets.
RuntimeDirectory=blasto-web-2
Environment="XDG_RUNTIME_DIR=%t/blasto-web-2"
ExecStart=/usr/bin/env gunicorn blasto:APP
Restart=on-failure
RestartSec=1
# gunicorn's codes for an app that does not load: it would not the next time either.
RestartPreventExitStatus=3 4
SuccessExitStatus=143
KillMode=mixed
TimeoutStopSec=30
SyslogIdentifier=web.2
"""

COMPOSE = """\
# compose.yaml of blasto: written by `deploy export compose`
services:
  "web":
    image: "blasto:1.0"
    command: ["web"]
    scale: 2
    ports: ["127.0.0.1:8000-8001:8000"]
    env_file:
      - "./.env"
    environment:
      "PORT": "8000"
    restart: unless-stopped
    stop_grace_period: 30s
  "worker":
    image: "blasto:1.0"
    command: ["worker"]
    env_file:
      - "./.env"
    restart: unless-stopped
    stop_grace_period: 30s
"""


def units(formation: Formation = BLASTO, **options) -> dict[str, str]:
    files = render_systemd(formation, **{"venv": VENV, "user": None, "variables_file": None, **options})
    return {file.name: file.content for file in files}


def only_compose(formation: Formation = BLASTO, env_files: tuple[str, ...] = ()) -> str:
    (file,) = render_compose(formation, image="blasto:1.0", env_files=env_files)
    return file.content


def test_a_target_starts_a_target_for_each_type_and_that_a_service_for_each_process():
    found = units()
    assert list(found) == [
        "blasto.target",
        "blasto-web.target",
        "blasto-web-1.service",
        "blasto-web-2.service",
        "blasto-worker.target",
        "blasto-worker-1.service",
    ]
    assert "Wants=blasto-web.target blasto-worker.target\n" in found["blasto.target"]
    assert "Wants=blasto-web-1.service blasto-web-2.service\n" in found["blasto-web.target"]


def test_the_whole_text_of_a_service():
    assert units()["blasto-web-2.service"] == WEB_2


@pytest.mark.parametrize(("place", "unset"), [(".", {"web", "worker"}), ("src", {"worker"})])
def test_a_unit_leaves_flask_s_own_file_alone(tmp_path, place, unset):
    (tmp_path / "src").mkdir()
    (tmp_path / place / ".flaskenv").write_text("FLASK_APP=other\n")
    processes = {"web": "flask run", "worker": "cd src && flask work"}
    found = units(replace(BLASTO, folder=tmp_path, processes=processes, counts={"web": 1, "worker": 1}))
    services = {name: found[f"blasto-{name}-1.service"] for name in processes}
    assert {name for name, text in services.items() if "Environment=FLASK_APP=" not in text} == unset


def test_a_shell_command_is_quoted_and_stopped_as_a_group():
    lines = units()["blasto-worker-1.service"].splitlines()
    assert 'ExecStart=/usr/bin/env bash -c "python work.py && echo $$DONE 100%%"' in lines
    assert "KillMode=control-group" in lines
    assert "Environment=PORT=8100" in lines


def test_units_are_the_user_s_own_unless_a_user_is_named():
    assert "WantedBy=default.target" in units()["blasto.target"]
    assert "User=" not in units()["blasto-web-1.service"]
    named = units(user="www-data")
    assert "WantedBy=multi-user.target" in named["blasto.target"]
    assert "User=www-data\n" in named["blasto-web-1.service"]


def test_a_user_s_name_cannot_add_settings():
    with pytest.raises(UsageError) as caught:
        units(user="www\nExecStartPre=/bin/false")
    assert str(caught.value) == (
        "--user 'www\\nExecStartPre=/bin/false' is not a user's name\n\nhint: for example --user www-data."
    )


def test_release_runs_once_and_before_the_others():
    app = replace(
        BLASTO,
        processes={"release": "python migrate.py", **BLASTO.processes},
        counts={"web": 1, "release": 1},
    )
    found = units(app)
    assert "Type=oneshot\nRemainAfterExit=yes\n" in found["blasto-release-1.service"]
    assert "Restart=" not in found["blasto-release-1.service"]
    assert (
        "Requires=blasto-release-1.service\nAfter=network.target blasto-release-1.service\n"
        in found["blasto-web-1.service"]
    )
    text = only_compose(app)
    assert text.count("      release:\n        condition: service_completed_successfully\n") == 1
    assert text.count('restart: "no"') == 1
    # A migration that TERM ended is not done, and the others must not start.
    assert "SuccessExitStatus" not in found["blasto-release-1.service"]
    assert "SuccessExitStatus=143\n" in found["blasto-web-1.service"]


def test_postdeploy_runs_once_after_the_release_if_it_is_named():
    app = replace(
        BLASTO,
        processes={"release": "true", "postdeploy": "python seed.py", **BLASTO.processes},
        counts={"web": 1, "release": 1, "postdeploy": 1},
    )
    unit = units(app)["blasto-postdeploy-1.service"]
    assert "Type=oneshot\nRemainAfterExit=yes\n" in unit
    assert "Restart=" not in unit
    assert "Requires=blasto-release-1.service\n" in unit
    text = only_compose(app)
    assert text.count("condition: service_completed_successfully\n") == 2
    assert text.count('restart: "no"') == 2


def test_limits_are_both_programs_limits():
    app = replace(BLASTO, limits=Limits(memory=1 << 30, nano_cpus=500_000_000))
    web = units(app)["blasto-web-1.service"].splitlines()
    assert {"MemoryMax=1073741824", "CPUQuota=50%", "Environment=WEB_CONCURRENCY=3"} <= set(web)
    assert "    mem_limit: 1073741824\n    cpus: 0.5\n" in only_compose(app)
    assert (
        "Environment=WEB_CONCURRENCY=4" in units(replace(BLASTO, limits=Limits(memory=1 << 30)))["blasto-web-1.service"]
    )


def test_a_name_with_slashes_makes_names_of_units():
    assert unit_name("team/blasto.web") == "team-blasto-web"


def test_the_whole_text_of_a_compose_file():
    assert only_compose(env_files=("./.env",)) == COMPOSE


def test_names_that_yaml_reads_as_something_else_stay_names():
    text = only_compose(replace(BLASTO, processes={"on": "x", "1e3": "y"}, counts={"on": 1, "1e3": 1}))
    assert '  "on":\n' in text
    assert 'command: ["1e3"]' in text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("gunicorn", "gunicorn"),
        ("", '""'),
        ("a b", '"a b"'),
        (";", '";"'),
        ('"\\', '"\\"\\\\"'),
        ("100%", '"100%%"'),
        ("$HOME ${X}", '"$$HOME $${X}"'),
        ("a\nb\tc\x7f", '"a\\x0ab\\x09c\\x7f"'),
        ("ü\u2028", '"ü\\xe2\\x80\\xa8"'),
        ("a\u202eb\x9b", '"a\\xe2\\x80\\xaeb\\xc2\\x9b"'),
        ("\ufffe", '"\\xef\\xbf\\xbe"'),
    ],
)
def test_arguments_of_units(text, written):
    assert quote_argument(text) == written


def test_dollars_mean_nothing_in_words():
    assert quote_word("A=$B") == '"A=$B"'


def test_values_of_environment_files():
    assert quote_value("A", 'a "b" $c \\ `d` %\n#') == '"a \\"b\\" \\$c \\\\ \\`d\\` %\n#"'


@pytest.mark.parametrize("value", ["\x1b[0m", "a\rb", "\0", "\udcff", "\ufffe", "\U0001ffff"])
def test_values_that_systemd_leaves_out_are_refused_unshown(value):
    with pytest.raises(UsageError) as caught:
        quote_value("SECRET", value)
    assert str(caught.value) == (
        "systemd refuses the value of SECRET\n\n"
        "It contains a control character, or a byte that is not UTF-8.\n\n"
        "hint: encode the value, in base64 for example, and decode it in the app."
    )


def test_variables_are_for_their_owner_and_leave_the_environment_first_in_path():
    app = replace(BLASTO, variables={"Z": "1", "PATH": "/opt/bin", "VIRTUAL_ENV": "/other"})
    file = render_variables(app, VENV)
    assert file.secret
    assert file.name == "blasto.env"
    assert file.content == (
        '# blasto.env of blasto: written by `deploy export systemd`\nPATH="/srv/blasto/.venv/bin:/opt/bin"\nZ="1"\n'
    )


def test_a_variable_that_systemd_cannot_name_is_refused():
    with pytest.raises(UsageError) as caught:
        render_variables(replace(BLASTO, variables={"a-b": "1"}), VENV)
    assert str(caught.value) == (
        "systemd refuses the variable 'a-b'\n\n"
        "It accepts names of letters, digits and underscores that do not begin with a digit.\n\n"
        "hint: rename it, or leave it out."
    )


@pytest.mark.parametrize("path", ["/srv/a\nb", "/srv/a ", "/srv/a\\", "/srv/\udcff"])
def test_paths_that_no_unit_can_hold_are_refused(path):
    with pytest.raises(UsageError) as caught:
        quote_path(Path(path))
    assert str(caught.value) == (
        f"systemd cannot use the path {path!r}\n\n"
        "It contains a control character, ends in a space or a backslash, or is not UTF-8.\n\n"
        "hint: move the folder to a path without these."
    )


def test_scalars_of_compose():
    assert quote_scalar('$A "ü"\n\x7f\u2028\U0001f600') == '"$$A \\"ü\\"\\n\\u007f\\u2028\U0001f600"'
    assert quote_scalar("a\u202eb\u2066\x9b\x1b") == '"a\\u202eb\\u2066\\u009b\\u001b"'


def test_a_value_that_no_environment_holds_is_refused():
    with pytest.raises(UsageError) as caught:
        only_compose(replace(BLASTO, variables={"SECRET": "\0"}))
    assert caught.value.what == "compose refuses the value of SECRET"


@pytest.mark.parametrize("line", ["A=1", "# comment", "", "A=", "A=b c", "_x1=http://h:1/?a=b&c"])
def test_lines_that_every_compose_reads_alike(line):
    assert unlike_elsewhere(f"X=1\n{line}\n") is None


@pytest.mark.parametrize("line", ["A='1'", 'A="1"', "A=$B", "A=1 # one", "export A=1", "A", "A=\\n", "A = 1", "A=1 "])
def test_lines_that_composes_read_differently(line):
    assert unlike_elsewhere(f"X=1\n{line}\nY='2'\n") == 2


def test_files_are_written_whole_with_modes_of_their_own(tmp_path):
    umask = os.umask(0o077)
    try:
        files = [ExportedFile(name="a", content="ä\n"), ExportedFile(name="b", content="s\n", secret=True)]
        assert write_files(files, tmp_path / "new" / "folder") == [tmp_path / "new/folder/a", tmp_path / "new/folder/b"]
    finally:
        os.umask(umask)
    assert (tmp_path / "new/folder/a").read_bytes() == b"\xc3\xa4\n"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new/folder").iterdir()}
    assert modes == {"a": 0o644, "b": 0o600}


def test_files_of_others_are_not_overwritten(tmp_path):
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    ours = ExportedFile(name="compose.yaml", content=COMPOSE)
    other = ExportedFile(name="another", content="")
    with pytest.raises(UsageError) as caught:
        write_files([other, ours], tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/compose.yaml exists already, and is not of this app's export\n\n"
        "Nothing was written.\n\n"
        "hint: choose another folder with -o, or replace what is there with --force."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["compose.yaml"]
    write_files([ours], tmp_path, force=True)
    write_files([ours], tmp_path)
    assert (tmp_path / "compose.yaml").read_text() == COMPOSE


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine\n")
    (tmp_path / "a").symlink_to("precious")
    write_files([ExportedFile(name="a", content="new\n")], tmp_path, force=True)
    assert (tmp_path / "precious").read_text() == "mine\n"
    assert (tmp_path / "a").read_text() == "new\n"


def test_apps_whose_units_would_have_one_name_keep_out_of_each_other_s_way(tmp_path):
    write_files(render_systemd(BLASTO, venv=VENV, user=None, variables_file=None), tmp_path)
    other = render_systemd(replace(BLASTO, name="blasto-web"), venv=VENV, user=None, variables_file=None)
    with pytest.raises(UsageError) as caught:
        write_files(other, tmp_path)
    assert caught.value.what == f"{tmp_path}/blasto-web.target exists already, and is not of this app's export"


def test_units_of_a_larger_formation_are_found_and_those_of_others_are_not(tmp_path):
    for app, counts in (("blasto", {"web": 3}), ("blasto-api", {"web": 5})):
        write_files(
            render_systemd(replace(BLASTO, name=app, counts=counts), venv=VENV, user=None, variables_file=None),
            tmp_path,
        )
    (tmp_path / "blasto-web-9.service").write_text("[Service]\n")
    files = render_systemd(BLASTO, venv=VENV, user=None, variables_file=None)
    assert [path.name for path in find_leftovers(files, tmp_path, "blasto")] == ["blasto-web-3.service"]
