"""Earlier images: why no layer could be taken from any of them."""

from __future__ import annotations

from buildpack.oci.reference import parse_reference
from buildpack.steps.earlier_images import Earlier, Previous


def reasons(*given: str) -> str:
    images = [Earlier(reference=parse_reference(f"x/y:{at}"), reason=reason) for at, reason in enumerate(given)]
    return Previous(images=tuple(images)).reason


def test_a_reason_of_several_tags_is_given_once():
    assert reasons("first build", "first build", "first build") == "first build"
    assert reasons("first build", "there is no z", "first build") == "first build; there is no z"
