"""Hot reload: watches the policy file and puts a changed one in force, or says why it does not.

Theory of operation. Every half second the file is looked at through all its symbolic links, since
Kubernetes swaps a directory link (`..data`) beneath an unchanged path, which inotify on that path
reports once and then never again. A change is read only when the file has looked the same twice: a
file that is just being written may be a good policy cut short, with limits missing. Whatever is
wrong leaves the policy that is in force untouched, and is said once for each change.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from proxy.clock import Clock
from proxy.config.load import Loaded, load_policy, parse_policy, read_text
from proxy.config.problems import Place, PolicyInvalid, Problem
from proxy.core.policy import Policy

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5

ReloadOutcome = Literal["applied", "unchanged", "refused"]

_Signature = tuple[str, int, int, int, int, int] | None


class PolicyWatcher:
    """Owns the policy in force. For one event loop; `on_change` is called with each new policy.

    Construction loads, and raises PolicyInvalid. path None: the shipped policy; never changes.

    last_error: every problem of the last reload, one a line; None if it went well.
    loaded_at: when the policy in force was loaded (epoch seconds). outcomes: reloads by outcome.
    """

    def __init__(
        self,
        path: Path | None,
        env: Mapping[str, str],
        clock: Clock,
        on_change: Callable[[Loaded], None],
    ) -> None:
        self._path = path
        self._env = env
        self._clock = clock
        self._on_change = on_change
        self._seen = self._signature()
        self._taken = self._seen
        self.loaded: Loaded = load_policy(path, env)
        self.loaded_at: float = clock.now()
        self.last_error: str | None = None
        self.outcomes: Counter[ReloadOutcome] = Counter()

    @property
    def current(self) -> Policy:
        """The policy in force."""
        return self.loaded.policy

    async def run(self) -> None:
        """Polls until cancelled."""
        while self._path is not None:
            await self._clock.sleep(POLL_SECONDS)
            self.poll()

    def poll(self) -> ReloadOutcome | None:
        """Looks once; None if there was nothing to do, or the file is still changing."""
        before, self._seen = self._seen, self._signature()
        if self._seen == self._taken or self._seen != before:
            return None
        return self._reload()

    def reload_now(self) -> ReloadOutcome:
        """Reads the file at once, for SIGHUP and the admin API; `last_error` says why not."""
        outcome = self._reload()
        if outcome is None:
            problem = Problem(Place(str(self._path)), "", "is just being written")
            outcome = self._refuse((problem,))
        return outcome

    def _reload(self) -> ReloadOutcome | None:
        """None: the file changed while it was read, so that nothing is known of it."""
        signature = self._signature()
        try:
            result: Loaded | PolicyInvalid = self._load()
        except PolicyInvalid as error:
            result = error
        if self._signature() != signature:
            return None
        self._taken = self._seen = signature
        if isinstance(result, PolicyInvalid):
            return self._refuse(result.problems)
        self.last_error = None
        return self._apply(result)

    def _load(self) -> Loaded:
        if self._path is None:
            return load_policy(None, self._env)
        text = read_text(self._path)
        if not text.strip():  # at start it means the defaults; now it is more likely half a write
            raise PolicyInvalid((Problem(Place(str(self._path)), "", "is empty"),))
        return parse_policy(text, str(self._path), self._env)

    def _apply(self, loaded: Loaded) -> ReloadOutcome:
        store_url = self.loaded.policy.store_url
        if loaded.policy.store_url != store_url:
            message = "takes a restart to change; the store opened at the start stays"
            warning = Problem(Place(str(self._path)), "store.url", message, is_warning=True)
            policy = replace(loaded.policy, store_url=store_url)
            loaded = Loaded(policy, (*loaded.warnings, warning))
        before, self.loaded = self.loaded, loaded
        if loaded.policy == before.policy:
            self.outcomes["unchanged"] += 1
            return "unchanged"
        self.loaded_at = self._clock.now()
        self.outcomes["applied"] += 1
        self._on_change(loaded)
        warnings = [str(warning) for warning in loaded.warnings]
        log.info("policy reloaded", extra={"policy": str(self._path), "warnings": warnings})
        return "applied"

    def _refuse(self, problems: tuple[Problem, ...]) -> ReloadOutcome:
        said = [str(problem) for problem in problems]
        self.last_error = "\n".join(said)
        self.outcomes["refused"] += 1
        facts = {"policy": str(self._path), "problems": said}
        log.warning("policy refused, the one in force stays", extra=facts)
        return "refused"

    def _signature(self) -> _Signature:
        """What tells one state of the file from another; None while it is not there."""
        if self._path is None:
            return None
        try:
            real = os.path.realpath(self._path)
            seen = os.stat(real)
        except OSError:
            return None
        return real, seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size
