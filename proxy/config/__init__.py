"""The policy file: YAML and environment to the frozen values of `proxy.core.policy`."""

from proxy.config.load import DEFAULT_FILE, Loaded, load_policy, parse_policy
from proxy.config.problems import Place, PolicyInvalid, Problem
from proxy.config.watch import PolicyWatcher, ReloadOutcome

__all__ = [
    "DEFAULT_FILE",
    "Loaded",
    "Place",
    "PolicyInvalid",
    "PolicyWatcher",
    "Problem",
    "ReloadOutcome",
    "load_policy",
    "parse_policy",
]
