"""The report as one page: HTML and SVG in a single file that loads nothing and runs nothing.

Owns the words and their order. Numbers come from `figures`, pictures from `panels`, the look from `page.css`. What
comes from a pack or a file is escaped; the page follows the reader's colour scheme, and prints.
"""

import html
from collections.abc import Iterable
from importlib import resources
from typing import Final

from model_packs.certificate.document import Certificate
from model_packs.manifest import PackManifest
from model_packs.report import panels
from model_packs.report.chart import STYLE, TOKENS, Chart, percent
from model_packs.report.evaluation import Evaluation
from model_packs.report.figures import ClassRow, Figures, OperatingPoint, Share

_RISKS: Final = {
    "error": "is wrong",
    "disagreement_with_hub": "differs from the hub's answer",
    "excess": "is wrong where the hub would have been right",
}


def report_page(
    manifest: PackManifest, certificate: Certificate | None, rows: Evaluation, found: Figures, made_by: str
) -> str:
    """Write the page.

    Args:
        manifest: The pack.
        certificate: Its certificate, if it has one.
        rows: What it was looked at with.
        found: What was counted.
        made_by: Program and version.

    Returns:
        An HTML document.
    """
    title = html.escape(str(manifest.ref))
    look = resources.files("model_packs.report").joinpath("page.css").read_text(encoding="utf-8")
    css = f":root {{ color-scheme: light dark; {TOKENS} }}\n{look}{STYLE}"
    parts = (
        _header(manifest, rows, found),
        _promise(certificate, rows, found),
        _key_figures(found),
        '<div class="grid">',
        *_panels(certificate, rows, found),
        _certificate_panel(manifest, certificate),
        "</div>",
        _footer(rows, made_by),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: escalation report</title><style>{css}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def _header(manifest: PackManifest, rows: Evaluation, found: Figures) -> str:
    hub = f"escalates to {manifest.escalates_to}" if manifest.escalates_to else "escalates to nothing"
    about = f"{hub} · looked at with {found.n_rows:,} {rows.unit}s: {rows.source}"
    return f'<header><h1>{html.escape(str(manifest.ref))}</h1><span class="about">{html.escape(about)}</span></header>'


def _promise(certificate: Certificate | None, rows: Evaluation, found: Figures) -> str:
    """What is promised, and what was seen."""
    point = found.point
    if certificate is None:
        said = "This pack promises nothing: it carries no certificate, and everything is escalated."
        return _promise_box("idle", said, "The curves below show what a threshold could do on these rows.")
    thresholds = (certificate.threshold, *certificate.thresholds.values())
    if all(threshold is None for threshold in thresholds):
        said = f"No threshold qualifies for {percent(certificate.target)}: everything is escalated."
        return _promise_box("warn", said, html.escape(certificate.statement()))
    of_each = f" of each {(certificate.group_by or 'group').replace('_', ' ')}" if certificate.groups else ""
    said = (
        f"Of what stays at the edge{of_each}, at most {percent(certificate.target)} {_RISKS[certificate.risk]}, "
        f"with confidence {percent(1.0 - certificate.delta)}."
    )
    if point is None:
        unknown = "These rows do not say their groups, so the thresholds cannot be tried on them."
        return _promise_box("idle", said, unknown)
    return _promise_box(_judged(certificate, point), said, _seen(certificate, point, rows))


def _promise_box(look: str, said: str, seen: str) -> str:
    words = f'<p class="said">{html.escape(said)}</p><p class="seen">{seen}</p>'
    return f'<section class="panel promise {look}">{words}</section>'


def _judged(certificate: Certificate, point: OperatingPoint) -> str:
    seen = point.kept_wrong
    if seen is None or certificate.risk != "error":
        return "idle"
    if seen.value <= certificate.target:
        return "ok"
    return "warn" if seen.low <= certificate.target else "bad"


def _seen(certificate: Certificate, point: OperatingPoint, rows: Evaluation) -> str:
    """What these rows say of the promise."""
    seen = point.kept_wrong
    if seen is None:
        return f"On these {rows.unit}s nothing reached the threshold: everything was escalated."
    what = (
        f"Here {percent(1.0 - point.escalated.value)} stayed, and <b>{seen.count:,} of {seen.of:,}</b> of them were "
        f"wrong (<b>{percent(seen.value)}</b>, exact 95 % interval {percent(seen.low)} to {percent(seen.high)})."
    )
    if certificate.risk != "error":
        return f"{what} The promise is about another risk ({html.escape(certificate.risk)}) than these errors."
    verdict = {
        "ok": "The promise held here.",
        "warn": "That is above the promise, and within chance of it: look at more rows.",
        "bad": "That is above the promise beyond chance: other inputs than it is for, or its assumption fails.",
    }[_judged(certificate, point)]
    return f'{what} <span class="verdict">{verdict}</span>'


def _key_figures(found: Figures) -> str:
    point = found.point
    shown: list[tuple[str, Share | None, str]] = []
    if point is not None:
        shown.append(("escalated", point.escalated, "of all answers"))
        shown.append(("wrong among the kept", point.kept_wrong, "when the edge keeps them"))
        shown.append(("right in the end", point.accuracy, "edge and hub together"))
    shown += [("hub alone", found.hub, "asked about everything"), ("edge alone", found.edge, "asking about nothing")]
    cells = "".join(
        f'<div class="kpi"><dt>{name}</dt><dd>{percent(value.value)}'
        f"<small>{words}<br>{value.count:,} of {value.of:,}</small></dd></div>"
        for name, value, words in shown
        if value is not None
    )
    return f'<dl class="panel kpis">{cells}</dl>'


def _panels(certificate: Certificate | None, rows: Evaluation, found: Figures) -> Iterable[str]:
    cost = panels.cost_chart(found)
    if cost is not None:
        yield _panel(
            "What asking the hub buys",
            "Right in the end, when the least sure answers are escalated. No rule can pass the oracle, which sees the "
            "truth; drawing lots is the line below. Read the curve as an upper limit: a threshold has to be fixed "
            "before its rows are seen.",
            cost,
        )
    yield _panel(
        "What keeping risks",
        "Wrong among what is kept, when the surest answers are kept."
        + (" The dot is the certified threshold on these rows, with its exact 95 % interval." if found.point else ""),
        panels.risk_chart(found, certificate),
    )
    if found.by_share:
        yield _cost_table(found)
    yield _class_table(found)
    yield _honesty(rows, found)


def _tenths(value: float) -> str:
    """A share for a column of shares: one digit after the point, always."""
    return f"{100.0 * value:.1f} %"


def _panel(title: str, words: str, chart: Chart) -> str:
    return f'<section class="panel"><h2>{title}</h2><p>{words}</p>{chart.svg()}</section>'


def _cost_table(found: Figures) -> str:
    limits = found.limits
    if limits is None:
        return ""
    rows = "".join(
        f'<tr><td>at {percent(asked)} escalated</td><td class="num"><b>{_tenths(accuracy)}</b></td>'
        f'<td class="num quiet">{_tenths(limits.random_accuracy(asked))}</td>'
        f'<td class="num quiet">{_tenths(limits.oracle_accuracy(asked))}</td></tr>'
        for asked, accuracy in found.by_share
    )
    equal, less = found.least
    words = []
    if equal is not None:
        words.append(f"as right as the hub alone from {percent(equal)} escalated")
    if less is not None:
        words.append(f"within half a point of it from {percent(less)}")
    said = f"On these rows: {', '.join(words)}." if words else ""
    return (
        f'<section class="panel"><h2>The price list</h2><p>{said}</p><table><thead><tr><th></th>'
        '<th class="num">right in the end</th><th class="num">by lot</th><th class="num">oracle</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )


def _class_table(found: Figures) -> str:
    if not found.classes:
        return ""
    rows = "".join(_class_row(row) for row in found.classes)
    has_ece = '<th class="num">calibration error</th>' if found.classes[0].ece is not None else ""
    return (
        '<section class="panel"><h2>Escalation by class</h2><p>By the class that the edge answered. A promise about '
        "all classes together leaves room for a single one to be wrong more often.</p><table><thead><tr><th>class</th>"
        '<th class="num">answers</th><th>escalated</th><th></th><th class="num">wrong among the kept</th>'
        f"{has_ece}</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _class_row(row: ClassRow) -> str:
    wrong = "nothing kept"
    if row.kept_wrong is not None:
        seen = row.kept_wrong
        wrong = f'{_tenths(seen.value)} <span class="quiet">({_tenths(seen.low)} to {_tenths(seen.high)})</span>'
    ece = "" if row.ece is None else f'<td class="num">{row.ece:.3f}</td>'
    return (
        f'<tr><td>{html.escape(row.name)}</td><td class="num">{row.rows:,}</td>'
        f'<td><div class="meter"><i style="width:{100 * row.escalated.value:.1f}%"></i></div></td>'
        f'<td class="num">{_tenths(row.escalated.value)}</td><td class="num">{wrong}</td>{ece}</tr>'
    )


def _honesty(rows: Evaluation, found: Figures) -> str:
    reliability = panels.reliability_chart(found)
    scores = panels.score_chart(rows, found.point).svg()
    if reliability is None:
        return (
            '<section class="panel wide"><h2>Where the scores lie</h2><p>Wrong answers are red. Heights are roots of '
            f"counts, so that a single row stays visible.</p>{scores}</section>"
        )
    error = f"{found.ece:.3f}" if found.ece is not None else "unknown"
    return (
        '<section class="panel wide"><h2>How honest the probabilities are</h2><p>Left: the share that was right, among '
        "answers of like stated probability, with its exact 95 % interval; an honest pack follows the dotted line "
        f"(calibration error {error}). "
        "Right: where the scores lie; wrong answers are red, and heights are roots of counts, so that a single row "
        f'stays visible.</p><div class="two"><div>{reliability.svg()}</div><div>{scores}</div></div></section>'
    )


def _certificate_panel(manifest: PackManifest, certificate: Certificate | None) -> str:
    score = manifest.score_name.partition(" ")[0].replace("_", " ")
    facts: list[tuple[str, str]] = [("pack digest", manifest.digest), ("score", score)]
    if certificate is not None:
        facts = [
            ("statement", certificate.statement()),
            ("method", certificate.method),
            ("evidence", f"{certificate.k_errors} wrong of {certificate.n_kept} kept among {certificate.n_units}"),
            ("population", certificate.population),
            ("assumption", certificate.assumption),
            ("issued", certificate.issued_at),
            ("valid until", certificate.valid_until or "no end is stated; field audits keep checking it"),
            ("certificate", certificate.digest),
            *facts,
        ]
    rows = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts)
    return f'<section class="panel wide"><h2>The certificate</h2><p></p><dl class="facts">{rows}</dl></section>'


def _footer(rows: Evaluation, made_by: str) -> str:
    return (
        f"<footer><p>Intervals take the {rows.unit}s as independent. Neighbouring ones often are not, and then the "
        "intervals are too narrow. Nothing here holds for other inputs than these and those of the certificate's "
        "population: a changed sensor can make answers wrong and leave the confidence as it was.</p>"
        f"<p>{html.escape(made_by)}</p></footer>"
    )
