from __future__ import annotations

import json
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from buildpack.dataclass import replace
from buildpack.oci.digest import sha256
from buildpack.oci.image import Layer
from buildpack.plan import (
    BUCKETS,
    LARGE,
    MAX_DEPENDENCY_LAYERS,
    PURE_BUCKETS,
    AppFile,
    Bytecode,
    PlannedLayer,
    app_key,
    dependency_layers,
    image_config,
    launch_json,
    layer_annotations,
    members_of,
)
from buildpack.python.about import About
from buildpack.python.files import WheelFile


def member(name: str, size: int, version: str = "1.0", tag: str = "py3-none-any") -> WheelFile:
    return WheelFile(
        name=name,
        version=version,
        filename=f"{name}-{version}-{tag}.whl",
        sha256=sha256(f"{name} {version}".encode()).hex,
        size=size,
        roots=(name.replace("-", "_"),),
    )


def group_members(wheels: Iterable[WheelFile]) -> list[PlannedLayer]:
    return dependency_layers(wheels, layer_format="1", python="3.11", bytecode=Bytecode(python="3.11.7"))


def slots(*members: WheelFile) -> list[tuple[str, list[str]]]:
    return [(group.slot, [m.name for m in group.members]) for group in group_members(members)]


def test_each_large_wheel_has_a_layer_ordered_by_size_class_then_name():
    found = slots(member("b", 5 * LARGE), member("a", 6 * LARGE), member("c", 20 * LARGE), member("d", LARGE))
    assert found == [("c", ["c"]), ("a", ["a"]), ("b", ["b"]), ("d", ["d"])]


def test_small_wheels_share_buckets_behind_the_large_ones():
    found = slots(member("zope", LARGE - 1), member("flask", 100_000), member("numpy", 20 * LARGE))
    assert found[0] == ("numpy", ["numpy"])
    assert sorted(name for slot, names in found[1:] for name in names) == ["flask", "zope"]
    assert all(slot.startswith("bucket ") for slot, _ in found[1:])


def test_buckets_of_wheels_for_any_platform_have_no_others():
    pure = [member(f"p{n}", 100_000) for n in range(60)]
    on_x86, on_arm = (
        group_members([*pure, *(member(f"c{n}", 200_000 + extra, tag=tag) for n in range(20))])
        for tag, extra in (("cp311-cp311-manylinux_2_17_x86_64", 0), ("cp311-cp311-manylinux_2_17_aarch64", 9))
    )
    shared = set(on_x86) & set(on_arm)
    assert sorted(m.name for group in shared for m in group.members) == sorted(m.name for m in pure)
    assert len(shared) == PURE_BUCKETS
    assert len(on_x86) == len(on_arm) == BUCKETS


def test_wheels_with_different_files_of_one_path_share_a_layer():
    shared = [replace(member(name, size), shared=True) for name, size in (("zeta", 9 * LARGE), ("alpha", 100))]
    found = slots(*shared, member("flask", 100_000), member("numpy", 20 * LARGE))
    assert (found[0], found[-1]) == (("numpy", ["numpy"]), ("shared paths", ["alpha", "zeta"]))
    assert len(found) == 3


def test_a_layer_s_annotation_names_wheels_that_share_paths_and_their_origins():
    built = replace(member("beta", 9), origin="git:abc#", required="setuptools pins:0")
    members = (replace(member("alpha", 9), shared=True), built)
    planned = PlannedLayer(kind="dependencies", slot="x", key="k", members=members)
    layer = Layer(digest=sha256(b"1"), diff_id=sha256(b"2"), size=1, annotations=layer_annotations(planned))
    assert members_of(layer) == members


def test_a_new_version_of_the_same_size_class_changes_one_group():
    before = [member(f"p{n}", 50_000 * (n + 1)) for n in range(40)]
    after = [member(m.name, m.size + 17, "1.1") if m.name == "p7" else m for m in before]
    changed = set(group_members(before)) ^ set(group_members(after))
    assert len(changed) == 2
    assert len({group.slot for group in changed}) == 1


def test_the_threshold_doubles_until_few_enough_layers_remain():
    groups = group_members([member(f"p{n:03}", LARGE + n * 40_000) for n in range(150)])
    assert len(groups) <= MAX_DEPENDENCY_LAYERS
    assert sum(len(group.members) for group in groups) == 150


@given(
    st.dictionaries(st.text("abcdefgh-", min_size=1, max_size=6), st.integers(0, 1 << 30), max_size=90), st.randoms()
)
def test_grouping_loses_nothing_and_ignores_order(sizes, random):
    members = [member(name, size) for name, size in sizes.items()]
    shuffled = list(members)
    random.shuffle(shuffled)
    groups = group_members(members)
    assert groups == group_members(shuffled)
    assert sorted(m.name for group in groups for m in group.members) == sorted(sizes)
    assert len(groups) <= MAX_DEPENDENCY_LAYERS
    assert sum(group.slot.startswith("bucket ") for group in groups) <= BUCKETS


