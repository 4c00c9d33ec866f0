"""Owns what all sessions on model servers have in common: the variant, which server has it, facts, names in errors.

How a server is asked is its session's: `oip_session.py`, `openai_session.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.adapters.remote.remote_model import RemoteModel, read_remote_model, server_for
from cloud_hub.model_servers import ModelServerConfig
from model_packs.engines.graph_file import name_of, read_file
from model_packs.engines.options import EngineOptions
from model_packs.engines.session import REMOTE, SessionFacts
from model_packs.errors import EngineError
from model_packs.manifest import PackManifest, Variant


@dataclass(frozen=True, slots=True)
class RemoteVariant:
    """A pack's variant that runs on a model server.

    Attributes:
        manifest: The pack.
        variant: The variant; its file names the model.
        file: Where that file lies.
        options: What the program decided.
        servers: The configured model servers, by name.
        root: Folder that the configuration's paths are relative to.
    """

    manifest: PackManifest
    variant: Variant
    file: Path
    options: EngineOptions
    servers: Mapping[str, ModelServerConfig]
    root: Path

    @property
    def name(self) -> str:
        """Pack and file, for messages."""
        return name_of(self.manifest, self.variant)

    def model(self) -> RemoteModel:
        """Read which model is meant.

        Raises:
            EngineError: The file is not the manifest's, or has another form.
        """
        return read_remote_model(self.manifest, self.variant, read_file(self.manifest, self.variant, self.file))

    def server(self) -> tuple[str, ModelServerConfig]:
        """Find the model server by name; raises MissingEngineError where none is configured for this pack."""
        return server_for(self.servers, self.variant.engine, self.manifest)

    def facts(self, engine_version: str) -> SessionFacts:
        """Say what it runs on.

        Args:
            engine_version: What answers there, in words.
        """
        return SessionFacts(
            engine=self.variant.engine,
            engine_version=engine_version,
            provider=REMOTE,
            variant=self.variant.id,
            precision=self.variant.precision,
            graph_digest=self.variant.graph_digest,
            threads=1,
            passed_over=self.options.passed_over,
        )

    def named(self, error: EngineError) -> EngineError:
        """Make an error of the same kind that names pack and file."""
        return type(error)(f"{self.name}: {error.reason}", error.mend)

    def not_open(self) -> EngineError:
        """Make the error of who asks a session that is not open."""
        return EngineError(f"{self.name}: the session is not open", "call open() first")
