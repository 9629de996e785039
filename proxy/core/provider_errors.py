"""What the body of a provider's error says, in whatever shape: read in bounds, never raising."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.sse import SseSplitter

_MOST_BYTES: Final = 65_536
_MOST_CHARACTERS: Final = 200
_MOST_WORDS: Final = 32
_CREDENTIAL: Final = re.compile(
    r"(?i)(?<=://)[^\s/@]+(?=@)"  # user:password of a URL
    r"|\b(?:bearer\s+\S{4,}|basic\s+(?=\S*[\d=])[\w+/=]{8,}|AIza[\w-]{6,}|AKIA\w{8,}|eyJ[\w.-]{10,}"
    r"|(?:sk|rk|pk|gsk|csk|xai|key|api|hf|r8|gh[a-z]|github_pat|glpat|nvapi|pplx|sess)[-_][\w*.-]{6,})"
    r"|(?:api[-_]?key|token|secret|password|authorization)['\"]?\s*[=:]\s*['\"]?[^\s'\",;&]{6,}"
)
_WORDY: Final = ("code", "type", "status", "reason", "quotaId", "name")


class Said(msgspec.Struct, frozen=True):
    """words: what is meant for programs (codes, types, reasons), in lower case. message: for
    humans, as it came; never to be trusted, for it may quote the client. reset: when it may be
    asked again, unread. status: that an error says of itself, 0 for none. is_json: whether it is
    an error of an API at all."""

    words: frozenset[str] = frozenset()
    message: str = ""
    reset: str = ""
    status: int = 0
    is_moderation: bool = False
    is_json: bool = False


NOTHING: Final = Said()


def read_error(body: bytes) -> Said:
    """`{"error": {...}}` of OpenAI's and Anthropic's kind, Google's list of it, Mistral's and
    FastAPI's bare ones; also as the data of an event, and within a response that failed."""
    if len(body) > _MOST_BYTES or not body:
        return NOTHING
    try:
        decoded: object = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return NOTHING
    if isinstance(decoded, list):
        decoded = decoded[0] if decoded else None
    if not isinstance(decoded, dict):
        return NOTHING
    response = decoded.get("response")
    if isinstance(response, dict):
        decoded = response
    inner = decoded.get("error") or decoded
    if isinstance(inner, str):
        return Said(message=inner, is_json=True)
    if not isinstance(inner, dict):
        return Said(is_json=True)
    return _read(inner, decoded)


def ending_of(stream: bytes) -> bytes:
    """The data of the event that ends a stream which told an error. `[DONE]` may follow it (vLLM),
    and the error may quote what the client sent (`data:` of a URL): it is not found by that."""
    splitter = SseSplitter(max(1, len(stream)))
    last = b""
    for event in (*splitter.feed(stream), splitter.close()):
        if event is not None and event.data.lstrip().startswith(b"{"):
            last = event.data
    return last


def shown(message: str) -> str:
    """A provider's words for others to see: one line, bounded, without what looks like a key."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message[:2_000]).split())
    line = _CREDENTIAL.sub("[a key]", line)
    return line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + "…"


def _read(inner: dict[str, object], outer: dict[str, object]) -> Said:
    details = list(_details(inner))
    words = [value for part in (outer, inner, *details) for value in _words(part)]
    message = next((v for v in (inner.get("message"), inner.get("detail")) if _is_text(v)), "")
    code, metadata = inner.get("code"), inner.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    sent = metadata.get("headers")
    sent = sent if isinstance(sent, dict) else {}
    resets = [detail.get("retryDelay") for detail in details]
    resets += [value for name, value in sent.items() if name.lower() == "x-ratelimit-reset"]
    return Said(
        words=frozenset(words[:_MOST_WORDS]),
        message=str(message),
        reset=next((value for value in resets if isinstance(value, str)), ""),
        status=code if isinstance(code, int) and 400 <= code < 600 else 0,
        is_moderation="flagged_input" in metadata or "reasons" in metadata,
        is_json=True,
    )


def _details(inner: dict[str, object]) -> Iterator[dict[str, object]]:
    """Google's, and those within them that name what is used up."""
    details = inner.get("details")
    for detail in details[:_MOST_WORDS] if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield detail
            violations = detail.get("violations")
            for one in violations[:_MOST_WORDS] if isinstance(violations, list) else ():
                if isinstance(one, dict):
                    yield one


def _words(part: dict[str, object]) -> Iterator[str]:
    for name in _WORDY:
        value = part.get(name)
        if isinstance(value, str) and len(value) <= _MOST_CHARACTERS:
            yield value.lower()


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
