"""Owns who takes part in the demo: three agents, the persons whose watches each of them hears, and their topics.

What the watches send is `sensors`, what is expected of the answers is `judge`.
"""

from dataclasses import dataclass
from typing import Final, NewType

from model_packs.shipped.motion_band.dataset import Wrist
from protos.topics import TopicTemplate

AgentName = NewType("AgentName", str)
Person = NewType("Person", str)

BINDING: Final = "motion"


@dataclass(frozen=True, slots=True)
class WindowKey:
    """One window of the demo, as both the watches and the answers name it.

    Attributes:
        start_ns: Event time of its first sample, Unix epoch.
    """

    agent: AgentName
    person: Person
    start_ns: int


@dataclass(frozen=True, slots=True)
class Member:
    """One agent of the demo.

    Attributes:
        name: Its device id.
        wrist: The wrist that its persons wear the watch on; the student was trained and certified on right ones.
        subjects: Persons of the data set (1 to 10) whose watches send to it.
    """

    name: AgentName
    wrist: Wrist
    subjects: tuple[int, ...]

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
        return TopicTemplate(f"demo/{self.name}/{{person}}/inference/{BINDING}")


FLEET: Final = (
    Member(AgentName("right-a"), Wrist.RIGHT, (1, 3, 5, 7, 9)),
    Member(AgentName("right-b"), Wrist.RIGHT, (2, 4, 6, 8, 10)),
    Member(AgentName("left"), Wrist.LEFT, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
)


def person(subject: int) -> Person:
    """The name of a subject in topics."""
    return Person(f"p{subject:02d}")
