"""Owns who takes part in the demo: the agents, what each of them hears, its topics, and the packs.

Three agents hear watches on wrists, a fourth reads the boxes of scanned forms. What is sent is `watches`' and `forms`'
business, what is expected of the answers is `judge`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType, Protocol

from model_packs.manifest import PackRef
from model_packs.shipped.motion_band.dataset import Wrist
from protos.topics import TopicTemplate

AgentName = NewType("AgentName", str)
Source = NewType("Source", str)
"""Whose window it is: a person's watch, or a box of a form."""

SITE: Final = "demo"

EDGE_PACK: Final = PackRef("motion-band-edge", "1.0.0")
"""The first student: it knows right wrists, and is certified for them."""
NEXT_EDGE_PACK: Final = PackRef("motion-band-edge", "2.0.0")
"""The second student: it knows both wrists."""
PATCH: Final = PackRef(NEXT_EDGE_PACK.name, "2.0.1")
"""A patch of it that is damaged before anyone can run it."""
HUB_PACK: Final = PackRef("motion-band-hub", "1.0.0")
DIGITS_EDGE_PACK: Final = PackRef("form-digits-edge", "1.0.0")
DIGITS_HUB_PACK: Final = PackRef("form-digits-hub", "1.0.0")


@dataclass(frozen=True, slots=True)
class WindowKey:
    """One model input of the demo, as both its sender and the answers name it.

    Attributes:
        start_ns: Event time of its first sample, Unix epoch; None for a box of a form: its source names it alone.
    """

    agent: AgentName
    source: Source
    start_ns: int | None


class Member(Protocol):
    """One agent of the demo."""

    @property
    def name(self) -> AgentName:
        """Its device id."""
        ...

    @property
    def binding(self) -> str:
        """Its one binding."""
        ...

    @property
    def pack(self) -> PackRef:
        """What the binding runs at first."""
        ...

    @property
    def is_certified(self) -> bool:
        """Whether what it hears is of the population that the certificate of the comparison speaks about."""
        ...

    @property
    def source(self) -> TopicTemplate:
        """Where its senders send."""
        ...

    @property
    def results(self) -> TopicTemplate:
        """Where it answers."""
        ...

    def key(self, captures: Mapping[str, str], start_ns: int) -> WindowKey:
        """The window that an answer is about.

        Args:
            captures: Of the topic that the answer came on.
            start_ns: The start of its window.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wearers:
    """An agent that hears watches.

    Attributes:
        name: Its device id.
        wrist: The wrist that its persons wear the watch on; the first student was trained and certified on right ones.
        subjects: Persons of the data set (1 to 10) whose watches send to it.
        begins_on: The wrist they wear it on at first, when they change it on the way: that is the drift.
    """

    name: AgentName
    wrist: Wrist
    subjects: tuple[int, ...]
    begins_on: Wrist | None = None

    @property
    def binding(self) -> str:
        """Its one binding."""
        return "motion"

    @property
    def pack(self) -> PackRef:
        """What the binding runs at first."""
        return EDGE_PACK

    @property
    def is_certified(self) -> bool:
        """Whether its persons are of the population that the certificate speaks about."""
        return self.wrist is Wrist.RIGHT

    @property
    def source(self) -> TopicTemplate:
        """Where its watches send."""
        return TopicTemplate(f"demo/{self.name}/{{person}}/imu")

    @property
    def results(self) -> TopicTemplate:
        """Where it answers."""
        return TopicTemplate(f"demo/{self.name}/{{person}}/inference/{self.binding}")

    def key(self, captures: Mapping[str, str], start_ns: int) -> WindowKey:
        """The window of a person that starts then."""
        return WindowKey(self.name, Source(captures["person"]), start_ns)


@dataclass(frozen=True, slots=True)
class Branch:
    """An agent that reads the boxes of scanned forms."""

    name: AgentName

    @property
    def binding(self) -> str:
        """Its one binding."""
        return "digits"

    @property
    def pack(self) -> PackRef:
        """What the binding runs."""
        return DIGITS_EDGE_PACK

    @property
    def is_certified(self) -> bool:
        """The comparison is about wrists."""
        return False

    @property
    def source(self) -> TopicTemplate:
        """Where the scanner sends."""
        return TopicTemplate(f"{self.name}/{{form}}/{{box}}/crop")

    @property
    def results(self) -> TopicTemplate:
        """Where it answers."""
        return TopicTemplate(f"{self.name}/{{form}}/{{box}}/inference/{self.binding}")

    def key(self, captures: Mapping[str, str], start_ns: int) -> WindowKey:  # noqa: ARG002 - an image has no place in event time
        """The box of a form."""
        return WindowKey(self.name, Source(f"{captures['form']}/{captures['box']}"), None)


LEFT: Final = Wearers(AgentName("left"), Wrist.LEFT, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), begins_on=Wrist.RIGHT)
BRANCH: Final = Branch(AgentName("branch"))
WRISTS: Final = (
    Wearers(AgentName("right-a"), Wrist.RIGHT, (1, 3, 5, 7, 9)),
    Wearers(AgentName("right-b"), Wrist.RIGHT, (2, 4, 6, 8, 10)),
    LEFT,
)
FLEET: Final[tuple[Member, ...]] = (*WRISTS, BRANCH)


def person(subject: int) -> Source:
    """The name of a subject in topics."""
    return Source(f"p{subject:02d}")
