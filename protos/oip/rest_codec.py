"""Owns an inference between its REST form and arrays: JSON with typed lists, or JSON with binary tensors behind it.

The binary form is Triton's binary tensor data extension: `binary_data_size` in a tensor's parameters, the bytes after
the JSON in the order of the tensors. The check of tensors is `signature.py`, the same as for gRPC.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.strict_json import JsonValue, parse
from model_packs.tensors import BYTES, raw_from_elements
from protos.codec.errors import CodecError
from protos.oip.rest import BINARY_TYPE, HEADER_LENGTH, JSON_TYPE
from protos.oip.signature import (
    Asked,
    Form,
    Parameter,
    Place,
    Regions,
    Signature,
    place_of,
    read_region,
    write_region,
)

MAX_JSON_BYTES: Final = 8 << 20
"""Of the JSON of one request: it takes many times its size to read. Larger tensors come in binary form."""

_BINARY_SIZE: Final = "binary_data_size"
_BINARY: Final = "binary_data"
_BINARY_OUTPUT: Final = "binary_data_output"

_NO_PARAMETERS: Final[dict[str, Parameter]] = {}


class RestRequest(NamedTuple):
    """A request whose JSON is read and not yet compared with a model."""

    document: dict[str, JsonValue]
    binary: memoryview

    @property
    def request_id(self) -> str:
        """The request's `id`; empty: none. Raises CodecError where it is no text."""
        return _text(self.document.get("id", ""), "id")


def opened(body: bytes, json_bytes: int | None) -> RestRequest:
    """Read a request's JSON, for what has to be known before its model.

    Args:
        body: JSON, with binary tensors behind it.
        json_bytes: How much of it is JSON; None: all.

    Returns:
        The request.

    Raises:
        CodecError: The request's fault: no JSON, or no object.
    """
    end = len(body) if json_bytes is None else json_bytes
    return RestRequest(_parsed(body if json_bytes is None else body[:end]), memoryview(body)[end:])


class RestAsked(NamedTuple):
    """A request over REST: what it asks for, its id and parameters, and which outputs it wants in binary form."""

    asked: Asked
    request_id: str
    parameters: dict[str, Parameter]
    binary: frozenset[str]


class RestAnswer(NamedTuple):
    """A body with the headers that say what it is."""

    body: bytes
    headers: dict[str, str]


