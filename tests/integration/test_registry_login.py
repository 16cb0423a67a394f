"""Logins: from where docker, podman and pipelines keep them, to registries that ask for passwords or tokens."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from buildpack.errors import StackError
from buildpack.oci.image import Platform
from buildpack.oci.push import Pushed, push_image
from buildpack.oci.reference import parse_reference
from buildpack.oci.registry import Registry
from buildpack.oci.transport import Transport
from tests.support import proxy as proxies
from tests.support.images import Blobs, image_of
from tests.support.logins import (
    PASSWORD,
    USER,
    TokenServer,
    coded_login,
    docker_config,
    registry_with_passwords,
    registry_with_tokens,
)
from tests.support.proxy import Proxy
from tests.support.registry_client import connected

pytestmark = pytest.mark.registry

PIPELINE = {"DEPLOY_REGISTRY_USER": USER, "DEPLOY_REGISTRY_PASSWORD": PASSWORD}
BLOBS = Blobs()
LAYER = BLOBS.layer({"file": b"content" * 1000})
IMAGE = image_of(LAYER, label="login")


@pytest.fixture(scope="module")
def passwords(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_with_passwords(tmp_path_factory.mktemp("passwords")) as name:
        yield name


@pytest.fixture(scope="module")
def token_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, TokenServer]]:
    with registry_with_tokens(tmp_path_factory.mktemp("tokens")) as (name, server), Proxy(name) as proxy:
        yield proxy, server


@pytest.fixture
def tokens(token_registry: tuple[Proxy, TokenServer]) -> tuple[Proxy, TokenServer]:
    for each in token_registry:
        each.clear()
    return token_registry


def push(reference: str, environ: Mapping[str, str], *, home: bool = True, **options: object) -> Pushed:
    wanted = parse_reference(reference)
    with Transport(environ, homes=[wanted] if home else [], sleep=lambda _seconds: None) as transport:
        return push_image(IMAGE, [wanted], BLOBS.open, transport=transport, **options)  # type: ignore[arg-type]


def pull(reference: str, environ: Mapping[str, str]) -> bool:
    with connected(parse_reference(reference), environ) as client:
        return client.fetch_image(Platform()).image == IMAGE


def told(call: Callable[[], object]) -> str:
    """Return the message, and check that the error holds the password in no form.

    Blobs go side by side, and the message names the first that is refused: its digest is left out.
    """
    with pytest.raises(StackError) as caught:
        call()
    assert caught.value.exit_code == 30
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    frame = caught.value.__traceback__
    while frame is not None:
        shown += repr(frame.tb_frame.f_locals) if "/buildpack/" in frame.tb_frame.f_code.co_filename else ""
        frame = frame.tb_next
    assert PASSWORD not in str(caught.value)
    assert coded_login() not in shown.replace(repr(PIPELINE), "")
    return re.sub(r"/blobs/sha256:[0-9a-f]{64} ", "/blobs/... ", str(caught.value))


def helper(folder: Path, name: str, answer: Mapping[str, str] | str, code: int = 0) -> dict[str, str]:
    """Write a credential helper; the environment that finds it."""
    text = answer if isinstance(answer, str) else json.dumps(answer)
    program = folder / f"docker-credential-{name}"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"open({str(folder / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + ' ' + sys.stdin.read() + '\\n')\n"
        f"print({text!r})\nsys.exit({code})\n"
    )
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.defpath}"}


# The source of a login


def test_pipelines(passwords):
    reference = f"{passwords}/team/pipeline:1"
    assert push(reference, PIPELINE).digest == IMAGE.digest
    assert pull(reference, {**PIPELINE, "DEPLOY_REGISTRY": passwords})


@pytest.mark.parametrize("key", ["{}", "https://{}", "http://{}/v1/", "https://{}/v2/"])
def test_config_json(passwords, tmp_path, key):
    environ = docker_config(tmp_path, auths={key.format(passwords): {"auth": coded_login()}, "other:5000": {}})
    assert push(f"{passwords}/team/config:1", environ, home=False)


def test_config_json_at_home_with_user_and_password(passwords, tmp_path):
    docker_config(tmp_path / ".docker", auths={passwords: {"username": USER, "password": PASSWORD}})
    assert push(f"{passwords}/team/home:1", {"HOME": str(tmp_path)})


@pytest.mark.parametrize("variable", ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"])
def test_podman(passwords, tmp_path, variable):
    docker_config(tmp_path / "containers", auths={passwords: {"auth": coded_login()}})
    (tmp_path / "containers/config.json").rename(tmp_path / "containers/auth.json")
    place = {"REGISTRY_AUTH_FILE": tmp_path / "containers/auth.json", "XDG_RUNTIME_DIR": tmp_path}[variable]
    empty = docker_config(tmp_path / "docker", auths={passwords: {}})
    assert push(f"{passwords}/team/podman:1", {**empty, variable: str(place)})


def test_podman_s_logins_for_a_namespace(passwords, tmp_path):
    """`podman login HOST/team/space` writes such a key: each goes to its own repositories, in one command, too."""
    names = {f"{passwords}/team/space": PASSWORD, passwords: "battery staple"}
    auths = {name: {"auth": coded_login(password=password)} for name, password in names.items()}
    docker_config(tmp_path, auths=auths)
    environ = {"REGISTRY_AUTH_FILE": str(tmp_path / "config.json")}
    references = [parse_reference(f"{passwords}/team/{each}:1") for each in ("space", "space/ship", "spaceship")]
    with Transport(environ, homes=references) as transport:
        assert push_image(IMAGE, references[:2], BLOBS.open, transport=transport)
        text = told(lambda: push_image(IMAGE, references, BLOBS.open, transport=transport))
    assert text == (
        f"the registry {passwords} refuses the login\n\n"
        f"POST http://{passwords}/v2/team/spaceship/blobs/uploads/ answered 401: "
        "UNAUTHORIZED: authentication required.\n"
        f"The login came from {tmp_path}/config.json.\n\n"
        f"hint: log in with `docker login {passwords}` again, or set DEPLOY_REGISTRY_USER and "
        "DEPLOY_REGISTRY_PASSWORD; tokens expire, and many registries take only a token as the password."
    )


def test_tokens_for_two_namespaces(tokens, tmp_path):
    """Each is asked for with its own login."""
    proxy, server = tokens
    docker_config(tmp_path, auths={f"{proxy.name}/team/mine": {"auth": coded_login()}})
    environ = {"REGISTRY_AUTH_FILE": str(tmp_path / "config.json")}
    mine, other = (parse_reference(f"{proxy.name}/team/{each}:1") for each in ("mine", "other"))
    push(str(other), PIPELINE)
    server.clear()
    with Transport(environ) as transport:
        push_image(IMAGE, [mine], BLOBS.open, transport=transport)
        client = Registry(other, transport)
        assert client.fetch_image(Platform()).image == IMAGE
    assert server.seen == [
        ("GET", USER, "", ("repository:team/mine:pull,push",)),
        ("GET", "", "", ("repository:team/other:pull",)),
    ]


@pytest.mark.parametrize("where", ["credHelpers", "credsStore"])
def test_helper(passwords, tmp_path, where):
    found = helper(tmp_path, "test", {"ServerURL": passwords, "Username": USER, "Secret": PASSWORD})
    value = {passwords: "test"} if where == "credHelpers" else "test"
    environ = docker_config(tmp_path, auths={passwords: {}}, **{where: value})
    assert push(f"{passwords}/team/helper:1", {**environ, **found})
    assert (tmp_path / "asked").read_text() == f"get {passwords}\n"


def test_order(passwords, tmp_path):
    """The pipeline's, then this registry's helper, the one for all, the file."""
    helper(tmp_path, "none", "credentials not found in native keychain", code=1)
    found = helper(tmp_path, "good", {"Username": USER, "Secret": PASSWORD})
    config = {"auths": {passwords: {"auth": coded_login(password="wrong")}}, "credsStore": "good"}
    environ = docker_config(tmp_path, **config, credHelpers={passwords: "none"})
    assert push(f"{passwords}/team/order:1", {**environ, **found})
    asked = (tmp_path / "asked").read_text()
    assert asked == f"get {passwords}\n" * 2
    assert push(f"{passwords}/team/order:1", {**environ, **found, **PIPELINE})
    assert (tmp_path / "asked").read_text() == asked


# Logins that are none


SET = "set DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD"


def denied(reference: str, notes: str = "", missing: str = SET) -> str:
    host, _, repository = reference.rpartition(":")[0].partition("/")
    return (
        f"{reference} cannot be pushed anonymously\n\n"
        f"POST http://{host}/v2/{repository}/blobs/uploads/ answered 401: UNAUTHORIZED: authentication required.\n"
        f"A push needs a login, and there is none for this registry.\n{notes}\n"
        f"hint: check the name; log in with `docker login {host}`, or {missing}."
    )


def test_wrong_password(passwords, tmp_path):
    reference = f"{passwords}/team/wrong:1"
    text = told(lambda: push(reference, {**PIPELINE, "DEPLOY_REGISTRY_PASSWORD": "battery staple"}))
    assert text == (
        f"the registry {passwords} refuses the login\n\n"
        f"POST http://{passwords}/v2/team/wrong/blobs/uploads/ answered 401: UNAUTHORIZED: authentication required.\n"
        "The login came from DEPLOY_REGISTRY_USER.\n\n"
        "hint: correct DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD, or unset them and log in with `docker login "
        f"{passwords}`; tokens expire, and many registries take only a token as the password."
    )
    environ = docker_config(tmp_path, auths={passwords: {"auth": coded_login(password="battery staple")}})
    assert f"The login came from {tmp_path}/config.json." in told(lambda: push(reference, environ))


def test_a_pipeline_s_login_goes_to_its_own_registry_only(passwords):
    """The base image's registry must not see it."""
    reference = f"{passwords}/team/foreign:1"
    note = "DEPLOY_REGISTRY_USER is for the registries of `-t` and `--cache-from`, not for this one.\n"
    text = denied(reference, note, f"set DEPLOY_REGISTRY={passwords} if DEPLOY_REGISTRY_USER is a user there")
    assert told(lambda: push(reference, PIPELINE, home=False)) == text
    assert told(lambda: push(reference, {**PIPELINE, "DEPLOY_REGISTRY": "ghcr.io"})) == text


