"""Owns opening a model as every server of a bench opens it, so that only their serving differs."""

from pathlib import Path

import onnxruntime


def open_session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session on the processor that does not spin while it waits: neighbours need the cores.

    Args:
        graph: The ONNX file.
        threads: Threads of one run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
