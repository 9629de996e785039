"""The ordered list of webhook formats. Adding one: its file, and its entry here."""

from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.core.notices import Notice
from proxy.core.webhook_formats.base import Format
from proxy.core.webhook_formats.generic import GENERIC
from proxy.core.webhook_formats.pagerduty import PAGERDUTY
from proxy.core.webhook_formats.slack import SLACK

FORMATS: Final[Mapping[str, Format]] = {one.name: one for one in (GENERIC, SLACK, PAGERDUTY)}


def body_of(notice: Notice, name: str, secret: bytes | None) -> bytes:
    """The body to post, in the format of this name."""
    return msgspec.json.encode(FORMATS[name].body(notice, secret or b""))
