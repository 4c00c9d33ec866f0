"""Owns `model-pack bench`: what is asked, the table or the document, and writing the install's tuning file."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_packs.bench.measuring import FULL, QUICK, Found, Measured, measure, steps
from model_packs.engines.machine import Machine, this_machine
from model_packs.engines.options import DEFAULT_PROVIDERS, PROVIDER_NAMES, EngineOptions
from model_packs.engines.tuning import add_tunings, tuning_document
from model_packs.errors import MissingEngineError
from model_packs.manifest import PackRef
from model_packs.process.exits import CliError, Exit
from model_packs.process.progress import progress
from model_packs.store import PackStore

SCHEMA = "tandem.bench/1"


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    bench = commands.add_parser(
        "bench",
        help="measure a pack on this machine: threads, batches, variants",
        description="Measure what pays on this machine. With --tuning, programs use it from their next start on.",
    )
    bench.add_argument("layout", type=Path, metavar="LAYOUT")
    bench.add_argument("--pack", type=_ref, metavar="NAME@VERSION", help="only this pack")
    bench.add_argument(
        "--tuning",
        type=Path,
        metavar="FILE",
        help="write what was measured into this install's file: tuning.json in the state folder of an agent or a hub",
    )
    bench.add_argument(
        "--provider",
        action="append",
        choices=PROVIDER_NAMES,
        help=f"execution provider to try, the preferred one first; may be repeated (default: {DEFAULT_PROVIDERS})",
    )
    bench.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    bench.add_argument("--json", action="store_true", help=f"print one JSON document ({SCHEMA})")
    bench.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, and write the tuning file.

    Raises:
        CliError: No variant of a pack runs here, or there is no such pack.
        EngineError: An engine failed.
        PackError: A pack is damaged.
        OSError: The tuning file cannot be written.
    """
    store, machine = PackStore(options.layout), this_machine()
    wanted = [ref for ref in store.refs() if options.pack in (None, ref)]
    if not wanted:
        raise CliError(f"{options.layout} holds no such pack", "see `model-pack inspect`", Exit.DATA)
    engine = EngineOptions(providers=tuple(options.provider or DEFAULT_PROVIDERS))
    effort = QUICK if options.quick else FULL
    packs = [store.load(ref, None) for ref in wanted]
    found = []
    for pack in packs:
        with progress(steps(pack, effort), f"{pack.ref}: rounds") as bar:
            found.append(measure(pack, engine, effort, bar.advance))
    for one in found:
        if not one.variants:
            reasons = "; ".join(f"{each.what}: {each.reason}" for each in one.not_run)
            raise MissingEngineError(f"{one.pack.ref} does not run here: {reasons}", "pip install 'tandem-edge[cpu]'")
    if options.tuning is not None:
        add_tunings(options.tuning, machine, [each.tuning for one in found for each in one.variants])
    sys.stdout.write(_text(found, machine, options) + "\n")
    return Exit.OK


def _text(found: Sequence[Found], machine: Machine, options: argparse.Namespace) -> str:
    if options.json:
        return json.dumps(_document(found, machine, options.tuning), ensure_ascii=False, indent=2)
    lines = [line for one in found for line in _lines(one, machine)]
    if options.tuning is not None:
        lines.append(f"written to {options.tuning}: programs use it for the packs that they open from now on")
    return "\n".join(lines)


def _ref(text: str) -> PackRef:
    try:
        return PackRef.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _lines(found: Found, machine: Machine) -> list[str]:
    lines = [f"{found.pack.ref} on {machine.cpu}, {machine.cores} cores"]
    for one in found.variants:
        lines += _variant_lines(one)
    lines += [f"  {each.what}: not run: {each.reason}" for each in found.not_run]
    return lines


def _variant_lines(one: Measured) -> list[str]:
    facts, form, tuning = one.facts, one.form, one.tuning
    head = f"  {facts.variant} ({facts.precision}, {form.graph_bytes} bytes) on {facts.engine} {facts.engine_version}"
    lines = [f"{head}, {facts.provider}; {form.right:.1%} of the golden examples answered as recorded"]
    lines += [f"    passed over {each.what}: {each.reason}" for each in facts.passed_over]
    lines += ["    threads    one window, us    CPU, us"]
    lines += [f"    {each.threads:>7} {each.run_us:>17.1f} {each.cpu_us:>10.1f}" for each in one.threads]
    lines += [f"    -> {tuning.threads} pay", "      batch           run, us    a window, us    CPU of a window, us"]
    lines += [
        f"    {each.batch:>7} {each.run_us:>17.1f} {each.window_us:>15.1f} {each.cpu_us / each.batch:>22.1f}"
        for each in tuning.curve
    ]
    if tuning.max_batch == 1:
        lines.append("    -> no batching: a window takes as long in company as alone")
    else:
        lines.append(f"    -> batches of up to {tuning.max_batch} pay")
    if tuning.better_variant:
        lines.append(f"    -> not worth having here: {tuning.better_variant} is as fast, or more often right")
    return lines


def _document(found: Sequence[Found], machine: Machine, tuning: Path | None) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "machine": {"cpu": machine.cpu, "features": machine.features.split(), "cores": machine.cores},
        "tuning_file": None if tuning is None else str(tuning),
        "packs": [
            {
                "ref": str(one.pack.ref),
                "digest": one.pack.digest,
                "variants": [_variant_document(each) for each in one.variants],
                "not_run": [{"variant": each.what, "reason": each.reason} for each in one.not_run],
            }
            for one in found
        ],
    }


def _variant_document(one: Measured) -> dict[str, Any]:
    facts = one.facts
    return {
        "variant": facts.variant,
        "precision": facts.precision,
        "engine": facts.engine,
        "passed_over": [{"what": each.what, "reason": each.reason} for each in facts.passed_over],
        "graph_bytes": one.form.graph_bytes,
        "golden_right": one.form.right,
        "by_threads": [{"threads": each.threads, "run_us": each.run_us, "cpu_us": each.cpu_us} for each in one.threads],
        **tuning_document(one.tuning),
    }
