"""Golden bytes of wire version 1: what was once on the wire is read and written the same for ever."""

from collections.abc import Iterator
from typing import cast, get_args

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from protos.messages.escalation import WIRE_VERSION, EscalateRequest, EscalateResponse
from protos.messages.fleet import DeviceReport, HubDirective
from tests.contract.wire_examples import EXAMPLES, GOLDEN


def golden(name: str) -> bytes:
    """The committed bytes."""
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text(encoding="ascii"))


def fields(message: Descriptor, seen: set[str]) -> Iterator[str]:
    """Full names of all fields that a message can carry, at any depth."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field.full_name
        if field.message_type is not None:
            yield from fields(field.message_type, seen)


def fields_set(message: Message) -> Iterator[str]:
    """Full names of the fields that a message does carry, at any depth."""
    for field, value in message.ListFields():
        yield field.full_name
        kind = field.message_type
        if kind is None:
            continue
        if kind.GetOptions().map_entry:  # its keys and values are scalars
            yield from (part.full_name for part in kind.fields)
            continue
        for part in [value] if isinstance(value, Message) else value:
            yield from fields_set(part)


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden_bytes_are_read_as_the_example(name: str) -> None:
    """What a device or a hub of the first version sends means the same today."""
    kind, example = EXAMPLES[name]
    assert kind.decode(golden(name)) == example


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_written_as_the_golden_bytes(name: str) -> None:
    """What this program sends is what a program of the first version was sent."""
    kind, example = EXAMPLES[name]
    assert kind.encode(example).hex() == golden(name).hex()


def test_every_kind_of_message_has_golden_bytes() -> None:
    """Of each union all members are there, of wire version 1, and no file lies about unused."""
    kinds = {type(example) for _, example in EXAMPLES.values()}
    for union in (EscalateRequest, EscalateResponse, DeviceReport, HubDirective):
        assert set(get_args(union)) <= kinds
    assert {path.stem for path in GOLDEN.iterdir()} == set(EXAMPLES)
    assert f"wire_v{WIRE_VERSION}" == GOLDEN.name


def test_every_field_is_in_some_golden_bytes() -> None:
    """A field that no example sets could change its number or type unseen."""
    seen: set[str] = set()
    known = {name for kind, _ in EXAMPLES.values() for name in fields(cast("Descriptor", kind.wire.DESCRIPTOR), seen)}
    covered = {name for key, (kind, _) in EXAMPLES.items() for name in fields_set(kind.wire.FromString(golden(key)))}
    assert known - covered == set()
