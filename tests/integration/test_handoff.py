"""A session before its human: how its client is answered, and how each answer lets it go on."""

import asyncio
import io
import json
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.cli.main import main
from proxy.core import events as ev
from proxy.core.request import DialectName
from proxy.core.session import SessionKey
from proxy.core.tools.facts import HeldTool
from tests.integration.kit import (
    DIALECTS,
    PATHS,
    TOKEN,
    Answer,
    Sidecar,
    body_of,
    frames,
    sidecar,
)

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True])
HANDOFF = "limits: {steps: 1, on_limit: handoff}\n"
MESSAGE = HANDOFF + "handoff: {reply: message, message: Call Bob.}\n"
FORCED: dict[DialectName, dict[str, Json]] = {
    "chat": {"tool_choice": "required"},
    "responses": {"tool_choice": {"type": "function", "name": "send"}},
    "messages": {"tool_choice": {"type": "any"}},
}
FORMATTED: dict[DialectName, dict[str, Json]] = {
    "chat": {"response_format": {"type": "json_object"}},
    "responses": {"text": {"format": {"type": "json_object"}}},
    "messages": {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
}


async def stopped(on: Sidecar, dialect: DialectName = "chat", *, stream: bool = False) -> Answer:
    """A session that has used its one step asks again."""
    assert (await on.call(dialect)).status == 200
    return await on.call(dialect, stream=stream)


async def key_of(on: Sidecar) -> SessionKey:
    return await on.app.control.find("s1", None)


async def hold_call(on: Sidecar, call_id: str = "call_1") -> None:
    """As when an answer asks for a tool that a human has to approve."""
    held = HeldTool(call_id, "send_email", b"d" * 16, '{"to": "a@b"}')
    event = ev.HandedOff(
        at=on.app.clock.now(),
        handoff=f"ho_{call_id}",
        code="approval_required",
        message="It asks for send_email.",
        blocking=True,
        held=held,
    )
    await on.app.ledger.record(await key_of(on), event)


@every_dialect
@streamed_or_not
async def test_past_a_limit_the_client_is_told_whom_to_ask(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """In its dialect, in one string, and so that no SDK sends it again; it costs nothing."""
    async with sidecar(tmp_path, HANDOFF) as on:
        for answer in (await stopped(on, dialect, stream=stream), await on.call(dialect)):
            assert (answer.status, answer.error["code"]) == (422, "awaiting_human")
            assert answer.headers["x-should-retry"] == "false"
            assert "retry-after" not in answer.headers
            assert answer.headers["x-holdfast-reason"] == "awaiting_human"
            assert answer.headers["x-holdfast-step"] == "1"
            assert "holdfast sessions extend s1 --steps" in str(answer.error["message"])
            assert answer.facts["resumable"] is True
        assert len(on.sim.journal) == 1
        shown = await on.admin("GET", "/sessions/s1")
        assert (shown["state"], shown["steps"]) == ("awaiting_human", 1)


@every_dialect
@streamed_or_not
async def test_as_a_message_the_answer_is_a_finished_one(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """The agent ends its run with the text, as on any last answer."""
    async with sidecar(tmp_path, MESSAGE) as on:
        answer = await stopped(on, dialect, stream=stream)

        assert answer.status == 200
        assert answer.headers["x-holdfast-reason"] == "awaiting_human"
        assert b"Call Bob." in answer.body
        if stream:
            assert answer.headers["content-type"].startswith("text/event-stream")
            last = frames(answer.body)[-1]
            ends = {"chat": "", "responses": "response.completed", "messages": "message_stop"}
            assert last[0] == ends[dialect]
            assert dialect != "chat" or last[1] == "[DONE]"
        else:
            assert answer.headers["content-type"] == "application/json"
            assert _finish(dialect, answer.json) in ("stop", "completed", "end_turn")
        assert len(on.sim.journal) == 1
        assert (await on.admin("GET", "/sessions/s1"))["cost_usd"] == pytest.approx(22e-6)


def _finish(dialect: DialectName, body: dict[str, Json]) -> Json:
    if dialect == "chat":
        choices = body["choices"]
        assert isinstance(choices, list)
        assert isinstance(choices[0], dict)
        return choices[0]["finish_reason"]
    return body["status" if dialect == "responses" else "stop_reason"]


@every_dialect
@streamed_or_not
async def test_where_a_message_would_not_end_the_loop_it_is_an_error(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Forced tools and structured output: agents ask again and again, or break on the text."""
    async with sidecar(tmp_path, MESSAGE) as on:
        await stopped(on, dialect)
        path = f"/s/s1{PATHS[dialect]}"
        body = body_of(dialect, stream=stream, tools=("send",))
        forced = await on.send(path, body | FORCED[dialect])
        formatted = await on.send(path, body | FORMATTED[dialect])

        for answer in (forced, formatted):
            assert (answer.status, answer.error["code"]) == (422, "awaiting_human")


async def test_free_endpoints_are_closed_too(tmp_path: Path) -> None:
    async with sidecar(tmp_path, MESSAGE) as on:
        await stopped(on)
        models = await on.send("/s/s1/v1/models", b"", method="GET")

        assert (models.status, models.error["code"]) == (422, "awaiting_human")


async def test_a_stop_that_is_rejected_stands_in_the_queue(tmp_path: Path) -> None:
    """Nobody is held, and a human still sees what was stopped; it goes when a call goes on."""
    async with sidecar(tmp_path, "limits: {steps: 1}") as on:
        assert (await stopped(on)).error["code"] == "step_limit_exceeded"

        (queued,) = await queue(on)
        assert (queued["session"], queued["blocking"]) == ("s1", False)
        assert (queued["code"], queued["limit"]) == ("step_limit_exceeded", "steps")
        assert (await on.admin("GET", "/sessions/s1"))["state"] == "active"
        await on.admin("POST", "/sessions/s1/extend", {"steps": 1})
        assert await queue(on) == []
        assert (await on.call()).status == 200


async def queue(on: Sidecar) -> list[dict[str, Json]]:
    found = (await on.admin("GET", "/handoffs"))["handoffs"]
    assert isinstance(found, list)
    return [handoff for handoff in found if isinstance(handoff, dict)]


async def test_the_queue_says_what_waits_and_how_to_answer(tmp_path: Path) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        assert await queue(on) == []
        await stopped(on)
        await on.call(session="s2")
        await hold_call(on)
        stop, call = await queue(on)

        assert (stop["session"], stop["blocking"], stop["limit"]) == ("s1", True, "steps")
        assert stop["answers"] == ["extend", "guide", "kill"]
        assert isinstance(stop["age_seconds"], float)
        assert call["answers"] == ["approve", "deny", "kill"]
        assert call["tool_call"] == {
            "id": "call_1",
            "tool": "send_email",
            "arguments": '{"to": "a@b"}',
        }
        assert (await on.admin("GET", "/handoffs?tenant=nobody"))["handoffs"] == []


async def test_extended_the_same_session_goes_on_from_the_same_step(tmp_path: Path) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        await stopped(on)
        state = await on.admin("POST", "/sessions/s1/extend", {"steps": 5})
        answer = await on.call()

        assert (state["state"], state["generation"]) == ("active", 1)
        assert (answer.status, answer.headers["x-holdfast-step"]) == (200, "2")
        assert await queue(on) == []


@every_dialect
@streamed_or_not
async def test_guided_the_next_step_carries_the_message_once(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """After all that the client sent, where the model reads it last; never in a later step."""
    async with sidecar(tmp_path, "limits: {steps: 9}\n") as on:
        await on.call(dialect)
        await on.admin("POST", "/sessions/s1/guide", {"message": "Use the ß host."})
        assert (await on.admin("GET", "/sessions/s1"))["guidance"] == ["Use the ß host."]
        guided = await on.call(dialect, stream=stream)
        after = await on.call(dialect)

        assert (guided.status, after.status) == (200, 200)
        sent = [json.dumps(json.loads(entry.body)) for entry in on.sim.journal]
        assert [r"Use the \u00df host." in body for body in sent] == [False, True, False]
        assert (await on.admin("GET", "/sessions/s1"))["guidance"] == []


async def test_guidance_lets_a_stopped_session_go_on(tmp_path: Path) -> None:
    """A hint is an answer; a limit that stands stops it again, and asks again."""
    async with sidecar(tmp_path, "limits: {steps: 1, on_limit: handoff}") as on:
        await stopped(on)
        state = await on.admin("POST", "/sessions/s1/guide", {"message": "Stop searching."})
        again = await on.call()

        assert state["state"] == "active"
        assert again.error["code"] == "awaiting_human"
        assert (await on.admin("GET", "/sessions/s1"))["guidance"] == ["Stop searching."]


async def test_a_held_call_waits_for_approval_or_denial_alone(tmp_path: Path) -> None:
    """More steps, or a hint, do not send the mail."""
    async with sidecar(tmp_path) as on:
        await on.call()
        await hold_call(on, "call_1")
        await hold_call(on, "call_2")
        await on.admin("POST", "/sessions/s1/extend", {"steps": 5})
        await on.admin("POST", "/sessions/s1/guide", {"message": "Take care."})
        assert (await on.call()).error["code"] == "awaiting_human"

        await on.admin("POST", "/sessions/s1/approve", {"tool_call_id": "call_1"})
        assert (await on.call()).error["code"] == "awaiting_human"
        denial: Json = {"tool_call_id": "ho_call_2", "message": "Not to him."}
        state = await on.admin("POST", "/sessions/s1/deny", denial)

        assert state["state"] == "active"
        assert (await on.call()).status == 200
        events = (await on.admin("GET", "/sessions/s1/events"))["events"]
        assert isinstance(events, list)
        told = [e for e in events if isinstance(e, dict) and e["type"] == "HandoffAnswered"]
        assert [(e["action"], e.get("message")) for e in told] == [
            ("approve", None),
            ("deny", "Not to him."),
        ]


async def test_two_humans_at_once_are_one_answer(tmp_path: Path) -> None:
    """The first counts: what was denied is not approved a moment later."""
    async with sidecar(tmp_path) as on:
        await on.call()
        await hold_call(on)
        body: Json = {"tool_call_id": "call_1"}
        answers = await asyncio.gather(
            *(on.admin("POST", f"/sessions/s1/{a}", body) for a in ("deny", "approve") * 4)
        )

        codes = [answer.get("error") for answer in answers]
        assert codes.count(None) == 1


async def test_killed_it_waits_for_nobody(tmp_path: Path) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        await stopped(on)
        await hold_call(on)
        await on.admin("POST", "/sessions/s1/kill")

        assert await queue(on) == []
        assert (await on.call()).error["code"] == "session_killed"
        for action, body in (
            ("guide", {"message": "x"}),
            ("extend", {"steps": 1}),
            ("resume", {}),
            ("resume", {"replay": True}),
            ("approve", {"tool_call_id": "call_1"}),
        ):
            answer = await on.admin("POST", f"/sessions/s1/{action}", dict(body))
            assert _code(answer) == "session_killed"


def _code(answer: dict[str, Json]) -> Json:
    error = answer["error"]
    assert isinstance(error, dict)
    return error["code"]


HOSTILE: tuple[tuple[str, str, Json], ...] = (
    ("s1", "guide", {}),
    ("s1", "guide", {"message": ""}),
    ("s1", "guide", {"message": " \n"}),
    ("s1", "guide", {"message": 7}),
    ("s1", "guide", {"message": None}),
    ("s1", "guide", {"message": ["a"]}),
    ("s1", "guide", {"message": "a" * 16_385}),
    ("s1", "guide", {"message": "a", "role": "system"}),
    ("s1", "guide", ["message"]),
    ("s1", "guide", None),
    ("s1", "approve", {}),
    ("s1", "approve", {"tool_call_id": 7}),
    ("s1", "approve", {"tool_call_id": "call_1", "message": "x"}),
    ("s1", "deny", {"tool_call_id": "call_1", "message": 7}),
    ("s1", "extend", {}),
    ("s1", "extend", {"steps": "many"}),
)


@pytest.mark.parametrize(("session", "action", "body"), HOSTILE)
async def test_a_wrong_answer_is_a_400_and_changes_nothing(
    tmp_path: Path, session: str, action: str, body: Json
) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        await stopped(on)
        before = await on.admin("GET", "/sessions/s1")
        answer = await on.admin("POST", f"/sessions/{session}/{action}", body)

        assert _code(answer) == "invalid_request"
        assert await on.admin("GET", "/sessions/s1") == before


async def test_what_is_unknown_is_a_404(tmp_path: Path) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        await stopped(on)
        call: Json = {"tool_call_id": "call_9"}

        assert _code(await on.admin("POST", "/sessions/s9/guide", {"message": "a"})) == (
            "unknown_session"
        )
        assert _code(await on.admin("POST", "/sessions/s1/approve", call)) == "unknown_tool_call"
        assert _code(await on.admin("POST", "/sessions/s1/deny", call)) == "unknown_tool_call"


async def test_guidance_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        headers = {"authorization": f"Bearer {TOKEN}"}
        body = io.BytesIO(json.dumps({"message": "a" * 10_000_000}).encode())
        url = f"{on.admin_url}/api/v1/sessions/s1/guide"
        async with on.http.post(url, headers=headers, data=body) as response:
            assert response.status == 413
            assert (await response.json())["error"]["code"] == "invalid_request"

        assert (await on.admin("GET", "/sessions/s1"))["guidance"] == []


async def test_guidance_that_nobody_takes_is_bounded(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        answers = [
            await on.admin("POST", "/sessions/s1/guide", {"message": str(n)}) for n in range(17)
        ]

        assert [answer.get("state") for answer in answers[:16]] == ["active"] * 16
        assert _code(answers[16]) == "guidance_full"


async def test_an_agent_that_ends_with_the_message_goes_on_after_it(tmp_path: Path) -> None:
    """Its history now has an answer that no provider gave."""
    async with sidecar(tmp_path, MESSAGE) as on:
        await stopped(on)
        await on.admin("POST", "/sessions/s1/extend", {"steps": 5})
        history: Json = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Call Bob."},
            {"role": "user", "content": "go on"},
        ]
        body = {**body_of("chat"), "messages": history}
        answer = await on.send("/s/s1/v1/chat/completions", body)

        assert (answer.status, answer.headers["x-holdfast-step"]) == (200, "2")


@pytest.mark.parametrize("answered", [False, True])
async def test_a_session_waits_through_a_restart(tmp_path: Path, answered: bool) -> None:
    """And one that was answered before it goes on after it, guidance and all."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, HANDOFF, store=store) as on:
        await stopped(on)
        if answered:
            await on.admin("POST", "/sessions/s1/guide", {"message": "Then stop."})
            await on.admin("POST", "/sessions/s1/extend", {"steps": 1})
    async with sidecar(tmp_path, HANDOFF, store=store) as on:
        assert [h["session"] for h in await queue(on)] == ([] if answered else ["s1"])
        if not answered:
            assert (await on.call()).error["code"] == "awaiting_human"
            await on.admin("POST", "/sessions/s1/extend", {"steps": 1})
        answer = await on.call()

        assert (answer.status, answer.headers["x-holdfast-step"]) == (200, "2")
        assert (b"Then stop." in on.sim.journal[-1].body) is answered


async def test_a_policy_that_no_longer_hands_over_still_knows_who_waits(tmp_path: Path) -> None:
    """A human who was asked is not forgotten by an edit."""
    async with sidecar(tmp_path, HANDOFF) as on:
        await stopped(on)
        (tmp_path / "policy.yaml").write_text("limits: {steps: 100}\n")
        await on.admin("POST", "/policy/reload")

        assert (await on.call()).error["code"] == "awaiting_human"
        await on.admin("POST", "/sessions/s1/guide", {"message": "Go on."})
        assert (await on.call()).status == 200


class Shell:
    """A shell beside a sidecar."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._environment, self._captured = monkeypatch, capsys

    async def run(self, on: Sidecar, *arguments: str) -> tuple[int, str]:
        self._environment.setenv("HOLDFAST_ADMIN_URL", on.admin_url)
        self._environment.setenv("HOLDFAST_ADMIN_TOKEN", TOKEN)
        code = await asyncio.to_thread(main, list(arguments))
        captured = self._captured.readouterr()
        return code, captured.out + captured.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


async def test_a_human_at_a_shell_sees_the_queue_and_answers(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        assert await shell.run(on, "handoffs") == (0, "Nothing stands before a human.\n")
        await stopped(on)
        await hold_call(on)

        code, told = await shell.run(on, "handoffs")
        listed = json.loads((await shell.run(on, "handoffs", "--json"))[1])["handoffs"]
        assert code == 0
        assert told.splitlines()[0].split() == [
            *("session", "agent", "waits", "age", "reason", "steps", "cost_usd")
        ]
        assert told.splitlines()[1].split()[:3] == ["s1", "-", "yes"]
        assert 'send_email({"to": "a@b"})  call_1' in told
        assert [handoff["limit"] for handoff in listed] == ["steps", None]

        waiting = (await shell.run(on, "sessions", "list", "--state", "awaiting_human"))[1]
        assert waiting.splitlines()[1].split()[0] == "s1"
        for command in (
            ("extend", "s1", "--steps", "3"),
            ("guide", "s1", "Be brief."),
            ("deny", "s1", "call_1", "--message", "Not now."),
        ):
            code, shown = await shell.run(on, "sessions", *command)
            assert code == 0, shown
        assert "state          active" in shown
        assert "guidance       Be brief." in shown
        assert (await on.call()).headers["x-holdfast-step"] == "2"


async def test_the_shell_says_what_the_api_refused(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        await on.call()

        code, told = await shell.run(on, "sessions", "approve", "s1", "call_1")
        assert code == 1
        assert "session s1 holds no tool call 'call_1' (held: none)" in told
        assert (await shell.run(on, "sessions", "guide", "s1", ""))[0] == 1
        assert (await shell.run(on, "handoffs", "--limit", "9999"))[0] == 1


async def test_what_a_model_wrote_moves_no_cursor(tmp_path: Path, shell: Shell) -> None:
    """Arguments can hold escape sequences; a terminal obeys them."""
    async with sidecar(tmp_path) as on:
        await on.call()
        held = HeldTool("call_1", "rm\x1b[2J", b"d" * 16, "\x1b]0;x\x07")
        event = ev.HandedOff(at=on.app.clock.now(), handoff="h", blocking=True, held=held)
        await on.app.ledger.record(await key_of(on), event)

        _, told = await shell.run(on, "handoffs")
        assert "\x1b" not in told
        assert r"rm\x1b[2J(\x1b]0;x\x07)" in told
