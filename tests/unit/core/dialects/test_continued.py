"""A body that goes on from an earlier one is read by what is new in it, and as if it were not."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.continued import between
from proxy.core.dialects.registry import DIALECTS, unread_bytes
from proxy.core.memo import Memo, _frame_bytes, fits
from proxy.core.request import DialectName, Past
from proxy.core.splice import members
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import Json, law, texts
from tests.unit.core.dialects.test_reader import CONTENT, SMALL, outcome, told

LONG = "All bodies of four kilobytes and more leave a trail. " * 90
TASK: Json = {"role": "user", "content": LONG}
TOOLS: Json = {"tools": [{"type": "function", "name": "f", "function": {"name": "f"}}]}
SNIPPETS = (
    *(b"]", b"}", b",", b'"', b"\\", b" ", b"0", b".5", b"\xff", "é".encode(), b"null", b"[" * 9),
    *(b'],"max_tokens":9,"x":[{}', b'}],"stream":false,"messages":[{"role":"user"'),
    *(b',{"role":"user","content":"x"}', b',{"role":"owner"}', b"{}", b',"messages":[]'),
)
dialects = pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])


def said(role: str, text: str) -> Json:
    return {"role": role, "content": text}


def spelled(dialect: DialectName, turns: list[Json], *, compact: bool, **more: object) -> bytes:
    head: Json = {"model": "m", "stream": True}
    body = {**head, CONTENT[dialect]: turns, **TOOLS, "max_tokens": 5, **more}
    return json.dumps(body, separators=(",", ":") if compact else None).encode()


def learned_of(memo: Memo, body: bytes) -> None:
    """Reads a chat body, and keeps what was learned."""
    learned = DIALECTS["chat"].parse(body, SMALL, memo).learned
    assert learned is not None
    memo.keep(learned)


def learned(dialect: DialectName, memo: Memo, body: bytes) -> Past:
    """Reads a body, keeps what was learned, and gives what its successors go by."""
    learned = DIALECTS[dialect].parse(body, SMALL, memo).learned
    assert learned is not None
    assert learned.past is not None
    memo.keep(learned)
    for count, border in learned.past.borders:
        assert len(json.loads(body[:border] + b"]}")[CONTENT[dialect]]) == count
    return learned.past


def common(body: bytes, past: Past) -> int | None:
    """How many messages a body goes on from."""
    found = between(body, past, past.frame) if fits(past.frame, body, SMALL) else None
    return None if found is None else found[0]


@dialects
@pytest.mark.parametrize("compact", [False, True])
def test_only_what_is_new_is_read(dialect: DialectName, compact: bool) -> None:
    """A history of 400 KB costs next to nothing, however often it is sent."""
    memo = Memo(10**6, 7)
    turns = [TASK, said("assistant", "a"), said("user", "b")]
    past = learned(dialect, memo, spelled(dialect, turns, compact=compact))
    longer = spelled(dialect, [*turns, said("assistant", "c"), said("user", "é")], compact=compact)

    request = DIALECTS[dialect].parse(longer, SMALL, memo)

    assert common(longer, past) == 3
    assert list(request.places) == members(longer)
    assert request.messages[1] is past.conversation.messages[1]
    now = learned(dialect, memo, longer)
    assert now.frame is past.frame
    assert [count for count, _ in now.borders] == [5, 4, 3]


@dialects
@pytest.mark.parametrize("compact", [False, True])
def test_a_marker_that_moves_on_costs_little(dialect: DialectName, compact: bool) -> None:
    """Claude Code marks its newest messages for the cache, and takes the marks off older ones."""
    memo = Memo(10**6, 7)
    turns = [TASK, *(said("assistant" if at % 2 else "user", f"{at}") for at in range(1, 20))]
    past = learned(dialect, memo, spelled(dialect, turns, compact=compact))
    for step in range(2):
        turns[-4] = {**turns[-4], "cache_control": None}
        turns.append(TASK)
        body = spelled(dialect, turns, compact=compact)

        assert common(body, past) == 16 + step
        past = learned(dialect, memo, body)
        assert len(past.borders) > 1


@dialects
def test_how_much_is_new_is_known_at_once(dialect: DialectName) -> None:
    """What is large and new is read on a thread; what is large and known need not be."""
    memo = Memo(10**6, 7)
    body = spelled(dialect, [TASK], compact=True)
    longer = spelled(dialect, [TASK, said("user", "b")], compact=True)

    assert unread_bytes(dialect, longer, SMALL, memo) == len(longer)
    learned(dialect, memo, body)
    assert unread_bytes(dialect, longer, SMALL, memo) == len(longer) - len(body)
    assert unread_bytes("embeddings", longer, SMALL, memo) == len(longer)


def test_what_begins_otherwise_does_not_go_on() -> None:
    """Whatever stands before or among the messages."""
    memo = Memo(10**6, 7)
    past = learned("chat", memo, spelled("chat", [TASK], compact=True))
    other = spelled("chat", [said("user", LONG[1:])], compact=True)
    many = DIALECTS["chat"].parse(spelled("chat", [TASK] * 3, compact=True), SMALL, memo)

    assert common(other, past) is None
    assert many.learned is not None
    assert many.learned.past is not None
    with pytest.raises(MalformedRequest, match="at most 2 messages"):
        DIALECTS["chat"].parse(
            spelled("chat", [TASK] * 3, compact=True), Bounds(json_depth=8, messages=2), memo
        )


def test_what_ends_otherwise_goes_on_all_the_same() -> None:
    """An agent that lowers its bound as it goes says the same as before."""
    memo = Memo(10**6, 7)
    past = learned("chat", memo, spelled("chat", [TASK], compact=True))
    learned("chat", memo, spelled("chat", [said("user", LONG[1:])], compact=True, n=2))
    body = spelled("chat", [TASK, said("user", "a")], compact=True, n=2)

    request = DIALECTS["chat"].parse(body, SMALL, memo)

    assert request.choices == 2
    assert request.messages[0] is past.conversation.messages[0]
    assert told("chat", body, memo) == told("chat", body, None)


def test_a_beginning_and_an_end_that_overlap_are_no_body() -> None:
    """This one ends in the middle of its messages, in what its predecessor ended with."""
    head = b'{"model":"m","messages":[{"role":"user","content":"%b","y":[],"x":{}}' % LONG.encode()
    memo = Memo(10**6, 7)
    past = learned("chat", memo, head + b'],"x":{}}')

    assert head.endswith(b'],"x":{}}')
    assert common(head, past) is None
    assert told("chat", head, memo) == told("chat", head, None)


@dialects
def test_what_was_taken_back_leaves_no_border(dialect: DialectName) -> None:
    """A border of another history would be found in the middle of a message."""
    memo = Memo(10**6, 7)
    turns = [TASK, *(said("user", "x" * at) for at in range(12))]
    learned(dialect, memo, spelled(dialect, turns, compact=True))
    turns[-3] = said("user", "a longer text than the one that stood here before")
    past = learned(dialect, memo, spelled(dialect, turns, compact=True))

    assert [count for count, _ in past.borders] == [13, 12, 11, 10]


def test_a_body_of_too_many_values_is_refused_though_it_begins_as_known() -> None:
    """The bound is one of the whole body."""
    turns = [TASK, said("user", "," * 2000)]
    memo = Memo(10**6, 7)
    learned("chat", memo, spelled("chat", turns, compact=True))
    body = spelled("chat", [*turns, said("user", "," * 5000)], compact=True)

    with pytest.raises(MalformedRequest, match="more than 7000 values"):
        DIALECTS["chat"].parse(body, Bounds(json_depth=SMALL.json_depth, values=7000), memo)


@dialects
def test_what_was_put_in_is_seen_wherever_it_stands(dialect: DialectName) -> None:
    """A client may build its next body so that it reads as one thing to us, as another to the
    provider: every snippet at every place of what is new, and just before it."""
    turns = [TASK, said("user", "a")]
    memo = Memo(10**6, 7)
    past = learned(dialect, memo, spelled(dialect, turns, compact=True))
    body = spelled(dialect, [*turns, said("user", "é")], compact=True)
    _, border = past.borders[0]

    for at in range(border - 4, len(body) + 1):
        for snippet in SNIPPETS:
            put_in = body[:at] + snippet + body[at:]
            assert told(dialect, put_in, memo) == told(dialect, put_in, None)


def test_a_body_spelled_by_hand_leaves_no_trail() -> None:
    """Its messages may be parted by anything: they are known one by one."""
    body = b'{"messages":[{"role":"user","content":"%b"}\n]  , "model":"m"}' % LONG.encode()
    memo = Memo(10**6, 7)
    first = DIALECTS["chat"].parse(body, SMALL, memo).learned

    assert first is not None
    assert first.past is None
    memo.keep(first)
    assert outcome("chat", body, memo) == outcome("chat", body, None)


def test_a_body_without_messages_leaves_no_trail() -> None:
    """The provider will say what it lacks."""
    body = json.dumps({"model": "m", "max_tokens": 1, "system": LONG}).encode()
    learned = DIALECTS["messages"].parse(body, SMALL, Memo(10**6, 7)).learned

    assert learned is not None
    assert learned.past is None


def test_a_known_body_is_rewritten_where_it_stands() -> None:
    """Places move with the messages before them."""
    memo = Memo(10**6, 7)
    learned("chat", memo, spelled("chat", [TASK], compact=True))
    body = spelled("chat", [TASK, said("assistant", "more"), TASK], compact=True)
    chat = DIALECTS["chat"]
    request = chat.parse(body, SMALL, memo)

    rewritten = json.loads(chat.rewrite(body, request, Changes(3, ask_usage=True, model="n")))

    assert rewritten == {
        **json.loads(body),
        "model": "n",
        "max_tokens": 3,
        "stream_options": {"include_usage": True},
    }


turns = st.builds(said, st.sampled_from(["user", "assistant", "tool", "owner"]), texts)
steps = st.tuples(
    st.integers(0, 3),  # messages taken back
    st.lists(turns, max_size=3),
    st.sampled_from([{}, {}, {"max_tokens": 9}, {"stream": False}, {"stream_options": {}}]),
)


@dialects
@law
@given(st.lists(steps, max_size=4), st.booleans(), st.none() | st.sampled_from(SNIPPETS), st.data())
def test_whatever_follows_is_read_as_if_nothing_was_known(
    dialect: DialectName,
    steps: list[tuple[int, list[Json], Json]],
    compact: bool,
    snippet: bytes | None,
    data: st.DataObject,
) -> None:
    """A conversation goes on, takes back what was said, or says it otherwise."""
    memo = Memo(10**6, 7)
    history = [TASK]
    for back, new, more in steps:
        history = [*history[: max(1, len(history) - back)], *new]
        body = spelled(dialect, history, compact=compact, **more)

        assert outcome(dialect, body, memo) == outcome(dialect, body, None)
    body = spelled(dialect, [*history, TASK], compact=compact)
    at = len(body) - data.draw(st.integers(0, 400))
    body = body[:at] + (snippet or b"") + body[at:]
    assert outcome(dialect, body, memo) == outcome(dialect, body, None)


def test_conversations_that_begin_alike_are_found_by_where_they_part() -> None:
    """And where the older ones are forgotten, the newer ones still are."""
    memo = Memo(220_000, 7)
    bodies = [
        spelled("chat", [TASK, said("user", f"{run} " * 2000)], compact=True) for run in range(20)
    ]
    for body in bodies:
        learned("chat", memo, body)
    trails = [memo.trail(body, memo.seed("chat", SMALL.json_depth))[0] for body in bodies]

    kept = len(memo._trails)
    found = [trail is not None and trail.past.body == bodies[at] for at, trail in enumerate(trails)]
    assert 3 < kept < 9
    assert found == [*[False] * (20 - kept), *[True] * kept]


def test_a_conversation_that_goes_on_takes_the_place_of_what_it_was() -> None:
    """Else a session of a hundred steps would be kept a hundred times."""
    memo = Memo(10**6, 7)
    turns = [TASK, said("assistant", "a")]
    for step in range(30):
        turns.append(said("user", f"{step}"))
        learned("chat", memo, spelled("chat", turns, compact=True))

    assert len(memo._trails) == 1
    assert memo._trail_bytes == next(iter(memo._trails)).size_bytes


@law
@given(st.integers(0, 300_000), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12))
def test_trails_never_grow_beyond_their_bound(limit: int, steps: list[tuple[int, bool]]) -> None:
    """Neither by new conversations nor by old ones that go on, or are rewritten."""
    memo = Memo(limit, 7)
    runs: dict[int, list[Json]] = {}
    for run, rewritten in steps:
        turns = runs.setdefault(run, [said("user", f"{run} {LONG}")])
        turns.append(said("user", f"{len(turns)} {LONG}"))
        if rewritten:
            turns[len(turns) // 2] = said("user", f"again {len(turns)}")
        outcome("chat", spelled("chat", turns, compact=True), memo)

        assert memo.size_bytes <= limit
        assert memo._trail_bytes == sum(trail.size_bytes for trail in memo._trails)
        assert set(memo._by_beginning.values()) <= set(memo._trails)
        assert sum(memo._first.values()) == len(memo._trails)
        assert set(memo._first) == {trail.first for trail in memo._trails}


@law
@given(st.integers(0, 60_000), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000))))
@example(59_776, [(0, 29), (0, 30)])
def test_frames_never_grow_beyond_their_bound(limit: int, heads: list[tuple[int, int]]) -> None:
    """Clients may put whatever they like around their messages, and change it each time."""
    memo = Memo(limit, 7)
    for number, size in heads:
        body = spelled("chat", [said("user", "a")], compact=True, user=f"{number}", metadata={
            "note": "x" * size
        })  # fmt: skip
        outcome("chat", body, memo)

        kept = [frame for frames in memo._frames.values() for frame in frames]
        assert memo._frame_bytes == sum(map(_frame_bytes, kept)) <= limit // 8
        assert all(len(frames) <= 4 for frames in memo._frames.values())


def test_conversations_that_begin_alike_are_forgotten_one_by_one() -> None:
    """The beginning that they share leads to none of them then, and a new one is read whole."""
    memo = Memo(10**6, 7)
    bodies = [
        spelled("chat", [TASK, said("user", f"{run} " * 2000)], compact=True) for run in range(2)
    ]
    for body in bodies:
        learned_of(memo, body)
    older, newer = memo._trails
    memo._forget(newer)
    other = spelled("chat", [TASK], compact=True)

    assert list(memo._first.values()) == [1]
    assert memo.trail(other, memo.seed("chat", SMALL.json_depth)) == (None, 0)
    assert unread_bytes("chat", bodies[1], SMALL, memo) == len(bodies[1])
    assert told("chat", other, memo) == told("chat", other, None)
    memo._forget(older)
    assert not memo._first


def test_another_model_reads_its_messages_anew() -> None:
    """Of Claude alone markers are asked for."""
    memo = Memo(10**6, 7)
    marked = {**said("user", "x"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = spelled("chat", [TASK, marked], compact=True, user="u")
    at_end = body.replace(b'"model":"m",', b"").replace(b'"user":"u"', b'"model":"m"')
    learned_of(memo, at_end)
    claude = at_end.replace(b'"model":"m"', b'"model":"claude"')

    assert told("chat", claude, memo) == told("chat", claude, None)
    learned_of(memo, claude.replace(LONG.encode(), b"y" * 5000))
    assert told("chat", claude, memo) == told("chat", claude, None)
    exposure = DIALECTS["chat"].parse(claude, SMALL, memo).exposure
    assert exposure != DIALECTS["chat"].parse(at_end, SMALL, memo).exposure


def test_a_frame_that_is_met_again_outlives_what_is_not() -> None:
    """A hundred clients come and go while one works."""
    memo = Memo(10**5, 7)
    mine = spelled("chat", [said("user", "a")], compact=True, seed=1)
    for number in range(100):
        learned_of(memo, mine)
        learned_of(memo, spelled("chat", [said("user", "a")], compact=True, seed=f"{number:040}"))

    assert len(memo._frames) < 50
    assert memo.frame("chat", mine, SMALL) is not None
