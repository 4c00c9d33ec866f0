"""Owns the open sessions, one for each binding: from its slot's pack at boot, and from another when the slot moves.

Only verified packs run. At boot a pack on trial is counted before it is opened, and one that cannot be opened gives way
to the one before it, at last to the factory pack (docs/packs.md, "What a start does"). What a slot may do is
`core/pack_slots.py`; where the factory pack comes from is `pack_supply.py`; what packs hold is `model_packs`.
"""

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from edge_agent.binding_config import BindingConfig
from edge_agent.config import Config
from edge_agent.core.decision import Policy, barrier
from edge_agent.core.pack_slots import (
    FailureReason,
    PackId,
    PackRefusedError,
    Slot,
    boot,
    is_crash_loop,
    roll_back,
)
from edge_agent.core.policy import PackTerms
from edge_agent.core.prediction import CertificateState, CertificateUse
from edge_agent.errors import AgentError, ConfigurationError, HubError, PackUnusableError
from edge_agent.inference.answering import Model
from edge_agent.packs.binding_check import check_binding, check_successor
from edge_agent.packs.device_slots import DeviceSlots, failure_of
from edge_agent.packs.engine_options import engine_options
from edge_agent.packs.pack_supply import FetchPack, supply_pack
from edge_agent.packs.policies import Policies
from edge_agent.packs.trusted_packs import factory_pack, trusted_keys
from edge_agent.ports import BindingName, Clock, PackTrust
from model_packs.certificate.document import Certificate
from model_packs.engines.opening import open_session
from model_packs.engines.session import Session, SessionFacts
from model_packs.errors import EngineError, PackError
from model_packs.pack import Pack
from model_packs.verification import golden_on
from protos.link.identity import DeviceIdentity, IdentityError
from protos.messages.fleet import Desired, FailureAction
from protos.messages.inference import ModelUse

PREDICTED_CLASS: Final = "predicted_class"
SITE: Final = "site"
LEAST_GOLDEN: Final = 200
"""Golden examples that must be answered as recorded before a certificate is carried over to another provider."""
_NS: Final = 1_000_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a certificate lets a device keep.

    Attributes:
        threshold: Answers of at least this confidence; the lowest of the groups' own. None: nothing.
        groups: By predicted label, each one's own threshold; empty: one for all.
        group: The site that the threshold is for, where groups are sites; else empty.
    """

    threshold: float | None = None
    groups: Mapping[str, float] = field(default_factory=dict, hash=False)
    group: str = ""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A binding's model and what it was opened from.

    Attributes:
        own: The pack's own policy, with what the device's files add to it.
        certificate: The pack's own; None: it has none that is of use here.
        is_carried: Its certificate was issued on another provider, and enough golden examples are answered here as
            they were recorded.
    """

    model: Model
    facts: SessionFacts
    own: Policy
    certificate: Certificate | None
    is_carried: bool = False

    @property
    def pack(self) -> PackId:
        """Which pack it is."""
        return PackId(self.model.use.pack, self.model.use.digest)

    @property
    def terms(self) -> PackTerms:
        """What the pack says itself."""
        return PackTerms(self.model.use.digest, self.own.threshold)


