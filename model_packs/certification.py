"""Owns `model-pack certify`: from a file of scores and a pack.toml to a threshold, or to a certificate.

The statistics are `certificate/certify.py`, the document is `certificate/document.py`, the file is `score_file.py`.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from model_packs import score_file
from model_packs.build import declared_score_name
from model_packs.certificate.certify import Certified, Promise, Unit, certify
from model_packs.certificate.document import (
    Certificate,
    Circumstances,
    certificate_of,
    certificate_of_groups,
    fitting,
)
from model_packs.certificate.errors import CertificateError
from model_packs.certificate.evidence import Clusters
from model_packs.certificate.groups import Grouped, GroupShare, certify_groups, report_by_group
from model_packs.certificate.risks import BLIND_TO, RISKS, Risk
from model_packs.certificate.selection import Method
from model_packs.certificate.tally import tally_of
from model_packs.digests import digest_of_file
from model_packs.manifest import DETECTION
from model_packs.pack_spec import ABSENT_MEND, PackSpec
from model_packs.process.durable import write_file
from model_packs.process.exits import CliError, Exit, Parser
from model_packs.process.settings import load_toml

SPEC_FILE: Final = "pack.toml"
_SHORT_RISKS: Final[dict[str, Risk]] = {"disagreement": "disagreement_with_hub"}
_ANSWERS: Final = ("predicted", "label", "hub_predicted")
_LONGEST_DAYS: Final = 36_500
_HELP: Final = "choose a threshold from scores, with an exact statement about it"


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of the scores; chosen before they are looked at.

    Attributes:
        target: Largest share of wrong answers among those kept.
        delta: Chance that the statement is wrong.
        risk: What counts as wrong.
        method: Which test; None for the unit's own.
        unit: What is drawn independently.
        by_group: One threshold for each group, rather than one for all.
        largest_cluster: Rows of a cluster that count at most; None for as many as the largest tuning cluster has.
        promise: Of what delta is promised; None for the best that the rows can bear.
    """

    target: float
    delta: float
    risk: Risk = "error"
    method: Method | None = None
    unit: Unit = "row"
    by_group: bool = False
    largest_cluster: int | None = None
    promise: Promise | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What the author says about the scores; the rest of the circumstances is read from pack.toml.

    Attributes:
        reference: What answers were compared with; None for what the risk says.
        population: What the scores were drawn from, in words.
        assumption: What the statement rests on, in words.
        sampling_unit: What is drawn independently, in one word.
        group_by: What the groups are, in one word; None without groups.
        cluster_unit: What clusters are, in one word.
        provider: Execution provider that gave the scores.
        dataset: The data set's file.
        issued_at: RFC 3339 UTC, to the second.
        valid_until: The same; None when no end is stated.
    """

    reference: str | None
    population: str
    assumption: str
    sampling_unit: str
    group_by: str | None
    cluster_unit: str | None
    provider: str
    dataset: Path
    issued_at: str
    valid_until: str | None


def add_to(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Declare the command.

    Args:
        commands: The program's sub-commands.
    """
    command = commands.add_parser("certify", help=_HELP, description=_HELP)
    command.add_argument(
        "folder", type=Path, nargs="?", metavar="DIR", help="write DIR/certificate.json for DIR/pack.toml"
    )
    command.add_argument(
        "--scores",
        type=Path,
        required=True,
        metavar="SCORES",
        help=".npz or .parquet: score, correct; optional hub_correct, agrees, predicted, label, hub_predicted, "
        "clusters, groups, is_tuning, tune_scores, tune_clusters, tune_groups",
    )
    command.add_argument("--target", type=float, required=True, help="largest share of wrong answers among those kept")
    command.add_argument("--delta", type=float, required=True, help="chance that the statement is wrong")
    command.add_argument("--risk", choices=(*RISKS, *_SHORT_RISKS), default="error", help="what counts as wrong")
    command.add_argument(
        "--method", choices=("exact", "betting"), help="which test (default: exact for rows, betting for clusters)"
    )
    command.add_argument(
        "--unit", choices=("row", "cluster"), default="row", help="what is drawn independently (default: row)"
    )
    command.add_argument(
        "--largest-cluster",
        type=int,
        metavar="N",
        help="rows of a cluster that count (default: as many as tuning ones have)",
    )
    command.add_argument(
        "--promise",
        choices=("issued", "drawn"),
        help="of what delta is: certificates issued, or draws (default: issued, where tuning outcomes are known)",
    )
    command.add_argument(
        "--by-group", action="store_true", help="one threshold for each of the array groups (without it: predicted)"
    )
    command.add_argument("--population", help="what the scores were drawn from, in words (needed with DIR)")
    command.add_argument(
        "--dataset", type=Path, metavar="FILE", help="the data set; its digest is stated (needed with DIR)"
    )
    command.add_argument(
        "--reference", help="what answers were compared with (default: labels, or the hub pack, as the risk says)"
    )
    command.add_argument("--assumption", help="what the statement rests on, in words")
    command.add_argument("--sampling-unit", help="what is drawn independently (default: window, or --cluster-unit)")
    command.add_argument("--cluster-unit", help="what clusters are, in one word")
    command.add_argument("--group-unit", help="what groups are, in one word")
    command.add_argument("--provider", default="CPUExecutionProvider", help="execution provider that gave the scores")
    command.add_argument("--valid-days", type=int, metavar="N", help="days until the certificate expires")
    command.add_argument("--json", action="store_true", help="print one JSON document")
    command.set_defaults(command=_certify)


