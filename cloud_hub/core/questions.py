"""Owns whether the full model can take an escalated window, before it is stored; decoding is `protos.codec`."""

from cloud_hub.errors import QuestionInvalidError
from model_packs.manifest import PackManifest
from protos.messages.escalation import Escalation, Hello, Item

MAX_ID_CHARS = 64
MAX_DIGEST_CHARS = 128
MAX_SEQ = 2**63 - 1
MAX_CURSOR = 2**62
"""Verdicts are numbered on from a device's cursor, so it must leave room below `MAX_SEQ`."""


def check_hello(hello: Hello) -> None:
    """Check the parts of a Hello that the tables must hold.

    Args:
        hello: As a device sent it.

    Raises:
        QuestionInvalidError: A number or a text is larger than any that an agent writes.
    """
    if len(hello.store_id) > MAX_ID_CHARS:
        raise QuestionInvalidError(f"the store id has more than {MAX_ID_CHARS} characters")
    if hello.verdict_cursor > MAX_CURSOR:
        raise QuestionInvalidError(f"verdict cursor {hello.verdict_cursor} is too large")


def check_item(item: Item) -> None:
    """Check the parts of an item that the tables must hold.

    Args:
        item: As a device sent it.

    Raises:
        QuestionInvalidError: A number or a text is larger than any that an agent writes.
    """
    if item.seq > MAX_SEQ:
        raise QuestionInvalidError(f"seq {item.seq} is too large")
    if len(item.body.prediction_id) > MAX_ID_CHARS:
        raise QuestionInvalidError(f"the prediction id has more than {MAX_ID_CHARS} characters")
    if len(item.body.input_digest) > MAX_DIGEST_CHARS:
        raise QuestionInvalidError(f"the input digest has more than {MAX_DIGEST_CHARS} characters")


def check_inputs(escalation: Escalation, manifest: PackManifest) -> None:
    """Compare a window with what the full model declares.

    Args:
        escalation: One window; its tensors have a batch axis of 1.
        manifest: The hub pack's.

    Raises:
        QuestionInvalidError: An input is missing, unknown, or of another datatype or shape; names it.
    """
    given = {tensor.name: tensor for tensor in escalation.inputs}
    wanted = {spec.name for spec in manifest.inputs}
    if given.keys() != wanted or len(given) != len(escalation.inputs):
        raise QuestionInvalidError(
            f"{manifest.ref} takes the inputs {', '.join(sorted(wanted))}, "
            f"not {', '.join(tensor.name for tensor in escalation.inputs)}"
        )
    for spec in manifest.inputs:
        tensor = given[spec.name]
        problem = spec.mismatch(tensor.datatype, tensor.shape)
        if problem is None and tensor.shape[0] != 1:
            problem = f"tensor {spec.name!r} must hold one window, not {tensor.shape[0]}"
        if problem is not None:
            raise QuestionInvalidError(f"{manifest.ref}: {problem}")
