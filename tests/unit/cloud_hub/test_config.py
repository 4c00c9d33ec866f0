"""Settings: the sample loads, mistakes are named."""

from pathlib import Path

import pytest

from cloud_hub.config import HubConfig, MonitoringConfig, load_config, sample_hub
from cloud_hub.core.monitoring.watch import BROKEN, Alarm, Limits
from cloud_hub.model_servers import ModelServerConfig
from model_packs.process.settings import SettingsError
from protos.messages.fleet import PolicyMode


def test_the_sample_loads_to_the_defaults(tmp_path: Path) -> None:
    """What `init` writes means the same as an empty file."""
    (tmp_path / "hub.toml").write_text(sample_hub())
    (tmp_path / "empty.toml").write_text("")
    config = load_config(tmp_path / "hub.toml")
    assert config == load_config(tmp_path / "empty.toml")
    assert config.state_dir == tmp_path
    assert config.database == f"sqlite+aiosqlite:///{tmp_path}/hub.db"
    assert config.folder.ca_key == tmp_path / "ca" / "ca.key"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[grpc]\nport = 70000", "grpc.port"),
        ("[grpc]\nhost = 'localhost'", "IP address"),
        ("[grpc]\nport = 9\nenrolment_port = 9", "each service needs its own"),
        ("[grpc]\nprt = 1", 'did you mean "port"'),
        ("[http]\nport = -1", "http.port"),
        ("[http]\ncertificate = 'web.crt'", "http.key"),
        ("[http]\nkey = 'web.key'", "http.certificate"),
        ("[http]\nsession_life_s = 0", "http.session_life_s"),
        ("[identity]\norg_id = 'Big Corp'", "identity.org_id"),
        ("[identity]\ncertificate_days = 0", "identity.certificate_days"),
        ("[inference]\nproviders = ['rocm']", "expected one of tensorrt, cuda, cpu"),
        ("[inference]\nrun_limit_s = 0", "inference.run_limit_s"),
        ("[inference]\nmax_batch = 0\nthreads = 0\ninline_below_ms = -1", "inference.inline_below_ms"),
        ("[escalation]\ncredit_items = 0", "escalation.credit_items"),
        ("[model_server.a]\nengine = 'oip'\naddress = 'http://h:1'", "grpc://HOST:PORT"),
        ("[model_server.a]\nengine = 'openai'\naddress = 'grpc://h:1'", "http://HOST:PORT"),
        ("[model_server.a]\nengine = 'oip'\naddress = 'grpc://h:x'", "model_server.a.address"),
        ("[model_server.a]\nengine = 'oip'\naddress = 'grpc://h:1'\nca = 'ca.crt'", "belong to grpcs://"),
        ("[model_server.a]\nengine = 'oip'\naddress = 'grpcs://h:1'\nkey = 'k'", "model_server.a.certificate"),
        ("[model_server.a]\nengine = 'oip'\naddress = 'grpc://h:1'\ndeadline_s = 0", "model_server.a.deadline_s"),
        ("[model_server.a]\nengine = 'oip'", "address"),
        ("[fleet]\nheartbeat_interval_s = 0", "fleet.heartbeat_interval_s"),
        ("[fleet]\ninstall_timeout_s = 0", "fleet.install_timeout_s"),
        ("[fleet]\ntrend_bucket_s = 0.5", "fleet.trend_bucket_s"),
        ("[fleet]\ntrend_days = 0", "fleet.trend_days"),
        ("[fleet]\nevent_days = 4000", "fleet.event_days"),
        ("[fleet]\nmax_events = 0", "fleet.max_events"),
        ("[monitoring]\non_violation = 'panic'", "monitoring.on_violation"),
        ("[monitoring]\ntighten_on = ['rain']", 'found "rain"'),
        ("[monitoring]\ntighten_to = 1.5", "monitoring.tighten_to"),
        ("[monitoring]\npeople_share = -0.1", "monitoring.people_share"),
        ("[monitoring]\nhub_delta = 0", "monitoring.hub_delta"),
        ("[monitoring]\nrun_length = 0.5", "monitoring.run_length"),
        ("[monitoring]\nescalation_factor = 1", "monitoring.escalation_factor"),
        ("[monitoring]\noverdue_s = 0", "monitoring.overdue_s"),
        ("database_url = 'hub.db'", "database_url"),
        ("log_level = 'loud'", "log_level"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, word: str) -> None:
    """Unknown keys, wrong types and impossible combinations are errors at start."""
    path = tmp_path / "hub.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=word.replace("(", r"\(")):
        load_config(path)


def test_what_follows_on_an_alarm_is_what_the_file_says() -> None:
    """By default everything is escalated; with "alarm" nothing follows."""
    rules = MonitoringConfig().rules
    assert (rules.reaction.mode, rules.reaction.alarms, rules.people_share) == (PolicyMode.HUB_ONLY, BROKEN, 0.25)
    assert rules.limits == Limits()
    assert MonitoringConfig(on_violation="alarm").rules.reaction.mode is None
    raised = MonitoringConfig(on_violation="tighten", tighten_to=0.97, tighten_on=("void",)).rules.reaction
    assert (raised.mode, raised.threshold) == (PolicyMode.TIGHTEN, 0.97)
    assert raised.alarms == {Alarm.VOID}


def test_the_port_default_is_the_documented_one() -> None:
    """Devices find a hub on 8443, newcomers on 8444, people on 8080."""
    config = HubConfig()
    assert (config.grpc.port, config.grpc.enrolment_port, config.http.port) == (8443, 8444, 8080)


@pytest.mark.parametrize(
    ("address", "target", "path", "is_tls"),
    [
        ("grpc://triton", "triton:8001", "", False),
        ("grpcs://[::1]:9", "[::1]:9", "", True),
        ("https://vllm/v1/", "vllm:443", "/v1", True),
        ("http://10.0.0.7:8000/v1", "10.0.0.7:8000", "/v1", False),
    ],
)
def test_a_model_servers_address_says_how_it_is_reached(address: str, target: str, path: str, is_tls: bool) -> None:  # noqa: FBT001 - a table
    """Host, port, path and whether it is TLS are all in it; ports have their scheme's default."""
    server = ModelServerConfig(engine="oip", address=address)
    assert (server.target, server.path, server.is_tls) == (target, path, is_tls)
