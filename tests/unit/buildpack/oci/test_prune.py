from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildpack.oci.digest import Digest
from buildpack.oci.image import INDEX, Image, Layer, Platform, assemble, canonical_json
from buildpack.oci.index import name_of
from buildpack.oci.lease import oldest_lease
from buildpack.oci.prune import Limits, Pruned, measure, measure_folder, prune_folder, prune_store
from buildpack.oci.store import Store
from buildpack.system.temporary import hold

NOW = time.time()
LATEST = "docker.io/library/blasto:latest"
OTHER = "docker.io/library/other:latest"
ROOT = Path(__file__).parents[4]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def age(path: Path, hours: float) -> None:
    os.utime(path, (time.time() - hours * 3600,) * 2)  # not NOW, which was when the tests were collected


def blob(store: Store, content: bytes, *, hours: float) -> Digest:
    """Write a blob that was last used this long ago."""
    digest = store.write(content)
    age(store.path(digest), hours)
    return digest


def remembered(store: Store, key: str, digest: Digest) -> Layer:
    layer = Layer(digest=digest, diff_id=digest, size=store.path(digest).stat().st_size)
    store.remember_layer(key, layer)
    return layer


def put(store: Store, name: str, *layers: Layer, hours: float = 50) -> Image:
    config = {"Cmd": [name]}
    image = assemble(layers, platform=Platform(), created="1980-01-01T00:00:00Z", config=config, annotations={})
    store.put_image(image, [name])
    for digest in (image.digest, image.config_digest):
        age(store.path(digest), hours)
    return image


def prune(store: Store, *, shelves: tuple[str, ...] = (), dry_run: bool = False, **limits) -> Pruned:
    return prune_store(store, Limits(**limits), shelves=shelves, now=NOW, dry_run=dry_run)


def there(store: Store, digest: Digest) -> bool:
    """Return True if the blob is there, without using it."""
    return store.path(digest).exists()


def total(store: Store, *shelves: str) -> int:
    return sum(item.size for item in measure(store, shelves))


def test_blobs_without_a_reference_are_dropped_and_the_rest_stays(store: Store) -> None:
    used = remembered(store, "used", blob(store, b"used", hours=99))
    spare = blob(store, b"spare", hours=99)
    image = put(store, LATEST, used)
    done = prune(store, keep=0)
    assert (done.freed, [item.kind for item in done.dropped], done.spared) == (5, ["blobs"], ())
    assert not there(store, spare)
    assert store.image(LATEST) == image
    assert store.missing(image.layers) == ()
    assert store.layer("used") == used


def test_least_recently_used_items_go_first_until_the_rest_fits(store: Store) -> None:
    ages = {10: b"a" * 100, 30: b"b" * 100, 20: b"c" * 100}
    digests = {hours: blob(store, content, hours=hours) for hours, content in ages.items()}
    rest = total(store) - 300
    assert prune(store, keep=rest + 300).dropped == ()
    assert prune(store, keep=rest + 299).freed == 100
    assert [hours for hours, digest in digests.items() if there(store, digest)] == [10, 20]
    done = prune(store, keep=rest + 100)
    assert done.freed == 100
    assert done.left <= rest + 100
    assert [hours for hours, digest in digests.items() if there(store, digest)] == [10]


def test_items_used_before_the_cutoff_go_even_if_there_is_room(store: Store) -> None:
    ages = {10: b"a", 30: b"b", 20: b"c"}
    digests = {hours: blob(store, content, hours=hours) for hours, content in ages.items()}
    prune(store, cutoff=NOW - 15 * 3600, keep=1 << 40)
    assert [hours for hours, digest in digests.items() if there(store, digest)] == [10]


def test_the_last_use_counts_and_not_the_time_of_writing(store: Store) -> None:
    old, older = blob(store, b"old", hours=30), blob(store, b"older", hours=40)
    assert Store(store.root).has(older)
    prune(store, cutoff=NOW - 3600)
    assert (there(store, old), there(store, older)) == (False, True)


def test_facts_of_the_given_shelves_go_by_their_last_use(store: Store) -> None:
    for number in (1, 2):
        for kind in ("wheel", "stack"):
            store.remember(kind, str(number), number)
            age(store.fact_path(kind, str(number)), hours=30 + number)
    assert Store(store.root).recall("wheel", "2") == 2
    sizes = [item.size for item in measure(store, ("facts/wheel",)) if item.name.startswith("facts/")]
    assert len(sizes) == 3, "each of the shelf by itself, and what is beside it"
    assert sum(sizes) == sum(path.stat().st_size for path in (store.root / "facts").rglob("*.json"))
    done = prune(store, cutoff=NOW - 20 * 3600, shelves=("facts/wheel",))
    assert [item.kind for item in done.dropped] == ["facts/wheel"]
    left = {
        (kind, number): Store(store.root).recall(kind, str(number)) for kind in ("wheel", "stack") for number in (1, 2)
    }
    assert left == {("wheel", 1): None, ("wheel", 2): 2, ("stack", 1): 1, ("stack", 2): 2}


