"""Registries that attack, with answers that do not end; and registries as odd as they are in the world."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildpack.errors import BuildpackError, StackError
from buildpack.oci.digest import sha256
from buildpack.oci.image import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, Image, Platform, convert
from buildpack.oci.index import assemble_index, convert_index
from buildpack.oci.push import Pushed, push_image, push_index
from buildpack.oci.reference import format_for, parse_reference
from buildpack.oci.referrers import fetch_referrers
from buildpack.oci.registry import Registry
from buildpack.oci.registry_auth import find_logins
from buildpack.oci.transport import Transport
from buildpack.oci.upload import may_push
from buildpack.steps.earlier_images import Lookup
from deployer.cli.command import run
from deployer.proof.attaching import attached_text, make_referrer
from tests.support import proxy as proxies
from tests.support.command import Done
from tests.support.images import Blobs, image_of
from tests.support.index import serving
from tests.support.proxy import Proxy
from tests.support.raw_server import CONTINUES, ENDLESS, TRICKLE, SteppingClock, raw_server
from tests.support.registry_client import connected, push_blob
from tests.support.spec_registry import SpecRegistry, spec_registry
from tests.support.tiny import add_wheels, environ, write_app

# Answers that do not end


TYPE = b"application/vnd.oci.image.manifest.v1+json"


@contextmanager
def slow_registry(reply: Callable[[str, str], Iterable[bytes]], step: float = 31) -> Iterator[Registry]:
    """Yield a registry that answers so, seen with a clock that goes fast."""
    clock = SteppingClock(step)

    def sleep(_seconds: float) -> None:
        clock.now += 100

    with raw_server(reply) as host, Transport({}, clock=clock, sleep=sleep) as transport:
        yield Registry(parse_reference(f"{host}/app:1"), transport)


def failure(call: Callable[[], object]) -> BuildpackError:
    with pytest.raises(BuildpackError) as error:
        call()
    return error.value


@pytest.mark.parametrize(
    "answer", [(ENDLESS % TYPE, *TRICKLE), CONTINUES, (b"HTTP/1.1 200 OK\r\nX: ", *TRICKLE)],
    ids=["body", "100 Continue", "header"],
)  # fmt: skip
def test_a_manifest_that_trickles(answer: Iterable[bytes]) -> None:
    with slow_registry(lambda _method, _path: answer) as registry:
        error = failure(registry.fetch_manifest)

    assert error.exit_code == 30
    assert str(error) == (
        f"the registry {registry.reference.host} is too slow\n\n"
        "The transfer was stopped: less than 1024 bytes a second went over the connection for 60 seconds.\n\n"
        "hint: check the network, and try again: layers that arrived are kept."
    )


def test_a_layer_that_trickles() -> None:
    with slow_registry(lambda _method, _path: (ENDLESS % b"x/y", *TRICKLE)) as registry:
        error = failure(lambda: registry.fetch_blob(sha256(b""), 1 << 20, io.BytesIO()))

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")


def test_a_layer_that_is_cut_again_and_again_has_an_end() -> None:
    """A server may send some bytes, hang up, and send some more, for as long as it is asked."""
    asked = 0

    def reply(_method: str, _path: str) -> Iterable[bytes]:
        nonlocal asked
        asked += 1
        return (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9999\r\n\r\n", b"x" * 64)

    with slow_registry(reply, step=1) as registry:
        error = failure(lambda: registry.fetch_blob(sha256(b""), 9999, io.BytesIO()))

    assert (error.exit_code, error.what) == (30, f"{registry.reference} cannot be fetched")
    assert asked < 10


def test_a_token_that_trickles() -> None:
    def reply(_method: str, path: str) -> Iterable[bytes]:
        if path.startswith("/token"):
            return (ENDLESS % b"application/json", *TRICKLE)
        challenge = f'Bearer realm="http://{registry.reference.host}/token"'
        return (f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n".encode(),)

    with slow_registry(reply) as registry:
        error = failure(registry.fetch_manifest)

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")


def test_the_answer_to_an_upload_that_trickles() -> None:
    with slow_registry(lambda _method, _path: (b"HTTP/1.1 202 Accepted\r\nX: ", *TRICKLE)) as registry:
        error = failure(lambda: registry.push_manifest(b"{}", TYPE.decode(), "1"))

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")


def test_an_upload_has_an_end() -> None:
    blob = bytes(4 << 20)

    def reply(method: str, path: str) -> Iterable[bytes]:
        if method == "POST":
            # The server ends the connection; if it did not say so, the upload could begin on it.
            head = b"HTTP/1.1 202 Accepted\r\nConnection: close\r\n"
            return (head + b"Location: /v2/app/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n",)
        return (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",)

    with slow_registry(reply, step=20) as registry:
        error = failure(lambda: push_blob(registry, blob))

    assert (error.exit_code, error.what) == (30, f"the registry {registry.reference.host} is too slow")
    # The pace counts half of this clock's time: the other half is between two writes, and ours.
    assert error.why == "The transfer was stopped: the transfer was not done after 29 minutes."


# Odd registries


BLOBS = Blobs()
IMAGE = image_of(BLOBS.layer({"file": b"content" * 1000}), label="hostile")
OTHER = image_of(BLOBS.layer({"file": b"other"}), label="other")
LOGIN = f"Basic {b64encode(b'me:secret').decode()}"


@pytest.fixture
def server() -> Iterator[SpecRegistry]:
    with spec_registry() as made:
        yield made


@pytest.fixture
def proxy(server: SpecRegistry) -> Iterator[Proxy]:
    with Proxy(server.name) as made:
        yield made


def push(host: str, image: Image = IMAGE, env: dict[str, str] | None = None, **options: object) -> Pushed:
    wanted = parse_reference(f"{host}/team/app:1")
    with Transport(env or {}, homes=[wanted], sleep=lambda _seconds: None) as transport:
        return push_image(image, [wanted], BLOBS.open, transport=transport, **options)  # type: ignore[arg-type]


def told(call: Callable[[], object]) -> str:
    with pytest.raises(StackError) as caught:
        call()
    assert caught.value.exit_code == 30
    return str(caught.value)


def tag(server: SpecRegistry) -> bytes | None:
    """The manifest that the tag names."""
    return server.manifests["1"][1] if "1" in server.manifests else None


def puts(proxy: Proxy) -> list[str]:
    return [each.path for each in proxy.log if each.method == "PUT" and "/manifests/" in each.path]


# Look-ups that only save work


ODD = {
    **{str(status): proxies.answer(status) for status in (400, 401, 403, 405, 409, 418, 422, 429, 500, 501, 503)},
    "a web page": proxies.answer(200, Content_Type="text/html"),
    "no content": proxies.answer(204),
    "a redirect to nowhere": proxies.answer(307, Location="file:///etc/passwd"),
    "nonsense": lambda handler: handler.give(b"nonsense\r\n\r\n") or 0,
    "nothing": proxies.cut(),
}


@pytest.mark.parametrize("action", ODD.values(), ids=ODD)
def test_a_blob_is_sent_unless_the_registry_says_clearly_that_it_is_there(server, proxy, action):
    push(server.name)
    proxy.fault("HEAD", "/blobs/", action, times=-1)
    pushed = push(proxy.name)
    assert set(pushed.sent) == {IMAGE.layers[0].digest, IMAGE.config_digest}
    assert tag(server) == IMAGE.manifest


@pytest.mark.parametrize("action", [*ODD.values(), proxies.answer(202)], ids=[*ODD, "no place"])
def test_a_mount_that_does_not_succeed_becomes_an_upload(server, proxy, action):
    proxy.fault("POST", "mount=", action, times=-1)
    places = {IMAGE.layers[0].digest: parse_reference(f"{proxy.name}/team/base:1")}
    assert IMAGE.layers[0].digest in push(proxy.name, mounts=places).sent
    assert tag(server) == IMAGE.manifest


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A tiny app, and the environment of its builds."""
    folder = tmp_path_factory.mktemp("hostile")
    with serving() as index:
        made = write_app(folder / "tiny", add_wheels(index, folder / "wheels", "alpha"))
        yield made, {**environ(index), "DEPLOY_HOME": str(folder / "home")}


