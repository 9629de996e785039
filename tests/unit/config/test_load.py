"""A policy file as a whole: laid over the defaults, with all its problems at once."""

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.load import DEFAULT_FILE, Loaded, load_policy, parse_policy
from proxy.config.problems import PolicyInvalid
from proxy.core.failing import BreakerPolicy, Hedge, Retries
from proxy.core.handoff import Handoff, Webhook
from proxy.core.policy import (
    MICRO,
    Budget,
    Limits,
    Policy,
    PriceOverride,
    Profile,
    ProfileMatch,
    Route,
    Target,
    Tenant,
    Upstream,
)

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

EXAMPLES = Path(__file__).parents[3] / "policies"
HASH = "sha256:" + "0" * 64


def problems(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text, "f", env or {})
    return [str(problem) for problem in caught.value.problems]


def loaded(text: str, env: dict[str, str] | None = None) -> Policy:
    return parse_policy(text, "f", env or {}).policy


def test_the_defaults_of_the_types_are_those_of_the_shipped_policy() -> None:
    """A test that builds a Policy by hand and a sidecar without a file run the same limits."""
    policy = load_policy(None, {}).policy

    assert policy == Policy(upstreams=policy.upstreams, routes=policy.routes)


def test_the_shipped_policy_bounds_everything_without_a_word() -> None:
    """Bounded by default: nobody has to know a key to be safe."""
    policy = load_policy(None, {}).policy

    assert policy.limits == Limits(
        steps=150, cost_micro_usd=10 * MICRO, tokens=5_000_000, duration_seconds=14_400, parallel=32
    )
    assert policy.budgets == (Budget("global", "1d", 100 * MICRO),)
    assert policy.upstreams["local"] == Upstream(
        "local",
        "http://127.0.0.1:11434/v1",
        free=True,
        endpoints=("chat", "completions", "embeddings"),
    )
    assert [(route.model, route.endpoint, route.to[0].upstream) for route in policy.routes] == [
        ("claude-*", "*", "anthropic"),
        ("*", "messages", "anthropic"),
        ("*", "*", "openai"),
    ]


def test_the_providers_can_be_moved_by_the_environment_alone() -> None:
    """For a gateway in between, or a simulated provider, without a file."""
    env = {"HOLDFAST_OPENAI_URL": "http://a:1/v1/", "HOLDFAST_ANTHROPIC_URL": "http://b:2"}

    upstreams = load_policy(None, {**env, "LOCAL_LLM_URL": "http://c/v1"}).policy.upstreams

    urls = [upstream.base_url for upstream in upstreams.values()]
    assert urls == ["http://a:1/v1", "http://b:2", "http://c/v1"]


def test_the_examples_hold_without_problem_or_warning() -> None:
    """Examples are copied: what is wrong in them is wrong everywhere."""
    examples = sorted(EXAMPLES.glob("*.yaml"))

    assert len(examples) == 4
    for example in examples:
        assert load_policy(example, {}).warnings == ()
    assert (EXAMPLES / "default.yaml").read_bytes() == DEFAULT_FILE.read_bytes()


@pytest.mark.parametrize("text", ["", "version: 1", "{}", "limits: {}", "upstreams: {}"])
def test_a_file_that_says_nothing_is_the_default(text: str) -> None:
    """Every key is optional."""
    assert parse_policy(text, "f", {}) == Loaded(load_policy(None, {}).policy)


def test_a_file_with_one_key_changes_that_key() -> None:
    """Mappings merge, so that a policy says only what is special."""
    default = load_policy(None, {}).policy

    limits = dataclasses.replace(default.limits, cost_micro_usd=2_500_000)
    assert loaded("limits: {cost_usd: 2.5}") == dataclasses.replace(default, limits=limits)
    assert loaded("upstreams: {openai: {api_key: '${K}'}}", {"K": "k"}).upstreams["openai"] == (
        dataclasses.replace(default.upstreams["openai"], api_key="k")
    )


def test_lists_replace() -> None:
    """Half a list of routes or budgets would be nobody's intention."""
    assert loaded("budgets: []").budgets == ()
    assert len(loaded("routes: [{match: {}, to: [local]}]").routes) == 1


