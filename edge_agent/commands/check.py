"""Owns `edge-agent check`: every problem of the files and the packs that they name, or each binding's way on a screen.

It starts nothing, connects nowhere and writes nothing.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.binding_config import BindingConfig
from edge_agent.commands.arguments import Subparsers, add_config, add_json
from edge_agent.config import Config, load
from edge_agent.core.decision import barrier
from edge_agent.core.window_geometry import HoppingSpec
from edge_agent.errors import PackUnusableError
from edge_agent.packs.binding_check import check_binding
from edge_agent.packs.trusted_packs import find_pack, trusted_keys
from model_packs.certificate.document import Certificate
from model_packs.errors import ModelPackError
from model_packs.pack import Pack
from model_packs.process.exits import CliError, Exit
from model_packs.process.settings import Problem, SettingsError
from model_packs.process.toml_lines import KeyLines
from model_packs.signing import PublicKey
from protos.link.identity import CHAIN_FILE

SCHEMA = "edge.check/1"

_REFETCH = "build the pack again with `model-pack build`, and publish it under a new version"


@dataclass(frozen=True, slots=True)
class _Way:
    """One binding, its pack if it is here, and what that pack says of its threshold."""

    binding: BindingConfig
    pack: Pack | None
    certificate: Certificate | None
    is_signature_checked: bool


@dataclass(frozen=True, slots=True)
class _Findings:
    """What a check found.

    Attributes:
        problems: Of the files.
        bad_packs: Packs that must not run.
    """

    config: Config | None
    problems: tuple[Problem, ...]
    bad_packs: tuple[PackUnusableError, ...]
    ways: tuple[_Way, ...]

    @property
    def exit(self) -> Exit:
        """What the command ends with."""
        if self.problems:
            return Exit.CONFIG
        return Exit.DATA if self.bad_packs else Exit.OK


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "check", help="validate the files and packs, start nothing", description="Validate, start nothing."
    )
    add_config(parser)
    add_json(parser, SCHEMA)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and print.

    Raises:
        CliError: There are problems; all of them are in its message.
    """
    findings = _check(args.config)
    if args.json:
        sys.stdout.write(json.dumps(_document(findings), indent=2) + "\n")
        return findings.exit
    if findings.config is not None and findings.exit is Exit.OK:
        sys.stdout.write(_screen(findings.config, findings.ways))
        return Exit.OK
    if findings.problems:
        raise SettingsError(findings.problems)
    lines = "\n".join(f"  {error.message}" for error in findings.bad_packs)
    raise CliError(f"packs that must not run\n{lines}", findings.bad_packs[0].mend, Exit.DATA)


def _check(path: Path) -> _Findings:
    try:
        config = load(path)
    except SettingsError as error:
        return _Findings(None, error.problems, (), ())
    bindings_path = config.agent.bindings
    lines = KeyLines(bindings_path.read_text(encoding="utf-8"))
    problems: list[Problem] = []
    bad_packs: list[PackUnusableError] = []
    ways: list[_Way] = []
    trusted: tuple[PublicKey, ...] = ()
    try:
        trusted = trusted_keys(config)
    except PackUnusableError as error:
        bad_packs.append(error)
    if not trusted and not bad_packs and config.agent.hub is None:
        key, message = (
            "packs.trusted_keys",
            "no pack may run: there is no [hub] whose key enrolment would pin, and no key here",
        )
        agent_lines = KeyLines(path.read_text(encoding="utf-8"))
        problems.append(Problem(path, agent_lines.find(key), key, message))
    for index, binding in enumerate(config.bindings.binding):
        at = f"binding[{index}]"
        try:
            way = _way(config, binding, trusted)
        except PackUnusableError as error:
            bad_packs.append(error)
            continue
        ways.append(way)
        if way.pack is not None:
            for problem in check_binding(binding, way.pack.manifest):
                key, _, message = problem.partition(": ")
                problems.append(Problem(bindings_path, lines.find(f"{at}.{key}"), f"{at}.{key}", message))
        elif config.agent.hub is None:
            message = (
                f"{binding.pack} is not on this device, and there is no [hub] to fetch it from: name a layout's path"
            )
            problems.append(Problem(bindings_path, lines.find(f"{at}.pack"), f"{at}.pack", message))
    return _Findings(config, tuple(problems), tuple(bad_packs), tuple(ways))


def _way(config: Config, binding: BindingConfig, trusted: tuple[PublicKey, ...]) -> _Way:
    # A device that has no key yet (not enrolled) can only compare digests; `run` will want a signature.
    pack = find_pack(config, binding, trusted or None)
    try:
        return _Way(binding, pack, None if pack is None else pack.certificate, bool(trusted))
    except ModelPackError as error:
        raise PackUnusableError(binding.pack, f"{error}", _REFETCH) from error


