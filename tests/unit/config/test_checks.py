"""What is well-formed and still wrong, or does nothing."""

import pytest

from proxy.config.load import parse_policy
from proxy.config.problems import PolicyInvalid

HASH = "sha256:" + "0" * 64
PROFILE = "profiles: [{match: {%s}, limits: {%s}}]"


def warnings(text: str) -> list[str]:
    loaded = parse_policy(text, "f", {"KEY": "k"})
    return [str(warning).replace("warning: ", "") for warning in loaded.warnings]


SEALED = "checkpoints: {encrypt_key_env: KEYS}"


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        (None, "the environment variable KEYS is not set here"),
        ("short", "a key in KEYS is shorter than 32 characters"),
        ("a" * 32 + ",short", "a key in KEYS is shorter than 32 characters"),
        (" , ", "a key in KEYS is shorter than 32 characters"),
        ("a" * 32, None),
        ("a" * 32 + ", " + "b" * 64, None),
    ],
)
def test_what_is_to_be_sealed_needs_its_key(keys: str | None, wrong: str | None) -> None:
    """Else it would be written in clear, and nobody would notice."""
    env = {} if keys is None else {"KEYS": keys}
    if wrong is None:
        assert parse_policy(SEALED, "f", env).policy.checkpoints.encrypt_key_env == "KEYS"
        return
    with pytest.raises(PolicyInvalid) as refused:
        parse_policy(SEALED, "f", env)
    assert f"f:1:32: checkpoints.encrypt_key_env: {wrong}" in str(refused.value)


def test_a_key_that_seals_nothing_is_warned_of() -> None:
    text = "checkpoints: {encrypt_key_env: KEYS, content: hashes}"

    (warning,) = parse_policy(text, "f", {"KEYS": "a" * 32}).warnings
    assert "content: hashes keeps nothing to seal" in str(warning)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("upstreams: {openai: null}\nroutes: [{match: {}, to: [openai]}]",
         "f:2:27: routes[0].to[0]: no upstream openai (allowed: anthropic, local)"),
        (("upstreams: {openai: null, anthropic: null, local: null}\n"
         "routes: [{match: {}, to: [a]}]"),
         "f:2:27: routes[0].to[0]: no upstream a (allowed: none is defined)"),
        (f"tenants: {{anonymous: {{key_hashes: [{HASH}]}}}}",
         "f:1:22: tenants.anonymous: a name kept for credentials that no tenant names"),
        (f"tenants: {{a: {{key_hashes: [{HASH}]}}, b: {{key_hashes: [{HASH}]}}}}",
         "f:1:120: tenants.b.key_hashes[0]: the same key as one of tenants.a"),
        (("budgets: [{scope: tenant, window: 1d, cost_usd: 1},\n"
         "          {scope: tenant, window: 1d, cost_usd: 2}]"),
         "f:2:11: budgets[1]: the scope and window of budgets[0] again"),
        ("routes: [{match: {}, to: [openai], fallback: [b/m]}]",
         "f:1:47: routes[0].fallback[0]: no upstream b (allowed: openai, anthropic, local)"),
        ("breakers: {open_seconds: 20, open_seconds_max: 10}",
         "f:1:26: breakers.open_seconds: more than breakers.open_seconds_max (10)"),
        ("handoff: {webhook: {url: 'http://h', format: pagerduty}}\nlimits: {on_limit: handoff}",
         ("f:1:46: handoff.webhook.format: pagerduty needs secret_env: the environment variable "
          "with the routing key")),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(text: str, message: str) -> None:
    """Better at the start than by the first call that needs it."""
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text, "f", {})

    assert [str(problem) for problem in caught.value.problems] == [message]


def test_a_route_to_an_upstream_with_a_fault_is_not_a_second_fault() -> None:
    """One repair, one message."""
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy("upstreams: {a: {}}\nroutes: [{match: {}, to: [a]}]", "f", {})

    assert [problem.key for problem in caught.value.problems] == ["upstreams.a.base_url"]