class RestCodec:
    """Reads requests to one model and writes its answers.

    Args:
        signature: What the model takes and gives.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature

    def read(self, body: bytes, json_bytes: int | None, regions: Regions | None = None) -> RestAsked:
        """Read a request.

        Args:
            body: JSON, with binary tensors behind it; binary tensors become views of it.
            json_bytes: How much of it is JSON; None: all.
            regions: Shared memory of this server's clients, if it takes any.

        Returns:
            What it asks for.

        Raises:
            CodecError: The request's fault: no JSON, or JSON of another form; names the field.
            TensorError: The request's fault; the message names the tensor and what was expected.
        """
        return self.read_opened(opened(body, json_bytes), regions)

    def read_opened(self, request: RestRequest, regions: Regions | None = None) -> RestAsked:
        """Read a request whose JSON is read already; as `read`.

        Args:
            request: From `opened`.
            regions: Shared memory, as for `read`.

        Returns:
            What it asks for.

        Raises:
            CodecError: As for `read`.
            TensorError: As for `read`.
        """
        document, binary = request.document, _Binary(request.binary)
        inputs: dict[str, NDArray[Any]] = {}
        tensors = _list(document.get("inputs"), "inputs")
        for index, value in enumerate(tensors):
            at = f"inputs[{index}]"
            tensor = _table(value, at)
            form = self._signature.form(
                _text(tensor.get("name"), f"{at}.name"),
                _text(tensor.get("datatype"), f"{at}.datatype"),
                _shape(tensor.get("shape"), f"{at}.shape"),
            )
            tensor["parameters"] = _parameters(tensor.get("parameters"), f"{at}.parameters")
            raw = _raw(form, tensor, binary, regions)
            inputs[form.name] = self._signature.array(form, raw)
        self._signature.complete(inputs, len(tensors))
        binary.finish()
        parameters = _parameters(document.get("parameters"), "parameters")
        return self._wanted(request, inputs, parameters)

    def write(
        self,
        request: RestAsked,
        outputs: Mapping[str, NDArray[Any]],
        *,
        version: str | None = None,
        parameters: Mapping[str, Parameter] = _NO_PARAMETERS,
        regions: Regions | None = None,
    ) -> RestAnswer:
        """Write an answer.

        Args:
            request: What was asked for.
            outputs: The model's outputs by name.
            version: Which version answered, where that is not the model's own.
            parameters: Of the answer.
            regions: Shared memory, as for `read`.

        Returns:
            The body and its headers.

        Raises:
            TensorError: An output cannot be written as asked: text that is none, shared memory that is too small.
        """
        model = self._signature.model
        tensors: list[dict[str, Any]] = []
        binary: list[bytes] = []
        for name in request.asked.wanted:
            array = outputs[name]
            tensor: dict[str, Any] = {
                "name": name,
                "datatype": self._signature.datatype(name),
                "shape": list(array.shape),
            }
            place = request.asked.places.get(name)
            if place is not None:
                raw = _raw_of(array)
                write_region(regions, place, name, raw)
                tensor["parameters"] = _place_document(place, len(raw))
            elif name in request.binary:
                binary.append(_raw_of(array))
                tensor["parameters"] = {_BINARY_SIZE: len(binary[-1])}
            else:
                tensor["data"] = _values(name, array)
            tensors.append(tensor)
        document: dict[str, Any] = {"model_name": model.name, "model_version": version or model.version}
        if request.request_id:
            document["id"] = request.request_id
        if parameters:
            document["parameters"] = dict(parameters)
        document["outputs"] = tensors
        head = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        if not binary:
            return RestAnswer(head, {"Content-Type": JSON_TYPE})
        return RestAnswer(b"".join((head, *binary)), {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(head))})

    def _wanted(
        self, request: RestRequest, inputs: dict[str, NDArray[Any]], parameters: dict[str, Parameter]
    ) -> RestAsked:
        names: list[str] = []
        is_binary: dict[str, bool] = {}
        places: dict[str, Place] = {}
        for index, value in enumerate(_list(request.document.get("outputs", []), "outputs")):
            at = f"outputs[{index}]"
            output = _table(value, at)
            name = _text(output.get("name"), f"{at}.name")
            own = _parameters(output.get("parameters"), f"{at}.parameters")
            if own.get("classification"):
                raise TensorError(f"output {name!r}: this server does not sort classes; ask for the values")
            place = place_of(own, name)
            if place is not None:
                places[name] = place
            names.append(name)
            is_binary[name] = bool(own.get(_BINARY, parameters.get(_BINARY_OUTPUT, False)))
        wanted = self._signature.wanted(tuple(names))
        binary = (name for name in wanted if is_binary.get(name, bool(not names and parameters.get(_BINARY_OUTPUT))))
        return RestAsked(Asked(inputs, wanted, True, places), request.request_id, parameters, frozenset(binary))


class _Binary:
    """The bytes behind the JSON, taken from the front."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, form: Form, size: Parameter | None) -> bytes:
        """Take a tensor's bytes."""
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(self._data) - self._at:
            left = len(self._data) - self._at
            raise TensorError(f"tensor {form.name!r}: {_BINARY_SIZE} must be 0 to {left}, what is left, not {size!r}")
        if form.n_bytes is not None and size != form.n_bytes:
            raise TensorError(
                f"tensor {form.name!r} must have {form.n_bytes} bytes for {form.datatype} {list(form.shape)}, "
                f"not {size}"
            )
        self._at += size
        return bytes(self._data[self._at - size : self._at])

    def finish(self) -> None:
        """Refuse what belongs to no tensor."""
        left = len(self._data) - self._at
        if left:
            raise CodecError(
                "body", f"{left} bytes behind the JSON belong to no tensor; {_BINARY_SIZE} says how many do"
            )


