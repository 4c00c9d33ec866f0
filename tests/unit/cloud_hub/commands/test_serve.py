"""`cloud-hub serve`: settings that it does not start with."""

from pathlib import Path

import pytest

from cloud_hub.config import CONFIG_NAME
from model_packs.process.exits import CliError, Exit
from tests.unit.cloud_hub.commands.calls import on


@pytest.mark.parametrize(
    ("text", "arguments", "word"),
    [
        ("[grpc]\nprt = 1\n[http]\nhost = 'x'", (), "prt"),
        ("[grpc]\nhost = '0.0.0.0'", ("--insecure",), "loopback"),
    ],
)
def test_serve_does_not_start_with_wrong_settings(hub: Path, text: str, arguments: tuple[str, ...], word: str) -> None:
    """Unknown keys and plain text on a reachable address are configuration errors that name the mend."""
    (hub / CONFIG_NAME).write_text(text)
    with pytest.raises(CliError, match=word) as caught:
        on(hub, "serve", *arguments)
    assert caught.value.exit is Exit.CONFIG
    assert caught.value.mend
