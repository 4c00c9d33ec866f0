"""Owns how a device is named inside the hub: every key has the organisation and the site in it."""

import re
from dataclasses import dataclass

from cloud_hub.errors import DeviceNameError

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")  # as protos.link.identity.is_name; a test compares them


@dataclass(frozen=True, slots=True, order=True)
class DeviceKey:
    """One device, as its certificate names it."""

    org_id: str
    site_id: str
    device_id: str

    def __str__(self) -> str:
        return f"device {self.device_id} of site {self.site_id}"


def checked_name(field: str, name: str) -> str:
    """Let a name through if it can stand in a SPIFFE path, a topic level and a file name.

    Args:
        field: What is named, for the message ("device", "site", "org").
        name: The name.

    Returns:
        The same name.

    Raises:
        DeviceNameError: It cannot; the caller's mistake.
    """
    if not _NAME.fullmatch(name):
        raise DeviceNameError(field, name)
    return name
