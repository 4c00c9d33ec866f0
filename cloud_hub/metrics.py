"""Owns the hub's metrics: their names, labels and meaning. Each thing is counted once, where it happens."""

from prometheus_client import Counter, Gauge, Histogram

from cloud_hub.core.liveness import Liveness
from model_packs.process.metrics import Registry


class HubMetrics:
    """Every metric of the hub.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: Registry) -> None:
        self.items: Counter = registry.counter(
            "hub_items_total", "Items that arrived, by what was decided.", ("item_class", "outcome")
        )
        self.verdicts: Counter = registry.counter("hub_verdicts_total", "Verdicts logged.", ("tier",))
        self.unscorable: Counter = registry.counter(
            "hub_unscorable_total", "Windows that the full model could not score either.", ("reason",)
        )
        self.infer_s: Histogram = registry.histogram(
            "hub_infer_seconds", "One run of a full model, whatever its batch."
        )
        self.batch_windows: Histogram = registry.histogram(
            "hub_batch_windows", "Windows in one run.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
        )
        self.pack_requests: Counter = registry.counter(
            "hub_pack_requests_total", "Requests that a full model answered or failed, cached ones included.", ("pack",)
        )
        self.pack_windows: Counter = registry.counter("hub_pack_windows_total", "Windows in them.", ("pack",))
        self.pack_compute_s: Counter = registry.counter(
            "hub_pack_compute_seconds_total", "Time that full models ran, seconds.", ("pack",)
        )
        self.pack_bytes: Counter = registry.counter(
            "hub_pack_bytes_total", "Bytes of tensors into and out of full models.", ("pack", "direction")
        )
        self.refused: Counter = registry.counter(
            "hub_requests_refused_total", "Requests to full models without an answer.", ("reason",)
        )
        self.answer_cache: Counter = registry.counter(
            "hub_answer_cache_total", "Questions to the answer cache.", ("outcome",)
        )
        self.models_loaded: Gauge = registry.gauge("hub_models_loaded", "Full models that are loaded.")
        self.models_bytes: Gauge = registry.gauge("hub_models_bytes", "What the loaded models' graphs take.")
        self.commit_s: Histogram = registry.histogram("hub_commit_seconds", "One write transaction, fsync included.")
        self.streams_open: Gauge = registry.gauge("hub_streams_open", "Escalation streams that are open.")
        self.waiting: Gauge = registry.gauge("hub_waiting_items", "Stored items without an answer.")
        self.labels: Counter = registry.counter(
            "hub_labels_total", "Human verdicts logged, by where the label was given.", ("source",)
        )
        self.feedback: Counter = registry.counter(
            "hub_feedback_total", "Judgements of people that were stored.", ("judgement",)
        )
        self.forgotten: Counter = registry.counter(
            "hub_forgotten_total", "Rows that were older than the retention and deleted.", ("what",)
        )
        self.reviews_waiting: Gauge = registry.gauge("hub_reviews_waiting", "Cases without a person's label.")
        self.devices: Gauge = registry.gauge("hub_devices", "Devices by how they are heard.", ("state",))
        self.enrolments: Counter = registry.counter("hub_enrolments_total", "Enrolment calls by status.", ("status",))
        self.loop_failures: Counter = registry.counter(
            "hub_loop_failures_total", "Unexpected failures that a loop caught and went on after.", ("loop",)
        )

    def show_devices(self, states: dict[Liveness, int], waiting: int) -> None:
        """Set what is read from the database when somebody looks.

        Args:
            states: Devices by state.
            waiting: Stored items without an answer.
        """
        for state in Liveness:
            self.devices.labels(state.value).set(states.get(state, 0))
        self.waiting.set(waiting)
