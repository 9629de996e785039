"""Rules on tools that can never fire."""

from collections.abc import Callable
from typing import Final

from proxy.config.globs import covers
from proxy.config.problems import Path
from proxy.config.reading import Reading
from proxy.core.tools.policy import NO_TOOLS, Tools

_LISTS: Final = ("deny", "side_effects", "require_approval")


def idle_tool_rules(tools: Tools, reading: Reading, is_own: Callable[[Path], bool]) -> None:
    """Warns of what a policy's `tools` say in vain. is_own: whether the file itself says it."""
    for name in _LISTS:
        _shadowed(tools, reading, name)
    settings = [("on_duplicate", not tools.side_effects), ("scope", not tools.side_effects)]
    settings.append(("max_replays", not tools.side_effects))
    for name, idle in settings:
        if idle and is_own(("tools", name)) and getattr(tools, name) != getattr(NO_TOOLS, name):
            reading.warn(("tools", name), "never fires: no side_effects")
    if tools.side_effects and tools.on_duplicate != "replay" and is_own(("tools", "max_replays")):
        message = f"never fires: on_duplicate is {tools.on_duplicate}"
        reading.warn(("tools", "max_replays"), message)


def _shadowed(tools: Tools, reading: Reading, name: str) -> None:
    globs: tuple[str, ...] = getattr(tools, name)
    for index, glob in enumerate(globs):
        path = ("tools", name, index)
        above = next((g for g in globs[:index] if covers(g, glob)), None)
        denied = next((g for g in tools.deny if covers(g, glob)), None)
        if above is not None:
            reading.warn(path, f'does nothing: "{above}" above takes all of it')
        elif name != "deny" and denied is not None:
            reading.warn(path, f'never fires: "{denied}" under deny takes all of it')
