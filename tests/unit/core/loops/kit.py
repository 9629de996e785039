"""An agent as detectors see it: it keeps a history, is answered, runs tools and asks again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.core.loops.finding import Finding
from proxy.core.loops.judge import Verdict, judge
from proxy.core.loops.policy import Loops
from proxy.core.loops.thread import Threads, after_answer, after_request
from proxy.core.loops.turns import asked_by, tail_of
from proxy.core.request import Message, Request
from proxy.core.usage import Answer, ToolCall

DEFAULT = Loops()


def message(role: str, text: str = "", calls: Sequence[ToolCall] = (), result_id: str | None = None,
            *, is_error: bool = False) -> Message:  # fmt: skip
    return Message(role, text, b"", tuple(calls), result_id, is_error)  # type: ignore[arg-type]


def request_of(messages: Sequence[Message], offered: Sequence[str] = ()) -> Request:
    return Request("chat", "m", stream=False, messages=tuple(messages), output_bound=None,
                   choices=1, text_bytes=0, offered_tools=tuple(offered))  # fmt: skip


def call(tool: str = "fetch", arguments: str = '{"q": 1}', call_id: str = "") -> ToolCall:
    return ToolCall(call_id, tool, arguments)


@dataclass
class Session:
    """What the ledger keeps of one: the threads of its state. rested: it was quiet for a while."""

    loops: Loops = DEFAULT
    threads: Threads = field(default_factory=dict)
    number: int = 0
    rested: bool = False

    def ask(self, messages: Sequence[Message], thread: str = "") -> Verdict:
        """A request that is let through unless its loop is stopped."""
        self.number += 1
        offered = ("fetch", "search", "parse", "edit", "test")
        tail = tail_of(request_of(messages, offered), thread)
        verdict = judge(self.loops, self.threads, tail, self.number, rested=self.rested)
        if verdict.finding is None or verdict.finding.rung != "stop":
            self.threads = after_request(self.threads, verdict.noted)
        return verdict

    def turn_of(self, key: str) -> int:
        return self.threads[key].turns if key in self.threads else 0

    def answered(self, key: str, turn: int, answer: Answer) -> None:
        self.number += 1
        asked = asked_by(answer, self.loops)
        self.threads = after_answer(self.threads, key, turn, asked, self.number)


@dataclass
class Agent:
    """One that resends its history. ids: how its provider names calls; unique where none."""

    session: Session = field(default_factory=Session)
    thread: str = ""
    ids: str = ""
    history: list[Message] = field(default_factory=lambda: [message("user", "Do it.")])
    key: str = ""
    at: int = 0
    made: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    finding: Finding | None = None

    def starts(self) -> None:
        self.asks()

    def asks(self) -> Finding | None:
        self.verdict = self.session.ask(self.history, self.thread)
        self.key = self.verdict.noted.thread
        self.at = self.session.turn_of(self.key)
        self.finding = self.verdict.finding
        return self.finding

    def turn(self, *pairs: tuple[ToolCall, str], is_error: bool = False) -> Finding | None:
        """The model asks for these calls, they come to these results, and the agent asks on."""
        named = []
        for one, _ in pairs:
            self.made += 1
            call_id = self.ids or f"call_{self.made}_{id(self):x}"
            named.append(ToolCall(call_id, one.name, one.arguments))
        self.session.answered(self.key, self.at, Answer("", tuple(named)))
        self.history.append(message("assistant", "", named))
        for one, (_, result) in zip(named, pairs, strict=True):
            self.history.append(message("tool", result, (), one.call_id, is_error=is_error))
        return self.asks()

    def says(self, text: str, then: str) -> Finding | None:
        """The model answers with text alone, and the user says something."""
        self.session.answered(self.key, self.at, Answer(text))
        self.history += [message("assistant", text), message("user", then)]
        return self.asks()


def begun(session: Session | None = None, thread: str = "", ids: str = "") -> Agent:
    agent = Agent(session or Session(), thread, ids)
    agent.starts()
    return agent
