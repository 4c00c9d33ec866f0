"""Owns escalations for the hub's unit tests: one window of a single byte, and all that a device says with it."""

from cloud_hub.core.devices import DeviceKey
from model_packs.outputs import Classification, Output
from model_packs.tensors import Tensor
from protos.messages.escalation import Escalation, PredictionId, Reason
from protos.messages.inference import ModelUse

PRESS = DeviceKey("o", "s", "press-07")
SAW = DeviceKey("o", "s", "saw-01")
A = Classification("a", {"a": 0.6, "b": 0.4})
B = Classification("b", {"a": 0.1, "b": 0.9})


def escalation(
    prediction: str,
    *,
    digest: str = "d",
    hub_pack: str = "full@1.0.0",
    edge: Output | None = A,
    binding: str = "band",
    reason: Reason = Reason.LOW_CONFIDENCE,
) -> Escalation:
    """What a device asks about one window."""
    return Escalation(
        prediction_id=PredictionId(prediction),
        input_digest=digest,
        binding=binding,
        partition="left",
        window_start_ns=1_000,
        window_end_ns=2_000,
        window_samples=1,
        window_fill=1.0,
        clock="synced",
        edge_model=ModelUse("small@1.0.0", "sha256:" + "1" * 64),
        hub_pack=hub_pack,
        reason=reason,
        propensity=1.0,
        confidence=0.0 if edge is None else 0.6,
        edge_output=edge,
        inputs=(Tensor("window", "UINT8", (1, 1), b"\x07"),),
        trace="",
        threshold=0.8,
    )
