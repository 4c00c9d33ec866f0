"""Links lead where they say, whatever a name holds."""

import pytest

from cloud_hub.adapters.http.console.addresses import (
    case_path,
    device_path,
    pack_path,
    picture_path,
    read_device,
    with_query,
)
from cloud_hub.core.cases import opened
from cloud_hub.core.devices import DeviceKey
from tests.unit.cloud_hub.escalations import PRESS, escalation


def test_names_cannot_leave_their_place_in_a_path() -> None:
    """Slashes, quotes and question marks are quoted."""
    case = opened(DeviceKey("o", "s/t", 'a"?'), escalation("../p"), 5)
    assert device_path(case.device) == "/devices/s%2Ft/a%22%3F"
    assert case_path(case) == "/escalations/s%2Ft/a%22%3F/..%2Fp"
    assert picture_path(case, "im/age") == "/api/v1/cases/s%2Ft/a%22%3F/..%2Fp/inputs/im%2Fage.png"
    assert pack_path("band@1.0.0") == "/packs/band/1.0.0"


def test_empty_fields_stay_out_of_a_query() -> None:
    """A link says what is chosen, and nothing else."""
    assert with_query("/", q="a b&c", range="") == "/?q=a+b%26c"
    assert with_query("/", q="") == "/"


@pytest.mark.parametrize("text", ["", "site", "/device", "site/"])
def test_what_names_no_device_is_none(text: str) -> None:
    """A form may hold anything."""
    assert read_device("o", text) is None
    assert read_device("o", "s/press-07") == PRESS