@pytest.fixture
def deploy(app, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Call the command in this process."""
    for name, value in app[1].items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str | Path) -> Done:
        code = run(list(map(str, arguments)))
        out, err = capfd.readouterr()
        return Done(code=code, out=out, err=err)

    return call


COMMANDS = {"build": ("--to", "registry"), "ci": ("--push", "--no-boot", "--no-sbom")}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_new_tag_goes_to_a_registry_that_answers_403_for_what_is_not_there(server, proxy, app, deploy, command):
    server.secretive = True
    done = deploy(command, app[0], "-t", f"{proxy.name}/team/app:1", *COMMANDS[command])
    assert done.code == 0, done.err
    assert "1" in server.manifests


BUSY = {
    f"{status}, later": proxies.answer(status, Retry_After=later)
    for status, later in ((429, "3600"), (503, "60"), (503, "Fri, 31 Dec 2100 23:59:59 GMT"))
}


@pytest.mark.parametrize("place", ["/manifests/1", "/blobs/"])
@pytest.mark.parametrize("action", [*ODD.values(), *BUSY.values()], ids=[*ODD, *BUSY])
def test_an_earlier_image_that_cannot_be_read_does_not_matter_and_is_not_waited_for(server, proxy, place, action):
    push(server.name)
    proxy.fault("GET", place, action, times=-1)
    waits: list[float] = []
    reference = parse_reference(f"{proxy.name}/team/app:1")
    with Transport({}, homes=[reference], sleep=waits.append) as transport:
        found = Lookup([reference], platform=Platform(os="linux", architecture="amd64"), transport=transport).result()
    assert found.layers == ()
    assert str(reference) in found.reason
    assert sum(waits) < 3, "seconds; no wait that a registry asks for"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("action", BUSY.values(), ids=BUSY)
def test_a_look_at_a_tag_or_at_referrers_waits_for_no_busy_registry(server, proxy, method, action):
    proxy.fault(method, "/manifests/", action, times=-1)
    proxy.fault("GET", "/referrers/", action, times=-1)
    waits: list[float] = []
    with Transport({}, sleep=waits.append) as transport:
        registry = Registry(parse_reference(f"{proxy.name}/team/app:1"), transport)
        assert registry.find_digest("1") is None
        assert fetch_referrers(registry, IMAGE.digest).listed == ()
    assert sum(waits) < 5, "seconds; no wait that a registry asks for"


def test_a_look_waits_for_no_busy_token_server(server, proxy):
    waits: list[float] = []
    challenge = f'Bearer realm="http://{proxy.name}/token"'
    proxy.fault("GET", "/manifests/", proxies.answer(401, WWW_Authenticate=challenge), times=-1)
    proxy.fault("GET", "/token", BUSY["503, later"], times=-1)
    reference = parse_reference(f"{proxy.name}/team/app:1")
    with Transport({}, homes=[reference], sleep=waits.append) as transport:
        found = Lookup([reference], platform=Platform(os="linux", architecture="amd64"), transport=transport).result()
    assert found.layers == ()
    assert sum(waits) < 3, "seconds; no wait that the server asks for"


def test_a_pipeline_makes_valid_names_of_a_service_s_variables(server, proxy, app, deploy):
    """As ${{ github.repository }}:${{ github.ref }} gives them, and GitLab's CI_COMMIT_REF_NAME."""
    name = f"{proxy.name}/MyOrg/App:refs/heads/feature/login"
    done = deploy("ci", app[0], "-t", name, "--cache-from", f"{proxy.name}/MyOrg/App:main", *COMMANDS["ci"])
    assert done.code == 0, done.err
    used = f"{proxy.name}/myorg/app:feature-login"
    assert f"warning: {name} is not a valid image name; using {used} instead\n" in done.err
    assert puts(proxy) == ["/v2/myorg/app/manifests/feature-login"]


def test_a_registry_that_refuses_an_upload_ends_the_build_before_it_begins(server, proxy, app, deploy):
    server.secretive = True
    server.login = LOGIN
    done = deploy("build", app[0], "-t", f"{proxy.name}/team/app:1", "--to", "registry")
    assert done.code == 30
    assert f"error: {proxy.name}/team/app:1 cannot be pushed anonymously\n" in done.err
    assert [str(each) for each in proxy.log] == [
        "GET /v2/team/app/manifests/1 403",
        "POST /v2/team/app/blobs/uploads/ 403",
    ]


# Logins


def config(folder: Path, host: str, auth: str) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {"DOCKER_CONFIG": str(folder)}


def test_a_login_at_hand_is_tried_once_where_a_write_gets_403_and_no_challenge(server, proxy, tmp_path):
    server.login = LOGIN
    push(proxy.name, env=config(tmp_path, proxy.name, LOGIN.removeprefix("Basic ")))
    assert tag(server) == IMAGE.manifest
    # Reads get nothing unasked until a write needed it.
    assert "Authorization" not in next(each for each in proxy.log if each.method == "HEAD").headers


def only_with(header: str, status: int, root: str = "", body: bytes = b"") -> proxies.Action:
    """Refuse what comes without this Authorization header; `root` is what /v2/ asks for."""

    def act(handler: proxies.Handler) -> int:
        if handler.headers.get("Authorization") == header:
            return handler.forward()
        asks = {"WWW-Authenticate": root} if root and handler.path == "/v2/" else {}
        return proxies.answer(status, body, **asks)(handler)

    return act


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_read_that_is_refused_without_a_challenge_gets_the_login_at_hand(server, proxy, tmp_path, status):
    """Nexus answers 400 to an anonymous read, and proxies 403."""
    push(server.name)
    proxy.fault("", "", only_with(LOGIN, status), times=-1)
    env = config(tmp_path, proxy.name, LOGIN.removeprefix("Basic "))
    with connected(parse_reference(f"{proxy.name}/team/app:1"), env) as client:
        assert client.fetch_manifest().digest == IMAGE.digest
    assert [each.path for each in proxy.log] == ["/v2/team/app/manifests/1", "/v2/", "/v2/team/app/manifests/1"]


def test_a_write_that_is_refused_without_a_challenge_gets_the_login_at_hand(server, proxy, tmp_path):
    proxy.fault("", "", only_with(LOGIN, 401), times=-1)
    push(proxy.name, env=config(tmp_path, proxy.name, LOGIN.removeprefix("Basic ")))
    assert tag(server) == IMAGE.manifest


def test_a_registry_whose_root_alone_says_where_tokens_come_from(server, proxy, tmp_path):
    """Docker's clients ask the root first, so some registries say it nowhere else."""
    challenge = f'Bearer realm="http://{proxy.name}/token",service="reg"'
    proxy.fault("GET", "/token", proxies.answer(200, b'{"token": "good"}'), times=-1)
    proxy.fault("", "", only_with("Bearer good", 401, challenge), times=-1)
    push(proxy.name, env=config(tmp_path, proxy.name, LOGIN.removeprefix("Basic ")))
    assert tag(server) == IMAGE.manifest
    # The root's own answer is asked for once, and the login goes to the token server alone.
    assert [each.path for each in proxy.log].count("/v2/") == 1
    assert {each.path.partition("?")[0] for each in proxy.log if each.headers.get("Authorization") == LOGIN} == {
        "/token"
    }


def test_a_refused_mount_is_not_reported_as_a_refused_push(server, proxy, tmp_path):
    """Harbor answers 401 for a mount from a project that does not exist."""
    challenge = f'Bearer realm="http://{proxy.name}/token",service="reg"'
    proxy.fault("PUT", "/manifests/", proxies.answer(403), times=-1)
    proxy.fault("GET", "/token.*base", proxies.answer(401, said("UNAUTHORIZED", "project base not found")), times=-1)
    proxy.fault("GET", "/token", proxies.answer(200, b'{"token": "good"}'), times=-1)
    proxy.fault("POST", "mount=", proxies.answer(401, WWW_Authenticate=challenge), times=-1)
    env = config(tmp_path, proxy.name, LOGIN.removeprefix("Basic "))
    push(server.name)
    server.manifests.clear()
    places = {IMAGE.layers[0].digest: parse_reference(f"{proxy.name}/team/base:1")}
    text = told(lambda: push(proxy.name, env=env, mounts=places))
    assert "refuses the login" not in text
    assert "project base" not in text


def test_a_login_that_is_refused_is_not_tried_again(server, proxy, tmp_path):
    server.login = LOGIN
    wrong = b64encode(b"me:wrong").decode()
    with Transport(config(tmp_path, proxy.name, wrong), sleep=lambda _seconds: None) as transport:
        client = Registry(parse_reference(f"{proxy.name}/team/app:1"), transport=transport, writes=True)
        text = told(lambda: may_push(client))
    assert [str(each) for each in proxy.log] == [
        "POST /v2/team/app/blobs/uploads/ 403",
        "GET /v2/ 200",
        "POST /v2/team/app/blobs/uploads/ 403",
    ]
    assert text == (
        f"{proxy.name}/team/app:1 cannot be pushed with this login\n\n"
        f"POST http://{proxy.name}/v2/team/app/blobs/uploads/ answered 403: DENIED.\n"
        f"The login from {tmp_path}/config.json is not allowed to do this, or the repository does not exist.\n\n"
        "hint: check the name, or give that user the right to push to the repository; for another login, log in with "
        f"`docker login {proxy.name}` again, or set DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD."
    )


@pytest.mark.parametrize(
    "coded",
    [
        b64encode(b"me:secret").decode(),
        "bWU6\nc2Vj\r\ncmV0\n",
        "  bWU6c2VjcmV0\t",
        b64encode(b"me:secret\n").decode(),
        b64encode(b"me:\0secret\0\0").decode(),
    ],
)
def test_credentials_are_read_as_leniently_as_docker_reads_them(tmp_path, coded):
    login = find_logins("ghcr.io", config(tmp_path, "ghcr.io", coded), home=True).of("team/app")
    assert login is not None
    assert login.basic == LOGIN


def test_the_variables_of_a_login_may_end_with_a_line_end():
    given = {"DEPLOY_REGISTRY_USER": "me\n", "DEPLOY_REGISTRY_PASSWORD": "secret\r\n"}
    login = find_logins("ghcr.io", given, home=True).of("team/app")
    assert login is not None
    assert login.basic == LOGIN


VARIABLES = "DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD"
BOTH = {"DEPLOY_REGISTRY_USER": "me", "DEPLOY_REGISTRY_PASSWORD": "wrong"}


@pytest.mark.parametrize(
    ("env", "hint"),
    [
        (
            BOTH,
            f"correct {VARIABLES}, or unset them and log in with `docker login {{}}`.",
        ),
        (
            {**BOTH, "DEPLOY_REGISTRY": "ghcr.io"},
            "log in with `docker login {0}`, or set DEPLOY_REGISTRY={0} if DEPLOY_REGISTRY_USER is a user there.",
        ),
        ({"DEPLOY_REGISTRY_USER": "me"}, "log in with `docker login {}`, or set DEPLOY_REGISTRY_PASSWORD."),
        ({}, "log in with `docker login {}`, or set DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD."),
    ],
    ids=["all set", "set for another registry", "half set", "nothing set"],
)
def test_a_hint_asks_for_nothing_that_is_set(server, proxy, env, hint):
    server.login = LOGIN
    assert told(lambda: push(proxy.name, env=env)).endswith(hint.format(proxy.name))


def test_a_token_server_s_403_is_a_matter_of_rights(server, proxy):
    challenge = f'Bearer realm="http://{proxy.name}/token",service="reg"'
    proxy.fault("POST", "/uploads/", proxies.answer(401, WWW_Authenticate=challenge), times=-1)
    proxy.fault("GET", "/token", proxies.answer(403, b'{"errors": [{"code": "DENIED"}]}'), times=-1)
    text = told(lambda: push(proxy.name, env=BOTH))
    assert text == (
        f"{proxy.name}/team/app:1 cannot be pushed with this login\n\n"
        f"GET http://{proxy.name}/token answered 403: DENIED.\n"
        "The login from DEPLOY_REGISTRY_USER is not allowed to do this, or the repository does not exist.\n\n"
        "hint: check the name, or give that user the right to push to the repository; for another login, correct "
        f"DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD, or unset them and log in with `docker login {proxy.name}`."
    )


# Tags that must not move


@pytest.mark.parametrize("here", [True, False], ids=["blobs known", "blobs asked for"])
def test_a_tag_that_names_the_digest_needs_no_put(server, proxy, here):
    push(server.name)
    server.fixed = True
    known = frozenset({IMAGE.layers[0].digest, IMAGE.config_digest}) if here else frozenset[object]()
    pushed = push(proxy.name, present=known)
    assert (pushed.digest, pushed.sent, puts(proxy)) == (IMAGE.digest, (), [])


def test_a_tag_that_names_the_digest_does_not_hide_a_lost_blob(server, proxy):
    """No PUT has the registry check what it has, so the blobs are asked for."""
    push(server.name)
    lost = IMAGE.layers[0].digest
    del server.blobs[str(lost)]
    assert push(proxy.name, present=frozenset({lost, IMAGE.config_digest})).sent == (lost,)
    assert str(lost) in server.blobs


@pytest.mark.parametrize("status", [400, 403, 405, 409, 412, 500])
def test_a_put_that_is_refused_is_done_if_the_tag_has_the_digest(server, proxy, status):
    """As with a run beside this one that was faster, or a look before that failed."""
    proxy.fault("PUT", "/manifests/", proxies.done_but(status), times=-1)
    assert push(proxy.name).digest == IMAGE.digest


def test_a_digest_that_only_the_body_tells(server, proxy):
    """The header Docker-Content-Digest is optional."""
    push(server.name)
    server.fixed = True
    proxy.fault("", "/manifests/", proxies.without_header("Docker-Content-Digest"), times=-1)
    assert push(proxy.name).sent == ()
    assert puts(proxy) == []


def test_a_fixed_tag_of_another_image(server, proxy):
    push(server.name, OTHER)
    server.fixed = True
    assert told(lambda: push(proxy.name)) == (
        f"{proxy.name}/team/app:1 cannot be pushed: the tag names another image, and the registry does not let it move"
        f"\n\nPUT http://{proxy.name}/v2/team/app/manifests/1 answered 400: TAG_IMMUTABLE.\n"
        f"The tag names {OTHER.digest}.\n\n"
        "hint: push under a new tag: `-t REF`."
    )
    assert tag(server) == OTHER.manifest


def said(code: str, message: str, detail: object = None) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


MOVED = "the tag names another image, and the registry does not let it move"
REFUSED = "the registry refuses the manifest"
NEW_TAG = "push under a new tag: `-t REF`."
IF_FIXED = "if tags must not move there, push under a new tag: `-t REF`"
RIGHTS = "check the registry's quota, its rules for tags, and the rights of the login."
FORMAT = "if the registry accepts only Docker's format, add `--format docker` to the command."
LOCKED = said("TAG_INVALID", "The image tag '1' already exists and cannot be overwritten: the repository is immutable.")
FORBIDDEN = said("MANIFEST_INVALID", "manifest invalid", {"description": "HTTP 403 Forbidden"})
DISALLOWED = said("REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed on this registry, repository or image.")
UPDATES = said("BLOB_UPLOAD_INVALID", "blob upload invalid", "Repository does not allow updating assets: team")
QUOTA = said("DENIED", "adding 151.7 MiB of storage resource will exceed the configured upper limit of 100.0 GiB.")


@pytest.mark.parametrize(
    ("before", "status", "body", "what", "hint"),
    [
        pytest.param(OTHER, 400, LOCKED, MOVED, NEW_TAG, id="ECR"),
        pytest.param(OTHER, 403, said("DENIED", "tag is immutable"), MOVED, NEW_TAG, id="Docker Hub"),
        pytest.param(OTHER, 400, UPDATES, MOVED, NEW_TAG, id="Nexus"),
        pytest.param(OTHER, 412, said("PRECONDITION", "1 is configured as immutable"), MOVED, NEW_TAG, id="Harbor"),
        pytest.param(OTHER, 405, DISALLOWED, REFUSED, f"{IF_FIXED}.", id="ACR"),
        pytest.param(OTHER, 400, FORBIDDEN, REFUSED, f"{IF_FIXED}.", id="Artifactory"),
        pytest.param(OTHER, 403, FORBIDDEN, REFUSED, f"{IF_FIXED}; else {RIGHTS}", id="Artifactory's 403"),
        pytest.param(
            convert(OTHER, "docker"), 400, said("MANIFEST_INVALID", ""), REFUSED, f"{IF_FIXED}; {FORMAT}", id="schema 2"
        ),
        pytest.param(None, 403, QUOTA, REFUSED, RIGHTS, id="a quota"),
        pytest.param(None, 404, b"", REFUSED, FORMAT, id="not found"),
    ],
)
def test_a_refused_manifest_gets_a_hint_that_fits(server, proxy, before, status, body, what, hint):
    """The answers are those of public bug reports. The registry took the blobs, so no login is missing."""
    if before is not None:
        push(server.name, before)
    proxy.fault("PUT", "/manifests/", proxies.answer(status, body, Content_Type="application/json"), times=-1)
    text = told(lambda: push(proxy.name))
    assert text.startswith(f"{proxy.name}/team/app:1 cannot be pushed: {what}\n")
    assert text.endswith(f"\n\nhint: {hint}")
    if before is not None:
        assert str(before.digest) in text


def test_a_full_quota_is_not_called_a_missing_right(server, proxy):
    proxy.fault("PUT", "/uploads/", proxies.answer(403, QUOTA, Content_Type="application/json"), times=-1)
    text = told(lambda: push(proxy.name))
    assert text.startswith(f"{proxy.name}/team/app:1: the registry refuses a request\n")
    assert "will exceed the configured upper limit of 100.0 GiB.\n\nhint: the registry's message says why" in text


def test_a_fixed_tag_of_a_registry_that_knows_no_head(server, proxy):
    push(server.name)
    server.fixed = True
    proxy.fault("HEAD", "/manifests/", proxies.answer(404), times=-1)
    assert push(proxy.name).digest == IMAGE.digest


def test_a_fixed_tag_of_an_index(server, proxy):
    push(server.name)
    index = assemble_index([IMAGE])
    wanted = [parse_reference(f"{proxy.name}/team/app:several")]
    with Transport({}) as transport:
        push_index(index.manifest, wanted, transport=transport)
        server.fixed = True
        proxy.clear()
        push_index(index.manifest, wanted, transport=transport)
    assert puts(proxy) == []


# Formats


@pytest.mark.parametrize("status", [400, 405, 415])
def test_a_refused_manifest_after_accepted_blobs_is_about_the_manifest(server, proxy, status):
    server.formats, server.refusal = (DOCKER_MANIFEST,), status
    assert told(lambda: push(proxy.name)) == (
        f"{proxy.name}/team/app:1 cannot be pushed: the registry refuses the manifest\n\n"
        f"PUT http://{proxy.name}/v2/team/app/manifests/1 answered {status}: MANIFEST_INVALID.\n"
        f"It has all the blobs; the manifest's media type is {MANIFEST}.\n\n"
        "hint: if the registry accepts only Docker's format, add `--format docker` to the command."
    )


@pytest.mark.parametrize("command", [*COMMANDS, "push"])
def test_the_hint_works_in_the_command_that_failed(server, proxy, app, deploy, command):
    name = f"{proxy.name}/team/{command}:1"
    server.formats = (DOCKER_MANIFEST,)
    if command == "push":
        assert deploy("build", app[0]).code == 0
    arguments = (command, app[0], "-t", name, *COMMANDS.get(command, ("--no-sbom",)))
    failed = deploy(*arguments)
    assert failed.code == 30
    assert "add `--format docker` to the command" in failed.err
    done = deploy(*arguments, "--format", "docker")
    assert done.code == 0, done.err
    kind, raw = server.manifests["1"]
    assert kind == DOCKER_MANIFEST
    assert str(sha256(raw)) == done.out.strip()
    types = {layer["mediaType"] for layer in json.loads(raw)["layers"]}
    assert types == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}
    # The next build takes its layers from there all the same.
    if command == "build":
        again = deploy(*arguments, "--format", "docker", "--json")
        assert {layer["source"] for layer in again.report["layers"]} <= {"store", "registry"}
        assert puts(proxy) == [f"/v2/team/{command}/manifests/1"] * 2


