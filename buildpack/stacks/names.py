"""Tell what a stack is called by its digest: an image says which base it has, whatever that was asked by."""

from __future__ import annotations

from buildpack.oci.digest import Digest
from buildpack.oci.seal import parse_sealed
from buildpack.oci.store import Store

_KIND = "stack-reference"


def names_of(digest: Digest, store: Store) -> tuple[str, ...]:
    """Return the references, with their digests, that meant this base when builds of this store looked them up."""
    names = set()
    for path in (store.root / "facts" / _KIND).glob("*.json"):
        try:
            found = parse_sealed(path.read_bytes())
        except OSError:
            continue
        if found and found["value"].get("manifest") == str(digest):
            names.add(str(found["value"]["reference"]))
    return tuple(sorted(names))