def test_a_fact_that_a_running_build_recalled_stays(store: Store) -> None:
    store.remember("wheel", "key", 1)
    age(store.fact_path("wheel", "key"), hours=99)
    build = Store(store.root)
    assert build.recall("wheel", "key") == 1
    age(store.fact_path("wheel", "key"), hours=0.5)
    done = prune(Store(store.root), keep=0, shelves=("facts/wheel",))
    assert [item.kind for item in done.spared] == ["facts/wheel"]
    assert build.recall("wheel", "key") == 1


def test_images_go_if_allowed_and_leave_shared_blobs(store: Store) -> None:
    shared = remembered(store, "shared", blob(store, b"shared", hours=99))
    alone = remembered(store, "alone", blob(store, b"alone", hours=99))
    newer = put(store, LATEST, shared, hours=10)
    put(store, OTHER, shared, alone, hours=50)
    assert prune(store, cutoff=NOW - 20 * 3600).dropped == ()
    done = prune(store, cutoff=NOW - 20 * 3600, images=True)
    assert done.dropped[0].name == OTHER
    assert len(done.dropped) == 4  # the name, manifest, config and layer
    assert store.images() == {LATEST: newer.digest}
    assert store.missing(newer.layers) == ()
    assert not there(store, alone.digest)
    assert store.layer("alone") is None


def test_two_names_of_one_image_keep_it_as_long_as_one_is_left(store: Store) -> None:
    image = put(store, LATEST, remembered(store, "used", blob(store, b"used", hours=99)))
    store.put_image(image, [OTHER])
    age(store.path(image.digest), 50)
    done = prune(store, keep=0, images=True, dry_run=True)
    assert {item.name for item in done.dropped if item.kind == "images"} == {LATEST, OTHER}
    store.write_descriptors([each for each in store.descriptors() if name_of(each) == OTHER])
    assert prune(store, keep=0).dropped == ()
    assert store.missing(image.layers) == ()


def test_layer_keys_are_removed_with_their_blobs(store: Store) -> None:
    remembered(store, "key", blob(store, b"a" * 100, hours=99))
    prune(store, keep=0)
    assert store.layer("key") is None
    assert list((store.root / "layers").iterdir()) == []


def test_entries_of_shelves_go_as_a_whole_and_unfinished_ones_stay(store: Store) -> None:
    shelf = store.folder("wheels")
    for name, hours in (("old", 30), ("new", 10), ("now.part", 30), (".gone", 30)):
        (shelf / name).mkdir()
        (shelf / name / "file").write_bytes(b"x" * 100)
        age(shelf / name / "file", hours)
        age(shelf / name, hours)
    (shelf / "pack").write_bytes(b"x" * 10)
    age(shelf / "pack", 20)
    done = prune(store, shelves=("wheels",), cutoff=NOW - 15 * 3600)
    assert [(item.kind, item.name, item.size) for item in done.dropped] == [
        ("wheels", "wheels/old", 100),
        ("wheels", "wheels/pack", 10),
    ]
    assert sorted(path.name for path in shelf.iterdir()) == [".gone", "new", "now.part"]
    assert not list((store.root / "tmp").iterdir())


def test_a_dry_run_reports_the_same_and_drops_nothing(store: Store) -> None:
    spare = blob(store, b"spare", hours=99)
    told = prune(store, keep=0, dry_run=True)
    assert there(store, spare)
    assert prune(store, keep=0).dropped == told.dropped
    assert not there(store, spare)


def test_an_index_of_another_tool_keeps_what_it_reaches(store: Store) -> None:
    used = remembered(store, "used", blob(store, b"used", hours=99))
    image = assemble([used], platform=Platform(), created="1980-01-01T00:00:00Z", config={}, annotations={})
    inner = [{"mediaType": "m", "digest": str(store.write(part)), "size": 1} for part in (image.manifest, b"no json")]
    store.write(image.config)
    index = store.write(canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": inner}))
    outer = {"manifests": [{"mediaType": INDEX, "digest": str(index), "size": 1}, {"digest": "sha512:0"}]}
    (store.root / "index.json").write_bytes(canonical_json(outer))
    assert prune(store, keep=0, images=True).dropped == ()


def test_abandoned_work_is_removed_after_a_day(store: Store) -> None:
    folder = store.folder("tmp")
    for name, hours in (("old", 25), ("new", 23)):
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "file").write_text("x")
        (folder / f"{name}.txt").write_text("x")
        for path in (folder / name, folder / f"{name}.txt"):
            age(path, hours)
    prune(store, keep=0)
    assert sorted(path.name for path in folder.iterdir()) == ["new", "new.txt"]


