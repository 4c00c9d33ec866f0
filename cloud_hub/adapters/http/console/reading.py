"""Owns how a case is made ready for a template: its packs looked up, its tensor drawn. Rules are `core.console`."""

from dataclasses import dataclass

from cloud_hub.adapters.http.console.addresses import case_path, picture_path
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.cases import Case, CaseDetail
from cloud_hub.core.console import case_view
from cloud_hub.core.console.drawing import Outline, Picture, Signal, draw, outlines
from cloud_hub.core.console.wording import State
from cloud_hub.ports import PackFacts
from model_packs.manifest import PackManifest, PackRef


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case in a list."""

    case: Case
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class ShownCase:
    """A case with all that a template draws of it; `picture` is where its image lies, empty for a signal.

    `outlines` are the boxes that were found in that image.
    """

    case: Case
    state: State
    why: case_view.Why
    answers: tuple[case_view.TierAnswer, ...]
    keys: tuple[case_view.LabelKey, ...]
    drawn: Signal | Picture | None
    picture: str
    outlines: tuple[Outline, ...]
    path: str


def row(case: Case) -> CaseRow:
    """Make a case ready for a list."""
    return CaseRow(case, case_view.standing(case), case_view.REASON_WORDS[case.reason])


async def shown(parts: WebParts, detail: CaseDetail) -> ShownCase:
    """Make a case ready for a page.

    Args:
        parts: What pages are made of.
        detail: The case with its tensors.

    Returns:
        What the template draws.

    Raises:
        StorageError: The pack store cannot be read.
    """
    case = detail.case
    drawn = draw(detail.inputs, await _manifest(parts, case))
    return ShownCase(
        case=case,
        state=case_view.standing(case),
        why=case_view.why(case),
        answers=case_view.answers(case),
        keys=case_view.label_keys(await parts.labelling.choices(case), case),
        drawn=drawn,
        picture=picture_path(case, detail.inputs[0].name) if isinstance(drawn, Picture) else "",
        outlines=outlines(drawn, case_view.detections(detail)) if isinstance(drawn, Picture) else (),
        path=case_path(case),
    )


async def published(parts: WebParts, pack: str) -> PackFacts | None:
    """Look a pack up by a name that a device gave.

    Args:
        parts: What pages are made of.
        pack: name@version, perhaps.

    Returns:
        The pack; None when there is no such, or it cannot be read.

    Raises:
        StorageError: The pack store cannot be read.
    """
    try:
        ref = PackRef.parse(pack)
    except ValueError:  # a device may call its model anything
        return None
    found = await parts.shelf.pack(ref)
    return found if isinstance(found, PackFacts) else None


async def _manifest(parts: WebParts, case: Case) -> PackManifest | None:
    facts = await published(parts, case.edge_pack) or await published(parts, case.hub_pack)
    return None if facts is None else facts.manifest
