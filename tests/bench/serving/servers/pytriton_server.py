"""Owns a PyTriton server (the Triton Inference Server with a Python function as its model) on one ONNX file."""

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from tests.bench.serving.servers.arguments import Arguments
from tests.bench.serving.servers.session import open_session


def main() -> None:
    """Serve."""
    arguments = Arguments.read()
    session = open_session(arguments.graph, arguments.threads)
    shape = tuple(session.get_inputs()[0].shape[1:])
    classes = tuple(session.get_outputs()[0].shape[1:])

    @batch
    def answer(**inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {arguments.output: session.run([arguments.output], inputs)[0]}

    batcher = DynamicBatcher(max_queue_delay_microseconds=1000 if arguments.batch > 1 else 0)
    config = TritonConfig(
        http_address="127.0.0.1",
        grpc_address="127.0.0.1",
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=arguments.name,
            infer_func=answer,
            inputs=[Tensor(name=arguments.input, dtype=np.float32, shape=shape)],
            outputs=[Tensor(name=arguments.output, dtype=np.float32, shape=classes)],
            config=ModelConfig(max_batch_size=arguments.batch, batching=True, batcher=batcher),
        )
        triton.serve()


if __name__ == "__main__":
    main()