def test_null_takes_an_entry_or_a_limit_away() -> None:
    """Merging needs a way to say: not this."""
    policy = loaded(
        "limits: {steps: null, per_tool: {a: 1, b: null}, cost_usd: '${NONE:-}'}\n"
        "upstreams: {local: null, openai: {api_key: '${NONE:-}'}}\n"
        'rejection: {clients: {"codex*": null}}\n'
    )

    assert policy.limits.steps is None
    assert policy.limits.cost_micro_usd is None
    assert policy.limits.per_tool == {"a": 1}
    assert list(policy.upstreams) == ["openai", "anthropic"]
    assert policy.upstreams["openai"].api_key is None
    assert policy.rejection.clients == {}


def test_ones_own_globs_come_before_those_of_the_defaults() -> None:
    """The first match counts, and the user has the first word."""
    assert list(loaded('rejection: {clients: {"a*": 400}}').rejection.clients) == ["a*", "codex*"]


def test_everything_that_is_built_can_be_said() -> None:
    """One policy with every key in use."""
    policy = loaded(
        """
version: 1
upstreams:
  openrouter: {base_url: "https://openrouter.ai/api/v1/", include_usage: false, price: null}
  mine: {base_url: "http://[::1]:8000/v1", dialect: anthropic, api_key: "${KEY}", price: free,
    endpoints: [messages, chat]}
routes_defaults: {hedge: {after_seconds: 2}, on_unavailable: handoff, downgrade_below: 0.1}
routes:
  - {match: {model: "llama*", endpoint: chat}, to: [openrouter/meta-llama/llama-4],
     fallback: [mine/llama-4, openai/gpt-5-mini], downgrade_below: 0.2, hedge: null,
     on_unavailable: reject, forward_credentials: true, deadline_seconds: 20}
  - {match: {}, to: [mine, openrouter/x]}
limits: {steps: 1, cost_usd: 2, tokens: 3000, duration_seconds: 4, tool_calls: 5,
  per_tool: {"send_*": 1}, parallel: 1, request_cost_usd: 0.5, cost_usd_per_minute: 1.5,
  warn_at: 0.5, on_limit: handoff}
budgets: [{scope: agent, cost_usd: 1.25, window: 1mo}]
prices: {"my*": {input: 3.0, output: 15.0, cache_read: 0.3, service_tiers: {flex: 0.5}}}
rejection: {status: 402, clients: {"x*": 403}, agents: {y: 404}}
accounting: {unknown_price: reject, min_output_tokens: 16, holds: full}
timeouts: {connect: 1, head: 2.5, idle: 3, body: 4}
retries: {join_seconds: 5, max: 3, ratio: 0.2, wait_seconds: 0}
breakers: {failure_rate: 1, slow_rate: 0.9, slow_seconds: 2, answer_seconds: 20, stall_seconds: 1,
  window_seconds: 30, minimum_calls: 2, consecutive_failures: 3, open_seconds: 4,
  open_seconds_max: 8}
bounds: {json_depth: 64}
deadline_seconds: 30
sessions: {idle_seconds: 60}
tenants: {team-a: {key_hashes: ["sha256:%s"]}}
unknown_credentials: reject
ungoverned: relay
store: {url: "memory://", on_failure: closed}
handoff: {reply: message, message: Call me., webhook: {url: "${HOOK:-https://h.example/a?b=c}",
  format: slack, secret_env: KEY}}
profiles:
  - match: {tenant: team-a, agent: a, model: m, header: {x-team: "t*"}}
    limits: {steps: null, cost_usd: 25, per_tool: {"send_*": null}, on_limit: reject}
  - {match: {agent: b}, trusted: true}
"""
        % ("a" * 64),
        {"KEY": "secret"},
    )

    assert policy.upstreams["openrouter"] == Upstream(
        "openrouter", "https://openrouter.ai/api/v1", include_usage=False
    )
    assert policy.upstreams["mine"] == Upstream(
        "mine",
        "http://[::1]:8000/v1",
        "anthropic",
        "secret",
        free=True,
        endpoints=("messages", "chat"),
    )
    assert policy.routes == (
        Route(
            "llama*",
            "chat",
            (Target("openrouter", "meta-llama/llama-4"),),
            fallback=(Target("mine", "llama-4"), Target("openai", "gpt-5-mini")),
            downgrade_below=0.2,
            forward_credentials=True,
            deadline_seconds=20,
        ),
        Route(
            to=(Target("mine"), Target("openrouter", "x")),
            downgrade_below=0.1,
            hedge=Hedge(2),
            on_unavailable="handoff",
        ),
    )
    assert policy.retries == Retries(5, 3, 0.2, 0)
    assert policy.breakers == BreakerPolicy(1, 0.9, 2, 20, 1, 30, 2, 3, 4, 8)
    assert policy.limits == Limits(
        1, 2 * MICRO, 3000, 4, 5, {"send_*": 1}, 1, 500_000, 1_500_000, 0.5, "handoff"
    )
    assert policy.budgets == (Budget("agent", "1mo", 1_250_000),)
    assert policy.prices == {
        "my*": PriceOverride("3.0", "15.0", "0.3", service_tiers={"flex": 0.5})
    }
    assert (policy.rejection.status, policy.rejection.agents["y"]) == (402, 404)
    assert (policy.accounting.unknown_price, policy.accounting.min_output_tokens) == ("reject", 16)
    assert (policy.timeouts.connect, policy.timeouts.head, policy.bounds.json_depth) == (1, 2.5, 64)
    assert (policy.deadline_seconds, policy.idle_seconds) == (30, 60)
    assert policy.tenants == (Tenant("team-a", ("sha256:" + "a" * 64,)),)
    assert (policy.unknown_credentials, policy.ungoverned) == ("reject", "relay")
    assert policy.store_url == "memory://"
    match = ProfileMatch("a", "team-a", "m", {"x-team": "t*"})
    over: dict[str, object] = {"steps": None, "cost_micro_usd": 25 * MICRO}
    over |= {"per_tool": {"send_*": None}, "on_limit": "reject"}
    webhook = Webhook("https://h.example/a?b=c", "slack", "KEY")
    assert policy.handoff == Handoff("message", "Call me.", webhook)
    assert policy.profiles == (
        Profile(match, over),
        Profile(ProfileMatch(agent="b"), trusted=True),
    )


