"""The form of log lines, byte for byte."""

from __future__ import annotations

import json
import os
import time

import pytest

from deployer.runner.printer import LONGEST_LINE, Printer

NOON = 1_700_000_000.125


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Page(list):
    """A printer of web.1 and worker.1 that prints to a list."""

    def __init__(self, **options):
        super().__init__()
        self.printer = Printer(self.append, wall_clock=lambda: NOON, **options)
        self.printer.add_source("web.1")
        self.printer.add_source("worker.1")

    @property
    def text(self):
        return b"".join(self)


def test_lines():
    page = Page()
    page.printer.feed("web.1", b"one\ntwo\n", 0)
    page.printer.feed("worker.1", b"\n", 0)
    page.printer.system("web.1 stopped (rc=0)")
    assert page.text == (
        b"22:13:20 web.1    | one\n22:13:20 web.1    | two\n22:13:20 worker.1 | \n"
        b"22:13:20 system   | web.1 stopped (rc=0)\n"
    )


def test_a_line_in_pieces_is_one_line():
    page = Page()
    for piece in (b"he", b"ll", b"o\nwor", b"ld\n"):
        page.printer.feed("web.1", piece, 0)
    assert page.text == b"22:13:20 web.1    | hello\n22:13:20 web.1    | world\n"


def test_lines_end_at_newlines_alone():
    page = Page()
    page.printer.feed("web.1", b"a\rb\x0bc\x0cd\xe2\x80\xa8e\x85\xff\x00\n", 0)
    assert page.text == b"22:13:20 web.1    | a\rb\x0bc\x0cd\xe2\x80\xa8e\x85\xff\x00\n"


def test_a_partial_line_is_shown_after_a_tenth_of_a_second():
    page = Page()
    page.printer.feed("web.1", b"(Pdb) ", 5.0)
    assert page.printer.next_partial() == pytest.approx(5.1)
    page.printer.show_partials(5.09)
    assert page.text == b""
    page.printer.show_partials(5.11)
    assert page.text == b"22:13:20 web.1    | (Pdb) "
    assert page.printer.next_partial() is None
    page.printer.feed("web.1", b"next\n> here\n", 6.0)
    assert page.text == b"22:13:20 web.1    | (Pdb) next\n22:13:20 web.1    | > here\n"


def test_a_line_that_grows_is_left_alone_for_a_second():
    page = Page()
    for tenth in range(10):
        page.printer.feed("web.1", b".", tenth / 10)
        page.printer.show_partials(tenth / 10 + 0.099)
    assert page.text == b""
    page.printer.show_partials(1.0)
    assert page.text == b"22:13:20 web.1    | .........."
    page.printer.feed("web.1", b".", 1.11)
    page.printer.show_partials(1.22)
    assert page.text == b"22:13:20 web.1    | ..........."


def test_a_partial_line_waits_for_silence_so_that_nobody_tears_it():
    page = Page()
    page.printer.feed("web.1", b"half", 0)
    page.printer.feed("worker.1", b"tick\n", 0.09)
    page.printer.show_partials(0.15)
    page.printer.postpone_partials(0.18)
    page.printer.show_partials(0.2)
    page.printer.feed("web.1", b" whole\n", 0.2)
    assert page.text == b"22:13:20 worker.1 | tick\n22:13:20 web.1    | half whole\n"


def test_another_source_ends_a_partial_line():
    page = Page()
    page.printer.feed("web.1", b"(Pdb) ", 0)
    page.printer.show_partials(1)
    page.printer.feed("worker.1", b"tick\n", 1)
    page.printer.feed("web.1", b"c\n", 1)
    assert page.text == b"22:13:20 web.1    | (Pdb) \n22:13:20 worker.1 | tick\n22:13:20 web.1    | c\n"


def test_two_partial_lines():
    page = Page()
    page.printer.feed("web.1", b"a", 0)
    page.printer.feed("worker.1", b"b", 0)
    page.printer.show_partials(1)
    page.printer.end("web.1")
    page.printer.end("worker.1")
    assert page.text == b"22:13:20 web.1    | a\n22:13:20 worker.1 | b\n"


def test_the_end_of_a_source_ends_its_line():
    page = Page()
    page.printer.feed("web.1", b"no newline", 0)
    page.printer.end("web.1")
    page.printer.end("worker.1")
    assert page.text == b"22:13:20 web.1    | no newline\n"


def test_a_line_without_end_is_not_kept_for_ever():
    page = Page()
    for _ in range(2 * LONGEST_LINE // 65536):
        page.printer.feed("web.1", b"x" * 65536, 0)
    page.printer.feed("web.1", b"\n", 0)
    assert page.text == b"22:13:20 web.1    | " + b"x" * 2 * LONGEST_LINE + b"\n"


def test_colours_are_honchos():
    page = Page(colour=True)
    page.printer.feed("web.1", b"a\n", 0)
    page.printer.feed("worker.1", b"b\n", 0)
    page.printer.system("c")
    assert page.text == (
        b"\x1b[0m\x1b[36m22:13:20 web.1    | \x1b[0ma\n"
        b"\x1b[0m\x1b[33m22:13:20 worker.1 | \x1b[0mb\n"
        b"22:13:20 system   | c\n"
    )


def test_json():
    page = Page(log_format="json")
    page.printer.feed("web.1", b'say "hi"\n\xc3\xa9\xff\t\nhalf', 0)
    assert page.printer.next_partial() is None
    page.printer.show_partials(9)
    page.printer.feed("web.1", b" whole\n", 9)
    page.printer.system("bye")
    head = {"time": "2023-11-14T22:13:20.125Z"}
    assert [json.loads(line) for line in page.text.decode().splitlines()] == [
        {**head, "process": "web.1", "message": 'say "hi"'},
        {**head, "process": "web.1", "message": "é\\xff\t"},
        {**head, "process": "web.1", "message": "half whole"},
        {**head, "process": "system", "message": "bye"},
    ]


def test_the_prefix_follows_the_clock():
    now = [NOON]
    lines = []
    printer = Printer(lines.append, wall_clock=lambda: now[0])
    printer.add_source("web.1")
    printer.feed("web.1", b"a\n", 0)
    now[0] += 1
    printer.feed("web.1", b"b\n", 0)
    assert b"".join(lines) == b"22:13:20 web.1  | a\n22:13:21 web.1  | b\n"
    assert os.environ["TZ"] == "UTC"
