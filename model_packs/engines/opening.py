"""Owns choosing and opening the session for a pack: the explicit table from engine name to opener.

A pack's variants are tried by rank, each on the engines that can run its file. What cannot run *here* is passed over
with its reason, which the session's facts tell and the log says once; a graph that its last engine refuses is an error.
To add an engine: write one adapter of `session.Session` that imports its library in `open`, add it to `_ENGINES`, and
add it to the table in tests/contract/test_session_contract.py. An adapter is loaded when a variant wants it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from model_packs.engines.options import EngineOptions, PassedOver
from model_packs.engines.session import Session
from model_packs.errors import EngineError, MissingEngineError
from model_packs.manifest import PackManifest, Variant
from model_packs.pack import Pack

Opener = Callable[[PackManifest, Variant, Path, EngineOptions], Session]


def _onnxruntime() -> Opener:
    from model_packs.engines.onnxruntime_session import open_onnxruntime  # noqa: PLC0415 - loaded when it is wanted

    return open_onnxruntime


def _tensorrt() -> Opener:
    from model_packs.engines.tensorrt_session import open_tensorrt  # noqa: PLC0415 - loaded when it is wanted

    return open_tensorrt


_ENGINES: Final[Mapping[str, Callable[[], Opener]]] = {"onnxruntime": _onnxruntime, "tensorrt": _tensorrt}

# Engines that can run a variant's file, the preferred one first; without an entry only the one that it names.
_RUNS_ON: Final[Mapping[str, tuple[str, ...]]] = {"tensorrt": ("tensorrt", "onnxruntime")}

_DEFAULTS: Final = EngineOptions()

logger = logging.getLogger(__name__)


def open_session(
    pack: Pack,
    options: EngineOptions = _DEFAULTS,
    *,
    openers: Mapping[str, Opener] | None = None,
    variant: str | None = None,
) -> Session:
    """Open and warm up the best variant that this machine has an engine for.

    Args:
        pack: A loaded pack.
        options: How sessions are opened on this machine.
        openers: More engines, which the program brings along.
        variant: Only this variant; None: the best of all, which is a quantised one only while nothing measured here
            says that it is not worth having, or while the pack's certificate was issued for it.

    Returns:
        The open, warm session; the caller closes it. Its facts name what was passed over.

    Raises:
        EngineError: No engine for any variant is installed (names the extra), or the last engine that a variant can run
            on fails to load its graph.
    """
    brought = openers or {}
    known = (*_ENGINES, *brought)
    variants, passed = _chosen(pack, options, variant)
    missing: MissingEngineError | None = None
    for chosen, engine, is_last in _candidates(variants):
        if engine not in known:
            passed.append(PassedOver(engine, f"this program knows {', '.join(known)}"))
            continue
        told = replace(options, passed_over=(*options.passed_over, *passed))
        try:
            session = _warm(brought.get(engine) or _ENGINES[engine](), pack, chosen, told)
        except EngineError as error:
            if is_last and not isinstance(error, MissingEngineError):
                raise
            if isinstance(error, MissingEngineError):
                missing = missing or error
            passed.append(PassedOver(engine, error.reason))
            continue
        _tell(pack, session, is_second_choice=bool(passed))
        return session
    if missing is not None:
        raise missing
    wanted = ", ".join(sorted({variant.engine for variant in pack.manifest.variants}))
    raise MissingEngineError(
        f"{pack.ref} runs on {wanted}; this program knows {', '.join(known)}",
        "install a newer version, or use a pack with a variant for a known engine",
    )


def _chosen(pack: Pack, options: EngineOptions, only: str | None) -> tuple[list[Variant], list[PassedOver]]:
    """The variants in the order in which they are tried, and those that were put behind for what was measured."""
    known = pack.manifest.variants  # sorted by rank
    if only is not None:
        return [variant for variant in known if variant.id == only], []
    better = {variant.id: options.tunings.better_variant(variant.graph_digest) for variant in known}
    behind = [variant for variant in known if better[variant.id] in better]
    if behind and (certificate := pack.certificate) is not None:
        behind = [variant for variant in behind if variant.id != certificate.variant]
    reasons = [PassedOver(variant.id, f"{better[variant.id]} was measured to be better here") for variant in behind]
    return [*(variant for variant in known if variant not in behind), *behind], reasons


def _candidates(variants: Sequence[Variant]) -> Iterator[tuple[Variant, str, bool]]:
    """Every variant with every engine for it, and whether it is the variant's last."""
    for variant in variants:
        engines = _RUNS_ON.get(variant.engine, (variant.engine,))
        for engine in engines:
            yield variant, engine, engine == engines[-1]


def _warm(opener: Opener, pack: Pack, variant: Variant, options: EngineOptions) -> Session:
    session = opener(pack.manifest, variant, pack.path(variant.file), options)
    try:
        session.warm_up()
    except BaseException:
        session.close()
        raise
    return session


def _tell(pack: Pack, session: Session, *, is_second_choice: bool) -> None:
    facts = session.facts
    logger.log(
        logging.WARNING if is_second_choice else logging.INFO,
        "session_opened",
        extra={
            "pack": str(pack.ref),
            "variant": facts.variant,
            "engine": f"{facts.engine} {facts.engine_version}",
            "provider": facts.provider,
            "threads": facts.threads,
            "passed_over": [f"{one.what}: {one.reason}" for one in facts.passed_over],
        },
    )
