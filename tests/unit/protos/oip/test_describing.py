"""Descriptions: what clients read before they send, as messages and as JSON."""

from dataclasses import dataclass, field, replace

from model_packs.tensors import TensorSpec
from protos.oip.describing import (
    document,
    model_config,
    model_metadata,
    model_statistics,
    repository_index,
    server_metadata,
)
from tests.unit.protos.oip.oip_models import MODEL


@dataclass(frozen=True)
class Time:
    """How often, and how long."""

    count: int
    ns: int


@dataclass(frozen=True)
class Row:
    """What a model did."""

    name: str = "press"
    version: str = "2.0.0"
    inference_count: int = 5
    execution_count: int = 2
    last_inference_ms: int = 1_700_000_000_000
    success: Time = Time(4, 400)
    fail: Time = Time(1, 10)
    queue: Time = Time(4, 40)
    compute_input: Time = Time(4, 4)
    compute_infer: Time = Time(4, 300)
    compute_output: Time = Time(4, 8)
    cache_hit: Time = Time(0, 0)
    cache_miss: Time = Time(0, 0)
    batches: tuple[tuple[int, Time], ...] = field(default=((1, Time(1, 100)), (4, Time(1, 200))))


def test_metadata_names_tensors_with_their_batch() -> None:
    """The first size is the open batch; properties say which pack it is."""
    assert document(model_metadata(MODEL, ["1.0.0", "2.0.0"])) == {
        "name": "press",
        "versions": ["1.0.0", "2.0.0"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "sure", "datatype": "FP32", "shape": [-1]},
        ],
        "properties": {"pack": "press-edge@2.0.0", "digest": "sha256:00", "task": "classification"},
    }


def test_the_configuration_leaves_the_open_batch_out() -> None:
    """With a batch that a client may choose, `dims` begin behind it, and its limit is `max_batch_size`."""
    config = document(model_config(MODEL, is_batched=True))["config"]
    assert (config["name"], config["platform"], config["backend"]) == ("press", "onnxruntime_onnx", "onnxruntime")
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4], "optional": False}]
    assert config["output"][1] == {"name": "sure", "data_type": "TYPE_FP32", "dims": []}
    assert config["model_transaction_policy"] == {"decoupled": False}
    assert "dynamic_batching" in config
    assert "dynamic_batching" not in document(model_config(MODEL))["config"]


def test_a_fixed_batch_is_no_choice() -> None:
    """Where the first size is fixed, clients send the whole shape: `max_batch_size` is 0."""
    fixed = replace(MODEL, inputs=(TensorSpec("t", "BYTES", (8,)),))
    config = document(model_config(fixed))["config"]
    assert config["max_batch_size"] == 0
    assert config["input"][0] == {"name": "t", "data_type": "TYPE_STRING", "dims": [8], "optional": False}


def test_statistics_hold_every_duration() -> None:
    """Counts and nanoseconds are numbers in JSON; each batch size has its runs."""
    stats = document(model_statistics([Row()]))["model_stats"][0]
    assert (stats["name"], stats["version"], stats["last_inference"]) == ("press", "2.0.0", 1_700_000_000_000)
    assert (stats["inference_count"], stats["execution_count"]) == (5, 2)
    assert stats["inference_stats"]["queue"] == {"count": 4, "ns": 40}
    assert stats["inference_stats"]["cache_miss"] == {"count": 0, "ns": 0}
    assert [(one["batch_size"], one["compute_infer"]["ns"]) for one in stats["batch_stats"]] == [(1, 100), (4, 200)]


def test_the_index_and_the_server_are_described() -> None:
    """Each model with its state and the reason for it; the server with its extensions."""
    index = repository_index([("press", "2.0.0", "UNAVAILABLE", "unloaded")])
    assert document(index) == {
        "models": [{"name": "press", "version": "2.0.0", "state": "UNAVAILABLE", "reason": "unloaded"}]
    }
    server = document(server_metadata("cloud-hub", "1.2.3"))
    assert (server["name"], server["version"]) == ("cloud-hub", "1.2.3")
    assert "statistics" in server["extensions"]
