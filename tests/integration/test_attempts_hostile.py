"""What one caller does must not close a provider to others, nor be done twice to itself."""

import asyncio
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.core import events as ev
from proxy.core.request import DialectName
from proxy.simulator import Script, ToolCall, Turn
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.script import Match
from tests.integration.agent_kit import Agent, Cut
from tests.integration.attempts_kit import asked, log_of, targets, two_targets
from tests.integration.kit import DIALECTS, MODEL, sidecar
from tests.integration.test_tool_guard import human

ONE_IS_ENOUGH = "breakers: {consecutive_failures: 1, open_seconds: 0.2, slow_seconds: 0.3}\n"


async def test_a_trial_that_hangs_keeps_nobody_out(tmp_path: Path) -> None:
    """The call that tries a broken provider may take minutes; nobody else waits for its end."""
    async with sidecar(tmp_path, ONE_IS_ENOUGH + "retries: {max: 0}\n") as on:
        on.sim.fail("status=503", times=1)
        await on.call("chat", session="s0")
        on.sim.fail("slow_head=60", times=1)
        await SystemClock().sleep(0.3)
        hangs = asyncio.ensure_future(on.call("chat", session="s1"))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 2)
        shut = await on.call("chat", session="s2")
        await SystemClock().sleep(0.5)
        answer = await on.call("chat", session="s3")
        hangs.cancel()

        assert (shut.status, answer.status) == (503, 200)


async def test_a_prompt_over_a_rate_limit_by_itself_is_its_callers_own(tmp_path: Path) -> None:
    """OpenAI says 429 of a prompt that no minute has room for: others' fit."""
    said = "Request too large for gpt-5 in organization org-1 on tokens per min (TPM)"
    async with sidecar(tmp_path) as on:
        on.sim.fail(f"status=429;message={said}", times=1)
        own = await on.call("chat", session="s1")
        other = await on.call("chat", session="s2")

        assert own.status == 429
        assert said in str(own.error["message"])
        assert other.status == 200
        assert len(on.sim.journal) == 2


async def test_two_calls_of_a_session_that_nobody_serves_stand_once_before_a_human(
    tmp_path: Path,
) -> None:
    rules = "retries: {max: 0}\n"
    async with two_targets(tmp_path, rules, route="on_unavailable: handoff") as on:
        await on.call("chat", model="one")
        on.sim.fail("status=503;seconds=0, slow_head=0.3")
        calls = [on.call("chat", model="one", n=1, seed=number) for number in range(3)]
        told = await asyncio.gather(*calls)
        handed = [e for e in await log_of(on) if isinstance(e, ev.HandedOff)]

        assert {answer.error["code"] for answer in told} == {"awaiting_human"}
        assert len(handed) == 1


