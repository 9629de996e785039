"""The policy key `tools` as frozen values. Its defaults are those of `policies/default.yaml`."""

from dataclasses import dataclass, field
from typing import Literal

from proxy.core.globs import any_matches, matches

OnDuplicate = Literal["replay", "reject", "ask"]
ToolScope = Literal["session", "tree"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What is done about single tools, by globs on their names.

    side_effects: the same call is not handed to the agent again once it has a result; what happens
        instead says on_duplicate. scope: in one session, or in all sessions of a tree.
    max_replays: how often in one step the model is given recorded results before it is refused.
    deny: never offered, never handed. require_approval: a human approves each call first.
    globs: all of them; empty where no tool is named.
    """

    side_effects: tuple[str, ...] = ()
    on_duplicate: OnDuplicate = "replay"
    scope: ToolScope = "session"
    max_replays: int = 3
    deny: tuple[str, ...] = ()
    require_approval: tuple[str, ...] = ()
    globs: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        globs = (*self.side_effects, *self.deny, *self.require_approval)
        object.__setattr__(self, "globs", globs)

    def guards(self, offered: tuple[str, ...]) -> bool:
        """Whether one of these tools is named."""
        return any_matches(self.globs, offered)

    def names(self, tool: str) -> bool:
        """Whether this tool is named."""
        return matches(self.globs, tool)


NO_TOOLS = Tools()
