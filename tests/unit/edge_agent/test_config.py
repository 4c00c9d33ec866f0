"""Both files: samples, every problem at once, paths, addresses."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.binding_config import Retained
from edge_agent.bounds_config import BudgetConfig
from edge_agent.broker_settings import BrokerSettings, ProtocolChoice, TlsFiles
from edge_agent.config import (
    DEFAULT_PATH,
    ENVIRONMENT_KEY,
    Address,
    Config,
    default_path,
    load,
    sample_agent,
    sample_bindings,
)
from edge_agent.core.budget import BucketSpec, Pool, Resource
from edge_agent.core.decision import Egress
from edge_agent.core.image import ImagePayload
from edge_agent.core.missing import Missing
from edge_agent.core.outbox import OnFull
from edge_agent.core.payload import StartFormat
from model_packs.manifest import ImageSpec
from model_packs.process.settings import SettingsError
from protos.messages.escalation import ItemClass

ROOT = Path(__file__).parents[3]

AGENT = """\
[device]
id = "press-07"
"""
MQTT = """\
[mqtt.site]
url = "mqtt://localhost"
"""
BINDING = """\
[[binding]]
name = "motion"
broker = "site"
pack = "motion-band-edge@1.0.0"
topic = "demo/{person}/imu"
partition = ["person"]
payload = { rate_hz = 50 }
window = { size_s = 1, hop_s = 0.5 }
result = { topic = "demo/{person}/{binding}/{device}" }
"""


def write(folder: Path, agent: str = AGENT, bindings: str = MQTT + BINDING) -> Path:
    """Write both files."""
    path = folder / "agent.toml"
    path.write_text(agent)
    folder.joinpath("bindings.toml").write_text(bindings)
    return path


def loaded(folder: Path, agent: str = AGENT, bindings: str = MQTT + BINDING) -> Config:
    """Write and load."""
    return load(write(folder, agent, bindings))


def problems(folder: Path, agent: str = AGENT, bindings: str = MQTT + BINDING) -> list[str]:
    """Write, load in vain, and return each problem without its folder."""
    with pytest.raises(SettingsError) as caught:
        loaded(folder, agent, bindings)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_the_committed_samples_are_those_of_the_code() -> None:
    """`make protos` writes them."""
    samples = ROOT / "deploy" / "samples"
    assert samples.joinpath("agent.toml").read_text() == sample_agent()
    assert samples.joinpath("bindings.toml").read_text() == sample_bindings()


def test_the_samples_load(tmp_path: Path) -> None:
    """As they stand."""
    config = loaded(tmp_path, sample_agent(), sample_bindings())
    assert config.agent.hub is not None
    assert str(config.agent.hub.services) == "localhost:8443"
    assert [binding.name for binding in config.bindings.binding] == ["motion"]


def test_every_key_of_the_samples_loads(tmp_path: Path) -> None:
    """Also with every commented key in use."""
    for name in ("site.pub", "broker-ca.pem", "agent.pem", "agent.key", "mqtt.password"):
        tmp_path.joinpath(name).touch()
    texts = [
        "\n".join(line.removeprefix("#") if not line.startswith("# ") else line for line in text.splitlines())
        for text in (sample_agent(), sample_bindings())
    ]
    config = loaded(tmp_path, texts[0], texts[1].replace("mqtt://", "mqtts://"))
    broker = config.bindings.mqtt["site"].settings("site", "press-07")
    assert broker == BrokerSettings(
        name="site",
        url="mqtts://localhost:1883",
        client_id="edge-press-07",
        status_topic="edge/press-07/status",
        username="edge",
        password_file=tmp_path / "mqtt.password",
        tls=TlsFiles(tmp_path / "broker-ca.pem", tmp_path / "agent.pem", tmp_path / "agent.key"),
    )
    assert config.agent.packs.trusted_keys == (tmp_path / "site.pub",)
    assert config.bindings.binding[0].payload_spec(6).valid_range == (-1000.0, 1000.0)
    result = config.bindings.binding[0].result
    assert result is not None
    assert result.expiry_s == 600


def test_defaults(tmp_path: Path) -> None:
    """What is not written has a value that works."""
    config = loaded(tmp_path)
    agent, (binding,) = config.agent, config.bindings.binding
    assert agent.hub is None
    assert agent.device.identity_dir == tmp_path / "state" / "identity"
    assert agent.device.packs_dir == tmp_path / "state" / "packs"
    assert agent.http.address == Address("127.0.0.1", 9464)
    assert agent.log.is_json is None
    assert (binding.id, binding.qos, binding.retained, binding.egress) == ("motion", 1, Retained.IGNORE, Egress.TENSOR)
    assert binding.template.filter == "demo/+/imu"
    assert binding.result is not None
    assert binding.result.template.captures == ("person", "binding", "device")
    spec = binding.payload_spec(6)
    assert (spec.channels, spec.rate_hz, spec.start_format, spec.valid_range) == (6, 50.0, StartFormat.ISO8601, None)
    assert (binding.window_spec().missing, binding.window_spec().captures) == (Missing.REJECT, binding.partition)
    broker = config.bindings.mqtt["site"].settings("site", "press-07")
    assert (broker.version, broker.tls) == (ProtocolChoice.AUTO, TlsFiles())
    limits = agent.outbox.limits()
    assert limits.shares == {
        ItemClass.ALARM: 0.05,
        ItemClass.PREDICTION: 0.35,
        ItemClass.ESCALATION: 0.45,
        ItemClass.AUDIT: 0.1,
        ItemClass.FEEDBACK: 0.05,
    }
    assert set(limits.on_full.values()) == {OnFull.DROP_OLDEST, OnFull.DROP_NEWEST}
    refusing = {one for one, policy in limits.on_full.items() if policy is OnFull.DROP_NEWEST}
    assert refusing == {ItemClass.ALARM, ItemClass.FEEDBACK}
    assert binding.alarm_settings is None
    assert agent.outbox.file_max_bytes(0) > 2 * (agent.outbox.max_bytes + agent.outbox.dead_letter_max_bytes)


def test_an_alarm_is_what_its_table_says(tmp_path: Path) -> None:
    """The lane gets labels, debounce and topic, and keeps as many states as there are partitions."""
    alarm = 'alarm = { labels = ["fall"], topic = "demo/{person}/alarm", debounce = 3 }\npartition'
    (binding,) = loaded(tmp_path, bindings=MQTT + BINDING.replace("partition", alarm, 1)).bindings.binding
    settings = binding.alarm_settings
    assert settings is not None
    assert (settings.spec.labels, settings.spec.debounce, settings.max_partitions) == (frozenset({"fall"}), 3, 500)
    assert settings.topic.captures == ("person",)


def test_a_policy_that_blocks_needs_acknowledgements(tmp_path: Path) -> None:
    """What cannot be left with its broker cannot wait for room."""
    blocking = AGENT + '[outbox]\nescalations_on_full = "block"\n'
    (found,) = problems(tmp_path, blocking, MQTT + BINDING.replace("partition", "qos = 0\npartition", 1))
    assert 'binding[0].qos: outbox policy "block": a broker holds no message back' in found


def test_a_policy_that_blocks_needs_a_session_for_each_binding(tmp_path: Path) -> None:
    """Messages of one session are acknowledged in one order: a full class would hold up the other bindings."""
    blocking = AGENT + '[outbox]\npredictions_on_full = "block"\n'
    second = BINDING.replace('"motion"', '"other"').replace("demo/", "else/")
    (found,) = problems(tmp_path, blocking, MQTT + BINDING + second)
    assert "binding[1].broker: outbox policy" in found
    assert "all bindings of [mqtt.site]" in found
    own = '[mqtt.own]\nurl = "mqtt://localhost"\nclient_id = "own-{device}"\n'
    config = loaded(tmp_path, blocking, MQTT + own + BINDING + second.replace('"site"', '"own"'))
    assert config.agent.outbox.limits().on_full[ItemClass.PREDICTION] is OnFull.BLOCK


def test_hub_addresses(tmp_path: Path) -> None:
    """The enrolment service is beside the other ones unless it is named."""
    config = loaded(tmp_path, AGENT + '[hub]\naddress = "[::1]:9"\ninsecure = true\n[log]\nformat = "json"\n')
    assert config.agent.hub is not None
    assert str(config.agent.hub.enrolment) == "[::1]:8444"
    assert replace(config.agent.hub, enrol_address="h:1").enrolment == Address("h", 1)
    assert config.agent.log.is_json is True


def test_all_problems_of_both_files_are_told_at_once(tmp_path: Path) -> None:
    """Each with file, line and key, and the nearest name where one is near."""
    agent = '[device]\nid = "Press 7"\n[htp]\n[outbox]\nmax_bytes = 1\n'
    bindings = MQTT + BINDING.replace('broker = "site"', 'broker = "sit"').replace(
        "size_s = 1,", "size_s = 0.33,"
    ).replace('["person"]', '["line"]').replace("motion-band-edge@1.0.0", "motion-band-edge")
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, agent, bindings)
    assert [(p.file.name, p.line, p.key_path, p.nearest) for p in caught.value.problems] == [
        ("agent.toml", 2, "device.id", None),
        ("agent.toml", 3, "htp", "http"),
        ("agent.toml", 5, "outbox.max_bytes", None),
        ("bindings.toml", 5, "binding[0].broker", None),
        ("bindings.toml", 6, "binding[0].pack", None),
        ("bindings.toml", 8, "binding[0].partition", None),
        ("bindings.toml", 10, "binding[0].window.hop_s", None),
        ("bindings.toml", 10, "binding[0].window.size_s", None),
        ("bindings.toml", 11, "binding[0].result.topic", None),
    ]


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        ('[hub]\naddress = "localhost"', "hub.address: expected host:port, found 'localhost'"),
        ('[hub]\naddress = "localhost:70000"', "expected a port up to 65535"),
        ('[hub]\naddress = "a b:1"', "expected host:port"),
        ('[hub]\naddress = "h:1"\nenrol_address = "h"', "hub.enrol_address: expected host:port"),
        ('[hub]\naddress = "10.0.0.1:1"\ninsecure = true', "hub.insecure: 10.0.0.1:1 is not on this machine"),
        ('[hub]\naddress = "hub.lan:1"\ninsecure = true', "hub.insecure: hub.lan:1 is not on this machine"),
        ('[hub]\naddress = "hub"\ninsecure = true', "hub.address: expected host:port"),
        ('[packs]\ntrusted_keys = ["none.pub"]', "packs.trusted_keys[0]: no such file: none.pub"),
        ('[http]\nlisten = "9464"', "http.listen: expected host:port"),
        ("[engine]\nthreads = 0", "engine.threads: expected 1 to 64"),
        ('[engine]\nproviders = ["rocm"]', "engine.providers[0]: expected one of tensorrt, cuda, cpu, found 'rocm'"),
        ("[engine]\nproviders = []", "engine.providers: expected at least one, and each once"),
        ("[engine]\ndevice = -1", "engine.device: expected 0 or more"),
        ("[engine]\nrun_limit_s = 0", "engine.run_limit_s: expected more than 0"),
        ("[outbox]\nprediction_share = 0.5", "outbox.escalation_share: the five shares are more than 1 together"),
        ("[outbox]\nprediction_share = 0.0", "outbox.prediction_share: expected more than 0"),
        ("[outbox]\nescalation_max_age_s = 0", "outbox.escalation_max_age_s: expected more than 0"),
        ("[outbox]\ndead_letter_max_bytes = -1", "outbox.dead_letter_max_bytes: expected 0 or more"),
        ("[outbox]\nretain_after_ack_s = -1", "outbox.retain_after_ack_s: expected 0 or more"),
        ("[outbox]\ncommit_interval_s = 60", "outbox.commit_interval_s: expected 0 to 10"),
        (
            '[outbox]\nmax_bytes = 1000000\npredictions_on_full = "block"',
            'outbox.predictions_on_full: "block" needs a share of at least 4194304 bytes',
        ),
        ("[outbox]\nreserve_bytes = 4096", "outbox.reserve_bytes: expected 0, or at least 6291456"),
        ("[budget]\ncalls_per_hour = 0", "budget.calls_per_hour: expected more than 0"),
        ("[budget]\nmoney_per_day = 5.0", "budget.cost_per_call: missing; money_per_day needs what one question costs"),
        ("[budget]\ncost_per_call = -1.0", "budget.cost_per_call: expected more than 0"),
        ("[budget]\nburst_s = 0", "budget.burst_s: expected more than 0"),
        ("[budget]\nunscorable_share = 0", "budget.unscorable_share: expected more than 0 and less than 1"),
        ("[budget]\naudit_share = 0.95", "budget.audit_share: the two shares leave nothing for other questions"),
        ('[log]\nlevel = "wrong"', 'log.level: expected one of "debug", "info", "warning", "error"'),
    ],
)
def test_problems_of_the_agents_file(tmp_path: Path, agent: str, says: str) -> None:
    """Each names its key."""
    (problem,) = problems(tmp_path, f"{AGENT}{agent}\n")
    assert says in problem


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"motion"', '"Motion"', "binding[0].name: expected 1 to 63"),
        ('pack = "motion-band-edge@1.0.0"', 'pack = "motion"', "binding[0].pack: expected name@1.2.3"),
        ('pack = "motion-band-edge@1.0.0"', 'pack = "./nothing"', "binding[0].pack: no such folder: nothing"),
        ('"site"\npack', '"plant"\npack', "binding[0].broker: no table [mqtt.plant] (brokers here: site)"),
        ("demo/{person}/imu", "demo/+/imu", "binding[0].topic: topic 'demo/+/imu' holds a wildcard"),
        ("demo/{person}/imu", "{device}/{person}", "binding[0].topic: {device} stands for the agent's own device"),
        ('["person"]', '["person", "line"]', "binding[0].partition: the topic demo/{person}/imu captures no {line}"),
        ('["person"]', '["person", "person"]', "binding[0].partition: expected names, each once"),
        ('["person"]', "[]", "binding[0].result.topic: {person} is not one value for a window"),
        ("/{device}", "/{line}", "binding[0].result.topic: the topic demo/{person}/imu captures no {line}"),
        ("{person}/{binding}/{device}", "#", "binding[0].result.topic: topic 'demo/#' holds a wildcard"),
        ("{person}/{binding}/{device}", "{person}/imu", "binding 'motion' would take the answers as messages"),
        ('"demo/{person}/imu"', '"{line}/{person}/{axis}"', "takes what the agent says itself on edge/{device}/{own}"),
        ("partition", "qos = 2\npartition", "binding[0].qos: expected 0 to 1"),
        (
            "partition",
            'on_journal_failure = "hold"\nqos = 0\npartition',
            "binding[0].on_journal_failure: a broker holds",
        ),
        (
            "partition",
            'on_journal_failure = "hold"\ndurability = "none"\npartition',
            'binding[0].on_journal_failure: durability "none" acknowledges at once',
        ),
        (
            "partition",
            'alarm = { labels = ["fall"], topic = "#" }\npartition',
            "binding[0].alarm.topic: topic '#' holds",
        ),
        ("partition", 'alarm = { labels = [], topic = "a" }\npartition', "binding[0].alarm.labels: no label"),
        (
            "partition",
            'alarm = { labels = ["a", "a"], topic = "a" }\npartition',
            "alarm.labels: expected names, each once",
        ),
        (
            "partition",
            'alarm = { labels = ["a"], topic = "a", debounce = 0 }\npartition',
            "alarm.debounce: expected at le",
        ),
        (
            "partition",
            'alarm = { labels = ["a"], topic = "a/{line}" }\npartition',
            "alarm.topic: the topic demo/{person}",
        ),
        (
            "partition",
            'alarm = { labels = ["a"], topic = "demo/x/imu" }\npartition',
            "'motion' would take the alarms as",
        ),
        ("partition", "dedupe_keys = 0\npartition", "binding[0].dedupe_keys: expected at least 1"),
        ("partition", "dedupe_max_age_s = 0\npartition", "binding[0].dedupe_max_age_s: expected more than 0"),
        ("partition", 'egress = "nevr"\npartition', 'binding[0].egress: expected one of "tensor", "never"'),
        ("rate_hz = 50", "rate_hz = 0", "binding[0].payload.rate_hz: expected more than 0"),
        ("rate_hz = 50", 'rate_hz = 50, start = "samples"', "payload.start: the same field as samples"),
        ("rate_hz = 50", "rate_hz = 50, range = [1]", "payload.range: expected two numbers"),
        ("rate_hz = 50", "rate_hz = 50, range = [2, 1]", "payload.range: expected two numbers"),
        ("rate_hz = 50", 'rate_hz = 50, key = [""]', "payload.key: expected names, each once"),
        ("rate_hz = 50", 'rate_hz = 50, channels = ["x", "x"]', "payload.channels: expected names, each once"),
        ("rate_hz = 50", "rate_hz = 50, max_bytes = 0", "payload.max_bytes: expected 1 to"),
        ("rate_hz = 50", "rate_hz = 50, max_skew_s = 0", "payload.max_skew_s: expected more than 0"),
        ("size_s = 1,", "size_s = 1.01,", "binding[0].window.size_s: 1.01 s at 50.0 Hz is no whole number of samples"),
        ("hop_s = 0.5", "hop_s = 2", "binding[0].window.hop_s: larger than size_s"),
        ("hop_s = 0.5", "hop_s = 0.5, lateness_s = -1", "window.lateness_s: expected 0 to 3600"),
        ("hop_s = 0.5", "hop_s = 0.5, idle_s = 0", "window.idle_s: expected more than 0"),
        ("hop_s = 0.5", "hop_s = 0.5, min_fill = 1.1", "window.min_fill: expected 0 to 1"),
        ("hop_s = 0.5", "hop_s = 0.5, max_partitions = 0", "window.max_partitions: expected at least 1"),
        ("size_s = 1,", "size_s = 100000,", "binding[0].window.size_s: 5000000 samples; at most 1000000"),
        ('{device}" }', '{device}", qos = 2 }', "binding[0].result.qos: expected 0 to 1"),
        ('{device}" }', '{device}", expiry_s = 0 }', "binding[0].result.expiry_s: expected at least 1"),
        ('"mqtt://localhost"', '"http://localhost"', "mqtt.site.url: broker url"),
        ('localhost"', 'localhost"\nclient_id = "{name}"', "mqtt.site.client_id: expected a text"),
        ('localhost"', 'localhost"\nclient_id = ""', "mqtt.site.client_id: expected a text"),
        ('localhost"', 'localhost"\nstatus_topic = "edge/{name}"', "mqtt.site.status_topic: {name} has no value here"),
        ('localhost"', 'localhost"\npassword_file = "bindings.toml"', "password_file: a password needs a username"),
        ('localhost"', 'localhost"\nusername = "u"\npassword_file = "no"', "password_file: no such file: no"),
        ('localhost"', 'localhost"\nkeepalive_s = 0', "mqtt.site.keepalive_s: expected 1 to 65535"),
        ('localhost"', 'localhost"\nreceive_maximum = 70000', "mqtt.site.receive_maximum: expected 1 to 65535"),
        ('localhost"', 'localhost"\n[mqtt.site.tls]', "mqtt.site.tls: the url is mqtt://"),
        ('mqtt://localhost"', 'mqtts://localhost"\n[mqtt.site.tls]\nca = "no"', "mqtt.site.tls.ca: no such file: no"),
        (
            'mqtt://localhost"',
            'mqtts://localhost"\n[mqtt.site.tls]\ncert = "agent.toml"',
            "mqtt.site.tls.key: cert and key go together",
        ),
        ("[mqtt.site]", '[mqtt.SITE]\nurl = "mqtt://h"\n[mqtt.site]', "mqtt.SITE: a broker's name has"),
        (
            "[mqtt.site]",
            '[mqtt.other]\nurl = "mqtt://localhost"\n[mqtt.site]',
            "mqtt.site.client_id: the same client on the same broker as [mqtt.other]",
        ),
    ],
)
def test_problems_of_the_bindings_file(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Each names its key; nothing else is complained about."""
    text = MQTT + BINDING
    assert old in text
    found = problems(tmp_path, bindings=text.replace(old, new, 1))
    assert says in found[0]
    assert len(found) == 1


