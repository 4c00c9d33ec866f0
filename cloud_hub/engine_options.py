"""Owns what the hub's sessions are opened with: its settings, and what was measured on this machine."""

from cloud_hub.config import HubConfig
from model_packs.engines.machine import this_machine
from model_packs.engines.options import EngineOptions
from model_packs.engines.tuning import FILE_NAME, Tunings, read_tunings


def engine_options(config: HubConfig) -> EngineOptions:
    """Make the options; reads the tuning file, if there is one.

    Args:
        config: The hub's settings.

    Returns:
        The options.
    """
    inference, root = config.inference, config.folder.root
    tuning_file = root / FILE_NAME
    return EngineOptions(
        threads=inference.threads,
        providers=inference.providers,
        cache_dir=root / "engines",
        tunings=read_tunings(tuning_file, this_machine()) if tuning_file.exists() else Tunings(),
        run_limit_s=inference.run_limit_s,
    )
