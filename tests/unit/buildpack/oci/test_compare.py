from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import replace

import pytest

from buildpack.oci import compare
from buildpack.oci.compare import Comparison, EntryDifference, LayerDifference, compare_images
from buildpack.oci.compare_documents import ValueDifference
from buildpack.oci.digest import Digest, sha256
from buildpack.oci.entry import Entry, file, symlink
from buildpack.oci.image import Image, Layer, Platform, assemble, canonical_json
from buildpack.oci.layer import write_layer
from tests.support.images import CREATED, Blobs, image_of


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


def layer(blobs: Blobs, *entries: Entry, slot: str = "app", key: str = "") -> Layer:
    out = io.BytesIO()
    made = write_layer(entries, out)
    annotations = {
        f"dev.deploy.{name}": value for name, value in (("slot", slot), ("kind", slot), ("key", key)) if value
    }
    blobs.content[made.digest] = out.getvalue()
    return Layer(digest=made.digest, diff_id=made.diff_id, size=made.size, annotations=annotations)


def stored(blobs: Blobs, tar: bytes, *, like: Layer, packed: bytes | None = None) -> Layer:
    """Replace a layer's tar."""
    blob = gzip.compress(tar) if packed is None else packed
    return replace(like, digest=blobs.add(blob), diff_id=sha256(tar), size=len(blob))


def tar_of(blobs: Blobs, made: Layer) -> bytes:
    return gzip.decompress(blobs.content[made.digest])


def compared(blobs: Blobs, image: Image, rebuilt: Image) -> Comparison:
    blobs.opened.clear()
    return compare_images(
        image,
        rebuilt,
        open_image=lambda each: blobs.open(each.digest),
        open_rebuilt=lambda each: blobs.open(each.digest),
    )


def differing(comparison: Comparison) -> list[str]:
    return [
        f"{entry.path}: {entry.only or [field.path for field in entry.fields]}"
        for each in comparison.layers
        for entry in each.entries
    ]


def test_equal_images_are_not_opened(blobs):
    image = image_of(layer(blobs, file("app/a.py", b"1")))
    assert compared(blobs, image, image) == Comparison(layers=(), config=(), manifest=())
    assert blobs.opened == []


def test_every_way_in_which_an_entry_can_differ(blobs):
    own = layer(
        blobs,
        file("app/alone.py", b""),
        file("app/content.py", b"old"),
        file("app/kind", b""),
        symlink("app/link", "here"),
        file("app/mode.sh", b"", executable=True),
        replace(file("app/owner", b""), uid=1, gid=2),
        file("app/same.py", b"same"),
        file("app/size.py", b"1"),
        replace(file("app/time.py", b""), mtime=1_700_000_000),
        key="of the image",
    )
    ours = layer(
        blobs,
        file("app/content.py", b"new"),
        symlink("app/kind", "there"),
        symlink("app/link", "there"),
        file("app/mode.sh", b""),
        file("app/new.py", b""),
        file("app/owner", b""),
        file("app/same.py", b"same"),
        file("app/size.py", b"22"),
        file("app/time.py", b""),
        key="of the source",
    )
    comparison = compared(blobs, image_of(own), image_of(ours))
    assert differing(comparison) == [
        "app/alone.py: image",
        "app/content.py: ['content']",
        "app/kind: ['kind', 'mode', 'target']",
        "app/link: ['target']",
        "app/mode.sh: ['mode']",
        "app/new.py: rebuilt",
        "app/owner: ['uid', 'gid']",
        "app/size.py: ['size', 'content']",
        "app/time.py: ['mtime']",
    ]
    (found,) = comparison.layers
    assert (found.name, found.same_key, found.note, found.more) == ("app", False, "", 0)
    mode = next(entry for entry in found.entries if entry.path == "app/mode.sh")
    assert mode.fields == (ValueDifference(path="mode", image="0755", rebuilt="0644"),)
    assert not comparison.same_content


def test_only_layers_that_differ_are_opened(blobs):
    stack, runtime = layer(blobs, file("bin/sh", b""), slot=""), layer(blobs, file("opt/x", b""), slot="runtime")
    old, new = layer(blobs, file("app/a", b"1")), layer(blobs, file("app/a", b"2"))
    compared(blobs, image_of(stack, runtime, old), image_of(stack, runtime, new))
    assert set(blobs.opened) == {old.digest, new.digest}