IMAGES = """\
[[binding]]
name = "branch"
broker = "site"
pack = "form-digits-edge@1.0.0"
topic = "branch/{form}/{field}/crop"
partition = []
payload = { codec = "image", key = ["form", "field"] }
result = { topic = "branch/{form}/{field}/digit" }
"""


def test_a_binding_of_images_has_no_window_and_may_answer_on_every_capture(tmp_path: Path) -> None:
    """One image is one answer, so each capture of its topic has one value; it runs beside a binding of samples."""
    motion, branch = loaded(tmp_path, AGENT, MQTT + BINDING + IMAGES).bindings.binding
    assert (motion.takes_images, branch.takes_images, branch.window) == (False, True, None)
    image = ImageSpec(28, 28, "L")
    assert branch.image_payload(image) == ImagePayload(image, 1 << 20, ("form", "field"))


def test_all_problems_of_a_binding_of_images_are_told_at_once(tmp_path: Path) -> None:
    """Keys that belong to samples, a window, and captures that are not there."""
    payload = 'payload = { codec = "image", key = ["form", "page"], rate_hz = 5, missing = "hold", channels = ["x"] }'
    bindings = IMAGES.replace('payload = { codec = "image", key = ["form", "field"] }', payload)
    bindings = bindings.replace("{field}/digit", "{line}/digit") + "window = { size_s = 1, hop_s = 1 }\n"
    told = problems(tmp_path, AGENT, MQTT + bindings)
    for says in (
        'binding[0].payload.rate_hz: means nothing for codec "image": drop it',
        'binding[0].payload.missing: means nothing for codec "image"',
        'binding[0].payload.channels: means nothing for codec "image"',
        "binding[0].payload.key: the topic branch/{form}/{field}/crop captures no {page}",
        "binding[0].window: an image is a whole model input: drop this table",
        "binding[0].result.topic: the topic branch/{form}/{field}/crop captures no {line}",
    ):
        assert [problem for problem in told if says in problem], says
    assert len(told) == 6


