"""The admin API described for machines, served at /api/v1/openapi.json."""

from proxy import __version__
from proxy.admin.openapi_records import DELETE, RESUME, SEQ, record_paths
from proxy.admin.shapes import Json
from proxy.core.guidance import MOST_CHARACTERS

_SESSION: Json = {
    "name": "session",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"},
}
_TENANT: Json = {
    "name": "tenant",
    "in": "query",
    "description": "Needed only where several tenants use the id (409 says which).",
    "schema": {"type": "string"},
}


def _ok(what: str, kind: str = "application/json") -> Json:
    return {"200": {"description": what, "content": {kind: {}}}}


def _query(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": "string"},
    }


def _on_session(summary: str, body: Json = None) -> Json:
    operation: dict[str, Json] = {
        "summary": summary,
        "parameters": [_SESSION, _TENANT],
        "responses": _ok("the session"),
    }
    if body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


_AMOUNTS: Json = {
    "type": "object",
    "description": "Limit name → what is added to it: counts whole, money in USD.",
    "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
    "minProperties": 1,
}
_CALL: dict[str, Json] = {
    "type": "string",
    "description": "The held tool call's id, or its handoff's where several have the same id.",
}
_TEXT: dict[str, Json] = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}
_GUIDANCE: Json = {"type": "object", "properties": {"message": _TEXT}, "required": ["message"]}
_HELD: Json = {
    "type": "object",
    "properties": {"tool_call_id": _CALL},
    "required": ["tool_call_id"],
}
_DENIED: Json = {
    "type": "object",
    "properties": {"tool_call_id": _CALL, "message": {"type": "string"}},
    "required": ["tool_call_id"],
}
_FILTERS: list[Json] = [
    _query("state", "active, warned, paused, awaiting_human, killed, finished or deleted"),
    _query("agent", "the agent's name"),
    _query("tenant", "the tenant's name"),
    _query("limit", "rows a page, up to 1000 (default 100)"),
    _query("cursor", "next_cursor of the page before"),
]
_BREAKER = "/api/v1/breakers/{upstream}/{model}"


def _named(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
    }


_WHICH: list[Json] = [
    _named("upstream", "an upstream of the policy"),
    _named("model", "as the provider is asked for it; may hold slashes"),
]
_OPEN_FOR: Json = {
    "type": "object",
    "properties": {"seconds": {"type": "number", "exclusiveMinimum": 0}},
}
_ONE = "/api/v1/sessions/{session}"

DOCUMENT: dict[str, Json] = {
    "openapi": "3.1.0",
    "info": {"title": "Holdfast admin API", "version": __version__},
    "security": [{"token": []}],
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "paths": {
        "/api/v1/sessions": {
            "get": {
                "summary": "Sessions, newest first",
                "parameters": _FILTERS,
                "responses": _ok("{sessions, next_cursor}"),
            }
        },
        _ONE: {
            "get": _on_session("One session"),
            "delete": {**DELETE, "parameters": [_SESSION, _TENANT, SEQ]},
        },
        **record_paths(_ONE, _SESSION, _TENANT),
        _ONE + "/events": {"get": _on_session("Its log, from the event after `after`")},
        _ONE + "/kill": {"post": _on_session("Cut its streams and refuse the rest")},
        _ONE + "/pause": {"post": _on_session("Refuse its calls until it is resumed")},
        _ONE + "/resume": {"post": _on_session("End a pause", RESUME)},
        _ONE + "/extend": {
            "post": _on_session("Add to its limits; if it waits at one, it goes on", _AMOUNTS)
        },
        _ONE + "/guide": {
            "post": _on_session("Put a message before its next step; it goes on", _GUIDANCE)
        },
        _ONE + "/approve": {"post": _on_session("Let a held tool call through", _HELD)},
        _ONE + "/deny": {
            "post": _on_session("Refuse a held tool call; the model is told so", _DENIED)
        },
        "/api/v1/handoffs": {
            "get": {
                "summary": "What stands before a human: sessions that wait first, oldest first",
                "parameters": [
                    _query("tenant", "the tenant's name"),
                    _query("limit", "how many, up to 1000 (default 100)"),
                ],
                "responses": _ok("{handoffs}"),
            }
        },
        "/api/v1/breakers": {
            "get": {
                "summary": "Breakers of upstreams and models, those that are not closed first",
                "parameters": [
                    _query("state", "closed, half-open or open"),
                    _query("upstream", "the upstream's name"),
                    _query("limit", "how many, up to 1000 (default 100)"),
                ],
                "responses": _ok("{breakers}"),
            }
        },
        _BREAKER + "/open": {
            "post": {
                "summary": "Ask it nothing until it is closed by hand, or for `seconds`",
                "parameters": _WHICH,
                "requestBody": {"content": {"application/json": {"schema": _OPEN_FOR}}},
                "responses": _ok("the breaker"),
            }
        },
        _BREAKER + "/close": {
            "post": {
                "summary": "Let calls go, those with callers' own keys as well",
                "parameters": _WHICH,
                "responses": _ok("the breaker"),
            }
        },
        "/api/v1/policy": {
            "get": {"summary": "The policy in force", "responses": _ok("{policy, warnings, error}")}
        },
        "/api/v1/policy/reload": {
            "post": {
                "summary": "Read the policy file now",
                "responses": {
                    "200": {"description": "applied or unchanged"},
                    "422": {"description": "refused: the old policy stays; `error` says why"},
                },
            }
        },
        "/api/v1/stream": {
            "get": {
                "summary": "Events as they happen",
                "responses": _ok("server-sent events", "text/event-stream"),
            }
        },
    },
}
