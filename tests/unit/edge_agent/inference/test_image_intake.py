"""A picture is asked about in the pass that brings it: one sample, one window, one answer, and nothing left behind."""

import io

import numpy as np
from PIL import Image

from edge_agent.adapters.pillow import pillow_decoder
from edge_agent.core.accounting import Count, equations
from edge_agent.core.image import ImagePayload, Picture
from edge_agent.inference.draft import Draft
from edge_agent.inference.image_intake import ImageIntake
from edge_agent.ports import BindingName, Delivery, JournalRow, Remembered, RowId
from model_packs.manifest import ImageSpec

BRANCH = BindingName("branch")
PAYLOAD = ImagePayload(ImageSpec(4, 6, "L"), 4096, ("form",))
CAPTURES = {"form": "7", "field": "iban"}


def crop(value: int = 9, received_ns: int = 5) -> Delivery:
    """A picture as it arrives."""
    buffer = io.BytesIO()
    Image.new("L", (6, 4), value).save(buffer, "PNG")
    return Delivery(BRANCH, "branch/7/iban/crop", buffer.getvalue(), False, received_ns, None)


def intake() -> ImageIntake:
    """One that has restored nothing."""
    return ImageIntake(BRANCH, ("field",), PAYLOAD, pillow_decoder("branch"))


def decoded(delivery: Delivery) -> Picture:
    """What becomes of it."""
    return intake().decode(delivery, CAPTURES, None)


def test_a_picture_is_asked_about_at_once_with_every_capture_of_its_topic() -> None:
    """Its pixels as they are, its time the arrival, its partition the binding's."""
    draft = Draft()
    (ready,) = intake().feed(crop(), CAPTURES, decoded(crop()), 0.0, draft)
    assert ready.captures == CAPTURES
    assert (ready.question.partition, ready.question.start_ns, ready.question.end_ns) == ("iban", 5, 5)
    assert ready.question.values.tolist() == np.full((4, 6), 9).tolist()
    counts = {(str(binding), name): amount for (binding, name), amount in draft.counts.items()}
    counts[BRANCH, Count.WINDOWS_INFERRED] = 1
    assert all(equation.holds for equation in equations(counts))
    assert not draft.journal


def test_a_picture_that_comes_again_has_the_same_key() -> None:
    """Whenever it comes, and however it was encoded: the captures name it."""
    assert decoded(crop()).key == decoded(crop(value=1, received_ns=99)).key


def test_samples_of_a_binding_that_made_windows_before_are_counted() -> None:
    """Nothing can come of them any more, and nothing is forgotten silently."""
    row = JournalRow(RowId(3), BRANCH, "a", 5, b"", b"", pending=4)
    changed = intake()
    changed.restore(Remembered({"a": "{}", "b": "{}"}, (row,), ()), 0.0)
    draft = Draft()
    assert changed.tick(0.0, draft) == []
    assert draft.counts == {(BRANCH, "samples_unused{partition_evicted}"): 4}
    assert draft.released == [3]
    assert draft.states == {(BRANCH, "a"): None, (BRANCH, "b"): None}
    again = Draft()
    changed.tick(0.0, again)
    assert again.unit() is None
