from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildpack.errors import BuildpackError, LostError, MachineError, StackError, UsageError
from buildpack.oci.archive import write_archive, write_archive_file, write_oci_dir
from buildpack.oci.digest import sha256
from buildpack.oci.image import INDEX, LAYER_GZIP, LAYER_TAR, MANIFEST, Image, Layer, Platform
from buildpack.oci.layout import DiskImages, open_layout, split_name
from tests.support.images import Blobs, image_of

NAMES = ["docker.io/library/app:1", "docker.io/library/app:2"]
SAVERS = "(`archive:FILE`)"


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def image(blobs: Blobs) -> Image:
    return image_of(blobs.layer({"a": b"1" * 5000}), blobs.layer({"b": b"2"}))


def archive(image: Image, blobs: Blobs, names: list[str] | None = None) -> bytes:
    out = io.BytesIO()
    write_archive(image, blobs.open, out, NAMES if names is None else names)
    return out.getvalue()


def tar_of(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return out.getvalue()


def opened(tmp_path: Path, content: bytes) -> DiskImages:
    (tmp_path / "image.tar").write_bytes(content)
    return open_layout(tmp_path / "image.tar", scratch=tmp_path, origin="archive:image.tar")


def message(call: Callable[[], object], kind: type[BuildpackError] = StackError) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# Writing


def test_the_archive_has_these_members(image: Image, blobs: Blobs) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(image, blobs))) as tar:
        members = tar.getmembers()
        content = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert [member.name for member in members] == [
        "oci-layout",
        "index.json",
        "manifest.json",
        f"blobs/sha256/{image.config_digest.hex}",
        f"blobs/sha256/{image.digest.hex}",
        *(f"blobs/sha256/{layer.digest.hex}" for layer in image.layers),
    ]
    assert {(m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0o644, 0, 0, "", "", 315532800)}
    assert all(sha256(content[name]).hex == name.rpartition("/")[2] for name in content if name.startswith("blobs/"))
    assert json.loads(content["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(content["manifest.json"]) == [
        {
            "Config": f"blobs/sha256/{image.config_digest.hex}",
            "RepoTags": NAMES,
            "Layers": [f"blobs/sha256/{layer.digest.hex}" for layer in image.layers],
        }
    ]
    assert json.loads(content["index.json"]) == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": str(image.digest),
                "size": len(image.manifest),
                "annotations": {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name},
            }
            for name in NAMES
        ],
    }


