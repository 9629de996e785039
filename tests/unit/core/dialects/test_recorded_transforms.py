"""Recorded requests whose conversation is changed, and recorded answers that are gone on from.

Recordings: public test cassettes (MIT, Apache-2.0), by HOLDFAST_DATA or beside the repository.
"""

import json
from collections import Counter
from contextlib import suppress

import pytest

from proxy.core.changes import Changes, Given
from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName, Request
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest
from proxy.simulator import chat_read, messages_read, responses_read
from proxy.simulator.conversation import Rejected
from proxy.simulator.memory import Memory
from tests.unit.core.dialects.metering import Json, recordings
from tests.unit.core.dialects.test_chat_recordings import full_set

pytestmark = pytest.mark.data

P = Given(ToolCall("put_back", "f", "{}"), "sent")
DONE = "what the call came to"
NOTE = "You have done that before."


def is_taken(dialect: DialectName, body: bytes) -> bool:
    """Whether the simulator, which holds requests to the provider's rules, takes it."""
    read: Json = json.loads(body)
    try:
        if dialect == "chat":
            chat_read.read(read)
        elif dialect == "messages":
            messages_read.read(read)
        else:
            responses_read.read(read, Memory())
    except Rejected:
        return False
    return True


def recorded(dialect: DialectName) -> list[tuple[bytes, Request, Json]]:
    found = []
    chats = (one for one in full_set() if one["endpoint"] == "chat.completions")
    for record in chats if dialect == "chat" else recordings(dialect):
        sent, response = record["request"], record["response"]
        assert isinstance(sent, dict)
        assert isinstance(response, dict)
        body = (sent["body"] or "").encode()
        with suppress(MalformedRequest):  # which may be is for other tests to say
            found.append((body, DIALECTS[dialect].parse(body, Bounds()), response))
    assert len(found) > 10
    return found


def check_changes(made: Dialect, body: bytes, request: Request) -> None:
    taken = is_taken(made.name, body)
    every = (
        Changes(notes=(NOTE,)),
        Changes(withhold_tools=True),
        Changes(without_tools=request.offered_tools[:1]),
        Changes(without_tools=request.offered_tools),
        Changes(put_back=(P,)),
        Changes(99, notes=(NOTE,), withhold_tools=True, put_back=(P,)),
    )
    for changes in every:
        after = made.rewrite(body, request, changes)
        read = made.parse(after, Bounds())
        assert is_taken(made.name, after) or not taken
        if changes.notes:
            assert NOTE in "".join([one.text for one in read.messages[-2:]])
        if changes.withhold_tools and request.offered_tools:
            assert read.tools_disabled
        if changes.without_tools:
            assert not set(changes.without_tools) & set(read.offered_tools) or read.tools_disabled
        if changes in every[2:4]:
            assert read.messages == request.messages


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_every_recorded_request_can_be_changed(
    dialect: DialectName, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the provider took it takes, and the note is the last that it reads."""
    requests = recorded(dialect)
    put_back = 0
    for body, request, _ in requests:
        check_changes(DIALECTS[dialect], body, request)
        put_back += DIALECTS[dialect].rewrite(body, request, Changes(put_back=(P,))) is not body

    with capsys.disabled():
        print(f"\n{dialect}: {len(requests)} requests, {put_back} with a turn to put back into")
    assert put_back


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_every_recorded_answer_can_be_gone_on_from(
    dialect: DialectName, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a result for each of its calls the request is one that the provider takes; without its
    calls it is an answer that says the rest."""
    made, counted = DIALECTS[dialect], Counter[str]()
    for body, request, response in recorded(dialect):
        answer = str(response["body"] or "").encode()
        read = made.read_answer(answer)
        if response["status"] != 200 or request.stream or read.malformed:
            continue
        calls = read.answer.tool_calls
        given = [Given(call, DONE) for call in calls]
        turn = made.answer_turn(answer)
        followed = made.follow_up(body, request, turn, given, read.answer.response_id)
        again = made.parse(followed, Bounds())
        assert is_taken(dialect, followed) or not is_taken(dialect, body)
        results = [one for one in again.messages if one.text == DONE]
        assert len(results) == len(calls)

        bare = made.without_calls(answer, [call.call_id for call in calls])
        left = made.read_answer(bare)
        assert left.answer.tool_calls == ()
        assert (left.answer.text, left.usage) == (read.answer.text, read.usage)
        assert (bare is answer) == (not calls)
        counted["answers"] += 1
        counted["with calls"] += bool(calls)

    with capsys.disabled():
        print(f"\n{dialect}: {dict(counted)}")
    assert counted["with calls"]
