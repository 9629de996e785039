"""The part of the OpenAPI document that is about the record of sessions."""

from proxy.admin.shapes import Json

_ID: dict[str, Json] = {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"}
_STEP: dict[str, Json] = {"type": "integer", "minimum": 1}
_FORK: Json = {
    "type": "object",
    "properties": {
        "step": {**_STEP, "description": "the last step that the fork has (default: its last)"},
        "session": {**_ID, "description": "its id (default: made from the session's)"},
    },
}
RESUME: Json = {
    "type": "object",
    "properties": {
        "replay": {
            "type": "boolean",
            "description": "from now on its calls are answered from the record as well",
        }
    },
}
_FILE = "application/octet-stream"


def _in_query(name: str, description: str, schema: Json, *, required: bool = False) -> Json:
    about: dict[str, Json] = {"description": description, "required": required, "schema": schema}
    return {"name": name, "in": "query", **about}


def _answer(description: str, kind: str = "application/json") -> Json:
    return {"description": description, "content": {kind: {}}}


_FORKED: Json = {
    "201": _answer("the new session; calls to its `path` replay up to the step"),
    "404": {"description": "unknown_step"},
    "409": {"description": "session_exists, nothing_kept"},
}
_EXPORTED: Json = {"200": _answer("the file, with a digest at its end", _FILE)}
_IMPORT: Json = {
    "summary": "Take in a session that another ledger exported",
    "parameters": [
        _in_query("as", "its id here (default: the one that it had)", _ID),
        _in_query("tenant", "its tenant here (default: the one that it had)", {"type": "string"}),
    ],
    "requestBody": {"content": {_FILE: {}}},
    "responses": {
        "201": _answer("the session, with `imported`: where it came from"),
        "400": {"description": "bad_export: the message says why"},
        "409": {"description": "session_exists"},
    },
}


_AT_STEP: list[Json] = [
    _in_query("step", "default: the last, which may be in flight", _STEP),
    _in_query(
        "raw",
        "1: the request's body alone, byte for byte; next: the one to go on with",
        {"type": "string", "enum": ["0", "1", "next"]},
    ),
]
_SHOWN: Json = {
    "200": _answer(
        "request and answer, `next`: the body to go on with and the tool calls that are owed, "
        "`held`: what was open then, totals"
    ),
    "404": {"description": "unknown_step"},
    "409": {"description": "content_missing: the message says why, and what to set"},
}
_BETWEEN: list[Json] = [
    _in_query("from", "a step", _STEP, required=True),
    _in_query("to", "another one", _STEP, required=True),
]
_DIFFERENCE: Json = {"200": _answer("{same, messages, tools, parameters}")}


def record_paths(one: str, session: Json, tenant: Json) -> dict[str, Json]:
    """By path. one: that of one session; session, tenant: its parameters."""
    on: list[Json] = [session, tenant]
    fork: Json = {
        "summary": "A new session that goes on from a step of this one",
        "parameters": on,
        "requestBody": {"content": {"application/json": {"schema": _FORK}}},
        "responses": _FORKED,
    }
    summary = "The session as one file"
    export: Json = {"summary": summary, "parameters": on, "responses": _EXPORTED}
    checkpoint: Json = {
        "summary": "What one of its steps sent and was answered, and what to go on with",
        "parameters": [*on, *_AT_STEP],
        "responses": _SHOWN,
    }
    difference: Json = {
        "summary": "What the requests of two of its steps differ in",
        "parameters": [*on, *_BETWEEN],
        "responses": _DIFFERENCE,
    }
    return {
        one + "/checkpoint": {"get": checkpoint},
        one + "/diff": {"get": difference},
        one + "/fork": {"post": fork},
        one + "/export": {"get": export},
        "/api/v1/sessions/import": {"post": _IMPORT},
    }


SEQ = _in_query("seq", "only if its log ends with this event", {"type": "integer"})
DELETE: dict[str, Json] = {
    "summary": "Delete it; a tombstone stays in the chain",
    "responses": {
        "200": _answer("{session, tenant, state}"),
        "409": {"description": "session_busy: a call is under way; session_changed: see `seq`"},
    },
}
