"""Receiving blobs: resumed after an interruption, checked as a whole, never half there."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_packs.blobs import BlobFolder
from model_packs.digests import Digest, digest_of
from model_packs.errors import BlobError

DATA = bytes(range(256)) * 40
DIGEST = digest_of(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    """An empty folder of blobs."""
    folder = BlobFolder(tmp_path)
    folder.create()
    return folder


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(DATA)), max_size=6))
def test_an_interrupted_transfer_resumes_where_it_stopped(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    """However often it is cut, every byte is sent once and the blob arrives whole."""
    folder = BlobFolder(tmp_path_factory.mktemp("blobs"))
    folder.create()
    sent_bytes = 0
    for end in [*sorted(cuts), len(DATA)]:
        with folder.receive(DIGEST, len(DATA)) as receiver:
            chunk = DATA[receiver.offset : end]
            receiver.append(chunk)
            sent_bytes += len(chunk)
            if end == len(DATA):
                receiver.commit()
                break
    assert sent_bytes == len(DATA)
    assert folder.read(DIGEST, len(DATA)) == DATA


def test_a_damaged_part_is_noticed_and_begun_anew(blobs: BlobFolder, tmp_path: Path) -> None:
    """A part that a power cut filled with zeros fails at commit and is removed; the next try starts from nothing."""
    with blobs.receive(DIGEST, len(DATA)) as receiver:
        receiver.append(DATA[:100])
    (part,) = (tmp_path / "ingest").iterdir()
    part.write_bytes(bytes(100))
    with blobs.receive(DIGEST, len(DATA)) as receiver:
        assert receiver.offset == 100
        receiver.append(DATA[100:])
        with pytest.raises(BlobError, match="another digest"):
            receiver.commit()
    with pytest.raises(BlobError, match="missing"):
        blobs.path(DIGEST)
    with blobs.receive(DIGEST, len(DATA)) as receiver:
        assert receiver.offset == 0


def test_a_part_that_is_too_long_is_begun_anew(blobs: BlobFolder, tmp_path: Path) -> None:
    """A part longer than the blob cannot be its beginning."""
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / f"{DIGEST[7:]}.part").write_bytes(DATA + b"x")
    with blobs.receive(DIGEST, len(DATA)) as receiver:
        assert receiver.offset == 0
        receiver.append(DATA)
        receiver.commit()
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_more_bytes_than_announced_are_refused(blobs: BlobFolder) -> None:
    """An endless sender is stopped at the announced size."""
    with blobs.receive(DIGEST, 10) as receiver, pytest.raises(BlobError, match="more than the announced 10"):
        receiver.append(bytes(11))


def test_a_commit_before_the_end_is_refused(blobs: BlobFolder) -> None:
    """The part stays, so that the transfer can be resumed."""
    with blobs.receive(DIGEST, len(DATA)) as receiver:
        receiver.append(DATA[:10])
        with pytest.raises(BlobError, match=f"10 of {len(DATA)} bytes"):
            receiver.commit()
    with blobs.receive(DIGEST, len(DATA)) as receiver:
        assert receiver.offset == 10


def test_two_transfers_of_one_blob_exclude_each_other(blobs: BlobFolder) -> None:
    """The second is refused while the first is open."""
    with blobs.receive(DIGEST, len(DATA)), pytest.raises(BlobError, match="being received already"):
        blobs.receive(DIGEST, len(DATA))
    blobs.receive(DIGEST, len(DATA)).close()


def test_reading_checks_size_content_and_kind(blobs: BlobFolder, tmp_path: Path) -> None:
    """Missing, oversized, swapped, resized and linked blobs are each refused."""
    with pytest.raises(BlobError, match="is missing"):
        blobs.read(DIGEST, 10**6)
    blobs.write(DATA)
    with pytest.raises(BlobError, match="larger than 10"):
        blobs.read(DIGEST, 10)
    path = blobs.path(DIGEST)
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(BlobError, match="other bytes"):
        blobs.read(DIGEST, 10**6)
    with pytest.raises(BlobError, match="other bytes"):
        blobs.check(DIGEST, len(DATA))
    path.write_bytes(DATA[:-1])
    with pytest.raises(BlobError, match="instead of"):
        blobs.check(DIGEST, len(DATA))
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(DATA)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BlobError, match="no regular file"):
        blobs.check(DIGEST, len(DATA))


@pytest.mark.parametrize("text", ["sha256:..", "md5:" + "0" * 32, "sha256:" + "0" * 63 + "/", "../../etc/passwd"])
def test_a_name_that_is_no_digest_never_reaches_the_disk(blobs: BlobFolder, text: str) -> None:
    """File names are made of checked digests only."""
    with pytest.raises(ValueError, match="not a digest"):
        blobs.path(Digest(text))