def test_a_layer_that_changed_under_its_key_is_reported(blobs):
    good, bad = (layer(blobs, file("app/a", body), slot="bucket 1", key="k") for body in (b"good", b"evil"))
    (found,) = compared(blobs, image_of(bad), image_of(good)).layers
    assert found.same_key
    assert differing(compared(blobs, image_of(bad), image_of(good))) == ["app/a: ['content']"]


def test_a_config_with_false_diff_ids_is_reported(blobs):
    good, bad = (layer(blobs, file("app/a", body)) for body in (b"good", b"evil"))
    liar = replace(bad, diff_id=good.diff_id)
    comparison = compared(blobs, image_of(liar), image_of(good))
    assert differing(comparison) == ["app/a: ['content']"]
    assert comparison.layers[0].note == (
        f"the image's config claims that it holds {good.diff_id}, and it holds {bad.diff_id}"
    )


def test_only_the_compression_differs(blobs):
    good = layer(blobs, file("app/a", b"1" * 5000), key="k")
    again = replace(stored(blobs, tar_of(blobs, good), like=good), annotations={})
    comparison = compared(blobs, image_of(again), image_of(good))
    assert comparison.layers == (
        LayerDifference(name="app", kind="app", same_tar=True, note="compressed in another way"),
    )
    assert comparison.same_content


def test_only_annotations_differ(blobs):
    good = layer(blobs, file("app/a", b"1"), key="k")
    rebuilt = image_of(good)
    manifest = json.loads(rebuilt.manifest)
    manifest["layers"][0]["annotations"] = {"x": "y"}
    copied = Image(
        manifest=canonical_json(manifest), config=rebuilt.config, layers=(replace(good, annotations={"x": "y"}),)
    )
    comparison = compared(blobs, copied, rebuilt)
    assert comparison.layers == comparison.config == ()
    assert comparison.same_content
    assert [value.path for value in comparison.manifest] == [
        f"layers.{good.digest.short}.annotations.{name}"
        for name in ("dev.deploy.key", "dev.deploy.kind", "dev.deploy.slot", "x")
    ]


def test_layers_that_only_one_image_has(blobs):
    app, added = layer(blobs, file("app/a", b"1")), layer(blobs, file("etc/evil", b""), slot="")
    (found,) = compared(blobs, image_of(app, added), image_of(app)).layers
    assert (found.name, found.only) == ("layer 2", "image")
    assert [entry.path for entry in found.entries] == ["etc", "etc/evil"]
    (found,) = compared(blobs, image_of(app), image_of(app, layer(blobs, file("x", b""), slot="bucket 2"))).layers
    assert found == LayerDifference(name="bucket 2", kind="bucket 2", only="rebuilt")


def test_layers_pair_by_slot_even_if_others_are_added_or_removed(blobs):
    one, two, three = (layer(blobs, file(f"x/{name}", b""), slot=f"bucket {name}") for name in "123")
    changed = layer(blobs, file("x/3", b"new"), slot="bucket 3")
    comparison = compared(blobs, image_of(one, three), image_of(two, changed))
    assert [(each.name, each.only) for each in comparison.layers] == [
        ("bucket 2", "rebuilt"),
        ("bucket 3", None),
        ("bucket 1", "image"),
    ]


def test_another_order_of_the_same_layers_is_reported(blobs):
    one, two, three = (layer(blobs, file("x", name.encode()), slot=f"bucket {name}") for name in "123")
    comparison = compared(blobs, image_of(one, three, two), image_of(one, two, three))
    assert comparison.layers == ()
    assert comparison.reordered
    assert not comparison.same_content
    assert not compared(blobs, image_of(one, three), image_of(one, two, three)).reordered


def test_entries_in_another_order_are_reported(blobs):
    good = layer(blobs, file("a", b"1"), file("b", b"2"))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive, tarfile.open(fileobj=io.BytesIO(tar_of(blobs, good))) as own:
        for member in reversed(own.getmembers()):
            archive.addfile(member, own.extractfile(member))
    comparison = compared(blobs, image_of(stored(blobs, out.getvalue(), like=good)), image_of(good))
    assert [each.note for each in comparison.layers] == ["the same entries, written or ordered in another way"]
    assert not comparison.same_content


