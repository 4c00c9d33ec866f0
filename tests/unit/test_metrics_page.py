"""Every metric of both programs is told in docs/operations.md, with its labels."""

import re
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import Collector

from cloud_hub.metrics import HubMetrics
from edge_agent.reporting.metrics import Metrics
from model_packs.process.metrics import LATENCY_BUCKETS_S, Registry

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"^\| `((?:edge|hub)_[a-z_]+(?:\{[a-z_, ]+\})?)` \|", re.MULTILINE)


class Named(Registry):
    """A registry that writes down what was registered, as the page writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def counter(self, name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
        """Add a count."""
        self._write(name, labels)
        return super().counter(name, doc, labels)

    def gauge(self, name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
        """Add a value."""
        self._write(name, labels)
        return super().gauge(name, doc, labels)

    def histogram(
        self, name: str, doc: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        """Add a distribution."""
        self._write(name, labels)
        return super().histogram(name, doc, labels, buckets)

    def add(self, collector: Collector) -> None:
        """Add what is asked for at every scrape."""
        for metric in collector.collect():
            labels = metric._labelnames  # type: ignore[attr-defined]  # each family has them
            self._write(f"{metric.name}_total" if metric.type == "counter" else metric.name, labels)
        super().add(collector)

    def _write(self, name: str, labels: Sequence[str]) -> None:
        self.written.append(f"{name}{{{', '.join(labels)}}}" if labels else name)


def test_the_page_has_a_row_for_each_metric_and_for_no_other() -> None:
    """Once each, in the order of the code."""
    registry = Named()
    metrics = Metrics(registry)
    metrics.watch_calls(dict, dict)
    metrics.watch_policies(tuple)
    HubMetrics(registry)
    assert ROW.findall(PAGE.read_text()) == registry.written
