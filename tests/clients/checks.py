"""What must hold of every run through the sidecar, whatever the client and the provider."""

from proxy.admin.shapes import Json
from proxy.simulator import Entry
from tests.clients.kit import KEY, Stage
from tests.clients.tap import Seen

_CHANGED_ON_THE_WAY = {"host", "connection", "accept-encoding", "content-length", "expect"}
"""Hop by hop, or the proxy's own by SPEC: it has to read answers."""
_APART = ("messages", "input", "tool_choice", "stream_options")
"""What `added` compares in ways of its own, or not at all."""


def check_forwarded(on: Stage) -> None:
    """What went upstream is what the client sent: each request once, its body, its headers."""
    sent = sorted(on.front.calls(), key=lambda seen: seen.body)
    saw = sorted(on.back.calls(), key=lambda seen: seen.body)
    assert sent
    assert len(saw) == len(sent)
    for theirs, forwarded in zip(sent, saw, strict=True):
        assert forwarded.target == theirs.target
        assert _kept(forwarded) == _kept(theirs)
        assert KEY in (forwarded.header("x-api-key") or forwarded.header("authorization") or "")
        check_body(theirs, forwarded)
    assert not [n for seen in on.back.requests for n, _ in seen.headers if "holdfast" in n]


def _kept(seen: Seen) -> list[tuple[str, str]]:
    return sorted(pair for pair in seen.headers if pair[0] not in _CHANGED_ON_THE_WAY)


def check_body(theirs: Seen, forwarded: Seen) -> None:
    """Byte for byte, but that a chat stream is asked for its usage."""
    asked = theirs.json
    if not theirs.path.endswith("/chat/completions") or not asked.get("stream"):
        assert forwarded.body == theirs.body
        return
    options = asked.get("stream_options") or {}
    assert isinstance(options, dict)
    if options.get("include_usage"):
        assert forwarded.body == theirs.body
    else:
        assert forwarded.json == asked | {"stream_options": options | {"include_usage": True}}


def billed_micro_usd(entries: tuple[Entry, ...]) -> int:
    """What the simulated provider bills, at the prices of the test's policy."""
    return sum(entry.input_tokens + 2 * entry.output_tokens for entry in entries)


def booked_micro_usd(session: dict[str, Json]) -> int:
    """What the sidecar says that a session cost."""
    cost = session["cost_usd"]
    assert isinstance(cost, float)
    return round(cost * 1_000_000)


def check_session(session: dict[str, Json], *, steps: int, tool_calls: int, cost: int) -> None:
    """Counted and priced right, and nothing left held."""
    assert (session["steps"], session["calls"]) == (steps, steps)
    assert session["tool_calls"] == tool_calls
    assert booked_micro_usd(session) == cost
    assert (session["held_usd"], session["in_flight"]) == (0.0, 0)


def shown(text: str) -> str:
    """Terminal output without line breaks, to find a sentence that was wrapped."""
    return " ".join(text.split())


def added(theirs: Seen, forwarded: Seen) -> list[str]:
    """What the model is told beyond what its client sent, all of which is as it was. `tool_choice`
    is another matter."""
    sent, went = _items(theirs), _items(forwarded)
    rest = [{k: v for k, v in seen.json.items() if k not in _APART} for seen in (theirs, forwarded)]
    assert rest[0] == rest[1]
    assert went[: len(sent)] == sent
    return [str(item.get("text", item.get("content"))) for item in went[len(sent) :]]


def _items(seen: Seen) -> list[dict[str, Json]]:
    """The history, flat: a message for each of its blocks."""
    body = seen.json
    items = body.get("messages", body.get("input"))
    assert isinstance(items, list)
    flat: list[dict[str, Json]] = []
    for item in items:
        assert isinstance(item, dict)
        content = item.get("content")
        if seen.path.endswith("/messages") and isinstance(content, list):
            flat += [
                {"role": item["role"], **block} for block in content if isinstance(block, dict)
            ]
        else:
            flat.append(item)
    return flat


def withheld(forwarded: Seen) -> bool:
    """Whether the request says, as its dialect does, that no tool may be called."""
    return forwarded.json.get("tool_choice") in ("none", {"type": "none"})
