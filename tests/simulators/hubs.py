"""Owns a hub under test inside the test's own process: its folder, its settings on free ports, its life."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from cloud_hub.adapters.engine.pack_source import OpenSession
from cloud_hub.app import Hub, Listening
from cloud_hub.cli import execute
from cloud_hub.config import EscalationConfig, FleetConfig, GrpcConfig, HttpConfig, HubConfig, InferenceConfig
from cloud_hub.founding import found_hub

REPOSITORY = Path(__file__).parents[2]
HUB_PACK = "motion-band-hub@1.0.0"
EDGE_PACK = "motion-band-edge@1.0.0"
_PACKS = REPOSITORY / "model_packs" / "shipped" / "motion_band" / "packs"
_LOOPBACK = "127.0.0.1"


def layout(pack: str) -> Path:
    """The committed OCI layout of a shipped pack."""
    return _PACKS / pack.replace("@", "-")


@dataclass(frozen=True, slots=True)
class HubSite:
    """A hub's folder and settings; call its methods outside of an event loop, except ``running``."""

    config: HubConfig
    config_path: Path

    @classmethod
    def found(cls, folder: Path, *packs: str, heartbeat_interval_s: float = 10.0) -> "HubSite":
        """Make a hub on free ports of 127.0.0.1 with some shipped packs published."""
        path = found_hub(folder, [], time.time_ns)
        path.write_text(
            f'[grpc]\nhost = "{_LOOPBACK}"\nport = 0\nenrolment_port = 0\n[http]\nhost = "{_LOOPBACK}"\nport = 0\n'
            f"[fleet]\nheartbeat_interval_s = {heartbeat_interval_s}\n"
        )
        site = cls(
            HubConfig(
                state_dir=folder,
                grpc=GrpcConfig(host=_LOOPBACK, port=0, enrolment_port=0),
                http=HttpConfig(host=_LOOPBACK, port=0),
                fleet=FleetConfig(heartbeat_interval_s=heartbeat_interval_s),
            ),
            path,
        )
        if packs:
            site.command("packs", "publish", *(str(layout(pack)) for pack in packs))
        return site

    def command(self, *arguments: str) -> int:
        """Run a ``cloud-hub`` command on this hub; what it prints is the test's to capture."""
        return execute([*arguments, "--config", str(self.config_path)])

    @contextlib.asynccontextmanager
    async def running(
        self,
        *,
        is_insecure: bool = False,
        open_session: OpenSession | None = None,
        inline_below_ms: float = InferenceConfig().inline_below_ms,
        credit_bytes: int = EscalationConfig().credit_bytes,
        max_waiting: int = EscalationConfig().max_waiting,
    ) -> AsyncIterator[Listening]:
        """Run the hub in this process for as long as the block lasts."""
        config = replace(
            self.config,
            inference=InferenceConfig(inline_below_ms=inline_below_ms),
            escalation=EscalationConfig(
                credit_bytes=credit_bytes, max_waiting=max_waiting, max_waiting_per_device=min(max_waiting, 10_000)
            ),
        )
        hub = Hub(config, is_insecure=is_insecure, open_session=open_session)
        try:
            yield await hub.open()
        finally:
            await hub.close()
