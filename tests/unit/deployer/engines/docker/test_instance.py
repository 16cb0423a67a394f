"""When a container of a formation needs to be looked after."""

from __future__ import annotations

import os

from deployer.engines.docker.container import Blueprint
from deployer.engines.docker.instance import Instance


def instance() -> Instance:
    made = Instance(Blueprint(app="blasto", process="web.1", image="blasto", command=["web"], environment={}))
    made.start_at = None
    return made


def test_the_next_of_what_is_due():
    made = instance()
    assert made.next_due is None
    made.kill_at, made.term_at = 9.0, 4.0
    assert made.next_due == 4.0


def test_an_output_that_ended_is_not_awaited_while_the_engine_removes_its_container():
    made = instance()
    reader, writer = os.pipe()
    os.close(writer)
    made.output, made.drain_until = reader, 5.0
    assert made.next_due == 5.0
    made.close_output()
    assert made.next_due is None
