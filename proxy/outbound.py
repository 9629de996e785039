"""What goes to the provider: URL, headers and body, changed only where a decision says so."""

from functools import lru_cache
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from proxy.core.changes import Changes
from proxy.core.decision import Admit
from proxy.core.loops.wording import notes_of
from proxy.core.policy import Policy, TimeoutPolicy, Upstream
from proxy.core.request import DialectName, Request
from proxy.core.routing import takes_credential
from proxy.core.tenancy import credential_of, credentials_in
from proxy.core.translation.base import Translation
from proxy.core.translation.registry import path_of
from proxy.intake import Call
from proxy.prices.maxima import published_max_output_tokens
from proxy.replies import dialect_of
from proxy.wire import Head, Headers, Outgoing, Timeouts
from proxy.wire.headers import Kind, forwarded

_NET_SECONDS = 5.0
_OF_A_DIALECT = ("anthropic-", "openai-")
_ANTHROPIC_VERSION = "2023-06-01"


class Base(msgspec.Struct, frozen=True):
    """What a call asks, whoever is asked: a body in the client's dialect, as it was read, and what
    is changed in it for all. is_bare: nothing is added that the call can be answered without."""

    body: bytes
    request: Request
    changes: Changes
    is_bare: bool = False


def base_of(call: Call, admit: Admit) -> Base:
    """What a client's own request asks."""
    return Base(call.body, call.request, changes_of(call, admit))


def outgoing(call: Call, admit: Admit, base: Base | None = None) -> Outgoing:
    """The request as it is forwarded; its bytes are the client's unless something had to change.
    base: None: what the client sent."""
    body, dropped = call.raw, Kind.NONE
    changed = changed_body(call, admit, base)
    if changed is not call.body:
        body, dropped = changed, Kind.CONTENT_ENCODING
    rest = call.rest
    if call.candidate.index and not _takes_key(call):
        dropped |= Kind.CREDENTIAL
        rest = _without_credential(rest)
    headers = _governed_headers(call.head, call.upstream, dropped)
    url = upstream_url(call.upstream, rest)
    return Outgoing("POST", url, headers, body, call.head.same)


def changed_body(call: Call, admit: Admit, base: Base | None) -> bytes:
    """What is asked of this target, in the client's dialect; the client's own object where it is
    what the client sent."""
    output_bound = admit.output_bound
    first, bare = call.candidates[0].upstream, False
    if base is None:
        body, request, changes = call.body, call.request, NO_CHANGES
        if admit.loop is not None or admit.guidance:
            changes = changes_of(call, admit)
    else:
        body, request, changes, bare = base.body, base.request, base.changes, base.is_bare
    if call.upstream is not first:  # what the first has signed, another takes for forged
        changes = replace(changes, unbound=True)
    if call.candidate.index:
        output_bound = _within_model(call, request, output_bound)
    ask_usage = request.stream and not bare and asks_usage(call)
    model = call.model if call.model != request.model else None
    if model is not None and output_bound is None:
        output_bound = _less_for(model, request.output_bound)
    if ask_usage or model is not None or output_bound is not None:
        changes = replace(changes, output_bound=output_bound, ask_usage=ask_usage, model=model)
    if changes is NO_CHANGES:
        return body
    return dialect_of(request.dialect).rewrite(body, request, changes)


def _within_model(call: Call, request: Request, output_bound: int | None) -> int | None:
    """A bound that was meant for another model may be more than this one takes, and a 400."""
    most, bound = call.ask.output_maximum, output_bound or request.output_bound
    return most if bound is not None and 0 < most < bound else output_bound


NO_CHANGES = Changes()


def _less_for(model: str, asked: int | None) -> int | None:
    """The most that a model writes, where its client, who had another in mind, asks for more: a
    provider would refuse it. (Claude Code asks for 64,000 tokens, gpt-4o writes 16,384.)"""
    most = published_max_output_tokens(model)
    return most if asked is not None and most is not None and asked > most else None


def changes_of(call: Call, admit: Admit) -> Changes:
    """What a decision has to say to the model."""
    loop, notes, concludes = admit.loop, admit.guidance, False
    if loop is not None:
        # Where tools are forced the run ends by a call: without one its client takes it for broken.
        must_call = call.request.forces_tool
        notes = (*notes_of(loop, must_call=must_call), *notes)
        concludes = loop.rung == "final_answer" and not must_call
    return Changes(notes=notes, withhold_tools=concludes) if notes else NO_CHANGES


def translated_outgoing(
    call: Call, admit: Admit, base: Base | None, between: Translation
) -> Outgoing:
    """The same in the dialect that its target speaks. Raises Untranslatable."""
    bound, spoken = admit.output_bound, call.candidate.spoken
    most = call.ask.bound_per_choice if bound is None else bound
    body = between.request(changed_body(call, admit, base), output_bound=most)
    url = upstream_url(call.upstream, path_of(spoken))
    return Outgoing("POST", url, _translated_headers(call), body)


def _translated_headers(call: Call) -> Headers:
    """The client's, without those of its dialect; its key under the name that the other has."""
    head, upstream, spoken = call.head, call.upstream, call.candidate.spoken
    dropped = Kind.CREDENTIAL | Kind.CONTENT_ENCODING
    kept = upstream_headers(head.headers, upstream, governed=True, dropped=dropped)
    kept = tuple([one for one in kept if not one[0].lower().startswith(_OF_A_DIALECT)])
    if upstream.api_key is None and _takes_key(call):
        kept = (*kept, *_key_for(spoken, head.headers))
    if spoken == "messages":
        kept = (*kept, ("anthropic-version", _ANTHROPIC_VERSION))
    return (*kept, ("accept-encoding", "identity"))


def _key_for(spoken: DialectName, headers: Headers) -> Headers:
    credential = credential_of(headers)
    if credential is None:
        return ()
    if spoken == "messages":
        return (("x-api-key", credential),)
    return (("authorization", f"Bearer {credential}"),)


def _takes_key(call: Call) -> bool:
    return takes_credential(call.candidate, call.candidates[0], call.route)


def _without_credential(rest: str) -> str:
    """A query that holds one says nothing that another provider needs."""
    path, _, query = rest.partition("?")
    return path if credentials_in(query) else rest


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
    dialect = call.request.dialect
    if dialect not in ("chat", "completions") or call.request.include_usage:
        return False
    return call.upstream.include_usage or call.candidate.spoken != dialect


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


def timeouts(call: Call) -> Timeouts:
    """The policy's time-outs for one attempt. In all it ends with its call's deadline, which is
    kept elsewhere and says more: the wire's own is the net below it."""
    return _timeouts(call.policy.timeouts, call.deadline_seconds)


def relayed_timeouts(policy: Policy) -> Timeouts:
    """Of what is only passed on."""
    return _timeouts(policy.timeouts, policy.deadline_seconds)


def _timeouts(t: TimeoutPolicy, deadline: float) -> Timeouts:
    return Timeouts(connect=t.connect, head=t.head, idle=t.idle, total=deadline + _NET_SECONDS)
