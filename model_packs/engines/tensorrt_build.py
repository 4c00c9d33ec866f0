"""Owns building a TensorRT engine from an ONNX graph, with calls that TensorRT 10.3 (JetPack 6) to 11 share.

The network is strongly typed: number formats are the graph's own (a half-precision variant is a half-precision graph,
an INT8 one has QuantizeLinear and DequantizeLinear nodes), and TensorFloat-32 is off, so that `fp32` means what a
certificate says. From TensorRT 11 on there is no other way
(https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x.html).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from model_packs.engines.tensorrt_plan import DATATYPES, Profile
from model_packs.tensors import TensorSpec

_NAMES: Final = {theirs: ours for ours, theirs in DATATYPES.items()}

CheckIo = Callable[[Sequence[TensorSpec], Sequence[TensorSpec]], None]


class TensorRtRefusalError(Exception):
    """TensorRT does not take a graph; the message says why, and `tensorrt_session.py` whose graph it is."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build gave.

    Attributes:
        plan: The engine, serialised.
        timing: Kernel times that were measured, serialised.
    """

    plan: bytes
    timing: bytes


def make_logger(trt: Any) -> Any:  # noqa: ANN401 - the library ships no types
    """Make a logger that keeps the last complaint instead of printing.

    Args:
        trt: The module `tensorrt`.

    Returns:
        A `tensorrt.ILogger` with `complaint: str`; whatever is made with it needs it as long as it lives.
    """

    class Complaints(trt.ILogger):  # type: ignore[misc]  # a base from a library without types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.complaint = "it does not say why"

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401 - tensorrt.ILogger.Severity
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.complaint = message

    return Complaints()


def datatype(dtype: Any) -> str:  # noqa: ANN401 - tensorrt.DataType
    """Name a datatype as the Open Inference Protocol does; one that it has not, as TensorRT does."""
    return _NAMES.get(dtype.name, str(dtype.name))


def build_engine(
    trt: Any,  # noqa: ANN401 - the library ships no types
    logger: Any,  # noqa: ANN401 - as above
    graph: bytes,
    profiles: Sequence[Profile],
    *,
    check_io: CheckIo,
    timing: bytes,
) -> Built:
    """Build an engine; this takes seconds to minutes, and the GPU.

    Args:
        trt: The module `tensorrt`.
        logger: As from `make_logger`.
        graph: The ONNX graph.
        profiles: Batches to optimise for.
        check_io: Called with the graph's inputs and outputs before the long part begins; may raise.
        timing: Kept kernel times, or empty.

    Returns:
        The engine, with the kernel times to keep.

    Raises:
        TensorRtRefusalError: TensorRT does not know a part of the graph, or fails to build it.
    """
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        said = [parser.get_error(place).desc() for place in range(parser.num_errors)]
        raise TensorRtRefusalError(f"cannot read the graph: {'; '.join(said) or logger.complaint}")
    inputs = [_spec(network.get_input(place)) for place in range(network.num_inputs)]
    check_io(inputs, [_spec(network.get_output(place)) for place in range(network.num_outputs)])
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "STRICT_NANS"):  # younger than 10.3: what is no number stays none
        config.set_flag(trt.BuilderFlag.STRICT_NANS)
    for profile in profiles:
        config.add_optimization_profile(_declared(builder, inputs, profile))
    times = config.create_timing_cache(timing)
    if not config.set_timing_cache(times, False):
        times = config.create_timing_cache(b"")
        config.set_timing_cache(times, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorRtRefusalError(f"cannot build the engine: {logger.complaint}")
    return Built(bytes(plan), bytes(times.serialize()))


def _spec(tensor: Any) -> TensorSpec:  # noqa: ANN401 - tensorrt.ITensor
    return TensorSpec(str(tensor.name), datatype(tensor.dtype), tuple(int(size) for size in tensor.shape))


def _declared(builder: Any, inputs: Sequence[TensorSpec], profile: Profile) -> Any:  # noqa: ANN401 - tensorrt types
    declared = builder.create_optimization_profile()
    for spec in inputs:
        batches = (profile.smallest, profile.best, profile.largest)
        declared.set_shape(spec.name, *((n_windows, *spec.shape[1:]) for n_windows in batches))
    return declared
