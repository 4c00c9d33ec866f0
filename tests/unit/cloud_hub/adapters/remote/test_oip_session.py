"""A session that asks another server: its deadline, its TLS, its errors, and what it makes of wrong answers.

That it runs like every session is tests/contract/test_session_contract.py. The server is real gRPC in this process.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud_hub.adapters.remote.opening import remote_openers
from cloud_hub.model_servers import ModelServerConfig
from model_packs.engines.opening import open_session
from model_packs.engines.session import Session
from model_packs.errors import EngineError, MissingEngineError, RunTimeoutError
from model_packs.pack import Pack
from protos.tandem.oip.v2 import grpc_service_pb2 as pb
from tests.simulators.oip_model_server import MODEL, OipModelServer
from tests.simulators.packs import CHANNELS, SAMPLES, SPEC, weights
from tests.simulators.remote_packs import oip_pack

WINDOWS = np.arange(2 * SAMPLES * CHANNELS, dtype=np.float32).reshape(2, SAMPLES, CHANNELS)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack that runs elsewhere."""
    return oip_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture
def server(pack: Pack) -> OipModelServer:
    """A server with the pack's model."""
    return OipModelServer(weights(), pack.manifest.inputs, pack.manifest.outputs)


@pytest.fixture
def port(server: OipModelServer) -> Iterator[int]:
    """The running server's port."""
    with server.running() as port:
        yield port


def open_on(pack: Pack, root: Path, **config: ModelServerConfig) -> Session:
    """Open as the hub does."""
    return open_session(pack, openers=remote_openers(config, root))


def at(port: int, deadline_s: float = 30.0, packs: tuple[str, ...] = (), token_file: str = "") -> ModelServerConfig:
    """A server on this machine, in plain text."""
    address = f"grpc://127.0.0.1:{port}"
    return ModelServerConfig(engine="oip", address=address, deadline_s=deadline_s, packs=packs, token_file=token_file)


def test_a_run_is_one_call_with_raw_tensors(pack: Pack, server: OipModelServer, port: int, tmp_path: Path) -> None:
    """Model, version, inputs and the wanted outputs are named; warming up asked before."""
    session = open_on(pack, tmp_path, triton=at(port))
    assert [request.inputs[0].shape[0] for request in server.asked] == [1, SPEC.max_batch]
    logits = session.run({"window": WINDOWS})["logits"]
    np.testing.assert_allclose(logits, WINDOWS.reshape(2, -1) @ weights(), rtol=1e-5)
    request = server.asked[-1]
    assert (request.model_name, request.model_version) == (MODEL, "1")
    assert [output.name for output in request.outputs] == ["logits"]
    assert request.raw_input_contents[0] == WINDOWS.tobytes()
    session.close()


def test_the_facts_say_that_it_runs_elsewhere(pack: Pack, port: int, tmp_path: Path) -> None:
    """Server, its version, its address; and that a run waits for the network."""
    session = open_on(pack, tmp_path, triton=at(port))
    facts = session.facts
    assert (facts.engine, facts.provider) == ("oip", "remote")
    assert facts.engine_version == f"somebodys-server 3.1 at grpc://127.0.0.1:{port}"
    session.close()


def test_a_silent_server_ends_a_run_at_its_deadline(
    pack: Pack, server: OipModelServer, port: int, tmp_path: Path
) -> None:
    """The error is the one of runs that take too long; the call is not made twice."""
    session = open_on(pack, tmp_path, triton=at(port, deadline_s=0.2))
    server.asked.clear()
    server.may_answer.clear()
    with pytest.raises(RunTimeoutError, match=r"tiny-edge@1.0.0 \(remote.json\): ModelInfer .* DEADLINE_EXCEEDED"):
        session.run({"window": WINDOWS})
    assert len(server.asked) == 1
    session.close()


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]
)
def test_a_refusal_is_told_and_never_repeated(
    pack: Pack, server: OipModelServer, port: int, tmp_path: Path, code: grpc.StatusCode
) -> None:
    """Whoever asked decides whether to ask again; the next run is a new call."""
    session = open_on(pack, tmp_path, triton=at(port))
    server.asked.clear()
    server.refusal = (code, "not now")
    with pytest.raises(EngineError, match=f"ended with {code.name}: not now") as caught:
        session.run({"window": WINDOWS})
    assert caught.value.mend
    assert len(server.asked) == 1
    server.refusal = None
    assert session.run({"window": WINDOWS})["logits"].shape == (2, 3)
    session.close()


def rename(answer: pb.ModelInferResponse) -> None:
    """Another output."""
    answer.outputs[0].name = "y"


def retype(answer: pb.ModelInferResponse) -> None:
    """Another datatype."""
    answer.outputs[0].datatype = "INT64"


def claim_much(answer: pb.ModelInferResponse) -> None:
    """A size that nobody has memory for."""
    answer.outputs[0].shape[:] = [2, 1 << 40]


def forget_a_row(answer: pb.ModelInferResponse) -> None:
    """One answer for two windows."""
    answer.outputs[0].shape[:] = [1, 3]
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:12]


def cut(answer: pb.ModelInferResponse) -> None:
    """A byte less than the shape says."""
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-1]


