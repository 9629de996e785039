"""Which turn a request's results belong to."""

import pytest

from proxy.core.request import Message, Role
from proxy.core.usage import ToolCall
from proxy.guard.recall import newest_calls


def asks(*ids: str) -> Message:
    return Message("assistant", "", b"", tuple(ToolCall(one, "t", "{}") for one in ids))


def result(call_id: str) -> Message:
    return Message("tool", "", b"", (), call_id)


def says(role: Role = "user") -> Message:
    return Message(role, "text", b"")


@pytest.mark.parametrize(
    ("history", "ids"),
    [
        ([], set()),
        ([says()], set()),
        ([says(), asks("a", "b"), result("a"), result("b")], {"a", "b"}),
        ([says(), asks("a"), asks("b"), result("a"), result("b")], {"a", "b"}),
        ([asks("a"), result("a"), asks("b"), result("b"), says()], {"b"}),
        ([asks("a"), result("a"), says(), asks("b")], {"b"}),
        ([result("a"), result("b")], {"a", "b"}),
        ([asks("a"), result("a"), says("assistant")], set()),
        ([asks("a"), says(), says("assistant"), says()], set()),
    ],
)
def test_the_newest_turn_alone_is_what_results_are_of(
    history: list[Message], ids: set[str]
) -> None:
    """An older turn's calls stay as the client sends them."""
    assert newest_calls(history).keys() == ids
