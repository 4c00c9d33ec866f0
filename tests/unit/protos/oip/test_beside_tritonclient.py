"""Our messages beside those of tritonclient, in one process: other names, the same bytes."""

import pytest
import tritonclient.grpc  # noqa: F401 - the whole client, as a user imports it
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tritonclient.grpc import model_config_pb2 as their_config
from tritonclient.grpc import service_pb2 as theirs
from tritonclient.grpc import service_pb2_grpc as their_service

from protos.oip.methods import METHODS
from protos.tandem.oip.v2 import grpc_service_pb2 as ours
from protos.tandem.oip.v2 import model_config_pb2 as our_config

NOT_TRITONS = {"ModelMetadataResponse.properties"}
"""KServe's, which Triton's clients skip as an unknown field."""


def described(field: FieldDescriptor) -> tuple[object, ...]:
    """What decides the bytes of a field, and its name."""
    nested = field.message_type or field.enum_type
    return field.name, field.number, field.type, field.is_repeated, nested.name if nested else None


def messages(module: object) -> list[Descriptor]:
    """Every message of a module, nested ones, too."""
    descriptor: object = module.DESCRIPTOR  # type: ignore[attr-defined]
    found: list[Descriptor] = list(descriptor.message_types_by_name.values())  # type: ignore[attr-defined]
    for message in found:
        found.extend(message.nested_types)
    return found


@pytest.mark.parametrize(("mine", "their"), [(ours, theirs), (our_config, their_config)])
def test_every_field_has_the_protocols_number_and_type(mine: object, their: object) -> None:
    """Each message of ours has no other fields than Triton's of the same name, by number, type and name."""
    known = {message.full_name.removeprefix("inference."): message for message in messages(their)}
    for message in messages(mine):
        name = message.full_name.removeprefix("tandem.oip.v2.")
        if name == "ModelMetadataResponse.PropertiesEntry":
            continue
        expected = {described(field) for field in known[name].fields}
        found = {described(field) for field in message.fields if f"{name}.{field.name}" not in NOT_TRITONS}
        assert found <= expected, name


@pytest.mark.parametrize("name", ["DataType"])
def test_enums_have_the_protocols_numbers(name: str) -> None:
    """The names and numbers of datatypes are Triton's."""
    mine, their = our_config.DESCRIPTOR.enum_types_by_name[name], their_config.DESCRIPTOR.enum_types_by_name[name]
    assert {one.name: one.number for one in mine.values} == {one.name: one.number for one in their.values}


def test_a_request_of_tritonclient_is_ours_byte_by_byte() -> None:
    """What it serialises is read by our class, parameters of all five types included, and written back the same."""
    request = theirs.ModelInferRequest(model_name="press", id="7", raw_input_contents=[b"\1\2"])
    request.inputs.add(name="x", datatype="FP32", shape=[1, -1])
    request.outputs.add(name="y").parameters["classification"].int64_param = 3
    for key, field, value in (
        ("b", "bool_param", True),
        ("i", "int64_param", -1),
        ("s", "string_param", "x"),
        ("d", "double_param", 0.5),
        ("u", "uint64_param", 1 << 63),
    ):
        setattr(request.parameters[key], field, value)
    sent = request.SerializeToString(deterministic=True)
    read = ours.ModelInferRequest.FromString(sent)
    assert read.parameters["d"].double_param == 0.5
    assert read.SerializeToString(deterministic=True) == sent


def test_methods_are_called_by_the_standard_path() -> None:
    """Every method that we offer is one that the client's stub calls, with messages of the same names."""
    service = theirs.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for method in METHODS:
        known = service.methods_by_name[method.name]
        assert method.path == f"/{service.full_name}/{known.name}"
        assert (method.request.DESCRIPTOR.name, method.response.DESCRIPTOR.name) == (
            known.input_type.name,
            known.output_type.name,
        )
        assert method.is_stream == known.client_streaming == known.server_streaming
    assert hasattr(their_service, "GRPCInferenceServiceStub")
