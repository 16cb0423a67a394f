"""Logins, patience and downloads, against a server on loopback."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import pytest

from buildpack.app.indexes import Source
from buildpack.errors import BuildpackError, DependencyError, MachineError
from buildpack.errors import python as errors
from buildpack.net.secret import Secret
from buildpack.python.credentials import open_source, redact, without_secrets
from buildpack.python.fetch import Downloads, fetch_file
from buildpack.python.files import WheelFile
from buildpack.python.http import ATTEMPTS, Client, DeniedError, NotFoundError
from tests.support.index import Index, make_wheel, serving, sha256

MIRROR = "PIPENV_PYPI_MIRROR"


@pytest.fixture
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


class Clock:
    """Sleeps without waiting, and keeps count."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def client_of(
    index: Index, environ: dict[str, str] | None = None, *, clock: Clock | None = None, url: str = ""
) -> Client:
    source = Source(name="main", url=url or index.url)
    return Client([source], environ or {}, sleep=clock or Clock(), now=lambda: 1_700_000_000.0)


def text(client: Client, url: str) -> bytes:
    return client.get(url, lambda response: response.content)


def wheel_on(index: Index, name: str = "flask", body: bytes = b"X = 1\n") -> WheelFile:
    filename, content = make_wheel(name, "1.0", body=body)
    index.add(name, filename, content)
    return WheelFile(
        name=name,
        version="1.0",
        filename=filename,
        url=index.url.replace("/simple/", f"/files/{filename}"),
        sha256=sha256(content),
        size=len(content),
        source="main",
    )


# Sources and their secrets


@pytest.mark.parametrize(
    ("written", "environ", "address", "user", "password"),
    [
        ("https://i.example/simple", {}, "https://i.example/simple/", None, None),
        ("https://${U}:${P}@i.example/s", {"U": "me", "P": "pw"}, "https://i.example/s/", "me", "pw"),
        ("https://$U:$P@i.example/s/", {"U": "me", "P": "p/w@:%41"}, "https://i.example/s/", "me", "p/w@:A"),
        ("https://${BOTH}@i.example/s", {"BOTH": "me:p@w"}, "https://i.example/s/", "me", "p@w"),
        ("https://${TOKEN}@i.example:8443/s", {"TOKEN": "t0ken"}, "https://i.example:8443/s/", "t0ken", ""),
        ("https://me:p%40w@i.example/s", {}, "https://i.example/s/", "me", "p@w"),
        ("${WHOLE}", {"WHOLE": "https://me:pw@i.example/s"}, "https://i.example/s/", "me", "pw"),
        ("https://i.example/${TEAM}/simple", {"TEAM": "web"}, "https://i.example/web/simple/", None, None),
        ("https://me:pa$$word@i.example/s", {}, "https://i.example/s/", "me", "pa$$word"),
        ("https://pypi.python.org/simple", {}, "https://pypi.org/simple/", None, None),
        ("https://pypi.org/simple", {MIRROR: "https://u:w@m.example/s"}, "https://m.example/s/", "u", "w"),
        ("https://i.example/simple", {MIRROR: "https://m.example"}, "https://i.example/simple/", None, None),
        ("https://pypi.org/simple", {"PIP_INDEX_URL": "https://other.example"}, "https://pypi.org/simple/", None, None),
    ],
)  # fmt: skip
def test_a_source_is_opened(
    written: str, environ: dict[str, str], address: str, user: str | None, password: str
) -> None:
    source = open_source(Source(name="main", url=written), environ)

    assert source.address.reveal() == address
    url = {"${WHOLE}": "${WHOLE}/", "https://i.example/${TEAM}/simple": "https://i.example/${TEAM}/simple/"}
    assert source.url == url.get(written, address)
    assert (source.login.user.reveal() if source.login else None) == user
    assert (source.login.password.reveal() if source.login else None) == password
    logged_in = "Login(user=[redacted], password=[redacted])" if user is not None else "None"
    assert repr(source) == f"SourceUrl(name='main', url={source.url!r}, login={logged_in}, verify=True)"


