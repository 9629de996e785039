"""Laws of what is changed in a conversation: read again, it is the same and what was asked for, and
the provider takes it; not a byte of the rest has moved."""

import json
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.changes import Changes, Given
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName, Message, Request
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest
from proxy.simulator import chat_read, messages_read, responses_read
from proxy.simulator.conversation import Conversation
from proxy.simulator.memory import Memory
from tests.unit.core.dialects.metering import Json, law

NAMES: tuple[DialectName, ...] = ("chat", "responses", "messages")
each_dialect = pytest.mark.parametrize("dialect", NAMES)
TOOLS = ("read", "write", "mail")
said = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6) | st.sampled_from(
    ['{"', '"},{"', "]}", "\\", '\\"', '"type":"tool_result"']
)


class Asked(msgspec.Struct, frozen=True):
    """A call and what it came to."""

    call_id: str
    name: str
    arguments: Mapping[str, str]
    text: str

    @property
    def given(self) -> Given:
        call = ToolCall(self.call_id, self.name, json.dumps(self.arguments))
        return Given(call, self.text)


class Step(msgspec.Struct, frozen=True):
    """What a user says, or else what the model says (and thinks), and calls."""

    text: str
    by_user: bool = False
    thinks: bool = False
    asked: tuple[Asked, ...] = ()


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Step, ...]:
    """Of every kind that agents have, ending where it is the model's turn."""
    steps = [Step(draw(said), by_user=True)]
    for at in range(draw(st.integers(0, 4))):
        count = draw(st.integers(0, 3))
        asked = [
            Asked(
                f"call_{at}_{n}",
                draw(st.sampled_from(TOOLS)),
                draw(st.dictionaries(said, said, max_size=2)),
                draw(said),
            )
            for n in range(count)
        ]
        text = draw(said) if not asked else draw(said | st.just(""))
        steps.append(Step(text, thinks=draw(st.booleans()), asked=tuple(asked)))
        if not asked or draw(st.integers(0, 3)) == 0:
            steps.append(Step(draw(said), by_user=True))
    return tuple(steps)


def chat(steps: Sequence[Step]) -> list[Json]:
    messages: list[Json] = []
    for step in steps:
        if step.by_user:
            messages.append({"role": "user", "content": step.text})
            continue
        answer: Json = {"role": "assistant", "content": step.text or None}
        if step.thinks:
            answer["reasoning_content"] = "hm {"
        if step.asked:
            answer["tool_calls"] = [
                {
                    "id": one.call_id,
                    "type": "function",
                    "function": {"name": one.name, "arguments": json.dumps(one.arguments)},
                }
                for one in step.asked
            ]
        messages.append(answer)
        messages += [
            {"role": "tool", "tool_call_id": one.call_id, "content": one.text} for one in step.asked
        ]
    return messages


def messages(steps: Sequence[Step]) -> list[Json]:
    sent: list[Json] = []
    for step in steps:
        if step.by_user:
            text: list[Json] = [{"type": "text", "text": step.text}]
            if sent and sent[-1]["role"] == "user":
                content = sent[-1]["content"]
                assert isinstance(content, list)
                sent[-1] = {"role": "user", "content": [*content, *text]}
            else:
                sent.append({"role": "user", "content": step.text})
            continue
        blocks: list[Json] = []
        if step.thinks:
            blocks.append({"type": "thinking", "thinking": "hm {", "signature": "Eq=="})
        if step.text:
            blocks.append({"type": "text", "text": step.text})
        blocks += [
            {"type": "tool_use", "id": one.call_id, "name": one.name, "input": one.arguments}
            for one in step.asked
        ]
        sent.append({"role": "assistant", "content": blocks})
        if step.asked:
            results = [
                {"type": "tool_result", "tool_use_id": one.call_id, "content": one.text}
                for one in step.asked
            ]
            sent.append({"role": "user", "content": results})
    return sent


def items(steps: Sequence[Step]) -> list[Json]:
    found: list[Json] = []
    for step in steps:
        if step.by_user:
            found.append({"role": "user", "content": step.text})
            continue
        if step.thinks:
            found.append({"type": "reasoning", "id": "rs", "summary": []})
        if step.text:
            content = [{"type": "output_text", "text": step.text}]
            found.append({"type": "message", "role": "assistant", "content": content})
        for one in step.asked:
            arguments = json.dumps(one.arguments)
            call = {"type": "function_call", "call_id": one.call_id, "name": one.name}
            found.append({**call, "arguments": arguments})
        found += [
            {"type": "function_call_output", "call_id": one.call_id, "output": one.text}
            for one in step.asked
        ]
    return found


