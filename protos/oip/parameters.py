"""Owns parameters between plain values and their messages, and what a server does with the ones that it knows.

Every parameter of a request is kept, whatever its type; who does not know one leaves it alone.
"""

from collections.abc import Mapping, MutableMapping
from typing import Final

from model_packs.errors import TensorError
from protos.oip.signature import Parameter
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

PRIORITY: Final = "priority"
"""1 is the most urgent, then 2, 3, …; 0 is no wish (Triton's schedule policy extension)."""

TIMEOUT: Final = "timeout"
"""How long a request may take, in microseconds (the same extension)."""

FINAL_RESPONSE: Final = "triton_final_response"
"""True in the last answer to a streamed request; here each has one answer."""

_MAX_INT64: Final = (1 << 63) - 1
_MAX_UINT64: Final = (1 << 64) - 1
_US_PER_S: Final = 1_000_000


def parameters_of(message: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    """Read the parameters of a request or a tensor.

    Args:
        message: The message's map.

    Returns:
        Their values by name; one whose value is of no known type is left out.
    """
    found: dict[str, Parameter] = {}
    for name, parameter in message.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(parameter, kind)
    return found


def set_parameters(message: MutableMapping[str, pb.InferParameter], values: Mapping[str, Parameter]) -> None:
    """Write parameters into an answer.

    Args:
        message: The message's map.
        values: By name; integers beyond 63 bits are written unsigned.
    """
    for name, value in values.items():
        parameter = message[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, str):
            parameter.string_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        elif value > _MAX_INT64:
            parameter.uint64_param = value
        else:
            parameter.int64_param = value


def priority_of(parameters: Mapping[str, Parameter]) -> int:
    """Read how urgent a request is.

    Args:
        parameters: The request's.

    Returns:
        1 for the most urgent and up; 0 for no wish.

    Raises:
        TensorError: It is no integer from 0 on.
    """
    return _integer(parameters, PRIORITY)


def timeout_s(parameters: Mapping[str, Parameter]) -> float | None:
    """Read how long a request may take.

    Args:
        parameters: The request's.

    Returns:
        Seconds; None where it does not say.

    Raises:
        TensorError: It is no integer from 0 on.
    """
    timeout_us = _integer(parameters, TIMEOUT)
    return timeout_us / _US_PER_S if timeout_us else None


def _integer(parameters: Mapping[str, Parameter], name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_UINT64:
        raise TensorError(f"parameter {name!r} must be an integer of at least 0, not {value!r}")
    return value