IDLE = "never used: no session waits for a human with on_limit: reject"
NO_KEY = (
    "has no key: it has no api_key, and credentials for %s are not sent to another origin "
    "(allowed: api_key, or forward_credentials: true)"
)
NO_EFFECT = (
    "no effect: what a client can choose only tightens a limit "
    "(allowed: match on tenant, or trusted: true)"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('tools: {deny: ["send_*"], side_effects: [send_email]}',
         'f:1:42: tools.side_effects[0]: never fires: "send_*" under deny takes all of it'),
        ("tools: {deny: [pay], require_approval: [pay]}",
         'f:1:41: tools.require_approval[0]: never fires: "pay" under deny takes all of it'),
        ('tools: {side_effects: ["pay*", pay_all]}',
         'f:1:32: tools.side_effects[1]: does nothing: "pay*" above takes all of it'),
        ("tools: {on_duplicate: ask}",
         "f:1:23: tools.on_duplicate: never fires: no side_effects"),
        ("tools: {scope: tree, deny: [pay]}",
         "f:1:16: tools.scope: never fires: no side_effects"),
        ("tools: {side_effects: [pay], on_duplicate: reject, max_replays: 2}",
         "f:1:65: tools.max_replays: never fires: on_duplicate is reject"),
        ("routes: [{match: {model: a*}, to: [local]}, {match: {model: ab}, to: [local]}]",
         "f:1:45: routes[1]: never fires: routes[0] takes all its calls"),
        ("limits: {on_limit: handoff}\nhandoff: {webhook: {url: 'https://h', secret_env: NONE}}",
         "f:2:51: handoff.webhook.secret_env: the environment variable NONE is not set here"),
        ("handoff: {webhook: {url: 'https://h/secret'}}", f"f:1:26: handoff.webhook.url: {IDLE}"),
        ("handoff: {reply: message}", f"f:1:18: handoff.reply: {IDLE}"),
        ("tools: {side_effects: ['pay_*']}\nhandoff: {reply: message}",
         f"f:2:18: handoff.reply: {IDLE}"),
        ("handoff: {message: Help.}", f"f:1:20: handoff.message: {IDLE}"),
        (PROFILE % ("agent: a", "on_limit: handoff"),
         f"f:1:51: profiles[0].limits.on_limit: {NO_EFFECT}"),
        ("routes: [{match: {}, to: [local]}, {match: {endpoint: chat}, to: [local]}]",
         "f:1:36: routes[1]: never fires: routes[0] takes all its calls"),
        ("routes: []", "f:1:9: routes: no route: every governed call is refused"),
        ("routes: [{match: {}, to: [openai], fallback: [local/a, local/a]}]",
         "f:1:56: routes[0].fallback[1]: never asked: the same as fallback[0] of its route"),
        ("routes: [{match: {}, to: [openai, openai]}]",
         "f:1:35: routes[0].to[1]: never asked: the same as to[0] of its route"),
        (("routes: [{match: {endpoint: embeddings}, to: [openai], fallback: [anthropic/c],\n"
         "forward_credentials: true}]"),
         ("f:1:67: routes[0].fallback[0]: never asked: anthropic answers messages, and embeddings "
         "cannot be translated to that")),
        ("routes: [{match: {endpoint: completions}, to: [anthropic]}]",
         ("f:1:48: routes[0].to[0]: anthropic answers messages, and completions "
         "cannot be translated to that")),
        ("upstreams: {local: {endpoints: []}}\nroutes: [{match: {}, to: [local]}]",
         "f:2:27: routes[0].to[0]: local answers nothing"),
        ("routes: [{match: {}, to: [openai], fallback: [anthropic/claude-haiku-4-5]}]",
         f"f:1:47: routes[0].fallback[0]: {NO_KEY % 'openai'}"),
        (("upstreams: {a: {base_url: 'https://a.example', api_key: '${KEY}'}}\n"
         "routes: [{match: {}, to: [a], fallback: [openai]}]"),
         f"f:2:42: routes[0].fallback[0]: {NO_KEY % 'a'}"),
        ("routes: [{match: {}, to: [openai], fallback: [anthropic], forward_credentials: true}]",
         ("f:1:47: routes[0].fallback[0]: is asked for the model of openai "
         "(say which: anthropic/MODEL)")),
        ("routes: [{match: {}, to: [openai], downgrade_below: 0.1}]",
         "f:1:53: routes[0].downgrade_below: never fires: no fallback"),
        ("routes: [{match: {}, to: [openai], hedge: {after_seconds: 1}}]",
         "f:1:43: routes[0].hedge: never fires: no fallback"),
        ("routes: [{match: {}, to: [openai], forward_credentials: true}]",
         "f:1:57: routes[0].forward_credentials: no effect: no fallback"),
        ("routes_defaults: {hedge: {after_seconds: 1}}",
         "f:1:26: routes_defaults.hedge: never fires: no route has a fallback"),
        ("routes_defaults: {downgrade_below: 0.5}",
         "f:1:36: routes_defaults.downgrade_below: never fires: no route has a fallback"),
        ("routes: [{match: {}, to: [openai], fallback: [local/a], hedge: {after_seconds: 600}}]",
         ("f:1:80: routes[0].hedge.after_seconds: never fires: its deadline_seconds (600) is "
         "reached first")),
        (("routes: [{match: {}, to: [local], fallback: [openai/a], deadline_seconds: 5,\n"
         "          forward_credentials: true, hedge: {after_seconds: 5}}]"),
         ("f:2:61: routes[0].hedge.after_seconds: never fires: its deadline_seconds (5) is "
         "reached first")),
        ("upstreams: {openai: {api_key: '${KEY}', forward_credentials: true}}",
         "f:1:62: upstreams.openai.forward_credentials: no effect: it has an api_key of its own"),
        ("retries: {max: 0, ratio: 0.5}",
         "f:1:26: retries.ratio: never fires: retries.max is 0"),
        ("retries: {max: 1, ratio: 0}", "f:1:16: retries.max: never fires: retries.ratio is 0"),
        ("breakers: {answer_seconds: 601}",
         "f:1:28: breakers.answer_seconds: never fires: deadline_seconds (600) is reached first"),
        ("breakers: {slow_seconds: 601}",
         "f:1:26: breakers.slow_seconds: never fires: deadline_seconds (600) is reached first"),
        ("breakers: {stall_seconds: 301}",
         "f:1:27: breakers.stall_seconds: never fires: timeouts.idle (300) is reached first"),
        ("breakers: {stall_seconds: 601}",
         "f:1:27: breakers.stall_seconds: never fires: deadline_seconds (600) is reached first"),
        ('upstreams: {a: {base_url: "http://a"}}', "f:1:16: upstreams.a: no route goes to it"),
        ('upstreams: {local: {base_url: "http://a"}}',
         ("f:1:20: upstreams.local: price: free comes from the defaults "
         "(say price: free, or null to be priced)")),
        ("upstreams: {openai: {api_key: sk-1}}",
         ("f:1:31: upstreams.openai.api_key: a key written out; "
         "take it from the environment: ${NAME}")),
        ("tenants: {a: {}}", "f:1:14: tenants.a: no key_hashes: no call is ever its own"),
        ("unknown_credentials: reject",
         "f:1:22: unknown_credentials: never fires: no upstream has an api_key of its own"),
        ("upstreams: {openai: {api_key: '${KEY}'}}\nunknown_credentials: reject",
         ("f:2:22: unknown_credentials: "
         "no tenants: every call to an upstream with an api_key is refused")),
        ("profiles: [{match: {agent: a}}]", "f:1:12: profiles[0]: does nothing: no limits in it"),
        (PROFILE % ("", "steps: 1"),
         "f:1:20: profiles[0].match: matches every call: say it in limits itself"),
        (PROFILE % ("tenant: a", "steps: 1"),
         "f:1:29: profiles[0].match.tenant: never fires: no tenant of this name"),
        (PROFILE % ('tenant: "*"', "steps: 1"),
         ("f:1:29: profiles[0].match.tenant: "
         "takes callers that no tenant names: it may loosen for any credential")),
        (PROFILE % ("agent: a", "steps: 300"), f"f:1:48: profiles[0].limits.steps: {NO_EFFECT}"),
        (PROFILE % ("agent: a", "cost_usd: null"),
         f"f:1:51: profiles[0].limits.cost_usd: {NO_EFFECT}"),
        ("limits: {per_tool: {a: 1}}\n" + PROFILE % ("agent: a", "per_tool: {a: 2}"),
         f"f:2:55: profiles[0].limits.per_tool.a: {NO_EFFECT}"),
        ("limits: {steps: 0, parallel: null}", "f:1:17: limits.steps: 0: every call is refused"),
        ("limits: {tokens: 255}",
         "f:1:18: limits.tokens: every call is refused: accounting.min_output_tokens is 256"),
        ("budgets: [{scope: global, cost_usd: 0, window: 1h}]",
         "f:1:37: budgets[0].cost_usd: 0: every call that costs anything is refused"),
        ("limits: {request_cost_usd: 10}",
         "f:1:28: limits.request_cost_usd: never fires: limits.cost_usd is reached first"),
        ("limits: {cost_usd_per_minute: 11}",
         "f:1:31: limits.cost_usd_per_minute: never fires: limits.cost_usd is reached first"),
        ("limits: {tool_calls: 3, per_tool: {a: 3, b: 2}}",
         "f:1:39: limits.per_tool.a: never fires: limits.tool_calls is reached first"),
        (("budgets: [{scope: tenant, cost_usd: 9, window: 1h}, "
         "{scope: global, cost_usd: 9, window: 1d}]"),
         "f:1:37: budgets[0].cost_usd: never fires: budgets[1] is reached first"),
        ("prices: {m: {input: 1, output: 50000}}",
         ("f:1:32: prices.m.output: every call at it is refused: "
         "accounting.min_output_tokens (256) cost 12.8 USD, and a limit is 10")),
        ('prices: {"m*": {input: 1, output: 1}, m1: {input: 1, output: 1}}',
         'f:1:43: prices.m1: never fires: "m*" above takes all of it'),
        ('rejection: {clients: {"C*": 400, "codex_exec*": 403}}',
         'f:1:49: rejection.clients["codex_exec*"]: never fires: "c*" above takes all of it'),
        ("rejection: {status: 409}", "f:1:21: rejection.status: SDKs send a call again on 409"),
        ("rejection: {agents: {a: 429}}",
         "f:1:25: rejection.agents.a: SDKs send a call again on 429"),
        ("timeouts: {head: 700}",
         "f:1:18: timeouts.head: never fires: deadline_seconds (600) is reached first"),
    ],
)  # fmt: skip
def test_a_rule_that_does_nothing_is_warned_of(text: str, message: str) -> None:
    """A limit that nobody can reach is trusted all the same."""
    assert warnings(text) == [message]


