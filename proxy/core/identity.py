"""Which session a request names itself: by path, by our headers, by what its client sends anyway.

The order is SPEC 3. What names nothing is left to `core.evidence`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import msgspec

from proxy.core.paths import PathParts, checked_id, is_session_id
from proxy.core.request import Request

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = bytes([ord(_BASE62[byte % 62]) for byte in range(256)])
_UNEVEN = bytes(range(248, 256))
SESSION_DIGITS = 22
"""131 bits of chance."""
_CLAUDE_MARK = "_session_"


class Identified(msgspec.Struct, frozen=True):
    """The session a request belongs to, and how that is known.

    session: "" only where a request that is not governed names none. source: path, header,
        client:NAME, response_id, tool_call_id, prefix, answer, retry, new, none.
    thread: one history inside the session (a sub-agent, a title call), as its client names it or
        this process found it; named_thread: by its client alone, what loops are counted in.
    is_new: the id was made for this request.
    """

    session: str
    source: str
    agent: str | None = None
    parent: str | None = None
    thread: str = ""
    is_new: bool = False
    named_thread: str = ""


class Named(msgspec.Struct, frozen=True):
    """What a request says of itself. session None: it names none."""

    session: str | None
    source: str = ""
    agent: str | None = None
    parent: str | None = None
    thread: str = ""


def _as_it_stands(value: str) -> str | None:
    return value


def _claude_session(value: str) -> str | None:
    """Claude Code's `metadata.user_id`: JSON with session_id, before 2.1 `user_…_session_UUID`.

    Everyone else's user_id names a person, not a run."""
    if value.startswith("{"):
        return _json_member(value)
    _, found, session = value.rpartition(_CLAUDE_MARK)
    return session if found and value.startswith("user_") else None


def _json_member(value: str) -> str | None:
    try:
        members = msgspec.json.decode(value, type=dict[str, object])
    except (ValueError, RecursionError):
        return None
    for key in ("session_id", "sessionId", "_session", "session"):
        if isinstance(session := members.get(key), str):
            return session
    return None


def _baggage_session(value: str) -> str | None:
    """W3C Baggage: `key=value;property, …` (w3.org/TR/baggage, read 2026-11-22)."""
    for member in value.split(","):
        key, found, rest = member.partition("=")
        if found and key.strip() == "session.id":
            return rest.partition(";")[0].strip()
    return None


@dataclass(frozen=True, slots=True)
class ClientHint:
    """A header or body field in which clients already name their run.

    user_agent: lower-case start of the user-agent that the hint is believed of; "" of any.
    parent, thread: headers beside it that name the parent session, and the history inside this one.
    """

    client: str
    place: Literal["header", "body"]
    key: str
    read: Callable[[str], str | None] = _as_it_stands
    user_agent: str = ""
    parent: str = ""
    thread: str = ""


CLIENT_HINTS: tuple[ClientHint, ...] = (
    ClientHint(
        "claude-code", "header", "x-claude-code-session-id", thread="x-claude-code-agent-id"
    ),
    ClientHint(
        "claude-code", "body", "metadata.user_id", _claude_session, thread="x-claude-code-agent-id"
    ),
    ClientHint("codex", "header", "session-id", thread="thread-id"),
    ClientHint("codex", "header", "session_id", user_agent="codex"),
    ClientHint("codex", "header", "thread-id", user_agent="codex"),
    ClientHint("codex", "header", "x-client-request-id", user_agent="codex"),
    ClientHint("codex", "body", "client_metadata.session_id"),
    ClientHint("codex", "body", "prompt_cache_key", user_agent="codex"),
    ClientHint("opencode", "header", "x-session-id", parent="x-parent-session-id"),
    ClientHint("opencode", "header", "x-session-affinity", parent="x-parent-session-id"),
    ClientHint("litellm", "header", "x-litellm-session-id"),
    ClientHint("litellm", "body", "litellm_session_id"),
    ClientHint("litellm", "body", "metadata.session_id"),
    ClientHint("portkey", "header", "x-portkey-trace-id"),
    ClientHint("portkey", "header", "x-portkey-metadata", _json_member),
    ClientHint("helicone", "header", "helicone-session-id"),
    ClientHint("openai-conversation", "body", "conversation"),
    ClientHint("baggage", "header", "baggage", _baggage_session),
)
"""The first that gives a value wins. `previous_response_id` needs the index: it comes after."""

_HEADERS = frozenset(hint.key for hint in CLIENT_HINTS if hint.place == "header")
_FIELDS = frozenset(hint.key for hint in CLIENT_HINTS if hint.place == "body")


def named_session(headers: Mapping[str, str], parts: PathParts, request: Request | None) -> Named:
    """What the request names, by lower-case headers. Raises MalformedRequest for an id in the path
    or in an `x-holdfast-*` header that cannot be one; a client's own value is hashed into one."""
    agent = parts.agent or _own_header(headers, "x-holdfast-agent")
    own_session = _own_header(headers, "x-holdfast-session")
    own_parent = parts.parent or _own_header(headers, "x-holdfast-parent")
    hint, hinted = _first_hint(headers, request)
    thread = _as_id(headers.get(hint.thread, "")) if hint is not None else None
    parent = own_parent
    if parts.session is not None:
        session, source = parts.session, "path"
    elif own_session is not None:
        session, source = own_session, "header"
    elif hint is not None and hinted is not None:
        session, source = hinted, f"client:{hint.client}"
        parent = own_parent or _as_id(headers.get(hint.parent, ""))
    else:
        return Named(None, agent=agent, parent=own_parent)
    return Named(session, source, agent, parent if parent != session else None, thread or "")


def session_digits(random_bytes: bytes) -> str:
    """Base62 digits, each as likely as any other: some 31 of 32 random bytes. A session that names
    itself nothing is `s_` and SESSION_DIGITS of them."""
    return random_bytes.translate(_DIGITS, _UNEVEN).decode()


def _own_header(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else checked_id(value, name)


def _first_hint(
    headers: Mapping[str, str], request: Request | None
) -> tuple[ClientHint | None, str | None]:
    fields: Mapping[str, str] = {} if request is None else request.hints
    if _HEADERS.isdisjoint(headers) and _FIELDS.isdisjoint(fields):
        return None, None
    user_agent = headers.get("user-agent", "").lower()
    for hint in CLIENT_HINTS:
        value = (headers if hint.place == "header" else fields).get(hint.key)
        if value and user_agent.startswith(hint.user_agent):
            session = _as_id(hint.read(value) or "")
            if session is not None:
                return hint, session
    return None, None


def _as_id(value: str) -> str | None:
    """`value` if it can be an id, a digest of it where it cannot, None where there is none."""
    value = value.strip()
    if not value or is_session_id(value):
        return value or None
    return "h_" + blake2b(value.encode("utf-8", "replace"), digest_size=16).hexdigest()