def test_the_same_image_gives_the_same_file(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        size = write_archive_file(image, blobs.open, tmp_path / "a.tar", NAMES)
    finally:
        os.umask(previous)
    write_archive_file(image, blobs.open, tmp_path / "b.tar", NAMES)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes() == archive(image, blobs)
    assert size == (tmp_path / "a.tar").stat().st_size
    assert stat.S_IMODE((tmp_path / "a.tar").stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar"]


def test_a_layer_that_occurs_twice_is_written_once(blobs: Blobs, tmp_path: Path) -> None:
    layer = blobs.layer({"a": b"1"})
    image = image_of(layer, layer)
    with opened(tmp_path, archive(image, blobs)) as images:
        assert images.image(Platform()) == image
    assert blobs.opened == [layer.digest]


def test_a_blob_of_another_length_leaves_the_old_archive(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    digest = image.layers[0].digest
    for damaged in (blobs.content[digest] + b"x", blobs.content[digest][:-1]):
        blobs.content[digest] = damaged
        assert message(lambda: write_archive_file(image, blobs.open, tmp_path / "a.tar", NAMES)) == (
            f"the image arrived damaged\n\nBlob {digest}: it is not {image.layers[0].size} bytes long.\n\n"
            "hint: try again; if it happens again, the image or the connection is damaged."
        )
        assert list(tmp_path.iterdir()) == []


def test_an_archive_in_a_missing_folder_is_an_error(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.tar"
    assert message(lambda: write_archive_file(image, blobs.open, path, NAMES), MachineError) == (
        f"{path} cannot be written\n\nNo such file or directory.\n\nhint: make the folder first, or name another place."
    )


def test_a_pipe_or_device_is_written_and_not_replaced(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        came = reader.submit(pipe.read_bytes)
        size = write_archive_file(image, blobs.open, pipe, NAMES)
        assert came.result() == archive(image, blobs)
    assert size == len(came.result())
    assert pipe.is_fifo()
    assert message(lambda: write_archive_file(image, blobs.open, Path("/dev/full"), NAMES), MachineError) == (
        "/dev/full cannot be written\n\nNo space left on device.\n\n"
        "hint: check the folder's permissions and the space that is left, or name another place."
    )
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("folder", ["", "/", ".."])
def test_a_folder_is_not_replaced_by_an_archive(image: Image, blobs: Blobs, folder: str) -> None:
    assert message(lambda: write_archive_file(image, blobs.open, Path(folder), NAMES), MachineError).startswith(
        f"{folder or '.'} cannot be written\n\nIt is a folder.\n\n"
    )


def test_a_layout_is_written_and_extended(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "layout"
    write_oci_dir(image, blobs.open, folder, NAMES[:1])
    other = image_of(*image.layers, label="other")
    blobs.opened.clear()
    write_oci_dir(other, blobs.open, folder, ["docker.io/library/other:1"])
    assert blobs.opened == []
    with open_layout(folder, scratch=tmp_path) as images:
        assert images.names == ("docker.io/library/app:1", "docker.io/library/other:1")
        assert images.image(Platform(), "app:1") == image
        assert images.image(Platform(), "other:1") == other
    write_oci_dir(other, blobs.open, folder, NAMES)
    with open_layout(folder, scratch=tmp_path) as images:
        assert images.names == (*NAMES, "docker.io/library/other:1")
        assert images.image(Platform()) == other
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_an_interrupted_layout_is_completed(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    folder, lost = tmp_path / "layout", image.layers[1].digest
    body = blobs.content.pop(lost)
    with pytest.raises(LostError):
        write_oci_dir(image, blobs.open, folder, NAMES)
    assert not (folder / "index.json").exists()
    blobs.content[lost] = body
    blobs.opened.clear()
    write_oci_dir(image, blobs.open, folder, NAMES)
    assert blobs.opened == [lost]
    with open_layout(folder, scratch=tmp_path) as images:
        assert images.image(Platform(), "app:1") == image


def test_a_layout_does_not_depend_on_earlier_content(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    other = image_of(image.layers[0])
    for first, second, folder in ((image, other, "a"), (other, image, "b")):
        for written in (first, second):
            write_oci_dir(written, blobs.open, tmp_path / folder, NAMES[:1] if written is image else NAMES[1:])
    assert (tmp_path / "a/index.json").read_bytes() == (tmp_path / "b/index.json").read_bytes()


@pytest.mark.parametrize("name", ["notes.txt", "index.json", "oci-layout"])
def test_a_folder_with_other_files_is_refused(image: Image, blobs: Blobs, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    assert message(lambda: write_oci_dir(image, blobs.open, tmp_path, NAMES), UsageError) == (
        f"{tmp_path} is neither empty nor an OCI layout\n\nAn image would be mixed with the files there.\n\n"
        "hint: name a new folder, an empty one, or an OCI layout to add to."
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_place_of_a_layout_is_refused(image: Image, blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError):
        write_oci_dir(image, blobs.open, tmp_path / "file", NAMES)


# Reading


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_is_read_back(pack: Callable[[bytes], bytes], image: Image, blobs: Blobs, tmp_path: Path) -> None:
    with opened(tmp_path, pack(archive(image, blobs))) as images:
        assert images.names == tuple(NAMES)
        assert images.image(Platform()) == image
        assert images.image(Platform(), "app:2") == image
        assert images.image(Platform(), str(image.digest)) == image
        for layer in image.layers:
            out = io.BytesIO()
            images.fetch_blob(layer.digest, layer.size, out)
            assert out.getvalue() == blobs.content[layer.digest]
    assert [path.name for path in tmp_path.iterdir()] == ["image.tar"]


def test_an_archive_of_docker_save_is_read(tmp_path: Path, blobs: Blobs) -> None:
    """The format of `docker save` for years: plain layers, one gzipped layer, a link for a layer that occurs again."""
    plain, tar = blobs.layer_and_tar({"a": b"1"})
    packed = blobs.layer({"b": b"2"})
    config = image_of(plain, plain, packed).config
    manifest = [
        {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["x/layer.tar", "y/layer.tar", "z/layer.tar"]},
    ]
    files = {
        "x/layer.tar": tar,
        "z/layer.tar": blobs.content[packed.digest],
        "c.json": config,
        "manifest.json": json.dumps(manifest).encode(),
    }
    with opened(tmp_path, tar_of(files, {"y/layer.tar": "../x/layer.tar"})) as images:
        image = images.image(Platform(), "app:1")
        assert image.config == config
        assert image.layers == (
            Layer(digest=plain.diff_id, diff_id=plain.diff_id, size=len(tar), media_type=LAYER_TAR),
            Layer(digest=plain.diff_id, diff_id=plain.diff_id, size=len(tar), media_type=LAYER_TAR),
            Layer(digest=packed.digest, diff_id=packed.diff_id, size=packed.size, media_type=LAYER_GZIP),
        )
        out = io.BytesIO()
        images.fetch_blob(plain.diff_id, len(tar), out)
        assert out.getvalue() == tar


def test_a_changed_layer_in_an_archive_of_docker_save_is_refused(tmp_path: Path, blobs: Blobs) -> None:
    layer, tar = blobs.layer_and_tar({"a": b"1"})
    files = {
        "layer.tar": bytes(len(tar)),
        "c.json": image_of(layer).config,
        "manifest.json": json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": ["layer.tar"]}]).encode(),
    }
    with opened(tmp_path, tar_of(files)) as images:
        changed = sha256(bytes(len(tar)))
        assert message(lambda: images.fetch_blob(layer.diff_id, len(tar), io.BytesIO())) == (
            f"archive:image.tar arrived damaged\n\nBlob {layer.diff_id}: its bytes have the digest {changed}.\n\n"
            "hint: try again; if it happens again, the image or the connection is damaged."
        )


def layout_files(*images: tuple[Image, dict[str, str]], blobs: Blobs) -> dict[str, bytes]:
    """Return the files of a layout that lists these images with these annotations."""
    entries = []
    files = {f"blobs/sha256/{digest.hex}": body for digest, body in blobs.content.items()}
    for image, noted in images:
        files[f"blobs/sha256/{image.digest.hex}"] = image.manifest
        files[f"blobs/sha256/{image.config_digest.hex}"] = image.config
        entries.append(
            {
                "mediaType": MANIFEST,
                "digest": str(image.digest),
                "size": len(image.manifest),
                "annotations": noted,
            }
        )
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    return files


def named(name: str) -> dict[str, str]:
    return {"org.opencontainers.image.ref.name": name}


def test_one_of_several_images_is_chosen_by_name_or_platform(tmp_path: Path, blobs: Blobs) -> None:
    one, two = image_of(blobs.layer({"a": b"1"})), image_of(blobs.layer({"a": b"2"}))
    arm = image_of(blobs.layer({"a": b"3"}), platform=Platform(architecture="arm64"))
    files = layout_files((one, named("latest")), (two, named("docker.io/library/two:1")), (arm, {}), blobs=blobs)
    with opened(tmp_path, tar_of(files)) as images:
        assert images.image(Platform(architecture="arm64")) == arm
        assert images.image(Platform(), "latest") == one
        assert images.image(Platform(), "two:1") == two
        assert message(lambda: images.image(Platform())) == (
            "archive:image.tar holds several images\n\nThey are: docker.io/library/two:1, latest.\n\n"
            "hint: add the name of one: `archive:image.tar:NAME`."
        )
        assert message(lambda: images.image(Platform(), "three")) == (
            "archive:image.tar has no image three\n\n"
            f"It has: docker.io/library/two:1, latest, {arm.digest}.\n\nhint: name one of these."
        )
        assert message(lambda: images.image(Platform(architecture="s390x"))) == (
            "archive:image.tar has no image for linux/s390x\n\nIt has one for: linux/amd64, linux/arm64.\n\n"
            "hint: choose one with `--platform`, or another stack."
        )


def test_an_index_in_an_index_is_read(tmp_path: Path, blobs: Blobs) -> None:
    """The format of BuildKit: one name, an index with attestations, and images of which some are missing."""
    image = image_of(blobs.layer({"a": b"1"}))
    files = layout_files((image, {}), blobs=blobs)
    entry = {"mediaType": MANIFEST, "size": 1}
    inner = json.dumps(
        {
            "manifests": [
                entry | {"digest": str(image.digest), "platform": {"os": "linux", "architecture": "amd64"}},
                entry | {"digest": str(sha256(b"?")), "platform": {"os": "linux", "architecture": "arm64"}},
                entry | {"digest": str(sha256(b"!")), "platform": {"os": "unknown", "architecture": "unknown"}},
            ]
        }
    ).encode()
    files[f"blobs/sha256/{sha256(inner).hex}"] = inner
    outer = {"mediaType": INDEX, "digest": str(sha256(inner)), "size": len(inner), "annotations": named("app:1")}
    files["index.json"] = json.dumps({"manifests": [outer]}).encode()
    with opened(tmp_path, tar_of(files)) as images:
        assert images.names == ("app:1",)
        assert images.image(Platform(), "app:1") == image


def test_a_deep_nest_of_indexes_is_cut(tmp_path: Path) -> None:
    """Digests make a circle impossible; a deep nest is cut."""
    files, inner = {"oci-layout": b"{}"}, b'{"manifests":[]}'
    for _ in range(50):
        files[f"blobs/sha256/{sha256(inner).hex}"] = inner
        inner = json.dumps(
            {"manifests": [{"mediaType": INDEX, "digest": str(sha256(inner)), "size": len(inner)}]}
        ).encode()
    files["index.json"] = inner
    with opened(tmp_path, tar_of(files)) as images:
        assert images.names == ()


def test_a_missing_layer_is_an_error(tmp_path: Path, image: Image, blobs: Blobs) -> None:
    files = layout_files((image, {}), blobs=blobs)
    del files[f"blobs/sha256/{image.layers[0].digest.hex}"]
    with opened(tmp_path, tar_of(files)) as images:
        assert message(lambda: images.image(Platform())) == (
            f"archive:image.tar is incomplete\n\nIts manifest names the blob {image.layers[0].digest}, which is "
            "missing.\n\nhint: write it again."
        )


def test_a_changed_manifest_is_an_error(tmp_path: Path, image: Image, blobs: Blobs) -> None:
    files = layout_files((image, {}), blobs=blobs)
    files[f"blobs/sha256/{image.digest.hex}"] = image.manifest + b" "
    assert message(lambda: opened(tmp_path, tar_of(files))) == (
        f"archive:image.tar arrived damaged\n\nBlob {image.digest}: its bytes have the digest "
        f"{sha256(image.manifest + b' ')}.\n\n"
        "hint: try again; if it happens again, the image or the connection is damaged."
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            tar_of({"hello": b"1"}),
            (
                "archive:image.tar is not an image\n\nIt holds neither index.json and oci-layout nor manifest.json.\n\n"
                "hint: name an OCI layout (`oci:DIR`), or what `docker save`, `podman save` or `skopeo copy` wrote "
                "(`archive:FILE`)."
            ),
        ),
        (
            b"PK\3\4" + bytes(1000),
            (
                "archive:image.tar is not an image\n\nThe file cannot be read as a tar archive: a header's checksum is "
                "wrong.\n\nhint: name what `docker save`, `podman save` or `skopeo copy` wrote."
            ),
        ),
        (
            # Without the time, which would make the test's name differ between workers.
            gzip.compress(tar_of({"hello": b"1"}), mtime=0)[:-20],
            (
                "archive:image.tar is not an image\n\n"
                "The file cannot be read as a tar archive: it cannot be decompressed "
                "(Compressed file ended before the end-of-stream marker was reached).\n\n"
                "hint: name what `docker save`, `podman save` or `skopeo copy` wrote."
            ),
        ),
        (
            b"\x28\xb5\x2f\xfd" + bytes(100),
            (
                "archive:image.tar cannot be read\n\nThe archive as a whole is compressed with zstd, which Python has "
                "no reader for.\n\nhint: decompress it with `zstd -d`, and name the result."
            ),
        ),
        (
            tar_of({"manifest.json": b"[{}]"}),
            (
                "archive:image.tar is not an image that can be read\n\nIts manifest breaks the OCI image "
                "specification: "
                "manifest.json is not what `docker save` writes.\n\nhint: use another image, or make this one again."
            ),
        ),
        (
            tar_of({"manifest.json": b'[{"Config": "c", "Layers": []}]'}),
            (
                "archive:image.tar is incomplete\n\nIts manifest names the blob c, which is missing.\n\n"
                "hint: write it again."
            ),
        ),
        (
            tar_of({"manifest.json": b" " * ((4 << 20) + 1)}),
            (
                "archive:image.tar cannot be used\n\nIts manifest or config is larger than 4194304 bytes.\n\n"
                "hint: use another image."
            ),
        ),
        (
            tar_of({"hello": bytes(2000)})[:1500],
            "archive:image.tar is damaged\n\nThe file ends inside 'hello'.\n\nhint: write it again.",
        ),
    ],
)
def test_a_file_that_is_not_an_image_is_an_error(tmp_path: Path, content: bytes, expected: str) -> None:
    assert message(lambda: opened(tmp_path, content)) == expected


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    assert message(lambda: open_layout(tmp_path / "none", scratch=tmp_path, origin="oci:none")) == (
        "oci:none cannot be read\n\nThere is no such file or folder.\n\nhint: check the path and its permissions."
    )


def test_a_name_is_split_from_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dir").mkdir()
    Path("with:colon").mkdir()
    assert split_name("dir") == (Path("dir"), None)
    assert split_name("dir:1.0") == (Path("dir"), "1.0")
    assert split_name("dir:localhost:5000/a:1") == (Path("dir"), "localhost:5000/a:1")
    assert split_name("with:colon") == (Path("with:colon"), None)
    assert split_name("with:colon:1") == (Path("with:colon"), "1")
    assert split_name("none:1") == (Path("none:1"), None)
    assert split_name(":1") == (Path(":1"), None)


@pytest.mark.parametrize("name", ["../layer.tar", "{outside}", "link.tar", "pipe"])
def test_a_folder_of_docker_save_cannot_name_files_outside(name: str, tmp_path: Path) -> None:
    """The file's bytes would become a part of the image."""
    name = name.format(outside=tmp_path / "layer.tar")
    folder = tmp_path / "image"
    folder.mkdir()
    (tmp_path / "layer.tar").write_bytes(tar_of({"secret": b"hunter2"}))
    (folder / "link.tar").symlink_to("../layer.tar")
    os.mkfifo(folder / "pipe")
    diff_id = sha256((tmp_path / "layer.tar").read_bytes())
    (folder / "c.json").write_text(json.dumps({"rootfs": {"diff_ids": [str(diff_id)]}}))
    (folder / "manifest.json").write_text(json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": [name]}]))

    said = message(lambda: open_layout(folder, scratch=tmp_path))

    assert said.startswith(f"oci:{folder} is incomplete\n\nIts manifest names the blob {name}, which is missing."), said