def _screen(config: Config, ways: tuple[_Way, ...]) -> str:
    agent = config.agent
    hub = "no hub" if agent.hub is None else f"hub {agent.hub.services}"
    enrolled = "enrolled" if _is_enrolled(config) else "not enrolled"
    lines = [f"ok: {config.path}", f"device {agent.device.id}, {hub}, {enrolled}, state in {agent.device.state_dir}"]
    for way in ways:
        binding = way.binding
        streams = f", one stream per {', '.join(binding.partition)}" if binding.partition else ""
        lines += [
            "",
            f"{binding.name}",
            f"  from   {_sources(config, binding)}",
            f"  {_input_line(way)}{streams}",
            f"  pack   {_pack_line(config, way)}",
            f"  to     {_ways_back(config, binding)}",
        ]
    return "\n".join(lines) + "\n"


def _sources(config: Config, binding: BindingConfig) -> str:
    ways = []
    if binding.is_fed:
        ways.append(f"{binding.topic} on {binding.broker} ({config.bindings.mqtt[binding.broker].url})")
    if config.agent.oip is not None:
        ways.append(f"local calls on {config.agent.oip.address} (gRPC, model {binding.name!r})")
    return " and ".join(ways)


def _ways_back(config: Config, binding: BindingConfig) -> str:
    topic = "" if binding.result is None else binding.result.topic
    return " and ".join(filter(None, (topic, "" if config.agent.oip is None else "the caller")))


def _input_line(way: _Way) -> str:
    if not way.binding.is_fed:
        inputs = () if way.pack is None else way.pack.manifest.inputs
        said = ", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in inputs)
        return f"input  {said or 'as the pack says'}"
    if way.binding.takes_images:
        image = None if way.pack is None else way.pack.manifest.image
        size = "" if image is None else f", {image.width} x {image.height}, {image.mode}"
        return f"image  one JPEG or PNG a message{size}"
    spec = way.binding.window_spec()
    return f"window {spec.size_s:g} s every {spec.hop_s:g} s at {spec.rate_hz:g} Hz"


def _pack_line(config: Config, way: _Way) -> str:
    if way.pack is None:
        how = "the first run fetches it if the hub has it" if _is_enrolled(config) else "`edge-agent enrol` fetches it"
        return f"{way.binding.pack}: not on this device; {how}"
    threshold = None if way.certificate is None else way.certificate.threshold
    kept = "keeps nothing" if threshold is None else f"keeps confidence of {threshold:.4g} or more"
    wall = _barrier(config, way)
    asks = f"asks {way.pack.manifest.escalates_to}" if wall is None else f"asks nobody ({wall})"
    signed = "" if way.is_signature_checked else "; signature not checked, no key is trusted before enrolment"
    return f"{way.pack.ref} ({way.pack.digest[:19]}…), {kept}, {asks}{signed}"


def _is_enrolled(config: Config) -> bool:
    return (config.agent.device.identity_dir / CHAIN_FILE).exists()


def _barrier(config: Config, way: _Way) -> str | None:
    has_hub_pack = way.pack is None or way.pack.manifest.escalates_to is not None
    found = barrier(way.binding.egress, has_hub=config.agent.hub is not None, has_hub_pack=has_hub_pack)
    return None if found is None else found.value


def _document(findings: _Findings) -> dict[str, Any]:
    problems = [
        {
            "file": str(problem.file),
            "line": problem.line,
            "key": problem.key_path,
            "message": problem.message,
            "nearest": problem.nearest,
        }
        for problem in findings.problems
    ]
    config = findings.config
    return {
        "schema": SCHEMA,
        "ok": findings.exit is Exit.OK,
        "problems": problems,
        "bad_packs": [
            {"pack": error.pack, "message": error.message, "mend": error.mend} for error in findings.bad_packs
        ],
        "device": None if config is None else config.agent.device.id,
        "bindings": [] if config is None else [_way_document(config, way) for way in findings.ways],
    }


def _way_document(config: Config, way: _Way) -> dict[str, Any]:
    binding = way.binding
    pack = None
    if way.pack is not None:
        pack = {
            "ref": str(way.pack.ref),
            "digest": way.pack.digest,
            "threshold": None if way.certificate is None else way.certificate.threshold,
            "signature_checked": way.is_signature_checked,
        }
    return {
        "name": binding.name,
        "broker": binding.broker or None,
        "topic": binding.topic or None,
        "partition": list(binding.partition),
        "codec": None if binding.payload is None else binding.payload.codec,
        "window": None if binding.takes_images or not binding.is_fed else _window_document(binding.window_spec()),
        "pack": pack,
        "barrier": _barrier(config, way),
        "result": None if binding.result is None else binding.result.topic,
        "local_calls": config.agent.oip is not None,
    }


def _window_document(spec: HoppingSpec) -> dict[str, float]:
    return {"size_s": spec.size_s, "hop_s": spec.hop_s, "rate_hz": spec.rate_hz}
