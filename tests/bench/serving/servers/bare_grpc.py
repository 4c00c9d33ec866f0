"""Owns the baseline of the serving benches: the barest server of the protocol. grpc.server, ONNX Runtime, nothing else.

It parses and writes the same messages as ours with the same pool of threads as the agent's (4 + 16). No checks, no
decision, no versions, no counters.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import numpy as np

from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.bench.serving.servers.arguments import Arguments
from tests.bench.serving.servers.session import open_session

POOL: Final = 4 + 16
SERVICE: Final = "inference.GRPCInferenceService"
_MAX_MESSAGE_BYTES: Final = 64 << 20


def main() -> None:
    """Serve."""
    arguments = Arguments.read()
    session = open_session(arguments.graph, arguments.threads)

    def infer(request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - generated messages
        tensor = request.inputs[0]
        values = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tensor.shape)
        answer = session.run([arguments.output], {arguments.input: values})[0]
        response = pb.ModelInferResponse(model_name=arguments.name, model_version="1")
        response.outputs.add(name=arguments.output, datatype="FP32", shape=answer.shape)
        response.raw_output_contents.append(answer.tobytes())
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
    )
    options = [("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)]
    server = grpc.server(ThreadPoolExecutor(POOL), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler}),))
    server.add_insecure_port(f"127.0.0.1:{arguments.grpc_port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
