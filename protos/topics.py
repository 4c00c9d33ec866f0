"""MQTT topic templates: `acme/{line}/imu` is a filter (`acme/+/imu`), a matcher, and a renderer.

`{name}` stands for exactly one topic level. Wildcards are written by the template, never by hand.
MQTT 5, section 4.7 (topic names and topic filters).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_TOPIC_BYTES = 256
_CAPTURE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class TopicError(ValueError):
    """A template or a value that cannot be part of a topic; the message names it and the mend."""


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """A topic with named single-level captures.

    Raises:
        TopicError: The template is empty, too long, holds `+`, `#` or NUL, starts with `/`, or repeats a capture.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text or self.text.startswith("/"):
            raise TopicError(f"topic {self.text!r} is empty or starts with '/': write it from its first level")
        if len(self.text.encode()) > MAX_TOPIC_BYTES:
            raise TopicError(f"topic {self.text[:40]!r}… is longer than {MAX_TOPIC_BYTES} bytes: shorten it")
        if any(c in self.text for c in "+#\0"):
            raise TopicError(f"topic {self.text!r} holds a wildcard: write {{name}} for one level")
        names = self.captures
        if len(set(names)) != len(names):
            raise TopicError(f"topic {self.text!r} names a capture twice: give each its own name")
        for level in self.text.split("/"):
            if ("{" in level or "}" in level) and not _CAPTURE.fullmatch(level):
                raise TopicError(f"topic level {level!r} mixes text and a capture: {{name}} stands for a whole level")

    @property
    def captures(self) -> tuple[str, ...]:
        """Names of the captures, in order."""
        return tuple(_CAPTURE.findall(self.text))

    @property
    def filter(self) -> str:
        """The MQTT topic filter that matches it."""
        return _CAPTURE.sub("+", self.text)

    def match(self, topic: str) -> dict[str, str] | None:
        """Captured levels of `topic`, or None when it does not match."""
        levels, wanted = topic.split("/"), self.text.split("/")
        if len(levels) != len(wanted):
            return None
        found: dict[str, str] = {}
        for level, want in zip(levels, wanted, strict=True):
            if capture := _CAPTURE.fullmatch(want):
                found[capture[1]] = level
            elif level != want:
                return None
        return found

    def render(self, values: Mapping[str, str]) -> str:
        """The topic with its captures filled in.

        Raises:
            TopicError: A capture has no value, or a value holds `/`, `+`, `#` or NUL.
        """

        def fill(capture: re.Match[str]) -> str:
            value = values.get(capture[1])
            if value is None:
                raise TopicError(f"topic {self.text!r} needs a value for {{{capture[1]}}}")
            if not value or any(c in value for c in "/+#\0"):
                raise TopicError(f"{value!r} cannot be a topic level in {self.text!r}")
            return value

        return _CAPTURE.sub(fill, self.text)