def test_formats_have_the_same_blobs_and_come_back_as_they_were():
    docker = convert(IMAGE, "docker")
    assert (docker.config, docker.layers, docker.media_type) == (IMAGE.config, IMAGE.layers, DOCKER_MANIFEST)
    assert docker.digest != IMAGE.digest
    assert convert(docker, "oci") == IMAGE
    index = assemble_index([IMAGE])
    assert (index.media_type, convert_index(index, "docker").media_type) == (INDEX, DOCKER_INDEX)
    assert json.loads(convert_index(index, "docker").manifest)["manifests"][0]["mediaType"] == DOCKER_MANIFEST
    assert convert_index(convert_index(index, "docker"), "oci") == index


def test_a_docker_image_is_read_again(server):
    push(server.name, convert(IMAGE, "docker"))
    with connected(parse_reference(f"{server.name}/team/app:1"), {}) as client:
        assert client.fetch_image(Platform()).image == convert(IMAGE, "docker")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("registry.heroku.com/app/web",), "docker"),
        (("ghcr.io/me/app", "registry.heroku.com/app/web"), "docker"),
        (("ghcr.io/me/app", "me/heroku"), "oci"),
    ],
)
def test_registries_that_are_known_to_want_docker_s_format_get_it(names, expected):
    assert format_for(map(parse_reference, names)) == expected