class Models:
    """Opens the packs that the slots name, and knows what is open.

    Args:
        config: Bindings, engine threads, where packs are kept.
        slots: What each binding should run.
        trust: Says whether a pack may run.
        fetch: Brings a factory pack that is not here into the store of packs; None without a hub.
        clock: To judge a certificate's age.
    """

    def __init__(
        self, config: Config, slots: DeviceSlots, trust: PackTrust, fetch: FetchPack | None, clock: Clock
    ) -> None:
        self.policies = Policies(config, slots)
        self._config = config
        self._slots = slots
        self._trust = trust
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[BindingName, OpenedModel] = {}
        self._factories: dict[BindingName, PackId] = {}

    @property
    def opened(self) -> dict[BindingName, OpenedModel]:
        """What is open now, by binding."""
        with self._lock:
            return dict(self._open)

    @property
    def factories(self) -> dict[BindingName, PackId]:
        """Every binding's factory pack."""
        with self._lock:
            return dict(self._factories)

    def open(self) -> None:
        """Open every binding's model.

        Raises:
            PackUnusableError: No pack of a binding can be opened, its factory pack neither; names the mend.
            ConfigurationError: A binding and its factory pack contradict each other.
            HubError: A factory pack is missing, and the hub that has it cannot be asked.
        """
        bindings = self._config.bindings.binding
        for one in bindings:
            self._factories[one.id] = factory_pack(self._config, one)
        chosen = {one.id: self._chosen(one, self._booted(one)) for one in bindings}
        problems = tuple(
            f"binding {one.name!r}: {problem}"
            for one in bindings
            for problem in check_binding(one, chosen[one.id][1].manifest)
        )
        if problems:
            mend = f"correct {self._config.agent.bindings}; `edge-agent check` shows file and line"
            raise ConfigurationError(problems, mend)
        for one in bindings:
            self._open[one.id] = self._first_that_opens(one, *chosen[one.id])

    def open_pack(self, binding: BindingConfig, slot: Slot) -> OpenedModel:
        """Open what a slot names, beside what is open; `replace` puts it in place.

        Raises:
            PackUnusableError: It must not run, cannot, or is unlike the pack that runs; the reason says why.
            HubError: It is a factory pack that is not here, and the hub is away.
        """
        pack = self._pack(binding, slot)
        present = self.opened[binding.id].model.manifest
        problems = check_binding(binding, pack.manifest) or check_successor(present, pack.manifest)
        if problems:
            raise _unfit(pack, problems)
        return self._opened(binding, pack)

    def ordered(self, binding: BindingName) -> OpenedModel:
        """What is open, as the hub's policy for it says now; the same object while nothing has changed."""
        opened = self.opened[binding]
        model = self._under_policy(binding, opened)
        return opened if model == opened.model else dataclasses.replace(opened, model=model)

    def take_policies(self, desired: Desired) -> None:
        """Take the policies in a desire of the hub."""
        self.policies.take(desired, {name: (one.terms, one.facts) for name, one in self.opened.items()})

    def replace(self, binding: BindingName, opened: OpenedModel) -> None:
        """From now on this is what is open; who holds the one before closes it."""
        with self._lock:
            self._open[binding] = opened

    def close(self) -> None:
        """Let go of the engines; may be called twice."""
        for opened in self.opened.values():
            opened.model.session.close()

    def _booted(self, binding: BindingConfig) -> Slot:
        """The slot after this start was counted; a trial that saw too many starts is over."""
        try:
            slot = self._slots.change(binding.id, boot)
            if is_crash_loop(slot):
                what = f"pack {self._active(binding, slot).pack} was on trial at {slot.attempts} starts of the agent"
                slot = self._back(binding, slot, PackRefusedError(FailureReason.CRASH_LOOP, binding.pack, what, ""))
        except OSError as error:  # a full disk keeps nothing from running
            logger.warning("start_not_counted", extra={"binding": binding.name, "error": str(error)})
            return self._slots.read().of(binding.id)
        return slot

    def _chosen(self, binding: BindingConfig, slot: Slot) -> tuple[Slot, Pack]:
        """The slot and its pack: the active one, or the first before it that is whole and fits."""
        while True:
            try:
                pack = self._pack(binding, slot)
                problems = check_binding(binding, pack.manifest)
                if not problems or not slot.has_way_back:
                    return slot, pack  # the factory pack's contradictions are told together
                raise _unfit(pack, problems)
            except (PackUnusableError, HubError) as error:
                if not slot.has_way_back:
                    raise
                slot = self._back(binding, slot, error)

    def _first_that_opens(self, binding: BindingConfig, slot: Slot, pack: Pack) -> OpenedModel:
        while True:
            try:
                return self._opened(binding, pack)
            except PackUnusableError as error:
                if not slot.has_way_back:
                    raise
                slot, pack = self._chosen(binding, self._back(binding, slot, error))

    def _back(self, binding: BindingConfig, slot: Slot, error: AgentError) -> Slot:
        bad = self._active(binding, slot)
        failure = failure_of(bad, FailureAction.ROLLED_BACK, error, self._clock.wall_ns())
        logger.warning(
            "pack_rolled_back",
            extra={"binding": binding.name, "pack": bad.pack, "reason": failure.reason, "detail": failure.detail},
        )
        return self._slots.insist(binding.id, lambda now: roll_back(now, failure))

    def _active(self, binding: BindingConfig, slot: Slot) -> PackId:
        return slot.active or self.factories[binding.id]

    def _pack(self, binding: BindingConfig, slot: Slot) -> Pack:
        if slot.active is not None:
            return self._trust.verified(slot.active)
        supplied = supply_pack(self._config, binding, trusted_keys(self._config), self._fetch)
        if supplied.damage is not None:
            logger.warning("pack_fetched_again", extra={"pack": binding.pack, "damage": supplied.damage})
        with self._lock:
            self._factories[binding.id] = PackId(str(supplied.pack.ref), supplied.pack.digest)
        return supplied.pack

    def _opened(self, binding: BindingConfig, pack: Pack) -> OpenedModel:
        try:
            certificate = pack.certificate
            session = open_session(pack, engine_options(self._config.agent))
        except PackError as error:
            raise PackRefusedError(
                FailureReason.DAMAGED_MANIFEST, str(pack.ref), f"pack {error}", error.mend
            ) from error
        except EngineError as error:
            message = f"pack {pack.ref}: {error.reason}"
            raise PackRefusedError(FailureReason.UNSUPPORTED, str(pack.ref), message, error.mend) from error
        stands_in_the_way = barrier(
            binding.egress,
            has_hub=self._config.agent.hub is not None,
            has_hub_pack=pack.manifest.escalates_to is not None,
        )
        asks = binding.escalation
        if certificate is not None and certificate.score != pack.manifest.score_name:
            logger.warning(
                "certificate_of_another_score",
                extra={"pack": str(pack.ref), "certified": certificate.score, "scored": pack.manifest.score_name},
            )
            certificate = None  # its threshold says nothing of this pack's confidence
        kept = Kept() if certificate is None else self._kept(certificate)
        own = Policy(
            kept.threshold,
            stands_in_the_way,
            class_thresholds=asks.class_thresholds,
            always_escalate=frozenset(asks.always_escalate),
            ood_limit=asks.ood_limit,
            audit_rate=asks.audit_rate,
            group_thresholds=kept.groups,
            group=kept.group,
        )
        model = Model(pack.manifest, session, own, None, ModelUse(str(pack.ref), pack.digest))
        is_elsewhere = certificate is not None and certificate.provider != session.facts.provider
        opened = OpenedModel(model, session.facts, own, certificate, is_elsewhere and carries(session, pack))
        return dataclasses.replace(opened, model=self._under_policy(binding.id, opened))

    def _kept(self, certificate: Certificate) -> Kept:
        """What a certificate lets this device keep; only an enrolled one knows its site."""
        site = ""
        if certificate.group_by == SITE:
            with contextlib.suppress(IdentityError):
                site = DeviceIdentity.load(self._config.agent.device.identity_dir).spiffe.site
        return kept_by(certificate, site)

    def _under_policy(self, binding: BindingName, opened: OpenedModel) -> Model:
        """The model with the policy in force, and with the certificate that speaks for what it keeps."""
        policy, base, refuted = self.policies.applied(binding, opened.own, opened.terms)
        certificate = opened.certificate
        if base is not None and base.certificate:
            certificate = Certificate.from_json(base.certificate)
        use = None
        if certificate is not None:
            kept = self._kept(certificate)
            use = certificate_use(certificate, opened.facts, self._clock.wall_ns(), kept, is_carried=opened.is_carried)
            use = dataclasses.replace(use, state=_state(use, policy, kept, refuted))
        return dataclasses.replace(opened.model, policy=policy, certificate=use)


