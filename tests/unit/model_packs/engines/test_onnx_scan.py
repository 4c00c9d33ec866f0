"""Graphs that name files outside themselves are found, however they are wrapped; broken bytes count as such."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.engines.onnx_scan import names_external_data
from tests.simulators.onnx_bytes import linear_graph, nested

PLAIN = linear_graph(np.ones((4, 2), np.float32), samples=2, channels=2)
EXTERNAL = linear_graph(np.ones((4, 2), np.float32), samples=2, channels=2, external_file="/etc/passwd")


def test_a_whole_graph_is_told_from_one_with_outside_weights() -> None:
    """Only the second names a file."""
    assert not names_external_data(PLAIN)
    assert names_external_data(EXTERNAL)


OUTSIDE = nested(13, nested(2, b"/etc/passwd"))


@pytest.mark.parametrize(
    "path",
    [
        (7, 5),  # graph.initializer
        (7, 1, 5, 5),  # graph.node.attribute.t
        (7, 1, 5, 10),  # graph.node.attribute.tensors
        (7, 1, 5, 6, 5),  # a subgraph in an attribute
        (7, 1, 5, 11, 5),  # subgraphs in an attribute
        (7, 15, 1),  # a sparse initializer's values
        (7, 1, 5, 22, 2),  # a sparse tensor's indices in an attribute
        (25, 7, 5, 5),  # a function's node
        (20, 2, 5),  # a training algorithm's graph
    ],
)
def test_every_place_for_a_tensor_is_looked_at(path: tuple[int, ...]) -> None:
    """Wherever onnx.proto allows a tensor, external data in it is found."""
    body = OUTSIDE
    for field in reversed(path):
        body = nested(field, body)
    assert names_external_data(body)


@given(st.integers(1, len(EXTERNAL) - 1))
def test_a_graph_cut_anywhere_never_crashes_the_scan(end: int) -> None:
    """Every prefix gets an answer."""
    assert names_external_data(EXTERNAL[:end]) in (True, False)


@given(st.binary(max_size=200))
def test_random_bytes_get_an_answer(data: bytes) -> None:
    """No input makes the scan fail."""
    assert names_external_data(data) in (True, False)


def test_bytes_nested_without_end_count_as_outside() -> None:
    """A graph deeper than any real one is not followed."""
    body = b""
    for _ in range(40):
        body = nested(7, nested(1, nested(5, nested(6, body)))) if not body else nested(1, nested(5, nested(6, body)))
        if len(body) > 16_000:
            break
    assert names_external_data(nested(7, body))
