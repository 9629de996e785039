"""Reads an unstreamed answer of `/v1/responses`, and what streams have of one."""

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from proxy.core.dialects.base import Unstreamed
from proxy.core.dialects.reported import read_list, text_or_none
from proxy.core.dialects.responses_items import ITEM, Item, read_content
from proxy.core.dialects.responses_usage import read_usage
from proxy.core.usage import Answer, ToolCall, Usage

_ABSENT = msgspec.Raw()
_TOLD_LENGTH = 1000


class Response(msgspec.Struct, frozen=True):
    """The response object, as events and unstreamed answers carry it.

    `object` and `Raw` where one odd value must not cost us the usage beside it.
    """

    id: object = None
    status: object = None
    output: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    error: object = None
    incomplete_details: object = None
    service_tier: object = None
    tool_usage: object = None

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: the reason that it is incomplete for, or its status."""
        return _member(self.incomplete_details, "reason") or text_or_none(self.status)

    @property
    def failure(self) -> str | None:
        """What its error says."""
        return failure_message(self.error)

    @property
    def used(self) -> Usage | None:
        """The provider's figures; None where it gave none that can be read."""
        return read_usage(self.usage, self.output, self.service_tier, self.tool_usage)

    def items(self) -> list[Item] | None:
        """Its output as far as it can be read; None if it has none."""
        try:
            return read_list(self.output, _OUTPUT, ITEM)
        except (ValueError, RecursionError):
            return None


RESPONSE = msgspec.json.Decoder(Response)
_OUTPUT = msgspec.json.Decoder(list[Item])


def answer_of(items: Iterable[Item], response: Response) -> Answer:
    """What these items say; one that cannot be read says nothing."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for item in items:
        with suppress(ValueError, RecursionError):
            call = item.tool_call()
            if call is not None:
                calls.append(call)
            elif item.is_message:
                texts.append(read_content(item.content).text)
    return Answer("".join(texts), tuple(calls), text_or_none(response.id), response.finish_reason)


def read_answer(body: bytes) -> Unstreamed:
    """Meters an unstreamed answer. A response that failed is an answer, and may be billed."""
    try:
        response = RESPONSE.decode(body)
    except (ValueError, RecursionError) as error:
        return Unstreamed(Answer(), None, _malformed(body, error))
    items = response.items()
    answer = answer_of(items or (), response)
    missing = items is None and response.status not in ("failed", "cancelled")
    malformed = "it has no output" if missing else None
    return Unstreamed(answer, response.used, malformed)


def failure_message(error: object) -> str | None:
    """The human part of an error, which some providers send as a bare string."""
    told = text_or_none(error) or _member(error, "message") or _member(error, "code")
    return told[:_TOLD_LENGTH] if told else None


def _member(value: object, key: str) -> str | None:
    return text_or_none(value.get(key)) if isinstance(value, dict) else None


def _malformed(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "it is empty"
    return (
        "it is not of the type of an answer"
        if isinstance(error, msgspec.ValidationError)
        else "it is not JSON"
    )
