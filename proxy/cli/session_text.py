"""Checkpoints and differences of steps as text for a terminal. What models and agents wrote is
escaped (it could move the cursor) and cut."""

import json
from collections.abc import Iterator, Sequence

from proxy.admin.shapes import Json
from proxy.cli.tables import plain

_LISTS = {"responses": "input", "completions": "prompt", "embeddings": "input"}
_SHOWN = 120
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def checkpoint_text(found: dict[str, Json]) -> str:
    """What a step sent, what it was answered, what is to follow."""
    lines = [f"{name:<12} {value}" for name, value in _facts(found)]
    sent = _messages(found, found["request"])
    lines += [f"request      {_count(len(sent), 'message')}"]
    lines += [f"  [{at}] {_told(part)}" for at, part in enumerate(sent)]
    answer, following = found["answer"], found["next"]
    if isinstance(answer, dict):
        said = []
        if isinstance(following, dict):
            said = [_told(part) for part in _messages(found, following["body"])[len(sent) :]]
        body = answer["text"] if answer["body"] is None else answer["body"]
        lines += [f"answer       {answer['status']}", *[f"  {one}" for one in said or [_cut(body)]]]
    if isinstance(following, dict):
        owed = [one for one in _parts(following["owed"]) if isinstance(one, dict)]
        lines += [f"owed         {_count(len(owed), 'result')}"] + [
            f"  {_owed(one)}" for one in owed
        ]
    lines += [f"note         {plain(str(note))}" for note in _parts(found["notes"])]
    return "\n".join(lines)


def difference_text(found: dict[str, Json]) -> str:
    """One line a message, a tool and a parameter: + came, - went, ~ changed."""
    same = _count(found["same"], "message")
    lines = [f"step {found['from']} -> step {found['to']}: {same} the same"]
    for one in _parts(found["messages"]):
        assert isinstance(one, dict)
        place = one["was"] if one["at"] is None else one["at"]
        sign, paths = _SIGNS[str(one["change"])], ", ".join(map(str, _parts(one["paths"])))
        shown = one["before"] if one["after"] is None else one["after"]
        lines.append(f"{sign} [{place}] {_told(shown)}")
        if paths:
            lines.append(f"      differs in {plain(paths)}")
    for title, name in (("tool", "tools"), ("parameter", "parameters")):
        for one in _parts(found[name]):
            assert isinstance(one, dict)
            lines.append(_setting(title, one))
    if len(lines) == 1:
        lines.append("nothing differs")
    return "\n".join(lines)


def _facts(found: dict[str, Json]) -> Iterator[tuple[str, str]]:
    held, totals = found["held"], found["totals"]
    assert isinstance(held, dict)
    assert isinstance(totals, dict)
    yield "checkpoint", f"{found['checkpoint']} of {found['last_step']}"
    yield "path", f"{found['path']} ({found['dialect']}, {plain(str(found['model']))})"
    yield "outcome", _outcome(found)
    yield "attempts", str(len(_parts(found["attempts"])))
    calls = _parts(held["calls"])
    yield "held", f"{_usd(held['usd'])} by {_count(len(calls), 'call')}" if calls else "nothing"
    steps = _count(totals["steps"], "step")
    yield "so far", f"{steps}, {totals['tokens']} tokens, {_usd(totals['cost_usd'])}"


def _outcome(found: dict[str, Json]) -> str:
    if found["inherited"]:
        return "of the session that this one was forked from"
    if found["outcome"] is None:
        return "in flight"
    return f"{found['outcome']} ({found['status']}), {_usd(found['cost_usd'])}"


def _usd(amount: Json) -> str:
    return f"{amount:.6f} USD" if isinstance(amount, int | float) else "-"


def _count(number: Json, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _messages(found: dict[str, Json], body: Json) -> Sequence[Json]:
    if not isinstance(body, dict):
        return []
    return _parts(body.get(_LISTS.get(str(found["dialect"]), "messages")))


def _parts(value: Json) -> Sequence[Json]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _told(part: Json) -> str:
    """Who speaks, and what."""
    if not isinstance(part, dict):
        return _cut(part)
    who = plain(str(part.get("role") or part.get("type") or "?"))
    said = [_said(one) for one in _parts(part.get("content"))]
    said += [_called(one) for one in _parts(part.get("tool_calls"))]
    said += [_said(one) for one in _parts(part.get("output"))]
    if "name" in part and "content" not in part:
        said.append(_called(part))
    if not said:
        said.append(json.dumps(part, ensure_ascii=False))
    return f"{who:<10} {_cut(' '.join(filter(None, said)))}"


def _said(part: Json) -> str:
    """A text, a part of one, a call or a result."""
    if not isinstance(part, dict):
        return str(part)
    if isinstance(text := part.get("text"), str):
        return text
    if "name" in part:
        return _called(part)
    inner = _parts(part.get("content"))
    return " ".join(map(_said, inner)) if inner else json.dumps(part, ensure_ascii=False)


def _called(call: Json) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    named = function if isinstance(function, dict) else call
    if not isinstance(named, dict):
        return str(named)
    asked = next((named[key] for key in ("arguments", "input") if key in named), "")
    written = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
    return f"{named.get('name')}({written})"


def _owed(one: dict[str, Json]) -> str:
    known = f" = {_cut(one['result'])}" if "result" in one else ""
    return f"{plain(str(one['id']))}  {plain(str(one['tool']))}({_cut(one['arguments'])}){known}"


def _setting(title: str, one: dict[str, Json]) -> str:
    sign, name = _SIGNS[str(one["change"])], plain(str(one["name"]))
    if title == "tool":
        return f"{sign} tool {name}"
    values = {"+": _cut(one["after"]), "-": _cut(one["before"])}
    return f"{sign} {name}: {values.get(sign) or _cut(one['before']) + ' -> ' + _cut(one['after'])}"


def _cut(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
