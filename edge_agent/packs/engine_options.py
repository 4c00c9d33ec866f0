"""Owns what this device's sessions are opened with: its settings, and what was measured here."""

from edge_agent.config import AgentConfig
from model_packs.engines.machine import this_machine
from model_packs.engines.options import EngineOptions
from model_packs.engines.tuning import FILE_NAME, Tunings, read_tunings


def engine_options(agent: AgentConfig, *, keeps: bool = True) -> EngineOptions:
    """Make the options; reads the tuning file, if there is one.

    Args:
        agent: The device's settings.
        keeps: Whether engines may keep on disk what they build.

    Returns:
        The options.
    """
    engine, tuning_file = agent.engine, agent.device.state_dir / FILE_NAME
    return EngineOptions(
        threads=engine.threads,
        providers=engine.providers,
        device=engine.device,
        cache_dir=agent.device.engines_dir if keeps else None,
        tunings=read_tunings(tuning_file, this_machine()) if tuning_file.exists() else Tunings(),
        run_limit_s=engine.run_limit_s,
    )
