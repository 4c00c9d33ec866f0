"""Owns what anybody may load: styles, scripts, the vendored libraries, under an address that changes with their bytes.

So a browser keeps them for ever, and a new release is never mixed with an old one. Modules import their neighbours by
relative paths, which stay inside the same version.
"""

import hashlib
from pathlib import Path

from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
_KEPT = "public, max-age=31536000, immutable"
_DIGITS = 12


def version_of(folder: Path) -> str:
    """Digest a folder's files.

    Args:
        folder: The folder.

    Returns:
        The first hex digits of a SHA-256 over names and bytes.
    """
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:_DIGITS]


def mount(version: str) -> Mount:
    """Serve the files.

    Args:
        version: From `version_of`.

    Returns:
        The route.
    """
    return Mount(f"/static/{version}", _Kept(directory=FOLDER))


class _Kept(StaticFiles):
    """Files that a browser need not ask for again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Serve one file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _KEPT
        return response
