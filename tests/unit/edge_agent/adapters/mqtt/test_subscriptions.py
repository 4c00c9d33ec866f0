"""What is remembered of the filters in the broker's session."""

from pathlib import Path

from edge_agent.adapters.mqtt.subscriptions import RememberedFilters


def test_filters_come_back(tmp_path: Path) -> None:
    """Over a restart, and the folder is made on the way."""
    path = tmp_path / "mqtt" / "plant.json"
    RememberedFilters(path).save(frozenset({"a/+", "b"}))
    assert RememberedFilters(path).load() == {"a/+", "b"}


def test_nothing_readable_is_nothing_remembered(tmp_path: Path) -> None:
    """Absent, damaged or of another kind: empty, never a failure."""
    path = tmp_path / "plant.json"
    assert RememberedFilters(path).load() == frozenset()
    for content in ("{", '{"a": 1}', "[1, 2]"):
        path.write_text(content)
        assert RememberedFilters(path).load() == frozenset()


def test_a_disk_that_refuses_is_no_failure(tmp_path: Path) -> None:
    """Inference shares fate with no file."""
    (tmp_path / "file").touch()
    remembered = RememberedFilters(tmp_path / "file" / "plant.json")
    remembered.save(frozenset({"a"}))
    assert remembered.load() == frozenset()
