"""A registry by the letter of the specification, behind a proxy that can fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from buildpack.oci.reference import parse_reference
from buildpack.oci.registry import Registry
from tests.support.proxy import Proxy
from tests.support.registry_client import connected
from tests.support.spec_registry import SpecRegistry, spec_registry


@pytest.fixture
def server() -> Iterator[SpecRegistry]:
    with spec_registry() as made:
        yield made


@pytest.fixture
def proxy(server: SpecRegistry) -> Iterator[Proxy]:
    with Proxy(server.name) as made:
        yield made


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Registry]:
    with connected(parse_reference(f"{proxy.name}/team/app:1"), {}, sleep=lambda _seconds: None) as made:
        yield made
