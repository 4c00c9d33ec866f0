"""The quick way: a known head and prepared pieces give exactly what the codec gives."""

from collections.abc import Callable

import numpy as np
import pytest

from model_packs.errors import TensorError
from model_packs.tensors import TensorSpec
from protos.oip.grpc_codec import GrpcCodec
from protos.oip.parameters import set_parameters
from protos.oip.quick_forms import Head, Heads, Pieces, head_of, parameters_piece
from protos.oip.signature import Parameter, Signature
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.unit.protos.oip.oip_models import MODEL, raw_request, rows, taking

SIGNATURE = Signature(MODEL)
CODEC = GrpcCodec(SIGNATURE)


def plain(*wanted: str) -> pb.ModelInferRequest:
    """A request that repeats itself: without an id."""
    request = raw_request(*wanted, x=rows())
    request.id = ""
    return request


def learnt(request: pb.ModelInferRequest) -> Head | None:
    """What is learnt of a request."""
    return head_of(request.SerializeToString(), request, CODEC.read(request), SIGNATURE)


def test_a_known_head_gives_the_same_array() -> None:
    """The next request with the head is a view of its own bytes, with the outputs that were asked for."""
    head = learnt(plain("sure"))
    assert head is not None
    request = plain("sure")
    request.raw_input_contents[0] = (rows() * 2).tobytes()
    data = request.SerializeToString()
    assert data.startswith(head.data)
    values = head.read(data)["x"]
    assert np.array_equal(values, rows() * 2)
    assert not values.flags.writeable
    assert (head.model, head.version, head.wanted) == ("press", "", ("sure",))


def test_a_value_that_is_not_finite_is_refused_on_the_quick_way_too() -> None:
    """The check of values is not a part of the head."""
    head = learnt(plain())
    assert head is not None
    request = plain()
    request.raw_input_contents[0] = np.full((1, 4), np.nan, np.float32).tobytes()
    with pytest.raises(TensorError, match=r"tensor 'x' must be finite: nan at \[0, 0\]"):
        head.read(request.SerializeToString())


def with_id(request: pb.ModelInferRequest) -> None:
    """Ids differ from request to request."""
    request.id = "7"


def with_parameter(request: pb.ModelInferRequest) -> None:
    """Parameters have to be looked at."""
    request.parameters["priority"].int64_param = 1


def typed(request: pb.ModelInferRequest) -> None:
    """A typed list stands elsewhere."""
    request.inputs[0].contents.fp32_contents.extend((1, 2, 3, 4))
    del request.raw_input_contents[:]


@pytest.mark.parametrize("change", [with_id, with_parameter, typed])
def test_what_is_not_of_the_form_has_no_head(change: Callable[[pb.ModelInferRequest], None]) -> None:
    """Ids, parameters and typed lists are read by the codec."""
    request = plain()
    change(request)
    assert learnt(request) is None


def test_a_message_that_does_not_end_with_its_values_has_no_head() -> None:
    """Fields may stand in any order: the raw bytes in front of the name are the same request, and no head."""
    request = plain()
    head = request.SerializeToString()[: -len(rows().tobytes()) - 2]
    swapped = pb.ModelInferRequest(raw_input_contents=[rows().tobytes()]).SerializeToString() + head
    parsed = pb.ModelInferRequest.FromString(swapped)
    assert parsed == request
    assert head_of(swapped, parsed, CODEC.read(parsed), SIGNATURE) is None


@pytest.mark.parametrize("height", [0.0, 1.0])
def test_values_that_come_again_behind_the_tensor_make_no_head(height: float) -> None:
    """A field that nobody knows ends with the same bytes: another message with this head has the same tensor."""
    request = plain()
    raw = np.full((1, 4), height, np.float32).tobytes()
    request.raw_input_contents[0] = raw
    data = request.SerializeToString() + bytes(((100 << 3 | 2) & 0x7F | 0x80, (100 << 3) >> 7, len(raw))) + raw
    parsed = pb.ModelInferRequest.FromString(data)
    assert head_of(data, parsed, CODEC.read(parsed), SIGNATURE) is None


def test_a_long_head_is_not_kept() -> None:
    """Heads are remembered: what a client puts beside its tensor must not fill the memory."""
    request = plain()
    request.inputs[0].parameters["note"].string_param = "x" * 5000
    assert learnt(request) is None


@pytest.mark.parametrize("wanted", [("logits", "sure"), ("sure",), ("sure", "logits")])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_pieces_are_the_codecs_answer(wanted: tuple[str, ...], n_rows: int) -> None:
    """Strung together they parse as what the codec writes, for every order, size and parameter."""
    outputs = {"logits": np.ones((n_rows, 2), np.float32), "sure": np.full(n_rows, 0.5, np.float32)}
    parameters: dict[str, Parameter] = {"tier": "hub", "confidence": 0.0}
    pieces = Pieces(SIGNATURE)
    answer = pieces.answer(wanted, outputs, "2.0.0", parameters_piece(parameters))
    expected = CODEC.write(CODEC.read(raw_request(*wanted, x=rows())), outputs, request_id="")
    set_parameters(expected.parameters, parameters)
    assert pb.ModelInferResponse.FromString(answer) == expected


def test_texts_have_no_pieces() -> None:
    """Outputs of elements of any length are the codec's."""
    texts = Pieces(Signature(taking(TensorSpec("t", "BYTES", (-1,)))))
    assert not texts.is_numeric(("t",))
    assert Pieces(SIGNATURE).is_numeric(("logits", "sure"))


def test_heads_of_one_length_have_their_place_beside_each_other() -> None:
    """Models of one form whose names are as long; the newest of a head counts."""
    heads: Heads[int] = Heads()
    assert heads.find(b"a-1") is None
    for number, data in enumerate((b"a-1", b"b-1", b"a-9")):
        heads.learn(data, data[:2], number)
    assert [heads.find(data) for data in (b"a-2", b"b-2", b"c-2", b"a-22")] == [2, 1, None, None]


def test_not_all_heads_are_kept() -> None:
    """Of one length sixteen, the newest, each once; of all 256, so that no client makes the memory grow."""
    heads: Heads[int] = Heads()
    for number in (*range(17), 16, 16):
        heads.learn(b"%02d" % number, b"%02d" % number, number)
    assert [heads.find(b"%02d" % number) for number in range(17)] == [None, *range(1, 17)]
    for number in range(241):
        length = 3 + number // 16
        heads.learn(b"%03d" % number + bytes(length), b"%03d" % number, number)
    assert (heads.find(b"16"), heads.find(b"240" + bytes(18))) == (None, 240)
