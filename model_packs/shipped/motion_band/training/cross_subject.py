"""How the family does on persons it has never seen.

Owns the cross-subject figures of the model card: five rounds, two of the ten persons left out of all training in each,
measured on the field rows of those two. They take a quarter of an hour, so they are measured on request, kept in
`cross_subject.json`, and refused by the card when the code that trains has changed since.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model_packs.shipped.motion_band import split
from model_packs.shipped.motion_band.dataset import Recording, Wrist
from model_packs.shipped.motion_band.training import recipes
from model_packs.shipped.motion_band.training.sources import TRAINING_SOURCES, source_digests

FIGURES = Path(__file__).with_name("cross_subject.json")
ROUNDS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))

Figures = dict[str, dict[str, float]]
"""Share right by network (`teacher`, `first`, `second`) and wrist (`right`, `left`)."""


def measure(recordings: tuple[Recording, ...], say: Callable[[str], None]) -> None:
    """Measure and write the figures."""
    hits: dict[tuple[str, str], list[np.ndarray]] = {}
    for left_out in ROUNDS:
        say(f"cross-subject: leaving out persons {left_out[0]} and {left_out[1]}")
        family = recipes.train_family(record for record in recordings if record.subject not in left_out)
        unseen = [record for record in recordings if record.subject in left_out]
        for wrist in Wrist:
            rows = recipes.rows_of(unseen, split.Part.FIELD, frozenset({wrist}))
            for name in ("teacher", "first", "second"):
                right = _answers(getattr(family, name), rows) == rows.labels
                hits.setdefault((name, wrist.value), []).append(right)
                say(f"  {name} on {wrist}: {right.mean():.3f} of {len(right)}")
    figures: Figures = {}
    for (name, wrist), parts in hits.items():
        figures.setdefault(name, {})[wrist] = round(float(np.concatenate(parts).mean()), 4)
    document = {"share_right": figures, "sources": source_digests(TRAINING_SOURCES)}
    FIGURES.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read() -> Figures:
    """The figures, if they were measured with the code that trains now."""
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    if document["sources"] != source_digests(TRAINING_SOURCES):
        raise SystemExit(f"{FIGURES.name} was measured with other training code; run again with --cross-subject")
    return document["share_right"]


def _answers(network: nn.Module, rows: recipes.Rows) -> np.ndarray:
    """The network's class for each window."""
    with torch.no_grad():
        return network(torch.as_tensor(rows.windows)).argmax(dim=1).numpy()
