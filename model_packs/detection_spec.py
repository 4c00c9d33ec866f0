"""Owns what a pack of the task `detection` says about its boxes, and the name of the confidence that follows from it.

Reading it strictly is `manifest_reading.py`; what it must agree on with the pack's outputs is `manifest_checks.py`.
"""

from dataclasses import dataclass

from model_packs.digests import digest_of
from model_packs.strict_json import JsonValue, canonical


@dataclass(frozen=True, slots=True)
class DetectionSpec:
    """How a pack of the task `detection` tells boxes.

    Attributes:
        boxes: The output with the boxes, a float [batch, n, 4]: x0, y0, x1, y1.
        scores: The output with their scores from 0 to 1, a float: [batch, n] beside `classes`, else [batch, n, labels].
        classes: The output with the index of each box's label, [batch, n]; None: the scores are by label, and boxes
            that overlap are suppressed here.
        units: Of the coordinates, one of `outputs.BOX_UNITS`.
        keep: Boxes of this score or more are the answer, strictly between 0 and 1; after the temperature.
        agree_iou: The least overlap of two boxes that mean the same, above 0.
        max_boxes: Boxes of one answer, the highest scores first.
        nothing_found: The most that an answer without boxes is sure, from 0 (always ask the hub) to 1.
        suppress_iou: Without `classes`: a box that overlaps a stronger one of its label by more is dropped.
    """

    boxes: str
    scores: str
    classes: str | None
    units: str
    keep: float
    agree_iou: float = 0.5
    max_boxes: int = 100
    nothing_found: float = 0.0
    suppress_iou: float | None = None

    @property
    def score_name(self) -> str:
        """The confidence as certificates name it: `weakest_box`, and a digest of all that decides the number."""
        return f"weakest_box {digest_of(canonical(self.to_document()))}"

    def to_document(self) -> dict[str, JsonValue]:
        """Write it as pack.json holds it.

        Returns:
            A JSON object; the keys of what is None are absent.
        """
        document: dict[str, JsonValue] = {
            "boxes": self.boxes,
            "scores": self.scores,
            "units": self.units,
            "keep": float(self.keep),
            "agree_iou": float(self.agree_iou),
            "max_boxes": self.max_boxes,
            "nothing_found": float(self.nothing_found),
        }
        if self.classes is not None:
            document["classes"] = self.classes
        if self.suppress_iou is not None:
            document["suppress_iou"] = float(self.suppress_iou)
        return document
