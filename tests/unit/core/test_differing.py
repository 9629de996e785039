"""What two recorded requests differ in."""

import json
import time
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.differing import Changed, Difference, Sent, Setting, difference
from proxy.core.request import DialectName
from proxy.errors import MalformedRequest

USER = {"role": "user", "content": "a"}
SAID = {"role": "assistant", "content": "b"}
MORE = {"role": "user", "content": "c"}


def sent(messages: Any, dialect: DialectName = "chat", **more: Any) -> Sent:
    listed = "input" if dialect == "responses" else "messages"
    return Sent(dialect, json.dumps({"model": "m", listed: messages, **more}).encode())


def between(old: Any, new: Any) -> tuple[Changed, ...]:
    return difference(sent(old), sent(new)).messages


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_conversation_that_goes_on_has_messages_added() -> None:
    found = difference(sent([USER]), sent([USER, SAID, MORE]))

    assert found.same == 1
    assert found.messages == (
        Changed("added", None, 1, after=raw(SAID)),
        Changed("added", None, 2, after=raw(MORE)),
    )
    assert (found.tools, found.parameters) == ((), ())


def test_a_trimmed_history_has_messages_removed() -> None:
    found = difference(sent([USER, SAID, MORE]), sent([SAID, MORE]))

    assert found.same == 2
    assert found.messages == (Changed("removed", 0, None, before=raw(USER)),)


def test_a_rewritten_message_is_changed_in_its_place() -> None:
    """With where: of a message of 50 KB only its cache marker may have moved."""
    old = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"t": 1}}]}
    new = {"role": "user", "content": [{"type": "text", "text": "A"}], "name": "n"}

    (found,) = between([USER, old, SAID], [USER, new, SAID])
    assert (found.kind, found.was, found.at) == ("changed", 1, 1)
    assert found.paths == ("content[0].text", "content[0].cache_control", "name")
    assert (found.before, found.after) == (raw(old), raw(new))


def test_messages_of_different_roles_are_not_one_that_changed() -> None:
    assert [one.kind for one in between([USER], [SAID])] == ["removed", "added"]


def test_pairs_are_made_while_roles_agree() -> None:
    found = between([USER, SAID], [MORE, USER])

    assert [(one.kind, one.was, one.at) for one in found] == [
        ("added", None, 0),
        ("removed", 1, None),
    ]
    assert [one.kind for one in between([USER, SAID], [MORE, MORE])] == [
        "changed",
        "removed",
        "added",
    ]


def test_spelling_is_no_difference() -> None:
    one = Sent("chat", b'{"model":"m","messages":[{"role":"user","content":"\\u00e9"}],"a":[1]}')
    other = Sent(
        "chat", '{ "a": [ 1 ], "messages": [{"content":"é", "role":"user"}], "model":"m"}'.encode()
    )

    assert difference(one, other) == Difference(1, (), (), ())


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (None, False), ("", None)])
def test_values_that_python_takes_for_equal_are_told_apart(one: Any, other: Any) -> None:
    (found,) = between([{"role": "user", "x": one}], [{"role": "user", "x": other}])

    assert found.paths == ("x",)


