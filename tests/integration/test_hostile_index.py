"""Package indexes that attack: logins for other hosts, files that are listed and not served."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.app.lockfile import LockedPackage, Source
from buildpack.errors import BuildpackError
from buildpack.python.fetch import WheelFile, fetch_file
from buildpack.python.http import Client
from buildpack.python.index import resolve_wheels
from buildpack.python.target import target_for
from tests.support.index import JSON, Index, make_wheel, serving, sha256

TARGET = target_for(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))


@pytest.fixture
def index() -> Iterator[Index]:
    with serving(style="json") as served:
        yield served


@pytest.fixture
def other() -> Iterator[Index]:
    with serving(style="json") as served:
        yield served


def locked(name: str, content: bytes, **options: str) -> LockedPackage:
    return LockedPackage(name=name, version="1.0", line=9, hashes=(f"sha256:{sha256(content)}",), **options)


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def with_login(url: str, login: str) -> str:
    return url.replace("http://", f"http://{login}@")


def client_of(*sources: str, environ: dict[str, str] | None = None) -> Client:
    named = [Source(name=f"index-{number}", url=url) for number, url in enumerate(sources)]
    return Client(named, environ or {}, sleep=lambda _: None)


def offer(page_of: Index, files_of: Index, name: str, login: str) -> LockedPackage:
    """List a wheel on one server's page that the other one serves, by a link with a login."""
    filename, content = make_wheel(name, "1.0")
    files_of.add(name, filename, content)
    link = with_login(files_of.url.replace("/simple/", f"/files/{filename}"), login)
    entry = {"filename": filename, "url": link, "hashes": {"sha256": sha256(content)}, "size": len(content)}
    page_of.pages[f"/simple/{name}/"] = (JSON, json.dumps({"files": [entry]}).encode())
    return locked(name, content, index="index-0")


def fetch(client: Client, packages: list[LockedPackage], folder: Path) -> list[WheelFile]:
    found = resolve_wheels(packages, TARGET, client=client, folder=folder)
    for wheel in found:
        fetch_file(wheel, client, folder)
    return found


def test_a_page_cannot_replace_the_login_that_another_index_has(index: Index, other: Index, tmp_path: Path) -> None:
    package = offer(index, other, "bait", "evil:evil")
    filename, content = make_wheel("inhouse", "1.0")
    other.add("inhouse", filename, content)
    other.login = "me:hunter2"
    with client_of(index.url, with_login(other.url, "me:hunter2")) as client:
        fetch(client, [package], tmp_path)
        fetch(client, [locked("inhouse", content, index="index-1")], tmp_path)

    assert {each.authorization for each in other.asked} == {basic("me:hunter2")}


def test_a_page_cannot_replace_the_login_in_netrc(index: Index, other: Index, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    package = offer(index, other, "bait", "evil:evil")
    with client_of(index.url, environ={"NETRC": str(tmp_path / "netrc")}) as client:
        fetch(client, [package], tmp_path)

    assert {each.authorization for each in other.asked} == {basic("me:hunter2")}


def test_a_login_in_a_link_goes_with_that_link_alone(index: Index, other: Index, tmp_path: Path) -> None:
    package = offer(index, other, "flask", "link:token")
    filename, content = make_wheel("plain", "1.0")
    other.add("plain", filename, content)
    with client_of(index.url, other.url) as client:
        fetch(client, [package], tmp_path)
        fetch(client, [locked("plain", content, index="index-1")], tmp_path)

    by_path = {each.path: each.authorization for each in other.asked}
    assert by_path == {
        "/files/flask-1.0-py3-none-any.whl": basic("link:token"),
        "/simple/plain/": "",
        "/files/plain-1.0-py3-none-any.whl": "",
    }


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_without_a_hash_that_is_listed_and_not_served(index: Index, tmp_path: Path, status: int) -> None:
    _, content = make_wheel("flask", "1.0")
    page = {"files": [{"filename": "flask-1.0-py3-none-any.whl", "url": "/files/flask.whl", "hashes": {}}]}
    index.pages["/simple/flask/"] = (JSON, json.dumps(page).encode())
    index.statuses["/files/flask.whl"] = status
    with client_of(index.url) as client, pytest.raises(BuildpackError) as error:
        fetch(client, [locked("flask", content)], tmp_path)

    host = index.url.split("/")[2]
    assert error.value.exit_code == 20
    assert (
        error.value.what
        == {
            403: f"{host} does not let us read flask-1.0-py3-none-any.whl",
            404: f"{host} does not serve flask-1.0-py3-none-any.whl",
        }[status]
    )
    assert f"answered HTTP {status}" in error.value.why


def test_a_file_with_a_hash_that_is_listed_and_not_served(index: Index, tmp_path: Path) -> None:
    filename, content = make_wheel("flask", "1.0")
    index.add("flask", filename, content)
    index.statuses[f"/files/{filename}"] = 404
    with client_of(index.url) as client, pytest.raises(BuildpackError) as error:
        fetch(client, [locked("flask", content)], tmp_path)

    host, url = index.url.split("/")[2], index.url.replace("/simple/", f"/files/{filename}")
    assert str(error.value) == (
        f"{host} does not serve flask-1.0-py3-none-any.whl\n\n"
        f"The index lists {url}, which answered HTTP 404.\n\n"
        "hint: build again later; if the file stays away, run `deploy lock`, commit Pipfile.lock, and build again."
    )
