"""Names, ports and environments."""

from __future__ import annotations

import socket

from deployer.runner.formation import Process, expand, occupied_ports

PROCFILE = {"release": "migrate", "worker": "work", "web": "serve", "clock": "tick"}


def ports(processes):
    return {process.name: int(process.env["PORT"]) for process in processes}


def test_one_of_each_but_release():
    assert ports(expand(PROCFILE, port=8000, env={})) == {"web.1": 8000, "worker.1": 8100, "clock.1": 8200}


def test_ports_do_not_depend_on_what_is_started():
    formation = {"clock": 2, "web": 2}
    assert ports(expand(PROCFILE, formation, port=8000, env={})) == {
        "web.1": 8000,
        "web.2": 8001,
        "clock.1": 8200,
        "clock.2": 8201,
    }
    assert ports(expand(PROCFILE, {"release": 1}, port=8000, env={})) == {"release.1": 8300}


def test_without_a_web_process_the_others_keep_their_ports():
    assert ports(expand({"worker": "work"}, port=8000, env={})) == {"worker.1": 8100}


def test_the_environment():
    [process] = expand({"web": "serve"}, port=8000, env={"A": "1", "PORT": "1", "PS": "x"}, cwd="/app")
    assert process == Process(
        name="web.1", command="serve", env={"A": "1", "PORT": "8000", "PS": "web.1", "DYNO": "web.1"}, cwd="/app"
    )
    assert process.type == "web"
    assert "1" not in repr(process).replace("web.1", "")


def test_occupied_ports():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert occupied_ports(expand(PROCFILE, {"web": 1}, port=port, env={})) == [port]
        assert occupied_ports(expand(PROCFILE, {"worker": 1}, port=port - 100, env={})) == []
    assert occupied_ports(expand(PROCFILE, {"web": 1}, port=port, env={})) == []
