"""Owns the way from a record to a picture: checked by its header, decoded, and asked about at once.

One picture is one sample and one window of its own, so nothing waits and nothing is journaled: what a pass takes in is
decided in the same pass. What is refused, and why, is `core/image.py`.
"""

from collections.abc import Mapping, Sequence

from edge_agent.core.accounting import Count
from edge_agent.core.image import DecodeImage, ImagePayload, Picture, check_image, image_key
from edge_agent.core.window_changes import Changes
from edge_agent.core.windows import abandoned
from edge_agent.inference.draft import Draft
from edge_agent.inference.intake import Ready, partition_of
from edge_agent.ports import BindingName, Delivery, Remembered


class ImageIntake:
    """Pictures in, questions out. Implements `Intake[Picture]`.

    Args:
        binding: Its name.
        partition: Captures that tell partitions apart.
        payload: What the binding takes.
        decode: Decodes pixels.
    """

    def __init__(
        self, binding: BindingName, partition: tuple[str, ...], payload: ImagePayload, decode: DecodeImage
    ) -> None:
        self._binding = binding
        self._partition = partition
        self._payload = payload
        self._decode = decode
        self._abandoned: list[Changes] = []

    def restore(self, known: Remembered, now_s: float) -> None:
        """Nothing to go on with; samples of a binding that made windows before are counted by the next pass."""
        del now_s
        left: dict[str, dict[int, int]] = {name: {} for name in known.states}
        for row in known.journal:
            left.setdefault(row.partition, {})[row.row] = row.pending
        self._abandoned = [abandoned(name, rows) for name, rows in left.items()]

    def decode(self, delivery: Delivery, captures: Mapping[str, str], received_ns: int | None) -> Picture:
        """Read one picture."""
        del received_ns  # a picture's own time is not known, so none can be too far ahead
        check_image(delivery.payload, self._payload)
        return Picture(
            partition_of(captures, self._partition),
            delivery.received_ns,
            self._decode(delivery.payload, self._payload.image),
            image_key(self._payload, delivery.topic, captures, delivery.payload),
        )

    def feed(
        self, delivery: Delivery, captures: Mapping[str, str], decoded: Picture, now_s: float, draft: Draft
    ) -> Sequence[Ready]:
        """Ask about it."""
        del delivery, now_s
        for name in (Count.SAMPLES_DECODED, Count.SAMPLES_USED, Count.WINDOWS_CLOSED):
            draft.count(self._binding, name)
        return [Ready(decoded, captures)]

    def tick(self, now_s: float, draft: Draft) -> Sequence[Ready]:
        """Nothing waits for time to pass."""
        del now_s
        left, self._abandoned = self._abandoned, []
        for changes in left:
            draft.change(self._binding, changes)
        return []
