"""Compares two images, down to single files: one from outside, and one that was built again.

The first image is not trusted: if digests of layers differ, their bytes are compared, not the config's diff_ids. Memory
is bounded by the second image, which is ours.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

from buildpack.dataclass import dataclass
from buildpack.errors import StackError
from buildpack.oci.compare_documents import ValueDifference, compare_configs, compare_manifests, shorten
from buildpack.oci.compression import gunzip
from buildpack.oci.digest import Digest
from buildpack.oci.image import ANNOTATION, LAYER_GZIP, LAYER_TAR, Image, Layer
from buildpack.oci.tar_reader import Member, read_members

OpenLayer = Callable[[Layer], BinaryIO]
"""Opens a layer's blob, whose bytes have its digest."""

_LISTED = 1000
"""Differences of one layer that are listed."""
_MORE = 1 << 30
"""A layer may unpack to twice the size of the other one and this many bytes; the rest is not compared."""
_PIECE = 1 << 20

_Side = Literal["image", "rebuilt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDifference:
    """A file, folder or link that differs: it is only in one image, `only`, or its `fields` differ."""

    path: str
    only: _Side | None = None
    fields: tuple[ValueDifference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDifference:
    """A layer that differs; with `only` it is only in that image.

    `same_key` is True if both layers claim the same inputs, `same_tar` if they unpack to the same bytes. `more` counts
    the entries that are not listed. `note` describes a difference outside entries, or why some entries may be missing.
    """

    name: str
    kind: str
    only: _Side | None = None
    same_key: bool = False
    same_tar: bool = False
    entries: tuple[EntryDifference, ...] = ()
    more: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences of two images; none if they are equal, bit for bit.

    `reordered` is True if the order of layers that both have differs.
    """

    layers: tuple[LayerDifference, ...]
    config: tuple[ValueDifference, ...]
    manifest: tuple[ValueDifference, ...]
    reordered: bool = False

    @property
    def same_content(self) -> bool:
        """True if containers of both see the same files: only compression and annotations differ."""
        return not self.config and not self.reordered and all(layer.same_tar for layer in self.layers)


def compare_images(image: Image, rebuilt: Image, *, open_image: OpenLayer, open_rebuilt: OpenLayer) -> Comparison:
    """Compare manifests first; only layers with another digest are opened. Raises what opening raises."""
    if image.manifest == rebuilt.manifest and image.config == rebuilt.config:
        return Comparison(layers=(), config=(), manifest=())
    pairs = _pair(image.layers, rebuilt.layers)
    layers = [
        _compare_layers(pair, open_image=open_image, open_rebuilt=open_rebuilt)
        for pair in pairs
        if pair.own is None or pair.other is None or pair.own.digest != pair.other.digest
    ]
    places = [pair.place for pair in pairs if pair.own is not None and pair.other is not None]
    order = [layer.digest for layer in image.layers] == [layer.digest for layer in rebuilt.layers]
    return Comparison(
        layers=tuple(layers),
        config=tuple(compare_configs(image.config, rebuilt.config, same_layers=order)),
        manifest=tuple(compare_manifests(image.manifest, rebuilt.manifest)),
        reordered=places != sorted(places),
    )


def layer_name(layer: Layer, position: int) -> str:
    """Return a layer's name for messages: its slot, its kind, or its number, from 1 on."""
    slot = layer.annotations.get(ANNOTATION + "slot") or layer.annotations.get(ANNOTATION + "kind")
    return shorten(slot) if slot else f"layer {position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A layer of the image, with its number from 1 on, and the rebuilt image's layer to compare it with."""

    own: Layer | None
    other: Layer | None
    place: int


def _pair(own: tuple[Layer, ...], others: tuple[Layer, ...]) -> list[_Pair]:
    """Pair equal layers, then layers of the same slot, then the rest in order; others have no partner.

    The pairs are in the order of the rebuilt image; layers that only the image has come last.
    """
    left, right = dict(enumerate(own, 1)), dict(enumerate(others, 1))
    found: dict[int, int] = {}
    marks: tuple[Callable[[Layer], object], ...] = (
        lambda layer: (layer.digest, _slot(layer)),
        lambda layer: layer.digest,
        lambda layer: layer.diff_id,
        _slot,
    )
    for same in marks:
        for place, layer in list(left.items()):
            mark = same(layer)
            match = next((at for at, each in right.items() if mark and same(each) == mark), None)
            if match is not None:
                found[match] = place
                del left[place], right[match]
    lost = not any(map(_slot, own))  # some tools drop annotations
    unnamed = [place for place, layer in left.items() if not _slot(layer)]
    for place, match in zip(unnamed, [at for at, each in right.items() if lost or not _slot(each)], strict=False):
        found[match] = place
        del left[place], right[match]
    pairs = [
        _Pair(own=own[found[at] - 1] if at in found else None, other=other, place=found.get(at, at))
        for at, other in enumerate(others, 1)
    ]
    return [*pairs, *(_Pair(own=layer, other=None, place=place) for place, layer in left.items())]


def _slot(layer: Layer) -> str:
    return layer.annotations.get(ANNOTATION + "slot", "")


def _compare_layers(pair: _Pair, *, open_image: OpenLayer, open_rebuilt: OpenLayer) -> LayerDifference:
    own, other = pair.own, pair.other
    known = other or own
    assert known is not None
    name = layer_name(known, pair.place)
    kind = known.annotations.get(ANNOTATION + "kind", "stack" if other else "")
    if own is None:
        return LayerDifference(name=name, kind=kind, only="rebuilt")
    table = _Table()
    if other is not None:
        with open_rebuilt(other) as blob:
            table.fill(_Unpacked(blob, other, limit=None))
    with open_image(own) as blob:
        unpacked = _Unpacked(blob, own, limit=2 * table.size + _MORE)
        table.compare(unpacked)
    same = other is not None and not unpacked.trouble and unpacked.diff_id == other.diff_id
    return LayerDifference(
        name=name,
        kind=kind,
        only=None if other else "image",
        same_key=other is not None and bool(other.key) and own.key == other.key,
        same_tar=same,
        entries=tuple(table.found),
        more=table.more,
        note=_note(own, unpacked, same=same, entries=bool(table.found)),
    )


def _note(own: Layer, unpacked: _Unpacked, *, same: bool, entries: bool) -> str:
    """Return a difference of a layer that its entries do not show."""
    if unpacked.trouble:
        return unpacked.trouble
    if unpacked.diff_id != own.diff_id:
        return f"the image's config claims that it holds {own.diff_id}, and it holds {unpacked.diff_id}"
    if entries:
        return ""
    return "compressed in another way" if same else "the same entries, written or ordered in another way"


class _Unpacked:
    """Reads and hashes a layer's tar; `trouble` says why it could not be read to its end."""

    def __init__(self, blob: BinaryIO, layer: Layer, *, limit: int | None) -> None:
        self._blob = blob
        self._layer = layer
        self._limit = limit
        self._hash = hashlib.sha256()
        self.size = 0
        self.trouble = ""

    @property
    def diff_id(self) -> Digest:
        """The digest of the bytes read so far; of the whole tar once `rows` has ended."""
        return Digest(self._hash.hexdigest())

    def rows(self) -> Iterator[tuple[str, _Row]]:
        """Yield each entry; stop if the blob is not a layer, and remember why."""
        try:
            pieces = self._pieces()
            for member, content in read_members(pieces, origin="the layer"):
                yield member.path, _row(member, content)
            for _ in pieces:
                pass
        except StackError as error:
            self.trouble = f"{error.what}: {error.why.rstrip('.')}"
        except (zlib.error, EOFError) as error:
            self.trouble = f"it is not a whole gzip stream: {error}"
        except _TooLarge:
            self.trouble = f"it unpacks to more than {self._limit} bytes; the rest was not compared"

    def _pieces(self) -> Iterator[bytes]:
        if self._layer.media_type not in {LAYER_GZIP, LAYER_TAR}:
            self.trouble = f"its media type {shorten(self._layer.media_type)} cannot be unpacked here"
            return
        packed = self._layer.media_type == LAYER_GZIP
        for piece in gunzip(self._blob) if packed else iter(lambda: self._blob.read(_PIECE), b""):
            self._hash.update(piece)
            self.size += len(piece)
            if self._limit is not None and self.size > self._limit:
                raise _TooLarge
            yield piece


class _TooLarge(Exception):
    """The layer unpacks to more than the limit."""


_Row = tuple[str, int, int, int, int, str, str, bytes]
_FIELDS = ("kind", "mode", "uid", "gid", "size", "mtime", "target", "content")


class _Table:
    """The entries of the rebuilt layer; each is removed when the image has it too. `found` are the differences."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Row] = {}
        self._done: set[str] = set()
        self.size = 0
        self.found: list[EntryDifference] = []
        self.more = 0

    def fill(self, unpacked: _Unpacked) -> None:
        self._waiting.update(unpacked.rows())
        self.size = unpacked.size

    def compare(self, unpacked: _Unpacked) -> None:
        for path, row in unpacked.rows():
            self._compare(path, row)
        # If the layer was not read to its end, entries that were not seen may still be there.
        if not unpacked.trouble:
            for path in self._waiting:
                self._tell(EntryDifference(path=path, only="rebuilt"))
        self.found.sort(key=lambda entry: entry.path)

    def _compare(self, path: str, row: _Row) -> None:
        known = self._waiting.pop(path, None)
        if known is not None:
            self._done.add(path)
            if fields := _differing(row, known):
                self._tell(EntryDifference(path=shorten(path), fields=fields))
        elif path in self._done:
            twice = ValueDifference(path="occurs", image="twice", rebuilt="once")
            self._tell(EntryDifference(path=shorten(path), fields=(twice,)))
        else:
            self._tell(EntryDifference(path=shorten(path), only="image"))

    def _tell(self, difference: EntryDifference) -> None:
        if len(self.found) < _LISTED:
            self.found.append(difference)
        else:
            self.more += 1


def _row(member: Member, content: Iterator[bytes]) -> _Row:
    hashed = hashlib.sha256()
    for piece in content:
        hashed.update(piece)
    m = member
    return (m.kind, m.mode, m.uid, m.gid, m.size, m.mtime, m.target, hashed.digest())


def _differing(own: _Row, other: _Row) -> tuple[ValueDifference, ...]:
    if own == other:
        return ()
    pairs = zip(_FIELDS, own, other, strict=True)
    return tuple(
        ValueDifference(path=name, image=_field(name, mine), rebuilt=_field(name, its))
        for name, mine, its in pairs
        if mine != its
    )


def _field(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return f"sha256:{value.hex()}"
    if name == "mode":
        return f"{value:04o}"
    return shorten(str(value))
