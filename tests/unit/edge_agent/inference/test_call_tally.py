"""Inputs that are looked at behind the answer: what is kept of them meanwhile is bounded, and holds no request."""

from typing import Any

import numpy as np
import pytest

from edge_agent.inference.call_tally import CallTally, Unseen
from edge_agent.ports import BindingName
from tests.unit.edge_agent.packs.manifests import MANIFEST


@pytest.mark.parametrize(("n_bytes", "looked_at"), [(1_000, 100), (400_000, 2), (16 << 20, 1)])
def test_inputs_wait_as_bounded_copies(n_bytes: int, looked_at: int) -> None:
    """Small ones are all looked at; of large ones, some, and one at least; in the next second again."""
    seen: list[Any] = []
    nobody: Any = lambda *_: None  # noqa: E731 - whatever is told
    tally = CallTally(
        nobody, on_unit=nobody, on_answered=nobody, on_scored=nobody, look=lambda *asked: seen.append(asked[3])
    )
    tally.stop()
    request = bytes(n_bytes)
    for period in (1, 2):
        for _ in range(100):
            values = np.frombuffer(request, np.uint8)
            tally.show(Unseen(BindingName("press"), MANIFEST.digest, MANIFEST, values, 0))
        tally.run_once()
        assert len(seen) == period * looked_at
    assert all(one.flags.owndata and one.nbytes == n_bytes for one in seen)
