"""Input is read as it is declared: what does not fit is named, all of it at once, and described by the same words."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.adapters.http.api.fields import (
    Choice,
    Field,
    Flag,
    Group,
    Items,
    Number,
    Text,
    Whole,
    read_body,
    read_query,
)
from cloud_hub.errors import RequestInvalidError
from model_packs.strict_json import canonical

INNER = Group((Field("binding", Text(5), "Which one.", is_required=True), Field("pack", Text(9), "What.")))
GROUP = Group(
    (
        Field("name", Text(4, pattern="[a-z]+", pattern_said="small letters"), "A name.", is_required=True),
        Field("note", Text(3, least=0, is_nullable=True), "A note.", default="-"),
        Field("count", Whole(1, 10), "How many.", default=5),
        Field("hours", Number(above=0, most=2), "How long."),
        Field("agrees", Flag(), "Whether."),
        Field("role", Choice(("viewer", "operator")), "Which."),
        Field("slots", Items(INNER, 1, 2), "Some."),
    )
)
MAX = 1000


def problems(data: bytes) -> dict[str, str]:
    """What is said of a body."""
    with pytest.raises(RequestInvalidError) as caught:
        read_body(GROUP, data, MAX)
    return {one.at: one.problem for one in caught.value.problems}


def test_what_is_not_given_has_its_default() -> None:
    """Only what is required must be there."""
    read = read_body(GROUP, b'{"name": "ann"}', MAX)
    assert (read["name"], read["note"], read["count"], read["hours"], read["slots"]) == ("ann", "-", 5, None, None)


def test_half_of_a_surrogate_pair_is_refused_by_name_wherever_it_stands() -> None:
    """JSON can escape it, but nothing can store or show it."""
    assert problems(b'{"name": "ann", "note": "\\ud800"}') == {
        "note": "expected text: half of a surrogate pair stands in it"
    }
    (place,) = problems(b'{"name": "ann", "\\ud800": 1}')
    assert place == "\\ud800"


def test_every_problem_is_named_at_once_with_its_place() -> None:
    """Wrong kinds, bounds, unknown and missing keys, and what is wrong deep inside."""
    body = {
        "nam": "x",
        "note": 3,
        "count": True,
        "hours": 0,
        "agrees": "yes",
        "role": "king",
        "slots": [{"binding": "toolong", "x": 1}, 7],
    }
    assert problems(canonical(body)) == {
        "nam": 'is not known: did you mean "name"?',
        "name": "is missing: A name.",
        "note": "expected text of 0 to 3 characters or null",
        "count": "expected a whole number from 1 to 10",
        "hours": "expected a number above 0, at most 2",
        "agrees": "expected true or false",
        "role": "expected one of viewer, operator",
        "slots[0].binding": "expected text of 1 to 5 characters",
        "slots[0].x": "is not known: it takes binding, pack",
        "slots[1]": "expected an object",
    }
    assert problems(b'{"name": "Ann", "slots": []}') == {
        "name": "expected small letters",
        "slots": "expected a list of 1 to 2 entries",
    }


@pytest.mark.parametrize("data", [b"[", b"\xff", b'{"a": 1, "a": 1}', b"NaN", b" " * (MAX + 1), b"[" * 900])
def test_what_is_no_json_is_told_so(data: bytes) -> None:
    """Broken, doubled, too large or too deep: the body as a whole is the place."""
    assert list(problems(data)) == ["body"]


def test_a_body_that_is_no_object_is_told_so() -> None:
    """A list is none."""
    assert problems(b"[]") == {"body": "expected an object"}


def test_an_empty_body_is_an_object_without_keys() -> None:
    """Whoever sends nothing is told what is missing."""
    assert problems(b"") == {"name": "is missing: A name."}


def test_a_query_is_read_as_text_of_the_same_fields() -> None:
    """Numbers and truth are words there; what does not fit is named alike."""
    pairs = [("name", "ann"), ("count", "7"), ("hours", "0.5"), ("agrees", "false"), ("note", "")]
    read = read_query(GROUP, pairs)
    assert (read["count"], read["hours"], read["agrees"], read["note"]) == (7, 0.5, False, "")
    wrong = [("name", "1"), ("count", "x"), ("hours", "nan"), ("agrees", "no"), ("slots", "a"), ("z", "1")]
    with pytest.raises(RequestInvalidError) as caught:
        read_query(GROUP, wrong)
    assert [one.at for one in caught.value.problems] == ["agrees", "count", "hours", "name", "slots", "z"]
    with pytest.raises(RequestInvalidError, match="count: stands twice"):
        read_query(GROUP, [("count", "1"), ("count", "2")])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "note", "count", "slots", "binding", "pack", "?"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_what_is_read_is_what_the_description_takes(value: object) -> None:
    """Whatever is sent, the reader and its own JSON Schema agree about it, and nothing else is raised."""
    data = canonical(value)
    try:
        read_body(GROUP, data, 10**6)
    except RequestInvalidError:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, GROUP.schema())
    else:
        jsonschema.validate(value, GROUP.schema())
