"""What a `/v1/responses` request offers the model to call, and how less of it is offered."""

from proxy.core.edits import Draft
from proxy.core.request import Request

_NONE = b'"none"'


def withhold(draft: Draft, request: Request) -> None:
    """The model may call nothing, not even what the provider runs by itself. The tools stay where
    they are: they are the beginning of what the provider has cached. A stored prompt may bring some
    that are not seen here."""
    if request.offered_tools or draft.value("prompt") is not None:
        draft.members["tool_choice"] = _NONE
