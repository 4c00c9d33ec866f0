"""Owns the way from a binding's pack to an open session: supply, compare, open, judge the certificate.

Only verified packs run: finding one checks a signature by a key that this device trusts (`trusted_packs.py`). Where a
pack comes from is `pack_supply.py`; what it holds is `model_packs`.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from edge_agent.binding_config import BindingConfig
from edge_agent.config import Config
from edge_agent.core.decision import Policy, barrier
from edge_agent.core.prediction import CertificateState, CertificateUse
from edge_agent.errors import ConfigurationError, PackUnusableError
from edge_agent.inference.answering import Model
from edge_agent.packs.binding_check import check_binding
from edge_agent.packs.pack_supply import FetchPack, supply_pack
from edge_agent.packs.trusted_packs import trusted_keys
from edge_agent.ports import BindingName, Clock
from model_packs.certificate.document import Certificate
from model_packs.engines.opening import open_session
from model_packs.engines.session import SessionFacts
from model_packs.errors import EngineError, PackError
from model_packs.pack import Pack
from model_packs.signing import PublicKey
from protos.messages.inference import ModelUse

_NS = 1_000_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A binding's model and what it was opened from."""

    model: Model
    facts: SessionFacts


class Models:
    """Opens the packs that the bindings name; one session for each binding.

    Args:
        config: Bindings, engine threads, where packs are kept.
        fetch: Brings a pack that is not here into the store of packs; None without a hub.
        clock: To judge a certificate's age.
    """

    def __init__(self, config: Config, fetch: FetchPack | None, clock: Clock) -> None:
        self._config = config
        self._fetch = fetch
        self._clock = clock
        self._open = ExitStack()

    def open(self) -> dict[BindingName, OpenedModel]:
        """Open every binding's model.

        Returns:
            By binding.

        Raises:
            PackUnusableError: One is missing, damaged, unsigned, or no engine here runs it; names the mend.
            ConfigurationError: A binding and its pack contradict each other.
            HubError: One is missing, and the hub that has it cannot be asked.
        """
        trusted = trusted_keys(self._config)
        packs = {one.id: self._pack(one, trusted) for one in self._config.bindings.binding}
        bindings = self._config.bindings.binding
        problems = tuple(
            f"binding {one.name!r}: {problem}"
            for one in bindings
            for problem in check_binding(one, packs[one.id].manifest)
        )
        if problems:
            mend = f"correct {self._config.agent.bindings}; `edge-agent check` shows file and line"
            raise ConfigurationError(problems, mend)
        return {one.id: self._opened(one, packs[one.id]) for one in bindings}

    def close(self) -> None:
        """Let go of the engines; may be called twice."""
        self._open.close()

    def _pack(self, binding: BindingConfig, trusted: tuple[PublicKey, ...]) -> Pack:
        supplied = supply_pack(self._config, binding, trusted, self._fetch)
        if supplied.damage is not None:
            logger.warning("pack_fetched_again", extra={"pack": binding.pack, "damage": supplied.damage})
        return supplied.pack

    def _opened(self, binding: BindingConfig, pack: Pack) -> OpenedModel:
        try:
            session = open_session(pack, threads=self._config.agent.engine.threads)
            self._open.callback(session.close)
            certificate = pack.certificate
        except PackError as error:
            raise PackUnusableError(binding.pack, f"pack {error}", error.mend) from error
        except EngineError as error:
            raise PackUnusableError(binding.pack, f"pack {binding.pack}: {error.reason}", error.mend) from error
        stands_in_the_way = barrier(
            binding.egress,
            has_hub=self._config.agent.hub is not None,
            has_hub_pack=pack.manifest.escalates_to is not None,
        )
        policy = Policy(None if certificate is None else certificate.threshold, stands_in_the_way)
        use = None if certificate is None else certificate_use(certificate, session.facts, self._clock.wall_ns())
        named = ModelUse(str(pack.ref), pack.digest)
        return OpenedModel(Model(pack.manifest, session, policy, use, named), session.facts)


def certificate_use(certificate: Certificate, facts: SessionFacts, now_ns: int) -> CertificateUse:
    """How far a certificate speaks for answers made here and now.

    Args:
        certificate: Of the pack.
        facts: What its session runs on; the certificate was issued for exactly one such combination.
        now_ns: Wall clock, Unix epoch, UTC.

    Returns:
        Its digest and state; age changes the state, never the use.
    """
    stated = (certificate.graph_digest, certificate.variant, certificate.provider, certificate.precision)
    here = (facts.graph_digest, facts.variant, facts.provider, facts.precision)
    if certificate.valid_until is not None and _to_ns(certificate.valid_until) < now_ns:
        state = CertificateState.EXPIRED
    elif stated != here or certificate.threshold is None:
        state = CertificateState.UNCERTIFIED
    else:
        state = CertificateState.CERTIFIED
    return CertificateUse(certificate.digest, state)


def _to_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * _NS
