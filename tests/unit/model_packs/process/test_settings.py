"""What a config file may say, and how all of its mistakes are told at once."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_packs.process.exits import Exit
from model_packs.process.settings import SettingsError, load_toml, sample_toml, setting
from model_packs.process.toml_sample import to_toml


class Egress(StrEnum):
    """A choice, as an enum."""

    RAW = "raw"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A nested table."""

    address: str = setting(doc="Where the hub listens.", example="hub.example:8443")
    timeout_s: float = setting(5.0, doc="Seconds to wait for an answer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """An item of an array of tables."""

    topic: str = setting(doc="MQTT topic.", example="press/+/vibration")
    egress: Egress = setting(Egress.RAW, doc="What may leave the device.")
    on_full: Literal["block", "drop"] = setting("drop", doc="What happens on full.")
    channels: tuple[str, ...] = setting((), doc="Channel names.", example=("x", "y"))

    def validate(self) -> Iterable[tuple[str, str]]:
        """A rule that types cannot say."""
        if "#" in self.topic:
            yield "topic", "must not hold a multi-level wildcard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole file."""

    device: str = setting(doc="Name of the device. " * 12, example="press-07")
    state: Path = setting(Path("state"), doc="Where state is kept.")
    limit: int | None = setting(None, doc="Most messages.", example=100)
    is_verbose: bool = setting(default=False, doc="Say more.")
    tags: Mapping[str, str] = setting(dict, doc="Free text by name.")
    hub: Hub | None = setting(None, doc="The hub.")
    local: Hub = setting(doc="A required table.")
    bindings: tuple[Binding, ...] = setting((), doc="What is watched.", example=True)
    brokers: Mapping[str, Hub] = setting(dict, doc="Brokers by name.", example="plant")


MINIMAL = 'device = "d"\n[local]\naddress = "a"\n'


def load(tmp_path: Path, text: str) -> Config:
    """Load a text as a config."""
    path = tmp_path / "edge.toml"
    path.write_text(text)
    return load_toml(path, Config)


def problems_of(tmp_path: Path, text: str) -> list[str]:
    """Load a bad text and return its problems without the file's folder."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def test_defaults_fill_what_the_file_leaves_out(tmp_path: Path) -> None:
    """A minimal file gives every default, and paths are taken from the file's folder."""
    config = load(tmp_path, MINIMAL)
    assert config == Config(device="d", state=tmp_path / "state", local=Hub(address="a"))


def test_every_form_of_value_is_read(tmp_path: Path) -> None:
    """Tables, arrays of tables, named tables, enums and integers for numbers arrive as declared types."""
    config = load(
        tmp_path,
        MINIMAL + 'timeout_s = 3\n[hub]\naddress = "h"\n[[bindings]]\ntopic = "t"\negress = "never"\nchannels = ["x"]\n'
        '[brokers.plant]\naddress = "b"\n[tags]\nsite = "north"\n',
    )
    assert config.local.timeout_s == 3.0
    assert isinstance(config.local.timeout_s, float)
    assert config.hub == Hub(address="h")
    assert config.bindings == (Binding(topic="t", egress=Egress.NEVER, channels=("x",)),)
    assert config.brokers == {"plant": Hub(address="b")}
    assert config.tags == {"site": "north"}


def test_all_mistakes_are_listed_at_once_with_lines_and_nearest_keys(tmp_path: Path) -> None:
    """Unknown, missing, mistyped, out-of-choice and invalid values come together, in the order of the file."""
    text = (
        'devise = "d"\nlimit = "many"\nis_verbose = 1\n'
        "[local]\ntimeout_s = true\n"
        '[[bindings]]\ntopic = "a/#"\n'
        '[[bindings]]\ntopc = "a"\negress = "x"\non_full = 3\nchannels = ["x", 3]\n'
        "[brokers]\nplant = 3\n"
    )
    assert problems_of(tmp_path, text) == [
        'edge.toml:1: devise: unknown key; did you mean "device"?',
        'edge.toml:2: limit: expected an integer, found the string "many"',
        "edge.toml:3: is_verbose: expected true or false, found the number 1",
        "edge.toml:4: local.address: missing; a string is required",
        "edge.toml:5: local.timeout_s: expected a number, found true",
        "edge.toml:7: bindings[0].topic: must not hold a multi-level wildcard",
        "edge.toml:8: bindings[1].topic: missing; a string is required",
        'edge.toml:9: bindings[1].topc: unknown key; did you mean "topic"?',
        'edge.toml:10: bindings[1].egress: expected one of "raw", "never", found the string "x"',
        'edge.toml:11: bindings[1].on_full: expected one of "block", "drop", found the number 3',
        "edge.toml:12: bindings[1].channels[1]: expected a string, found the number 3",
        "edge.toml:13: brokers: expected a table of tables ([brokers.<name>]), found a table",
        "edge.toml: device: missing; a string is required",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("device = \n", "edge.toml:1: not valid TOML"),
        ('device = "d"\nlocal = 3\n', "edge.toml:2: local: expected a table, found the number 3"),
        (MINIMAL + "[bindings]\n", "edge.toml:4: bindings: expected an array of tables ([[bindings]]), found a table"),
        (
            MINIMAL + '[[bindings]]\ntopic = "t"\negress = "nevr"\n',
            'edge.toml:6: bindings[0].egress: expected one of "raw", "never", found the string "nevr"; did you mean "n',
        ),
        ("tags = { a = 1 }\n" + MINIMAL, "edge.toml:1: tags.a: expected a string, found the number 1"),
    ],
)
def test_a_single_mistake_names_its_place(tmp_path: Path, text: str, problem: str) -> None:
    """The one problem starts with file, line and key."""
    assert problems_of(tmp_path, text)[0].startswith(problem)


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    """No such file ends with the exit code for bad config and names the file."""
    with pytest.raises(SettingsError, match=r"nowhere\.toml: no such file") as caught:
        load_toml(tmp_path / "nowhere.toml", Config)
    assert caught.value.exit is Exit.CONFIG
    assert caught.value.mend.startswith("write it first (the program's init command makes a commented one)")
    with pytest.raises(SettingsError) as caught:
        load_toml(tmp_path / "nowhere.toml", Config, absent_mend="tool new makes one")
    assert caught.value.mend == "tool new makes one"