def test_half_a_login(passwords):
    reference = f"{passwords}/team/half:1"
    note = "DEPLOY_REGISTRY_USER is set, DEPLOY_REGISTRY_PASSWORD is not.\n"
    assert told(lambda: push(reference, {"DEPLOY_REGISTRY_USER": USER})) == denied(
        reference, note, "set DEPLOY_REGISTRY_PASSWORD"
    )


def test_what_is_in_the_way_of_a_login(passwords, tmp_path):
    """It is reported if a login is needed, and never otherwise."""
    reference = f"{passwords}/team/broken:1"

    def notes(config: str, **environ: str) -> str:
        (tmp_path / "config.json").write_text(config)
        text = told(lambda: push(reference, {"DOCKER_CONFIG": str(tmp_path), **environ}))
        note = text.partition("for this registry.\n")[2].partition("\nhint:")[0].strip()
        assert text == denied(reference, note + "\n" if note else "")
        return note

    assert notes("{") == f"{tmp_path}/config.json is not JSON."
    assert notes("[]") == f"{tmp_path}/config.json is not a JSON object."
    assert notes("{}") == ""
    assert notes('{"auths": 1, "credHelpers": 1, "credsStore": 1}') == ""
    assert notes(json.dumps({"auths": {passwords: {"auth": "?"}}})) == (
        f"{tmp_path}/config.json: the auth of an entry is not USER:PASSWORD in base64."
    )
    store = '{"credsStore": "x"}'
    assert notes(store) == "The credential helper 'docker-credential-x' is not installed."
    assert notes('{"credsStore": "../x"}') == "The credential helper 'docker-credential-../x' is not installed."
    found = helper(tmp_path, "x", "a secret", code=3)
    assert notes(store, **found) == "docker-credential-x failed with exit code 3."
    found = helper(tmp_path, "x", "a secret")
    assert notes(store, **found) == "docker-credential-x did not answer with JSON."
    (tmp_path / "docker-credential-x").write_text("#!/none\n")
    assert notes(store, **found) == "docker-credential-x cannot be run: No such file or directory."