# Redirects


@pytest.mark.parametrize("status", [307, 308])
def test_every_method_is_sent_on_and_the_login_stays(server, status, tmp_path):
    with spec_registry() as old:
        old.moved_to, old.moving = f"http://{server.name}", status
        env = config(tmp_path, old.name, LOGIN.removeprefix("Basic "))
        with Proxy(old.name) as front:
            challenge = proxies.answer(401, WWW_Authenticate='Basic realm="here"')
            front.fault("HEAD", "", challenge)
            env = config(tmp_path, front.name, LOGIN.removeprefix("Basic "))
            push(front.name, env=env)
        assert LOGIN in old.logins
    assert tag(server) == IMAGE.manifest
    assert set(server.logins) == {""}


def test_the_login_goes_along_to_the_same_origin(server, proxy, tmp_path):
    server.login = LOGIN
    place = f"http://{proxy.name}/v2/team/app/blobs/uploads/?moved"
    proxy.fault("POST", "/uploads/$", proxies.answer(307, Location=place), times=-1)
    push(proxy.name, env=config(tmp_path, proxy.name, LOGIN.removeprefix("Basic ")))
    assert tag(server) == IMAGE.manifest


# Bills of materials


def attach(host: str) -> str:
    wanted = [parse_reference(f"{host}/team/app:1")]
    with Transport({}, sleep=lambda _seconds: None) as transport:
        return attached_text(IMAGE, wanted, transport=transport)


