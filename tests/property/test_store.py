"""Laws of the store: it remembers the last word, survives damage, and nothing another build needs is lost."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from buildpack.errors import MachineError
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import Image, Layer, Platform, assemble
from buildpack.oci.prune import Limits, prune_store
from buildpack.oci.store import Store

KEYS = st.sampled_from(["a", "b", "../c", "é"])
BODIES = st.binary(min_size=1, max_size=40)
NAMES = st.sampled_from([f"docker.io/library/{name}" for name in ("x:latest", "x:1", "y:latest")])


class Shared(RuleBasedStateMachine):
    """Two processes' views of one folder, beside a model of what it should hold."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.stores = [Store(Path(self.folder.name, "store")) for _ in range(2)]
        self.blobs: dict[Digest, bytes] = {}
        self.layers: dict[str, Layer] = {}
        self.facts: dict[tuple[str, str], object] = {}
        self.images: dict[str, Image] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(turn=st.integers(0, 1), body=BODIES, pieces=st.integers(1, 3))
    def write(self, turn: int, body: bytes, pieces: int) -> None:
        with self.stores[turn].blob() as writer:
            for number in range(pieces):
                writer.write(body[number::pieces])
            whole = b"".join(body[number::pieces] for number in range(pieces))
            writer.commit(sha256(whole))
        self.blobs[sha256(whole)] = whole

    @rule(turn=st.integers(0, 1), key=KEYS, body=BODIES)
    def remember_layer(self, turn: int, key: str, body: bytes) -> None:
        digest = self.stores[turn].write(body)
        self.blobs[digest] = body
        self.layers[key] = Layer(digest=digest, diff_id=sha256(body + b"tar"), size=len(body), annotations={"k": key})
        self.stores[turn].remember_layer(key, self.layers[key])

    @rule(turn=st.integers(0, 1), kind=st.sampled_from(["wheel", "stack"]), key=KEYS, value=st.none() | st.integers())
    def remember(self, turn: int, kind: str, key: str, value: object) -> None:
        self.stores[turn].remember(kind, key, value)
        self.facts[kind, key] = value

    @rule(turn=st.integers(0, 1), names=st.lists(NAMES, min_size=1, max_size=2, unique=True))
    def put_image(self, turn: int, names: list[str]) -> None:
        image = assemble(
            self.layers.values(), platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={}
        )
        known = all(self.images.get(name) == image for name in names)
        assert self.stores[turn].put_image(image, names) != known
        self.blobs |= {image.digest: image.manifest, image.config_digest: image.config}
        self.images |= dict.fromkeys(names, image)

    @rule(place=st.integers(0, 1000), cut=st.booleans(), turn=st.integers(0, 1))
    def damage_and_mend(self, place: int, cut: bool, turn: int) -> None:
        ours = sorted(digest for digest, body in self.blobs.items() if body)
        if not ours:
            return
        digest = ours[place % len(ours)]
        path = self.stores[turn].path(digest)
        raw = bytearray(path.read_bytes())
        raw[place % len(raw)] ^= 0x40
        path.write_bytes(raw[:-1] if cut else raw)
        if cut:
            assert not any(self.stores[turn].layer(key) for key, layer in self.layers.items() if layer.digest == digest)
        assert not self.stores[turn].verify(digest)
        assert not self.stores[turn].has(digest)
        assert not any(self.stores[turn].layer(key) for key, layer in self.layers.items() if layer.digest == digest)
        assert self.stores[turn].write(self.blobs[digest]) == digest

    @rule(turn=st.integers(0, 1), old=st.booleans())
    def prune(self, turn: int, old: bool) -> None:
        store = self.stores[turn]
        needed = {digest for image in self.images.values() for digest in (image.digest, image.config_digest)}
        needed |= {layer.digest for image in self.images.values() for layer in image.layers}
        # The other store's lease keeps what was used within the hour before it began.
        now = time.time()
        for digest in self.blobs:
            os.utime(store.path(digest), (now - 7200 * old,) * 2)
        pruned = prune_store(store, Limits(keep=0), shelves=(), now=now)
        gone = self.blobs.keys() - needed if old else set()
        assert {item.name for item in pruned.dropped} == {f"blobs/sha256/{digest.hex}" for digest in gone}
        assert pruned.freed == sum(len(self.blobs[digest]) for digest in gone)
        for digest in gone:
            del self.blobs[digest]
            assert not store.has(digest)
        self.layers = {key: layer for key, layer in self.layers.items() if layer.digest in self.blobs}

    @invariant()
    def every_view_is_the_model(self) -> None:
        if not hasattr(self, "stores"):
            return
        for store in self.stores:
            assert {digest: store.read(digest) for digest in self.blobs} == self.blobs
            assert all(store.has(digest, len(body)) for digest, body in self.blobs.items())
            for key in ("a", "b", "../c", "é"):
                assert store.layer(key) == self.layers.get(key)
                for kind in ("wheel", "stack"):
                    assert store.recall(kind, key) == self.facts.get((kind, key))
            assert store.images() == {name: self.images[name].digest for name in sorted(self.images)}
            assert all(store.image(name) == image for name, image in self.images.items())
            assert not any(store.missing(image.layers) for image in self.images.values())

    @invariant()
    def absent_blobs_are_absent(self) -> None:
        if not hasattr(self, "stores"):
            return
        digest = sha256(b"never written, and longer than any body that is drawn")
        assert not self.stores[0].has(digest)
        with pytest.raises(MachineError, match="lacks the blob"):
            self.stores[0].open(digest)


TestShared = Shared.TestCase
TestShared.settings = settings(stateful_step_count=15)
