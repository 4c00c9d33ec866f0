"""Which pack answers for a name."""

from collections import Counter

import pytest

from cloud_hub.core.serving.routes import Route, newest, version_key


def test_versions_are_ordered_as_semantic_versioning_says() -> None:
    """The example of section 11, and numbers by value."""
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
    ordered += ["1.0.0-rc.1", "1.0.0", "1.9.0", "1.10.0"]
    assert sorted(set(ordered), key=version_key) == ordered


@pytest.mark.parametrize(
    ("versions", "found"),
    [(["1.0.0", "2.0.0-rc.1"], "1.0.0"), (["2.0.0-rc.1", "2.0.0-rc.2"], "2.0.0-rc.2"), ([], None)],
)
def test_the_newest_release_answers_for_a_name(versions: list[str], found: str | None) -> None:
    """A preview only where there is no release."""
    assert newest(versions) == found


def test_a_key_always_takes_the_same_target_and_many_keys_take_all_by_weight() -> None:
    """Nine to one, within what 2,000 keys show."""
    route = Route.of({"a@1.0.0": 9.0, "b@1.0.0": 1.0})
    taken = Counter(route.choose(f"key {number}").name for number in range(2000))
    assert 1740 < taken["a"] < 1860
    assert taken.total() == 2000
    assert all(route.choose("one") == route.choose("one") for _ in range(3))


@pytest.mark.parametrize(
    ("targets", "word"), [({}, "at least one"), ({"a@1.0.0": 0.0}, "more than 0"), ({"a": 1.0}, "name@1.2.3")]
)
def test_a_route_that_leads_nowhere_is_refused(targets: dict[str, float], word: str) -> None:
    """No target, no weight, no version."""
    with pytest.raises(ValueError, match=word):
        Route.of(targets)
