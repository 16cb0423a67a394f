"""The columns of the summary that `deploy build` prints."""

from __future__ import annotations

import pytest

from deployer.cli.summary import row_printer


@pytest.mark.parametrize(
    ("processes", "row"),
    [
        ([], "  size     7 MB\n"),
        (["web", "worker"], "  size     7 MB\n"),
        (["web", "postdeploy"], "  size       7 MB\n"),
        (["web", "a" * 200], f"  size{' ' * 16} 7 MB\n"),
    ],
)
def test_the_first_column_is_as_wide_as_the_longest_type_up_to_a_bound(processes, row, capsys):
    row_printer(processes)("size", "7 MB")
    assert capsys.readouterr().err == row
