"""Dedupe keys are bounded by number and by age."""

from edge_agent.inference.dedupe import SeenKeys


def test_keys_go_once_they_are_too_old_a_few_with_each_new_one() -> None:
    """A quiet week's keys do not all have to be forgotten in one commit."""
    seen = SeenKeys(100, 60.0, [b"%d" % number for number in range(10)], 5.0)
    assert seen.add(b"a", 65.0) == []
    forgotten = [seen.add(b"b", 66.0), seen.add(b"c", 66.0), seen.add(b"d", 66.0), seen.add(b"e", 66.0)]
    assert [len(one) for one in forgotten] == [4, 4, 2, 0]
    assert forgotten[0] == [b"0", b"1", b"2", b"3"]
    assert b"0" not in seen
    assert all(key in seen for key in (b"a", b"b", b"c", b"d", b"e"))


def test_young_keys_go_only_when_there_are_too_many() -> None:
    """The number bounds a burst, whatever the age."""
    seen = SeenKeys(2, 60.0)
    assert [seen.add(key, 1.0) for key in (b"a", b"b", b"c")] == [[], [], [b"a"]]
