"""Owns the escalations: what was hard, and why? A list with filters as links, and one page a case."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cloud_hub.adapters.http.console import reading
from cloud_hub.adapters.http.console.addresses import read_device, with_query
from cloud_hub.adapters.http.console.frame import Frame, Place
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.cases import CaseDetail, CaseFilter
from cloud_hub.core.console.case_view import REASON_WORDS, found_boxes, history, scores
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.people import Role
from protos.messages.escalation import PredictionId, Reason

PATH = "/escalations"
_PAGE = 50
_NOT_FOUND = 404
_FLAGS = {"yes": True, "no": False}
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a filter, as a link."""

    word: str
    path: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class Group:
    """One filter."""

    name: str
    choices: tuple[Choice, ...]


class EscalationPages:
    """Views of cases.

    Args:
        parts: What pages are made of.
        frame: Draws them.
    """

    def __init__(self, parts: WebParts, frame: Frame) -> None:
        self._parts = parts
        self._frame = frame

    async def list(self, request: Request) -> Response:
        """Show cases, the newest first."""
        fields = dict(request.query_params)
        wanted = _wanted(fields)
        page = await self._parts.cases.cases(wanted, _PAGE)
        cursor = "" if page.next_cursor is None else str(page.next_cursor)
        names = [fields.get("device", ""), fields.get("binding", "")]
        return await self._frame.page(
            request,
            "escalations.html",
            Place("escalations", "Escalations", () if wanted.before else ("cases",)),
            now_ns=self._parts.clock(),
            cases=[reading.row(case) for case in page.cases],
            show_device=True,
            older=with_query(PATH, **{**fields, "before": cursor}) if cursor else "",
            narrowed=" · ".join(name for name in names if name),
            is_filtered=wanted != CaseFilter(),
            filters=_groups(fields),
        )

    async def show(self, request: Request) -> Response:
        """Show one case.

        Raises:
            HTTPException: There is no such case.
            StorageError: The database does not answer.
        """
        parts, place = self._parts, request.path_params
        device = DeviceKey(parts.org_id, place["site"], place["device"])
        detail = await parts.cases.case(device, PredictionId(place["prediction_id"]))
        if detail is None:
            raise HTTPException(_NOT_FOUND)
        return await self._case(request, detail)

    async def _case(self, request: Request, detail: CaseDetail) -> Response:
        shown = await reading.shown(self._parts, detail)
        role: Role = request.state.person.role
        return await self._frame.page(
            request,
            "case.html",
            Place("case", "Escalations", ("cases",)),
            now_ns=self._parts.clock(),
            case=shown.case,
            state=shown.state,
            why=shown.why,
            answers=shown.answers,
            keys=shown.keys,
            drawn=shown.drawn,
            picture=shown.picture,
            outlines=shown.outlines,
            found=found_boxes(detail),
            scores=scores(detail),
            history=history(detail),
            may_label=role.allows(Role.LABELER),
        )


def _wanted(fields: dict[str, str]) -> CaseFilter:
    device = read_device("", fields.get("device", ""))
    before = fields.get("before", "")
    return CaseFilter(
        site_id=None if device is None else device.site_id,
        device_id=None if device is None else device.device_id,
        binding=fields.get("binding") or None,
        reason=next((one for one in Reason if one.value == fields.get("reason")), None),
        agrees=_FLAGS.get(fields.get("agrees", "")),
        labelled=_FLAGS.get(fields.get("labelled", "")),
        before=int(before) if before.isascii() and before.isdigit() and len(before) <= _MAX_DIGITS else None,
    )


def _groups(fields: dict[str, str]) -> tuple[Group, ...]:
    reasons = ((reason.value, REASON_WORDS[reason]) for reason in Reason)
    return (
        _group("Edge and hub", "agrees", (("no", "disagree"), ("yes", "agree")), fields),
        _group("Label", "labelled", (("no", "none yet"), ("yes", "given")), fields),
        _group("Reason", "reason", reasons, fields),
    )


def _group(name: str, field: str, values: Iterable[tuple[str, str]], fields: dict[str, str]) -> Group:
    others = {key: value for key, value in fields.items() if key not in (field, "before")}
    at = fields.get(field, "")
    choices = [Choice("all", with_query(PATH, **others), not at)]
    choices += [Choice(word, with_query(PATH, **{**others, field: value}), at == value) for value, word in values]
    return Group(name, tuple(choices))
