"""Newcomers meet a hub over real TLS: tokens good, spent, expired and wrong, names taken, keys replaced."""

import asyncio
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from model_packs.signing import PublicKey
from protos.link.credentials import certificate_request_der, new_private_key_pem
from protos.link.tokens import JoinToken
from protos.messages.escalation import Welcome
from tests.simulators.hub_device import HandStream, device_channel, enrol, hello, identity_of
from tests.simulators.hubs import HubSite
from tests.simulators.loops import in_loop


@pytest.fixture
def site(tmp_path: Path) -> HubSite:
    """A hub without packs."""
    return HubSite.found(tmp_path / "hub")


@pytest.fixture
def tokens(site: HubSite, capsys: pytest.CaptureFixture[str]) -> dict[str, JoinToken]:
    """Join tokens of several kinds."""

    def create(*arguments: str) -> JoinToken:
        site.command("tokens", "create", "--site", "hall-1", *arguments)
        return JoinToken.parse(capsys.readouterr().out.splitlines()[-1])

    return {
        "once": create(),
        "often": create("--uses", "20"),
        "expired": create("--ttl-h", "0.00000001"),
        "replacing": create("--device", "press-07"),
    }


async def refusal(*arguments: object, **options: object) -> tuple[grpc.StatusCode, str]:
    """The status and message with which the hub refuses."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await enrol(*arguments, **options)  # type: ignore[arg-type] # passed through
    return caught.value.code(), caught.value.details() or ""


@in_loop
async def test_a_good_token_becomes_an_identity(site: HubSite, tokens: dict[str, JoinToken]) -> None:
    """The certificate names the device by SPIFFE id, is for clients only, lasts a year, and opens the device port."""
    async with site.running() as listening:
        answer, key = await enrol(listening.enrolment_port, tokens["once"])
        identity = identity_of(answer, key)
        assert identity.spiffe.uri == "spiffe://tandem/org/default/site/hall-1/device/press-07"
        leaf = x509.load_pem_x509_certificates(answer.certificate_chain_pem)[0]
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 365
        assert answer.trust_bundle_pem == tokens["once"].ca_pem
        assert PublicKey.from_pem(answer.site_key_pem).key_id
        async with device_channel(listening.grpc_port, identity) as channel:
            stream = HandStream(channel)
            await stream.say(hello())
            assert isinstance(await stream.hear(), Welcome)


@in_loop
async def test_a_lost_reply_is_asked_for_again_with_the_same_key(site: HubSite, tokens: dict[str, JoinToken]) -> None:
    """The same key gets the same certificate from a token that is used up; another key, or another name, does not."""
    async with site.running() as listening:
        port = listening.enrolment_port
        first, key = await enrol(port, tokens["once"])
        again, _ = await enrol(port, tokens["once"], key_pem=key)
        assert again.certificate_chain_pem == first.certificate_chain_pem
        code, message = await refusal(port, tokens["once"], device_id="press-08")
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "used up" in message
        assert "cloud-hub tokens create" in message
        code, _ = await refusal(port, tokens["once"], key_pem=key, device_id="press-09")
        assert code is grpc.StatusCode.PERMISSION_DENIED


@in_loop
async def test_two_keys_race_for_one_use_and_one_wins(site: HubSite, tokens: dict[str, JoinToken]) -> None:
    """Of many enrolments at once with a single-use token, exactly one is answered."""
    async with site.running() as listening:
        port = listening.enrolment_port
        answers = await asyncio.gather(
            *(enrol(port, tokens["once"], device_id=f"press-{number}") for number in range(8)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert [one.code() for one in refused] == [grpc.StatusCode.PERMISSION_DENIED] * 7


@in_loop
async def test_an_expired_token_is_refused_by_name(site: HubSite, tokens: dict[str, JoinToken]) -> None:
    """The message says that it has expired, and how to make a new one."""
    async with site.running() as listening:
        code, message = await refusal(listening.enrolment_port, tokens["expired"])
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert tokens["expired"].token_id in message
        assert "expired" in message


@in_loop
async def test_an_unknown_token_and_a_wrong_secret_look_the_same(site: HubSite, tokens: dict[str, JoinToken]) -> None:
    """Nobody learns which token ids exist."""
    async with site.running() as listening:
        port = listening.enrolment_port
        unknown = await refusal(port, replace(tokens["once"], token_id="000000000000"))  # noqa: S106 - unknown on purpose
        wrong = await refusal(port, replace(tokens["once"], secret="guessed"))  # noqa: S106 - wrong on purpose
        assert unknown == wrong
        assert unknown[0] is grpc.StatusCode.UNAUTHENTICATED


@in_loop
async def test_a_device_does_not_speak_to_a_hub_of_another_authority(
    site: HubSite, tokens: dict[str, JoinToken], tmp_path: Path
) -> None:
    """With another hub's authority in the token, the handshake fails before the secret is sent."""
    foreign = await asyncio.to_thread(HubSite.found, tmp_path / "foreign")
    async with site.running() as listening:
        code, _ = await refusal(
            listening.enrolment_port, tokens["once"], trusting=foreign.config.folder.ca_certificate.read_bytes()
        )
        assert code is grpc.StatusCode.UNAVAILABLE
        await enrol(listening.enrolment_port, tokens["once"])


