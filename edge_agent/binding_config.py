"""Owns the declarations behind `bindings.toml`: brokers, and the way from topics to a model and back.

Reading the file, and what it must agree on with `agent.toml`, is `config.py`; with a pack, `binding_check.py`. What the
values mean for a part is that part's business: each gets a small spec of its own.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeVar

from edge_agent.broker_settings import BrokerSettings, Endpoint, ProtocolChoice, TlsFiles
from edge_agent.core.alarm import AlarmSettings, AlarmSpec
from edge_agent.core.decision import Egress
from edge_agent.core.durability import Durability, JournalTerms, OnJournalFailure
from edge_agent.core.grid import MAX_RATE_HZ, rate_fraction, whole_slots
from edge_agent.core.image import ImagePayload
from edge_agent.core.missing import Missing
from edge_agent.core.payload import PayloadSpec, StartFormat
from edge_agent.core.topics import overlap
from edge_agent.core.window_geometry import HoppingSpec
from edge_agent.ports import BindingName
from model_packs.manifest import ImageSpec, PackRef
from model_packs.process.settings import setting
from protos.topics import TopicError, TopicTemplate

Problems = Iterable[tuple[str, str]]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME_RULE = "1 to 63 lower-case letters, digits and dashes, a letter or digit first and last"
_RESERVED_CAPTURES = frozenset({"device", "binding"})
_MAX_PAYLOAD_BYTES = 64 << 20
_MAX_WINDOW_SAMPLES = 1_000_000
_MAX_LATENESS_S = 3600.0
_MAX_KEEPALIVE_S = 65_535
_MAX_RECEIVE_MAXIMUM = 65_535
_IMAGE_PARTITIONS = 500
_IMAGE_KEYS = frozenset({"codec", "key", "max_bytes"})
_OF_MESSAGES = ("broker", "topic", "payload", "result")

_TableT = TypeVar("_TableT")


class Retained(StrEnum):
    """What a retained message is to a binding."""

    IGNORE = "ignore"
    USE = "use"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Files of a TLS connection to a broker."""

    ca: Path | None = setting(
        None, doc="PEM certificates that may sign the broker's. Absent: the system's.", example="broker-ca.pem"
    )
    cert: Path | None = setting(
        None, doc="PEM certificate that the agent shows, if the broker asks for one.", example="agent.pem"
    )
    key: Path | None = setting(None, doc="PEM private key of `cert`.", example="agent.key")

    def validate(self) -> Problems:
        """Check what types cannot say."""
        for name, path in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            if path is not None and not path.is_file():
                yield name, f"no such file: {path}"
        if (self.cert is None) != (self.key is None):
            yield "key" if self.key is None else "cert", "cert and key go together: give both or none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """One MQTT broker."""

    url: str = setting(
        doc="mqtt://host[:port], or mqtts://host[:port] for TLS. Default ports 1883 and 8883.",
        example="mqtt://localhost:1883",
    )
    client_id: str = setting(
        "edge-{device}",
        doc="Stable: the broker keeps the agent's session under it, and two agents with one id throw each other out. "
        "{device} is this device's id.",
    )
    username: str | None = setting(None, doc="User name, if the broker asks for one.", example="edge")
    password_file: Path | None = setting(
        None,
        doc="File whose first line is the password. Passwords do not belong in this file.",
        example="mqtt.password",
    )
    version: ProtocolChoice = setting(
        ProtocolChoice.AUTO, doc='MQTT version: "auto" tries 5, then 3.1.1; or "5"; or "3.1.1".'
    )
    keepalive_s: int = setting(
        30, doc="A dead connection is noticed after about one and a half times this, in seconds."
    )
    receive_maximum: int = setting(
        200, doc="Messages that the broker may leave unacknowledged (MQTT 5): the back-pressure."
    )
    status_topic: str = setting(
        "edge/{device}/status",
        doc='Retained topic that says "online", "offline" or "stopped". {device} is this device\'s id.',
    )
    tls: TlsConfig | None = setting(
        None, doc="Needed only for a private certificate authority or a client certificate."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        try:
            endpoint = Endpoint.parse(self.url)
        except ValueError as error:
            yield "url", str(error)
        else:
            if self.tls is not None and not endpoint.is_tls:
                yield "tls", "the url is mqtt://, without TLS: write mqtts://, or drop this table"
        yield from _device_text_problems("client_id", self.client_id)
        yield from _topic_problems("status_topic", self.status_topic, frozenset({"device"}))
        if self.password_file is not None and self.username is None:
            yield "password_file", "a password needs a username"
        if self.password_file is not None and not self.password_file.is_file():
            yield "password_file", f"no such file: {self.password_file}"
        yield from _between("keepalive_s", self.keepalive_s, 1, _MAX_KEEPALIVE_S)
        yield from _between("receive_maximum", self.receive_maximum, 1, _MAX_RECEIVE_MAXIMUM)

    @property
    def own_topics(self) -> TopicTemplate | None:
        """What the agent says of itself: `status_topic` and its neighbours; None when that is no topic."""
        try:
            return TopicTemplate("/".join([*self.status_topic.split("/")[:-1], "{own}"]))
        except TopicError:
            return None

    def settings(self, name: str, device: str) -> BrokerSettings:
        """What the MQTT adapter needs.

        Args:
            name: The broker's name in the file.
            device: This device's id.

        Returns:
            Its settings.
        """
        tls = TlsFiles() if self.tls is None else TlsFiles(self.tls.ca, self.tls.cert, self.tls.key)
        return BrokerSettings(
            name=name,
            url=self.url,
            client_id=self.client_id.replace("{device}", device),
            status_topic=TopicTemplate(self.status_topic).render({"device": device}),
            username=self.username,
            password_file=self.password_file,
            tls=tls,
            version=self.version,
            keepalive_s=self.keepalive_s,
            receive_maximum=self.receive_maximum,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadConfig:
    """How a message is read."""

    codec: Literal["json_vectors", "image"] = setting(
        "json_vectors",
        doc='"json_vectors": one JSON object with a start time and an array of samples. "image": one JPEG or PNG file, '
        "of the pack's size; of the keys here it has codec, key and max_bytes only, and no [binding.window].",
    )
    rate_hz: float | None = setting(
        None,
        doc='Samples a second; needed for "json_vectors". Sample i was taken at the start time plus i / rate_hz.',
        example=50.0,
        is_shown=True,
    )
    samples: str = setting("samples", doc="Field of the samples: an array, each item an array of all channels.")
    start: str = setting("t0", doc="Field of the first sample's time.")
    start_format: StartFormat = setting(
        StartFormat.ISO8601,
        doc='How that time is written: "iso8601" (with Z or an offset), "unix_s" or "unix_ms".',
    )
    channels: tuple[str, ...] = setting(
        (),
        doc="Names of the channels in the order of the messages; checked against the pack's. Empty: not checked.",
        example=("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"),
    )
    key: tuple[str, ...] = setting(
        (),
        doc="Fields that together never repeat on a topic: a repeated message is recognised by them. Empty: by the "
        "start time. For images: captures of the topic that together never repeat; empty: by topic and content.",
        example=("seq",),
    )
    range: tuple[float, ...] = setting(
        (),
        doc="Lowest and highest value that a sensor can give. A sample with another value is counted and left out.",
        example=(-1000.0, 1000.0),
    )
    missing: Missing = setting(
        Missing.REJECT,
        doc='null in a sample, and samples that never came: "reject" (refuse the message, skip the window), "hold" '
        '(repeat the last value) or "linear" (draw a line).',
    )
    max_bytes: int = setting(1 << 20, doc="Largest message, in bytes; checked before it is decoded.")
    max_skew_s: float = setting(
        300.0,
        doc="How far a message's time may be ahead of this device's clock, in seconds. Where that clock is not "
        "synchronised: how far it may leap ahead before a second message has to agree.",
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from _distinct("key", self.key)
        yield from _between("max_bytes", self.max_bytes, 1, _MAX_PAYLOAD_BYTES)
        yield from self._vector_problems() if self.codec == "json_vectors" else self._image_problems()

    def _image_problems(self) -> Iterator[tuple[str, str]]:
        for one in fields(self):
            if one.name not in _IMAGE_KEYS and getattr(self, one.name) != one.default:
                yield one.name, 'means nothing for codec "image": drop it'

    def _vector_problems(self) -> Iterator[tuple[str, str]]:
        if self.rate_hz is None:
            yield "rate_hz", 'missing; codec "json_vectors" needs the samples a second'
        elif rate_fraction(self.rate_hz) is None:
            yield "rate_hz", f"expected more than 0, at most {MAX_RATE_HZ}, with few digits"
        if self.start == self.samples:
            yield "start", "the same field as samples: name the field that holds the first sample's time"
        yield from _distinct("channels", self.channels)
        is_range = len(self.range) == 2 and all(map(math.isfinite, self.range)) and self.range[0] < self.range[1]  # noqa: PLR2004 - low and high
        if self.range and not is_range:
            yield "range", "expected two numbers: the lowest and the highest value"
        if not self.max_skew_s > 0:
            yield "max_skew_s", "expected more than 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowConfig:
    """How samples become model inputs."""

    size_s: float = setting(doc="Length of a window in seconds; size_s times rate_hz is the pack's.", example=1.0)
    hop_s: float = setting(doc="From one window's start to the next one's, in seconds; at most size_s.", example=0.5)
    lateness_s: float = setting(
        1.0,
        doc="An incomplete window waits for late samples until the newest one is this far past its end, in seconds. A "
        "full one never waits. Sensors send what a broker's restart held up after newer samples: for none of it to be "
        "late, set this to the longest such outage.",
    )
    idle_s: float = setting(10.0, doc="Silence on a partition after which its open windows close, in seconds.")
    min_fill: float = setting(
        0.9, doc='Least share of real values in a window that "hold" or "linear" may fill up; below it is skipped.'
    )
    max_partitions: int = setting(
        500, doc="Partitions kept in memory; the one that was silent longest gives way to a new one."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if self.hop_s > self.size_s:
            yield "hop_s", f"larger than size_s ({self.size_s}): samples between the windows would never be used"
        if not 0 <= self.lateness_s <= _MAX_LATENESS_S:
            yield "lateness_s", f"expected 0 to {_MAX_LATENESS_S:.0f}"
        if not 0 < self.idle_s < math.inf:
            yield "idle_s", "expected more than 0"
        if not 0 <= self.min_fill <= 1:
            yield "min_fill", "expected 0 to 1"
        if self.max_partitions < 1:
            yield "max_partitions", "expected at least 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultConfig:
    """Where answers go."""

    topic: str = setting(
        doc="Topic of the answers. It may use the partition's captures (for images: all captures), {device} and "
        "{binding}.",
        example="demo/{person}/inference/motion",
    )
    qos: int = setting(1, doc="0 or 1. At 1 an answer is kept until the broker has acknowledged it.")
    expiry_s: int | None = setting(
        None, doc="An answer older than this is not delivered any more, in seconds. Absent: never.", example=600
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from _topic_problems("topic", self.topic, None)
        yield from _between("qos", self.qos, 0, 1)
        if self.expiry_s is not None and self.expiry_s < 1:
            yield "expiry_s", "expected at least 1"

    @property
    def template(self) -> TopicTemplate:
        """The topic, parsed."""
        return TopicTemplate(self.topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationConfig:
    """Which answers go to the hub beside those that the pack's certificate does not keep. It can only ask for more."""

    audit_rate: float = setting(
        0.05,
        doc="Share of the answers that the device is sure of and that the hub checks all the same, drawn at random "
        "before they are made: the test of the certificate in the field. 0 draws none, and nothing is known of them.",
    )
    always_escalate: tuple[str, ...] = setting(
        (), doc="Labels that the hub is always asked about, however sure the device is.", example=("fall",)
    )
    class_thresholds: Mapping[str, float] = setting(
        dict, doc="By label, a confidence that is asked for where it is more than the certificate's threshold."
    )
    ood_limit: float | None = setting(
        None,
        doc="Largest distance of an input from those that the pack saw first here (docs/decisions.md); the hub is "
        "asked about stranger ones. Absent: distances are watched for changes only.",
        example=3.0,
    )
    unscorable_per_minute: float = setting(
        6.0,
        doc="Questions a minute and partition about inputs that the model has no score for: a broken sensor must not "
        "use up the budget. The others are answered without the hub, and counted.",
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if not 0 <= self.audit_rate <= 1:
            yield "audit_rate", "expected 0 to 1"
        yield from _distinct("always_escalate", self.always_escalate)
        for label, threshold in self.class_thresholds.items():
            if not 0 <= threshold <= 1:
                yield f"class_thresholds.{label}", "expected 0 to 1"
        if self.ood_limit is not None and not 0 < self.ood_limit < math.inf:
            yield "ood_limit", "expected more than 0"
        if not 0 < self.unscorable_per_minute < math.inf:
            yield "unscorable_per_minute", "expected more than 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmConfig:
    """When answers become an alarm, and where it goes."""

    topic: str = setting(doc="Topic of the alarms, made as that of the answers.", example="demo/{person}/alarm/motion")
    labels: tuple[str, ...] = setting(
        doc="Answers with one of these labels raise it, all others clear it.", example=("fall",)
    )
    debounce: int = setting(
        1, doc="So many answers of a partition in a row raise it, and so many without one of the labels clear it."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from _topic_problems("topic", self.topic, None)
        if not self.labels:
            yield "labels", "no label: no answer would raise it"
        yield from _distinct("labels", self.labels)
        if self.debounce < 1:
            yield "debounce", "expected at least 1"


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
        yield from _between("qos", self.qos, 0, 1)
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
        problems = list(_topic_problems("topic", self.topic, None))
        yield from problems
        if problems:
            return
        captures = self.template.captures
        for name in sorted(_RESERVED_CAPTURES.intersection(captures)):
            yield "topic", f"{{{name}}} stands for the agent's own {name} in results: give the level another name"
        yield from _distinct("partition", self.partition)
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


def _topic_problems(key: str, text: str, captures: frozenset[str] | None) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a template, and which of its captures are not among the allowed ones."""
    try:
        template = TopicTemplate(text)
    except TopicError as error:
        yield key, str(error)
        return
    if captures is not None:
        for name in sorted(set(template.captures) - captures):
            yield key, f"{{{name}}} has no value here; there is {', '.join(f'{{{c}}}' for c in sorted(captures))}"


def _device_text_problems(key: str, text: str) -> Iterator[tuple[str, str]]:
    rest = text.replace("{device}", "")
    if not text or "{" in rest or "}" in rest:
        yield key, "expected a text; {device} is the only name in it"


def _between(key: str, value: int, low: int, high: int) -> Iterator[tuple[str, str]]:
    if not low <= value <= high:
        yield key, f"expected {low} to {high}"


def _distinct(key: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if len(set(names)) != len(names) or "" in names:
        yield key, "expected names, each once"