def _certify(options: argparse.Namespace) -> int:
    task = Task(
        target=options.target,
        delta=options.delta,
        risk=cast("Risk", _SHORT_RISKS.get(options.risk, options.risk)),
        method=options.method,
        unit=options.unit,
        by_group=options.by_group,
        largest_cluster=options.largest_cluster,
        promise=options.promise,
    )
    arrays = named_classes(options.scores, score_file.read(options.scores), options.folder)
    outcome = certify_scores(options.scores, arrays, task)
    if options.folder is None:
        shares = () if task.by_group else _by_group(options.scores, arrays, task, outcome)
        _print(_document(outcome, shares) if options.json else _in_words(outcome, shares, task.risk))
        return Exit.OK
    if options.population is None or options.dataset is None:
        raise CliError(
            "a certificate states its population and its data set", "give --population and --dataset", Exit.USAGE
        )
    certificate = issue(outcome, options.folder / SPEC_FILE, task.risk, _statement(options, arrays, task))
    path = options.folder / "certificate.json"
    write_file(path, certificate.to_json())
    said = f'{certificate.statement()}\n{path}: name it in {SPEC_FILE} (certificate = "{path.name}"), then build'
    _print(certificate.to_json().decode() if options.json else said)
    return Exit.OK


def certify_scores(path: Path, arrays: score_file.Arrays, task: Task) -> Certified | Grouped:
    """Certify the rows of a file.

    Args:
        path: Where they come from, for messages.
        arrays: From `score_file.read`.
        task: What is asked.

    Returns:
        The outcome, of all rows or by group; that no threshold qualifies is one.

    Raises:
        CertificateError: The rows cannot be certified.
    """
    if not task.by_group:
        return certify(
            arrays["score"],
            score_file.right(path, arrays, task.risk),
            target=task.target,
            delta=task.delta,
            tune_scores=arrays.get("tune_scores"),
            clusters=arrays.get("clusters"),
            method=task.method,
            unit=task.unit,
            tune_clusters=arrays.get("tune_clusters"),
            largest_cluster=task.largest_cluster,
            tune_correct=score_file.tune_right(path, arrays, task.risk),
            promise=task.promise,
        )
    if task.unit == "cluster" and "tune_scores" in arrays:
        raise CertificateError(f"{path}: by group, tuning clusters are set aside from each group's own: leave them out")
    return certify_groups(
        arrays["score"],
        score_file.right(path, arrays, task.risk),
        _groups(path, arrays),
        target=task.target,
        delta=task.delta,
        tune_scores=arrays.get("tune_scores"),
        tune_groups=arrays.get("tune_groups", arrays.get("tune_predicted")),
        clusters=arrays.get("clusters"),
        method=task.method,
        unit=task.unit,
        tune_correct=score_file.tune_right(path, arrays, task.risk),
        largest_cluster=task.largest_cluster,
        promise=task.promise,
    )


