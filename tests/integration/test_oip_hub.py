"""The Open Inference Protocol on a real hub: unmodified clients are answered, and bad requests hurt nobody."""

import json
from collections.abc import Callable, Iterator

import pytest

from model_packs.manifest import PackRef
from model_packs.outputs import Classification
from model_packs.scoring import score
from model_packs.store import PackStore
from tests.integration.oip_bad_requests import BAD, BEHAVIOURS, REST_BAD, Bad, refused, rest_refused
from tests.integration.oip_clients import CHECKS, PERF_MODES, Subject, perf_analyzer
from tests.simulators.hubs import HUB_PACK, HubSite, layout
from tests.simulators.network import LOOPBACK
from tests.simulators.processes import Process, installed_program
from tests.simulators.waiting import wait_until

_OIP = f'[oip]\nenabled = true\nhost = "{LOOPBACK}"\ngrpc_port = 0\nhttp_port = 0\n'


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A hub program with the shipped full model, its answers judged by the pack's golden examples."""
    folder = tmp_path_factory.mktemp("oip")
    site = HubSite.found(folder / "hub", HUB_PACK)
    with site.config_path.open("a") as file:
        file.write(_OIP)
    ready = folder / "ready.json"
    line = [installed_program("cloud-hub"), "serve", "--config", str(site.config_path), "--ready-file", str(ready)]
    hub = Process(line, log_path=folder / "hub.log", cwd=folder)
    hub.start()
    try:
        wait_until(ready.exists, 60.0, f"{ready} was written")
        yield _subject(json.loads(ready.read_text()))
    finally:
        hub.kill()


def _subject(ports: dict[str, int]) -> Subject:
    ref = PackRef.parse(HUB_PACK)
    pack = PackStore(layout(HUB_PACK)).load(ref, None)
    inputs, outputs = pack.golden()
    ((name, rows),) = inputs.items()
    said = score(pack.manifest, outputs)[0].output
    return Subject(
        grpc=f"{LOOPBACK}:{ports['oip_grpc_port']}",
        rest=f"{LOOPBACK}:{ports['oip_http_port']}",
        model=ref.name,
        version=ref.version,
        input=name,
        output=pack.manifest.outputs[0].name,
        rows=rows,
        right=outputs[pack.manifest.outputs[0].name],
        tier="hub",
        pid=ports["pid"],
        label=said.label if isinstance(said, Classification) else None,
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_unmodified_clients_are_answered(subject: Subject, check: Callable[[Subject], None]) -> None:
    """Every check of the client suite holds for the hub."""
    check(subject)


@pytest.mark.parametrize("mode", PERF_MODES, ids="".join)
def test_perf_analyzer_measures_the_hub(subject: Subject, mode: tuple[str, ...]) -> None:
    """Where NVIDIA's perf_analyzer runs, it drives the hub, asynchronously and streaming, too."""
    perf_analyzer(subject, *mode)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_request_is_refused_by_name(subject: Subject, bad: Bad) -> None:
    """Each gets its status and a message that names what was expected; the next request is served."""
    refused(subject, bad)


@pytest.mark.parametrize("row", REST_BAD, ids=range(len(REST_BAD)))
def test_a_bad_rest_request_is_refused_by_name(
    subject: Subject, row: tuple[str, str, dict[str, str], int, str]
) -> None:
    """The same over HTTP, on a connection that stays usable."""
    rest_refused(subject, row)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_bad_callers_hurt_nobody(subject: Subject, behaviour: Callable[[Subject], None]) -> None:
    """Rubbish, passed deadlines, cancelled calls, slow readers and hundreds of refusals leave the hub as it was."""
    behaviour(subject)
