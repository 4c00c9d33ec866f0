"""Owns the check of a request's tensors against a model, the same for gRPC and REST, and the arrays made of them.

Clients repeat themselves: a tensor's name, datatype and shape that fitted once are remembered, so that a request costs
one look-up a tensor. Sizes are compared by arithmetic before anything is allocated. How bytes come out of a message is
`grpc_codec.py` and `rest_codec.py`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model_packs.errors import TensorError
from model_packs.tensors import BYTES, MAX_TENSOR_BYTES, TensorSpec, dtype_of, elements_from_raw, tensor_size_bytes
from protos.oip.model import OipModel

_MAX_REMEMBERED: Final = 1024
_SHOWN_CHARS: Final = 80
_SUMMED: Final = 4096  # elements; BLAS would use more threads for more
_SINGLE_BYTES: Final = 4

Parameter = bool | int | float | str


class Place(NamedTuple):
    """A part of a shared memory region, as a tensor's parameters name it; offset and size in bytes."""

    region: str
    offset: int
    size: int


class Regions(Protocol):
    """The shared memory that clients have registered. Both raise TensorError when there is no such region or part."""

    def read(self, region: str, offset_bytes: int, size_bytes: int, /) -> bytes:
        """Copy a part of a region: its owner may change it at any time."""

    def write(self, region: str, offset_bytes: int, data: bytes, /) -> None:
        """Overwrite a part of a region."""


class Form(NamedTuple):
    """A fitting tensor's form: `n_bytes` is the exact size of its raw bytes, None for elements of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    n_bytes: int | None
    n_elements: int
    must_be_finite: bool


class Asked(NamedTuple):
    """What a request asks for; a tuple because one is made for every request.

    Attributes:
        inputs: One array per declared input, read-only over the request's own bytes where these were raw.
        wanted: Outputs to answer, in this order.
        is_raw: Answer in raw bytes, as the request came; else in typed lists.
        places: Outputs to be written to shared memory.
    """

    inputs: dict[str, NDArray[Any]]
    wanted: tuple[str, ...]
    is_raw: bool
    places: Mapping[str, Place]


class Signature:
    """What one model takes and gives, prepared for many requests; may be used from several threads.

    Args:
        model: The model.
        takes_non_finite: NaN and infinities are values that the model declares; else they are the caller's mistake.
    """

    def __init__(self, model: OipModel, *, takes_non_finite: bool = False) -> None:
        self.model = model
        self._takes_non_finite = takes_non_finite
        self._specs = {spec.name: spec for spec in model.inputs}
        self._outputs = {spec.name: spec for spec in model.outputs}
        self._all_outputs = tuple(self._outputs)
        self._n_inputs = len(self._specs)
        self._forms: dict[tuple[str, str, tuple[int, ...]], Form] = {}
        self._wanted: dict[tuple[str, ...], tuple[str, ...]] = {(): self._all_outputs}

    def form(self, name: str, datatype: str, shape: tuple[int, ...]) -> Form:
        """Check what a request says of a tensor.

        Args:
            name: Its name.
            datatype: Its datatype.
            shape: Its sizes.

        Returns:
            Its form.

        Raises:
            TensorError: The model has no such input, or it takes another datatype or shape.
        """
        known = self._forms.get((name, datatype, shape))
        return self._checked_form(name, datatype, shape) if known is None else known

    def array(self, form: Form, raw: bytes) -> NDArray[Any]:
        """Make an array over raw bytes.

        Args:
            form: The tensor's form.
            raw: Little-endian, row-major; `BYTES`: each element behind its length.

        Returns:
            A view that does not copy; `BYTES`: new objects.

        Raises:
            TensorError: The number of bytes is another, or a value is not finite where it must be.
        """
        if len(raw) != form.n_bytes:
            if form.n_bytes is None:
                return self._elements(form, raw)
            raise TensorError(
                f"tensor {form.name!r} must have {form.n_bytes} bytes for {form.datatype} {list(form.shape)}, "
                f"not {len(raw)}"
            )
        array: NDArray[Any] = np.ndarray(form.shape, form.dtype, raw)
        if form.must_be_finite:
            check_finite(form, array)
        return array

    def complete(self, inputs: dict[str, NDArray[Any]], n_sent: int) -> None:
        """Check a request's inputs as a whole.

        Args:
            inputs: Each of a fitting form.
            n_sent: How many the request held.

        Raises:
            TensorError: One is missing or came twice, or they hold different numbers of windows.
        """
        if n_sent != self._n_inputs or len(inputs) != n_sent:
            missing = [repr(name) for name in self._specs if name not in inputs]
            if missing:
                raise TensorError(
                    f"input {', '.join(missing)} is missing: the model takes {self._declared(self._specs)}"
                )
            raise TensorError(f"an input came twice: the model takes {self._declared(self._specs)}, each once")
        if n_sent > 1 and len({len(array) for array in inputs.values()}) > 1:
            sizes = ", ".join(f"{len(array)} in {name!r}" for name, array in inputs.items())
            raise TensorError(f"inputs must hold equally many windows, not {sizes}")

    def wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Check which outputs a request asks for.

        Args:
            names: In the request's order; none for all.

        Returns:
            The outputs to answer, in order.

        Raises:
            TensorError: The model has no such output, or one is asked for twice.
        """
        known = self._wanted.get(names)
        if known is not None:
            return known
        for name in names:
            if name not in self._outputs:
                raise TensorError(
                    f"unknown output {name[:_SHOWN_CHARS]!r}: the model gives {self._declared(self._outputs)}"
                )
        if len(set(names)) != len(names):
            raise TensorError(f"an output is asked for twice: {', '.join(names)}")
        if len(self._wanted) < _MAX_REMEMBERED:
            self._wanted[names] = names
        return names

    def datatype(self, output: str) -> str:
        """Name an output's datatype."""
        return self._outputs[output].datatype

    def _checked_form(self, name: str, datatype: str, shape: tuple[int, ...]) -> Form:
        spec = self._specs.get(name)
        if spec is None:
            raise TensorError(f"unknown input {name[:_SHOWN_CHARS]!r}: the model takes {self._declared(self._specs)}")
        if wrong := spec.mismatch(datatype, shape):
            raise TensorError(wrong)
        if not 1 <= shape[0] <= self.model.max_batch:
            raise TensorError(
                f"tensor {name!r} must hold 1 to {self.model.max_batch} windows along its first axis, not {shape[0]}"
            )
        try:
            n_bytes = None if datatype == BYTES else tensor_size_bytes(datatype, shape)
        except TensorError as error:
            raise TensorError(f"tensor {name!r}: {error}") from error
        dtype = dtype_of(datatype)
        must_be_finite = dtype.kind == "f" and not self._takes_non_finite
        form = Form(name, datatype, shape, dtype, n_bytes, math.prod(shape), must_be_finite)
        if len(self._forms) < _MAX_REMEMBERED:
            self._forms[name, datatype, shape] = form
        return form

    def _elements(self, form: Form, raw: bytes) -> NDArray[Any]:
        try:
            return elements_from_raw(raw, form.shape)
        except TensorError as error:
            raise TensorError(f"tensor {form.name!r}: {error}") from error

    @staticmethod
    def _declared(specs: Mapping[str, TensorSpec]) -> str:
        return ", ".join(f"{spec.name!r} {spec.datatype} {list(spec.shape)}" for spec in specs.values())


