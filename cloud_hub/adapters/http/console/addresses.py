"""Owns how links are written, and how a device is read back from one. What lies there is `console.py`."""

from urllib.parse import quote, urlencode

from cloud_hub.core.cases import Case
from cloud_hub.core.devices import DeviceKey


def device_path(device: DeviceKey) -> str:
    """Where a device's page is."""
    return f"/devices/{_part(device.site_id)}/{_part(device.device_id)}"


def case_path(case: Case) -> str:
    """Where a case's page is."""
    return f"/escalations/{_place(case)}"


def picture_path(case: Case, name: str) -> str:
    """Where an input of a case is drawn as a picture; the HTTP API serves it."""
    return f"/api/v1/cases/{_place(case)}/inputs/{_part(name)}.png"


def pack_path(pack: str) -> str:
    """Where a pack's page is; `pack` is name@version."""
    name, _, version = pack.partition("@")
    return f"/packs/{_part(name)}/{_part(version)}"


def with_query(path: str, **fields: str) -> str:
    """Write a path with the fields that are not empty."""
    told = {name: value for name, value in fields.items() if value}
    return f"{path}?{urlencode(told)}" if told else path


def read_device(org_id: str, text: str) -> DeviceKey | None:
    """Read `site/device` from a link or a form; None when it is no such text."""
    site_id, slash, device_id = text.partition("/")
    return DeviceKey(org_id, site_id, device_id) if slash and site_id and device_id else None


def _place(case: Case) -> str:
    return f"{_part(case.device.site_id)}/{_part(case.device.device_id)}/{_part(case.prediction_id)}"


def _part(text: str) -> str:
    return quote(text, safe="")
