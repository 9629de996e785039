"""What in a policy's handoffs is well-formed and still wrong, or does nothing."""

from collections.abc import Callable
from typing import Final

from proxy.config.draft import Draft
from proxy.config.problems import Path
from proxy.core.handoff import Handoff
from proxy.core.policy import Policy
from proxy.core.webhook_formats.registry import FORMATS

_WEBHOOK: Final[Path] = ("handoff", "webhook")


def webhook_secrets(draft: Draft) -> None:
    webhook = draft.policy.handoff.webhook
    path: Path = (*_WEBHOOK, "secret_env")
    if webhook is None:
        return
    if webhook.secret_env is None:
        own_key = FORMATS[webhook.format].own_key
        if own_key is not None:
            message = f"{webhook.format} needs secret_env: the environment variable with {own_key}"
            draft.reading.report((*_WEBHOOK, "format"), message)
    elif not draft.reading.is_set(webhook.secret_env):
        message = f"the environment variable {webhook.secret_env} is not set here"
        draft.reading.warn(path, message)


def idle_handoffs(draft: Draft) -> None:
    """Stops that are refused at once stand in the queue, but nobody waits and nobody is told."""
    handoff, usual = draft.policy.handoff, Handoff()
    if hands_over(draft.policy):
        return
    said = {
        ("handoff", "reply"): handoff.reply != usual.reply,
        ("handoff", "message"): handoff.message != usual.message,
        (*_WEBHOOK, "url"): handoff.webhook is not None,
    }
    for path, is_said in said.items():
        if is_said:
            draft.reading.warn(
                path, "never used: no session waits for a human with on_limit: reject"
            )


def hands_over(policy: Policy) -> bool:
    """Whether anything in the policy makes a session wait for a human."""
    limits = (profile.limits.get("on_limit") for profile in policy.profiles)
    tools = policy.tools
    asks = tools.side_effects and tools.on_duplicate == "ask"
    if tools.require_approval or asks:
        return True
    unavailable = (route.on_unavailable for route in policy.routes)
    return "handoff" in (policy.limits.on_limit, *limits, *unavailable)


HANDOFF_CHECKS: Final[tuple[Callable[[Draft], None], ...]] = (
    webhook_secrets,
    idle_handoffs,
)