def body_of(dialect: DialectName, steps: Sequence[Step]) -> Json:
    if dialect == "chat":
        tools = [{"type": "function", "function": {"name": name}} for name in TOOLS]
        return {"model": "gpt-4o", "messages": chat(steps), "tools": tools, "n": 1}
    if dialect == "messages":
        uses = [{"name": name, "input_schema": {"type": "object"}} for name in TOOLS]
        whole: Json = {"model": "claude", "messages": messages(steps), "tools": uses}
        return {**whole, "max_tokens": 9}
    functions = [{"type": "function", "name": name} for name in TOOLS]
    return {"model": "gpt-5", "input": items(steps), "tools": functions, "store": True}


def answer_of(dialect: DialectName, step: Step) -> bytes:
    """The unstreamed answer that a client would have this step from."""
    if dialect == "chat":
        whole: Json = {"choices": [{"index": 0, "message": chat([step])[0], "finish_reason": "x"}]}
    elif dialect == "messages":
        whole = {"content": messages([step])[0]["content"], "stop_reason": "tool_use"}
    else:
        whole = {
            "output": [one for one in items([step]) if one.get("type") != "function_call_output"]
        }
    return json.dumps({"id": "x", **whole}).encode()


SPELLINGS = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"separators": (",", ":"), "ensure_ascii": False},
        {},
        {"indent": 1},
        {"separators": (" ,\n", "\t: ")},
    ]
)


def spelled(body: Json, how: Mapping[str, object]) -> bytes:
    return json.dumps(body, **how).encode()  # type: ignore[arg-type]


def parsed(dialect: DialectName, body: bytes) -> Request:
    return DIALECTS[dialect].parse(body, Bounds())


def rewritten(dialect: DialectName, body: bytes, changes: Changes) -> bytes:
    return DIALECTS[dialect].rewrite(body, parsed(dialect, body), changes)


def taken(dialect: DialectName, body: bytes) -> Conversation:
    """As the provider reads it. Raises Rejected where it refuses the history."""
    read = json.loads(body)
    if dialect == "chat":
        return chat_read.read(read)
    return (
        messages_read.read(read) if dialect == "messages" else responses_read.read(read, Memory())
    )


def assert_put_in(before: bytes, after: bytes) -> None:
    """That `after` is `before` and something new at one place."""
    end = next((at for at in range(len(before)) if before[at] != after[at]), len(before))
    assert after[:end] + after[end + len(after) - len(before) :] == before


@law
@each_dialect
@given(steps=conversations(), how=SPELLINGS, note=said)
def test_a_note_is_read_after_all_else(
    dialect: DialectName, steps: tuple[Step, ...], how: Mapping[str, object], note: str
) -> None:
    """The provider takes the history, and what the client said is what it said."""
    before = spelled(body_of(dialect, steps), how)

    after = rewritten(dialect, before, Changes(notes=(note,)))

    old, new = parsed(dialect, before).messages, parsed(dialect, after).messages
    taken(dialect, after)
    if dialect == "messages" and old[-1].role == "user":
        assert new[:-1] == old[:-1]
        assert new[-1].text == old[-1].text + note
    else:
        role = "system" if dialect == "responses" else "user"
        assert new[:-1] == old
        assert (new[-1].role, new[-1].text) == (role, note)
        assert_put_in(before, after)


@law
@each_dialect
@given(steps=conversations(), how=SPELLINGS)
def test_what_is_withheld_may_not_be_called(
    dialect: DialectName, steps: tuple[Step, ...], how: Mapping[str, object]
) -> None:
    """And all is offered as it was."""
    before = spelled(body_of(dialect, steps), how)

    after = rewritten(dialect, before, Changes(withhold_tools=True))

    choice = {"type": "none"} if dialect == "messages" else "none"
    assert json.loads(after) == {**json.loads(before), "tool_choice": choice}
    assert taken(dialect, after).tool_choice == "none"
    assert parsed(dialect, after).tools_disabled
    assert rewritten(dialect, after, Changes(withhold_tools=True)) is after


@law
@each_dialect
@given(
    steps=conversations(),
    how=SPELLINGS,
    names=st.sets(st.sampled_from((*TOOLS, "none of these"))),
    wanted=st.none() | st.sampled_from(TOOLS),
)
def test_what_is_taken_off_is_not_offered(
    dialect: DialectName,
    steps: tuple[Step, ...],
    how: Mapping[str, object],
    names: set[str],
    wanted: str | None,
) -> None:
    """The others are, in their order; and who forces a call can have it."""
    body = body_of(dialect, steps)
    if wanted:
        forced: Mapping[DialectName, Json] = {
            "chat": {"type": "function", "function": {"name": wanted}},
            "messages": {"type": "tool", "name": wanted},
            "responses": {"type": "function", "name": wanted},
        }
        body["tool_choice"] = forced[dialect]
    before = spelled(body, how)

    after = rewritten(dialect, before, Changes(without_tools=tuple(names)))

    left = tuple(name for name in TOOLS if name not in names)
    read = parsed(dialect, after)
    assert read.offered_tools == (left or TOOLS)
    assert read.tools_disabled == (not left)
    assert read.forces_tool == (wanted in left)
    assert read.messages == parsed(dialect, before).messages
    assert (after is before) == (left == TOOLS)
    taken(dialect, after)


