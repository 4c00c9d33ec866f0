"""Owns what the scanner of the branch sends, and when, as a pure plan without an end: box after box of form after form.

A box is a handwritten digit of the data set's field part, as a JPEG. Sending is `sensors`' business.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deploy.demo.fleet import Branch
from deploy.demo.questions import Asked, Question
from deploy.demo.sensors import NS_PER_S
from model_packs.shipped.form_digits import crops

BOXES_A_FORM: Final = 8
_BOX_NS: Final = NS_PER_S // 4


@dataclass(frozen=True, slots=True)
class Digit:
    """A digit that somebody wrote into a box.

    Attributes:
        image: uint8 [height, width], grey values.
    """

    image: NDArray[np.uint8] = field(compare=False)
    question: Question


@dataclass(frozen=True, slots=True)
class Crop:
    """One box of a form. A `sensors.Message`.

    Attributes:
        due_ns: Event time at which it leaves the scanner.
        image: uint8 [height, width], grey values.
    """

    topic: str
    stream: str
    due_ns: int
    image: NDArray[np.uint8]
    closes: Asked

    @property
    def opens(self) -> bool:
        """A box is a model input of its own."""
        return True

    def payload(self) -> bytes:
        """The JPEG that travels."""
        return crops.jpeg(self.image)


def schedule(branch: Branch, digits: Sequence[Digit], start_ns: int) -> Iterator[Crop]:
    """All boxes in the order in which they leave, without an end; no form's number comes twice.

    Args:
        branch: Who reads them.
        digits: What stands in the boxes; in a circle.
        start_ns: Event time at which the scanner begins.

    Yields:
        The boxes, by due time.
    """
    for number, digit in enumerate(itertools.cycle(digits)):
        form, box = divmod(number, BOXES_A_FORM)
        captures = {"form": f"f{form + 1:04d}", "box": str(box + 1)}
        yield Crop(
            topic=branch.source.render(captures),
            stream=branch.name,
            due_ns=start_ns + number * _BOX_NS,
            image=digit.image,
            closes=Asked(branch.key(captures, start_ns), digit.question, is_compared=False),
        )
