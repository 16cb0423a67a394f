"""Requirements of builds, in texts that strangers wrote."""

from __future__ import annotations

import pytest

from buildpack.python.build_settings import NO_SETTINGS
from buildpack.python.http import Client
from buildpack.python.isolation import BuildFailedError
from buildpack.python.requirements import resolve_requirements
from buildpack.python.target import Target

HERE = Target(version="3.11.2", machine="x86_64", libc=("glibc", 2, 36))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x; " + "(" * 4000 + "os_name == 'a'" + ")" * 4000, "a requirement cannot be read: x; ((("),
        ("x @@ y", "a requirement cannot be read: x @@ y"),
        ("x; python_version ~= 'abc'", "a requirement's marker cannot be compared: x; python_version ~= 'abc'"),
    ],
)
def test_a_requirement_that_cannot_be_read(text, reason, tmp_path):
    with Client([], {}) as client, pytest.raises(BuildFailedError) as error:
        resolve_requirements([text], target=HERE, client=client, folder=tmp_path, settings=NO_SETTINGS, build=None)
    assert error.value.output.startswith(reason)
    assert len(error.value.output) < 300