def test_a_binding_of_samples_says_what_it_misses(tmp_path: Path) -> None:
    """The rate and the window, both at once."""
    bindings = BINDING.replace("rate_hz = 50", "").replace("window = { size_s = 1, hop_s = 0.5 }\n", "")
    told = problems(tmp_path, AGENT, MQTT + bindings)
    assert sorted(problem.partition(" missing")[0].rpartition(" ")[2] for problem in told) == [
        "binding[0].payload.rate_hz:",
        "binding[0].window:",
    ]


def test_a_broken_topic_of_a_binding_of_images_is_one_problem(tmp_path: Path) -> None:
    """Its captures are not asked for as well."""
    (problem,) = problems(tmp_path, AGENT, MQTT + IMAGES.replace("{form}/{field}/crop", "+/crop"))
    assert "binding[0].topic" in problem


def test_bindings_on_one_broker_do_not_meet(tmp_path: Path) -> None:
    """Neither in name nor in the messages that they take."""
    second = BINDING.replace("demo/{person}/imu", "demo/{person}/{kind}")
    assert problems(tmp_path, bindings=MQTT + BINDING + second) == [
        "bindings.toml:13: binding[1].name: 'motion' is taken by a binding above",
        "bindings.toml:16: binding[1].topic: binding 'motion' takes the same messages from demo/{person}/imu",
    ]


