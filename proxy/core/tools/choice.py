"""Which tool a request forces the model to call."""

import msgspec

_CHOICE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NAMED = msgspec.json.Decoder(dict[str, object])


def chosen_tool(choice: bytes | None) -> str | None:
    """The tool that a `tool_choice` (or `function_call`) names, as JSON; None where it names none.

    {"name"}, {"function": {"name"}} and {"custom": {"name"}}, for a provider's own {"type"}.
    """
    if not choice or not choice.startswith(b"{"):
        return None
    try:
        members = _CHOICE.decode(choice)
        for key in ("function", "custom"):
            if bytes(members.get(key, msgspec.Raw())).startswith(b"{"):
                return _text(_NAMED.decode(members[key]).get("name"))
        named = _NAMED.decode(choice)
    except (ValueError, RecursionError):
        return None
    return _text(named.get("name")) or _text(named.get("type"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
