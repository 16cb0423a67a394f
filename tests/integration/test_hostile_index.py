"""Package indexes that attack: logins for other hosts, files that are not served, answers that do not end."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from buildpack.app.indexes import Source
from buildpack.app.lockfile import LockedPackage
from buildpack.errors import BuildpackError
from buildpack.python.fetch import fetch_file, probe_file
from buildpack.python.files import IndexFile, WheelFile
from buildpack.python.find_wheels import resolve_wheels
from buildpack.python.http import Client
from buildpack.python.index import Resolver
from buildpack.python.target import Target
from tests.support.index import JSON, Index, make_wheel, serving, sha256
from tests.support.raw_server import CONTINUES, ENDLESS, TRICKLE, SteppingClock, raw_server

TARGET = Target(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))


@pytest.fixture
def index() -> Iterator[Index]:
    with serving(style="json") as served:
        yield served


@pytest.fixture
def other() -> Iterator[Index]:
    with serving(style="json") as served:
        yield served


def locked(name: str, content: bytes, **options: str) -> LockedPackage:
    return LockedPackage(
        name=name, version="1.0", place="Pipfile.lock:9", hashes=(f"sha256:{sha256(content)}",), **options
    )


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
    found = resolve_wheels(packages, Resolver(target=TARGET, client=client, folder=folder))
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
            403: f"{host} denies access to flask-1.0-py3-none-any.whl",
            404: f"{host} does not serve flask-1.0-py3-none-any.whl",
        }[status]
    )
    assert f"answered HTTP {status}" in error.value.why


@pytest.mark.parametrize(
    ("status", "what", "hint"),
    [
        (403, "denies access to", "put ${USER}:${PASSWORD}@ into its address in Pipfile"),
        (404, "does not serve", "name another address in Pipfile"),
    ],
)
def test_a_file_that_the_lock_names_and_that_is_not_served(
    index: Index, tmp_path: Path, status: int, what: str, hint: str
) -> None:
    index.statuses["/lib-1.0.zip"] = status
    offered = IndexFile(filename="lib-1.0.zip", link=f"{index.url.removesuffix('/simple/')}/lib-1.0.zip", hashes={})
    with client_of(index.url) as client, pytest.raises(BuildpackError) as error:
        probe_file(offered, client, tmp_path, {"sha256": {"0" * 64}})

    assert error.value.exit_code == 20
    assert error.value.what == f"{index.url.split('/')[2]} {what} lib-1.0.zip"
    assert hint in error.value.hint


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
        "hint: build again later; if that does not help, run `deploy lock`, commit Pipfile.lock, and build again."
    )


# Answers that do not end


def slow_client(host: str) -> Client:
    return Client([Source(name="main", url=f"http://{host}/simple/")], {}, clock=SteppingClock(31))


def failure(client: Client, folder: Path) -> BuildpackError:
    with client, pytest.raises(BuildpackError) as error:
        fetch(client, [locked("flask", b"")], folder)
    return error.value


TOO_SLOW = "less than 1024 bytes a second went over the connection for 60 seconds"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((ENDLESS % b"text/html", *TRICKLE), TOO_SLOW),
        (CONTINUES, TOO_SLOW),
        ((b"HTTP/1.1 200 OK\r\nX: ", *TRICKLE), TOO_SLOW),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *TRICKLE), TOO_SLOW),
        ((b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 1048576\r\n\r\n", *TRICKLE), TOO_SLOW),
    ],
    ids=["page", "100 Continue", "header", "chunk", "redirect"],
)
def test_a_page_that_trickles(answer: Iterable[bytes], reason: str, tmp_path: Path) -> None:
    with raw_server(lambda _method, _path: answer) as host:
        error = failure(slow_client(host), tmp_path)

    assert error.exit_code == 20
    assert str(error) == (
        f"127.0.0.1 is too slow\n\nThe transfer was stopped: {reason}.\n\n"
        "hint: check the network and the index's status page, and build again: files that arrived are kept."
    )


def test_a_wheel_that_trickles(tmp_path: Path) -> None:
    with raw_server(lambda _method, _path: (ENDLESS % b"x/y", *TRICKLE)) as host, slow_client(host) as client:
        wheel = WheelFile(
            name="flask", version="1.0", filename="flask-1.0-py3-none-any.whl", url=f"http://{host}/flask.whl",
            sha256="0" * 64, size=1 << 20, source="main",
        )  # fmt: skip
        with pytest.raises(BuildpackError, match=r"127\.0\.0\.1 is too slow") as error:
            fetch_file(wheel, client, tmp_path)

    assert error.value.exit_code == 20
    assert list(tmp_path.iterdir()) == []


def test_interim_answers_without_end_at_full_speed(tmp_path: Path) -> None:
    with raw_server(lambda _method, _path: CONTINUES) as host:
        error = failure(client_of(f"http://{host}/simple/"), tmp_path)

    assert error.exit_code == 20
    assert error.why == "The transfer was stopped: it sent 1 MB before its answer began."


@pytest.mark.parametrize("length", ["", "Content-Length: 99999999999\r\n"])
def test_a_file_without_a_hash_has_a_bound(length: str, tmp_path: Path) -> None:
    head = f"HTTP/1.1 200 OK\r\n{length}\r\n".encode()
    with raw_server(lambda _method, _path: (head, *[bytes(1 << 16)] * 64)) as host:
        offered = IndexFile(filename="flask-1.0-py3-none-any.whl", link=f"http://{host}/flask.whl", hashes={})
        with client_of(f"http://{host}/simple/") as client, pytest.raises(BuildpackError) as error:
            probe_file(offered, client, tmp_path, {"sha256": {"0" * 64}}, largest=1 << 20)

    assert error.value.exit_code == 20
    assert error.value.what == "flask-1.0-py3-none-any.whl is too large"
    assert list(tmp_path.iterdir()) == []


def test_a_page_beyond_its_bound_is_not_read(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 999999999\r\n\r\n"
    with raw_server(lambda _method, _path: (head, *TRICKLE)) as host:
        error = failure(client_of(f"http://{host}/simple/"), tmp_path)

    assert error.exit_code == 20
    assert error.why.endswith("it is larger than 64 MB.")
