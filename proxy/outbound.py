"""What goes to the provider: URL, headers and body, changed only where a decision says so."""

from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from proxy.core.changes import Changes
from proxy.core.decision import Admit
from proxy.core.loops.wording import notes_of
from proxy.core.policy import Policy, Upstream
from proxy.intake import Call
from proxy.replies import dialect_of
from proxy.wire import Head, Headers, Outgoing, Timeouts
from proxy.wire.headers import Kind, forwarded

_NET_SECONDS = 5.0


def outgoing(call: Call, admit: Admit) -> Outgoing:
    """The request as it is forwarded; its bytes are the client's unless something had to change."""
    request, output_bound, loop = call.request, admit.output_bound, admit.loop
    notes, concludes = admit.guidance, False
    if loop is not None:
        # Where tools are forced the run ends by a call: without one its client takes it for broken.
        notes = (*notes_of(loop, must_call=request.forces_tool), *notes)
        concludes = loop.rung == "final_answer" and not request.forces_tool
    ask_usage = request.stream and asks_usage(call)
    model = call.model if call.model != request.model else None
    body, dropped = call.raw, Kind.NONE
    if ask_usage or model is not None or output_bound is not None or notes:
        changes = Changes(
            output_bound=output_bound,
            ask_usage=ask_usage,
            model=model,
            notes=notes,
            withhold_tools=concludes,
        )
        changed = dialect_of(request.dialect).rewrite(call.body, request, changes)
        if changed is not call.body:
            body, dropped = changed, Kind.CONTENT_ENCODING
    headers = _governed_headers(call.head, call.upstream, dropped)
    url = upstream_url(call.upstream, call.rest)
    return Outgoing("POST", url, headers, body, call.head.same)


class _Chosen(msgspec.Struct, frozen=True, gc=False):
    """What goes to an upstream of headers that come again."""

    upstream: Upstream
    dropped: int
    headers: Headers


def _governed_headers(head: Head, upstream: Upstream, dropped: int) -> Headers:
    """Chosen once for heads that differ in nothing but their length, which never goes on. A policy
    that was read anew has other upstreams, be they equal or not."""
    same = head.same
    if same is None:
        return upstream_headers(head.headers, upstream, governed=True, dropped=dropped)
    chosen = same.get(_Chosen)
    if (
        not isinstance(chosen, _Chosen)
        or chosen.upstream is not upstream
        or chosen.dropped != dropped
    ):
        headers = upstream_headers(head.headers, upstream, governed=True, dropped=dropped)
        same[_Chosen] = chosen = _Chosen(upstream, dropped, headers)
    return chosen.headers


def asks_usage(call: Call) -> bool:
    """Whether the usage that a stream carries is our question, not the client's."""
    return (
        call.request.dialect in ("chat", "completions")
        and not call.request.include_usage
        and call.upstream.include_usage
    )


def upstream_url(upstream: Upstream, rest: str) -> str:
    """Where `rest` (a path under /v1, with its query) is at this upstream.

    A base URL names what the client's SDK would be given: with /v1 for OpenAI's, without it for
    Anthropic's; either is understood. What is beside /v1 here (/v1beta) is beside it there.
    """
    base = _base(upstream.base_url, upstream.dialect)
    if rest == "/v1" or rest.startswith(("/v1/", "/v1?")):
        return base + rest.removeprefix("/v1")
    return base.removesuffix("/v1") + rest


@lru_cache(1_024)
def _base(base_url: str, dialect: str) -> str:
    base = base_url.rstrip("/")
    if dialect == "anthropic" and not urlsplit(base).path.endswith("/v1"):
        base += "/v1"
    return base


def upstream_headers(
    headers: Headers, upstream: Upstream, *, governed: bool, dropped: int = Kind.NONE
) -> Headers:
    """The client's headers without those that end here, with the upstream's own key if any.

    A body that is only relayed keeps its length: providers refuse a file that comes without one.
    """
    dropped |= Kind.ANSWERED_HERE
    if governed:
        dropped |= Kind.ACCEPT_ENCODING | Kind.LENGTH
    if upstream.api_key is None:
        return forwarded(headers, dropped)
    kept = forwarded(headers, dropped | Kind.CREDENTIAL)
    if upstream.dialect == "anthropic":
        return (*kept, ("x-api-key", upstream.api_key))
    return (*kept, ("authorization", f"Bearer {upstream.api_key}"))


def timeouts(policy: Policy) -> Timeouts:
    """The policy's time-outs for one attempt. In all it ends with its call's deadline, which is
    kept elsewhere and says more: the wire's own is the net below it."""
    t = policy.timeouts
    total = policy.deadline_seconds + _NET_SECONDS
    return Timeouts(connect=t.connect, head=t.head, idle=t.idle, total=total)
