"""What a `/v1/messages` request offers the model to call, and how less of it is offered."""

from proxy.core.edits import Draft, is_empty
from proxy.core.request import Request

_NONE = b'{"type":"none"}'


def withhold(draft: Draft, request: Request) -> None:
    """The model may call nothing. The tools stay: a history with `tool_use` is refused without any,
    and they are the beginning of what is cached. `disable_parallel_tool_use` goes with the choice
    that it belonged to, for "none" takes no other field.

    XXX Bedrock's and older vLLM's imitations know no "none" and refuse the call. There is nothing
    to send them instead: without the tools they refuse the history.
    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use (2026-11-30)
    """
    span = draft.span("tools")
    if span is not None and not is_empty(draft.body, span) and not request.tools_disabled:
        draft.members["tool_choice"] = _NONE
