"""What becomes of the tool calls of an answer. Pure; asked call by call, in their order."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from proxy.core.globs import matches
from proxy.core.tools.facts import effect_of
from proxy.core.tools.policy import Tools
from proxy.core.tools.state import ToolState
from proxy.core.usage import ToolCall

Fate = Literal[
    "hand",  # to the agent
    "give",  # the model is given the recorded result, or what a human said to it
    "double",  # it is in this turn already: its result will be that of the other
    "reject",  # the policy refuses duplicates
    "ask",  # a human approves it first
    "deny",  # the policy has no such tool
]


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A call and what becomes of it. digest: empty for a tool that no rule of effects names. seq:
    of its recorded result. refused: what a human said to it, None where none did. approved: it
    passes by a human's word alone, which counts once."""

    call: ToolCall
    fate: Fate
    digest: bytes = b""
    seq: int = 0
    refused: str | None = None
    approved: bool = False


class Bench:
    """Judges the calls of one turn. effects: of the session, or of its tree."""

    def __init__(self, tools: Tools, own: ToolState, effects: ToolState | None = None) -> None:
        self._tools = tools
        self._here: set[bytes] = set()
        self.know(own, effects)

    def know(self, own: ToolState, effects: ToolState | None = None) -> None:
        """What has become known while the turn came."""
        self._own = own
        self._effects = (own if effects is None else effects).effects

    def anew(self, judged: Judged) -> None:
        """The call was not handed out after all; it will be judged again."""
        self._here.discard(judged.digest)

    def judge(self, call: ToolCall) -> Judged:
        """What becomes of the next call."""
        tools = self._tools
        if matches(tools.deny, call.name):
            return Judged(call, "deny")
        has_effect = matches(tools.side_effects, call.name)
        needs_approval = matches(tools.require_approval, call.name)
        if not (has_effect or needs_approval):
            return Judged(call, "hand")
        digest = effect_of(call.name, call.arguments)
        if digest in self._here:
            return Judged(call, "double", digest)
        approved = bool(self._own.approved.get(digest))
        if not approved:
            refused = self._own.refused.get(digest)
            if refused is not None:
                return Judged(call, "give", digest, refused=refused)
            seq = self._effects.get(digest, 0) if has_effect else 0
            if seq:
                return self._duplicate(call, digest, seq)
            if needs_approval:
                return self._asked(call, digest)
        self._here.add(digest)
        return Judged(call, "hand", digest, approved=approved)

    def _duplicate(self, call: ToolCall, digest: bytes, seq: int) -> Judged:
        if self._tools.on_duplicate == "ask":
            return self._asked(call, digest, seq)
        fate: Fate = "reject" if self._tools.on_duplicate == "reject" else "give"
        return Judged(call, fate, digest, seq)

    def _asked(self, call: ToolCall, digest: bytes, seq: int = 0) -> Judged:
        self._here.add(digest)
        return Judged(call, "ask", digest, seq)


Outcome = Literal["pass", "withhold", "follow", "reject", "ask", "deny"]
_STRONGEST: tuple[Literal["deny", "reject", "ask"], ...] = ("deny", "reject", "ask")


def outcome(judged: Iterable[Judged]) -> Outcome:
    """What becomes of a whole answer: it passes, passes without some calls, goes back to the model
    with results, or is not given."""
    fates = {one.fate for one in judged}
    for fate in _STRONGEST:
        if fate in fates:
            return fate
    if fates.isdisjoint(("give", "double")):
        return "pass"
    return "withhold" if "hand" in fates else "follow"


def of_fate(judged: Sequence[Judged], *fates: Fate) -> tuple[Judged, ...]:
    return tuple([one for one in judged if one.fate in fates])
