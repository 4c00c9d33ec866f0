"""Owns the durable file of the pack slots (`edge.slots/1`): small, replaced whole and fsynced, changed under a lock.

The daemon and the commands share it: each change reads, decides and writes while it holds the lock. What may change is
`core/pack_slots.py`. A file that is lost or damaged is as good as none: every binding runs its factory pack. While the
disk does not give it, what it said last holds.
"""

import base64
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.core.pack_slots import PackId, Slot, Slots
from edge_agent.core.policy import PolicySlot, RefusedPolicy
from model_packs.process.durable import make_folder, write_file
from protos.messages.fleet import (
    Desired,
    DesiredPolicy,
    DesiredSlot,
    FailureAction,
    PackFailure,
    PolicyMode,
    SlotState,
)

SCHEMA = "edge.slots/1"
FILE_NAME = "slots.json"

_LOCK_NAME = "slots.lock"
_LEFTOVERS = f".{FILE_NAME}.*.tmp"

logger = logging.getLogger(__name__)


class SlotFile:
    """The file in one folder.

    Args:
        folder: Of the device's packs; made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._told: bytes | None = None
        self._last = Slots()
        self._is_withheld = False

    def open(self) -> None:
        """Make the folder, and remove what a killed writer left behind.

        Raises:
            OSError: The folder cannot be written.
        """
        make_folder(self._folder)
        with self._locked():
            for leftover in self._folder.glob(_LEFTOVERS):
                leftover.unlink(missing_ok=True)

    def read(self) -> Slots:
        """What it says now, nothing when it is lost or damaged; while the disk does not give it, what it said last."""
        try:
            self._last = self._read()
        except OSError as error:
            if not self._is_withheld:
                logger.warning("slots_unreadable", extra={"file": str(self._path), "error": str(error)})
                self._is_withheld = True
        else:
            self._is_withheld = False
        return self._last

    def change(self, change: Callable[[Slots], Slots]) -> Slots:
        """Change the file; done when the disk has it.

        Args:
            change: Pure; what it returns is written if it differs.

        Returns:
            What the file says now.

        Raises:
            OSError: The disk refuses, to read or to write; the file is as before.
        """
        with self._locked():
            before = self._read()
            after = change(before)
            if after != before:
                write_file(self._path, (json.dumps(document_of(after), indent=1) + "\n").encode())
        return after

    def _read(self) -> Slots:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return Slots()
        try:
            return slots_of(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if data != self._told:
                logger.error(  # noqa: TRY400 - one line: which field is wrong helps, the traceback does not
                    "slots_damaged", extra={"file": str(self._path), "error": repr(error), "mend": "factory packs run"}
                )
                self._told = data
            return Slots()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def document_of(slots: Slots) -> dict[str, Any]:
    """The file's JSON document."""
    desired = slots.desired
    return {
        "schema": SCHEMA,
        "desired": {
            "version": desired.version,
            "slots": [{"binding": one.binding, "pack": one.pack, "digest": one.digest} for one in desired.slots],
        },
        "slots": {name: _slot_document(slot) for name, slot in sorted(slots.by_binding.items())},
        "policies": {name: _policies_document(slot) for name, slot in sorted(slots.policies.items())},
    }


def slots_of(document: Any) -> Slots:  # noqa: ANN401 - JSON that nobody has checked yet
    """Read the file's JSON document.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is not what `document_of` writes.
    """
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']!r}; this program reads {SCHEMA}")
    desired = document["desired"]
    return Slots(
        Desired(
            int(desired["version"]),
            tuple(DesiredSlot(str(o["binding"]), str(o["pack"]), str(o["digest"])) for o in desired["slots"]),
        ),
        {str(name): _slot_of(one) for name, one in document["slots"].items()},
        {str(name): _policies_of(one) for name, one in document.get("policies", {}).items()},  # younger than the schema
    )


def failure_document(failure: PackFailure | None) -> dict[str, Any] | None:
    """A failure as JSON, in this file as in the documents of `status` and `packs`."""
    if failure is None:
        return None
    return {
        "pack": failure.pack,
        "digest": failure.digest,
        "action": failure.action.value,
        "reason": failure.reason,
        "detail": failure.detail,
        "at_ns": failure.at_ns,
    }


def _slot_document(slot: Slot) -> dict[str, Any]:
    return {
        "state": slot.state.value,
        "active": _pack_document(slot.active),
        "previous": _pack_document(slot.previous),
        "attempts": slot.attempts,
        "trial_since_ns": slot.trial_since_ns,
        "is_pinned": slot.is_pinned,
        "failure": failure_document(slot.failure),
    }


def _slot_of(document: dict[str, Any]) -> Slot:
    failure = document["failure"]
    return Slot(
        SlotState(document["state"]),
        _pack_of(document["active"]),
        _pack_of(document["previous"]),
        int(document["attempts"]),
        int(document["trial_since_ns"]),
        bool(document["is_pinned"]),
        None
        if failure is None
        else PackFailure(
            str(failure["pack"]),
            str(failure["digest"]),
            FailureAction(failure["action"]),
            str(failure["reason"]),
            str(failure["detail"]),
            int(failure["at_ns"]),
        ),
    )


def _policies_document(slot: PolicySlot) -> dict[str, Any]:
    refused = slot.refused
    return {
        "active": _policy_document(slot.active),
        "base": _policy_document(slot.base),
        "refused": None if refused is None else {"policy": _policy_document(refused.policy), "detail": refused.detail},
    }


def _policies_of(document: dict[str, Any]) -> PolicySlot:
    refused = document["refused"]
    policy = None if refused is None else _policy_of(refused["policy"])
    return PolicySlot(
        _policy_of(document["active"]),
        _policy_of(document["base"]),
        None if policy is None else RefusedPolicy(policy, str(refused["detail"])),
    )


def _policy_document(policy: DesiredPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    return {
        "version": policy.version,
        "mode": policy.mode.value,
        "threshold": policy.threshold,
        "audit_rate": policy.audit_rate,
        "certificate": base64.b64encode(policy.certificate).decode(),
        "signature": base64.b64encode(policy.signature).decode(),
        "pack_digest": policy.pack_digest,
        "voided_certificate": policy.voided_certificate,
    }


def _policy_of(document: dict[str, Any] | None) -> DesiredPolicy | None:
    if document is None:
        return None
    return DesiredPolicy(
        int(document["version"]),
        PolicyMode(document["mode"]),
        _number_of(document["threshold"]),
        _number_of(document["audit_rate"]),
        base64.b64decode(document["certificate"], validate=True),
        base64.b64decode(document["signature"], validate=True),
        str(document["pack_digest"]),
        str(document["voided_certificate"]),
    )


def _number_of(value: Any) -> float | None:  # noqa: ANN401 - JSON that nobody has checked yet
    return None if value is None else float(value)


def _pack_document(pack: PackId | None) -> dict[str, str] | None:
    return None if pack is None else {"pack": pack.pack, "digest": pack.digest}


def _pack_of(document: dict[str, Any] | None) -> PackId | None:
    return None if document is None else PackId(str(document["pack"]), str(document["digest"]))
