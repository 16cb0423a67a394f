from __future__ import annotations

import pytest

from buildpack.errors import UsageError
from deployer.cli.cache import parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("1KB", 1000),
        ("2GB", 2_000_000_000),
        ("500mb", 500_000_000),
        ("2GiB", 2 << 30),
        (" 1.5 KiB ", 1536),
        ("3TB", 3 * 10**12),
    ],
)
def test_sizes(text, size):
    assert parse_size(text, "--keep-storage") == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 604_800), ("12h", 43_200), ("30m", 1800), ("45s", 45), ("2w", 1_209_600), ("0.5h", 1800)],
)
def test_ages(text, seconds):
    assert parse_age(text, "--older-than") == seconds


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2 G B", "1e9", "٣GB", "2d", "9" * 13 + "GB", "x" * 99])
def test_a_wrong_size_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_size(text, "--keep-storage")
    assert str(caught.value) == (
        f"--keep-storage {text[:40]!r} is not an amount of bytes\n\n"
        "It is a number with a unit: KB, MB, GB, TB, or KiB, MiB, GiB, TiB.\n\n"
        "hint: for example --keep-storage 2GB."
    )


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 days", "7GB", "inf"])
def test_a_wrong_age_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_age(text, "--older-than")
    assert str(caught.value) == (
        f"--older-than {text!r} is not a length of time\n\n"
        "It is a number with a unit: s, m, h, d or w.\n\n"
        "hint: for example --older-than 7d."
    )