def told(messages: Sequence[Message]) -> list[tuple[str, str, bytes]]:
    """What they say, however their arguments are spelt."""
    return [(one.role, one.text, one.content_digest) for one in messages]


def told_by(dialect: DialectName, steps: Sequence[Step]) -> list[tuple[str, str, bytes]]:
    return told(parsed(dialect, json.dumps(body_of(dialect, steps)).encode()).messages)


@law
@each_dialect
@given(steps=conversations(), how=SPELLINGS, last=conversations())
def test_a_follow_up_is_what_the_client_would_have_sent(
    dialect: DialectName,
    steps: tuple[Step, ...],
    how: Mapping[str, object],
    last: tuple[Step, ...],
) -> None:
    """After the answer and all results; so it is if it is done twice."""
    before = spelled(body_of(dialect, steps), how)
    after, so_far = before, list(steps)
    for at, step in enumerate([one for one in last if one.asked][:2]):
        asked = tuple(
            msgspec.structs.replace(a, call_id=f"new_{at}_{a.call_id}") for a in step.asked
        )
        step = msgspec.structs.replace(step, asked=asked)
        so_far.append(step)
        answer = answer_of(dialect, step)
        turn = DIALECTS[dialect].answer_turn(answer)
        assert DIALECTS[dialect].read_answer(answer).answer.tool_calls

        after = DIALECTS[dialect].follow_up(
            after, parsed(dialect, after), turn, [one.given for one in asked], "resp"
        )

        taken(dialect, after)
        assert told(parsed(dialect, after).messages) == told_by(dialect, so_far)
    assert_put_in(before, after)


@law
@each_dialect
@given(steps=conversations(), how=SPELLINGS, chosen=st.data(), note=said)
def test_what_is_put_back_is_where_it_was(
    dialect: DialectName,
    steps: tuple[Step, ...],
    how: Mapping[str, object],
    chosen: st.DataObject,
    note: str,
) -> None:
    """A client that was not handed some calls of its newest answer is as one that was."""
    step = steps[-1]
    if len(step.asked) < 2:
        return
    kept = chosen.draw(st.integers(1, len(step.asked) - 1))
    less = (*steps[:-1], msgspec.structs.replace(step, asked=step.asked[:kept]))
    before = spelled(body_of(dialect, less), how)
    withheld = tuple(one.given for one in step.asked[kept:])

    after = rewritten(dialect, before, Changes(put_back=withheld))
    noted = rewritten(dialect, before, Changes(put_back=withheld, notes=(note,)))
    mistral = Changes(notes=(note,), model="mistral-large")

    taken(dialect, after)
    taken(dialect, noted)
    whole = told_by(dialect, steps)
    assert told(parsed(dialect, after).messages) == whole
    assert told(parsed(dialect, noted).messages[:-1]) == whole
    assert parsed(dialect, noted).messages[-1].text == note
    assert rewritten(dialect, after, Changes(put_back=withheld)) is after
    for changes in (Changes(notes=(note,)), mistral):
        first = rewritten(dialect, before, changes)
        then = parsed(dialect, rewritten(dialect, first, Changes(put_back=withheld)))
        assert told(then.messages)[: len(whole)] == whole


@law
@each_dialect
@given(steps=conversations(), chosen=st.data())
def test_an_answer_without_some_calls_says_the_rest(
    dialect: DialectName, steps: tuple[Step, ...], chosen: st.DataObject
) -> None:
    """Read again it has the others, and ends for them only if there are any."""
    for step in [one for one in steps if one.asked]:
        answer = answer_of(dialect, step)
        ids = [one.call_id for one in step.asked]
        dropped = chosen.draw(st.sets(st.sampled_from(ids)))

        after = DIALECTS[dialect].without_calls(answer, dropped)

        read, old = DIALECTS[dialect].read_answer(after), DIALECTS[dialect].read_answer(answer)
        assert read.malformed is None
        assert read.answer.text == old.answer.text
        assert read.answer.tool_calls == tuple(
            one for one in old.answer.tool_calls if one.call_id not in dropped
        )
        assert (after is answer) == (not dropped)
        if dialect == "messages":
            reason = "tool_use" if len(dropped) < len(ids) else "end_turn"
            assert read.answer.finish_reason == reason


