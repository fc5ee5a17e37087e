from __future__ import annotations

import threading
import time

import pytest

from tests.process.board import Board, Project
from tests.process.server import until

pytestmark = pytest.mark.both_databases


def say(board: Board, url: str, text: str) -> dict[str, object]:
    answer: dict[str, object] = board.api.post(f"{url}/agent/message", {"content": text})
    return answer


def test_follow_ups_wait_for_the_turns_end_and_are_sent_once_in_their_order(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say first] [sleep 1]")
    board.wait_said(card, "first")
    for number in range(3):
        queued = say(board, card.url, f"[say answer {number}]")
        assert queued["queued"] is True
        assert queued["index"] is None
    waiting = [each["content"] for each in board.messages(card) if each["queued"]]
    assert waiting == [f"[say answer {number}]" for number in range(3)]

    board.finish(card)
    board.assert_gapless(card)
    assert board.texts(card) == ["first", "answer 0", "answer 1", "answer 2"]
    assert board.prompts(card)[1:] == [f"[say answer {number}]" for number in range(3)]
    assert not [each for each in board.messages(card) if each["queued"]]
    assert len(board.api.get(f"{card.url}/agent/sessions")) == 1


def test_messages_posted_as_turns_end_are_each_sent_exactly_once(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say go]")
    board.wait_said(card, "go")
    texts = [f"[say m{person}.{number}]" for person in range(4) for number in range(25)]

    def post(person: int) -> None:
        for text in texts[person * 25 : person * 25 + 25]:
            say(board, card.url, text)
            time.sleep(0.02)

    people = [threading.Thread(target=post, args=[person]) for person in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    deadline = time.monotonic() + 30
    while len(board.prompts(card)) < 101 and time.monotonic() < deadline:
        time.sleep(0.2)
    board.finish(card, timeout=30)
    assert sorted(board.prompts(card)[1:]) == sorted(texts)
    board.assert_gapless(card)
    assert len(board.api.get(f"{card.url}/agent/sessions")) == 1


def test_a_message_to_an_ended_session_resumes_the_same_conversation(
    board: Board, project: Project
) -> None:
    card = board.work(project, "[say one]")
    first = board.finish(card)
    say(board, card.url, "[say two]")
    board.wait_said(card, "two")
    again = board.finish(card)
    assert again["sessionId"] == first["sessionId"]
    # Loading the conversation replays it; what was stored already is not stored again.
    assert board.texts(card) == ["one", "two"]


def test_a_message_to_a_card_that_never_had_an_agent_is_a_conflict(
    board: Board, project: Project
) -> None:
    card = board.card(project, "[say hi]")
    refused = board.api.refusal("POST", f"{card.url}/agent/message", {"content": "hi"})
    assert (refused.status, refused.code) == (409, "no_session")


def test_a_follow_up_posted_before_the_end_keeps_the_card_from_advancing(
    board: Board, project: Project
) -> None:
    card = board.card(project, "[say one] [sleep 1]")
    board.api.patch(f"{card.url}/auto-mode", {"enabled": True})
    board.move(card)
    board.wait_said(card, "one")
    say(board, card.url, "[sleep 1] [say two]")
    until(lambda: len(board.prompts(card)) == 2, what="the second turn")
    time.sleep(0.5)
    assert board.get(card)["columnId"] == project.columns["In Progress"]
    board.finish(card)
    assert board.get(card)["columnId"] == project.columns["Done"]


def send_now(board: Board, url: str, message: dict[str, object]) -> dict[str, object]:
    answer: dict[str, object] = board.api.post(f"{url}/agent/messages/{message['id']}/send-now")
    return answer


def test_a_message_sent_now_ends_the_turn_and_comes_next(board: Board, project: Project) -> None:
    card = board.work(project, "[say first] [sleep 30] [say never]")
    board.wait_said(card, "first")
    say(board, card.url, "[say later]")
    urgent = say(board, card.url, "[say urgent]")
    assert send_now(board, card.url, urgent)["queued"] is True
    board.finish(card)
    assert board.texts(card) == ["first", "urgent", "later"]
    assert send_now(board, card.url, urgent)["queued"] is False
    assert len(board.prompts(card)) == 3
    board.assert_gapless(card)


def test_a_message_sent_now_needs_no_agent_that_obeys(board: Board, project: Project) -> None:
    card = board.work(project, "[ignore-cancel] [say first] [sleep 60]")
    board.wait_said(card, "first")
    urgent = say(board, card.url, "[say urgent]")
    send_now(board, card.url, urgent)
    board.finish(card)
    assert board.texts(card) == ["first", "urgent"]
    assert board.prompts(card)[1:] == ["[say urgent]"]
    said = [each for each in board.messages(card) if each["role"] == "assistant"]
    assert [each["partial"] for each in said] == [True, False]


def test_a_message_sent_now_comes_next_after_a_crash_too(board: Board, project: Project) -> None:
    card = board.work(project, "[say first] [sleep 60]")
    board.wait_said(card, "first")
    urgent = say(board, card.url, "[say urgent]")
    supervisor = board.supervisor
    supervisor.suspend()
    try:
        board.kill("worker")
        send_now(board, card.url, urgent)
    finally:
        supervisor.resume()
    board.finish(card, timeout=40)
    assert board.texts(card) == ["first", "urgent"]
    assert board.prompts(card)[1:] == ["[say urgent]"]


def test_a_dropped_message_stays_readable_and_is_never_sent(board: Board, project: Project) -> None:
    card = board.work(project, "[say first] [sleep 1]")
    board.wait_said(card, "first")
    queued = say(board, card.url, "[say dropped]")
    url = f"{card.url}/agent/messages/{queued['id']}"
    board.api.delete(url)
    board.api.delete(url)
    board.finish(card)
    assert board.texts(card) == ["first"]
    [kept] = [each for each in board.messages(card) if each["dropped"]]
    assert kept["content"] == "[say dropped]"
    assert board.api.refusal("POST", f"{url}/send-now").code == "message_dropped"
    first = board.messages(card)[0]
    refused = board.api.refusal("DELETE", f"{card.url}/agent/messages/{first['id']}")
    assert refused.code == "message_sent"


def test_a_conversation_that_cannot_go_on_says_why(board: Board, project: Project) -> None:
    card = board.work(project, "[say one]")
    board.finish(card)
    board.move(card, "Done")
    board.api.patch(f"/projects/{project.id}", {"agent": "absent"})
    say(board, card.url, "[say two]")
    session = board.wait_status(card, "failed")
    assert session["error"]["code"] == "not_resumable"
    assert "no-such-agent-program" in session["error"]["message"]
    assert board.get(card)["deferred"] is False
    board.api.patch(f"/projects/{project.id}", {"agent": "fake"})
    say(board, card.url, "[say three]")
    board.finish(card)
    assert board.texts(card) == ["one", "two", "three"]
