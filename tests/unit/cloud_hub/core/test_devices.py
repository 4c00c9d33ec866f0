"""Names that may stand in certificates, topics and paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.devices import DeviceKey, checked_name
from cloud_hub.errors import DeviceNameError
from protos.link.identity import is_name


@given(st.text(alphabet="aZ09._-/ +#", max_size=70))
def test_the_hub_and_the_spiffe_id_agree_on_names(name: str) -> None:
    """What the hub lets through can be written into a certificate, and nothing else."""
    if is_name(name):
        assert checked_name("device", name) == name
    else:
        with pytest.raises(DeviceNameError):
            checked_name("device", name)


def test_a_key_is_shown_by_device_and_site() -> None:
    """Messages name a device the way people do."""
    assert str(DeviceKey("o", "hall-1", "press-07")) == "device press-07 of site hall-1"
