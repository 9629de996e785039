"""What the model is told of its loop. Never a word of what a tool said, which may be hostile."""

from typing import Final

from proxy.core.loops.detectors.registry import DETECTORS
from proxy.core.loops.finding import Finding

_FROM: Final = "[Automatic notice of the gateway, not from the user]"
_SAYS: Final = {detector.name: detector.says for detector in DETECTORS}
_SHOWN: Final = 8


def notes_of(finding: Finding, *, must_call: bool = False) -> tuple[str, ...]:
    """What is put before the model's next answer; nothing on most rungs. must_call: the request
    takes no answer but a call, so that one is how it ends."""
    match finding.rung:
        case "steer":
            return (steering(finding),)
        case "final_answer":
            return (concluding_by_call(finding) if must_call else concluding(finding),)
        case _:
            return ()


def steering(finding: Finding) -> str:
    """That it goes round, and that going on brings nothing."""
    return (
        f"{_FROM} {what_happens(finding)} Doing the same again will not help. Use what is already "
        "known, try something different, or say what is missing."
    )


def concluding(finding: Finding) -> str:
    """That no tool can be called now, and it has to conclude."""
    return (
        f"{_FROM} {what_happens(finding)} No tool can be called in this answer. Conclude with what "
        "is already known: what is done, what is not, and what stood in the way."
    )


def concluding_by_call(finding: Finding) -> str:
    """The same where it has to call a tool. No longer than `concluding`, by which it is priced."""
    return (
        f"{_FROM} {what_happens(finding)} Do not repeat it. Conclude now, by the call that gives "
        "the final answer: what is done, what is not, and what stood in the way."
    )


def what_happens(finding: Finding) -> str:
    """One sentence on a loop, for a model or a human. Names are safe: `core.loops.naming`.

    Its detector's, with The (which tools), count, period (of a cycle), order (the tools of a cycle)
    and last (the tools of the newest turn) put in.
    """
    tools = [f"`{tool}`" for tool in dict.fromkeys(finding.tools)][:_SHOWN]
    steps = [f"`{tool}`" for tool in finding.tools][:_SHOWN]
    listed = ", ".join(tools)
    kind = "The tool" if len(tools) == 1 else "The set of tools"
    return _SAYS[finding.detector].format(
        The=f"{kind} {listed}" if tools else "The same tool",
        count=finding.count,
        period=finding.period,
        order=f" ({' → '.join(steps)})" if tools else "",
        last=f", the last of them {listed}" if tools else "",
    )
