"""Owns what a server says of itself and of its models: metadata, configuration, statistics, the repository's index.

Both the gRPC messages and, through `document`, the JSON of REST. Clients read them: perf_analyzer wants a version that
starts with a digit, `max_batch_size` with dims that leave the batch out, and a queue count that grows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from model_packs.tensors import BYTES, TensorSpec
from protos.oip.model import OipModel
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from protos.tandem.oip.v2 import model_config_pb2 as config_pb

EXTENSIONS: Final = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""Triton's extensions of the protocol that every server of ours has."""

SHARED_MEMORY: Final = "system_shared_memory"
"""The extension of servers whose callers are on the same machine."""


class Spent(Protocol):
    """How often something was done, and how long it took in all."""

    @property
    def count(self) -> int:
        """How often."""

    @property
    def ns(self) -> int:
        """Nanoseconds in all."""


class Statistics(Protocol):
    """What one version of a model did since the program started; times and counts are for requests."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> str:
        """Its version."""

    @property
    def inference_count(self) -> int:
        """Windows answered by runs."""

    @property
    def execution_count(self) -> int:
        """Runs."""

    @property
    def last_inference_ms(self) -> int:
        """When the last run ended, milliseconds since the Unix epoch; 0 for never."""

    @property
    def success(self) -> Spent:
        """Requests answered."""

    @property
    def fail(self) -> Spent:
        """Requests refused or failed."""

    @property
    def queue(self) -> Spent:
        """Waiting."""

    @property
    def compute_input(self) -> Spent:
        """Making the input."""

    @property
    def compute_infer(self) -> Spent:
        """Running."""

    @property
    def compute_output(self) -> Spent:
        """Making the answer."""

    @property
    def cache_hit(self) -> Spent:
        """Requests answered out of a cache."""

    @property
    def cache_miss(self) -> Spent:
        """Requests that a cache was asked for in vain."""

    @property
    def batches(self) -> Sequence[tuple[int, Spent]]:
        """Runs by the windows in them."""


def server_metadata(name: str, version: str, extensions: Iterable[str] = EXTENSIONS) -> pb.ServerMetadataResponse:
    """Describe a server.

    Args:
        name: The program.
        version: Its version.
        extensions: Of the protocol.

    Returns:
        The answer.
    """
    return pb.ServerMetadataResponse(name=name, version=version, extensions=extensions)


def model_metadata(model: OipModel, versions: Iterable[str]) -> pb.ModelMetadataResponse:
    """Describe what a model takes and gives.

    Args:
        model: The model.
        versions: All that may be asked for.

    Returns:
        The answer.
    """
    answer = pb.ModelMetadataResponse(
        name=model.name, versions=versions, platform=model.platform, properties=model.properties
    )
    for specs, tensors in ((model.inputs, answer.inputs), (model.outputs, answer.outputs)):
        for spec in specs:
            tensors.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
    return answer


def model_config(model: OipModel, *, is_batched: bool = False, is_cached: bool = False) -> pb.ModelConfigResponse:
    """Describe how a model is served.

    Args:
        model: The model.
        is_batched: The server puts requests together in one run.
        is_cached: The server answers equal requests without a run.

    Returns:
        The answer.
    """
    has_batch = model.has_open_batch
    config = config_pb.ModelConfig(
        name=model.name,
        platform=model.platform,
        backend=model.platform.partition("_")[0],
        max_batch_size=model.max_batch if has_batch else 0,
        version_policy=config_pb.ModelVersionPolicy(all=config_pb.ModelVersionPolicy.All()),
        model_transaction_policy=config_pb.ModelTransactionPolicy(decoupled=False),
        response_cache=config_pb.ModelResponseCache(enable=is_cached),
        parameters={key: config_pb.ModelParameter(string_value=value) for key, value in model.properties.items()},
    )
    if is_batched:
        config.dynamic_batching.SetInParent()
    for spec in model.inputs:
        config.input.add(name=spec.name, data_type=_data_type(spec), dims=spec.shape[1:] if has_batch else spec.shape)
    for spec in model.outputs:
        config.output.add(name=spec.name, data_type=_data_type(spec), dims=spec.shape[1:] if has_batch else spec.shape)
    return pb.ModelConfigResponse(config=config)


def model_statistics(rows: Iterable[Statistics]) -> pb.ModelStatisticsResponse:
    """Tell what models did.

    Args:
        rows: One for each version of a model.

    Returns:
        The answer.
    """
    answer = pb.ModelStatisticsResponse()
    for row in rows:
        stats = answer.model_stats.add(
            name=row.name,
            version=row.version,
            last_inference=row.last_inference_ms,
            inference_count=row.inference_count,
            execution_count=row.execution_count,
        )
        for field in stats.inference_stats.DESCRIPTOR.fields_by_name:
            spent: Spent = getattr(row, field)
            _fill(getattr(stats.inference_stats, field), spent)
        for windows, spent in row.batches:
            _fill(stats.batch_stats.add(batch_size=windows).compute_infer, spent)
    return answer


def repository_index(rows: Iterable[tuple[str, str, str, str]]) -> pb.RepositoryIndexResponse:
    """List what may be asked for.

    Args:
        rows: Name, version, state (`READY`, `UNAVAILABLE`, `LOADING`, `UNLOADING`) and the reason for it.

    Returns:
        The answer.
    """
    answer = pb.RepositoryIndexResponse()
    for name, version, state, reason in rows:
        answer.models.add(name=name, version=version, state=state, reason=reason)
    return answer


def document(message: Message) -> dict[str, Any]:
    """Write an answer of this module as the JSON that Triton's REST clients read.

    Args:
        message: The answer.

    Returns:
        Its fields by their names: numbers as numbers, enums by name, unset messages left out.
    """
    written: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        enum = field.enum_type
        names = None if enum is None else {number: one.name for number, one in enum.values_by_number.items()}
        if isinstance(value, Mapping):
            written[field.name] = {key: _json_value(one, names) for key, one in sorted(value.items())}
        elif field.is_repeated:
            written[field.name] = [_json_value(one, names) for one in value]
        else:
            written[field.name] = _json_value(value, names)
    return written


def _json_value(value: Any, names: Mapping[int, str] | None) -> Any:  # noqa: ANN401 - whatever a field holds
    if isinstance(value, Message):
        return document(value)
    return value if names is None else names[value]


def _data_type(spec: TensorSpec) -> str:
    return "TYPE_STRING" if spec.datatype == BYTES else f"TYPE_{spec.datatype}"


def _fill(message: pb.StatisticDuration, spent: Spent) -> None:
    message.count, message.ns = spent.count, spent.ns
    message.SetInParent()