def test_every_problem_is_said_at_once_in_order() -> None:
    """Unknown, mistyped, dangling, twice: one run of check shows all there is to repair."""
    text = """\
limit: {steps: 5}
limits:
  stepz: 5
  steps: no
  steps: 6
routes:
  - {match: {model: "*"}, to: [nowhere]}
  - {match: {model: "*"}}
  - {match: {}, to: [local/]}
upstreams:
  new: {dialect: open}
budgets: {}
prices: {"a${B}": {input: 1, output: 2}}
tenants: {"a b": {}}
"""
    found = problems(text)

    assert [line.split(": ")[0:2] for line in found] == [
        ["f:1:1", "limit"],
        ["f:3:3", "limits.stepz"],
        ["f:4:10", "limits.steps"],
        ["f:5:3", "limits.steps"],
        ["f:7:32", "routes[0].to[0]"],
        ["f:8:5", "routes[1].to"],
        ["f:9:22", "routes[2].to[0]"],
        ["f:11:8", "upstreams.new.base_url"],
        ["f:11:18", "upstreams.new.dialect"],
        ["f:12:10", "budgets"],
        ["f:13:10", 'prices["a${B}"]'],
        ["f:14:11", 'tenants["a b"]'],
    ]
    assert found[1].startswith('f:3:3: limits.stepz: unknown key, did you mean "steps"? (allowed: ')
    assert found[4].endswith("no upstream nowhere (allowed: new, openai, anthropic, local)")


SPEC_SHAPE = """\
version: 1
upstreams:
  openai:    {base_url: https://api.openai.com/v1}
  anthropic: {base_url: https://api.anthropic.com, dialect: anthropic}
  local:     {base_url: "${LOCAL_LLM_URL:-http://127.0.0.1:11434/v1}", price: free}
routes:
  - {match: {model: "claude-*"}, to: [anthropic], fallback: [anthropic/x, local/qwen3]}
  - {match: {model: "*"},        to: [openai],    fallback: [openai/gpt-5-mini, local/qwen3]}
limits:   {steps: 150, cost_usd: 10.00, tokens: 5000000, duration_seconds: 14400, warn_at: 0.8,
           on_limit: handoff}
budgets:  [{scope: tenant, cost_usd: 100, window: 1d}]
prices:   {"my-model*": {input: 3.0, output: 15.0, cache_read: 0.3, cache_write: 3.75}}
rejection: {status: 422, clients: {"codex*": 400}, agents: {aider: 400}}
accounting: {unknown_price: dearest, min_output_tokens: 256, holds: learned}
timeouts: {connect: 5, head: 30, idle: 300}
loops:    {repeat: {warn: 2}}
tools:    {side_effects: ["send_*"], prune: {above: 30, keep: 15}}
breakers: {failure_rate: 0.5, slow_rate: 0.5, slow_seconds: 30, answer_seconds: 600,
           stall_seconds: 60, window_seconds: 60, minimum_calls: 5, open_seconds: 15}
retries:  {max: 2, ratio: 0.1}
deadline_seconds: 600
routes_defaults: {downgrade_below: 0.1, hedge: null, on_unavailable: reject}
handoff:  {reply: reject}
checkpoints: {content: full, retention: 7d}
store:    {url: "redis://r", on_failure: open}
tenants:  {team-a: {key_hashes: ["%s"]}}
profiles:
  - {match: {tenant: team-a}, limits: {steps: 300, cost_usd: 25}, loops: {}}
"""


