"""How a command asks the running agent: answered once, or told whether anything can have changed."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.adapters.sqlite.desk import FOLDER_MODE, RequestDesk, ask
from edge_agent.adapters.sqlite.handling import Action, Handled, Refusal
from edge_agent.adapters.sqlite.outbox import Subject
from edge_agent.adapters.sqlite.selection import Selection
from edge_agent.core.escalation import Outcome
from edge_agent.errors import StoreError
from edge_agent.ports import BindingName, RowId
from protos.messages.escalation import ItemClass, PredictionId
from protos.status import Status

DEADLINE_S = 30.0
DONE = Handled({Subject.ESCALATION: 2}, {Refusal.AT_THE_HUB: 1})
EVERY_PART = Selection(
    PredictionId("p1"), RowId(7), ItemClass.AUDIT, "hub", Outcome.SENT, BindingName("press"), older_than_s=1.5
)


def asked_with(desk: RequestDesk, question: Callable[[], Handled]) -> Handled | StoreError:
    """Ask from another thread while the desk answers."""
    found: list[Handled | StoreError] = []

    def run() -> None:
        try:
            found.append(question())
        except StoreError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        desk.answer_all()
        thread.join(0.01)
    return found[0]


def test_a_question_arrives_whole_and_its_answer_returns(tmp_path: Path) -> None:
    """Every part of the selection is as it was asked, and nothing is left in the folder."""
    heard: list[tuple[Action, Selection]] = []

    def handle(action: Action, selection: Selection) -> Handled:
        heard.append((action, selection))
        return DONE

    desk = RequestDesk(tmp_path / "requests", handle)
    desk.open()
    for selection in (EVERY_PART, Selection()):
        told = asked_with(desk, lambda: ask(tmp_path / "requests", Action.PURGE, selection, DEADLINE_S))  # noqa: B023 - called before the next turn
        assert told == DONE
    assert heard == [(Action.PURGE, EVERY_PART), (Action.PURGE, Selection())]
    assert list((tmp_path / "requests").iterdir()) == []


def test_only_the_agents_user_may_ask(tmp_path: Path) -> None:
    """The folder is nobody else's."""
    desk = RequestDesk(tmp_path / "requests", lambda *_asked: DONE)
    desk.open()
    assert (tmp_path / "requests").stat().st_mode & 0o777 == FOLDER_MODE


def test_what_the_store_cannot_do_is_the_askers_error(tmp_path: Path) -> None:
    """Message and mend come as the store said them."""

    def handle(*_asked: object) -> Handled:
        raise StoreError("disk full", "free space", Status.RESOURCE_EXHAUSTED)

    desk = RequestDesk(tmp_path / "requests", handle)
    desk.open()
    told = asked_with(desk, lambda: ask(tmp_path / "requests", Action.RETRY, Selection(), DEADLINE_S))
    assert isinstance(told, StoreError)
    assert (told.message, told.mend, told.status) == ("disk full", "free space", Status.RESOURCE_EXHAUSTED)


def test_an_agent_that_does_not_listen_changes_nothing_later(tmp_path: Path) -> None:
    """The question is taken back before the asker is told so."""
    (tmp_path / "requests").mkdir()
    with pytest.raises(StoreError, match="nothing was changed"):
        ask(tmp_path / "requests", Action.PURGE, Selection(), 0.1)
    assert list((tmp_path / "requests").iterdir()) == []


def test_a_question_that_is_being_answered_is_not_said_to_have_done_nothing(tmp_path: Path) -> None:
    """It was claimed and no answer came: the asker is told to look."""
    folder = tmp_path / "requests"
    claimed, may_end = threading.Event(), threading.Event()

    def handle(*_asked: object) -> Handled:
        claimed.set()
        may_end.wait(DEADLINE_S)
        return DONE

    desk = RequestDesk(folder, handle)
    desk.open()
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.wait(0.01):
            desk.answer_all()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(StoreError, match="may still be at it"):
            ask(folder, Action.PURGE, Selection(), 2.0)
        assert claimed.is_set()
    finally:
        is_over.set()
        may_end.set()
        thread.join(DEADLINE_S)


def test_without_an_agent_of_this_release_there_is_no_folder(tmp_path: Path) -> None:
    """The mend says who may ask."""
    with pytest.raises(StoreError) as caught:
        ask(tmp_path / "requests", Action.PURGE, Selection(), 0.1)
    assert "as the agent's user" in caught.value.mend


def test_what_cannot_be_read_is_gone_and_the_desk_goes_on(tmp_path: Path) -> None:
    """Neither nonsense nor an unknown action stops the next question."""
    folder = tmp_path / "requests"
    desk = RequestDesk(folder, lambda *_asked: DONE)
    desk.open()
    for number, nonsense in enumerate((b"{", b'{"action": "burn", "selection": {}}', b"[]", b"{}")):
        (folder / f"{number}.asked").write_bytes(nonsense)
    desk.answer_all()
    assert list(folder.iterdir()) == []


def test_what_was_asked_of_an_agent_that_ended_is_forgotten(tmp_path: Path) -> None:
    """A purge does not come true days later."""
    folder = tmp_path / "requests"
    folder.mkdir()
    (folder / "old.asked").write_bytes(b"{}")
    (folder / "old.answered").write_bytes(b"{}")
    RequestDesk(folder, lambda *_asked: DONE).open()
    assert list(folder.iterdir()) == []
