"""The Open Inference Protocol on a real hub: unmodified clients are answered, and bad requests hurt nobody."""

import contextlib
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import tritonclient.grpc as over_grpc
from tritonclient.utils import InferenceServerException

from cloud_hub.core.people import Role
from model_packs.manifest import PackRef
from model_packs.outputs import Classification
from model_packs.scoring import score
from model_packs.store import PackStore
from tests.integration.oip_bad_requests import BAD, BEHAVIOURS, REST_BAD, Bad, refused, rest_refused
from tests.integration.oip_clients import CHECKS, PERF_MODES, Subject, perf_analyzer
from tests.simulators.hub_people import add_person
from tests.simulators.hubs import HUB_PACK, HubSite, layout
from tests.simulators.network import LOOPBACK
from tests.simulators.processes import Process, installed_program
from tests.simulators.waiting import wait_until

_OIP = '[oip]\nenabled = true\nhost = "{host}"\ngrpc_port = 0\nhttp_port = 0\n'
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that this needs TLS and a token


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A hub program with the shipped full model, its answers judged by the pack's golden examples."""
    folder = tmp_path_factory.mktemp("oip")
    with _serving(HubSite.found(folder / "hub", HUB_PACK), LOOPBACK, folder) as ports:
        yield _subject(ports)


@contextlib.contextmanager
def _serving(site: HubSite, host: str, folder: Path) -> Iterator[dict[str, int]]:
    """Run the program with both forms on a host; gives what its ready file says."""
    with site.config_path.open("a") as file:
        file.write(_OIP.format(host=host))
    ready = folder / "ready.json"
    line = [installed_program("cloud-hub"), "serve", "--config", str(site.config_path), "--ready-file", str(ready)]
    hub = Process(line, log_path=folder / "hub.log", cwd=folder)
    hub.start()
    try:
        wait_until(ready.exists, 60.0, f"{ready} was written")
        yield json.loads(ready.read_text())
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


@pytest.mark.perf_analyzer
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


def test_elsewhere_the_hub_wants_tls_and_a_token(tmp_path: Path) -> None:
    """On an address that others reach, plain text gets no answer, and a call without a token is refused."""
    site = HubSite.found(tmp_path / "hub", HUB_PACK)
    token = {"authorization": f"Bearer {add_person(site.config, 'vera', Role.VIEWER)}"}
    authority = site.config.folder.ca_certificate
    with _serving(site, _EVERYWHERE, tmp_path) as ports:
        address = f"localhost:{ports['oip_grpc_port']}"
        with (
            over_grpc.InferenceServerClient(address) as plain,
            pytest.raises(InferenceServerException, match="UNAVAILABLE"),
        ):
            plain.is_server_live(client_timeout=30.0)
        with over_grpc.InferenceServerClient(address, ssl=True, root_certificates=str(authority)) as client:
            assert client.is_server_live()
            with pytest.raises(InferenceServerException) as caught:
                client.get_model_metadata("motion-band-hub")
            assert caught.value.status() == str(grpc.StatusCode.UNAUTHENTICATED)
            assert client.get_model_metadata("motion-band-hub", headers=token).name == "motion-band-hub"
            with pytest.raises(InferenceServerException, match="needs operator"):
                client.unload_model("motion-band-hub", headers=token)
        rest = f"https://localhost:{ports['oip_http_port']}/v2/models/motion-band-hub"
        with httpx.Client(verify=ssl.create_default_context(cafile=authority)) as web:
            assert web.get(rest).status_code == 401
            assert web.get(rest, headers=token).json()["name"] == "motion-band-hub"