@pytest.mark.parametrize(
    ("written", "link", "shown"),
    [
        ("https://i.example/${T}/a/simple", "https://i.example/s3cr%2Ft/a/x.whl", "https://i.example/${T}/a/x.whl"),
        ("https://i.example/${T}/a/simple", "https://i.example/s3cr/t/a/s3cr.whl", "https://i.example/${T}/a/s3cr.whl"),
        ("https://i.example/$T/a/simple", "https://cdn.example/s3cr/t/x.whl", "https://cdn.example/${T}/x.whl"),
        ("https://${HOST}/simple", "https://i.example:81/f/x.whl", "https://${HOST}/f/x.whl"),
        ("https://${HOST}/simple", "https://i.example/f/x.whl", "https://i.example/f/x.whl"),
        ("${WHOLE}", "https://i.example/s3cr/a/simple/x.whl", "${WHOLE}/x.whl"),
        ("${WHOLE}", "https://i.example/s3cr/files/x.whl", "${WHOLE}/../../files/x.whl"),
        ("${WHOLE}/${T}/", "https://i.example/s3cr/a/simple/s3cr/t/x.whl", "${WHOLE}/${T}/x.whl"),
    ],
)
def test_a_link_does_not_show_a_variable_of_the_source(written: str, link: str, shown: str) -> None:
    environ = {"T": "s3cr/t", "HOST": "i.example:81", "WHOLE": "https://me:pw@i.example/s3cr/a/simple/"}
    client = Client([Source(name="main", url=written)], environ)

    assert client.hide(link) == shown
    again = client.sources[0].reveal(shown)
    if "cdn" not in link and "$" in shown:
        assert again is not None
        assert urljoin(again.reveal(), ".") == urljoin(unquote(link), ".")


def test_a_link_cannot_ask_for_another_variable() -> None:
    environ = {"T": "s3cr", "OTHER": "0ther"}
    source = open_source(Source(name="main", url="https://i.example/${T}/simple"), environ)

    assert source.reveal("https://i.example/${T}/${OTHER}/x").reveal() == "https://i.example/s3cr/${OTHER}/x"  # type: ignore[union-attr]
    assert source.reveal("https://evil.example/${T}/x") is None


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(DependencyError) as error:
        open_source(Source(name="team", url="https://${INDEX_USER}:${INDEX_TOKEN}@i.example/s"), {"INDEX_USER": "me"})

    assert error.value.exit_code == 20
    assert "INDEX_TOKEN is not set" in str(error.value)
    assert "The source `team`" in str(error.value)


def test_a_source_that_is_not_a_web_address() -> None:
    with pytest.raises(DependencyError) as error:
        open_source(Source(name="disk", url="file:///srv/simple"), {})

    assert str(error.value) == (
        "the index 'disk' is not on the web\n\n"
        "Its URL in Pipfile.lock is 'file:///srv/simple'; deploy asks indexes over http and https.\n\n"
        "hint: name an index with an http(s) URL in Pipfile, run `deploy lock`, and build again."
    )


def test_secrets_do_not_print() -> None:
    secret = Secret("hunter2")

    assert f"{secret} {secret!r} {[secret]}" == "[redacted] [redacted] [[redacted]]"
    assert redact("see https://me:hunter2@i.example/x and hunter2", [secret]) == (
        "see https://[redacted]@i.example/x and [redacted]"
    )
    assert without_secrets("https://me:hunter2@i.example/x.whl?sig=1#sha256=0") == "https://i.example/x.whl"


# Logins go where they belong


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_a_login_goes_to_its_own_host_only(index: Index) -> None:
    with serving() as other:
        other.pages["/elsewhere"] = ("text/plain", b"there")
        index.redirects["/simple/moved/"] = other.url.replace("/simple/", "/elsewhere")
        index.redirects["/simple/near/"] = "/simple/here/"
        index.pages["/simple/here/"] = ("text/plain", b"here")
        url = index.url.replace("http://", "http://me:hunter2@")
        with client_of(index, url=url) as client:
            assert text(client, f"{index.url}moved/") == b"there"
            assert text(client, f"{index.url}near/") == b"here"

        assert [each.authorization for each in index.asked] == [basic("me:hunter2")] * 3
        assert [each.authorization for each in other.asked] == [""]


@pytest.mark.parametrize("kind", ["folder", "name"])
def test_a_netrc_that_cannot_be_read_counts_as_absent(index: Index, tmp_path: Path, kind: str) -> None:
    index.login = "user:password"
    unread = str(tmp_path) if kind == "folder" else f"/{'a' * 5000}"
    with client_of(index, environ={"NETRC": unread}) as client, pytest.raises(DeniedError) as denied:
        client.get(f"{index.url}tiny/", lambda response: response.content)
    assert denied.value.unread.startswith(f"{unread} cannot be read (")
    assert unread in errors.denied("tiny", index.url, 401, logged_in=False, source="x", unread=denied.value.unread).why