def test_bindings_on_two_brokers_may_take_equal_topics(tmp_path: Path) -> None:
    """They are different messages."""
    other = MQTT.replace("site", "plant").replace("localhost", "plant")
    second = BINDING.replace('"motion"', '"second"').replace('"site"', '"plant"')
    assert len(loaded(tmp_path, bindings=MQTT + other + BINDING + second).bindings.binding) == 2


def test_a_file_without_bindings_is_a_problem(tmp_path: Path) -> None:
    """The agent would have nothing to do."""
    (problem,) = problems(tmp_path, bindings="binding = []\n" + MQTT)
    assert "binding: no binding" in problem


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Each with its path."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "agent.toml")
    assert [problem.message for problem in caught.value.problems] == ["no such file"]
    tmp_path.joinpath("agent.toml").write_text(f'bindings = "other.toml"\n{AGENT}')
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "agent.toml")
    assert caught.value.problems[0].file == tmp_path / "other.toml"


def test_bindings_are_read_even_if_the_agents_file_cannot_say_where(tmp_path: Path) -> None:
    """A wrong type of the very key ends the search; anything else does not."""
    bindings = MQTT + BINDING.replace("rate_hz = 50", "rate_hz = 0")
    assert len(problems(tmp_path, f"bindings = 7\n{AGENT}", bindings)) == 1
    assert len(problems(tmp_path, f"nonsense = 7\n{AGENT}", bindings)) == 2
    assert len(problems(tmp_path, "= no TOML", bindings)) == 1


