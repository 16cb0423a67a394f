"""File times after which another change would show."""

from __future__ import annotations

import pytest

from deployer.building.recording import is_settled

SECOND = 1_000_000_000
BEGIN = 1_800_000_000.5


def stamped(modified: float, changed: float) -> tuple[int, ...]:
    return (0o100644, 1, int(modified * SECOND) + 1, int(changed * SECOND) + 1, 7, 1)


def test_absent_and_old_files_are_settled():
    assert is_settled(None, BEGIN)
    assert is_settled(stamped(BEGIN - 1, BEGIN - 1), BEGIN)


@pytest.mark.parametrize(
    ("modified", "changed"), [(BEGIN - 0.05, BEGIN - 1), (BEGIN - 1, BEGIN - 0.05), (BEGIN + 9, BEGIN - 1)]
)
def test_a_file_changed_just_now_or_later_is_not_settled(modified, changed):
    assert not is_settled(stamped(modified, changed), BEGIN)


def test_a_time_in_whole_seconds_may_be_of_a_coarse_clock():
    whole = (0o100644, 1, (1_800_000_000 - 1) * SECOND, (1_800_000_000 - 60) * SECOND, 7, 1)
    assert not is_settled(whole, BEGIN)
    assert is_settled(whole, BEGIN + 2)