def named_classes(path: Path, arrays: score_file.Arrays, folder: Path | None) -> score_file.Arrays:
    """Say classes by their names where answers are their indices: a device knows groups by label.

    Args:
        path: Where the arrays come from, for messages.
        arrays: From `score_file.read`.
        folder: The pack in the making, whose labels are meant; None: the file's own `labels`, if it has them.

    Returns:
        The arrays, answers of whole numbers replaced by labels where these are known.

    Raises:
        CertificateError: An index that names no label, or answers for a pack that tells boxes.
        SettingsError: pack.toml is wrong.
    """
    labels = arrays.get("labels")
    if folder is not None:
        spec = load_toml(folder / SPEC_FILE, PackSpec, absent_mend=ABSENT_MEND)
        if spec.task == DETECTION and (found := [name for name in _ANSWERS if name in arrays]):
            raise CertificateError(
                f"{path}: {', '.join(found)}: one label a row says nothing of boxes; give correct (or agrees, "
                "hub_correct) instead, as model_packs.outputs.agree tells them"
            )
        labels = np.array(spec.labels, dtype=np.str_)
    names = [name for name in arrays if name.removeprefix("tune_") in _ANSWERS and arrays[name].dtype.kind in "iu"]
    if labels is None or len(labels) == 0:
        return arrays
    for name in names:
        if arrays[name].size and not 0 <= int(arrays[name].min()) <= int(arrays[name].max()) < len(labels):
            raise CertificateError(f"{path}: {name} holds {arrays[name].max()}, and there are {len(labels)} labels")
    return {**arrays, **{name: labels[arrays[name]] for name in names}}


def issue(outcome: Certified | Grouped, spec_toml: Path, risk: Risk, statement: Statement) -> Certificate:
    """Write the outcome down for the best variant of a pack in the making.

    Args:
        outcome: From `certify_scores`.
        spec_toml: The pack's declaration.
        risk: What counted as wrong.
        statement: What the author says about the scores.

    Returns:
        The certificate.

    Raises:
        SettingsError: pack.toml is wrong.
        CertificateError: A stated text is not what a certificate may hold.
        OSError: The graph or the data set cannot be read.
    """
    spec = load_toml(spec_toml, PackSpec, absent_mend=ABSENT_MEND)
    if not spec.variants:
        raise CertificateError(f"{spec_toml}: declares no variant to certify")
    variant = min(spec.variants, key=lambda entry: entry.rank)
    circumstances = Circumstances(
        risk=risk,
        reference=statement.reference or _reference(risk, spec.escalates_to or "the hub"),
        population=statement.population,
        assumption=statement.assumption,
        cluster_unit=statement.cluster_unit,
        graph_digest=digest_of_file(spec_toml.absolute().parent / variant.file),
        variant=variant.id,
        provider=statement.provider,
        precision=variant.precision,
        dataset_digest=digest_of_file(statement.dataset),
        temperature=spec.temperature,
        issued_at=statement.issued_at,
        valid_until=statement.valid_until,
        sampling_unit=statement.sampling_unit,
        group_by=statement.group_by,
        score=declared_score_name(spec, spec_toml.absolute().parent),
    )
    if isinstance(outcome, Grouped):
        certificate = certificate_of_groups(outcome, circumstances)
    else:
        certificate = certificate_of(outcome, circumstances)
    return Certificate.from_json(fitting(certificate))  # what cannot be read back is not written


def _reference(risk: Risk, hub: str) -> str:
    """What the risk compares answers with."""
    return {"error": "labels", "disagreement_with_hub": hub, "excess": f"labels and {hub}"}[risk]


def describe(certified: Certified) -> str:
    """Say an outcome in words.

    Args:
        certified: The outcome.

    Returns:
        One line.
    """
    counts = (
        f"{certified.k_errors} wrong of {certified.n_kept} kept of {certified.n_units} (p = {certified.p_value:.3g})"
    )
    if certified.threshold is None:
        said = f"no threshold qualifies for target {certified.target:g} at delta {certified.delta:g}: {counts}"
        if certified.more_needed is None:
            return f"{said}; how many more would do cannot be told from these"
        return f"{said}; about {certified.more_needed} more judged {certified.unit}s like these would do"
    kept = f"threshold {certified.threshold:.6f} keeps {100 * (certified.coverage or 0.0):.1f} %"
    promised = "draws" if certified.issuing is None else f"those issued, forecast at {certified.issuing.chance:.0%}"
    return f"{kept}: {counts}; target {certified.target:g}, delta {certified.delta:g} of {promised}"


