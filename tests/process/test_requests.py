"""What an agent asks, and what becomes of the answer: alive, parked, killed, late, twice, at once."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.process.board import PASSWORD, Board, Card, Project, board_in
from tests.process.client import Client
from tests.process.server import until

pytestmark = pytest.mark.both_databases


def open_request(board: Board, card: Card, *, timeout: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = board.api.get(f"{card.url}/agent/requests?state=open")
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(
        f"nothing was asked: {board.get(card)} {board.session(card)} {board.log(3000)}"
    )


def answer(board: Board, card: Card, request: Any, **body: Any) -> Any:
    return board.api.post(f"{card.url}/agent/requests/{request['id']}/answer", body)


def status_lines(board: Board, card: Card) -> list[str]:
    return [each["content"] for each in board.messages(card) if each["type"] == "status"]


def last_told(board: Board, card: Card, request: Any) -> Any:
    """The request as the events of its project leave it."""
    with board.watch() as watch:
        last = watch.subscribe(projectId=card.project.id, since=0)["data"]["seq"]
        watch.wait(lambda frame: frame.get("seq") == last, what="the last event")
        told = [
            frame["data"]
            for frame in watch.frames
            if frame["type"] == "agent.request" and frame["data"]["id"] == request["id"]
        ]
    return {name: value for name, value in told[-1].items() if name != "projectId"}


@contextlib.contextmanager
def worker_down(board: Board) -> Iterator[None]:
    """The worker is killed, and nobody starts another one meanwhile."""
    supervisor = board.supervisor
    supervisor.suspend()
    try:
        board.kill("worker")
        yield
    finally:
        supervisor.resume()


@pytest.fixture
def asking(board: Board) -> Project:
    return board.make_project(permissionMode="ask")


def test_an_agent_waits_for_leave_and_goes_on_with_it(board: Board, asking: Project) -> None:
    card = board.work(asking, "[ask-permission Deploy] [say deployed]")
    request = open_request(board, card)
    assert (request["kind"], request["title"]) == ("permission", "Deploy")
    assert request["toolCall"]["input"] == {"command": "Deploy"}
    assert [each["optionId"] for each in request["options"]] == ["yes", "no"]
    session = board.wait_status(card, "waiting")
    assert session["waitingFor"] == {"kind": "permission", "requestId": request["id"]}
    assert "waits for somebody's leave" in session["statusText"]

    answered = answer(board, card, request, optionId="yes")
    assert (answered["state"], answered["answer"]["granted"]) == ("answered", True)
    assert answered["answeredBy"]["name"] == "Alice"
    board.finish(card)
    assert board.texts(card) == ["deployed"]
    [stored] = board.api.get(f"{card.url}/agent/requests")
    assert stored["deliveredAt"] is not None
    assert last_told(board, card, stored) == stored
    board.assert_gapless(card)


def test_a_refusal_reaches_the_agent(board: Board, asking: Project) -> None:
    card = board.work(asking, "[ask-permission Deploy] [say deployed]")
    answer(board, card, open_request(board, card), optionId="no")
    board.finish(card)
    assert board.texts(card) == ["Refused."]


def test_unattended_work_is_allowed_without_asking(board: Board, project: Project) -> None:
    card = board.work(project, "[ask-permission Deploy] [say deployed]")
    board.finish(card)
    assert board.texts(card) == ["deployed"]
    assert board.api.get(f"{card.url}/agent/requests") == []


def test_a_question_is_answered_in_a_persons_words(board: Board, project: Project) -> None:
    card = board.work(project, "[question Which colour?|red|blue]")
    request = open_request(board, card)
    assert request["questions"][0]["options"][1]["value"] == "blue"
    url = f"{card.url}/agent/requests/{request['id']}/answer"
    for wrong in (
        {},
        {"answers": {"answer": "green"}},
        {"answers": {"other": "red"}},
        {"text": "x"},
    ):
        assert board.api.refusal("POST", url, wrong).status == 400
    answer(board, card, request, answers={"answer": "blue"})
    board.finish(card)
    assert board.texts(card) == ["answer blue"]


def test_a_plan_is_revised_by_feedback_and_then_approved(board: Board) -> None:
    project = board.make_project(permissionMode="plan")
    card = board.work(project, "[plan Do it quickly] [say never said]")
    first = open_request(board, card)
    assert (first["kind"], first["plan"]) == ("plan", "Do it quickly")
    answer(board, card, first, text="[plan Do it well] [say done]")
    second = open_request(board, card)
    assert second["plan"] == "Do it well"
    answer(board, card, second, optionId="start")
    board.finish(card)
    assert board.texts(card) == ["done"]
    plans = board.api.get(f"{card.url}/agent/requests")
    assert [each["plan"] for each in plans] == ["Do it well", "Do it quickly"]


def test_a_plan_refused_without_a_word_waits_for_a_message(board: Board) -> None:
    project = board.make_project(permissionMode="plan")
    card = board.work(project, "[plan Do it quickly] [say never said]")
    answer(board, card, open_request(board, card), optionId="keep")
    deadline = time.monotonic() + 10
    while (board.session(card)["waitingFor"] or {}).get("kind") != "message":
        assert time.monotonic() < deadline, board.session(card)
        time.sleep(0.05)
    assert board.get(card)["columnId"] == project.columns["In Progress"]
    board.api.post(f"{card.url}/agent/message", {"content": "[say something else]"})
    board.finish(card)
    assert board.texts(card) == ["something else"]


ANSWERS = 50
# By how many seconds the cancel goes before them, so that it comes first now and then.
LEADS = (0, 0, 0, 0.001, 0.003, 0.01)


@dataclass(frozen=True)
class Said:
    """What one of many answered, and what came back."""

    who: str
    option: str
    status: int
    body: Any


def join(board: Board, project: Project, name: str) -> Client:
    """A new member."""
    email = f"{name.lower()}@example.com"
    invited = board.api.post(f"/projects/{project.id}/members", {"email": email})
    account = {"email": email, "password": PASSWORD, "displayName": name}
    person = Client(board.port)
    person.post("/auth/register", account | {"inviteCode": invited["inviteCode"]})
    person.token = person.post("/auth/login", account)["token"]
    return person


def answer_at_once(
    url: str, people: dict[str, Client], stop: Callable[[], Any], lead: float
) -> list[Said]:
    """Everybody says yes and no many times, and somebody stops it."""
    said: list[Said] = []
    ready = threading.Barrier(ANSWERS + 1)

    def say(who: str, option: str) -> None:
        ready.wait()
        time.sleep(lead)
        said.append(Said(who, option, *people[who].ask("POST", url, {"optionId": option})))

    def stop_with_them() -> None:
        ready.wait()
        stop()

    chosen = itertools.islice(itertools.cycle(itertools.product(people, ("yes", "no"))), ANSWERS)
    threads = [threading.Thread(target=say, args=each) for each in chosen]
    threads.append(threading.Thread(target=stop_with_them))
    random.shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def assert_one_winner(
    board: Board, project: Project, people: dict[str, Client], lead: float
) -> None:
    card = board.work(project, "[ask-permission Deploy] [say deployed]")
    request = open_request(board, card)
    url = f"{card.url}/agent/requests/{request['id']}/answer"
    said = answer_at_once(url, people, lambda: board.api.post(f"{card.url}/agent/cancel"), lead)

    session = board.wait_status(card, "completed", "cancelled")
    [stored] = board.api.get(f"{card.url}/agent/requests")
    noted = [text for text in status_lines(board, card) if " chose “" in text]
    if stored["state"] == "answered":
        who, option = stored["answeredBy"]["name"], stored["answer"]["optionId"]
        assert stored["answer"]["granted"] == (option == "yes")
        assert len(noted) == 1
        assert noted[0].startswith(f"{who} chose")
        assert people[who].ask("POST", url, {"optionId": option})[0] == 200
        spoken = {"yes": "deployed", "no": "Refused."}[option]
        heard = board.texts(card)
        assert heard == [spoken] or (heard == [] and session["status"] == "cancelled")
    else:
        assert (stored["state"], session["status"]) == ("cancelled", "cancelled")
        who = option = None
        assert noted == board.texts(card) == []
    # The winner may repeat itself; everybody else, and the winner in other words, is too late.
    assert len(said) == ANSWERS
    for each in said:
        if (each.who, each.option) == (who, option):
            assert each.status == 200
            assert each.body["data"]["answer"] == stored["answer"]
        else:
            assert (each.status, each.body["error"]["code"]) == (409, "request_closed")
    assert board.api.get(f"{card.url}/agent/requests?state=open") == []
    assert last_told(board, card, stored) == stored


def test_the_first_answer_counts_and_the_same_again_is_no_error(
    board: Board, asking: Project
) -> None:
    with contextlib.closing(join(board, asking, "Bob")) as bob:
        for lead in LEADS:
            assert_one_winner(board, asking, {"Alice": board.api, "Bob": bob}, lead)


def test_a_permission_given_while_no_worker_lives_runs_the_tool_once(board: Board) -> None:
    project = board.make_project(permissionMode="ask")
    card = board.work(project, "[resumable] [ask-permission Deploy] [tool append done.txt once]")
    request = open_request(board, card)
    with worker_down(board):
        answer(board, card, request, optionId="yes")
        assert board.session(card)["status"] == "running"
    board.finish(card, timeout=40)
    assert (board.worktree(card) / "done.txt").read_text() == "once\n"
    assert len(board.api.get(f"{card.url}/agent/requests")) == 1
    board.assert_gapless(card)


def test_cancel_closes_what_is_open(board: Board, asking: Project) -> None:
    card = board.work(asking, "[ask-permission Deploy]")
    request = open_request(board, card)
    board.api.post(f"{card.url}/agent/cancel")
    board.wait_status(card, "cancelled")
    [stored] = board.api.get(f"{card.url}/agent/requests")
    assert stored["state"] == "cancelled"
    url = f"{card.url}/agent/requests/{request['id']}/answer"
    assert board.api.refusal("POST", url, {"optionId": "yes"}).code == "request_closed"


def test_a_waiting_agent_holds_no_slot(board: Board) -> None:
    project = board.make_project(permissionMode="ask", maxParallelAgents=1)
    first = board.work(project, "[ask-permission Deploy] [say deployed]")
    open_request(board, first)
    second = board.work(project, "[say hello]")
    board.finish(second)
    answer(board, first, open_request(board, first), optionId="yes")
    board.finish(first)


def test_a_parked_agent_needs_no_process_and_goes_on_with_the_answer(tmp_path: Path) -> None:
    with board_in(tmp_path, KANBAN_PARK_AFTER="1") as board:
        project = board.make_project(permissionMode="ask")
        script = "[resumable] [ask-permission Deploy] [tool append done.txt once]"
        card = board.work(project, script)
        request = open_request(board, card)
        until(lambda: not board.agents(), timeout=10, what="the agent's end")
        session = board.wait_status(card, "waiting")
        with board.watch() as watch:
            watch.subscribe(projectId=project.id, since=0)
            told = watch.wait(
                lambda frame: (
                    frame["type"] == "agent.status"
                    and "no process in memory" in (frame["data"]["statusText"] or "")
                ),
                what="that it was parked",
            )["data"]["statusText"]
        assert told == board.session(card)["statusText"]
        assert session["waitingFor"]["requestId"] == request["id"]
        assert told.endswith("an answer starts it again.")

        answer(board, card, request, optionId="yes")
        board.finish(card)
        assert (board.worktree(card) / "done.txt").read_text() == "once\n"
        assert len(board.prompts(card)) == 2
        assert "granted" in board.prompts(card)[1]
        [stored] = board.api.get(f"{card.url}/agent/requests")
        assert stored["deliveredAt"] is not None
        assert last_told(board, card, stored) == stored

        plan = board.make_project(permissionMode="plan")
        for option, text, end in (
            ("start", None, "completed"),
            ("keep", None, "waiting"),
            (None, "[say another way]", "completed"),
        ):
            card = board.work(plan, "[resumable] [plan Do it] [say done]")
            request = open_request(board, card)
            until(lambda: not board.agents(), timeout=10, what="the agent's end")
            body = {"optionId": option} if option else {"text": text}
            answer(board, card, request, **body)
            session = board.wait_status(card, end)
            if option == "start":
                assert "Your plan was approved" in board.prompts(card)[1]
            if end == "waiting":
                assert session["waitingFor"] == {"kind": "message"}
                board.api.post(f"{card.url}/agent/message", {"content": "[say go on]"})
                board.finish(card)


def test_an_agent_that_dies_while_it_waits_is_started_again_with_the_answer(
    board: Board, asking: Project
) -> None:
    card = board.work(asking, "[resumable] [ask-permission Deploy] [say deployed]")
    request = open_request(board, card)
    session = board.session(card)["sessionId"]
    [agent] = [each for each in board.agents() if session in each.environ()["BOARD_RUN"]]
    agent.kill()
    board.wait_said(card, "started again with the answer")
    assert board.session(card)["status"] == "waiting"
    answer(board, card, request, optionId="yes")
    board.finish(card)
    assert board.texts(card) == ["deployed"]


def test_a_limit_of_the_provider_is_waited_for(board: Board, project: Project) -> None:
    card = board.work(project, "[resumable] [say one] [limit-once 2] [say two]")
    session = board.wait_status(card, "waiting")
    assert session["waitingFor"]["kind"] == "limit"
    assert session["waitingFor"]["until"] > session["startedAt"]
    board.finish(card)
    assert board.texts(card) == ["one", "two"]
    assert "provider's limit, which is over" in board.prompts(card)[1]


def test_a_question_that_the_agent_does_not_wait_for_is_withdrawn_with_its_turn(
    board: Board, asking: Project
) -> None:
    card = board.work(asking, "[ask-and-go Deploy] [say went on] [sleep 1]")
    request = open_request(board, card)
    board.api.post(f"{card.url}/agent/message", {"content": "[sleep 1] [say next]"})
    board.finish(card)
    assert board.texts(card) == ["went on", "next"]
    [stored] = board.api.get(f"{card.url}/agent/requests")
    assert stored["state"] == "withdrawn"
    url = f"{card.url}/agent/requests/{request['id']}/answer"
    refused = board.api.refusal("POST", url, {"optionId": "yes"})
    assert (refused.status, refused.code) == (409, "request_closed")
