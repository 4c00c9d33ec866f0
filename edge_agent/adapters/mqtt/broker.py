"""Owns the agent's MQTT connection to one broker: `edge_agent.ports.Broker` on paho-mqtt.

It connects for ever, subscribes anew at every connect, hands records in, sends acks and results out, and says how it
fares. Whether a record is durable, and what is published again after a lost connection, is decided by who calls it:
when `OnConnection` says "down", every row that was handed over and not reported published must be handed over again.

Back-pressure: the broker sends at most its window of unacknowledged messages (`receive_maximum` on MQTT 5, its own
setting on 3.1.1) and keeps the rest. The pipeline's queue must be larger than that window, so that a hand-over never
waits and never fails; where it fails all the same (a 3.1.1 broker with a wider window), the pipeline counts the record
as shed and acks it.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from edge_agent.adapters.mqtt.connection import (
    CONNECT_TIMEOUT_S,
    Accepted,
    Connection,
    Ended,
    Event,
    Published,
    Refused,
    Said,
    Subscribed,
    Unsubscribed,
)
from edge_agent.adapters.mqtt.failures import Heard, LinkFailure, ending, flapping, reason_text, refusal, say, silence
from edge_agent.adapters.mqtt.link import Link
from edge_agent.adapters.mqtt.routing import Routes, Source
from edge_agent.adapters.mqtt.subscriptions import RememberedFilters
from edge_agent.adapters.mqtt.version_choice import NAMES, VersionChoice
from edge_agent.adapters.mqtt.wire import Received, Settled
from edge_agent.broker_settings import BrokerSettings
from edge_agent.ports import (
    AckHandle,
    Clock,
    Delivery,
    OnConnection,
    OnDelivery,
    OnPublished,
    OnRefused,
    Publish,
    RowId,
)
from protos.link.backoff import Backoff

TRIAL_S = 3.0
"""How long a first attempt at MQTT 5 may stay without an answer."""

ONLINE = b"online"
STOPPED = b"stopped"

_TURN_S = 0.2
_SUBACK_S = 10.0
_ASK_AGAIN_S = 30.0
_FAREWELL_S = 1.0
_JOIN_S = 2 * CONNECT_TIMEOUT_S
_SHORT_LIFE_S = 5.0
_FLAPPING = 3

logger = logging.getLogger(__name__)


class MqttBroker:
    """One broker. `open` starts its thread; the callbacks are called on that thread and must not block.

    Args:
        settings: The broker.
        sources: What to subscribe to; a topic may match one source only.
        intake_capacity: Room of the pipeline's queue; must be larger than `receive_maximum`.
        remembered: Filters that the broker's session may still hold from an earlier run.
        clock: Wall clock for `received_ns`, monotonic clock for how long a connection lived.
        on_delivery: Takes a record; where it has no room it counts the record as shed and acks it itself.
        on_read: Called after the records of each read; may answer them.
        on_published: Rows that the broker has acknowledged.
        on_refused: Rows that it has answered with an error, with its name: they are not under way any more.
        on_connection: Every change and every failed attempt; `connected` with a reason means "up, but …".
        on_failure: Told of every failure that is the agent's own, with the thread's name.
        backoff: Waits between attempts.

    Raises:
        ConfigurationError: Two sources match the same topic.
        ValueError: The queue is not larger than the window.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        sources: Sequence[Source],
        *,
        intake_capacity: int,
        remembered: RememberedFilters,
        clock: Clock,
        on_delivery: OnDelivery,
        on_read: Callable[[], None] = lambda: None,
        on_published: OnPublished,
        on_refused: OnRefused,
        on_connection: OnConnection,
        on_failure: Callable[[str], None],
        backoff: Backoff,
    ) -> None:
        if settings.receive_maximum >= intake_capacity:
            raise ValueError(
                f"mqtt.{settings.name}: receive_maximum = {settings.receive_maximum} must be smaller than the "
                f"pipeline's queue ({intake_capacity}): the broker's window is what holds records back"
            )
        self._settings = settings
        self._thread_name = f"mqtt-{settings.name}"
        self._routes = Routes(sources)
        self._remembered = remembered
        self._clock = clock
        self._on_delivery = on_delivery
        self._on_read = on_read
        self._on_published = on_published
        self._on_refused = on_refused
        self._on_connection = on_connection
        self._on_failure = on_failure
        self._backoff = backoff
        self._version = VersionChoice(settings.version)
        self._generation = 0
        self._short_lives = 0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether a CONNACK is in hand."""
        link = self._link
        return link is not None and link.is_up

    def open(self) -> None:
        """Start connecting, for ever, with jittered backoff."""
        self._thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
        self._thread.start()

    def publish(self, publishes: Sequence[Publish]) -> list[Publish]:
        """Hand messages to the connection; those that it cannot take now (not connected, or window full)."""
        left: list[Publish] = []
        unsendable: list[RowId] = []
        with self._lock:
            link = self._link
            if link is None or not link.is_up:
                return list(publishes)
            for publish in publishes:
                is_held = publish.qos > 0 and len(link.rows) >= link.window
                try:
                    message_id = None if is_held else link.connection.note(publish)
                except ValueError as error:  # it holds up no other, and is looked at again as what a broker refuses
                    facts = {"broker": self._settings.name, "row": publish.row, "reason": str(error)}
                    logger.warning("publish_impossible", extra=facts)
                    unsendable.append(publish.row)
                    continue
                if message_id is None:
                    left.append(publish)
                else:
                    link.rows[message_id] = publish.row
        self._settle(link, link.connection.flush())
        if unsendable:
            self._on_refused(self._settings.name, unsendable)
        return left

    def acknowledge(self, handles: Sequence[AckHandle]) -> None:
        """Send PUBACKs in the order of arrival; handles of an older connection are dropped."""
        with self._lock:
            link = self._link
            if link is None:
                return
            ready = link.acks.acknowledge(h.message_id for h in handles if h.generation == link.generation)
            link.connection.ack(ready)
        if ready:
            self._settle(link, link.connection.flush())

    def close(self) -> None:
        """Publish `stopped`, disconnect, join the thread. May be called twice."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)  # a name service that hangs must not hang the stop: the thread is a daemon

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                reason = self._connect_and_serve()
            except Exception:  # the top of this thread's loop: whatever broke, dial again
                logger.exception("mqtt_connection_broke", extra={"broker": self._settings.name})
                self._on_failure(self._thread_name)
                reason = say(self._settings, "was left after a fault of the agent", "its log has the traceback")
            if self._closing.is_set():
                self._on_connection(self._settings.name, False, "closed")
            elif reason is not None:
                logger.warning("broker_down", extra={"broker": self._settings.name, "reason": reason})
                self._on_connection(self._settings.name, False, reason)
                self._closing.wait(self._backoff.next_s())

    def _connect_and_serve(self) -> str | None:
        """One connection from dialling to its end; the reason of the end, or None to dial again at once."""
        self._generation += 1
        connection = Connection(
            self._settings, self._generation, self._version.version, self._received, on_read=self._on_read
        )
        link = Link(connection, self._settings.publish_window)
        self._link = link
        try:
            self._greet(link)
            self._serve(link)
        except LinkFailure as failure:
            if link.is_up:
                return self._judge_life(link, failure.reason)
            if failure.heard is Heard.SILENCE and self._version.unanswered():
                return None
            if failure.heard is Heard.NOBODY:
                self._version.unreached()
            return failure.reason
        else:
            return None
        finally:
            with self._lock:
                self._link = None
            connection.abandon()

    def _greet(self, link: Link) -> None:
        """Dial and wait for CONNACK."""
        link.connection.dial()
        limit_s = TRIAL_S if self._version.is_trial else 2 * CONNECT_TIMEOUT_S
        last_s = self._clock.monotonic_s() + limit_s
        while not link.is_up and not self._closing.is_set():
            for event in link.connection.turn(_TURN_S):
                match event:
                    case Accepted():
                        self._version.accepted()
                        self._accepted(link, event)
                    case Refused(code):
                        failure = refusal(self._settings, code)
                        if failure.heard is Heard.ANSWER:
                            self._version.accepted()
                        raise failure
                    case Ended(reason):
                        raise ending(self._settings, reason) if link.is_up else silence(self._settings, None)
            if not link.is_up and self._clock.monotonic_s() > last_s:
                raise silence(self._settings, limit_s)

    def _accepted(self, link: Link, event: Accepted) -> None:
        """Ask for every filter, say `online`, drop the filters that the config no longer names."""
        logger.info(
            "broker_connected",
            extra={
                "broker": self._settings.name,
                "mqtt": NAMES[self._version.version],
                "session_present": event.session_present,
            },
        )
        link.accepted_at_s = self._clock.monotonic_s()
        known, wanted = self._remembered.load(), self._routes.filters
        if not wanted <= known:
            self._remembered.save(known | wanted)
        if self._routes.sources:
            link.ask(self._routes.sources)
        # After SUBSCRIBE: who waits for `online` before it sends is heard.
        link.connection.say(self._settings.status_topic, ONLINE)
        if known - wanted:
            link.removing = link.connection.unsubscribe(known - wanted)
        with self._lock:
            link.window = min(self._settings.publish_window, event.window or self._settings.publish_window)
            link.is_up = True
        if not link.asked:
            self._on_connection(self._settings.name, True, "")

    def _serve(self, link: Link) -> None:
        """Turn until the connection ends (`LinkFailure`) or the agent closes."""
        while not self._closing.is_set():
            self._handle(link, link.connection.turn(_TURN_S))
            self._watch_subscriptions(link)
        if link.is_up:
            self._say_farewell(link)

    def _handle(self, link: Link, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Published(settled):
                    self._settle(link, settled)
                case Subscribed() if link.answered(self._settings, event):
                    link.ask_again_at_s = self._clock.monotonic_s() + _ASK_AGAIN_S if link.problems else None
                    self._on_connection(self._settings.name, True, "; ".join(link.problems.values()))
                case Unsubscribed(message_id) if message_id == link.removing:
                    self._remembered.save(self._routes.filters)
                case Ended(reason):
                    raise ending(self._settings, reason)

    def _settle(self, link: Link, settled: Settled) -> None:
        """Report rows that the broker took, and those that it refused; on the thread that heard of them first."""
        if not (settled.done or settled.refused):
            return
        with self._lock:
            rows = [row for one in settled.done if (row := link.rows.pop(one, None)) is not None]
            refused = [(row, code) for one, code in settled.refused if (row := link.rows.pop(one, None)) is not None]
        for row, code in refused:
            logger.warning(
                "publish_refused", extra={"broker": self._settings.name, "row": row, "reason": reason_text(code)}
            )
        if rows:
            self._on_published(rows)
        if refused:
            self._on_refused(self._settings.name, [row for row, _ in refused])

    def _received(self, message: Received) -> None:
        """Hand a record in, on the connection's turn; nothing here waits."""
        link = self._link
        if link is None:
            return
        handle = None
        if message.qos:
            handle = AckHandle(self._settings.name, link.generation, message.message_id, message.qos)
            with self._lock:
                link.acks.arrived(message.message_id)
        found = self._source_of(message)
        if found is None:
            if handle is not None:
                self.acknowledge([handle])
            return
        source, topic = found
        delivery = Delivery(
            binding=source.binding,
            topic=topic,
            payload=message.payload,
            retained=message.retain,
            received_ns=self._clock.wall_ns(),
            ack=handle,
        )
        if not self._on_delivery(delivery):
            logger.warning("record_shed", extra={"broker": self._settings.name, "topic": topic})

    def _source_of(self, message: Received) -> tuple[Source, str] | None:
        """Whose record it is, and its topic.

        Returns:
            None for a removed filter's last messages, an old retained value, or a broken topic.
        """
        try:
            topic = message.topic.decode()
            source = self._routes.find(topic)
        except UnicodeDecodeError:
            source = None
        if source is None or (message.retain and not source.takes_retained):
            logger.debug("message_passed_over", extra={"broker": self._settings.name, "retained": message.retain})
            return None
        return source, topic

    def _watch_subscriptions(self, link: Link) -> None:
        now_s = self._clock.monotonic_s()
        if link.asked and now_s > max(link.accepted_at_s, (link.ask_again_at_s or 0.0)) + _SUBACK_S:
            what = f"did not answer SUBSCRIBE within {_SUBACK_S:g} s"
            raise LinkFailure(self._settings, what, "look at the broker's log", Heard.ANSWER)
        if link.ask_again_at_s is not None and now_s > link.ask_again_at_s and not link.asked:
            link.ask(tuple(s for s in self._routes.sources if s.template.filter in link.problems))

    def _say_farewell(self, link: Link) -> None:
        """Clean stop: what is queued goes out, then `stopped`, then DISCONNECT, which drops the will."""
        with self._lock:
            link.is_up = False
        stopped = link.connection.say(self._settings.status_topic, STOPPED)
        last_s = self._clock.monotonic_s() + _FAREWELL_S
        while self._clock.monotonic_s() < last_s:
            events = link.connection.turn(_TURN_S)
            for event in events:
                if isinstance(event, Published):
                    self._settle(link, event.settled)
                if isinstance(event, Said) and event.message_id == stopped:
                    link.connection.disconnect()
                if isinstance(event, Ended):
                    return

    def _judge_life(self, link: Link, reason: str) -> str:
        """Start the backoff anew after a good connection; name the likely cause of several short ones."""
        if self._clock.monotonic_s() - link.accepted_at_s >= _SHORT_LIFE_S:
            self._backoff.reset()
            self._short_lives = 0
            return reason
        self._short_lives += 1
        return reason if self._short_lives < _FLAPPING else flapping(self._settings, self._short_lives)