def test_a_dependency_key_depends_on_everything_that_decides_the_content():
    facts = {"layer_format": "1", "python": "3.11", "bytecode": Bytecode(python="3.11.7")}

    def key(version: str = "1.0", **changed: object) -> str:
        (layer,) = dependency_layers([member("numpy", LARGE, version)], **{**facts, **changed})  # type: ignore[arg-type]
        return layer.key

    keys = {
        key(),
        key("1.1"),
        key(layer_format="2"),
        key(python="3.12"),
        key(bytecode=Bytecode(python="3.11.8")),
        key(bytecode=Bytecode(reason="it does not run")),
    }
    assert len(keys) == 6


def test_the_app_key_sees_content_mode_name_and_time():
    file = AppFile(path="a.py", kind="file", executable=False, content="00")
    variants = [
        [file],
        [AppFile(path="b.py", kind="file", executable=False, content="00")],
        [AppFile(path="a.py", kind="file", executable=True, content="00")],
        [AppFile(path="a.py", kind="symlink", executable=False, content="00")],
        [AppFile(path="a.py", kind="file", executable=False, content="01")],
        [],
    ]
    keys = {app_key(files, layer_format="1", launch=b"", mtime=0) for files in variants}
    keys |= {
        app_key([file], layer_format="1", launch=b"x", mtime=0),
        app_key([file], layer_format="1", launch=b"", mtime=1),
    }
    assert len(keys) == 8


def test_members_are_read_back_from_a_layer_s_annotations():
    about = About(expression="MIT", suppliers=(("Ann", "ann@example.org"),), requires=("click", "x:y[z]"))
    members = (
        member("flask", 100_000),
        replace(member("jinja2", 130_000), about=about),
        replace(member("click", 1), about=About()),
        replace(member("empty", 1), roots=()),
        replace(member("google-cloud", 1), roots=("/bin/gcp", "google/cloud")),
    )
    planned = PlannedLayer(kind="dependencies", slot="bucket 1", key="k", members=members)
    annotations = layer_annotations(planned)
    layer = Layer(digest=sha256(b"x"), diff_id=sha256(b"y"), size=1, annotations=annotations)
    assert layer.key == "k"
    assert members_of(layer) == members


def test_damaged_annotations_give_no_members():
    damaged = ("", "[", "{}", "[1]", '[["a"]]', '[["f","s","many"]]', '[["f","s",1e999]]', '[["f","s",1,"x"]]')
    unfit_for_terminals = (
        '[["\\u001b[31m-1-py3-none-any.whl","s",1]]',
        '[["a-1-py3-none-any.whl","s",1,{"version":"1\\n"}]]',
        '[["a-1-py3-none-any.whl","s",1,{"name":"\\u202e"}]]',
    )
    for text in damaged + unfit_for_terminals:
        layer = Layer(digest=sha256(b""), diff_id=sha256(b""), size=0, annotations={"dev.deploy.members": text})
        assert members_of(layer) == ()


def test_facts_that_no_wheel_states_are_unknown_and_the_wheel_is_kept():
    for about in ('{"licences":["\\u001b[31m"]}', '{"requires":7}', '["MIT"]', "null"):
        text = f'[["a-1-py3-none-any.whl","s",1,{{"about":{about}}}]]'
        layer = Layer(digest=sha256(b""), diff_id=sha256(b""), size=0, annotations={"dev.deploy.members": text})
        assert [(each.name, each.about) for each in members_of(layer)] == [("a", None)]


def test_the_config_keeps_the_stack_s_variables_and_puts_the_environment_first():
    stack = {
        "Env": ["PATH=/usr/local/bin:/usr/bin", "GPG_KEY=A0", "PYTHON_VERSION=3.11.7", "LANG=en_US.UTF-8"],
        "Cmd": ["python3"],
        "Entrypoint": ["/entry"],
        "Labels": {"maintainer": "them"},
    }
    assert image_config(stack, stack_python="/usr/local/bin/python3.11", labels={"a": "b"}) == {
        "Env": [
            "PATH=/opt/venv/bin:/usr/local/bin:/usr/bin",
            "GPG_KEY=A0",
            "PYTHON_VERSION=3.11.7",
            "LANG=C.UTF-8",
            "VIRTUAL_ENV=/opt/venv",
            "PYTHONUNBUFFERED=1",
            "PYTHONDONTWRITEBYTECODE=1",
            "HOME=/app",
        ],
        "Entrypoint": ["/usr/local/bin/python3.11", "-I", "/opt/deploy"],
        "User": "1000:1000",
        "WorkingDir": "/app",
        "StopSignal": "SIGTERM",
        "ExposedPorts": {"8000/tcp": {}},
        "Labels": {"maintainer": "them", "a": "b"},
    }


def test_launch_json_keeps_the_procfile_s_order():
    made = launch_json(
        processes={"web": "gunicorn blasto:APP", "release": "true"}, default="web", app_object=None, formation={}
    )
    assert list(json.loads(made)["processes"]) == ["web", "release"]