def leave_out(answer: pb.ModelInferResponse) -> None:
    """A head without contents."""
    del answer.raw_output_contents[:]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rename, "output 'logits' is missing"),
        (retype, r"tensor 'logits' must be FP32 \[-1, 3\], not INT64 \[2, 3\]"),
        (claim_much, r"tensor 'logits' must be FP32 \[-1, 3\], not FP32 \[2, 1099511627776\]"),
        (forget_a_row, "output 'logits' has 1 rows for 2 windows"),
        (cut, r"tensor 'logits': FP32 \[2, 3\] takes 24 bytes, not 23"),
        (leave_out, "1 outputs with 0 raw_output_contents"),
    ],
)
def test_a_wrong_answer_is_the_servers_fault(
    pack: Pack, server: OipModelServer, spoil: Callable[[pb.ModelInferResponse], None], message: str
) -> None:
    """Names, datatypes, shapes, lengths: nothing is believed that the server claims."""
    with server.running() as port:
        session = open_on(pack, Path(), triton=at(port))
        server.spoil = spoil
        with pytest.raises(EngineError, match=message):
            session.run({"window": WINDOWS})
        session.close()


def test_a_server_with_another_model_is_refused_at_opening(pack: Pack, tmp_path: Path) -> None:
    """The server's own description is compared with the pack, as a graph's would be."""
    other = replace(pack.manifest.inputs[0], shape=(-1, 7, 2))
    with (
        OipModelServer(weights(), [other], pack.manifest.outputs).running() as port,
        pytest.raises(EngineError, match=r"input 'window' has the shape \[-1, 7, 2\] in the graph"),
    ):
        open_on(pack, tmp_path, triton=at(port))


def test_a_server_that_describes_nothing_is_judged_by_its_answers(pack: Pack, tmp_path: Path) -> None:
    """Some servers give a model's name only."""
    with OipModelServer(weights()).running() as port:
        session = open_on(pack, tmp_path, kserve=at(port))
        assert session.run({"window": WINDOWS})["logits"].shape == (2, 3)
        session.close()


def test_an_unknown_model_and_an_absent_server_are_named(port: int, tmp_path: Path) -> None:
    """Opening fails with what the server said, or that nobody is there, and the mend."""
    unknown = oip_pack(tmp_path, {"schema": "tandem.remote/1", "model": "nobody"})
    with pytest.raises(EngineError, match=r"ModelMetadata .* NOT_FOUND: no model 'nobody'") as caught:
        open_on(unknown, tmp_path, triton=at(port))
    assert caught.value.mend == "load the model on the server, or correct model and version in the pack"
    with pytest.raises(EngineError, match="UNAVAILABLE"):
        open_on(unknown, tmp_path, triton=at(1))


def test_which_server_runs_a_pack_is_the_hubs_choice(pack: Pack, port: int, tmp_path: Path) -> None:
    """One that names the pack comes before one that names none; without any, the pack cannot run here."""
    session = open_on(pack, tmp_path, any=at(1), mine=at(port, packs=("tiny-edge",)))
    session.close()
    with pytest.raises(MissingEngineError, match=r"tiny-edge@1.0.0 runs on a model server of the kind oip") as caught:
        open_on(pack, tmp_path, others=at(port, packs=("other",)))
    assert "[model_server.NAME]" in caught.value.mend


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([1], "must be an object"),
        ({"schema": "tandem.remote/2", "model": "m"}, "schema"),
        ({"schema": "tandem.remote/1"}, "model"),
        ({"schema": "tandem.remote/1", "model": "m", "address": "grpc://evil:1"}, "address"),
    ],
)
def test_a_pack_says_which_model_and_never_where(tmp_path: Path, document: object, problem: str) -> None:
    """The file is read strictly: an address in it is an unknown key."""
    pack = oip_pack(tmp_path, document)
    with pytest.raises(EngineError, match=problem):
        open_on(pack, tmp_path, triton=at(1))


def test_the_token_goes_along(pack: Pack, server: OipModelServer, port: int, tmp_path: Path) -> None:
    """It is read from a file of the hub, never from the pack; a missing file is named."""
    (tmp_path / "token").write_text("s3cret\n")
    session = open_on(pack, tmp_path, triton=at(port, token_file="token"))  # noqa: S106 - a file's name
    assert server.metadata[-1]["authorization"] == "Bearer s3cret"
    session.close()
    with pytest.raises(EngineError, match=r"\[model_server.triton\]: .*absent cannot be read"):
        open_on(pack, tmp_path, triton=at(port, token_file="absent"))  # noqa: S106 - a file's name


def certificate_for(host: str) -> tuple[bytes, bytes]:
    """A certificate that signs itself, and its key (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def test_tls_is_mutual_where_the_configuration_says_so(pack: Pack, server: OipModelServer, tmp_path: Path) -> None:
    """The server must chain to `ca`, the hub shows its certificate; neither a stranger nor plain text gets through."""
    (there, there_key), (here, here_key) = certificate_for("localhost"), certificate_for("hub")
    for name, data in (("there.crt", there), ("here.crt", here), ("here.key", here_key)):
        (tmp_path / name).write_bytes(data)
    credentials = grpc.ssl_server_credentials([(there_key, there)], here, require_client_auth=True)
    with server.running(credentials) as port:
        whole = ModelServerConfig(
            engine="oip",
            address=f"grpcs://localhost:{port}",
            deadline_s=30.0,
            ca="there.crt",
            certificate="here.crt",
            key="here.key",
        )
        session = open_on(pack, tmp_path, triton=whole)
        assert session.run({"window": WINDOWS})["logits"].shape == (2, 3)
        session.close()
        for wrong in (
            replace(whole, ca="here.crt"),
            replace(whole, certificate="", key=""),
            replace(whole, address=f"grpc://localhost:{port}", ca="", certificate="", key=""),
        ):
            with pytest.raises(EngineError, match="UNAVAILABLE"):
                open_on(pack, tmp_path, triton=wrong)