@in_loop
async def test_a_certificate_of_another_hub_opens_nothing(
    site: HubSite, tokens: dict[str, JoinToken], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device of another hub, with the same names, fails the handshake of this one."""
    foreign = await asyncio.to_thread(HubSite.found, tmp_path / "foreign")
    await asyncio.to_thread(foreign.command, "tokens", "create", "--site", "hall-1")
    token = JoinToken.parse(capsys.readouterr().out.splitlines()[-1])
    async with foreign.running() as listening:
        answer, key = await enrol(listening.enrolment_port, token)
    identity = replace(identity_of(answer, key), ca_pem=tokens["once"].ca_pem)
    async with site.running() as listening, device_channel(listening.grpc_port, identity) as channel:
        stream = HandStream(channel)
        assert (await stream.status())[0] is grpc.StatusCode.UNAVAILABLE


@in_loop
async def test_a_taken_name_needs_a_token_made_for_it(site: HubSite, tokens: dict[str, JoinToken]) -> None:
    """Another key cannot take a device's name with any token; with one for that device it replaces the old key."""
    async with site.running() as listening:
        port = listening.enrolment_port
        answer, key = await enrol(port, tokens["often"])
        code, message = await refusal(port, tokens["often"])
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert "--device press-07" in message
        assert (await refusal(port, tokens["replacing"], device_id="press-99"))[0] is grpc.StatusCode.PERMISSION_DENIED
        newer = identity_of(*await enrol(port, tokens["replacing"]))
        async with device_channel(listening.grpc_port, identity_of(answer, key)) as channel:
            code, message = await HandStream(channel).status()
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert "no longer accepted" in message
        async with device_channel(listening.grpc_port, newer) as channel:
            stream = HandStream(channel)
            await stream.say(hello())
            assert isinstance(await stream.hear(), Welcome)


def _ed25519_request() -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)


def _broken_request() -> bytes:
    request = certificate_request_der(new_private_key_pem(), "press-07")
    return request[:-4] + bytes(byte ^ 0xFF for byte in request[-4:])


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        ({"csr_der": b"nonsense"}, grpc.StatusCode.INVALID_ARGUMENT, "certificate request"),
        ({"csr_der": _ed25519_request()}, grpc.StatusCode.INVALID_ARGUMENT, "P-256"),
        ({"csr_der": _broken_request()}, grpc.StatusCode.INVALID_ARGUMENT, "not signed by its own key"),
        ({"device_id": "../escape"}, grpc.StatusCode.INVALID_ARGUMENT, "../escape"),
        ({"wire_version": 2}, grpc.StatusCode.FAILED_PRECONDITION, "update the hub"),
    ],
)
@in_loop
async def test_a_request_that_cannot_be_used_costs_no_use_of_the_token(
    site: HubSite,
    tokens: dict[str, JoinToken],
    options: dict[str, object],
    code: grpc.StatusCode,
    word: str,
) -> None:
    """The refusal names what is wrong; the single-use token still works afterwards."""
    async with site.running() as listening:
        found, message = await refusal(listening.enrolment_port, tokens["once"], **options)
        assert found is code
        assert word in message
        await enrol(listening.enrolment_port, tokens["once"])