@pytest.mark.parametrize(
    ("retention", "seconds"),
    [("90s", 90), ("90m", 5_400), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200)],
)
def test_a_retention_says_its_unit(retention: str, seconds: float) -> None:
    loaded = parse_policy(f"checkpoints: {{retention: {retention}}}", "f", {})

    assert loaded.policy.checkpoints.retention_seconds == seconds


@pytest.mark.parametrize("retention", ["7", "0d", "1.5h", "d", "-1d", "7 d", "1y"])
def test_a_retention_without_a_number_and_a_unit_is_refused(retention: str) -> None:
    """Of seven what?"""
    (line,) = problems(f"checkpoints: {{retention: {retention}}}")

    assert "checkpoints.retention" in line


def test_what_is_not_built_is_an_error_that_says_so() -> None:
    """Silently accepted, a loop detector would be believed in; called unknown, it is sought."""
    found = problems(SPEC_SHAPE % HASH)

    assert all("not available in this version" in line for line in found)
    assert [line.split(": ")[1] for line in found] == [
        "tools.prune", "profiles[0].loops",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loops: {repat: off}", 'f:1:9: loops.repat: unknown key, did you mean "repeat"? (all'),
        ("version: 2", "f:1:10: version: 2 is not valid (allowed: 1)"),
        ("routes: [{match: {}, to: [local], hedge: {}}]",
         "f:1:42: routes[0].hedge.after_seconds: missing"),
        ("routes: [{match: {}, to: [local], fallback: [local/a b]}]",
         "f:1:46: routes[0].fallback[0]: local/a b is not valid (allowed: an upstream, or upstr"),
        ("upstreams: {local: {endpoints: [chat, images]}}",
         "f:1:39: upstreams.local.endpoints[1]: images is not valid (allowed: chat, responses, "),
        ("breakers: {failure_rate: 0}",
         "f:1:26: breakers.failure_rate: 0 is not valid (allowed: a number above 0, up to 1)"),
        ("breakers: {open_seconds: 600}",
         "f:1:26: breakers.open_seconds: more than breakers.open_seconds_max (30)"),
        ("routes: [{match: {}, to: []}]", "f:1:26: routes[0].to: too few (allowed: 1 or more)"),
        ("sessions: {idle: 1}",
         'f:1:12: sessions.idle: unknown key, did you mean "idle_seconds"? (allowed: idle_'),
        ("profiles: [{match: {header: {X-Team: a}}}]",
         'f:1:30: profiles[0].match.header.X-Team: "X-Team" is not valid (allowed: a header name'),
        ("- 1", "f:1:1: a list is not valid (allowed: a mapping with version, "),
        ("limits:", "f:1:8: limits: null is not valid (allowed: a mapping with steps, "),
        ("upstreams: [a]", "f:1:12: upstreams: a list is not valid (allowed: a mapping from "),
        ("a: [", "f:2:1: not YAML: did not find expected node content"),
    ],
)  # fmt: skip
def test_a_problem_says_what_where_and_what_else(text: str, message: str) -> None:
    """FILE:LINE:COL: key: what is wrong (allowed: …)."""
    assert any(line.startswith(message) for line in problems(text)), problems(text)


@pytest.mark.parametrize(
    "url",
    ["ftp://a/v1", "https://", "https://u:p@a/v1", "https://a/v1?x=1", "https://a/#x", "a.com",
     "https://a b", "https://a:port", "//a"],
)  # fmt: skip
def test_a_base_url_is_http_without_credentials_and_is_not_repeated(url: str) -> None:
    """A password in a URL ends up in logs; the message must not be the first of them."""
    found = problems("upstreams: {openai: {base_url: '${URL}'}}", {"URL": url})

    assert len(found) == 1
    assert found[0].startswith("f:1:32: upstreams.openai.base_url: this value is not valid (allow")


