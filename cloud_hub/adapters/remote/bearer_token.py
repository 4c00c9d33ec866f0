"""Owns reading the token that a model server wants; nothing here, and nothing that follows from it, says what it is."""

import re
from pathlib import Path
from typing import Final

from model_packs.errors import EngineError

_TOKEN: Final = re.compile(rb"[!-~]+")


def read_token(name: str, file: Path) -> str:
    """Read a token.

    Args:
        name: The server's name in the configuration.
        file: Holds the token and nothing else.

    Returns:
        The token, without the space around it.

    Raises:
        EngineError: The file cannot be read, or holds something else than one line of printable ASCII: HTTP and gRPC
            take no other header, and their libraries put what they refuse into their errors.
    """
    try:
        token = file.read_bytes().strip()
    except OSError as error:
        raise EngineError(
            f"[model_server.{name}]: {file} cannot be read: {error.strerror}",
            "correct the path in hub.toml, or put the file there",
        ) from error
    if not _TOKEN.fullmatch(token):
        raise EngineError(
            f"[model_server.{name}]: {file} holds no token: expected one line of printable ASCII without spaces",
            "put the token alone into the file",
        )
    return token.decode("ascii")
