"""What checks are made on: a policy as far as it could be read."""

from dataclasses import dataclass

from proxy.config.problems import Path
from proxy.config.reading import Reading
from proxy.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy read without what was wrong with it.

    file: the user's own, not the defaults. shipped: the upstreams that the defaults have.
    """

    policy: Policy
    reading: Reading
    file: str
    shipped: tuple[str, ...] = ()

    def is_own(self, path: Path) -> bool:
        return self.reading.place(path).file == self.file
