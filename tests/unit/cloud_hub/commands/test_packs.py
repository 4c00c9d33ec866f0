"""`cloud-hub packs`: what is published, listed and refused."""

import json
from pathlib import Path

import pytest

from model_packs.process.exits import CliError, Exit
from tests.unit.cloud_hub.commands.calls import documented, on


def test_packs_are_published_signed_and_listed(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Publishing twice changes nothing; the list names the pack, its digest and the site key."""
    for _ in range(2):
        assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    published = capsys.readouterr().out.splitlines()
    assert published[0] == published[1]
    assert on(hub, "packs", "list", "--json") == Exit.OK
    (pack,) = documented(capsys.readouterr().out, "packs")["packs"]
    assert published[0] == f"published {pack['ref']} {pack['digest']}"
    assert len(pack["signed_by"]) == 1
    assert on(hub, "packs", "list") == Exit.OK
    assert "tiny-hub@1.0.0" in capsys.readouterr().out


def test_an_empty_pack_store_says_what_to_do(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without packs, the list is a hint."""
    assert on(hub, "packs", "list") == Exit.OK
    assert "cloud-hub packs publish" in capsys.readouterr().out


def biggest_blob(store: Path) -> Path:
    """The weights, to be hurt."""
    blob = max((store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    return blob


def test_publishing_again_heals_the_hubs_own_copy(hub: Path, layout: Path) -> None:
    """A whole layout replaces what is damaged in the hub's store."""
    assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    blob = biggest_blob(hub / "packs")
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"!")
    assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    assert blob.read_bytes() == whole


def test_a_damaged_layout_is_refused_though_the_hub_has_its_pack(hub: Path, layout: Path) -> None:
    """The mend is a whole copy of that layout."""
    assert on(hub, "packs", "publish", str(layout)) == Exit.OK
    blob = biggest_blob(layout)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(CliError, match="holds other bytes") as caught:
        on(hub, "packs", "publish", str(layout))
    assert caught.value.exit is Exit.DATA
    assert f"a whole copy of the layout {layout}" in caught.value.mend


def test_a_damaged_layout_is_not_published(hub: Path, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte is bad data; nothing is listed afterwards."""
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(CliError) as caught:
        on(hub, "packs", "publish", str(layout))
    assert caught.value.exit is Exit.DATA
    assert caught.value.mend
    capsys.readouterr()
    on(hub, "packs", "list", "--json")
    assert json.loads(capsys.readouterr().out)["packs"] == []
