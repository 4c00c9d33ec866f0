"""Owns `model-pack report`: which pack, which rows, where the page goes.

Printing and exit codes of the other commands are `cli`'s; the page is `page`'s.
"""

import argparse
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from model_packs.manifest import PackRef
from model_packs.pack import Pack
from model_packs.process.durable import write_file
from model_packs.process.exits import CliError, Exit, Parser
from model_packs.report.evaluation import Evaluation, read_scores, run_packs
from model_packs.report.figures import figures, to_document
from model_packs.report.page import report_page
from model_packs.shipped.labelled_rows import labelled_rows, shipped_pack
from model_packs.shipped.motion_band.dataset import DEFAULT_CACHE, DatasetError
from model_packs.store import PackStore

SCHEMA: Final = "tandem.report/1"
_HELP: Final = "write one page that shows what a pack's threshold does: curves, certificate, classes"


def add_to(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Declare the command.

    Args:
        commands: The program's sub-commands.
    """
    report = commands.add_parser("report", help=_HELP, description=_HELP)
    report.add_argument("layout", type=Path, metavar="PACK", help="the layout that holds the pack")
    report.add_argument("--pack", metavar="NAME@VERSION", help="which pack, where the layout holds several edge packs")
    report.add_argument(
        "--scores",
        type=Path,
        metavar="SCORES",
        help="the rows that certify reads, .npz or .parquet, and hub_correct, predicted (a shipped pack needs none)",
    )
    report.add_argument("--data", type=Path, default=DEFAULT_CACHE, metavar="DIR", help="where shipped packs' data lie")
    report.add_argument("-o", "--out", type=Path, metavar="PAGE.HTML", help="default: NAME-VERSION-report.html here")
    report.add_argument("--json", action="store_true", help="print the figures as one JSON document, too")
    report.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    store = PackStore(options.layout)
    pack = _chosen(store, options)
    rows = _from_scores(options.scores, pack) if options.scores is not None else _from_field(pack, store, options.data)
    found = figures(rows, pack.certificate)
    made_by = f"model-pack {metadata.version('tandem-edge')}"
    page = report_page(pack.manifest, pack.certificate, rows, found, made_by)
    out: Path = options.out or Path(f"{pack.ref.name}-{pack.ref.version}-report.html")
    write_file(out, page.encode())
    if options.json:
        about = {"schema": SCHEMA, "ref": str(pack.ref), "digest": pack.digest, "page": str(out), "rows": rows.source}
        sys.stdout.write(json.dumps({**about, "figures": to_document(found)}, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(f"{out}: {pack.ref} on {found.n_rows} {rows.unit}s ({rows.source})\n")
    return Exit.OK


def _chosen(store: PackStore, options: argparse.Namespace) -> Pack:
    """The edge pack that is meant."""
    edges = [pack for stored in store.list() if (pack := store.load(stored.ref, None)).manifest.role == "edge"]
    chosen = [pack for pack in edges if options.pack in (None, str(pack.ref))]
    if len(chosen) != 1:
        known = ", ".join(str(pack.ref) for pack in edges) or "no edge pack"
        raise CliError(f"{options.layout} holds {known}", "choose one of these with --pack", Exit.DATA)
    return chosen[0]


def _from_scores(path: Path, pack: Pack) -> Evaluation:
    return read_scores(path, pack.manifest)


def _from_field(pack: Pack, store: PackStore, cache: Path) -> Evaluation:
    """Let a shipped pack and its hub answer the field rows of its family."""
    try:
        rows = labelled_rows(pack.manifest, "FIELD", cache, lambda _line: None)
    except DatasetError as error:
        raise CliError(str(error), error.mend, Exit.UNAVAILABLE) from error
    except ModuleNotFoundError as error:
        raise CliError(f"{error.name} is missing", "pip install 'tandem-edge[image]'", Exit.UNAVAILABLE) from error
    if rows is None:
        raise CliError(
            f"{pack.ref} is of no shipped family, so its rows are not known here",
            "give --scores FILE with score, correct and, for the hub's part, hub_correct",
            Exit.USAGE,
        )
    return run_packs(pack, _hub_of(pack, store), rows)


def _hub_of(pack: Pack, store: PackStore) -> Pack | None:
    """The pack behind, from the same layout or from those that came along."""
    ref: PackRef | None = pack.manifest.escalates_to
    if ref is None:
        return None
    if any(stored.ref == ref for stored in store.list()):
        return store.load(ref, None)
    return shipped_pack(ref)
