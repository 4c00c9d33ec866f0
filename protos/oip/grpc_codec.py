"""Owns an inference between its gRPC messages and arrays: requests are read and checked, answers written.

Built for many small requests: a raw tensor costs one look-up and one view, an answer one copy of a prepared head. The
check itself is `signature.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.tensors import raw_from_elements
from protos.oip.parameters import parameters_of, set_parameters
from protos.oip.signature import Asked, Parameter, Place, Regions, Signature, place_of, read_region, write_region
from protos.oip.typed_contents import fill_contents, is_typed, raw_from_contents
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

_MAX_HEADS: Final = 256
_NO_PLACES: Final[Mapping[str, Place]] = {}


class GrpcCodec:
    """Reads requests to one model and writes its answers; keep one for each model, any thread may use it.

    Args:
        signature: What the model takes and gives.
    """

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._heads: dict[tuple[object, ...], pb.ModelInferResponse] = {}

    def read(self, request: pb.ModelInferRequest, regions: Regions | None = None) -> Asked:
        """Read a request.

        Args:
            request: The message; the arrays are views of its bytes.
            regions: Shared memory of this server's clients, if it takes any.

        Returns:
            What it asks for.

        Raises:
            TensorError: The request's fault; the message names the tensor and what was expected.
        """
        signature = self.signature
        tensors, raws = request.inputs, request.raw_input_contents
        outputs = request.outputs
        if len(raws) != len(tensors) or not raws:
            return self._read_mixed(request, regions)
        inputs: dict[str, NDArray[Any]] = {}
        for tensor, raw in zip(tensors, raws, strict=True):
            form = signature.form(tensor.name, tensor.datatype, tuple(tensor.shape))
            inputs[form.name] = signature.array(form, raw)
        signature.complete(inputs, len(tensors))
        wanted = signature.wanted(tuple([output.name for output in outputs]))
        return Asked(inputs, wanted, True, _places(outputs) if outputs else _NO_PLACES)

    def write(
        self,
        asked: Asked,
        outputs: Mapping[str, NDArray[Any]],
        *,
        request_id: str,
        version: str | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        regions: Regions | None = None,
    ) -> pb.ModelInferResponse:
        """Write an answer.

        Args:
            asked: What was asked for.
            outputs: The model's outputs by name, of the declared dtypes.
            request_id: The request's `id`, echoed.
            version: Which version answered, where that is not the model's own.
            parameters: Of the answer.
            regions: Shared memory, as for `read`.

        Returns:
            The message.

        Raises:
            TensorError: An output does not fit the shared memory that the caller gave for it.
        """
        wanted = asked.wanted
        is_raw = asked.is_raw or not all(is_typed(self.signature.datatype(name)) for name in wanted)
        response = pb.ModelInferResponse()
        response.MergeFrom(self._head(wanted, [outputs[name].shape for name in wanted]))
        if request_id:
            response.id = request_id
        if version is not None:
            response.model_version = version
        if parameters:
            set_parameters(response.parameters, parameters)
        if asked.places:
            self._write_placed(response, asked, outputs, regions)
        elif is_raw:
            raws = response.raw_output_contents
            for name in wanted:
                raws.append(_raw(outputs[name]))
        else:
            for name, tensor in zip(wanted, response.outputs, strict=True):
                fill_contents(tensor.contents, tensor.datatype, outputs[name])
        return response

    def _head(self, wanted: tuple[str, ...], shapes: list[tuple[int, ...]]) -> pb.ModelInferResponse:
        """An answer without its values, made once for each form of it."""
        key = (wanted, *shapes)
        head = self._heads.get(key)
        if head is None:
            model = self.signature.model
            head = pb.ModelInferResponse(model_name=model.name, model_version=model.version)
            for name, shape in zip(wanted, shapes, strict=True):
                head.outputs.add(name=name, datatype=self.signature.datatype(name), shape=shape)
            if len(self._heads) < _MAX_HEADS:
                self._heads[key] = head
        return head

    def _read_mixed(self, request: pb.ModelInferRequest, regions: Regions | None) -> Asked:
        """Read a request whose tensors are not all raw bytes in the message."""
        signature = self.signature
        raws = iter(request.raw_input_contents)
        inputs: dict[str, NDArray[Any]] = {}
        is_raw = bool(request.raw_input_contents)
        for tensor in request.inputs:
            form = signature.form(tensor.name, tensor.datatype, tuple(tensor.shape))
            place = place_of(parameters_of(tensor.parameters), form.name) if tensor.parameters else None
            if place is not None:
                is_raw = True
                raw = read_region(regions, place, form)
            elif request.raw_input_contents:
                raw = _next(raws, form.name, request)
            elif tensor.HasField("contents"):
                raw = raw_from_contents(form, tensor.contents)
            else:
                raise TensorError(f"tensor {form.name!r} has no data: send raw_input_contents, or its typed contents")
            inputs[form.name] = signature.array(form, raw)
        signature.complete(inputs, len(request.inputs))
        if any(True for _ in raws):
            raise TensorError(_wrong_number(request))
        wanted = signature.wanted(tuple(output.name for output in request.outputs))
        return Asked(inputs, wanted, is_raw, _places(request.outputs))

    def _write_placed(
        self,
        response: pb.ModelInferResponse,
        asked: Asked,
        outputs: Mapping[str, NDArray[Any]],
        regions: Regions | None,
    ) -> None:
        """Write outputs to shared memory; in the message an empty place keeps the order of the others."""
        for name, tensor in zip(asked.wanted, response.outputs, strict=True):
            place, raw = asked.places.get(name), _raw(outputs[name])
            if place is None:
                response.raw_output_contents.append(raw)
                continue
            write_region(regions, place, name, raw)
            response.raw_output_contents.append(b"")
            set_parameters(
                tensor.parameters,
                {
                    "shared_memory_region": place.region,
                    "shared_memory_offset": place.offset,
                    "shared_memory_byte_size": len(raw),
                },
            )


def _raw(array: NDArray[Any]) -> bytes:
    return raw_from_elements(array.ravel().tolist()) if array.dtype.hasobject else array.tobytes()


def _places(outputs: Iterable[pb.ModelInferRequest.InferRequestedOutputTensor]) -> Mapping[str, Place]:
    places: dict[str, Place] = {}
    for output in outputs:
        if output.parameters:
            place = _output_place(output)
            if place is not None:
                places[output.name] = place
    return places


def _output_place(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> Place | None:
    parameters = parameters_of(output.parameters)
    if parameters.get("classification"):
        raise TensorError(
            f"output {output.name!r}: this server does not sort classes; ask for the values, or read the answer's label"
        )
    return place_of(parameters, output.name)


def _next(raws: Iterator[bytes], name: str, request: pb.ModelInferRequest) -> bytes:
    raw = next(raws, None)
    if raw is None:
        raise TensorError(f"tensor {name!r} has no data: {_wrong_number(request)}")
    return raw


def _wrong_number(request: pb.ModelInferRequest) -> str:
    return (
        f"raw_input_contents must hold the bytes of each of the {len(request.inputs)} inputs that is not in shared "
        f"memory, not {len(request.raw_input_contents)}"
    )