def kept_by(certificate: Certificate, site: str) -> Kept:
    """Say what a certificate lets a device keep.

    Args:
        certificate: Of the pack, or of the policy in force.
        site: Where the device is; empty: not known.

    Returns:
        What is kept; nothing of groups that a device cannot tell apart, or of a site that is not stated.
    """
    stated = {name: threshold for name, threshold in certificate.thresholds.items() if threshold is not None}
    if not certificate.groups:
        return Kept(certificate.threshold)
    if certificate.group_by == SITE and site in stated:
        return Kept(stated[site], group=site)
    if certificate.group_by == PREDICTED_CLASS and stated:
        return Kept(min(stated.values()), stated)
    return Kept()


def _state(use: CertificateUse, policy: Policy, kept: Kept, refuted: str) -> CertificateState:
    """How far the certificate speaks under a policy: one that keeps another set than it states is not backed by it."""
    if refuted and refuted == use.digest:
        return CertificateState.VOID
    keeps_this = (policy.threshold, policy.group_thresholds) == (kept.threshold, kept.groups)
    states_this = keeps_this and not (policy.always_escalate or policy.class_thresholds)
    return use.state if states_this or use.state is CertificateState.EXPIRED else CertificateState.UNCERTIFIED


def _unfit(pack: Pack, problems: list[str]) -> PackRefusedError:
    message = f"pack {pack.ref} does not fit the binding: {'; '.join(problems)}"
    return PackRefusedError(
        FailureReason.IO_MISMATCH,
        str(pack.ref),
        message,
        "desire a pack that fits; a restart takes a factory pack of another kind",
    )