def test_a_pack_may_be_a_path(tmp_path: Path) -> None:
    """Taken from the folder of the bindings, wherever they are."""
    folder = tmp_path / "conf"
    folder.joinpath("layout").mkdir(parents=True)
    folder.joinpath("b.toml").write_text(MQTT + BINDING.replace("motion-band-edge@1.0.0", "./layout"))
    tmp_path.joinpath("agent.toml").write_text(f'bindings = "conf/b.toml"\n{AGENT}')
    config = load(tmp_path / "agent.toml")
    assert config.bindings.binding[0].is_pack_path
    assert config.pack_path("./layout") == folder / "layout"


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says, else the system's folder."""
    monkeypatch.delenv(ENVIRONMENT_KEY, raising=False)
    assert default_path() == DEFAULT_PATH
    monkeypatch.setenv(ENVIRONMENT_KEY, "/x/agent.toml")
    assert default_path() == Path("/x/agent.toml")


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("audit_rate = 1.5", "binding[0].escalation.audit_rate: expected 0 to 1"),
        ("always_escalate = ['a', 'a']", "binding[0].escalation.always_escalate: expected names, each once"),
        ("class_thresholds = { a = 2.0 }", "binding[0].escalation.class_thresholds.a: expected 0 to 1"),
        ("unscorable_per_minute = 0", "binding[0].escalation.unscorable_per_minute: expected more than 0"),
        ("ood_limit = 0", "binding[0].escalation.ood_limit: expected more than 0"),
    ],
)
def test_problems_of_escalation_rules(tmp_path: Path, rules: str, says: str) -> None:
    """Each names its key."""
    (problem,) = problems(tmp_path, AGENT, f"{MQTT}{BINDING}\n[binding.escalation]\n{rules}\n")
    assert says in problem


