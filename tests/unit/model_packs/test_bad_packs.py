"""A corpus of packs that must not load: damaged, swapped, lying or hostile. Each refusal names pack and mend."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_packs.digests import digest_of
from model_packs.errors import PackError
from model_packs.layout import SIGNATURES
from model_packs.manifest import PackRef
from model_packs.signing import generate_site_key
from model_packs.store import PackStore
from model_packs.strict_json import canonical
from tests.simulators.packs import build_tiny

REF = PackRef("tiny-edge", "1.0.0")
Document = dict[str, Any]


class Layout:
    """An attacker with write access to a layout: every digest that is not signed can be made to fit again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"

    def index(self) -> Document:
        """The index."""
        document: Document = json.loads((self.root / "index.json").read_bytes())
        return document

    def image(self) -> Document:
        """The image manifest."""
        document: Document = json.loads(self.blob(self.index()["manifests"][0]["digest"]).read_bytes())
        return document

    def blob(self, digest: str) -> Path:
        """A blob's file."""
        return self.blobs / digest.partition(":")[2]

    def layer(self, image: Document, path: str) -> Document:
        """The layer of a file."""
        found: Document = next(
            item for item in image["layers"] if item["annotations"]["org.cncf.model.filepath"] == path
        )
        return found

    def put(self, data: bytes) -> Document:
        """Store bytes; the digest and size of a descriptor."""
        digest = digest_of(data)
        self.blob(digest).write_bytes(data)
        return {"digest": digest, "size": len(data)}

    def replace_image(self, image: Document) -> None:
        """Make the index name another image manifest."""
        index = self.index()
        index["manifests"][0].update(self.put(canonical(image)))
        (self.root / "index.json").write_bytes(canonical(index))

    def replace_pack_json(self, data: bytes) -> None:
        """Make the image manifest name another pack.json."""
        image = self.image()
        self.layer(image, "pack.json").update(self.put(data))
        self.replace_image(image)

    def pack_json(self) -> Document:
        """The pack.json."""
        document: Document = json.loads(self.blob(self.layer(self.image(), "pack.json")["digest"]).read_bytes())
        return document


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A good layout, to be hurt."""
    build_tiny(tmp_path)
    return Layout(tmp_path / "layout")


def refusal(layout: Layout) -> PackError:
    """Load the pack, which must fail."""
    with pytest.raises(PackError) as caught:
        PackStore(layout.root).load(REF, None)
    assert caught.value.mend
    return caught.value


def edit_image(change: Callable[[Layout, Document], object]) -> Callable[[Layout], None]:
    """A hurt that rewrites the image manifest and makes the index fit."""

    def hurt(layout: Layout) -> None:
        image = layout.image()
        change(layout, image)
        layout.replace_image(image)

    return hurt


def edit_pack_json(change: Callable[[Document], object]) -> Callable[[Layout], None]:
    """A hurt that rewrites pack.json and makes every digest above it fit."""

    def hurt(layout: Layout) -> None:
        document = layout.pack_json()
        change(document)
        layout.replace_pack_json(canonical(document))

    return hurt


def flip_last_bit(layout: Layout) -> None:
    """Damage the weights on disk, length unchanged."""
    path = layout.blob(layout.layer(layout.image(), "model.onnx")["digest"])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_short(layout: Layout) -> None:
    """Lose the end of the golden inputs."""
    path = layout.blob(layout.layer(layout.image(), "golden/window.npy")["digest"])
    path.write_bytes(path.read_bytes()[:-1])


def link_outside(layout: Layout) -> None:
    """Put a symbolic link to another file in the place of the weights."""
    path = layout.blob(layout.layer(layout.image(), "model.onnx")["digest"])
    copy = layout.root / "outside"
    copy.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(copy)


def swap_weights(layout: Layout) -> None:
    """Name other weights in the layer; pack.json still names the old ones."""
    image = layout.image()
    layout.layer(image, "model.onnx").update(layout.put(b"other weights"))
    layout.replace_image(image)


HURTS: dict[str, tuple[Callable[[Layout], object], str]] = {
    "a flipped bit": (flip_last_bit, r"^tiny-edge@1\.0\.0: model\.onnx: .* holds other bytes"),
    "a missing end": (cut_short, r"golden/window\.npy: .* bytes instead of"),
    "a missing file": (
        lambda it: it.blob(it.layer(it.image(), "CARD.md")["digest"]).unlink(),
        r"CARD\.md: the blob is missing",
    ),
    "a symbolic link": (link_outside, r"model\.onnx: .* is no regular file"),
    "swapped weights": (swap_weights, r"model\.onnx: pack\.json names another digest"),
    "a damaged image manifest": (
        lambda it: it.blob(it.index()["manifests"][0]["digest"]).write_bytes(b"{}"),
        "image manifest: .* holds other bytes",
    ),
    "an image manifest that is none": (lambda it: it.replace_image({}), "image manifest: .*schemaVersion: missing"),
    "no pack.json": (edit_image(lambda _, image: image["layers"].pop(0)), "0 layers of type"),
    "two pack.json": (edit_image(lambda _, image: image["layers"].append(image["layers"][0])), "2 layers of type"),
    "an unsigned extra file": (
        edit_image(
            lambda it, image: image["layers"].append(
                {**image["layers"][1], **it.put(b"x"), "annotations": {"org.cncf.model.filepath": "evil.so"}}
            )
        ),
        r"are not the files that pack\.json names",
    ),
    "a file twice": (
        edit_image(lambda _, image: image["layers"].append(image["layers"][1])),
        r"are not the files that pack\.json names",
    ),
    "a layer without a path": (
        edit_image(lambda _, image: image["layers"][1].pop("annotations")),
        r"are not the files that pack\.json names",
    ),
    "an absurd size": (
        edit_image(lambda _, image: image["layers"][1].update(size=1 << 60)),
        r"layers\[1\]\.size: must be an integer",
    ),
    "a digest that is a path": (
        edit_image(lambda _, image: image["layers"][1].update(digest="sha256:../../../../etc/passwd")),
        r"layers\[1\]\.digest: must be of the form",
    ),
    "signatures that are none": (
        edit_image(lambda _, image: image.update(annotations={SIGNATURES: "[[[["})),
        "annotations.org.tandem.signatures",
    ),
    "another schema": (
        edit_pack_json(lambda d: d.update(schema="tandem.pack/2")),
        "a newer pack needs a newer program",
    ),
    "an unknown key": (edit_pack_json(lambda d: d.update(colour="red")), "colour: unknown key"),
    "another name inside": (edit_pack_json(lambda d: d.update(name="other")), r"pack\.json names other@1\.0\.0"),
    "a path that leaves the pack": (edit_pack_json(lambda d: d["files"][0].update(path="../x")), "leaves the pack"),
    "an absolute path": (edit_pack_json(lambda d: d["files"][0].update(path="/etc/x")), "is absolute"),
    "a pack.json that is no JSON": (lambda it: it.replace_pack_json(b"PK\x03\x04"), r"pack\.json: not readable"),
    "a pack.json too deep": (lambda it: it.replace_pack_json(b"[" * 200_000), "nested too deeply"),
    "a pack.json too large": (lambda it: it.replace_pack_json(b" " * (2 << 20)), "larger than 1048576 bytes"),
    "an index that is none": (lambda it: (it.root / "index.json").write_bytes(b"[]"), r"index\.json"),
    "an index with a strange name": (
        lambda it: (it.root / "index.json").write_bytes(
            (it.root / "index.json").read_bytes().replace(b"tiny-edge@1.0.0", b"../../x")
        ),
        r"index\.json: .*not a pack reference",
    ),
}


@pytest.mark.parametrize("name", HURTS)
def test_a_bad_pack_is_refused_with_its_reason(layout: Layout, name: str) -> None:
    """Nothing of it is loaded, and the message says which file and why."""
    hurt, message = HURTS[name]
    PackStore(layout.root).load(REF, None)
    hurt(layout)
    refused = refusal(layout)
    with pytest.raises(PackError, match=message):
        raise refused


def test_consistently_forged_content_loses_its_signature(layout: Layout, tmp_path: Path) -> None:
    """An attacker who makes every digest fit again is stopped by the signature over pack.json."""
    key = generate_site_key(tmp_path / "site.key")
    store = PackStore(layout.root)
    store.sign(REF, key)
    edit_pack_json(lambda document: document.update(temperature=0.5))(layout)
    assert store.load(REF, None).manifest.temperature == 0.5
    with pytest.raises(PackError, match="does not hold"):
        store.load(REF, (key.public,))


def test_a_file_changed_after_loading_is_noticed_when_read(layout: Layout) -> None:
    """The check at load time does not vouch for later reads."""
    pack = PackStore(layout.root).load(REF, None)
    pack.path("CARD.md").write_bytes(b"another card")
    with pytest.raises(PackError, match=r"CARD\.md: .* holds other bytes"):
        pack.read("CARD.md")
