"""What of a stream cannot be read here, though a client may read it: SDKs do not check types, and
take an id that is a number, or half of a surrogate pair."""

import json

_CALLS = frozenset({"tool_calls", "function_call", "partial_json"})
_KINDS = ("tool", "call")


def may_be_a_call(data: bytes) -> bool:
    """Whether a client could find a part of a tool call in it."""
    try:
        return _has_call(json.loads(data))
    except RecursionError:
        return True
    except ValueError:  # not JSON: no client can read it either
        return False


def _has_call(said: object) -> bool:
    if isinstance(said, list):
        return any(map(_has_call, said))
    if not isinstance(said, dict):
        return False
    kind = said.get("type")
    if isinstance(kind, str) and any(one in kind for one in _KINDS):
        return True
    for key, value in said.items():
        if (key in _CALLS and value and isinstance(value, list | dict | str)) or _has_call(value):
            return True
    return False
