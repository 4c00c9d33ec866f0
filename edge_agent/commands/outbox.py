"""Owns `edge-agent outbox`: what became of each item, sending again what waits for the hub, and dropping what waits.

Reading looks into the database, beside a running agent or after it. Changing is the running agent's: it is asked
through its desk (`adapters/sqlite/desk.py`); when none runs, the command opens the store itself, under the same lock.
"""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from typing import Any

from edge_agent.adapters.clock import SystemClock
from edge_agent.adapters.sqlite import desk
from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.fate_report import Item, Story, ended, prediction_of, story, tally, waiting
from edge_agent.adapters.sqlite.handling import Action, Handled, Refusal
from edge_agent.adapters.sqlite.lock import is_held
from edge_agent.adapters.sqlite.outbox import Subject
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.selection import Selection
from edge_agent.adapters.sqlite.store import FILE_NAME, LOCK_NAME, Store
from edge_agent.commands.arguments import Subparsers, add_config, add_json
from edge_agent.config import Config, load
from edge_agent.core.escalation import PENDING, TERMINAL, Outcome
from edge_agent.core.timestamps import to_text
from edge_agent.part_settings import store_settings
from edge_agent.ports import BindingName, RowId
from model_packs.process.exits import CliError, Exit
from protos.messages.escalation import ItemClass, PredictionId

LIST_SCHEMA = "edge.outbox/1"
ITEM_SCHEMA = "edge.outbox_item/1"
CHANGE_SCHEMA = "edge.outbox_change/1"

_ANSWER_WITHIN_S = 120.0
_MAX_ROW_DIGITS = 19
_CLASSES = {one.name.lower(): one for one in ItemClass}
_STATES = tuple(one.value for one in Outcome if one in PENDING | TERMINAL and one is not Outcome.SUPPRESSED_BUDGET)
_WHY = {
    Refusal.GOES_BY_ITSELF: "for a broker: they are sent as soon as it can be reached; nothing else holds them",
    Refusal.AT_THE_HUB: "safe at the hub: their answers come, or they expire",
    Refusal.ENDED: "have ended: they are on their way only to a hub that forgot them",
    Refusal.GONE: "went on their way meanwhile",
}


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "outbox", help="show and change what waits to be delivered", description="Show and change what waits."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list", help="show what waits, oldest first", description="Show what waits, oldest first."
    )
    listing.add_argument("--ended", action="store_true", help="show escalations that ended instead, newest first")
    listing.add_argument("--limit", type=_positive, default=100, metavar="N", help="items at most (default: 100)")
    showing = actions.add_parser("show", help="tell the story of one", description="Tell the story of one.")
    showing.add_argument("item", metavar="ITEM", help="prediction id, or a row as `list` shows it")
    retrying = actions.add_parser(
        "retry",
        help="send again what waits for the hub",
        description="Send again what waits for the hub, now: also what it was sent, has, or put off. It applies each "
        "item once, however often it gets it.",
    )
    purging = actions.add_parser(
        "purge",
        help="drop what waits",
        description="Drop what waits. An escalation ends as purged, and `unrevised` says so where its prediction was "
        "published. What the hub has already is left.",
    )
    purging.add_argument("--yes", action="store_true", help="do not ask")
    for one in (retrying, purging):
        one.add_argument("item", metavar="ITEM", nargs="?", help="prediction id, or a row as `list` shows it")
        one.add_argument("--all", action="store_true", help="everything that waits")
    for one in (listing, retrying, purging):
        _add_filters(one)
    for one, run, schema in (
        (listing, _list, LIST_SCHEMA),
        (showing, _show, ITEM_SCHEMA),
        (retrying, _retry, CHANGE_SCHEMA),
        (purging, _purge, CHANGE_SCHEMA),
    ):
        add_config(one)
        add_json(one, schema)
        one.set_defaults(run=run)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which", "Several together: what fits all of them.")
    group.add_argument("--class", dest="item_class", choices=_CLASSES, help="of this class")
    group.add_argument("--state", choices=_STATES, help="that stand so")
    group.add_argument("--binding", metavar="BINDING", help="of this binding")
    group.add_argument("--destination", metavar="D", help="for `hub`, `hub:feedback` or `mqtt:` and a broker's name")
    group.add_argument("--older-than", type=_seconds, metavar="SECONDS", help="known to be older")


