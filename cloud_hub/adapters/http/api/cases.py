"""Owns the API's operations on cases: what was escalated, what to review next, and what people say of it."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.responses import Response

from cloud_hub.adapters.http.api import documents
from cloud_hub.adapters.http.api.fields import Choice, Field, Flag, Group, Text, Whole
from cloud_hub.adapters.http.api.operations import Call, Operation, Result
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.core.cases import LABEL_CHARS, CaseDetail, CaseFilter
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.feedback import MAX_ID_CHARS, MAX_NOTE_CHARS
from cloud_hub.core.people import Role
from cloud_hub.core.png import encoded, is_picture
from cloud_hub.errors import CaseInputAbsentError, CaseUnknownError
from model_packs.tensors import Tensor
from protos.messages.escalation import PredictionId, Reason

PNG = "image/png"

_NAME_CHARS = 128
_MAX_CASES = 200
_MAX_REVIEWS = 50
_MAX_ID = 10**18 - 1
_NO_CASE = {HTTPStatus.NOT_FOUND: "No such case."}
_NO_INPUT = {HTTPStatus.NOT_FOUND: "No such case or input."}

_BEFORE = Field("before", Whole(0, _MAX_ID), "A cursor: `next_before` of the page before.")
_LIMIT = Field("limit", Whole(1, _MAX_CASES), "Most entries.", default=50)
_FILTER = Group(
    (
        Field("site", Text(_NAME_CHARS), "Only of this site."),
        Field("device", Text(_NAME_CHARS), "Only of devices with this name."),
        Field("binding", Text(_NAME_CHARS), "Only of this binding."),
        Field("reason", Choice(tuple(str(reason) for reason in Reason)), "Only those escalated for this."),
        Field("agrees", Flag(), "Only those where edge and hub agree, or do not."),
        Field("labelled", Flag(), "Only those that a person has labelled, or has not."),
        _BEFORE,
        _LIMIT,
    )
)
_QUEUE = Group((Field("limit", Whole(1, _MAX_REVIEWS), "Most cases.", default=10),))
_LABEL = Group(
    (
        Field("site", Text(_NAME_CHARS), "Site of the device.", is_required=True),
        Field("device", Text(_NAME_CHARS), "The device.", is_required=True),
        Field("prediction_id", Text(MAX_ID_CHARS), "Which answer it is about.", is_required=True),
        Field(
            "label",
            Text(LABEL_CHARS, is_nullable=True),
            "One of the case's `choices`; null: one cannot tell.",
            is_required=True,
        ),
        Field("note", Text(MAX_NOTE_CHARS, least=0), "Why, for whoever looks later.", default=""),
    )
)


class CaseOperations:
    """What the API offers about cases.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def table(self) -> Sequence[Operation]:
        """List them."""
        case = "/cases/{site}/{device}/{prediction_id}"
        return (
            Operation("GET", "/cases", "listCases", "Cases, newest first.", self._cases, "Cases", query=_FILTER),
            Operation("GET", case, "getCase", "One case.", self._case, "CaseDetail", refusals=_NO_CASE),
            Operation(
                "GET",
                f"{case}/inputs/{{input}}.png",
                "getCasePicture",
                "One input of a case as a picture, pixel by pixel.",
                self._picture,
                None,
                refusals={HTTPStatus.NOT_FOUND: "No such case or input, or it is no picture."},
                media_type=PNG,
            ),
            Operation(
                "GET",
                f"{case}/inputs/{{input}}",
                "getCaseInput",
                "One input of a case, summed up.",
                self._input,
                "CaseInput",
                refusals=_NO_INPUT,
            ),
            Operation(
                "GET",
                "/reviews",
                "listReviews",
                "What to review next, in order, without what this person could not tell.",
                self._reviews,
                "Reviews",
                query=_QUEUE,
            ),
            Operation(
                "GET",
                "/feedback",
                "listFeedback",
                "What people said, at the console and at devices, newest first.",
                self._feedback,
                "FeedbackList",
                query=Group((_BEFORE, _LIMIT)),
            ),
            Operation(
                "POST",
                "/labels",
                "giveLabel",
                "Say what a case is; the device gets it as a revision at once.",
                self._label,
                "Label",
                role=Role.LABELER,
                body=_LABEL,
                refusals=_NO_CASE,
            ),
        )

    async def _cases(self, call: Call) -> Result:
        query = call.query
        reason = query["reason"]
        wanted = CaseFilter(
            site_id=query["site"],
            device_id=query["device"],
            binding=query["binding"],
            reason=None if reason is None else Reason(reason),
            agrees=query["agrees"],
            labelled=query["labelled"],
            before=query["before"],
        )
        return documents.cases(await self._parts.cases.cases(wanted, query["limit"]))

    async def _case(self, call: Call) -> Result:
        detail = await self._detail(call)
        return documents.case(detail, choices=await self._parts.labelling.choices(detail.case))

    async def _input(self, call: Call) -> Result:
        return documents.case_input(await self._tensor(call))

    async def _picture(self, call: Call) -> Result:
        tensor = await self._tensor(call)
        if not is_picture(tensor.shape, tensor.datatype):
            raise CaseInputAbsentError(call.path["input"], "is no picture")
        return Response(encoded(tensor.to_array()[0]), media_type=PNG)

    async def _reviews(self, call: Call) -> Result:
        queue = await self._parts.cases.review_queue(call.query["limit"], call.person.name)
        return documents.reviews(queue, waiting=await self._parts.cases.review_count())

    async def _feedback(self, call: Call) -> Result:
        return documents.feedback(await self._parts.cases.judgements(call.query["limit"], call.query["before"]))

    async def _label(self, call: Call) -> Result:
        body = call.body
        device = DeviceKey(self._parts.org_id, body["site"], body["device"])
        given = await self._parts.actions.label(
            call.person, device, PredictionId(body["prediction_id"]), body["label"], body["note"]
        )
        return documents.labelled(given)

    async def _detail(self, call: Call) -> CaseDetail:
        device = DeviceKey(self._parts.org_id, call.path["site"], call.path["device"])
        prediction_id = PredictionId(call.path["prediction_id"])
        detail = await self._parts.cases.case(device, prediction_id)
        if detail is None:
            raise CaseUnknownError(prediction_id, str(device))
        return detail

    async def _tensor(self, call: Call) -> Tensor:
        name = call.path["input"]
        for tensor in (await self._detail(call)).inputs:
            if tensor.name == name:
                return tensor
        raise CaseInputAbsentError(name, "is none of its inputs")
