"""Owns the alarms of one binding in a pass: the state of each partition, and the message when it changes.

The rule is `core/alarm.py`. States live in memory: after a restart an alarm that still holds is raised once more.
"""

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from edge_agent.core.alarm import AlarmSettings, AlarmState, alarm_event, label_of, step
from edge_agent.ports import Decided, Publish, RowId

_QUIET = AlarmState()


class Alarms:
    """One binding's.

    Args:
        settings: The rule, and where its news go.
        new_row: Gives outbox rows.
    """

    def __init__(self, settings: AlarmSettings, new_row: Callable[[], RowId]) -> None:
        self._settings = settings
        self._new_row = new_row
        self._states: OrderedDict[str, AlarmState] = OrderedDict()

    def restore(self) -> None:
        """Forget the states: nothing is known of what was not committed."""
        self._states.clear()

    def judged(self, one: Decided, topic: str) -> Decided:
        """Take an answer.

        Args:
            one: The answer.
            topic: Of an alarm about it.

        Returns:
            The same, with its alarm if one is to be told.
        """
        event = json.loads(one.publish.payload)
        before = self._states.get(one.partition, _QUIET)
        after = step(self._settings.spec, before, label_of(event))
        self._states[one.partition] = after
        self._states.move_to_end(one.partition)
        if len(self._states) > self._settings.max_partitions:
            self._states.popitem(last=False)
        if after.is_raised is before.is_raised:
            return one
        payload = json.dumps(alarm_event(event, one.partition, after), separators=(",", ":")).encode()
        return replace(one, alarm=Publish(self._new_row(), one.publish.broker, topic, payload, qos=1))
