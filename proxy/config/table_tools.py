"""The keys of `tools`."""

from typing import Final

from proxy.config.containers import Key, ListOf, Struct, unbuilt
from proxy.config.scalars import Choice, Text, Whole
from proxy.core.tools.policy import Tools

_GLOB: Final = Text("text, where * and ? stand for other text", r"[^\x00-\x1f]+", 256)

TOOLS: Final = Struct(
    Tools,
    (
        Key("side_effects", ListOf(_GLOB),
            "Globs: a call that has a result already is not handed to the agent again."),
        Key("on_duplicate", Choice(("replay", "reject", "ask")),
            "What happens to it: the model is given the result, the call is refused, or a human "
            "is asked."),
        Key("scope", Choice(("session", "tree")),
            "Where it has a result: in this session, or in any of its tree."),
        Key("max_replays", Whole(1, 20),
            "How often in one step the model is given such results before it is refused."),
        Key("deny", ListOf(_GLOB),
            "Globs: tools that are neither offered nor handed to the agent."),
        Key("require_approval", ListOf(_GLOB),
            "Globs: calls that a human approves before the agent sees them."),
        *unbuilt("prune"),
    ),
)  # fmt: skip