def test_a_folder_is_not_taken_for_a_config(tmp_path: Path) -> None:
    """There is nothing to correct in it; the mend says so."""
    with pytest.raises(SettingsError, match="is a folder") as caught:
        load_toml(tmp_path, Config)
    assert caught.value.mend == "name the file in it, not the folder"


def test_bytes_that_are_no_text_are_a_config_error(tmp_path: Path) -> None:
    """A file in another encoding is named as such."""
    (tmp_path / "edge.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_toml(tmp_path / "edge.toml", Config)


def test_a_key_inside_a_text_of_many_lines_is_not_taken_for_a_key(tmp_path: Path) -> None:
    """Line numbers survive triple-quoted strings that look like TOML."""
    text = 'device = """\nlimit = 3\n"""\nlimit = "x"\n[local]\naddress = "a"\n'
    assert problems_of(tmp_path, text) == ['edge.toml:4: limit: expected an integer, found the string "x"']


def test_the_sample_loads_as_it_stands(tmp_path: Path) -> None:
    """Required keys carry their example, everything else its default."""
    config = load(tmp_path, sample_toml(Config))
    assert config.device == "press-07"
    assert config.hub is None
    assert config.bindings == (Binding(topic="press/+/vibration"),)
    assert config.brokers == {"plant": Hub(address="hub.example:8443")}


def test_the_sample_loads_with_every_key_uncommented(tmp_path: Path) -> None:
    """The commented-out lines are valid, too."""
    config = load(tmp_path, re.sub(r"^#(?! )", "", sample_toml(Config), flags=re.MULTILINE))
    assert config.limit == 100
    assert config.hub == Hub(address="hub.example:8443")
    assert config.bindings[0].channels == ("x", "y")


def test_the_sample_documents_every_key() -> None:
    """Each key's documentation stands in the sample, wrapped to a readable width."""
    sample = sample_toml(Config)
    assert "# Seconds to wait for an answer." in sample
    assert max(len(line) for line in sample.splitlines()) <= 100


def test_an_optional_value_is_shown_live_where_it_says_so() -> None:
    """A sample that would not be valid without it shows it."""

    @dataclass(frozen=True, kw_only=True)
    class Rates:
        """A value that some combinations need."""

        rate_hz: float | None = setting(None, doc="A rate.", example=50.0, is_shown=True)
        limit_hz: float | None = setting(None, doc="Another.", example=9.0)

    assert [line for line in sample_toml(Rates).splitlines() if "=" in line] == ["rate_hz = 50.0", "#limit_hz = 9.0"]


def test_a_required_key_without_an_example_is_a_mistake_of_the_program() -> None:
    """The sample cannot be written without it."""

    @dataclass(frozen=True, kw_only=True)
    class Bare:
        """A config that forgets its example."""

        name: str = setting(doc="A name.")

    with pytest.raises(TypeError, match="name has no default and needs an example"):
        sample_toml(Bare)


@given(
    st.text(st.characters(codec="utf-8"), max_size=50),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**60), 2**60),
)
def test_values_written_as_toml_read_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: float, count: int
) -> None:
    """`to_toml` and `load_toml` are inverse for strings, numbers and arrays."""

    @dataclass(frozen=True, kw_only=True)
    class Values:
        """One of each."""

        texts: tuple[str, ...] = setting(doc="Texts.")
        number: float = setting(doc="A number.")
        count: int = setting(doc="An integer.")

    path = tmp_path_factory.mktemp("values") / "values.toml"
    path.write_text(f"texts = {to_toml([text, text])}\nnumber = {to_toml(number)}\ncount = {to_toml(count)}\n", "utf-8")
    assert load_toml(path, Values) == Values(texts=(text, text), number=number, count=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A table with a rule of its own over items that have theirs."""

    bindings: tuple[Binding, ...] = setting(doc="What is watched.")

    def validate(self) -> Iterable[tuple[str, str]]:
        """A rule over the whole table."""
        if len(self.bindings) > 1:
            yield "bindings", "only one"


def test_a_rule_that_fails_inside_does_not_hide_one_outside(tmp_path: Path) -> None:
    """Both are told at once: the reader mends everything in one go."""
    path = tmp_path / "edge.toml"
    path.write_text('[[bindings]]\ntopic = "a/#"\n[[bindings]]\ntopic = "b"\n')
    with pytest.raises(SettingsError) as caught:
        load_toml(path, Parent)
    assert [problem.key_path for problem in caught.value.problems] == ["bindings[0].topic", "bindings"]


def test_rules_of_inner_and_outer_tables_are_told_together(tmp_path: Path) -> None:
    """What one table's rule finds does not hide what the rule of the table around it finds."""

    @dataclass(frozen=True, kw_only=True)
    class Outer:
        """A table with a rule over its inner ones."""

        bindings: tuple[Binding, ...] = setting(doc="Bindings.")

        def validate(self) -> Iterable[tuple[str, str]]:
            """There must be two."""
            if len(self.bindings) != 2:
                yield "bindings", "must be two"

    path = tmp_path / "outer.toml"
    path.write_text('[[bindings]]\ntopic = "#"\n')
    with pytest.raises(SettingsError) as caught:
        load_toml(path, Outer)
    assert {problem.key_path for problem in caught.value.problems} == {"bindings", "bindings[0].topic"}
