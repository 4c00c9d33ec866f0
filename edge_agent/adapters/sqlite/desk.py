"""Owns how a command asks the running agent to handle its outbox: a file each way, in a folder of the agent's user.

The agent holds the only write connection, so a command cannot write beside it. Its HTTP port has no login; a folder
has: whoever may write in it may ask. A question is claimed before it is answered, so it is never answered twice; what
was asked of an agent that ended is forgotten. What is done is `handling.py`.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent.adapters.sqlite.handling import Action, Handled, Refusal
from edge_agent.adapters.sqlite.outbox import Subject
from edge_agent.adapters.sqlite.selection import Selection
from edge_agent.core.escalation import Outcome
from edge_agent.errors import StoreError
from edge_agent.ports import BindingName, RowId
from model_packs.process.durable import make_folder, write_file
from protos.messages.escalation import ItemClass, PredictionId
from protos.status import Status

FOLDER_NAME = "requests"
FOLDER_MODE = 0o700

_ASKED, _CLAIMED, _ANSWERED = ".asked", ".claimed", ".answered"
_AT_ONCE = 8
_MAX_BYTES = 64 << 10
_POLL_S = 0.05

logger = logging.getLogger(__name__)

Handle = Callable[[Action, Selection], Handled]
"""Does it, or raises `StoreError`."""


class RequestDesk:
    """The agent's side. The constructor only stores.

    Args:
        folder: Where questions come; made if missing.
        handle: Does what is asked.
    """

    def __init__(self, folder: Path, handle: Handle) -> None:
        self._folder = folder
        self._handle = handle

    def open(self) -> None:
        """Make the folder, and forget what was asked of another process.

        Raises:
            StoreError: The folder cannot be made or written.
        """
        try:
            make_folder(self._folder)
            self._folder.chmod(FOLDER_MODE)
            for left in self._folder.iterdir():
                left.unlink(missing_ok=True)
        except OSError as error:
            raise _not_writable(self._folder, error) from error

    def answer_all(self) -> None:
        """Answer what is asked now, a few at a time; what cannot be read or answered is logged and gone."""
        for asked in sorted(self._folder.glob(f"*{_ASKED}"))[:_AT_ONCE]:
            claimed = asked.with_suffix(_CLAIMED)
            try:
                asked.rename(claimed)
                with claimed.open("rb") as file:
                    answer = self._answer(file.read(_MAX_BYTES))
                write_file(asked.with_suffix(_ANSWERED), json.dumps(answer).encode())
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("request_unanswered", extra={"request": asked.stem, "failure": repr(error)})
            finally:
                claimed.unlink(missing_ok=True)

    def _answer(self, question: bytes) -> dict[str, Any]:
        asked = json.loads(question)
        action, selection = Action(asked["action"]), _selection(asked["selection"])
        try:
            handled = self._handle(action, selection)
        except StoreError as error:
            return {"error": error.message, "mend": error.mend, "status": error.status}
        logger.info("outbox_handled_by_hand", extra={"action": action, "selection": asked["selection"]})
        return {"changed": handled.changed, "refused": handled.refused}


def ask(folder: Path, action: Action, selection: Selection, timeout_s: float) -> Handled:
    """Ask the running agent, and wait for its answer.

    Args:
        folder: The agent's.
        action: What to do.
        selection: To which items.
        timeout_s: How long to wait.

    Returns:
        What was done.

    Raises:
        StoreError: The agent could not do it, the folder may not be written, or no answer came.
    """
    asked = folder / f"{uuid.uuid4().hex}{_ASKED}"
    answered = asked.with_suffix(_ANSWERED)
    question = {"action": action, "selection": asdict(selection)}
    try:
        write_file(asked, json.dumps(question).encode())
        try:
            answer = _wait_for(answered, timeout_s)
            was_taken = answer is None and not _is_withdrawn(asked)
        finally:
            asked.unlink(missing_ok=True)
            answered.unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error
    if answer is None:
        raise _unanswered(timeout_s, was_taken=was_taken)
    if "error" in answer:
        raise StoreError(answer["error"], answer["mend"], Status(answer["status"]))
    return Handled(
        {Subject(subject): count for subject, count in answer["changed"].items()},
        {Refusal(reason): count for reason, count in answer["refused"].items()},
    )


def _wait_for(answered: Path, timeout_s: float) -> dict[str, Any] | None:
    last_s = time.monotonic() + timeout_s
    while time.monotonic() < last_s:
        if answered.exists():
            found: dict[str, Any] = json.loads(answered.read_bytes())
            return found
        time.sleep(_POLL_S)
    return None


def _is_withdrawn(asked: Path) -> bool:
    """Take a question back; False when the agent was quicker."""
    try:
        asked.unlink()
    except FileNotFoundError:
        return False
    return True


def _selection(fields: dict[str, Any]) -> Selection:
    words: dict[str, Callable[[Any], Any]] = {
        "prediction_id": PredictionId,
        "row": RowId,
        "item_class": ItemClass,
        "destination": str,
        "state": Outcome,
        "binding": BindingName,
        "older_than_s": float,
    }
    return Selection(**{name: None if value is None else words[name](value) for name, value in fields.items()})


def _unanswered(timeout_s: float, *, was_taken: bool) -> StoreError:
    if was_taken:
        message = f"the agent took the request up and did not answer within {timeout_s:.0f} s: it may still be at it"
        return StoreError(message, "see what it did: edge-agent outbox list", Status.DEADLINE_EXCEEDED)
    message = f"the agent did not take the request up within {timeout_s:.0f} s; nothing was changed"
    return StoreError(message, "see how it fares: edge-agent status", Status.DEADLINE_EXCEEDED)


def _not_writable(folder: Path, error: OSError) -> StoreError:
    mend = "run it as the agent's user, with an agent of this release running"
    return StoreError(f"{folder}: {error.strerror}", mend, Status.PERMISSION_DENIED)
