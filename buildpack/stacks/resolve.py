"""Resolves a stack: chooses between its three kinds.

host                      this machine's interpreter           host.py
python:3.12-slim          an image in a registry               registry.py
oci:DIR, archive:FILE     an image on disk                     image_stack.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from buildpack.oci.digest import Digest
from buildpack.oci.image import Layer
from buildpack.oci.store import Store
from buildpack.stacks.stack import Facts, Stack, StackRequest

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport

_ON_DISK = ("oci:", "archive:")


def resolve_stack(
    request: StackRequest,
    *,
    store: Store,
    environ: Mapping[str, str],
    known_facts: Callable[[Digest], Facts | None] | None = None,
    known_layers: Callable[[str], tuple[Layer, ...]] | None = None,
    transport: Transport | None = None,
) -> Stack:
    """Find a stack's layers, its config and its facts; raises StackError.

    `known_facts` returns what earlier images claim about the base with this manifest, so that it need not be
    downloaded; `known_layers` returns the host's layers with this identity, which need not be written then. Registries
    are reached through `transport`; without one, through a new one made from `environ`.
    """
    if request.name == "host":
        from buildpack.stacks.host import resolve_host

        return resolve_host(request, store=store, environ=environ, known_layers=known_layers)
    from buildpack.stacks.image_stack import make_stack, open_base

    if request.name.startswith(_ON_DISK):
        with open_base(request.name, request.platform, store) as base:
            return make_stack(base, request.python, store=store, known_facts=known_facts)
    from buildpack.stacks.registry import find_base

    return make_stack(
        find_base(request, store=store, environ=environ, transport=transport),
        request.python,
        store=store,
        known_facts=known_facts,
    )


def fetch_layers(stack: Stack, store: Store, environ: Mapping[str, str], transport: Transport | None = None) -> None:
    """Bring all the stack's blobs into the store, verified; raises StackError if one is not available."""
    missing = store.missing(stack.layers)
    if not missing:
        return
    if stack.name == "host":
        from buildpack.errors import stacks as errors

        raise errors.host_layer_lost(missing[0].digest)
    if stack.name.startswith(_ON_DISK):
        from buildpack.stacks.image_stack import copy_layers

        copy_layers(stack.name, missing, store)
    else:
        from buildpack.stacks.registry import pull_layers

        pull_layers(stack.reference, missing, store, environ, transport)
