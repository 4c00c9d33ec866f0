"""A label given in the browser reaches whoever listens to the machine: console, hub, agent, broker, all real."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from cloud_hub.config import load_config
from cloud_hub.core.people import Role
from tests.simulators.brokers import Mosquitto
from tests.simulators.chromium import window
from tests.simulators.hub_people import PASSWORD, add_person
from tests.simulators.mqtt_probe import MqttProbe
from tests.simulators.network import LOOPBACK
from tests.simulators.site import PredictionId, Sensor, Site, latest
from tests.simulators.waiting import wait_until

DEADLINE_S = 60.0
NOW = ".case-now.is-now"


def test_a_human_label_becomes_a_revision_on_mqtt(browser: Browser, mosquitto: Mosquitto, run_folder: Path) -> None:
    """The labeler's choice comes out on the result topic: revised, tier human, the label, a later revision."""
    site = Site(run_folder, mosquitto)
    try:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(site.open).result()
            config = load_config(site.hub.config)
            threads.submit(add_person, config, "lena", Role.LABELER).result()
        agent = site.agent("press-07")
        agent.start()
        with MqttProbe(mosquitto) as probe, window(browser, f"http://{LOOPBACK}:{site.hub.ports.http}") as seen:
            probe.subscribe(agent.results)
            Sensor(probe, agent, start_s=1_760_000_000).send(3)

            def hub_answers() -> dict[PredictionId, dict[str, Any]]:
                events = latest(probe.on(agent.results))
                return {one: event for one, event in events.items() if event["tier"] == "hub"}

            wait_until(lambda: len(hub_answers()) >= 2, DEADLINE_S, "the hub has answered windows")
            seen.sign_in("lena", PASSWORD)
            seen.go("/review")
            prediction = PredictionId(seen.page.locator(NOW).get_attribute("data-case") or "")
            before = wait_until(lambda: hub_answers().get(prediction), DEADLINE_S, "the hub's answer is published")
            assert before is not None
            label = "broken" if before["output"]["label"] != "broken" else "idle"
            seen.page.locator(f'{NOW} [data-label="{label}"]').click()

            def human_answer() -> dict[str, Any] | None:
                event = latest(probe.on(agent.results))[prediction]
                return event if event["tier"] == "human" else None

            event = wait_until(human_answer, DEADLINE_S, "the person's answer is published")
            assert event is not None
            assert (event["status"], event["output"]["label"]) == ("revised", label)
            assert event["revision"] > before["revision"]
            seen.assert_clean()
    finally:
        site.close()