def test_netrc_and_its_file_by_name(index: Index, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login home password one\n")
    (tmp_path / "named").write_text("machine 127.0.0.1 login named password two\n")
    (tmp_path / "broken").write_text("machine machine machine\n")
    index.pages["/simple/x/"] = ("text/plain", b"x")
    environs = [{"HOME": str(tmp_path)}, {"HOME": str(tmp_path), "NETRC": str(tmp_path / "named")}]
    for environ in [*environs, {"NETRC": str(tmp_path / "broken")}, {}]:
        with client_of(index, environ) as client:
            text(client, f"{index.url}x/")

    assert [each.authorization for each in index.asked] == [basic("home:one"), basic("named:two"), "", ""]


def test_the_environment_of_the_process_is_not_read(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    index.pages["/simple/x/"] = ("text/plain", b"x")
    with client_of(index) as client:
        assert text(client, f"{index.url}x/") == b"x"


def test_a_request_goes_through_the_proxy(index: Index) -> None:
    index.pages["http://pypi.invalid/simple/x/"] = ("text/plain", b"from the proxy")
    proxy = index.url.removesuffix("/simple/")
    with Client([], {"http_proxy": proxy}, sleep=Clock()) as client:
        assert text(client, "http://pypi.invalid/simple/x/") == b"from the proxy"


def test_a_proxy_that_does_not_work() -> None:
    with (
        Client([], {"http_proxy": "http://me:hunter2@127.0.0.1:1"}, sleep=Clock()) as client,
        pytest.raises(DependencyError) as error,
    ):
        text(client, "http://pypi.invalid/simple/x/")

    assert str(error.value) == (
        "the proxy cannot be reached\n\n"
        "Requests for http://pypi.invalid/simple/x/ go through the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY "
        "names, and it fails.\n\n"
        "hint: correct the variable, or list pypi.invalid in NO_PROXY."
    )


# Patience


def test_busy_servers_are_asked_again_with_longer_waits(index: Index) -> None:
    index.pages["/simple/x/"] = ("text/plain", b"at last")
    index.failures = [(503, {}), (500, {}), (0, {}), (-1, {})]
    clock = Clock()
    with client_of(index, clock=clock) as client:
        assert text(client, f"{index.url}x/") == b"at last"

    for seconds, base in zip(clock.slept, [0.5, 1, 2, 4], strict=True):
        assert base <= seconds <= base * 1.25


@pytest.mark.parametrize(
    ("header", "waited"),
    [("7", 7.0), ("Tue, 14 Nov 2023 22:13:25 GMT", 5.0), ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0)],
)
def test_retry_after_is_obeyed(index: Index, header: str, waited: float) -> None:
    index.pages["/simple/x/"] = ("text/plain", b"ok")
    index.failures = [(429, {"Retry_After": header})]
    clock = Clock()
    with client_of(index, clock=clock) as client:
        text(client, f"{index.url}x/")

    assert clock.slept == [waited]


def test_a_server_that_asks_for_an_hour_is_not_waited_for(index: Index) -> None:
    index.failures = [(429, {"Retry_After": "3600"})]
    clock = Clock()
    with client_of(index, clock=clock) as client, pytest.raises(DependencyError) as error:
        text(client, f"{index.url}x/")

    host = index.url.split("/")[2]
    assert clock.slept == []
    assert str(error.value) == (
        f"{host} cannot be reached\n\n"
        f"{index.url}x/ was requested once; the last time: HTTP 429.\n\n"
        "hint: check the network and the index's status page, and build again: files that arrived are kept."
    )


def test_a_server_that_stays_away(index: Index) -> None:
    index.failures = [(503, {})] * ATTEMPTS
    with client_of(index) as client, pytest.raises(DependencyError) as error:
        text(client, f"{index.url}x/")

    assert f"{index.url}x/ was requested 5 times; the last time: HTTP 503." in str(error.value)
    assert len(index.asked) == ATTEMPTS


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/x", "it refused the connection"),
        ("http://no.such.host.invalid/x", "its name does not resolve"),
    ],
)
def test_a_server_that_refuses_connections(url: str, reason: str) -> None:
    with Client([], {}, sleep=Clock()) as client, pytest.raises(DependencyError) as error:
        text(client, url)

    assert f"{url} was requested 5 times; the last time: {reason}." in str(error.value)