@law
@each_dialect
@given(steps=conversations(), how=SPELLINGS)
def test_no_change_is_the_same_object(
    dialect: DialectName, steps: tuple[Step, ...], how: Mapping[str, object]
) -> None:
    """Untouched bytes are what fidelity means."""
    before = spelled(body_of(dialect, steps), how)

    assert rewritten(dialect, before, Changes()) is before
    assert rewritten(dialect, before, Changes(without_tools=("x",))) is before


ODD: st.SearchStrategy[object] = st.sampled_from(
    [
        *(None, "", "x", 0, 1.5, True, [], {}, [[]], [{}], [None], [7], {"a": []}, {"type": None}),
        *("none", {"type": "none"}, {"name": "mail"}, {"type": "text", "text": None}),
        *([{"type": "text", "text": "a"}], [{"type": "tool_result"}], [{"type": "tool_use"}]),
        [{"type": "additional_tools", "tools": [{"type": "namespace", "tools": [{"name": "a"}]}]}],
        {"type": "allowed_tools", "allowed_tools": {"tools": [{"function": 7}, 7, {}]}},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "x"}]},
        [{"role": "assistant", "tool_calls": [{}]}, {"role": "tool"}],
        [{"type": "function_call"}, {"type": "function_call_output", "call_id": "a"}],
        {"role": "assistant", "function_call": {}},
    ]
)
KEYS = ("role", "content", "tools", "tool_calls", "type", "tool_choice", "input", "messages")
MORE = ("functions", "function_call", "mcp_servers", "prompt", "previous_response_id", "store")


class Twice(list[tuple[str, object]]):
    """An object's members, in which a key may be twice."""


def paths(value: object, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    inner: Sequence[object] = []
    if isinstance(value, Twice):
        inner = [one for _, one in value]
    elif isinstance(value, list):
        inner = value
    return [path, *[p for at, one in enumerate(inner) for p in paths(one, (*path, at))]]


def mutable(value: object) -> object:
    if isinstance(value, dict):
        return Twice((key, mutable(one)) for key, one in value.items())
    return [mutable(one) for one in value] if isinstance(value, list) else value


def written(value: object) -> str:
    if isinstance(value, Twice):
        members = [f"{json.dumps(key)}:{written(one)}" for key, one in value]
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[ {','.join(map(written, value))}]"
    return json.dumps(value)


@st.composite
def hostile(draw: st.DrawFn, dialect: DialectName) -> bytes:
    """A body of an agent's with odd things in it."""
    body = mutable(body_of(dialect, draw(conversations())))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(body)[1:]))
        holder = body
        for at in path[:-1]:
            assert isinstance(holder, list)
            holder = holder[at][1] if isinstance(holder, Twice) else holder[at]
        odd = mutable(draw(ODD))
        if not isinstance(holder, Twice):
            assert isinstance(holder, list)
            holder[path[-1]] = odd
        elif draw(st.booleans()):
            holder.append((draw(st.sampled_from(KEYS + MORE)), odd))
        else:
            holder[path[-1]] = (holder[path[-1]][0], odd)
    return written(body).encode()


P = Given(ToolCall("p", "mail", "{}"), "sent")


@law
@each_dialect
@given(data=st.data())
def test_whatever_is_read_can_be_changed(dialect: DialectName, data: st.DataObject) -> None:
    """It is read again, and what the client said is still in it."""
    body = data.draw(hostile(dialect))
    try:
        request = parsed(dialect, body)
    except MalformedRequest:
        return
    made = DIALECTS[dialect]
    answer = answer_of(dialect, Step("", asked=(Asked("p", "mail", {}, "sent"),)))
    noted = Changes(notes=("a note",))
    changes = (
        noted,
        Changes(withhold_tools=True),
        Changes(without_tools=("mail", "read", "a")),
        Changes(without_tools=request.offered_tools),
        Changes(put_back=(P,)),
        Changes(9, model="n", notes=("a note",), withhold_tools=True, put_back=(P,)),
    )
    for one in changes:
        after = parsed(dialect, made.rewrite(body, request, one))
        texts = [message.text for message in after.messages]
        assert ("a note" in "".join(texts)) == bool(one.notes)
        left = iter("".join(texts))
        assert all(letter in left for letter in "".join(one.text for one in request.messages))

    followed = made.follow_up(body, request, made.answer_turn(answer), [P])

    last = parsed(dialect, followed).messages[-1]
    assert (last.role, last.text, last.tool_result_id) == ("tool", "sent", "p")