async def test_a_call_without_a_key_shuts_nobody_else_out(tmp_path: Path) -> None:
    """Its provider says 401, where callers bring their own keys."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("status=401")
        own = await on.call("chat", session="s1", headers={"authorization": ""})
        on.sim.heal()
        other = await on.call("chat", session="s2")

        assert (own.status, other.status) == (401, 200)


MAIL = ToolCall("send_email", {"to": "a"})
DOWN = Fault(FaultKind.STATUS, 503)


def mails(text: str) -> Script:
    """A mail, the same again beside a text, and then the first target is down."""
    down = Turn(faults=(DOWN,), match=Match(model="one"), step=2)
    again = Turn(text=text, tool_calls=(MAIL,))
    return Script((down, Turn(tool_calls=(MAIL,)), again, Turn(text="All done.")))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_another_model_goes_on_with_a_step_but_not_with_what_was_shown(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """No mail is sent twice because another model answers, and no answer is spliced of two."""
    for text in ("", "I send it."):
        folder = tmp_path / (text or "none")
        folder.mkdir()
        policy = "tools: {side_effects: ['send_*']}\nretries: {max: 0}\n"
        async with sidecar(folder, targets(policy), script=mails(text)) as on:
            agent = Agent(on, dialect, stream, extra={"model": "one"})
            await agent.step()
            if stream and text:
                with pytest.raises(Cut) as cut:
                    await agent.step()
                assert cut.value.code == "upstream_truncated"
                assert asked(on) == ["one"] * 3
            else:
                assert await agent.step() == "All done."
                assert asked(on) == ["one", "one", "one", "two"]
            assert len(agent.sent) == 1
            settled = [e for e in await log_of(on) if isinstance(e, ev.StepSettled)][-1]
            paid = on.sim.journal[1].input_tokens + 2 * on.sim.journal[1].output_tokens
            if not (stream and text):
                two = on.sim.journal[3]
                paid += 3 * two.input_tokens + 5 * two.output_tokens
            assert settled.cost_micro_usd == paid


@pytest.mark.parametrize("guarded", [False, True], ids=["plain", "guarded"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_answer_that_is_ended_for_what_was_asked_shuts_nobody_out(
    tmp_path: Path, dialect: DialectName, guarded: bool
) -> None:
    """Providers look at what they answer, too, and end it with an error."""
    policy = ONE_IS_ENOUGH + ("tools: {deny: ['rm']}\n" if guarded else "")
    async with sidecar(tmp_path, policy) as on:
        code = "invalid_request_error" if dialect == "messages" else "invalid_prompt"
        on.sim.fail(f"error_event=4;code={code}")
        tools = ("rm", "ls")
        own = await on.call(dialect, session="s1", stream=True, tools=tools)
        on.sim.heal()
        other = await on.call(dialect, session="s2", stream=True, tools=tools)

        assert code.encode() in own.body
        assert (own.status, other.status) == (200, 200)


async def test_one_that_is_always_overtaken_is_left_alone_in_the_end(tmp_path: Path) -> None:
    """Else each call would be asked twice, for ever."""
    rules = "breakers: {minimum_calls: 2}\n"
    async with two_targets(tmp_path, rules, route="hedge: {after_seconds: 0.1}") as on:
        on.sim.fail("slow_head=60", model="one")
        for number in range(3):
            answer = await on.call("chat", model="one", session=f"s{number}")
            assert answer.status == 200

        assert asked(on) == ["one", "two", "one", "two", "two"]


async def test_a_dearer_target_is_no_downgrade(tmp_path: Path) -> None:
    """The run is low, and its first target is shut: that is why another is asked."""
    rules = "limits: {cost_usd: 1}\n"
    async with two_targets(tmp_path, rules, route="downgrade_below: 1.0") as on:
        await on.call("chat", model="one")
        await on.app.breakers.open("first", "one")
        answer = await on.call("chat", model="one")

        assert answer.headers["x-holdfast-upstream"] == "second"
        assert answer.headers["x-holdfast-decision"] == "fallback"


async def test_an_sdks_retry_joins_a_call_that_waits_for_a_reset(tmp_path: Path) -> None:
    """It is asked once more, and paid once."""
    gives_up = {"x-stainless-timeout": "0", "x-stainless-retry-count": "0"}
    again = {"x-stainless-read-timeout": "60", "x-stainless-retry-count": "1"}
    async with sidecar(tmp_path) as on:
        on.sim.fail("status=429;retry_after=1", times=1)
        call = asyncio.ensure_future(on.call("chat", headers=gives_up))
        await on.sim.wait_for(lambda sim: bool(sim.journal and sim.journal[0].finished))
        await SystemClock().sleep(0.2)
        call.cancel()
        answer = await on.call("chat", headers=again)

        assert (answer.status, answer.headers["x-holdfast-decision"]) == (200, "replay")
        assert len(on.sim.journal) == 2
        assert (await on.admin("GET", "/sessions/s1"))["steps"] == 1
        assert await on.app.store.open_holds() == []


async def test_a_limited_target_is_not_waited_for_where_another_takes_the_call(
    tmp_path: Path,
) -> None:
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=429;retry_after=5", model="one")
        answer = await on.call("chat", model="one")

        assert answer.headers["x-holdfast-upstream"] == "second"
        one, two = on.sim.journal
        assert two.started - one.started < 2.5


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_that_was_kept_needs_no_provider(tmp_path: Path, stream: bool) -> None:
    """A human has approved the call in it while the provider was down."""
    policy = "tools: {require_approval: ['send_*']}\n"
    async with sidecar(tmp_path, policy, script=Script((Turn(tool_calls=(MAIL,)),))) as on:
        agent = Agent(on, "chat", stream)
        with pytest.raises(Cut):
            await agent.step()
        await human(on, "approve")
        await on.app.breakers.open("openai", MODEL)
        await agent.step()

        assert [call.name for call in agent.ran] == ["send_email"]
        assert len(on.sim.journal) == 1


async def test_a_callers_own_dead_key_is_put_before_no_human(tmp_path: Path) -> None:
    """Its caller is told each time, and can do something about it; nobody else can."""
    async with two_targets(tmp_path, route="on_unavailable: handoff") as on:
        await on.call("chat", model="one")
        on.sim.fail("status=401", model="one")
        told = [await on.call("chat", model="one") for _ in range(2)]

        assert [answer.status for answer in told] == [401, 401]
        assert not [e for e in await log_of(on) if isinstance(e, ev.HandedOff)]


async def test_what_a_failed_attempt_held_is_held_for_the_next_one(tmp_path: Path) -> None:
    """There is room for either target, and not for both at once."""
    holds = {}
    async with two_targets(tmp_path) as on:
        for model in ("one", "two"):
            await on.call("chat", model=model, session=model)
        await on.app.breakers.open("first", "one")
        await on.call("chat", model="one", session="two")
        for session in ("one", "two"):
            reserved = [e for e in await log_of(on, session) if isinstance(e, ev.StepReserved)]
            holds[session] = reserved[-1].hold_cost_micro_usd
    usd = (holds["two"] + holds["one"] // 2) / 1e6
    async with two_targets(tmp_path, f"limits: {{cost_usd: {usd:.6f}}}\n") as on:
        on.sim.fail("status=501", model="one")
        answer = await on.call("chat", model="one")

        assert holds["two"] > holds["one"] > 1
        assert (answer.status, asked(on)) == (200, ["one", "two"])


async def test_a_stranger_is_not_served_with_the_policys_own_key(tmp_path: Path) -> None:
    """Its made-up key fails at its own provider; the next target would be paid by others."""
    for policy, models in (("unknown_credentials: reject\n", ["one"]), ("", ["one", "two"])):
        folder = tmp_path / (policy[:4] or "none")
        folder.mkdir()
        async with two_targets(folder, policy + "retries: {max: 0}\n") as on:
            on.sim.fail("status=503", model="one")
            answer = await on.call("chat", model="one", headers={"authorization": "Bearer x"})

            assert asked(on) == models
            if policy:
                assert answer.status == 503
                assert "its key is for the policy's tenants" in str(answer.error["message"])
