"""The keys of `handoff`, and of `limits.on_limit`."""

from typing import Any, Final

from proxy.config.containers import Key, Struct
from proxy.config.scalars import Choice, Text
from proxy.core.handoff import Handoff, Webhook
from proxy.core.webhook_formats.registry import FORMATS

ON_LIMIT: Final = Choice(("reject", "handoff"))
URL: Final = Text(
    "an http:// or https:// URL without credentials or fragment",
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?][^\s#]*)?",
    hidden=True,
)
VARIABLE: Final = Text("the name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]*", 128)
MESSAGE: Final = Text("a text of up to 4096 characters", r"[\s\S]*\S[\s\S]*", 4096)


def _webhook(*, url: str | None = None, **values: object) -> Webhook | None:
    fields: dict[str, Any] = values  # the table gives each its type
    return None if url is None else Webhook(url, **fields)


WEBHOOK: Final = Struct(
    _webhook,
    (
        Key("url", URL, "Who is told of a session that waits; null: nobody.", nullable=True),
        Key("format", Choice(tuple(FORMATS)), "What is posted there."),
        Key("secret_env", VARIABLE, "The environment variable with the key that signs it "
            "(pagerduty: with the routing key); null: it is not signed.", nullable=True),
    ),
)  # fmt: skip

HANDOFF: Final = Struct(
    Handoff,
    (
        Key("reply", Choice(("reject", "message")), "How a session that waits is answered: with an "
            "error, or with a normal answer that ends its agent's run."),
        Key("message", MESSAGE, "The text of that answer."),
        Key("webhook", WEBHOOK, "Told when a session begins to wait."),
    ),
)  # fmt: skip