def check_finite(form: Form, array: NDArray[Any]) -> None:
    """Refuse NaN and infinities.

    Args:
        form: The tensor's form.
        array: Its value.

    Raises:
        TensorError: A value is not finite; the first such place is named.
    """
    if form.n_elements <= _SUMMED and form.dtype.itemsize >= _SINGLE_BYTES and math.isfinite(np.vdot(array, array)):
        return  # the sum of the squares is finite, so each value is; where it is not, each is looked at
    finite = np.isfinite(array)
    if np.count_nonzero(finite) != form.n_elements:
        at = [int(index) for index in np.argwhere(~finite)[0]]
        raise TensorError(
            f"tensor {form.name!r} must be finite: {array[tuple(at)]} at {at}, and the model declares no missing values"
        )


def place_of(parameters: Mapping[str, Parameter], name: str) -> Place | None:
    """Read where in shared memory a tensor lies (Triton's shared memory extension).

    Args:
        parameters: The tensor's.
        name: Its name, for messages.

    Returns:
        The place; None for a tensor that is in the message.

    Raises:
        TensorError: The parameters do not name a place.
    """
    region = parameters.get("shared_memory_region")
    if region is None:
        return None
    size, offset = parameters.get("shared_memory_byte_size"), parameters.get("shared_memory_offset", 0)
    if not isinstance(region, str) or not _is_size(size) or not _is_size(offset):
        raise TensorError(
            f"tensor {name!r}: shared_memory_region must be text, shared_memory_byte_size and shared_memory_offset "
            "integers of at least 0"
        )
    return Place(region, int(offset or 0), int(size or 0))


def read_region(regions: Regions | None, place: Place, form: Form) -> bytes:
    """Copy a tensor out of shared memory.

    Args:
        regions: The registered regions; None: this server shares no memory.
        place: Where.
        form: The tensor's form; a place of another size is refused before anything is read.

    Returns:
        Its raw bytes.

    Raises:
        TensorError: There is no such region or part, or it has not the tensor's size.
    """
    if place.size != form.n_bytes and (form.n_bytes is not None or place.size > MAX_TENSOR_BYTES):
        wanted = f"at most {MAX_TENSOR_BYTES}" if form.n_bytes is None else str(form.n_bytes)
        raise TensorError(
            f"tensor {form.name!r} must have {wanted} bytes of shared memory for {form.datatype} {list(form.shape)}, "
            f"not {place.size}"
        )
    try:
        return _known(regions).read(place.region, place.offset, place.size)
    except TensorError as error:
        raise TensorError(f"tensor {form.name!r}: {error}") from error


def write_region(regions: Regions | None, place: Place, name: str, raw: bytes) -> None:
    """Write an output to shared memory.

    Args:
        regions: The registered regions; None: this server shares no memory.
        place: Where.
        name: The output's name.
        raw: Its raw bytes.

    Raises:
        TensorError: There is no such region or part, or it is too small.
    """
    if len(raw) > place.size:
        raise TensorError(f"output {name!r} takes {len(raw)} bytes, the shared memory for it has {place.size}")
    try:
        _known(regions).write(place.region, place.offset, raw)
    except TensorError as error:
        raise TensorError(f"output {name!r}: {error}") from error


def _known(regions: Regions | None) -> Regions:
    if regions is None:
        raise TensorError("this server shares no memory; send the bytes in the request")
    return regions


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