def test_a_folder_without_a_store_is_not_pruned(store: Store) -> None:
    assert prune(store, keep=0) == Pruned(dropped=(), spared=(), left=0)
    assert not store.root.exists()


# Beside builds at work


@contextmanager
def another_process(store: Store, *used: Digest) -> Iterator[subprocess.Popen[str]]:
    """Run a process that uses these blobs and then waits."""
    script = (
        "import sys; from pathlib import Path; from buildpack.oci.store import Store; "
        "from buildpack.oci.digest import Digest\n"
        "store = Store(Path(sys.argv[1]))\n"
        "store.lease.begin()\n"
        "print(*[store.has(Digest(each)) for each in sys.argv[2:]], flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(store.root), *(digest.hex for digest in used)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().split() == ["True"] * len(used)
            yield process
        finally:
            process.kill()


def test_items_that_a_running_build_used_stay_and_the_rest_goes(store: Store) -> None:
    used, spare = blob(store, b"used", hours=99), blob(store, b"spare", hours=99)
    with another_process(store, used) as process:
        done = prune(store, keep=0)
        assert [item.size for item in done.spared] == [4]
        assert (there(store, used), there(store, spare)) == (True, False)
        process.kill()
        process.wait()
        assert len(list((store.root / "leases").glob("*.part"))) == 2
        # A dead process relies on nothing.
        assert prune(store, keep=0).spared == ()
    assert not there(store, used)
    assert list((store.root / "leases").iterdir()) == [store.lease.path]


def test_an_image_that_a_running_build_uses_stays(store: Store) -> None:
    image = put(store, LATEST, remembered(store, "used", blob(store, b"used", hours=99)))
    with another_process(store, image.digest):
        done = prune(store, keep=0, images=True)
    assert {item.kind for item in done.spared} == {"images"}
    assert store.image(LATEST) == image
    assert store.missing(image.layers) == ()


def test_a_use_within_the_hour_before_a_build_counts_as_its_own(store: Store) -> None:
    """A use within the hour does not write, so the build's own use of the file would not show."""
    fresh, stale = blob(store, b"fresh", hours=0.9), blob(store, b"stale", hours=1.1)
    with another_process(store):
        prune(store, keep=0)
    assert (there(store, fresh), there(store, stale)) == (True, False)
    prune(store, keep=0)
    assert not there(store, fresh)


def test_a_lease_ends_with_its_store(store: Store) -> None:
    store.write(b"x")
    assert oldest_lease(store.root, own=None) is not None
    assert oldest_lease(store.root, own=store.lease.path) is None
    root = store.root
    other = Store(root)
    other.has(Digest("0" * 64))
    assert oldest_lease(root, own=store.lease.path) is not None
    del other
    assert oldest_lease(root, own=store.lease.path) is None


def test_a_lease_survives_exec(store: Store) -> None:
    store.write(b"x")
    script = (
        "import os, sys; from pathlib import Path; from buildpack.oci.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "store.lease.begin(); store.lease.survive_exec()\n"
        "os.execv('/bin/sh', ['sh', '-c', 'echo ready; read line'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert oldest_lease(store.root, own=store.lease.path) is not None
        process.communicate(b"\n")
    assert oldest_lease(store.root, own=store.lease.path) is None


def test_a_folder_that_stores_share_is_pruned_by_age_and_not_while_it_is_held(tmp_path: Path) -> None:
    for name, hours in (("old", 9), ("new", 1)):
        place = tmp_path / "pythons" / name
        place.mkdir(parents=True)
        (place / "python").write_bytes(b"12345")
        age(place / "python", hours)
        age(place, hours)
    (tmp_path / "pythons" / "begun.part").mkdir()
    (tmp_path / "tmp").mkdir()
    assert {item.name for item in measure_folder(tmp_path, ("pythons",))} == {"pythons/old", "pythons/new"}

    def pruned(*, dry_run: bool = False, **limits: float) -> tuple[list[str], list[str], int]:
        done = prune_folder(tmp_path, Limits(**limits), shelves=("pythons", "stacks"), dry_run=dry_run)
        return [item.name for item in done.dropped], [item.name for item in done.spared], done.left

    descriptor = hold(tmp_path)
    assert pruned(keep=5) == ([], ["pythons/old"], 10)
    os.close(descriptor)
    assert pruned(keep=5, dry_run=True) == (["pythons/old"], [], 5)
    assert pruned(cutoff=time.time() - 5 * 3600) == (["pythons/old"], [], 5)
    assert sorted(path.name for path in (tmp_path / "pythons").iterdir()) == ["begun.part", "new"]
    assert pruned(keep=0) == (["pythons/new"], [], 0)