def carries(session: Session, pack: Pack) -> bool:
    """Whether a certificate of another provider may be carried over to this one.

    Args:
        session: Runs the pack here.
        pack: With its golden examples.

    Returns:
        True if there are at least `LEAST_GOLDEN`, and every answer is within the pack's tolerance.
    """
    golden = pack.manifest.golden
    if golden is None or golden.n_examples < LEAST_GOLDEN:
        return False
    try:
        return golden_on(session, pack).is_ok is True
    except (EngineError, PackError) as error:
        logger.warning("golden_not_compared", extra={"pack": str(pack.ref), "error": error.reason, "mend": error.mend})
        return False


def certificate_use(
    certificate: Certificate, facts: SessionFacts, now_ns: int, kept: Kept, *, is_carried: bool = False
) -> CertificateUse:
    """How far a certificate speaks for answers made here and now.

    Args:
        certificate: Of the pack.
        facts: What its session runs on; the certificate was issued for exactly one such combination.
        now_ns: Wall clock, Unix epoch, UTC.
        kept: What it lets the device keep.
        is_carried: Whether the golden examples show that another provider than the stated one answers alike.

    Returns:
        Its digest and state; age changes the state, never the use.
    """
    stated = (certificate.graph_digest, certificate.variant, certificate.precision)
    here = (facts.graph_digest, facts.variant, facts.precision)
    if certificate.valid_until is not None and _to_ns(certificate.valid_until) < now_ns:
        state = CertificateState.EXPIRED
    elif stated != here or kept.threshold is None:
        state = CertificateState.UNCERTIFIED
    elif certificate.provider == facts.provider:
        state = CertificateState.CERTIFIED
    else:
        state = CertificateState.CARRIED_OVER if is_carried else CertificateState.UNCERTIFIED
    return CertificateUse(certificate.digest, state)


def _to_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * _NS