def test_a_budget_is_parted_into_pools() -> None:
    """Capacities are what the burst lets pile up; resources without a bound have no bucket."""
    budget = BudgetConfig(calls_per_hour=3600.0, burst_s=100.0)
    assert budget.is_bounded
    assert not BudgetConfig().is_bounded
    buckets = budget.settings().buckets
    assert {resource for resource, _ in buckets} == {Resource.CALLS}
    assert buckets[Resource.CALLS, Pool.AUDIT] == BucketSpec(20.0, 0.2)
    assert sum(one.per_s for one in buckets.values()) == pytest.approx(1.0)


OIP = "[oip]\n"
LOCAL = """\
[[binding]]
name = "motion"
pack = "motion-band-edge@1.0.0"
"""


def test_a_binding_of_local_calls_needs_no_broker(tmp_path: Path) -> None:
    """Without broker, topic, payload and result it answers callers only; the address is this machine's by default."""
    config = loaded(tmp_path, AGENT + OIP, LOCAL)
    (binding,) = config.bindings.binding
    assert (binding.is_fed, binding.takes_images, config.bindings.mqtt) == (False, False, {})
    assert config.agent.oip is not None
    assert config.agent.oip.address == Address("127.0.0.1", 8001)
    assert config.agent.oip.address.is_loopback
    assert loaded(tmp_path).agent.oip is None


