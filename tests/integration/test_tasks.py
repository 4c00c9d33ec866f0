"""Numbers, boxes and raw tensors through a whole site: sensor, agent, hub, revision, every equation of the audit."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.test_site import assert_nothing_is_lost, is_revised, validate
from tests.simulators.brokers import Mosquitto
from tests.simulators.detector_packs import BOXES, CHOSEN, build_detector
from tests.simulators.detector_packs import window as boxes
from tests.simulators.mqtt_probe import Message, MqttProbe
from tests.simulators.packs import SAMPLES
from tests.simulators.site import DEADLINE_S, PredictionId, Site, command, found_hub, latest
from tests.simulators.task_packs import REGRESSION, TENSOR, build_task, window
from tests.simulators.waiting import wait_until

BINDING = """
[[binding]]
name = "{name}"
broker = "site"
pack = "{name}-edge@1.0.0"
topic = "line/{{machine}}/{name}"
partition = ["machine"]

[binding.payload]
codec = "json_vectors"
samples = "samples"
start = "t0"
start_format = "iso8601"
rate_hz = {rate_hz}
key = ["seq"]

[binding.window]
size_s = 1.0
hop_s = 1.0

[binding.result]
topic = "line/{{machine}}/{name}/answer"
"""


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A founded hub with packs of both tasks, too, that each test copies."""
    folder = tmp_path_factory.mktemp("founded")
    hub = found_hub(folder)
    specs = {
        "wear-hub": REGRESSION,
        "wear-edge": replace(REGRESSION, name="wear-edge", role="edge", escalates_to="wear-hub@1.0.0"),
        "raw-edge": replace(TENSOR, name="raw-edge", role="edge"),
    }
    weaker = replace(CHOSEN.detection, keep=0.6)  # type: ignore[type-var]  # it has one
    detectors = {
        "bolts-hub": CHOSEN,
        "bolts-edge": replace(CHOSEN, name="bolts-edge", role="edge", escalates_to="bolts-hub@1.0.0", detection=weaker),
    }
    for name, spec in specs.items():
        (folder / name).mkdir()
        build_task(folder / name, spec)
    for name, spec in detectors.items():
        (folder / name).mkdir()
        build_detector(folder / name, spec)
    layouts = [str(folder / name / "layout") for name in (*specs, *detectors)]
    command("cloud-hub", "packs", "publish", *layouts, "--config", str(hub / "hub.toml"), cwd=folder)
    return hub


@pytest.fixture
def site(mosquitto: Mosquitto, run_folder: Path, founded: Path) -> Iterator[Site]:
    """A running hub on mosquitto, without agents."""
    built = Site(run_folder, mosquitto, founded)
    built.open()
    yield built
    built.close()


@pytest.fixture
def collector(mosquitto: Mosquitto) -> Iterator[MqttProbe]:
    """A subscriber with a session of its own."""
    with MqttProbe(mosquitto, "collector", clean=False) as probe:
        for topic in ("line/#", "edge/#"):
            probe.subscribe(topic)
        yield probe


def send(probe: MqttProbe, topic: str, windows: list[NDArray[np.float32]]) -> None:
    """One message a second of event time, ending in the present; one more closes the last window."""
    start_s = int(time.time()) - len(windows) - 2
    for number, values in enumerate([*windows, windows[-1]]):
        begin = datetime.fromtimestamp(start_s + number, UTC).isoformat()
        probe.publish(topic, json.dumps({"seq": number, "t0": begin, "samples": values.tolist()}).encode())


def events(probe: MqttProbe, topic: str, count: int, *, revised: bool) -> list[dict[str, Any]]:
    """Wait for the latest event of each of so many windows, the oldest first."""

    def reached() -> list[dict[str, Any]] | None:
        found = sorted(latest(probe.on(topic)).values(), key=lambda event: str(event["window"]["start"]))
        is_there = len(found) >= count and (not revised or all(map(is_revised, found[:count])))
        return found[:count] if is_there else None

    found = wait_until(reached, DEADLINE_S, f"{count} windows answered on {topic}{' and revised' if revised else ''}")
    assert found is not None
    return found


