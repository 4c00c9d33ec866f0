"""The server's loop: nobody stands behind who sends nothing, a slow model, or who waits; who leaves takes nothing."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.core.local_call import CallAnswer
from edge_agent.errors import ConfigurationError
from protos.oip.methods import MODEL_INFER, MODEL_STREAM_INFER, SERVICE
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.oip.served import (
    DEADLINE_S,
    ROW,
    USE,
    Doubtful,
    Slow,
    Sure,
    request,
    server_of,
    serving,
)

_APART = [("grpc.use_local_subchannel_pool", 1)]


@contextmanager
def channel_to(target: str) -> Iterator[grpc.Channel]:
    """A connection of its own."""
    with grpc.insecure_channel(target, options=_APART) as channel:
        yield channel


def infer(channel: grpc.Channel) -> Any:  # noqa: ANN401 - a multicallable
    """The method."""
    return channel.unary_unary(
        MODEL_INFER.path, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )


def require_served(target: str) -> None:
    """Another caller is told that the server lives, and is answered."""
    with channel_to(target) as channel:
        live = channel.unary_unary(f"/{SERVICE}/ServerLive", bytes, pb.ServerLiveResponse.FromString)
        assert live(b"", timeout=DEADLINE_S).live


def test_calls_that_are_opened_and_never_sent_hold_nobody_up() -> None:
    """Three half-open inferences and two half-open questions for health, and another caller is served all the same."""
    over = threading.Event()

    def never() -> Iterator[bytes]:
        over.wait(2 * DEADLINE_S)
        yield from ()

    with serving(Sure()) as target, channel_to(target) as bad:
        try:
            opened = [
                bad.stream_unary(f"/{SERVICE}/{method}", bytes, bytes).future(never())
                for method, count in (("ModelInfer", 3), ("ServerLive", 2))
                for _ in range(count)
            ]
            # What the same connection answers behind them has been read behind them.
            assert infer(bad)(request(), timeout=DEADLINE_S).model_name == "press"
            require_served(target)
            with channel_to(target) as good:
                assert infer(good)(request(), timeout=DEADLINE_S).model_name == "press"
            assert not any(one.done() for one in opened)
        finally:
            over.set()


def test_a_slow_model_holds_up_neither_health_nor_metadata() -> None:
    """Its runs are in threads, and more calls than threads wait beside the loop."""
    slow = Slow()
    with serving(slow) as target, channel_to(target) as channel:
        calls = [infer(channel).future(request(), timeout=DEADLINE_S) for _ in range(5)]
        for _ in range(2):
            assert slow.began.acquire(timeout=DEADLINE_S)
        require_served(target)
        described = channel.unary_unary(
            f"/{SERVICE}/ModelMetadata", pb.ModelMetadataRequest.SerializeToString, pb.ModelMetadataResponse.FromString
        )
        assert described(pb.ModelMetadataRequest(name="press"), timeout=DEADLINE_S).name == "press"
        slow.may_end.set()
        assert [call.result(DEADLINE_S).model_name for call in calls] == ["press"] * 5


def test_who_left_before_its_turn_is_not_run() -> None:
    """Calls of a caller who hung up are dropped where they wait."""
    slow = Slow()
    with serving(slow) as target:
        with channel_to(target) as channel:
            calls = [infer(channel).future(request(), timeout=DEADLINE_S) for _ in range(2)]
            for _ in calls:
                assert slow.began.acquire(timeout=DEADLINE_S)
            late = [infer(channel).future(request(), timeout=DEADLINE_S) for _ in range(3)]
            require_served(target)
            for call in (*calls, *late):
                call.cancel()
        with channel_to(target) as other:
            wanted = infer(other).future(request(), timeout=DEADLINE_S)
            require_served(target)
            slow.may_end.set()
            assert wanted.result(DEADLINE_S).model_name == "press"
    assert slow.ran == 1


def test_who_hangs_up_while_waiting_for_the_hub_gives_its_permit_back() -> None:
    """The only permit is free again for the next one; meanwhile one more is refused."""
    doubtful = Doubtful()
    with serving(doubtful) as target:
        with channel_to(target) as channel:
            call = infer(channel).future(request(wait_for_hub_ms=600_000), timeout=600.0)
            assert doubtful.waits.acquire(timeout=DEADLINE_S)
            with pytest.raises(grpc.RpcError, match=r"oip\.max_waiters"):
                infer(channel)(request(wait_for_hub_ms=600_000), timeout=DEADLINE_S)
            call.cancel()
        with channel_to(target) as channel:
            wait_until(lambda: _waits(channel), DEADLINE_S, "the permit is back")
            assert infer(channel)(request(), timeout=DEADLINE_S).model_name == "press"


def test_a_stream_whose_reader_left_gives_its_permit_back() -> None:
    """A stream holds a permit from its begin, and no longer than its caller is there."""
    with serving(Sure()) as target:
        for _ in range(3):
            with channel_to(target) as channel:
                wait_until(partial(_is_answered, channel), DEADLINE_S, "the permit is back")


def test_the_end_answers_who_waits_and_may_be_called_twice() -> None:
    """A call in hand has its grace; a port that is taken is told before anything is served."""
    slow = Slow()
    with serving(slow) as target, channel_to(target) as channel:
        call = infer(channel).future(request(), timeout=DEADLINE_S)
        assert slow.began.acquire(timeout=DEADLINE_S)
        second = server_of(Sure(), target)
        with pytest.raises(ConfigurationError, match=r"oip\.listen"):
            second.open()
        second.close()
        second.close()
        slow.may_end.set()
        assert call.result(DEADLINE_S).model_name == "press"


def _waits(channel: grpc.Channel) -> bool:
    try:
        infer(channel)(request(wait_for_hub_ms=1), timeout=DEADLINE_S)
    except grpc.RpcError:
        return False
    return True


def _is_answered(channel: grpc.Channel) -> bool:
    write, read = pb.ModelInferRequest.SerializeToString, pb.ModelStreamInferResponse.FromString
    answers = channel.stream_stream(MODEL_STREAM_INFER.path, write, read)(
        iter([request() for _ in range(1000)]), timeout=DEADLINE_S
    )
    try:
        return not next(answers).error_message
    except grpc.RpcError:
        return False
    finally:
        answers.cancel()


class _Long(np.ndarray[Any, np.dtype[np.float32]]):
    """An output that tells which thread writes it."""

    written_by: ClassVar[list[str]] = []

    def tobytes(self, *order: Any) -> bytes:  # noqa: ANN401 - as it is
        """As it is."""
        self.written_by.append(threading.current_thread().name)
        return super().tobytes(*order)


class _Talkative(Sure):
    """A binding whose answers get long."""

    n_rows = 1

    def call(self, inputs: Mapping[str, NDArray[Any]], **_: object) -> CallAnswer:
        """Answer."""
        del inputs
        logits = np.zeros((self.n_rows, 3), np.float32).view(_Long)
        return CallAnswer(USE, "1.0.0", {"logits": logits}, (ROW,))


def test_a_long_answer_to_a_known_head_is_not_written_on_the_loop() -> None:
    """Health is answered meanwhile."""
    callee = _Talkative()
    with serving(callee) as target, channel_to(target) as channel:
        infer(channel)(request(), timeout=DEADLINE_S)
        callee.n_rows = 10_000
        _Long.written_by.clear()
        infer(channel)(request(), timeout=DEADLINE_S)
    assert "oip" not in _Long.written_by
    assert len(_Long.written_by) == 1
