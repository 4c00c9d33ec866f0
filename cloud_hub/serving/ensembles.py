"""Owns models that are several packs: each member answers, and one answer is made of theirs.

How answers are fused is `core.serving.fusing`; members are models like any other, so they share batches with requests
that are theirs alone.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cloud_hub.core.serving.fusing import Rule, fuse_outputs, fuse_scored, mismatch
from cloud_hub.errors import PackUnavailableError
from cloud_hub.serving.counts import Counts
from cloud_hub.serving.errors import ModelUnknownError
from cloud_hub.serving.interface import Caller, Inferred, ModelDescription
from cloud_hub.serving.loading import LoadedModel
from cloud_hub.serving.models import Models
from cloud_hub.serving.run import Arrays
from model_packs.digests import digest_of
from model_packs.manifest import PackRef
from model_packs.strict_json import canonical
from protos.messages.inference import ModelUse, Role

VERSION = "1.0.0"
"""Of every ensemble: what it is, is in its digest."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The declaration of one ensemble.

    Attributes:
        rule: How answers are fused.
        members: Packs with their weights, more than 0.
    """

    rule: Rule
    members: tuple[tuple[PackRef, float], ...]


class Ensembles:
    """The ensembles of one serving core.

    Args:
        models: Where members are.
        declared: By name.
    """

    def __init__(self, models: Models, declared: Mapping[str, Ensemble]) -> None:
        self._models = models
        self._declared = declared
        self._described: dict[str, ModelDescription] = {}
        self.counts: dict[str, Counts] = {name: Counts() for name in declared}

    @property
    def names(self) -> tuple[str, ...]:
        """What is declared."""
        return tuple(sorted(self._declared))

    def resolve(self, name: str) -> ModelDescription | None:
        """Find an ensemble all of whose members are loaded."""
        ensemble = self._declared.get(name)
        if ensemble is None or name not in self._described:
            return None
        are_loaded = all(self._models.resolve(ref.name, ref.version, "") for ref, _ in ensemble.members)
        return self._described[name] if are_loaded else None

    async def find(self, name: str, version: str) -> ModelDescription:
        """Find an ensemble, loading members; raises what `Models.find` raises, and PackUnavailableError."""
        if version not in ("", VERSION):
            raise ModelUnknownError(name, version, f"an ensemble has the version {VERSION}")
        refs = [ref for ref, _ in self._declared[name].members]
        for ref in refs:
            await self._models.known(ref.name, ref.version)
        if lacking := self._models.lacking_room(refs):  # else each would leave for the next, at every request
            mend = "raise it, or take packs out of members or pinned, in hub.toml"
            raise PackUnavailableError(name, f"its members find no room: {lacking}", mend)
        found = [await self._models.find(ref.name, ref.version, "") for ref in refs]
        return self._described.setdefault(name, self._description(name, found))

    async def infer(
        self,
        model: ModelDescription,
        inputs: Arrays,
        caller: Caller,
        deadline_s: float | None,
        priority: int,
        *,
        is_scored: bool,
    ) -> Inferred:
        """Ask all members, and fuse what they say; raises what `Batcher.submit` raises, and ModelFailedError.

        One member that fails fails the ensemble: a rule that quietly loses a voice is another rule.
        """
        ensemble, counts = self._declared[model.name], self.counts[model.name]
        members = [await self._member(ref) for ref, _ in ensemble.members]
        began_ns = time.perf_counter_ns()

        async def asked_of(one: LoadedModel) -> Inferred:  # let in by its own task: one that never began left nothing
            request = one.batcher.submit(inputs, caller, deadline_s, priority, is_scored=is_scored)
            return await one.batcher.answered(request)

        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(asked_of(one)) for one in members]
        except ExceptionGroup as errors:  # the others were cancelled: without this one they are no answer
            counts.note_dropped(time.perf_counter_ns() - began_ns)
            raise errors.exceptions[0] from errors
        said = [one.result() for one in asked]
        weights = [weight for _, weight in ensemble.members]
        scored = [one.scored for one in said if one.scored is not None]
        answer = Inferred(
            outputs=fuse_outputs(ensemble.rule, [one.outputs for one in said], weights),
            pack=model.name,
            version=model.version,
            queue_ns=max(one.queue_ns for one in said),
            compute_ns=sum(one.compute_ns for one in said),
            batch=min(one.batch for one in said),
            is_cached=False,
            models=model.models,
            scored=fuse_scored(ensemble.rule, scored, weights, model.manifest.labels) if is_scored else None,
        )
        rows = len(next(iter(answer.outputs.values())))
        took_ns = time.perf_counter_ns() - began_ns
        counts.note_run(
            rows=[rows], requests=1, input_ns=0, compute_ns=answer.compute_ns, output_ns=0, now_ns=time.time_ns()
        )
        counts.note_answers(answered=1, windows=rows, took_ns=took_ns, failed=0, queue_ns=answer.queue_ns)
        return answer

    async def _member(self, ref: PackRef) -> LoadedModel:
        """A member's loaded model, whatever was unloaded in between."""
        while True:
            found = self._models.running(await self._models.find(ref.name, ref.version, ""))
            if found is not None:
                return found

    def _description(self, name: str, found: list[ModelDescription]) -> ModelDescription:
        ensemble = self._declared[name]
        for other in found[1:]:
            if wrong := mismatch(found[0].manifest, other.manifest):
                raise PackUnavailableError(name, f"its members do not fit: {wrong}", "correct it in hub.toml")
        declaration = {
            "rule": ensemble.rule.value,
            "members": [[one.digest, weight] for one, (_, weight) in zip(found, ensemble.members, strict=True)],
        }
        models = tuple(ModelUse(str(one.manifest.ref), one.digest, Role.MEMBER) for one in found)
        return replace(
            found[0],
            name=name,
            version=VERSION,
            versions=(VERSION,),
            digest=digest_of(canonical(declaration)),
            batch=min(one.batch for one in found),
            models=models,
        )
