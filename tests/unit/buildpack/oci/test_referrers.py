"""Lists of referrers, kept by the registry or by a tag."""

from __future__ import annotations

import pytest

from buildpack.oci.digest import Digest, sha256
from buildpack.oci.image import MANIFEST, canonical_json
from buildpack.oci.reference import parse_reference
from buildpack.oci.referrers import fetch_referrers, push_referrer
from buildpack.oci.transport import Transport
from tests.support import proxy as proxies


def referrer(subject: Digest, note: str) -> tuple[bytes, dict[Digest, bytes]]:
    content = note.encode()
    described = {"mediaType": "text/plain", "digest": str(sha256(content)), "size": len(content)}
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": f"application/{note}",
        "config": described,
        "layers": [described],
        "subject": {"mediaType": MANIFEST, "digest": str(subject), "size": 1},
    }
    return canonical_json(body), {sha256(content): content}


@pytest.mark.parametrize("keeps", [True, False], ids=["by itself", "by tag"])
def test_referrers_are_pushed_and_listed(server, proxy, client, keeps):
    server.referrers = keeps
    subject = sha256(b"subject")
    made = {}
    with Transport({}) as transport:
        for note in ("one", "two"):
            raw, blobs = referrer(subject, note)
            made[note] = push_referrer(raw, blobs, parse_reference(f"{proxy.name}/team/app:1"), transport=transport)
    listed = fetch_referrers(client, subject).listed
    assert {each["artifactType"]: each["digest"] for each in listed} == {
        f"application/{note}": str(digest) for note, digest in made.items()
    }
    one = fetch_referrers(client, subject, "application/one").listed
    assert [each["digest"] for each in one] == [str(made["one"])]
    assert fetch_referrers(client, sha256(b"nothing")).listed == ()
    tagged = f"sha256-{subject.hex}" in server.manifests
    assert tagged is not keeps


def test_referrers_on_several_pages_are_listed(server, proxy, client):
    server.page = 2
    subject = sha256(b"subject")
    with Transport({}) as transport:
        for note in "abcde":
            raw, blobs = referrer(subject, note)
            push_referrer(raw, blobs, parse_reference(f"{proxy.name}/team/app:1"), transport=transport)
    assert [each["artifactType"] for each in fetch_referrers(client, subject).listed] == [
        f"application/{n}" for n in "abcde"
    ]


def test_a_web_page_is_not_a_list_of_referrers(proxy, client):
    proxy.fault("GET", "/referrers/", proxies.answer(200, b"<html>", Content_Type="text/html"))
    assert fetch_referrers(client, sha256(b"subject")).listed == ()


def test_a_referrer_that_another_writer_replaced_is_added_again(server, proxy, client):
    """Tags have no locks, so an overwritten entry is added again."""
    server.referrers = False
    subject = sha256(b"subject")
    reference = parse_reference(f"{proxy.name}/team/app:1")
    (one, one_blobs), (two, two_blobs) = referrer(subject, "one"), referrer(subject, "two")
    with Transport({}) as transport:
        push_referrer(one, one_blobs, reference, transport=transport)
        before = server.manifests[f"sha256-{subject.hex}"]
        tag = f"/manifests/sha256-{subject.hex}"

        def overwrite() -> None:
            server.manifests[f"sha256-{subject.hex}"] = before

        proxy.fault("PUT", tag, proxies.afterwards(overwrite))
        push_referrer(two, two_blobs, reference, transport=transport)
    assert [each["artifactType"] for each in fetch_referrers(client, subject).listed] == [
        "application/one",
        "application/two",
    ]