# Tokens


def test_one_token_for_reading_and_pushing(tokens):
    proxy, server = tokens
    reference = parse_reference(f"{proxy.name}/team/one:1")
    with Transport(PIPELINE, homes=[reference]) as transport:
        client = Registry(reference, transport, writes=True)
        assert client.find_digest("1") is None
        push_image(IMAGE, [reference], BLOBS.open, transport=transport)
        assert transport.traffic.requests == proxy.requests + len(server.seen)
    assert server.seen == [("GET", USER, "", ("repository:team/one:pull,push",))]
    assert sum(each.status == 401 for each in proxy.log) == 1


def test_anonymous_pull(tokens):
    proxy, server = tokens
    reference = f"{proxy.name}/team/public:1"
    push(reference, PIPELINE)
    server.clear()
    assert pull(reference, {})
    assert server.seen == [("GET", "", "", ("repository:team/public:pull",))]


def test_anonymous_push(tokens):
    proxy, _ = tokens
    reference = f"{proxy.name}/team/nobody:1"
    text = told(lambda: push(reference, {}, absent=frozenset({LAYER.digest, IMAGE.config_digest})))
    assert text == (
        f"{reference} cannot be pushed anonymously\n\n"
        f"POST http://{proxy.name}/v2/team/nobody/blobs/uploads/ answered 401: UNAUTHORIZED: authentication required.\n"
        "A push needs a login, and there is none for this registry.\n\n"
        f"hint: check the name; log in with `docker login {proxy.name}`, or set DEPLOY_REGISTRY_USER and "
        "DEPLOY_REGISTRY_PASSWORD."
    )


