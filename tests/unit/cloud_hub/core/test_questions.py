"""Windows are compared with what the full model declares before they are stored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.core.questions import check_hello, check_inputs, check_item
from cloud_hub.errors import QuestionInvalidError
from model_packs.manifest import PackManifest
from model_packs.tensors import Tensor
from protos.messages.escalation import Hello, Item, PredictionId, StoreId
from tests.simulators.hub_device import hello, question
from tests.simulators.packs import build_tiny

WINDOW = np.zeros((1, 5, 2), np.float32)
ITEM = question(1, WINDOW)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PackManifest:
    """A full model that takes windows of 5 samples with 2 channels."""
    folder: Path = tmp_path_factory.mktemp("pack")
    return build_tiny(folder, name="tiny-hub", role="hub", escalates_to=None).manifest


def test_a_fitting_window_passes(manifest: PackManifest) -> None:
    """One window of the declared datatype and shape is taken."""
    check_item(ITEM)
    check_inputs(ITEM.body, manifest)


@pytest.mark.parametrize(
    ("tensors", "word"),
    [
        ((Tensor.from_array("other", WINDOW),), "other"),
        ((Tensor.from_array("window", WINDOW), Tensor.from_array("window", WINDOW)), "window, window"),
        ((Tensor.from_array("window", np.zeros((1, 4, 2), np.float32)),), r"not FP32 \[1, 4, 2\]"),
        ((Tensor.from_array("window", np.zeros((1, 5, 2), np.float64)),), "FP32"),
        ((Tensor.from_array("window", np.zeros((2, 5, 2), np.float32)),), "one window"),
    ],
)
def test_a_window_that_does_not_fit_is_named(manifest: PackManifest, tensors: tuple[Tensor, ...], word: str) -> None:
    """Unknown, repeated, misshapen and many-window inputs are each refused with what is wrong."""
    with pytest.raises(QuestionInvalidError, match=word):
        check_inputs(replace(ITEM.body, inputs=tensors), manifest)


@pytest.mark.parametrize(
    "item",
    [
        replace(ITEM, seq=2**63),
        replace(ITEM, body=replace(ITEM.body, prediction_id=PredictionId("p" * 65))),
        replace(ITEM, body=replace(ITEM.body, input_digest="d" * 129)),
    ],
)
def test_what_the_tables_cannot_hold_is_refused(item: Item) -> None:
    """Numbers and texts beyond any that an agent writes do not reach the database."""
    with pytest.raises(QuestionInvalidError):
        check_item(item)


@pytest.mark.parametrize("first", [hello(cursor=2**62 + 1), hello(store=StoreId("s" * 65))])
def test_a_hello_that_the_tables_cannot_hold_is_refused(first: Hello) -> None:
    """An absurd cursor or store id does not reach the database; ordinary ones pass."""
    check_hello(hello(cursor=2**62))
    with pytest.raises(QuestionInvalidError):
        check_hello(first)