@pytest.mark.parametrize(
    "text",
    ["limits: {steps: %s}", "store: {url: %s}", "upstreams: {a: {api_key: %s}}", "version: %s",
     "routes: [{match: {}, to: [%s]}]", "unknown_credentials: %s", "budgets: [{cost_usd: %s}]",
     "tenants: {a: {key_hashes: [%s]}}", "upstreams: {a: {include_usage: %s}}"],
)  # fmt: skip
def test_what_came_from_the_environment_is_never_repeated(text: str) -> None:
    """A key in the wrong variable must not reach a terminal, a log or a CI page."""
    found = problems(text % '"${SECRET}"', {"SECRET": "s3cr\u00e9t v"})

    assert found
    assert not any("s3cr" in line for line in found)


def test_a_file_that_cannot_be_read_is_a_problem_of_its_own(tmp_path: Path) -> None:
    """The same exception for every way in which a policy is no policy."""
    binary, big = tmp_path / "binary", tmp_path / "big"
    binary.write_bytes(b"a: \xff")
    big.write_bytes(b"#" * 2_000_000)

    for path, said in (
        (tmp_path / "absent", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (Path("nul\0"), "cannot be read: embedded null byte"),
        (binary, "not UTF-8 at byte 3"),
        (big, "is too large (allowed: up to 1048576 bytes)"),
    ):
        with pytest.raises(PolicyInvalid) as caught:
            load_policy(path, {})

        assert str(caught.value) == f"{path}: {said}"


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "policy.yaml"
    path.write_bytes("\ufefflimits: {steps: 3}".encode())

    assert load_policy(path, os.environ).policy.limits.steps == 3


@law
@given(st.text(alphabet="{}[]:,- \nabcdlimtsuproe*&<\"'01.$", max_size=60))
def test_any_text_is_a_policy_or_a_list_of_problems(text: str) -> None:
    """Nothing else may come out of a file that somebody is just editing."""
    try:
        policy = parse_policy(text, "f", {}).policy
    except PolicyInvalid as error:
        problems = error.problems
    else:
        problems = ()

    assert problems or policy.upstreams


def test_what_a_route_says_itself_counts_before_the_defaults_of_routes() -> None:
    """A null on a route switches off what every other route has."""
    routes = loaded(
        "routes_defaults: {hedge: {after_seconds: 1}, downgrade_below: 0.5}\n"
        "routes:\n"
        "  - {match: {model: a}, to: [openai], fallback: [local/x], hedge: null}\n"
        "  - {match: {model: b}, to: [openai], fallback: [local/x], downgrade_below: 0.1}\n"
    ).routes

    assert [(route.hedge, route.downgrade_below) for route in routes] == [
        (None, 0.5),
        (Hedge(1), 0.1),
    ]
    assert [route.on_unavailable for route in routes] == ["reject", "reject"]


def test_a_fault_in_the_defaults_of_routes_is_said_once() -> None:
    found = problems("routes_defaults: {hedge: {after_seconds: 0}, on_unavailable: wait}")

    assert [line.split(": ")[1] for line in found] == [
        "routes_defaults.hedge.after_seconds",
        "routes_defaults.on_unavailable",
    ]


@pytest.mark.parametrize(
    ("said", "endpoints"),
    [
        ("dialect: openai", ("chat", "responses", "completions", "embeddings")),
        ("dialect: anthropic", ("messages",)),
        ("dialect: anthropic, endpoints: [messages, chat]", ("messages", "chat")),
        ("dialect: anthropic, endpoints: null", None),
        ("price: free", None),
    ],
)
def test_a_dialect_that_is_said_says_what_is_answered(
    said: str, endpoints: tuple[str, ...] | None
) -> None:
    """A client of the other one is translated. Where nothing is said nothing is known: gateways
    speak several, and what passed untouched still does."""
    policy = loaded(
        f"upstreams: {{a: {{base_url: 'http://a', {said}}}}}\nroutes: [{{match: {{}}, to: [a]}}]"
    )

    assert policy.upstreams["a"].endpoints == endpoints


def test_an_upstream_that_is_moved_keeps_what_it_answers() -> None:
    """A gateway in between has the API of what is behind it."""
    upstreams = loaded("upstreams: {anthropic: {base_url: 'http://a'}}").upstreams

    assert upstreams["anthropic"].endpoints == ("messages",)