def test_numbers_are_revised_and_raw_tensors_stay(site: Site, collector: MqttProbe) -> None:
    """A pack of numbers without a certificate asks about every window, and gets numbers; raw tensors ask nobody."""
    rate_hz = float(SAMPLES)
    agent = site.agent("press-07", "".join(BINDING.format(name=name, rate_hz=rate_hz) for name in ("wear", "raw")))
    agent.start()
    windows = [window(1.0 + number, 0.25) for number in range(3)]
    for name in ("wear", "raw"):
        send(collector, f"line/m1/{name}", windows)

    for number, event in enumerate(events(collector, "line/m1/wear/answer", 3, revised=True)):
        validate(event, "edge_agent/schemas/edge.prediction.1.json")
        output = event["output"]
        assert (output["task"], output["value"], output["unit"]) == ("regression", 1.0 + number, "mm")
        assert (output["low"], output["high"]) == pytest.approx((0.6 + number, 1.4 + number))
        assert event["models"][0]["pack"] == "wear-hub@1.0.0"
    for event in events(collector, "line/m1/raw/answer", 3, revised=False):
        validate(event, "edge_agent/schemas/edge.prediction.1.json")
        assert (event["status"], event["escalation"]["reason"], event["confidence"]) == ("final", None, 0.0)
        assert [tensor["name"] for tensor in event["output"]["tensors"]] == ["wear", "spread"]
    assert_nothing_is_lost(agent)


def answer_of(probe: MqttProbe, topic: str, name: str, tier: str) -> dict[str, Any]:
    """Wait until the latest answer of a window is a tier's."""

    def reached() -> dict[str, Any] | None:
        event = latest(probe.on(topic)).get(PredictionId(name))
        return event if event is not None and event["tier"] == tier else None

    found = wait_until(reached, DEADLINE_S, f"an answer of the tier {tier}")
    assert found is not None
    return found


def test_boxes_are_revised_by_the_hub_and_confirmed_or_denied_by_people(site: Site, collector: MqttProbe) -> None:
    """A detector without a certificate asks about every picture; the hub, which keeps weaker boxes, sees one more.

    What it cannot mean is unscorable, nothing found is an answer; a person has the last word without writing boxes.
    """
    agent = site.agent("press-08", BINDING.format(name="bolts", rate_hz=float(BOXES)))
    agent.start()
    bolt, nut = (0.0, 0.0, 4.0, 4.0, 0.875, 0.0), (8.0, 0.0, 12.0, 4.0, 0.5, 1.0)
    strange = (*bolt[:5], 7.0)
    send(collector, "line/m1/bolts", [boxes(bolt), boxes(bolt, nut), boxes(strange), boxes()])
    topic = "line/m1/bolts/answer"
    answers = events(collector, topic, 4, revised=True)
    for event in answers:
        validate(event, "edge_agent/schemas/edge.prediction.1.json")
    outputs = [event["output"] for event in answers]
    told = {"label": "bolt", "score": 0.875, "x0": 0.0, "y0": 0.0, "x1": 4.0, "y1": 4.0}
    assert outputs[0] == {"task": "detection", "units": "pixels", "iou": 0.5, "boxes": [told]}
    assert [box["label"] for box in outputs[1]["boxes"]] == ["bolt", "nut"]
    assert (outputs[2], outputs[3]["boxes"]) == (None, [])
    assert [event["confidence"] for event in answers] == pytest.approx([0.875, 0.5, 0.0, 0.0])
    reasons = [event["escalation"]["reason"] for event in answers]
    assert reasons == ["low_confidence", "low_confidence", "unscorable", "low_confidence"]
    at_edge = {event["id"]: event for event in map(Message.json, collector.on(topic)) if event["revision"] == 0}
    assert [box["label"] for box in at_edge[answers[1]["id"]]["output"]["boxes"]] == ["bolt"]

    feedback = "edge/press-08/feedback"
    collector.publish(feedback, json.dumps({"id": answers[1]["id"], "right": True}))
    collector.publish(feedback, json.dumps({"id": answers[0]["id"], "label": "nothing found"}))
    collector.publish(feedback, json.dumps({"id": answers[3]["id"], "right": False}))
    confirmed = answer_of(collector, topic, answers[1]["id"], "human")
    assert (confirmed["output"], confirmed["confidence"]) == (outputs[1], 1.0)
    denied = answer_of(collector, topic, answers[0]["id"], "human")
    assert denied["output"] == {**outputs[0], "boxes": []}
    assert latest(collector.on(topic))[answers[3]["id"]]["tier"] == "hub"
    assert_nothing_is_lost(agent)