def _list(args: argparse.Namespace) -> int:
    config, selection = load(args.config), _selection(args)
    is_ended = args.ended or not selection.may_wait
    with closing(_reader(config)) as reader:
        now = Stamp.now(SystemClock())
        found = (ended if is_ended else waiting)(reader, selection, now, args.limit + 1)
    document = {
        "schema": LIST_SCHEMA,
        "device": config.agent.device.id,
        "ts": to_text(now.wall_ns),
        "items": [_item_json(one) for one in found[: args.limit]],
        "more": len(found) > args.limit,
    }
    return _print(args, document, _list_screen)


def _show(args: argparse.Namespace) -> int:
    config = load(args.config)
    selection = _named(args.item)
    with closing(_reader(config)) as reader:
        now = Stamp.now(SystemClock())
        prediction_id = selection.prediction_id if selection.row is None else prediction_of(reader, selection.row)
        found = None if prediction_id is None else story(reader, prediction_id, now)
    if found is None:
        raise _nothing(args.item)
    return _print(args, _story_json(config.agent.device.id, found), _story_screen)


def _retry(args: argparse.Namespace) -> int:
    return _change(args, Action.RETRY)


def _purge(args: argparse.Namespace) -> int:
    return _change(args, Action.PURGE)


def _change(args: argparse.Namespace, action: Action) -> int:
    config, selection = load(args.config), _selection(args)
    if selection.is_everything != args.all:
        mend = f"name an item, say which ones (edge-agent outbox {action} --help), or say --all alone"
        raise CliError(f"nothing says what to {action}" if not args.all else "--all and a choice", mend, Exit.USAGE)
    with closing(_reader(config)) as reader:
        now = Stamp.now(SystemClock())
        there = tally(reader, selection, now)
        known = selection.prediction_id and story(reader, selection.prediction_id, now)
    if not there and args.item is not None:
        raise _not_waiting(args.item, action, known or None)
    if action is Action.PURGE and there and not args.yes:
        _confirm(there)
    handled = _handled(config, action, selection) if there else Handled()
    document = {
        "schema": CHANGE_SCHEMA,
        "device": config.agent.device.id,
        "action": action.value,
        "changed": {subject.value: handled.changed.get(subject, 0) for subject in Subject},
        "refused": {reason.value: handled.refused.get(reason, 0) for reason in Refusal},
    }
    _print(args, document, _change_screen)
    return Exit.OK if handled.changed or not handled.refused else Exit.DATA


def _handled(config: Config, action: Action, selection: Selection) -> Handled:
    state_dir = config.agent.device.state_dir
    if is_held(state_dir / LOCK_NAME):
        return desk.ask(state_dir / desk.FOLDER_NAME, action, selection, _ANSWER_WITHIN_S)
    store = Store(
        state_dir,
        SystemClock(),
        store_settings(config),
        agent_version=version("tandem-edge"),
        acknowledge=lambda handles: None,  # noqa: ARG005 - nothing is received here
        on_publishable=lambda: None,
        on_commit=lambda took_s, counts: None,  # noqa: ARG005 - nobody measures here
    )
    store.open()
    try:
        return store.handling.handle(action, selection)
    finally:
        store.close()


