"""A signal ends `deploy` even if Python drops the exception that it raised."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command import ROOT

PROGRAM = """
import os, signal, sys
from deployer.ci.console import Console
from deployer.ci.ledger import Ledger
from deployer.engines.docker.oneoff import catching
from deployer.engines.docker.owner import holding_back
from deployer.interrupts import ending_promptly, interrupt
from deployer.runner.signals import STOPPING

class Dropping:
    def __del__(self):
        os.kill(os.getpid(), {number})

def drop():
    Dropping()
    print("went on", flush=True)

signal.signal({number}, interrupt)
{program}
print("started", flush=True)
"""
PLACES = {
    "after a build": "with ending_promptly(): drop()",
    "before a formation": "drop()\nwith catching(STOPPING): print('started')",
    "before a pipeline's step": "drop()\nwith Ledger(Console(sys.stderr)).step('push', 'push'): print('started')",
    "in a pipeline's step": "with Ledger(Console(sys.stderr)).step('boot', 'boot'): drop()",
    "before a container": "drop()\nwith holding_back(): print('started')",
}
TIDYING = """
try:
    os.kill(os.getpid(), {number})
finally:
    with holding_back():
        print("tidied", flush=True)
"""


def end(program: str, number: int) -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(number=number, program=program)
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("number", "error", "code"), [(15, "SystemExit: 143", 143), (2, "KeyboardInterrupt", -2)])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_started_after_a_signal_whose_exception_was_dropped(
    place: str, number: int, error: str, code: int
) -> None:
    done = end(PLACES[place], number)
    assert done.stdout == "went on\n"
    assert "Exception ignored in: <function Dropping.__del__" in done.stderr
    assert error in done.stderr
    assert done.returncode == code


@pytest.mark.parametrize(("number", "code"), [(15, 143), (2, -2)])
def test_what_was_started_is_tidied_up_after_a_signal(number: int, code: int) -> None:
    done = end(TIDYING.replace("{number}", str(number)), number)
    assert done.stdout == "tidied\n"
    assert done.returncode == code
