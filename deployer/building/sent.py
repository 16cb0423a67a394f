"""Say in words what was sent to a destination of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.text import plural, size_text

if TYPE_CHECKING:
    from buildpack.oci.image import Image
    from buildpack.oci.index import ImageIndex
    from buildpack.oci.push import Pushed
    from buildpack.oci.reference import Reference
    from buildpack.steps.built import Built


def sent_texts(built: Built) -> list[str]:
    """Return a text for each destination that the image was delivered to."""
    texts = []
    for each in built.delivered:
        if each.destination.kind == "docker":
            texts.append(loaded_text(each.layers, each.size, each.reason))
        elif each.pushed is not None:
            texts.append(pushed_text(each.pushed, built.image))
        elif each.destination.kind == "oci":
            texts.append(f"to the layout {each.destination.path}")
        else:
            texts.append(f"to the archive {each.destination.path}, {size_text(each.size)}")
    return texts


def loaded_text(layers: int, size: int, reason: str) -> str:
    """Return how much was sent to the engine, and why so much."""
    return f"to the engine: {plural(layers, 'layer')}, {size_text(size)} ({reason})"


def pushed_text(pushed: Pushed, image: Image | ImageIndex) -> str:
    """Return what was sent to registries, and what they had already."""
    sizes = {layer.digest: layer.size for layer in image.layers}
    sent = [digest for digest in pushed.sent if digest in sizes]
    size = sum(sizes[digest] for digest in sent)
    names = ", ".join(_without_digest(reference) for reference in pushed.references)
    parts = [f"{plural(len(sent), 'layer')}, {size_text(size)}" if sent else "no layer"]
    for word, digests in (("mounted", pushed.mounted), ("there already", pushed.present)):
        if count := sum(digest in sizes for digest in digests):
            parts.append(f"{count} {word}")
    return f"to {names}: {'; '.join(parts)}"


def _without_digest(reference: Reference) -> str:
    return f"{reference.name}:{reference.tag}" if reference.tag else str(reference)
