"""Images beside samples in one agent: answered, asked about at the hub, repeated after a kill, refused by name."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.test_site import assert_nothing_is_lost, is_revised, sensor, validate
from tests.simulators.brokers import Mosquitto
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.packs import HEIGHT, WIDTH, build_tiny_image
from tests.simulators.site import DEADLINE_S, Agent, PredictionId, Site, command, found_hub, latest, wait_for_latest
from tests.simulators.waiting import wait_until

EDGE_PACK, HUB_PACK = "tiny-image-edge@1.0.0", "tiny-image-hub@1.0.0"
DIGITS = "branch/+/+/digit"
BRANCH = """
[[binding]]
name = "branch"
broker = "site"
pack = "tiny-image-edge@1.0.0"
topic = "branch/{form}/{field}/crop"
partition = ["field"]

[binding.payload]
codec = "image"
key = ["form", "field"]

[binding.result]
topic = "branch/{form}/{field}/digit"
"""


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A founded hub with packs of images, too, that each test copies."""
    folder = tmp_path_factory.mktemp("founded")
    hub = found_hub(folder)
    student, teacher = folder / "image-student", folder / "image-teacher"
    student.mkdir()
    teacher.mkdir()
    build_tiny_image(student)
    build_tiny_image(teacher, seed=11, name="tiny-image-hub", role="hub", escalates_to=None)
    layouts = [str(sources / "layout") for sources in (teacher, student)]
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
        for topic in ("plant/#", "branch/#", "edge/#"):
            probe.subscribe(topic)
        yield probe


def picture(number: int, image_format: str = "PNG", size: tuple[int, int] = (WIDTH, HEIGHT), mode: str = "L") -> bytes:
    """A picture of noise; the same for the same number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0]), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, image_format)
    return buffer.getvalue()


def send(probe: MqttProbe, forms: range) -> None:
    """One picture a form, each acknowledged by the broker before the next."""
    for form in forms:
        probe.publish(f"branch/f{form}/iban/crop", picture(form, "JPEG" if form % 2 else "PNG"))


def answers(probe: MqttProbe, count: int, *, revised: bool) -> dict[PredictionId, dict[str, object]]:
    """Wait for the latest event of each of so many pictures."""

    def reached() -> dict[PredictionId, dict[str, object]] | None:
        found = latest(probe.on(DIGITS))
        return found if len(found) >= count and (not revised or all(map(is_revised, found.values()))) else None

    found = wait_until(reached, DEADLINE_S, f"{count} pictures answered{' and revised' if revised else ''}")
    assert found is not None
    return found


def counted(agent: Agent, binding: str) -> dict[str, int]:
    """Every number of a binding's audit."""
    equations = [one for one in agent.audit()["equations"] if one["binding"] == binding]
    return {term["name"]: term["value"] for one in equations for term in (one["left"], *one["terms"])}


def test_samples_and_images_run_side_by_side_and_both_are_revised(site: Site, collector: MqttProbe) -> None:
    """One agent, two kinds of binding: the hub's teacher of images takes the decoded pixels and answers."""
    agent = site.agent("branch-01", BRANCH)
    examined = command("edge-agent", "doctor", "--config", str(agent.config), cwd=agent.folder)
    assert "inference of branch: " in examined
    agent.start()
    sensor(collector, agent).send(4)
    send(collector, range(20))
    events = answers(collector, 20, revised=True)
    wait_for_latest(collector, agent, 4, is_revised, "revisions of the windows")
    first = [message for message in collector.on(DIGITS) if message.json()["revision"] == 0]
    assert {message.topic.split("/")[1] for message in first} == {f"f{form}" for form in range(20)}
    assert {message.json()["models"][0]["pack"] for message in first} == {EDGE_PACK}
    assert {str(event["models"]) for event in events.values()} == {str(next(iter(events.values()))["models"])}
    for message in first:
        event = message.json()
        validate(event, "edge_agent/schemas/edge.prediction.1.json")
        assert (event["window"]["n"], event["window"]["fill"]) == (1, 1.0)
        assert event["window"]["start"] == event["window"]["end"]
    numbers = counted(agent, "branch")
    assert numbers["samples_decoded"] == numbers["samples_used"] == numbers["windows_inferred"] == 20
    assert numbers["escalations_answered"] == 20
    assert_nothing_is_lost(agent)


def test_a_killed_agent_loses_no_image_and_repeats_the_same_ids(site: Site, collector: MqttProbe) -> None:
    """SIGKILL in the middle: each picture has one id, and one that is sent again is recognised."""
    agent = site.agent("branch-01", BRANCH)
    agent.start()
    send(collector, range(25))
    agent.process.kill()
    send(collector, range(25, 40))
    agent.start()
    send(collector, range(5))
    events = answers(collector, 40, revised=True)
    assert len(events) == 40
    topics = {(message.topic, message.json()["id"]) for message in collector.on(DIGITS)}
    assert len(topics) == 40
    wait_until(lambda: counted(agent, "branch")["records_duplicate"] >= 5, DEADLINE_S, "the repeated ones are counted")
    assert_nothing_is_lost(agent)


def test_what_is_no_picture_for_the_pack_is_dead_lettered_by_name(site: Site, collector: MqttProbe) -> None:
    """Each kind by its reason, on the topic of dead letters and in the status; the others are answered as ever."""
    agent = site.agent("branch-01", BRANCH)
    agent.start()
    bad = {
        "empty": b"",
        "unknown_format": b"GIF89a",
        "wrong_size": picture(1, size=(28, 28)),
        "wrong_colour": picture(1, "JPEG", mode="CMYK"),
        "wrong_depth": picture(1, mode="I;16"),
        "damaged": picture(1)[:-30],
    }
    for number, payload in enumerate(bad.values()):
        collector.publish(f"branch/b{number}/iban/crop", payload)
    send(collector, range(3))
    answers(collector, 3, revised=False)
    collector.wait_for_count("edge/branch-01/dead", len(bad), DEADLINE_S)
    told = [message.json() for message in collector.on("edge/branch-01/dead")]
    assert {letter["reason"] for letter in told} == set(bad)
    for letter in told:
        validate(letter, "edge_agent/schemas/edge.dead.1.json")
    (shown,) = [one for one in agent.status()["bindings"] if one["binding"] == "branch"]
    assert shown["dead_lettered_by"] == dict.fromkeys(sorted(bad), 1)
    assert_nothing_is_lost(agent)
