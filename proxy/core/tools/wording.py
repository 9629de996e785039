"""What the model is told in the place of a result that the agent did not bring, and the client of
an answer that it is not given."""

DOUBLED = (
    "This call was asked for twice in one turn and made once; its result is that of the other."
)
FORGOTTEN = "This call was made before. Its result is not kept any more. It was not made again."


def refused_by_human(said: str) -> str:
    """For the model: a person has said no."""
    told = "A human was asked about this call and refused it; it was not made."
    return f"{told} They said: {said}" if said else told


def denied(tool: str) -> str:
    return (
        f"Tool {shown(tool)!r} is not allowed by the policy (tools.deny), so it is neither offered "
        "nor handed to the agent. Leave it out, or change the policy."
    )


def duplicate(tool: str, session: str) -> str:
    return (
        f"The model asked for {shown(tool)!r} again with arguments for which session {session} has "
        "a result already; the policy refuses that (tools.on_duplicate: reject). It was not handed "
        "to the agent."
    )


def too_many_replays(tool: str, session: str, most: int) -> str:
    return (
        f"The model was given the recorded result of {shown(tool)!r} {most} times in one step of "
        f"session {session} (tools.max_replays) and asked for it again. The call was not handed to "
        "the agent a second time."
    )


def no_room_to_go_on(tool: str, why: str) -> str:
    return (
        f"The model asked for {shown(tool)!r} again, which has a result already, and there is too "
        f"little left to give it that result and let it go on. {why}"
    ).rstrip()


def needs_approval(tool: str, *, again: bool) -> str:
    """For the human."""
    if again:
        return f"The model asks for {shown(tool)!r} again; it has a result already."
    return f"The model asks for {shown(tool)!r}; the policy has a human approve that first."


def shown(tool: str) -> str:
    """A name that a model wrote, safe to show."""
    return "".join(c if c.isprintable() else "?" for c in tool[:64])
