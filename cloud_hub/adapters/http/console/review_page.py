"""Owns the review: what is this? One case at a time, the next ones stand ready in the page."""

from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cloud_hub.adapters.http.console import reading
from cloud_hub.adapters.http.console.addresses import case_path, read_device
from cloud_hub.adapters.http.console.frame import Frame, Place, is_partial
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.cases import CaseFilter
from cloud_hub.core.people import Role
from protos.messages.escalation import PredictionId

READY = 8
HAVE_HEADER = "X-Have"
_MAX_HAVE = 100
_BAD_REQUEST, _SEE_OTHER = 400, 303


class ReviewPage:
    """Views of the queue.

    Args:
        parts: What pages are made of.
        frame: Draws them.
    """

    def __init__(self, parts: WebParts, frame: Frame) -> None:
        self._parts = parts
        self._frame = frame

    async def show(self, request: Request) -> Response:
        """Show the case in hand, with the next ones behind it."""
        queue = await self._queue(request, ())
        return await self._frame.page(
            request,
            "review.html",
            Place("review", "Review", ("review",)),
            now_ns=self._parts.clock(),
            queue=queue,
            is_new=not queue and not (await self._parts.cases.cases(CaseFilter(), 1)).cases,
            may_label=_may_label(request),
        )

    async def more(self, request: Request) -> Response:
        """Send the cases that the page does not have yet."""
        have = frozenset(request.headers.get(HAVE_HEADER, "").split()[:_MAX_HAVE])
        return await self._frame.part(
            request,
            "review_more.html",
            now_ns=self._parts.clock(),
            queue=await self._queue(request, have),
            may_label=_may_label(request),
        )

    async def label(self, request: Request) -> Response:
        """Take a label; answer with what comes behind the cases that the page has.

        Raises:
            HTTPException: The form names no device.
            HubError: It is refused by name, or cannot be stored.
        """
        form = await request.form()
        device = read_device(self._parts.org_id, str(form.get("device", "")))
        if device is None:
            raise HTTPException(_BAD_REQUEST, "the form names no device: load the page again")
        label = None if form.get("unsure") else str(form.get("label", ""))
        prediction_id = PredictionId(str(form.get("prediction_id", "")))
        await self._parts.actions.label(request.state.person, device, prediction_id, label)
        if is_partial(request):
            return await self.more(request)
        detail = await self._parts.cases.case(device, prediction_id) if form.get("back") else None
        return RedirectResponse("/review" if detail is None else case_path(detail.case), _SEE_OTHER)

    async def _queue(self, request: Request, have: Collection[str]) -> list[reading.ShownCase]:
        by = request.state.person.name
        queue = await self._parts.cases.review_queue(READY + len(have), by)
        wanted = [case for case in queue if str(case.case_id) not in have][:READY]
        details = [await self._parts.cases.case(case.device, case.prediction_id) for case in wanted]
        return [await reading.shown(self._parts, detail) for detail in details if detail is not None]


def _may_label(request: Request) -> bool:
    role: Role = request.state.person.role
    return role.allows(Role.LABELER)
