"""Owns `edge-agent status`: the agent at one look. A running agent answers itself; else the files are read."""

import argparse
import http.client
import json
import sys
from importlib.metadata import version
from typing import Any

from edge_agent.adapters.clock import SystemClock
from edge_agent.adapters.http import STATUS_PATH
from edge_agent.adapters.slot_file import SlotFile
from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.budget_ledger import read_budget
from edge_agent.adapters.sqlite.lock import is_held
from edge_agent.adapters.sqlite.policy_totals import read_totals
from edge_agent.adapters.sqlite.reading import Reader
from edge_agent.adapters.sqlite.store import FILE_NAME, LOCK_NAME
from edge_agent.commands.arguments import Subparsers, add_config, add_json
from edge_agent.config import Config, load
from edge_agent.core.durability import Durability
from edge_agent.core.timestamps import to_text
from edge_agent.errors import StoreError
from edge_agent.identity import identity_facts
from edge_agent.packs.device_slots import DeviceSlots
from edge_agent.packs.trusted_packs import factory_pack
from edge_agent.ports import Clock
from edge_agent.reporting.run_file import FILE_NAME as RUN_FILE_NAME
from edge_agent.reporting.run_file import Running
from edge_agent.reporting.status import (
    SCHEMA,
    STOPPED,
    StoreFacts,
    binding_json,
    budget_json,
    feedback_json,
    identity_json,
    identity_problems,
    outbox_json,
    slot_json,
)
from model_packs.process.exits import Exit

_TIMEOUT_S = 2.0
_MAX_DOCUMENT_BYTES = 4 << 20


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("status", help="show how the agent fares", description="Show how the agent fares.")
    add_config(parser)
    add_json(parser, SCHEMA)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask the running agent, or read what it left; print."""
    config = load(args.config)
    state_dir = config.agent.device.state_dir
    is_running = is_held(state_dir / LOCK_NAME)
    running = Running.read(state_dir / RUN_FILE_NAME) if is_running else None
    document = None if running is None else _asked(running)
    if document is None:
        document = _left(config, SystemClock(), is_silent=is_running)
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if args.json else _screen(document))
    return Exit.OK


def _asked(running: Running) -> dict[str, Any] | None:
    connection = http.client.HTTPConnection(running.http_host, running.http_port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", STATUS_PATH)
        document = json.loads(connection.getresponse().read(_MAX_DOCUMENT_BYTES))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    is_ours = isinstance(document, dict) and document.get("device") == running.device
    return document if is_ours else None


def _left(config: Config, clock: Clock, *, is_silent: bool) -> dict[str, Any]:
    agent, now_ns = config.agent, clock.wall_ns()
    identity = identity_facts(agent)
    facts, problem = _read(config, clock)
    silent = "the agent's process runs but does not answer: look at its log, restart it"
    problems = [silent if is_silent else f"the agent does not run: edge-agent run --config {config.path}"]
    problems += ([] if problem is None else [problem]) + identity_problems(identity, now_ns)
    twin = DeviceSlots(SlotFile(agent.device.packs_dir)).twin(
        {one.id: factory_pack(config, one) for one in config.bindings.binding}
    )
    slots = {report.binding: slot_json(report, twin.desired) for report in twin.reports}
    return {
        "schema": SCHEMA,
        "device": agent.device.id,
        "version": version("tandem-edge"),
        "ts": to_text(now_ns),
        "clock": "synced" if clock.is_synced() else "unsynced",
        "running": False,
        "state": STOPPED,
        "uptime_s": None,
        "problems": problems,
        "peers": [],
        "identity": identity_json(identity, now_ns),
        "bindings": [binding_json(one.id, facts, None, slots[one.name], None) for one in config.bindings.binding],
        "feedback": feedback_json(facts),
        "outbox": outbox_json(facts.outbox, agent.outbox.max_bytes),
        "budget": budget_json(facts.budget),
    }


def _read(config: Config, clock: Clock) -> tuple[StoreFacts, str | None]:
    path = config.agent.device.state_dir / FILE_NAME
    terms = {one.id: one.terms for one in config.bindings.binding}
    nothing = StoreFacts({}, (), (), None, terms=terms)
    if not path.exists():
        return nothing, None
    reader = Reader(path)
    try:
        reader.open()
        now = Stamp.now(clock)
        return StoreFacts(
            reader.figures(),
            reader.outbox(now),
            reader.last_predictions(now),
            None,
            read_budget(reader),
            terms,
            read_totals(reader),
        ), None
    except StoreError as error:
        return nothing, f"{error.message}; {error.mend}"
    finally:
        reader.close()


def _screen(document: dict[str, Any]) -> str:
    lines = [f"{document['device']}: {document['state']} (edge-agent {document['version']})"]
    lines += [f"  problem   {problem}" for problem in document["problems"]]
    for peer in document["peers"]:
        state = "connected" if peer["connected"] else "not connected"
        lines.append(f"  {peer['peer']:<9} {state}, {peer['address']}")
    if document["identity"] is not None:
        identity = document["identity"]
        until = f" until {identity['not_after']}" if identity["not_after"] else ""
        lines.append(f"  identity  certificate {identity['state']}{until}")
    for binding in document["bindings"]:
        lines += _binding_lines(binding)
    lines += _budget_lines(document.get("budget", []))
    lines += _feedback_lines(document.get("feedback"))
    outbox = document["outbox"]
    lines.append(f"  outbox    {outbox['bytes']} of {outbox['max_bytes']} bytes")
    for one in outbox["classes"]:
        lines.append(f"    {one['class']:<11} {one['items']} items, {one['bytes']} bytes, oldest {_age(one)}")
    return "\n".join(lines) + "\n"


def _binding_lines(binding: dict[str, Any]) -> list[str]:
    model, last = binding["model"], binding["last_prediction"]
    lines = [f"  {binding['binding']}"]
    if model is not None:
        certificate = model["certificate"]
        stated = "no certificate" if certificate is None else f"certificate {certificate['state']}"
        lines.append(f"    runs       {model['pack']} on {model['engine']} ({model['provider']}), {stated}")
        lines += [f"    not on     {one['what']}: {one['reason']}" for one in model.get("passed_over", [])]
    lines += slot_lines(binding["slot"]) if "slot" in binding else []  # an older agent, still running, names none
    dead = f"dead-lettered {binding['dead_lettered']}{_reasons(binding.get('dead_lettered_by', {}))}"
    lines.append(f"    received   {binding['received']}, of which {dead}")
    if binding.get("durability") == Durability.NONE:  # an older agent does not say it
        lines.append("    durability none: messages are acknowledged before they are written")
    if binding.get("samples_late"):
        lines.append(f"    late       {binding['samples_late']} samples")
    lines.append(
        f"    decided    {binding['decided']}, escalated {binding['escalated']}, answered {binding['answered']}"
        + (f", returned to callers {binding['returned']}" if binding["returned"] else "")
    )
    lines += _decision_lines(binding.get("decisions"))
    lines += _cost_lines(binding.get("bought"), binding.get("unanswered"))
    evicted = [f"{what} {sum(by.values())}{_reasons(by)}" for what, by in binding.get("evicted", {}).items() if by]
    if evicted:
        lines.append(f"    evicted    {', '.join(evicted)}")
    newest = "none yet" if last is None else f"{_seconds(last['age_s'])} ago, {last['status']}"
    lines.append(f"    newest     {newest}")
    return lines


def slot_lines(slot: dict[str, Any]) -> list[str]:
    """What there is to say about a binding's pack, for a person; nothing when it is committed and wanted."""
    lines = []
    if slot["state"] != "committed" or slot["pinned"]:
        held = ", pinned: what the hub wants waits" if slot["pinned"] else ""
        back = f", back to {slot['previous_pack']}" if slot["previous_pack"] else ""
        waits = ", waits for its first answers" if slot["phase"] == "waiting" else ""
        lines.append(f"    pack       {slot['pack']} {slot['state']}{waits}{back}{held}")
    wanted = slot["desired"]
    if wanted is not None and wanted["digest"] != slot["digest"]:
        share = f" {slot['done_bytes']} of {slot['total_bytes']} bytes" if slot["phase"] == "downloading" else ""
        lines.append(f"    wanted     {wanted['pack']}, {slot['phase']}{share}")
    if slot["failure"] is not None:
        failure = slot["failure"]
        lines.append(f"    failed     {failure['action']}, {failure['reason']}: {failure['detail']}")
    return lines