def test_the_config_is_compared_value_by_value(blobs):
    app = layer(blobs, file("app/a", b"1"))

    def image(created: str, **config: object) -> Image:
        return assemble([app], platform=Platform(), created=created, config=config, annotations={})

    one = image(CREATED, Env=["PATH=/bin", "A=1"], Labels={"x": "1"}, Entrypoint=["python"])
    two = image("2024-01-01T00:00:00Z", Env=["PATH=/bin"], Labels={"x": "2"}, Entrypoint=["python"])
    assert compared(blobs, one, two).config == (
        ValueDifference(path="config.Env.A", image="1", rebuilt=""),
        ValueDifference(path="config.Labels.x", image="1", rebuilt="2"),
        ValueDifference(path="created", image=CREATED, rebuilt="2024-01-01T00:00:00Z"),
    )


def test_values_nested_too_deeply_end_the_comparison(blobs):
    image = image_of(layer(blobs, file("app/a", b"1")))
    for depth in (100, 500, 900):
        config = json.loads(image.config)
        config["config"]["x"] = json.loads("[" * depth + "]" * depth)
        deep = Image(manifest=image.manifest, config=json.dumps(config).encode(), layers=image.layers)
        (found,) = compared(blobs, deep, image).config
        assert found.path.startswith("config")
        assert len(found.path + found.image) < 700


# Hostile images


def trouble(blobs: Blobs, bad: Layer, good: Layer) -> tuple[str, list[str]]:
    comparison = compared(blobs, image_of(bad), image_of(good))
    assert not comparison.same_content
    return comparison.layers[0].note, differing(comparison)


def test_blobs_that_are_not_layers_are_reported(blobs):
    good = layer(blobs, file("app/a", b"1"), file("app/b", b"2"))
    tar = tar_of(blobs, good)
    packed = gzip.compress(tar)
    cases = {
        packed[:-20]: "it is not a whole gzip stream: gzip stream is cut short",
        b"no gzip": "it is not a whole gzip stream: Error -3 while decompressing data: incorrect header check",
        gzip.compress(b"x" * 1024): (
            "the layer is not an image: The file cannot be read as a tar archive: a header's checksum is wrong"
        ),
        gzip.compress(tar[:700]): "the layer is damaged: It ends inside a header",
    }
    for blob, told in cases.items():
        assert trouble(blobs, stored(blobs, b"", like=good, packed=blob), good)[0] == told
    zstd = replace(good, digest=Digest("1" * 64), media_type="application/vnd.oci.image.layer.v1.tar+zstd")
    blobs.content[zstd.digest] = b"zstd"
    assert trouble(blobs, zstd, good) == (
        "its media type application/vnd.oci.image.layer.v1.tar+zstd cannot be unpacked here",
        [],
    )


def test_a_layer_over_the_limit_is_not_compared(blobs, monkeypatch):
    monkeypatch.setattr(compare, "_MORE", 1 << 20)
    good = layer(blobs, file("app/a", b"1"))
    bad = layer(blobs, file("app/a", bytes(8 << 20)))
    limit = 2 * len(tar_of(blobs, good)) + (1 << 20)
    note, entries = trouble(blobs, bad, good)
    assert note == f"it unpacks to more than {limit} bytes; the rest was not compared"
    assert entries == []


def test_a_path_that_occurs_twice_is_reported(blobs):
    good = layer(blobs, file("app/a", b"1"))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive, tarfile.open(fileobj=io.BytesIO(tar_of(blobs, good))) as own:
        for member in [*own.getmembers(), own.getmember("app/a")]:
            archive.addfile(member, own.extractfile(member) if member.isfile() else None)
    _, entries = trouble(blobs, stored(blobs, out.getvalue(), like=good), good)
    assert entries == ["app/a: ['occurs']"]


def test_names_with_control_characters_or_many_characters_are_escaped_or_cut(blobs):
    good = layer(blobs, file("app/a", b"1"))
    bad = layer(
        blobs,
        file("app/\x1b[2J", b""),
        *(file(f"app/{number:04}-{'x' * 150}/{'y' * 200}", b"") for number in range(1200)),
    )
    comparison = compared(blobs, image_of(bad), image_of(good))
    (found,) = comparison.layers
    assert len(found.entries) == 1000
    assert found.more == 2 * 1200 + 2 - 1000
    assert all(entry.path.isprintable() and len(entry.path) <= 300 for entry in found.entries)
    assert EntryDifference(path="app/\\x1b[2J", only="image") in found.entries