def test_parameters_and_tools_by_name() -> None:
    """The list, the tools and the rest are told apart, and null is a value."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    gone = {"name": "g"}
    new = {"type": "web_search"}
    changed = {"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}

    found = difference(
        sent([], tools=[tool, gone], temperature=0, seed=1, user=None),
        sent([], tools=[changed, new], temperature=1, top_p=1, user=None),
    )
    assert found.tools == (
        Setting("changed", "f", raw(tool), raw(changed)),
        Setting("removed", "g", before=raw(gone)),
        Setting("added", "web_search", after=raw(new)),
    )
    assert found.parameters == (
        Setting("changed", "temperature", b"0", b"1"),
        Setting("removed", "seed", before=b"1"),
        Setting("added", "top_p", after=b"1"),
    )


def test_tools_of_one_name_are_counted() -> None:
    found = difference(sent([], tools=[{"name": "f"}]), sent([], tools=[{"name": "f"}] * 3))

    assert [one.name for one in found.tools] == ["f (2)", "f (3)"]


@pytest.mark.parametrize("tools", [None, [], [1, "a", None, {}, {"name": 1}, {"function": 1}]])
def test_odd_tools_are_compared_as_they_are(tools: Any) -> None:
    assert difference(sent([], tools=tools), sent([], tools=tools)).tools == ()


def test_dialects_that_differ_are_said() -> None:
    found = difference(sent([USER]), sent([USER], "responses"))

    assert found.same == 1
    assert found.parameters == (Setting("changed", "(dialect)", b'"chat"', b'"responses"'),)


@pytest.mark.parametrize("text", ["hello", None])
def test_an_input_that_is_a_text_is_the_only_item(text: str | None) -> None:
    found = difference(sent(text, "responses"), sent("other", "responses"))

    kinds = [(one.kind, one.paths) for one in found.messages]
    assert kinds == ([("changed", ())] if text else [("added", ())])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":1'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        difference(Sent("chat", body), sent([]))


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"1e999", b"2e999"), (b"[" * 800 + b"]" * 800, b"[" * 800 + b"1" + b"]" * 800)],
)
def test_what_cannot_be_looked_into_is_compared_as_written(one: bytes, other: bytes) -> None:
    """Numbers out of range, and what is nested deeper than anything is read."""
    body = b'{"messages":[{"role":"user","x":%b}],"y":%b}'

    assert difference(Sent("chat", body % (one, one)), Sent("chat", body % (one, one))).same == 1
    found = difference(Sent("chat", body % (one, one)), Sent("chat", body % (other, other)))
    assert [each.name for each in found.parameters] == ["y"]
    assert found.same == 0


def test_any_depth_is_compared_or_refused() -> None:
    """What can just be read may be too deep to be walked."""
    for depth in range(800, 1_000, 4):
        body = b'{"messages":[{"role":"user","x":%b1%b}]}'
        one = Sent("chat", body % (b"[" * depth, b"]" * depth))
        other = Sent("chat", (body % (b"[" * depth, b"]" * depth)).replace(b"1", b"2"))
        with suppress(MalformedRequest):
            assert [found.kind for found in difference(one, other).messages] == ["changed"]


def test_at_most_32_places_of_one_message_are_told() -> None:
    one, other = {str(n): 1 for n in range(99)}, {str(n): 2 for n in range(99)}

    (found,) = between([one], [other])
    assert len(found.paths) == 32


def test_histories_with_nothing_in_common_are_not_compared_pair_by_pair() -> None:
    """100,000 messages a side are still told in seconds."""
    old = [{"role": "user", "content": f"a{n}"} for n in range(20_000)]
    new = [{"role": "tool", "content": f"b{n}"} for n in range(20_000)]

    began = time.process_time()
    found = between(old, new)
    assert len(found) == 40_000
    assert time.process_time() - began < 5


def test_long_histories_that_say_two_things_are_not_compared_pair_by_pair() -> None:
    """To find the longest common part of these takes minutes."""
    chance = Random(1)
    old, new = (
        [{"role": "user", "content": chance.choice("ab")} for _ in "x" * 2_000] for _ in "12"
    )

    began = time.process_time()
    between(old, new)
    assert time.process_time() - began < 5


def test_what_is_said_often_is_found_again_in_the_middle() -> None:
    old = [{"role": "user", "content": "ab"[n % 2]} for n in range(240)]

    found = difference(sent([MORE, *old, MORE]), sent([SAID, *old, SAID]))
    assert found.same == 240


def test_the_worst_that_is_compared_is_done_in_time() -> None:
    old = [{"role": "user", "content": str(n % 2)} for n in range(244)]
    new = [{"role": "user", "content": str((n * n + n // 3) % 2)} for n in range(244)]

    began = time.process_time()
    between(old, new)
    assert time.process_time() - began < 5


messages = st.lists(st.sampled_from([USER, SAID, MORE]), max_size=8)


@given(messages, messages)
def test_the_difference_makes_the_one_of_the_other(old: list[Any], new: list[Any]) -> None:
    """Applied to the earlier list it gives the later one, message by message."""
    found = difference(sent(old), sent(new))

    gone = {one.was for one in found.messages if one.was is not None}
    come = {one.at: json.loads(one.after) for one in found.messages if one.at is not None}
    kept = iter([one for at, one in enumerate(old) if at not in gone])
    assert [come[at] if at in come else next(kept) for at in range(len(new))] == new
    assert next(kept, None) is None
    assert found.same == len(old) - len(gone)