def listed_by_tag(server: SpecRegistry) -> list[str]:
    found = server.manifests.get(f"sha256-{IMAGE.digest.hex}")
    return [each["digest"] for each in json.loads(found[1])["manifests"]] if found else []


@pytest.mark.parametrize("status", [400, 401, 403, 405, 500, 503])
def test_a_list_of_referrers_that_fails_is_replaced_by_the_tag(server, proxy, status):
    push(server.name)
    proxy.fault("GET", "/referrers/", proxies.answer(status), times=-1)
    text = attach(proxy.name)
    assert text.startswith("bill of materials attached, listed by a tag (GET ")
    assert f" answered {status}" in text
    assert listed_by_tag(server) == [str(make_referrer(IMAGE).digest)]
    assert attach(proxy.name).startswith("bill of materials there already, listed by a tag (")


def test_a_registry_that_says_that_it_lists_and_does_not(server, proxy):
    push(server.name)
    server.forgets = True
    assert attach(proxy.name) == "bill of materials attached"
    assert listed_by_tag(server) == [str(make_referrer(IMAGE).digest)]


def test_attached_is_not_said_if_no_look_finds_it(server, proxy):
    push(server.name)
    server.forgets = True
    proxy.fault("PUT", "/manifests/sha256-", proxies.answer(201), times=-1)
    text = attach(proxy.name)
    assert text.startswith(
        f"no bill of materials: {proxy.name}/team/app:1: the registry does not list what was attached"
    )


def test_a_tag_that_lists_others_is_not_replaced_if_it_cannot_be_read(server, proxy):
    push(server.name)
    server.referrers = False
    before = server.manifests[f"sha256-{IMAGE.digest.hex}"] = (INDEX, b'{"schemaVersion": 2, "manifests": []}')
    proxy.fault("GET", "/manifests/sha256-", proxies.answer(500), times=-1)
    assert attach(proxy.name).startswith("no bill of materials: ")
    assert server.manifests[f"sha256-{IMAGE.digest.hex}"] == before


def test_a_list_that_is_not_there_and_answers_403(server, proxy):
    push(server.name)
    server.referrers, server.secretive = False, True
    assert attach(proxy.name) == "bill of materials attached"
    assert listed_by_tag(server) == [str(make_referrer(IMAGE).digest)]
