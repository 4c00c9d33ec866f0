"""Owns the declarations behind `bindings.toml`: bindings, each a way from topics to a model and back.

Brokers are `broker_config.py`, the tables of a binding `binding_tables.py`. Reading the file, and what it must agree on
with `agent.toml`, is `config.py`; with a pack, `binding_check.py`. What the values mean for a part is that part's
business: each gets a small spec of its own.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TypeVar

from edge_agent.binding_tables import AlarmConfig, EscalationConfig, PayloadConfig, ResultConfig, WindowConfig
from edge_agent.broker_config import BrokerConfig
from edge_agent.core.alarm import AlarmSettings, AlarmSpec
from edge_agent.core.decision import Egress
from edge_agent.core.durability import Durability, JournalTerms, OnJournalFailure
from edge_agent.core.grid import rate_fraction, whole_slots
from edge_agent.core.image import ImagePayload
from edge_agent.core.payload import PayloadSpec
from edge_agent.core.topics import overlap
from edge_agent.core.window_geometry import HoppingSpec
from edge_agent.ports import BindingName
from edge_agent.value_rules import Problems, between, distinct, topic_problems
from model_packs.manifest import ImageSpec, PackRef
from model_packs.process.settings import setting
from protos.topics import TopicError, TopicTemplate

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME_RULE = "1 to 63 lower-case letters, digits and dashes, a letter or digit first and last"
_RESERVED_CAPTURES = frozenset({"device", "binding"})
_MAX_WINDOW_SAMPLES = 1_000_000
_IMAGE_PARTITIONS = 500
_OF_MESSAGES = ("broker", "topic", "payload", "result")

_TableT = TypeVar("_TableT")


class Retained(StrEnum):
    """What a retained message is to a binding."""

    IGNORE = "ignore"
    USE = "use"


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingConfig:
    """One way to a model and back: from topics, from programs on this machine (`[oip]`), or from both."""

    name: str = setting(doc=f"Name of the binding: {_NAME_RULE}. Part of every prediction's id.", example="motion")
    broker: str = setting(
        "",
        doc="Name of an [mqtt.…] table above. Without broker, topic, payload and result the binding answers local "
        "calls only ([oip] in agent.toml).",
        example="site",
        is_shown=True,
    )
    pack: str = setting(
        doc="The model: name@version, fetched from the hub at enrolment; or the path of an OCI layout, taken from this "
        "file's folder.",
        example="motion-band-edge@1.0.0",
    )
    topic: str = setting(
        "",
        doc="Where the sensor publishes. {name} stands for one level and captures it.",
        example="demo/{person}/imu",
        is_shown=True,
    )
    qos: int = setting(1, doc="0 or 1. At 1 a message is acknowledged once it is durable here.")
    retained: Retained = setting(
        Retained.IGNORE, doc='A retained message is an old reading: "ignore" it, or "use" it as if it were new.'
    )
    partition: tuple[str, ...] = setting(
        (),
        doc="Captures that tell streams apart: each has windows of its own. [] for a single stream.",
        example=("person",),
        is_shown=True,
    )
    egress: Egress = setting(
        Egress.TENSOR,
        doc='What may leave the device: "tensor" (model inputs go to the hub when the edge is not sure) or "never".',
    )
    durability: Durability = setting(
        Durability.POWER,
        doc='What an acknowledged message survives: "power" (a power cut), "process" (the end of the agent, not of the '
        'machine: fewer writes that wait for the disk) or "none" (nothing: it is acknowledged at once, and its answers '
        "say durable: false).",
    )
    on_journal_failure: OnJournalFailure = setting(
        OnJournalFailure.ANSWER,
        doc='What becomes of messages while nothing can be written: "answer" (answered, acknowledged and counted as '
        'shed) or "hold" (not acknowledged before they are durable: the broker keeps the next ones, and answers stop).',
    )
    dedupe_keys: int = setting(100_000, doc="Messages that are remembered, so that a repeated one is recognised.")
    dedupe_max_age_s: float = setting(
        604800.0, doc="Messages are remembered so long: a week. At a restart the time begins again."
    )
    payload: PayloadConfig | None = setting(None, doc="How a message is read.", example=True)
    window: WindowConfig | None = setting(
        None, doc='How samples become model inputs; needed for "json_vectors". An image is one by itself.', example=True
    )
    result: ResultConfig | None = setting(None, doc="Where answers go.", example=True)
    alarm: AlarmConfig | None = setting(
        None, doc="A message of its own when answers change to certain labels and back; kept longest of all."
    )
    escalation: EscalationConfig = setting(
        EscalationConfig, doc="Which answers go to the hub beside those that the certificate does not keep."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if not _NAME.fullmatch(self.name):
            yield "name", f"expected {_NAME_RULE}"
        if not self.is_pack_path:
            try:
                PackRef.parse(self.pack)
            except ValueError:
                yield "pack", "expected name@1.2.3, or the path of an OCI layout (./folder)"
        yield from between("qos", self.qos, 0, 1)
        if self.dedupe_keys < 1:
            yield "dedupe_keys", "expected at least 1"
        if not self.dedupe_max_age_s > 0:
            yield "dedupe_max_age_s", "expected more than 0"
        yield from self._terms_problems()
        if not self.is_fed:
            yield from self._local_problems()
            return
        for key in _OF_MESSAGES:
            if not getattr(self, key):
                yield key, f"missing; a binding of messages has {', '.join(_OF_MESSAGES)}, one of local calls has none"
        if self.topic:
            yield from self._topic_problems()
        yield from self._image_problems() if self.takes_images else self._window_problems()

    @property
    def is_fed(self) -> bool:
        """Whether a broker's messages feed it; else it answers local calls only."""
        return any(getattr(self, key) for key in _OF_MESSAGES)

    @property
    def takes_images(self) -> bool:
        """Whether its records are images; else they are samples, for windows, or there are none."""
        return self.payload is not None and self.payload.codec == "image"

    @property
    def id(self) -> BindingName:
        """The name, as the rest of the agent knows it."""
        return BindingName(self.name)

    @property
    def template(self) -> TopicTemplate:
        """The source topic, parsed."""
        return TopicTemplate(self.topic)

    @property
    def is_pack_path(self) -> bool:
        """Whether `pack` is a path and no reference."""
        return "/" in self.pack or self.pack.startswith(".")

    def payload_spec(self, channels: int) -> PayloadSpec:
        """What the decoder needs.

        Args:
            channels: Width of a sample, from the pack.
        """
        rate_hz, _, payload = self._sampled
        return PayloadSpec(
            channels=channels,
            rate_hz=rate_hz,
            samples=payload.samples,
            start=payload.start,
            start_format=payload.start_format,
            key=payload.key,
            valid_range=(payload.range[0], payload.range[1]) if payload.range else None,
            missing=payload.missing,
            max_bytes=payload.max_bytes,
            max_skew_s=payload.max_skew_s,
        )

    def window_spec(self) -> HoppingSpec:
        """What the windows need."""
        rate_hz, window, payload = self._sampled
        return HoppingSpec(
            rate_hz=rate_hz,
            size_s=window.size_s,
            hop_s=window.hop_s,
            lateness_s=window.lateness_s,
            idle_s=window.idle_s,
            min_fill=window.min_fill,
            missing=payload.missing,
            max_partitions=window.max_partitions,
            captures=self.partition,
            max_leap_s=payload.max_skew_s,
        )

    def image_payload(self, image: ImageSpec) -> ImagePayload:
        """What the image intake needs.

        Args:
            image: What the pack takes.
        """
        payload = self._of_messages(self.payload)
        return ImagePayload(image, payload.max_bytes, payload.key)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels in the order of the messages; empty: not said."""
        return self._of_messages(self.payload).channels

    @property
    def answers(self) -> ResultConfig:
        """Where the answers to messages go."""
        return self._of_messages(self.result)

    @property
    def alarm_settings(self) -> AlarmSettings | None:
        """What the lane needs for alarms; None without them."""
        if self.alarm is None:
            return None
        spec = AlarmSpec(frozenset(self.alarm.labels), self.alarm.debounce)
        partitions = _IMAGE_PARTITIONS if self.window is None else self.window.max_partitions
        return AlarmSettings(spec, TopicTemplate(self.alarm.topic), partitions)

    @property
    def terms(self) -> JournalTerms:
        """What the journal promises for its records."""
        return JournalTerms(self.durability, self.on_journal_failure)

    def _terms_problems(self) -> Iterator[tuple[str, str]]:
        if self.on_journal_failure is OnJournalFailure.ANSWER:
            return
        if self.qos == 0:
            yield "on_journal_failure", "a broker holds no message back at qos 0: write qos = 1, or drop this key"
        if self.durability is Durability.NONE:
            yield (
                "on_journal_failure",
                'durability "none" acknowledges at once, so nothing is held: drop one of the two',
            )

    @property
    def _sampled(self) -> tuple[float, WindowConfig, PayloadConfig]:
        payload = self._of_messages(self.payload)
        if payload.rate_hz is None or self.window is None:
            raise AssertionError("asked of a binding of samples only, and `validate` refuses one without these")
        return payload.rate_hz, self.window, payload

    def _of_messages(self, table: _TableT | None) -> _TableT:
        if table is None:
            raise AssertionError("asked of a binding of messages only, and `validate` refuses one without this table")
        return table

    def _local_problems(self) -> Iterator[tuple[str, str]]:
        """A key that is about messages would mean nothing."""
        for key in ("partition", "window", "alarm"):
            if getattr(self, key):
                yield key, f"means nothing without {', '.join(_OF_MESSAGES)}: drop it, or say where messages come from"

    def _topic_problems(self) -> Iterator[tuple[str, str]]:
        problems = list(topic_problems("topic", self.topic, None))
        yield from problems
        if problems:
            return
        captures = self.template.captures
        for name in sorted(_RESERVED_CAPTURES.intersection(captures)):
            yield "topic", f"{{{name}}} stands for the agent's own {name} in results: give the level another name"
        yield from distinct("partition", self.partition)
        for name in self.partition:
            if name not in captures:
                yield "partition", f"the topic {self.topic} captures no {{{name}}}"
        for key, text in self.said():
            try:
                used = set(TopicTemplate(text).captures) - _RESERVED_CAPTURES
            except TopicError:  # told by its own table
                continue
            for name in sorted(used):
                if name not in captures:
                    yield key, f"the topic {self.topic} captures no {{{name}}}"
                elif name not in self.partition and not self.takes_images:
                    yield key, f"{{{name}}} is not one value for a window: add it to partition"

    def said(self) -> list[tuple[str, str]]:
        """Where it says something: key and topic."""
        tables = (("result.topic", self.result), ("alarm.topic", self.alarm))
        return [(key, table.topic) for key, table in tables if table is not None]

    def _image_problems(self) -> Iterator[tuple[str, str]]:
        if self.window is not None:
            yield "window", "an image is a whole model input: drop this table"
        try:
            captures = self.template.captures
        except TopicError:  # told above
            return
        for name in self._of_messages(self.payload).key:
            if name not in captures:
                yield "payload.key", f"the topic {self.topic} captures no {{{name}}}"

    def _window_problems(self) -> Iterator[tuple[str, str]]:
        if self.payload is None:
            return  # told above
        if self.window is None:
            yield "window", 'missing; codec "json_vectors" needs the windows that samples make'
            return
        rate_hz = self.payload.rate_hz
        if rate_hz is None or rate_fraction(rate_hz) is None:
            return  # told by the payload's own table
        for key, value_s in (("size_s", self.window.size_s), ("hop_s", self.window.hop_s)):
            samples = whole_slots(value_s, rate_hz)
            if samples is None:
                yield f"window.{key}", f"{value_s} s at {rate_hz} Hz is no whole number of samples"
            elif samples > _MAX_WINDOW_SAMPLES:
                yield f"window.{key}", f"{samples} samples; at most {_MAX_WINDOW_SAMPLES}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingsConfig:
    """Everything in `bindings.toml`."""

    mqtt: Mapping[str, BrokerConfig] = setting(
        dict, doc="An MQTT broker, under a name that bindings use. Several are allowed.", example="site"
    )
    binding: tuple[BindingConfig, ...] = setting(
        doc="A binding: one way from topics, or from local calls, to a model and back. Repeat."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        for name in self.mqtt:
            if not _NAME.fullmatch(name):
                yield f"mqtt.{name}", f"a broker's name has {_NAME_RULE}"
        for (one, first), (other, second) in combinations(self.mqtt.items(), 2):
            if (first.url, first.client_id) == (second.url, second.client_id):
                yield (
                    f"mqtt.{other}.client_id",
                    f"the same client on the same broker as [mqtt.{one}]: they share one id",
                )
        if not self.binding:
            yield "binding", "no binding: the agent would have nothing to do"
        for index, binding in enumerate(self.binding):
            at = f"binding[{index}]"
            if binding.name in [earlier.name for earlier in self.binding[:index]]:
                yield f"{at}.name", f"{binding.name!r} is taken by a binding above"
            if binding.broker and binding.broker not in self.mqtt:
                known = ", ".join(self.mqtt) or "none"
                yield f"{at}.broker", f"no table [mqtt.{binding.broker}] (brokers here: {known})"
        yield from self._topic_problems()

    def _topic_problems(self) -> Iterator[tuple[str, str]]:
        """Two bindings may not take the same messages, and nothing that the agent says may come back as a message."""
        sources = self._templates("topic")
        for (first, source), (second, other) in combinations(sources.items(), 2):
            if self._meet(first, source, second, other):
                name = self.binding[first].name
                yield f"binding[{second}].topic", f"binding {name!r} takes the same messages from {source.text}"
        for key, what in (("result.topic", "answers"), ("alarm.topic", "alarms")):
            for saying, said in self._templates(key).items():
                for taking, source in sources.items():
                    if self._meet(saying, said, taking, source):
                        name = self.binding[taking].name
                        yield f"binding[{saying}].{key}", f"binding {name!r} would take the {what} as messages"

        for taking, source in sources.items():
            broker = self.mqtt.get(self.binding[taking].broker)
            own = None if broker is None else broker.own_topics
            if own is not None and overlap(own, source):
                yield f"binding[{taking}].topic", f"takes what the agent says itself on {own.text}, beside status_topic"

    def _meet(self, first: int, one: TopicTemplate, second: int, other: TopicTemplate) -> bool:
        return self.binding[first].broker == self.binding[second].broker and overlap(one, other)

    def _templates(self, key: str) -> dict[int, TopicTemplate]:
        """Those that there are and that are valid; the others are told elsewhere."""
        found: dict[int, TopicTemplate] = {}
        for index, binding in enumerate(self.binding):
            try:
                found[index] = TopicTemplate({"topic": binding.topic, **dict(binding.said())}[key])
            except (KeyError, TopicError):
                continue
        return found
