"""Owns what a streamed answer says beside the answer: which request it belongs to, and that no other follows."""

from protos.oip.parameters import FINAL_RESPONSE
from protos.tandem.oip.v2 import grpc_service_pb2 as pb


def stream_answer(response: pb.ModelInferResponse) -> pb.ModelStreamInferResponse:
    """Put an answer on a stream.

    Args:
        response: The answer, with its request's `id`; it is marked as the last one.

    Returns:
        The message.
    """
    response.parameters[FINAL_RESPONSE].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=response)


def stream_error(request_id: str, text: str) -> pb.ModelStreamInferResponse:
    """Put a refusal on a stream; the stream goes on.

    Args:
        request_id: The request's `id`.
        text: What is wrong, and the mend.

    Returns:
        The message.
    """
    message = pb.ModelStreamInferResponse(error_message=text)
    message.infer_response.id = request_id
    message.infer_response.parameters[FINAL_RESPONSE].bool_param = True
    return message