def _budget_lines(budget: list[dict[str, Any]]) -> list[str]:
    """One line for each bounded resource and pool; an agent of an older version, still running, names none."""
    return [
        f"  budget    {one['resource']:<6} {one['pool']:<11} {one['spent']:g} spent, {one['left']:g} left"
        + (f", {one['leased']:g} in hand" if one["leased"] else "")
        for one in budget
    ]


def _decision_lines(decisions: dict[str, Any] | None) -> list[str]:
    """What stayed, what the hub said of it, and what nobody was asked about."""
    if decisions is None or not decisions["made"]:
        return []
    audits = decisions["audits"]
    lines = [f"    kept       {decisions['kept']} of {decisions['made']}{_reasons(decisions['doubted_by'])}"]
    if audits["drawn"]:
        said = f"{audits['agreed']} agreed, {audits['disagreed']} disagreed, {audits['pending']} wait"
        lost = f"lost {audits['lost']}{_reasons(audits['lost_by'])}"
        lines.append(f"    audits     {audits['drawn']} drawn, {said}, {lost}")
    if decisions["suppressed"]:
        lines.append(f"    not asked  {decisions['suppressed']}{_reasons(decisions['suppressed_by'])}")
    return lines


def _cost_lines(bought: dict[str, Any] | None, unanswered: dict[str, Any] | None) -> list[str]:
    """What questions cost and came to, and what nobody answered; an agent of an older version says neither."""
    lines = []
    if bought is not None and bought["calls"]:
        came = f"of {bought['answered']} answers {bought['corrected']} corrected the edge's"
        lines.append(f"    cost       {bought['calls']} calls, {bought['audits']} of them audits: {came}")
    if unanswered is not None and unanswered["windows"]:
        wrong = "wrong: unknown (none judged)"
        if unanswered["judged"]:
            wrong = f"{unanswered['disagreed']} of {unanswered['judged']} judged by lot were otherwise"
        what = f"{unanswered['suppressed']} short of budget, {unanswered['ended']} asked in vain"
        lines.append(f"    unanswered {unanswered['windows']} ({what}), no certificate; {wrong}")
    return lines


def _feedback_lines(feedback: dict[str, Any] | None) -> list[str]:
    """One line once there was any; an agent of an older version, still running, has none."""
    if feedback is None or not feedback["received"]:
        return []
    dead = f"dead-lettered {feedback['dead_lettered']}{_reasons(feedback['dead_lettered_by'])}"
    told = f"{feedback['received']} received, {feedback['delivered']} at the hub, {feedback['pending']} wait"
    return [f"  feedback  {told}, {dead}"]


def _reasons(by: dict[str, int]) -> str:
    """Reasons in brackets; an agent of an older version, still running, names none."""
    return f" ({', '.join(f'{reason} {count}' for reason, count in by.items())})" if by else ""


def _age(one: dict[str, Any]) -> str:
    return _seconds(one["oldest_age_s"])


def _seconds(value_s: float | None) -> str:
    return "of unknown age" if value_s is None else f"{value_s:.0f} s"