def _confirm(there: dict[tuple[Subject, Outcome], int]) -> None:
    what = ", ".join(f"{count} {subject} {state}" for (subject, state), count in sorted(there.items()))
    if not sys.stdin.isatty():
        raise CliError(f"would purge: {what}", "say --yes to do it", Exit.USAGE)
    sys.stderr.write(f"purge {what}? This cannot be undone. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CliError("nothing was purged", "answer y, or say --yes", Exit.USAGE)


def _reader(config: Config) -> Reader:
    reader = Reader(config.agent.device.state_dir / FILE_NAME)
    reader.open()
    return reader


def _selection(args: argparse.Namespace) -> Selection:
    named = _named(getattr(args, "item", None))
    return Selection(
        prediction_id=named.prediction_id,
        row=named.row,
        item_class=None if args.item_class is None else _CLASSES[args.item_class],
        destination=args.destination,
        state=None if args.state is None else Outcome(args.state),
        binding=None if args.binding is None else BindingName(args.binding),
        older_than_s=args.older_than,
    )


def _named(item: str | None) -> Selection:
    if item is None:
        return Selection()
    if item.isascii() and item.isdigit() and len(item) < _MAX_ROW_DIGITS:  # an id is longer
        return Selection(row=RowId(int(item)))
    return Selection(prediction_id=PredictionId(item))


def _nothing(item: str) -> CliError:
    return CliError(
        f"nothing is known of {item} (any more)",
        "ids are in the events, rows in `edge-agent outbox list`; a delivered row is gone, its prediction is not",
        Exit.DATA,
    )


def _not_waiting(item: str, action: Action, known: Story | None) -> CliError:
    if known is None:
        return _nothing(item)
    stands = "nothing of it waits" if known.asked is None else f"its escalation is {known.asked.state}"
    return CliError(
        f"nothing of {item} fits that could be {_DONE[action]}: {stands}",
        f"see its story: edge-agent outbox show {item}",
        Exit.DATA,
    )


_DONE = {Action.RETRY: "sent again", Action.PURGE: "purged"}


def _item_json(item: Item) -> dict[str, Any]:
    return {
        "row": item.row,
        "class": item.item_class.name.lower(),
        "seq": item.seq,
        "destination": item.destination,
        "subject": item.subject.value,
        "state": item.state.value,
        "binding": item.binding or None,
        "prediction": item.prediction_id,
        "bytes": item.bytes,
        "reason": item.reason,
        "age_s": None if item.age_s is None else round(item.age_s, 3),
    }


def _story_json(device: str, found: Story) -> dict[str, Any]:
    asked = found.asked
    return {
        "schema": ITEM_SCHEMA,
        "device": device,
        "prediction": found.event["id"],
        "binding": found.binding,
        "partition": found.partition,
        "event": found.event,
        "edge_event": found.edge_event,
        "has_feedback": found.has_feedback,
        "escalation": None
        if asked is None
        else {
            "reason": asked.reason,
            "propensity": asked.propensity,
            "class": asked.item_class.name.lower(),
            "seq": asked.seq,
            "state": asked.state.value,
            "created": to_text(asked.created_ns),
            "changed": to_text(asked.changed_ns),
            "rejection": None
            if asked.rejection is None
            else {"status": asked.rejection.status, "message": asked.rejection.message},
        },
        "waiting": [_item_json(one) for one in found.waiting],
    }


def _print(args: argparse.Namespace, document: dict[str, Any], screen: Callable[[dict[str, Any]], str]) -> int:
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if args.json else screen(document))
    return Exit.OK


def _list_screen(document: dict[str, Any]) -> str:
    lines = [_item_line(one) for one in document["items"]]
    if not lines:
        return "nothing\n"
    heads = f"{'ROW':>10}  {'CLASS':<10} {'STATE':<13} {'WHAT':<10} {'DESTINATION':<16} {'AGE':>9}  PREDICTION"
    more = ["… there are more: --limit"] if document["more"] else []
    return "\n".join([heads, *lines, *more]) + "\n"


def _item_line(one: dict[str, Any]) -> str:
    row, age = "-" if one["row"] is None else one["row"], "?" if one["age_s"] is None else f"{one['age_s']:.0f} s"
    reason = f" ({one['reason']})" if one["reason"] else ""
    head = f"{row:>10}  {one['class']:<10} {one['state']:<13} {one['subject']:<10} {one['destination']:<16} {age:>9}"
    return f"{head}  {one['prediction']}{reason}"


def _story_screen(document: dict[str, Any]) -> str:
    event, asked = document["event"], document["escalation"]
    lines = [
        f"{document['prediction']} of {document['binding']}, partition {document['partition'] or '-'}",
        f"  newest      revision {event['revision']}, {event['status']}, by the {event['tier']}, {event['ts']}",
    ]
    if document["edge_event"] is not None:
        lines.append(f"  before      the edge said it with confidence {document['edge_event']['confidence']}")
    if asked is not None:
        lines.append(f"  escalation  {asked['state']} since {asked['changed']}; asked {asked['created']}")
        lines.append(
            f"              {asked['class']} {asked['seq']}, {asked['reason']}, propensity {asked['propensity']}"
        )
    if asked is not None and asked["rejection"] is not None:
        lines.append(
            f"              the hub rejected it, {asked['rejection']['status']}: {asked['rejection']['message']}"
        )
    if document["has_feedback"]:
        lines.append("  feedback    somebody said what they think of it")
    for one in document["waiting"]:
        age = "of unknown age" if one["age_s"] is None else f"for {one['age_s']:.0f} s"
        lines.append(f"  waits       row {one['row']}: {one['subject']} to {one['destination']}, {one['state']}, {age}")
    return "\n".join([*lines, *([] if document["waiting"] else ["  waits       nothing of it"])]) + "\n"


def _change_screen(document: dict[str, Any]) -> str:
    done = _DONE[Action(document["action"])]
    lines = [f"{count} {subject} {done}" for subject, count in document["changed"].items() if count]
    lines += [f"{count} left: {_WHY[Refusal(why)]}" for why, count in document["refused"].items() if count]
    return "\n".join(lines or ["nothing fits"]) + "\n"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError("expected 0 or more")
    return value
