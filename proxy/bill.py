"""What a call came to: from what was metered to a `Settlement`. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from proxy.core.decision import Admit
from proxy.core.events import Outcome
from proxy.core.loops.turns import asked_by
from proxy.core.pricing import cost_micro_usd
from proxy.core.usage import Answer, Extras, Usage
from proxy.intake import Call
from proxy.reservation import Settlement

_MOST = 10**12
"""A million dollars, or so many tokens: more is a broken provider's, and sums have to be stored."""


def failed(status: int) -> Settlement:
    """The provider answered with an error, or was never asked (status 0): nothing is billed."""
    return Settlement("failed", status, 0, None, 0)


NO_ANSWER = Answer()


def unpaid(answer: Answer, links: tuple[bytes, ...], asked: bytes) -> Settlement:
    """An answer that was kept, and paid for when it came."""
    names, response_id = _names(answer), answer.response_id
    return Settlement("answered", 200, 0, None, 0, names, response_id, links=links, asked=asked)


def together(earlier: Settlement, last: Settlement) -> Settlement:
    """Two attempts of one call: what they cost is added, what it came to is the last one's."""
    return replace(
        last,
        cost_micro_usd=min(earlier.cost_micro_usd + last.cost_micro_usd, _MOST),
        tokens=min(earlier.tokens + last.tokens, _MOST),
        usage=_sum(earlier.usage, last.usage),
    )


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    """Without what only matters for the price, which is known."""
    if one is None or other is None:
        return one or other
    return Usage(
        one.input_tokens + other.input_tokens,
        one.cache_read_tokens + other.cache_read_tokens,
        one.cache_write_tokens + other.cache_write_tokens,
        one.cache_write_1h_tokens + other.cache_write_1h_tokens,
        one.output_tokens + other.output_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        one.input_audio_tokens + other.input_audio_tokens,
        one.output_audio_tokens + other.output_audio_tokens,
    )


def whole_hold(
    admit: Admit,
    outcome: Outcome,
    status: int,
    answer: Answer = NO_ANSWER,
    links: tuple[bytes, ...] = (),
    asked: bytes = b"",
) -> Settlement:
    """Sent, and nothing is known of what it used: the worst case is booked."""
    return Settlement(
        outcome=outcome,
        status=status,
        cost_micro_usd=admit.hold_cost_micro_usd,
        usage=None,
        tokens=admit.hold_input_tokens + admit.output_allowance,
        tools=_names(answer),
        response_id=answer.response_id,
        links=links,
        asked=asked,
    )


def complete(
    call: Call, usage: Usage, answer: Answer, status: int, links: Sequence[bytes] = ()
) -> Settlement:
    """The provider's own figures."""
    return _settlement(call, "answered", status, usage, answer, tuple(links))


def counted(
    call: Call,
    admit: Admit,
    outcome: Outcome,
    usage: Usage | None,
    output_tokens: int,
    answer: Answer,
    links: Sequence[bytes] = (),
) -> Settlement:
    """A stream without final figures: the input, and the larger of what was counted and said."""
    if usage is None:
        usage = Usage(
            input_tokens=admit.hold_input_tokens,
            output_tokens=output_tokens,
            extras=Extras(terms=call.request.exposure.terms),
        )
    elif output_tokens > usage.output_tokens:
        usage = replace(usage, output_tokens=output_tokens, billed_cost_micro_usd=None)
    return _settlement(call, outcome, 200, usage, answer, tuple(links))


def _settlement(
    call: Call,
    outcome: Outcome,
    status: int,
    usage: Usage,
    answer: Answer,
    links: tuple[bytes, ...],
) -> Settlement:
    return Settlement(
        outcome=outcome,
        status=status,
        cost_micro_usd=min(cost_micro_usd(call.price, usage), _MOST) if call.price else 0,
        usage=usage,
        tokens=min(usage.total_tokens, _MOST),
        tools=_names(answer),
        response_id=answer.response_id,
        links=links,
        asked=asked(call, outcome, answer),
    )


def asked(call: Call, outcome: Outcome, answer: Answer) -> bytes:
    """What the answer asks to be called, where loops are looked for. One that broke off may have
    said more than the client got: only its calls count."""
    loops = call.rules.loops
    if loops is None or call.ask.tail is None or answer is NO_ANSWER:
        return b""
    if not (answer.tool_calls or outcome == "answered"):
        return b""
    return asked_by(answer, loops)


def _names(answer: Answer) -> tuple[str, ...]:
    return tuple([tool.name for tool in answer.tool_calls]) if answer.tool_calls else ()
