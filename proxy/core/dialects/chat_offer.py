"""What a chat request offers the model to call, and how less of it is offered."""

from proxy.core.edits import Draft, is_empty

_OFFERS = (("tools", "tool_choice"), ("functions", "function_call"))
"""Where tools are offered, today and before, and where it is said which may be called."""
_NONE = b'"none"'


def withhold(draft: Draft) -> None:
    """The model may call nothing. The tools stay where they are: they are the beginning of what the
    provider has cached. Without any, OpenAI refuses the choice."""
    for offered, choice in _OFFERS:
        span = draft.span(offered)
        if span is not None and not is_empty(draft.body, span):
            draft.members[choice] = _NONE