@pytest.mark.parametrize(
    "text",
    [
        "limits: {on_limit: handoff}\nhandoff: {reply: message, message: no}",
        "tools: {require_approval: ['pay_*']}\nhandoff: {reply: message}",
        "tools: {side_effects: ['pay_*'], on_duplicate: ask}\nhandoff: {reply: message}",
        ("limits: {on_limit: handoff}\n"
         "handoff: {webhook: {url: 'https://h/', format: pagerduty, secret_env: KEY}}"),
        ("handoff: {webhook: {url: 'https://h/', secret_env: KEY}}\n"
         + PROFILE % ("tenant: anonymous", "on_limit: handoff")),
        "handoff: {webhook: {url: '${NONE:-}', format: slack, secret_env: NONE}}",
        "routes: [{match: {model: ab}, to: [local]}, {match: {model: a*}, to: [local]}]",
        ("routes: [{match: {endpoint: chat}, to: [local]}, {match: {endpoint: messages}, "
        "to: [local]}]"),
        'upstreams: {local: {base_url: "http://a", price: free}}',
        "limits: {tool_calls: 0, steps: null, parallel: 200}",
        "routes: [{match: {}, to: [openai], fallback: [openai/gpt-5-mini, local/qwen3]}]",
        ("routes: [{match: {}, to: [openai, local/x], forward_credentials: true, "
         "hedge: {after_seconds: 2}, downgrade_below: 0.1}]"),
        ("upstreams: {a: {base_url: 'https://a.example', forward_credentials: true}}\n"
         "routes: [{match: {}, to: [openai], fallback: [a/x]}]"),
        ("upstreams: {a: {base_url: 'https://a.example', api_key: '${KEY}'}}\n"
         "routes: [{match: {}, to: [openai], fallback: [a]}]"),
        *(f"upstreams: {{a: {{base_url: 'http://{near}/v1'}}}}\n"
          "routes: [{match: {}, to: [openai], fallback: [a/x]}]"
          for near in ("vllm", "vllm.ml.svc", "10.1.2.3:8000", "[::1]:80", "169.254.1.1",
                       "mac.local", "192.168.0.1")),
        "routes: [{match: {endpoint: messages}, to: [openai]}]",
        ("upstreams: {a: {base_url: 'https://a.example'}}\n"
         "routes: [{match: {endpoint: messages}, to: [a]}]"),
        ("routes: [{match: {}, to: [openai], fallback: [local/x], hedge: {after_seconds: 700}, "
         "deadline_seconds: 800}]\ntimeouts: {head: 700}"),
        "routes: [{match: {}, to: [openai], on_unavailable: handoff}]\nhandoff: {reply: message}",
        "routes_defaults: {on_unavailable: handoff}\nhandoff: {reply: message}",
        ("routes_defaults: {hedge: {after_seconds: 1}, downgrade_below: 0.5}\n"
         "routes: [{match: {}, to: [local], fallback: [local/x]}]"),
        "retries: {max: 0}",
        "retries: {ratio: 0}",
        "timeouts: {idle: 100}",
        "limits: {steps: 5}\ndeadline_seconds: 60",
        PROFILE % ("agent: a", "steps: 150, tool_calls: 5, per_tool: {a: 1}, tokens: 1000"),
        PROFILE % ("tenant: anonymous", "steps: null"),
        PROFILE % ("tenant: t_0123456789abcdef", "steps: null"),
        PROFILE % ('tenant: "team-*"', "steps: 300"),
        "profiles: [{match: {agent: a}, trusted: true, limits: {steps: 300}}]",
        ("budgets: [{scope: tenant, cost_usd: 9, window: 1w}, "
        "{scope: global, cost_usd: 9, window: 1mo}]"),
        ("budgets: [{scope: tenant, cost_usd: 9, window: 1d}, "
        "{scope: tenant, cost_usd: 20, window: 1w}]"),
        ("limits: {cost_usd: null, request_cost_usd: null}\nbudgets: []\n"
        "prices: {m: {input: 1, output: 50000}}"),
        (f"upstreams: {{openai: {{api_key: '${{KEY}}'}}}}\nunknown_credentials: reject\n"
        f"tenants: {{a: {{key_hashes: [{HASH}]}}}}"),
    ],
)  # fmt: skip
def test_what_has_its_use_is_not_warned_of(text: str) -> None:
    """Warnings are read only as long as they are true."""
    assert warnings(text) == []


@pytest.mark.parametrize("url", ["http://h:99999/v1", "http://[::::]/v1"])
def test_a_url_that_cannot_be_asked_breaks_no_check(url: str) -> None:
    """The form allows it; the call that needs it is told."""
    upstreams = f"upstreams: {{a: {{base_url: '{url}'}}}}"

    assert warnings(f"{upstreams}\nroutes: [{{match: {{}}, to: [openai], fallback: [a/x]}}]") == []