def test_a_server_that_hangs_up_in_the_middle_of_every_body(index: Index, tmp_path: Path) -> None:
    wheel = wheel_on(index, body=b"x" * 100_000)
    index.failures = [(-1, {})] * ATTEMPTS
    with client_of(index) as client, pytest.raises(DependencyError, match="cannot be reached") as error:
        fetch_file(wheel, client, tmp_path)

    assert "the last time: it cut the connection." in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_answers_that_fail_at_once(index: Index) -> None:
    index.failures = [(404, {}), (410, {}), (403, {}), (400, {})]
    with client_of(index) as client:
        for kind in (NotFoundError, NotFoundError, DeniedError):
            with pytest.raises(kind):
                text(client, f"{index.url}x/")
        with pytest.raises(DependencyError) as error:
            text(client, f"{index.url}x/")

    assert str(error.value) == (
        f"{index.url.split('/')[2]} refused a request\n\n"
        f"{index.url}x/ answered: HTTP 400 Bad Request.\n\n"
        "hint: open the address in a browser, or ask the operators of the index."
    )
    assert len(index.asked) == 4


def test_redirects_in_a_circle(index: Index) -> None:
    index.redirects["/simple/x/"] = "/simple/x/"
    with client_of(index) as client, pytest.raises(DependencyError, match="refused a request"):
        text(client, f"{index.url}x/")


def test_a_broken_file_of_certificates_fails_only_if_one_is_needed(index: Index, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    path = str(tmp_path / "ca.pem")
    with client_of(index, {"SSL_CERT_FILE": path}) as client, pytest.raises(DependencyError) as error:
        text(client, index.url.replace("http:", "https:"))

    assert str(error.value) == (
        "the certificates of SSL_CERT_FILE cannot be read\n\n"
        f"SSL_CERT_FILE is {path!r}, which is missing or holds no PEM certificates.\n\n"
        "hint: correct SSL_CERT_FILE, or unset it to use the usual authorities."
    )


# Connections


def test_a_name_is_looked_up_once_and_its_next_address_tried(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.pages["/simple/x/"] = ("text/plain", b"x")
    real = socket.getaddrinfo
    asked: list[str] = []

    def resolver(host: str | bytes, port: int, *rest: Any) -> Any:
        if host != b"index.test":
            return real(host, port, *rest)
        asked.append(host.decode())
        return [*real("127.0.0.2", port, *rest), *real("127.0.0.1", port, *rest)]

    # The server listens on 127.0.0.1 alone, so the name's first address refuses.
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    url = index.url.replace("127.0.0.1", "index.test") + "x/"
    with client_of(index) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: text(client, url), range(32))) == [b"x"] * 32

    assert asked == ["index.test"]


# Downloads


def test_a_download_is_verified_and_then_kept(index: Index, tmp_path: Path) -> None:
    wheel = wheel_on(index)
    seen: list[tuple[int, int]] = []
    with client_of(index) as client:
        path = fetch_file(wheel, client, tmp_path, progress=lambda _, done, size: seen.append((done, size)))
        again = fetch_file(wheel, client, tmp_path)

    assert path == again == tmp_path / wheel.sha256 / wheel.filename
    assert sha256(path.read_bytes()) == wheel.sha256
    assert seen == [(wheel.size, wheel.size)]
    assert len(index.asked) == 1
    assert [each.name for each in tmp_path.iterdir()] == [wheel.sha256]


def test_a_damaged_file_is_fetched_again(index: Index, tmp_path: Path) -> None:
    wheel = wheel_on(index)
    with client_of(index) as client:
        path = fetch_file(wheel, client, tmp_path)
        path.write_bytes(b"cut")
        fetch_file(wheel, client, tmp_path)

    assert sha256(path.read_bytes()) == wheel.sha256


def test_a_cut_download_starts_again(index: Index, tmp_path: Path) -> None:
    wheel = wheel_on(index, body=bytes(range(256)) * 4000)
    index.failures = [(-1, {}), (502, {}), (-1, {})]
    with client_of(index) as client:
        path = fetch_file(wheel, client, tmp_path)

    assert sha256(path.read_bytes()) == wheel.sha256


