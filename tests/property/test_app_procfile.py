"""The Procfile's grammar: what is written comes back, and any text is read or refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildpack.app.procfile import parse_procfile
from buildpack.errors import AppError

NAME = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
COMMAND = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1).map(str.strip)
BETWEEN = st.sampled_from(["", "\n", "# a: comment\n", "   \n", "  # b\n"])


@given(st.dictionaries(NAME, COMMAND.filter(bool), min_size=1), BETWEEN, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_written_comes_back(processes: dict[str, str], between: str, end: str, mark: bool) -> None:
    lines = [f"{name}: {command}" for name, command in processes.items()]
    text = ("\ufeff" if mark else "") + (end + between).join(lines) + end
    procfile = parse_procfile(text)
    assert {process.name: process.command for process in procfile.processes} == processes
    assert procfile.warnings == ()
    assert [
        text.split("\n")[process.line - 1].lstrip("\ufeff").split(":")[0] for process in procfile.processes
    ] == list(processes)


@given(st.text(alphabet=st.sampled_from("ab:# \t\n\r\0_-Ü\u2028\ufeff"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_procfile(text)
    except AppError as error:
        assert error.exit_code == 10  # noqa: PT017 - that it is this type is the point


@given(st.dictionaries(NAME, st.from_regex(r"[a-z]( ?[a-z:$./-])*", fullmatch=True), min_size=1))
def test_honcho_reads_the_same_where_nothing_is_warned_of(processes: dict[str, str]) -> None:
    from honcho.environ import parse_procfile as honcho

    text = "".join(f"{name}: {command}\n" for name, command in processes.items())
    ours = parse_procfile(text)
    assert ours.warnings == ()
    assert dict(honcho(text).processes) == {process.name: process.command for process in ours.processes}
