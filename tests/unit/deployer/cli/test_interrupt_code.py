"""An interrupt stays an interrupt, even if Python or a library turned it into another exception."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from deployer.cli.command import interrupt_code


def test_one_that_comes_while_a_class_gets_its_fields():
    class Field:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(RuntimeError if sys.version_info < (3, 12) else KeyboardInterrupt) as raised:
        type("Owner", (), {"field": Field()})
    assert interrupt_code(raised.value) == 130


def test_one_whose_handling_fails():
    def close() -> None:
        try:
            sys.exit(128 + signal.SIGTERM)
        finally:
            raise OSError("closed")

    with pytest.raises(OSError, match="closed") as raised:
        close()
    assert interrupt_code(raised.value) == 143


def test_an_error_of_its_own():
    with pytest.raises(FileNotFoundError) as raised:
        Path("/no/such/file").stat()
    assert interrupt_code(raised.value) is None