def test_another_file_than_the_locked_one_is_refused_and_not_kept(index: Index, tmp_path: Path) -> None:
    wheel = wheel_on(index)
    index.projects["flask"][0].content = b"evil"
    with client_of(index) as client, pytest.raises(DependencyError) as error:
        fetch_file(wheel, client, tmp_path)

    assert error.value.exit_code == 20
    assert str(error.value) == (
        "flask-1.0-py3-none-any.whl is not the file that was locked\n\n"
        f"{wheel.url}\n"
        f"should have sha256:{wheel.sha256}\n"
        f"but has     sha256:{sha256(b'evil')}\n\n"
        "hint: something between here and the index changed it, or flask was uploaded again. "
        "Do not work around this: find out who did."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_end_is_stopped(index: Index, tmp_path: Path) -> None:
    wheel = wheel_on(index)
    index.projects["flask"][0].content = bytes(9 << 20)
    seen: list[int] = []
    with client_of(index) as client, pytest.raises(DependencyError) as error:
        fetch_file(wheel, client, tmp_path, progress=lambda _file, done, _size: seen.append(done))

    assert str(error.value) == (
        f"flask-1.0-py3-none-any.whl is not the file that was locked\n\n{wheel.url} should have {wheel.size} bytes and "
        "has more.\n\n"
        "hint: something between here and the index changed it. Do not work around this: find out who did."
    )
    assert max(seen) < 2 << 20
    assert list(tmp_path.iterdir()) == []


def test_the_size_that_the_index_gives_is_checked(index: Index, tmp_path: Path) -> None:
    wheel = replace(wheel_on(index), size=1)
    with client_of(index) as client, pytest.raises(DependencyError) as error:
        fetch_file(wheel, client, tmp_path)

    assert str(error.value) == (
        f"the index is wrong about the size of flask-1.0-py3-none-any.whl\n\n{wheel.url} should have 1 bytes and has "
        f"{wheel_on(index).size}.\n\n"
        "hint: tell the operators of the index; `deploy build --no-cache` asks it again."
    )


def test_a_remembered_link_that_is_gone(index: Index, tmp_path: Path) -> None:
    wheel = wheel_on(index)
    index.projects["flask"] = []
    with client_of(index) as client, pytest.raises(DependencyError) as error:
        fetch_file(wheel, client, tmp_path)

    assert str(error.value) == (
        "the file of flask is gone\n\n"
        f"{wheel.url} is no longer served, and the index does not list the file.\n\n"
        "hint: run `deploy lock`, commit Pipfile.lock, and build again."
    )


def test_a_folder_that_cannot_be_written(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wheel = wheel_on(index)
    with client_of(index) as client, pytest.raises(MachineError) as error:
        fetch_file(wheel, client, tmp_path / "file" / "wheels")

    assert error.value.exit_code == 70
    assert str(error.value) == (
        f"the store at {tmp_path}/file cannot be written\n\n"
        f"{tmp_path}/file/wheels: Not a directory.\n\n"
        "hint: set DEPLOY_HOME to a folder on a local disk, and build again."
    )


def test_several_at_once_come_as_they_are_ready(index: Index, tmp_path: Path) -> None:
    wheels = [wheel_on(index, f"package-{number}", body=b"x" * number) for number in range(20)]
    arrived: list[str] = []
    with (
        client_of(index) as client,
        Downloads(client, tmp_path, arrived=lambda file, _: arrived.append(file.name)) as downloads,
    ):
        for wheel in [*wheels, *wheels]:
            downloads.start(wheel)
        downloads.wait()

    assert all((tmp_path / wheel.sha256 / wheel.filename).is_file() for wheel in wheels)
    assert sorted(arrived) == sorted(each.name for each in wheels)
    assert len(index.paths()) == 20


def test_the_first_failure_ends_the_others_and_is_raised(index: Index, tmp_path: Path) -> None:
    wheels = [wheel_on(index, f"package-{number}", body=b"x" * 1_000_000) for number in range(8)]
    index.projects["package-0"][0].content = b"evil"

    def fetch_all(client: Client) -> None:
        with Downloads(client, tmp_path, jobs=4) as downloads:
            for wheel in wheels:
                downloads.start(wheel)
            downloads.wait()

    with (
        client_of(index) as client,
        pytest.raises(BuildpackError, match=r"^package_0-1.0-py3-none-any.whl is not the file"),
    ):
        fetch_all(client)
    assert not [each for each in threading.enumerate() if each.name.startswith("download")]
    assert not list(tmp_path.glob(".partial-*"))
