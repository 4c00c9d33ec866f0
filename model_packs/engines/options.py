"""Owns what a program decides about its sessions: threads, providers, what is kept on disk, how long a run may take.

It is one value, made once where a program is built, and the same for every engine; an engine reads what concerns it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_packs.engines.tuning import Tunings

PROVIDER_NAMES: Final = ("tensorrt", "cuda", "cpu")
"""Of ONNX Runtime; what each is given is in `providers.py`."""

DEFAULT_PROVIDERS: Final = ("cuda", "cpu")
"""TensorRT's provider builds an engine when a graph is opened, for minutes: it has to be asked for."""

DEFAULT_RUN_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something that would have been preferred, and why it does not run.

    Attributes:
        what: The provider, the engine or the variant.
        reason: For a person; with the mend where there is one.
    """

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How sessions are opened on this machine.

    Attributes:
        threads: Threads inside one run; None: as many as were measured to pay here, else 1.
        providers: Names from `providers.PROVIDERS`, the preferred one first.
        device: Number of the GPU.
        cache_dir: Existing or future folder for what engines build from a graph; None: nothing is kept.
        tunings: What was measured on this machine.
        run_limit_s: A run that takes longer is ended; None: it may take for ever.
        passed_over: What was tried before the engine that gets these options.
    """

    threads: int | None = None
    providers: tuple[str, ...] = DEFAULT_PROVIDERS
    device: int = 0
    cache_dir: Path | None = None
    tunings: Tunings = Tunings()  # noqa: RUF009 - frozen, and empty
    run_limit_s: float | None = None
    passed_over: tuple[PassedOver, ...] = ()


def provider_problems(providers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Check the key `providers` of a program's settings.

    Args:
        providers: What a person wrote.

    Yields:
        The key, and what is wrong.
    """
    for index, name in enumerate(providers):
        if name not in PROVIDER_NAMES:
            yield f"providers[{index}]", f"expected one of {', '.join(PROVIDER_NAMES)}, found {name!r}"
    if not providers or len(set(providers)) != len(providers):
        yield "providers", "expected at least one, and each once"
