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
        {"name": "as", "in": "query", "description": "its id here", "schema": _ID},
        {
            "name": "tenant",
            "in": "query",
            "description": "its tenant here (default: the one that it had)",
            "schema": {"type": "string"},
        },
    ],
    "requestBody": {"content": {_FILE: {}}},
    "responses": {
        "201": _answer("the session, with `imported`: where it came from"),
        "400": {"description": "bad_export: the message says why"},
        "409": {"description": "session_exists"},
    },
}


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
    return {
        one + "/fork": {"post": fork},
        one + "/export": {"get": export},
        "/api/v1/sessions/import": {"post": _IMPORT},
    }


DELETE: dict[str, Json] = {
    "summary": "Delete it; a tombstone stays in the chain",
    "responses": {
        "200": _answer("{session, tenant, state}"),
        "409": {"description": "session_busy: a call is under way"},
    },
}