def _statement(options: argparse.Namespace, arrays: score_file.Arrays, task: Task) -> Statement:
    """What the command line says about the scores."""
    issued = datetime.now(UTC)
    days: int | None = options.valid_days
    unit = options.sampling_unit or ((options.cluster_unit or "cluster") if task.unit == "cluster" else "window")
    if days is not None and not 1 <= days <= _LONGEST_DAYS:
        raise CliError(f"--valid-days {days} is no time", f"give 1 to {_LONGEST_DAYS} days", Exit.USAGE)
    independent = f"{unit}s independent" + ("" if task.unit == "row" else ", rows within one in any way dependent")
    group_unit = options.group_unit or ("group" if "groups" in arrays else "predicted_class")
    return Statement(
        reference=options.reference,
        population=options.population,
        assumption=options.assumption or independent,
        sampling_unit=unit,
        group_by=group_unit if task.by_group else None,
        cluster_unit=options.cluster_unit,
        provider=options.provider,
        dataset=options.dataset,
        issued_at=_instant(issued),
        valid_until=None if days is None else _instant(issued + timedelta(days=days)),
    )


def _groups(path: Path, arrays: score_file.Arrays) -> Any:  # noqa: ANN401 - an array of any type
    """What tells the groups apart."""
    found = arrays.get("groups", arrays.get("predicted"))
    if found is None:
        raise CertificateError(f"{path}: by group, the array groups (or predicted) is needed")
    return found


def _by_group(
    path: Path, arrays: score_file.Arrays, task: Task, outcome: Certified | Grouped
) -> tuple[GroupShare, ...]:
    """What the common threshold does to each group, where groups are told."""
    found = arrays.get("groups", arrays.get("predicted"))
    if found is None or isinstance(outcome, Grouped):
        return ()
    return report_by_group(arrays["score"], score_file.right(path, arrays, task.risk), found, outcome.threshold)


def _document(outcome: Certified | Grouped, shares: tuple[GroupShare, ...]) -> str:
    """The outcome as one JSON document."""
    if isinstance(outcome, Grouped):
        groups = [tally_of(name, certified).to_document() for name, certified in outcome.groups]
        value = {"target": outcome.target, "delta": outcome.delta, "groups": groups}
    else:
        value = tally_of("", outcome).to_document() | {
            "target": outcome.target,
            "n_tune": outcome.n_tune,
            "n_clusters": outcome.n_clusters,
            "design_effect": outcome.design_effect,
            "method": outcome.method,
            "unit": outcome.unit,
            "by_group": [
                {"group": share.group, "n_units": share.n_units, "n_kept": share.n_kept, "k_errors": share.k_errors}
                for share in shares
            ],
        }
        del value["group"]
    return json.dumps({"schema": "tandem.certified/1", **value}, ensure_ascii=False, indent=2)


def _in_words(outcome: Certified | Grouped, shares: tuple[GroupShare, ...], risk: Risk) -> str:
    """The outcome in lines for a person."""
    if isinstance(outcome, Grouped):
        lines = [f"{name}: {describe(certified)}" for name, certified in outcome.groups]
    else:
        lines = [describe(outcome)]
        if isinstance(outcome.evidence, Clusters):
            lines.append(
                f"of each cluster the first {outcome.evidence.largest} rows count; later ones were not looked at"
            )
        if outcome.design_effect is not None:
            lines.append(
                f"design effect {outcome.design_effect:.2f} over {outcome.n_clusters} clusters (sensitivity only)"
            )
    if shares:
        lines.append("by group, all rows that were given, tuning rows too (a count, no statement):")
    lines += [f"  {each.group}: {each.k_errors} wrong of {each.n_kept} kept of {each.n_units}" for each in shares]
    if BLIND_TO[risk]:
        lines.append(f"blind to {BLIND_TO[risk]}")
    return "\n".join(lines)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