def _raw(
    form: Form,
    tensor: dict[str, JsonValue],
    binary: _Binary,
    regions: Regions | None,
) -> bytes:
    parameters = tensor["parameters"]
    place = place_of(parameters, form.name)
    if place is not None:
        return read_region(regions, place, form)
    if _BINARY_SIZE in parameters:
        return binary.take(form, parameters[_BINARY_SIZE])
    if "data" not in tensor:
        raise TensorError(f"tensor {form.name!r} has no data: send a list, or {_BINARY_SIZE} and the bytes")
    return _raw_from_list(form, tensor["data"])


def _raw_from_list(form: Form, data: JsonValue) -> bytes:
    """Write a JSON list, flat or nested, as raw bytes."""
    flat = _flat(_list(data, f"data of tensor {form.name!r}"), len(form.shape))
    if len(flat) != form.n_elements:
        raise TensorError(
            f"tensor {form.name!r} must have {form.n_elements} elements for {form.datatype} {list(form.shape)}, "
            f"not {len(flat)}"
        )
    if form.datatype == BYTES:
        return raw_from_elements(flat)
    kinds = {"b": (bool,), "f": (int, float)}.get(form.dtype.kind, (int,))
    if not all(type(value) in kinds for value in flat):
        raise TensorError(f"tensor {form.name!r}: an element is no {form.datatype}")
    try:
        with np.errstate(over="ignore"):  # too large a number becomes infinite, and is refused as such
            return np.array(flat, dtype=form.dtype).tobytes()
    except OverflowError as error:
        raise TensorError(f"tensor {form.name!r}: a value does not fit {form.datatype}") from error


def _flat(data: list[JsonValue], depth: int) -> list[JsonValue]:
    for _ in range(depth - 1):
        if not data or not all(type(row) is list for row in data):
            break
        data = [value for row in data for value in row]
    return data


def _values(name: str, array: NDArray[Any]) -> list[Any]:
    """An output's values in row-major order; what JSON has no number for is null."""
    values: list[Any] = array.ravel().tolist()
    if array.dtype.hasobject:
        try:
            return [value if isinstance(value, str) else value.decode() for value in values]
        except UnicodeDecodeError as error:
            raise TensorError(f"output {name!r} is no text: ask for it with {_BINARY}") from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [value if math.isfinite(value) else None for value in values]
    return values


def _raw_of(array: NDArray[Any]) -> bytes:
    return raw_from_elements(array.ravel().tolist()) if array.dtype.hasobject else array.tobytes()


def _place_document(place: Place, size: int) -> dict[str, Parameter]:
    return {
        "shared_memory_region": place.region,
        "shared_memory_offset": place.offset,
        "shared_memory_byte_size": size,
    }


def _parsed(data: bytes) -> dict[str, JsonValue]:
    try:
        document = _table(parse(data, MAX_JSON_BYTES), "body")
        if b"\\u" in data:  # only an escape can name half of a character, which no answer can repeat
            json.dumps(document, ensure_ascii=False).encode()
    except CodecError:
        raise
    except UnicodeEncodeError as error:
        raise CodecError("body", "holds a text with one half of a surrogate pair") from error
    except ValueError as error:
        raise CodecError("body", f"is not the JSON of a request: {error}") from error
    else:
        return document


def _table(value: JsonValue, at: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise CodecError(at, "must be an object")
    return value


def _list(value: JsonValue, at: str) -> list[JsonValue]:
    if not isinstance(value, list):
        raise CodecError(at, "must be a list")
    return value


def _text(value: JsonValue, at: str) -> str:
    if not isinstance(value, str):
        raise CodecError(at, "must be a string")
    return value


def _shape(value: JsonValue, at: str) -> tuple[int, ...]:
    sizes = _list(value, at)
    if not all(type(size) is int for size in sizes):
        raise CodecError(at, "must be a list of integers")
    return tuple(sizes)


def _parameters(value: JsonValue, at: str) -> dict[str, Parameter]:
    if value is None:
        return {}
    table = _table(value, at)
    for key, one in table.items():
        if not isinstance(one, bool | int | float | str):
            raise CodecError(f"{at}.{key[:80]}", "must be a number, a text, true or false")
    return table
