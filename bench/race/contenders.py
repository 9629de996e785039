"""Who is in the race, and how each is told what a session may spend."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import aiohttp

from bench.peers.systems import installed, packaged
from bench.places import ROOT
from bench.process import free_port
from proxy import __version__

_HERE = Path(__file__).parent
_ANY_KEY = {"authorization": "Bearer sk-bench"}


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one run. budget_tokens: what the budget buys of this run's calls. upstream: its origin."""

    directory: Path
    port: int
    upstream: str
    session: str
    budget_usd: float
    budget_tokens: int

    def configured(self, name: str) -> str:
        """The path of a file from beside this one, filled in."""
        values = {"UPSTREAM": self.upstream, "BUDGET": f"{self.budget_usd:.6f}"}
        written = self.directory / name
        written.write_text(Template((_HERE / name).read_text()).safe_substitute(values))
        return str(written)


@dataclass(frozen=True, slots=True)
class Contender:
    """One proxy that can be given a limit for a session.

    headers: name the session, with a key that it takes. tell: what is left to be said once it
    runs. note: what has to be known of its row.
    """

    name: str
    program: Callable[[], Path | None]
    version: Callable[[Path], str]
    argv: Callable[[Path, Terms], tuple[str, ...]]
    env: Callable[[Terms], Mapping[str, str]]
    headers: Callable[[Terms], Mapping[str, str]]
    tell: Callable[[Terms], Awaitable[None]] | None = None
    note: str = ""


def _holdfast(program: Path, terms: Terms) -> tuple[str, ...]:
    ports = ("--port", str(terms.port), "--admin-port", str(free_port()))
    store = ("--store", f"sqlite:///{terms.directory}/ledger.db")
    policy = ("--policy", terms.configured("policy.yaml"))
    return (str(program), "-m", "proxy", "serve", *policy, *ports, *store)


def _litellm(program: Path, terms: Terms) -> tuple[str, ...]:
    terms.configured("litellm_auth.py")
    conf = terms.configured("litellm.yaml")
    return (str(program), "--config", conf, "--host", "127.0.0.1", "--port", str(terms.port))


def _leash(program: Path, terms: Terms) -> tuple[str, ...]:
    return (
        *(str(program), "--listen", f"127.0.0.1:{terms.port}"),
        *("--budget-usd", f"{terms.budget_usd:.6f}"),
        *("--audit-log", str(terms.directory / "audit.jsonl"), "--log-level", "warning"),
    )


def _loop_guard(program: Path, terms: Terms) -> tuple[str, ...]:
    address = ("--host", "127.0.0.1", "--port", str(terms.port))
    return (str(program), "guard", "run", *address, "--log-level", "warning")


async def _tell_loop_guard(terms: Terms) -> None:
    """Its limits of tokens and of requests; its loop rules stay as they come."""
    rules = [
        {"id": "rule_max_tokens", "rule_type": "max_tokens", "threshold": terms.budget_tokens},
        {"id": "rule_max_requests", "rule_type": "max_requests", "threshold": 1_000_000},
    ]
    url = f"http://127.0.0.1:{terms.port}/api/policies/default"
    async with aiohttp.ClientSession() as http, http.put(url, json=rules) as answer:
        answer.raise_for_status()


CONTENDERS = (
    Contender(
        "LiteLLM",
        installed("litellm", "bin/litellm"),
        packaged("litellm"),
        _litellm,
        lambda terms: {
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PYTHONPATH": str(terms.directory),
        },
        lambda terms: {**_ANY_KEY, "x-litellm-trace-id": terms.session},
        note="`max_budget_per_session` of an agent; the agent's key by its hook for own keys, as "
        "its key table needs a database",
    ),
    Contender(
        "llm-leash",
        installed("llm-leash", "bin/llm-leash-proxy"),
        packaged("llm_leash"),
        _leash,
        lambda terms: {"LLM_LEASH_NO_BANNER": "1"},
        lambda terms: {
            **_ANY_KEY,
            "x-llm-leash-session-id": terms.session,
            "x-llm-leash-upstream": terms.upstream,
        },
        note="`--budget-usd`, its hard cap for a session. Of 500 at once most wait longer than 5 s "
        "for one of its 100 connections and fail: how much is billed then depends on the machine "
        "(0 to 9 times the budget seen)",
    ),
    Contender(
        "agent-loop-guard",
        installed("agent-loop-guard", "bin/alg"),
        packaged("agent_loop_guard_runtime"),
        _loop_guard,
        lambda terms: {
            "ALG_MODE": "enforce",
            "ALG_PROVIDER": "openai",
            "ALG_OPENAI_BASE_URL": f"{terms.upstream}/v1",
            "OPENAI_API_KEY": "sk-upstream",
            "ALG_STORAGE_URL": f"sqlite:///{terms.directory}/guard.db",
            "ALG_GATEWAY_KEY": "alg_bench",
        },
        lambda terms: {"authorization": "Bearer alg_bench", "x-alg-session-id": terms.session},
        _tell_loop_guard,
        note="enforcing; it limits tokens, not money: as many as the budget buys of these calls. "
        "More than 15 calls at once stop it: each holds one of its 15 database connections, and "
        "its only thread waits for the sixteenth",
    ),
    Contender(
        "Holdfast",
        lambda: Path(sys.executable),
        lambda _: __version__,
        _holdfast,
        lambda terms: {
            "HOLDFAST_OPENAI_URL": f"{terms.upstream}/v1",
            "PYTHONPATH": str(ROOT),
        },
        lambda terms: {**_ANY_KEY, "x-holdfast-session": terms.session},
        note="`limits.cost_usd`",
    ),
)