def test_wrong_password_at_the_token_server(tokens):
    """The server repeats what it was sent; the message does not."""
    proxy, server = tokens
    reference = f"{proxy.name}/team/wrong:1"
    text = told(lambda: push(reference, {**PIPELINE, "DEPLOY_REGISTRY_PASSWORD": "battery staple"}))
    assert text == (
        f"the registry {proxy.name} refuses the login\n\n"
        f"GET {server.url.partition('?')[0]} answered 401: UNAUTHORIZED: bad login Basic [redacted].\n"
        "The login came from DEPLOY_REGISTRY_USER.\n\n"
        "hint: correct DEPLOY_REGISTRY_USER and DEPLOY_REGISTRY_PASSWORD, or unset them and log in with `docker login "
        f"{proxy.name}`; tokens expire, and many registries take only a token as the password."
    )


@pytest.mark.parametrize("form", ["config", "helper"])
def test_identity_token(tokens, tmp_path, form):
    proxy, server = tokens
    if form == "config":
        environ = docker_config(tmp_path, auths={proxy.name: {"identitytoken": server.identity}})
    else:
        found = helper(tmp_path, "id", {"Username": "<token>", "Secret": server.identity})
        environ = {**docker_config(tmp_path, credsStore="id"), **found}
    assert push(f"{proxy.name}/team/identity:1", environ)
    assert server.seen == [("POST", "", "refresh_token", ("repository:team/identity:pull,push",))]


def test_registry_token(tokens, tmp_path):
    proxy, server = tokens
    token = server.make(("repository:team/given:pull,push",), frozenset({"pull", "push"}))
    environ = docker_config(tmp_path, auths={proxy.name: {"registrytoken": token}})
    assert push(f"{proxy.name}/team/given:1", environ)
    assert server.seen == []


def test_mount_asks_for_both_repositories(tokens):
    proxy, server = tokens
    push(f"{proxy.name}/team/source:1", PIPELINE)
    server.clear()
    places = {LAYER.digest: parse_reference(f"{proxy.name}/team/source:1")}
    assert push(f"{proxy.name}/team/target:1", PIPELINE, mounts=places).mounted == (LAYER.digest,)
    scopes = {scopes for _, _, _, scopes in server.seen}
    assert ("repository:team/target:pull,push", "repository:team/source:pull") in scopes


PHASES = {
    "question": ("HEAD", "/blobs/"),
    "start": ("POST", "/blobs/uploads/"),
    "upload": ("PUT", "/blobs/uploads/"),
    "manifest": ("PUT", "/manifests/"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_token_that_expires_in_the_middle(tokens, phase):
    """The registry itself refuses it, as it would an hour after it was given out."""
    proxy, server = tokens
    reference = f"{proxy.name}/team/{phase}:1"
    old = server.make((f"repository:team/{phase}:pull,push",), frozenset({"pull", "push"}), age=3600)
    method, path = PHASES[phase]
    wanted = parse_reference(reference)
    with Transport(PIPELINE, homes=[wanted]) as transport:
        client = Registry(wanted, transport, writes=True)
        assert client.find_digest("1") is None
        expired = proxy.fault(method, path, proxies.with_login(f"Bearer {old}"))
        push_image(IMAGE, [wanted], BLOBS.open, transport=transport)
    assert expired.met == 1
    assert [each.status for each in proxy.log].count(401) == 2
    assert len(server.seen) == 2
    assert pull(reference, {})


def test_a_token_is_renewed_before_it_ends(tokens):
    """No request is refused for it, no upload sent twice."""
    proxy, server = tokens
    reference = parse_reference(f"{proxy.name}/team/renewed:1")
    now = [0.0]
    with Transport(PIPELINE, homes=[reference], clock=lambda: now[0]) as transport:
        push_image(IMAGE, [reference], BLOBS.open, transport=transport)
        proxy.clear()
        server.clear()
        now[0] += 299
        push_image(IMAGE, [reference], BLOBS.open, transport=transport)
    assert [each.status for each in proxy.log if each.status >= 400] == []
    assert len(server.seen) == 1


def test_secrets_print_nothing(tmp_path):
    from buildpack.oci.registry_auth import find_logins

    found = find_logins("ghcr.io", PIPELINE, home=True)
    login = found.of("a/b")
    assert login is not None
    assert login.password.reveal() == PASSWORD
    for text in (repr(found), str(found), f"{found!r:>1}", repr(login), repr(login.secrets)):
        assert PASSWORD not in text
        assert coded_login() not in text


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_s_names(tmp_path, key):
    from buildpack.oci.registry_auth import find_logins

    environ = docker_config(tmp_path, auths={key: {"auth": coded_login()}})
    for name in ("python:3.12-slim", "docker.io/team/app", "index.docker.io/team/app"):
        assert find_logins(parse_reference(name).registry, environ, home=False).found
    assert find_logins("ghcr.io", environ, home=False).found == ()
