"""What watchers see of the store: everything once, at its newest, in order, also after a restart or a migration."""

from pathlib import Path

from edge_agent.adapters.sqlite import schema
from edge_agent.adapters.sqlite.store import FILE_NAME, StoreSettings
from protos.messages.escalation import Ack, ItemClass
from tests.unit.edge_agent.adapters.sqlite.builders import Opened, limits, open_store, record_unit, verdict
from tests.unit.edge_agent.adapters.sqlite.test_feedback import answer, with_answers


def told(opened: Opened, place: int = 0) -> list[tuple[str, str]]:
    """What came or changed since then: id and status."""
    return [(str(one.event["id"]), str(one.event["status"])) for one in opened.store.news.since(place, 100)]


def test_what_changes_moves_to_the_end(tmp_path: Path) -> None:
    """A revised prediction is told once, at its newest, after those that came meanwhile."""
    opened = with_answers(tmp_path, "p1", "p2")
    first = opened.store.news.last()
    opened.store.book.answered(verdict("p1", 1)).result()
    assert told(opened) == [("p2", "provisional"), ("p1", "revised")]
    assert told(opened, first) == [("p1", "revised")]
    assert opened.store.news.last() > first
    opened.store.close()


def test_the_same_prediction_again_is_no_news(tmp_path: Path) -> None:
    """A window that is answered twice after a crash has one place."""
    opened = with_answers(tmp_path, "p1")
    place = opened.store.news.last()
    opened.commit(record_unit(opened.store, b"again", answer(opened, "p1")))
    assert told(opened, place) == []
    opened.store.close()


def test_places_go_on_after_a_restart(tmp_path: Path) -> None:
    """A watcher that comes back later goes on where it was."""
    opened = with_answers(tmp_path, "p1")
    place = opened.store.news.last()
    opened.store.close()
    again = open_store(tmp_path)
    again.commit(record_unit(again.store, b"k9", answer(again, "p2")))
    assert told(again, place) == [("p2", "provisional")]
    again.store.close()


def test_a_forgotten_prediction_is_no_news(tmp_path: Path) -> None:
    """Its place goes with it."""
    settings = StoreSettings(limits(), 3600.0, dead_letter_max_bytes=1 << 18, predictions_kept=1)
    opened = with_answers(tmp_path, "p1", "p2", escalate=False, settings=settings)
    opened.store.sweep()
    assert told(opened) == [("p2", "final")]
    assert opened.store.news.newest("p1") is None
    opened.store.close()
    connection = schema.open_reader(tmp_path / FILE_NAME)
    assert connection.execute("SELECT count(*) FROM news").fetchone() == (1,)
    connection.close()


def test_the_newest_event_says_how_its_escalation_stands_now(tmp_path: Path) -> None:
    """Also where the published event was made before."""
    opened = with_answers(tmp_path, "p1")
    opened.store.book.sent([(ItemClass.ESCALATION, 1)])
    opened.store.book.acked(Ack(ItemClass.ESCALATION, ((1, 1),)))
    newest = opened.store.news.newest("p1")
    assert newest is not None
    assert newest["escalation"] == {"reason": "low_confidence", "outcome": "acked"}
    opened.store.close()


def test_a_file_of_an_older_agent_has_its_predictions_as_news(tmp_path: Path) -> None:
    """In the order in which they were made."""
    connection = schema.open_writer(tmp_path / FILE_NAME, schema.MIGRATIONS[:3])
    for name in ("b", "a"):
        connection.execute(
            "INSERT INTO prediction VALUES (NULL, ?, 'press', '{}', 0, 'final', 'plant', 't', 1, NULL, 0, 0, '', 0)",
            (name,),
        )
    connection.close()
    connection = schema.open_writer(tmp_path / FILE_NAME)
    rows = connection.execute("SELECT prediction_id FROM news ORDER BY number").fetchall()
    connection.close()
    assert rows == [("b",), ("a",)]


def test_a_commit_ends_the_wait_of_watchers(tmp_path: Path) -> None:
    """They look at once, not when their time is over."""
    opened = with_answers(tmp_path, "p1")
    seen = opened.store.news.wait(0, 0.0)
    opened.store.book.answered(verdict("p1", 1)).result()
    assert opened.store.news.wait(seen, 30.0) > seen
    opened.store.close()
