"""Made sessions of agents that do well, and whether any of them is held up: `python -m
tests.healthy_sessions [SESSIONS [SEED]]`.

What they do is what healthy agents were seen to do, or real tools to answer: they edit and test,
work through jobs in bulk, poll, try again once, fail a few times, look for what is not there, call
in parallel, read again what they have read; their clients resend, trim and compact the history.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from random import Random

from proxy.core.loops.finding import Finding, strength
from proxy.core.request import Message
from proxy.core.usage import ToolCall
from tests.unit.core.loops.kit import Agent, begun, message

Made = tuple[ToolCall, str]
MOST_ALIKE = 2
"""So often a healthy agent makes one call, with one result, in a row."""
MOST_FAILURES = 4

_TODOS = (
    "Todos have been modified successfully. Ensure that you continue to use the todo list to track "
    "your progress. Please proceed with the current tasks if applicable"
)
_SILENT = (
    "[The command completed with exit code 0.]\n[Current working directory: /w]\n[Command finished "
    "with exit code 0]"
)
ACKNOWLEDGEMENTS = (
    *("ok", _TODOS, _SILENT),
    "Tool ran without output or errors",
    "(Bash completed with no output)",
    "Your command ran successfully and did not produce any output.",
    "Email sent successfully; it will be delivered within five minutes. Thank you for waiting.",
    "1 row affected",
    '{"status":"success","message":"Memory added"}',
    '{"output":"Success. Updated the following files:\\nM a.py\\n","metadata":{"exit_code":0}}',
)
POLLED = (
    "get_job_status",
    "build_status",
    "wait_for_run",
    "BashOutput",
    "TaskOutput",
    "poll_queue",
)


class Session:
    """One agent at work. worst: the strongest that was said to it."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.agent: Agent = begun(ids="call_0" if self.chance.random() < 0.1 else "")
        self.worst: Finding | None = None
        self._made = 0

    def play(self, parts: int) -> "Session":
        for _ in range(parts):
            self.chance.choice(PARTS)(self)
            self.look_around()
        return self

    def look_around(self) -> None:
        """Something new, so that nothing before it goes on after it."""
        self.turn((self.new_call("read"), self.new_text()))

    def turn(self, *made: Made, is_error: bool = False) -> None:
        self._hear(self.agent.turn(*made, is_error=is_error))
        if self.chance.random() < 0.1:  # the SDK sends it again
            self._hear(self.agent.asks())

    def says(self, text: str, then: str) -> None:
        self._hear(self.agent.says(text, then))

    def forgets(self) -> None:
        """The client sends what it began with and the newest turns; no result without its call."""
        history = self.agent.history
        start = max(1, len(history) - self.chance.randint(2, 8))
        while start > 1 and history[start].role != "user" and history[start].role != "assistant":
            start -= 1
        summary: list[Message] = []
        if self.chance.random() < 0.5:
            summary.append(message("user", f"So far {len(history)} messages were exchanged."))
        self.agent.history = [history[0], *summary, *history[start:]]

    def new_call(self, tool: str) -> ToolCall:
        self._made += 1
        return ToolCall("", tool, json.dumps({"path": f"/src/{self._made}.py"}))

    def new_text(self) -> str:
        self._made += 1
        return f"def f{self._made}():\n    return {self._made * 7}\n"

    def _hear(self, finding: Finding | None) -> None:
        if finding is not None and (
            self.worst is None or strength(finding.rung) > strength(self.worst.rung)
        ):
            self.worst = finding


def edits_and_tests(on: Session) -> None:
    """The test fails the same way until it does not."""
    test = ToolCall("", "bash", '{"command": "pytest -x"}')
    failure = "FAILED tests/test_a.py::test_b - assert 3 == 4\n1 failed in 0.{}s"
    for at in range(on.chance.randint(2, 15)):
        on.turn((on.new_call("edit"), "The file has been updated successfully."))
        on.turn((test, failure.format(at)))


def works_through_a_list(on: Session) -> None:
    said = on.chance.choice(ACKNOWLEDGEMENTS)
    for _ in range(on.chance.randint(5, 40)):
        on.turn((on.new_call("create_issue"), said))


def polls(on: Session) -> None:
    """A build takes its time; the last answer is another one."""
    command = ToolCall("", "bash", '{"command": "sleep 30 && gh run view 17"}')
    call = on.chance.choice([command, *[ToolCall("", t, '{"id": 17}') for t in POLLED]])
    for _ in range(on.chance.randint(3, 50)):
        on.turn((call, "in_progress"))
    on.turn((call, "completed"))


def tries_again(on: Session) -> None:
    call, said = on.new_call("fetch"), on.new_text()
    for _ in range(MOST_ALIKE):
        on.turn((call, said))


def fails_a_few_times(on: Session) -> None:
    for _ in range(on.chance.randint(1, MOST_FAILURES)):
        failure = f"Error: no such option: {on.new_text()}"
        on.turn((on.new_call("bash"), failure), is_error=on.chance.random() < 0.5)


def finds_nothing(on: Session) -> None:
    nothing = on.chance.choice(["", "[]", "No matches found", '{"results": [], "total": 0}'])
    for _ in range(on.chance.randint(1, 5)):
        on.turn((on.new_call("grep"), nothing))


def calls_in_parallel(on: Session) -> None:
    made = [(on.new_call("read"), on.new_text()) for _ in range(on.chance.randint(2, 6))]
    on.turn(*made)
    again = made[: on.chance.randint(1, len(made))]
    on.turn(*again, (on.new_call("read"), on.new_text()))


def reads_again(on: Session) -> None:
    """The same file between other things: more than half of the real runs do that three times."""
    call, said = ToolCall("", "read", '{"path": "/src/main.py"}'), "print('hello')\n" * 9
    for _ in range(on.chance.randint(3, 8)):
        on.turn((call, said))
        on.turn((on.new_call("edit"), "edited"))


def asks_and_is_answered(on: Session) -> None:
    on.says(on.new_text(), on.new_text())


def is_told_to_go_on(on: Session) -> None:
    on.says(f"Step {on.new_text()} is done.", "continue")


def is_compacted(on: Session) -> None:
    on.forgets()


PARTS: tuple[Callable[[Session], None], ...] = (
    *(edits_and_tests, works_through_a_list, polls, tries_again, fails_a_few_times, finds_nothing),
    *(calls_in_parallel, reads_again, asks_and_is_answered, is_told_to_go_on, is_compacted),
)


def main(arguments: list[str]) -> int:
    """1 where any session was stopped, or made to conclude."""
    sessions = int(arguments[0]) if arguments else 10_000
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    said = Counter[str]()
    for number in range(sessions):
        worst = Session(seed + number).play(4).worst
        said[worst.rung if worst else "nothing"] += 1
    print(f"{sessions} healthy sessions were told at most: {dict(said)}")
    return 1 if said["stop"] or said["final_answer"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
