"""What in a policy's checkpoints is well-formed and still wrong, or does nothing."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from proxy.config.draft import Draft
from proxy.config.problems import Path

SHORTEST_KEY: Final = 32
_KEY: Final[Path] = ("checkpoints", "encrypt_key_env")


def sealing(draft: Draft) -> None:
    """What is to be sealed is never written in clear: without its key there is no service."""
    checkpoints, reading = draft.policy.checkpoints, draft.reading
    variable = checkpoints.encrypt_key_env
    if variable is None:
        return
    if not reading.is_set(variable):
        reading.report(_KEY, f"the environment variable {variable} is not set here")
    elif min(reading.lengths(variable), default=0) < SHORTEST_KEY:
        message = f"a key in {variable} is shorter than {SHORTEST_KEY} characters"
        reading.report(_KEY, f"{message} (`openssl rand -hex 32` makes a good one)")
    if find_spec("cryptography") is None:
        reading.report(_KEY, "sealing needs an extra: pip install 'holdfast[encryption]'")
    if checkpoints.content != "full":
        reading.warn(_KEY, f"never used: content: {checkpoints.content} keeps nothing to seal")


CHECKPOINT_CHECKS: Final[tuple[Callable[[Draft], None], ...]] = (sealing,)