def test_a_binding_of_local_calls_needs_the_table(tmp_path: Path) -> None:
    """Without [oip] nobody could ever ask it."""
    path = tmp_path / "agent.toml"
    message = f"without broker and topic it answers local calls only, and {path} has no [oip] table"
    assert problems(tmp_path, AGENT, LOCAL) == [
        f"bindings.toml:2: binding[0].topic: {message}".replace(f"{tmp_path}/", "")
    ]


@pytest.mark.parametrize("missing", ["broker", "topic", "payload", "result"])
def test_a_binding_of_messages_says_what_it_misses(tmp_path: Path, missing: str) -> None:
    """One of the four keys alone is missed, whichever it is."""
    lines = [line for line in BINDING.splitlines() if not line.startswith(f"{missing} =")]
    found = problems(tmp_path, AGENT + OIP, MQTT + "\n".join(lines))
    assert [one for one in found if f"binding[0].{missing}: missing" in one]


@pytest.mark.parametrize("key", ['partition = ["person"]', "window = { size_s = 1, hop_s = 0.5 }"])
def test_a_binding_of_local_calls_says_nothing_of_messages(tmp_path: Path, key: str) -> None:
    """What is about messages means nothing without them."""
    (found,) = problems(tmp_path, AGENT + OIP, f"{LOCAL}{key}\n")
    assert "means nothing without broker, topic, payload, result" in found


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("listen = 'nowhere'", "oip.listen: expected host:port"),
        ("max_waiters = 1000", "oip.max_waiters: expected 0 to 256"),
        ("max_message_bytes = 1", "oip.max_message_bytes: expected 4096 to"),
    ],
)
def test_problems_of_local_calls(tmp_path: Path, table: str, says: str) -> None:
    """Each is told with its key."""
    (found,) = problems(tmp_path, f"{AGENT}{OIP}{table}\n")
    assert says in found
