"""Policy files: whatever they say, a policy comes of it or PolicyInvalid with places, in time."""

import time
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from proxy.config.load import load_policy
from proxy.config.problems import PolicyInvalid
from tests.fuzz.mutations import spoilt_bytes

_ROOT = Path(__file__).parents[2]
_SECONDS: Final = 1.0
_LINES = (
    *("steps: 1", "limits:", "  steps: x", "- a", "? b", "&a [*a]", "*b", "<<: *a", "<<: {a: 1}"),
    *("!!python/object/apply:os.system [ls]", "!!binary x", "--- !a", "...", "%YAML 1.1", "---"),
    "a: b: c",
    *("limits: {steps: 1e999}", "limits: {steps: -1}", "limits: {cost_usd: 0x10}"),
    "prices: {'': {}}",
    *("budgets: [{scope: global, cost_usd: .inf, window: 1d}]", "routes: [{match: {}, to: []}]"),
    *("upstreams: {a: {base_url: 'http://[::1'}}", "upstreams: {a: {base_url: http://h:99999}}"),
    *("tenants: {t: {key_hashes: ['sha256:x']}}", "store: {url: 'sqlite:///'}", "version: 2", "\t"),
    *("x: ${X}", "x: ${X:-${Y}}", "x: ${", "x: $${X}", "x: ${PATH}", "a: 'b", 'a: "\\x', "a: |"),
    "a: >9",
    *("[" * 200, "{" * 200, "- " * 300, "a: &x [*x, *x]", "'\\0': 1", "\x85: 1", "\u2028"),
    *("\ufeff", "{}"),
    *("profiles: [{match: {agent: '*'}, limits: {steps: null}}]", "12:30:45: 1", "null: 1"),
    *(
        "routes: [{match: {}, to: [a, a], fallback: [a, openai/x, b]}]",
        "routes_defaults: {hedge: x}",
    ),
    *(
        "routes: [{match: {}, to: [], fallback: [local], hedge: {after_seconds: 1e9}}]",
        "retries: {}",
    ),
    *(
        "upstreams: {a: {base_url: 'http://[::::]', endpoints: [x]}}",
        "breakers: {open_seconds: 1e9}",
    ),
    "[a]: 1",
    *("rejection: {clients: {'[': 400}}", "limits: {per_tool: {'**': 1}}"),
    "prices: {'*': {input: 1e-9}}",
)


@cache
def _policies() -> tuple[bytes, ...]:
    shipped = (*_ROOT.glob("policies/*.yaml"), _ROOT / "proxy" / "policies" / "default.yaml")
    return tuple(path.read_bytes() for path in sorted(shipped))


def _text(rng: Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return "\n".join(rng.choices(_LINES, k=rng.randint(1, 6))).encode()
    if kind == 1:
        laughs = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
        return f"a0: &a0 [x]\n{laughs}\nlimits: *a8\n".encode()
    lines = rng.choice(_policies()).split(b"\n")
    for _ in range(rng.choice((0, 1, 3))):
        at = rng.randrange(len(lines))
        put = rng.choice(_LINES).encode()
        match rng.randrange(4):
            case 0:
                del lines[at : at + rng.choice((1, 4))]
                lines = lines or [b""]
            case 1:
                lines.insert(at, b" " * rng.choice((0, 2, 4)) + put)
            case 2:
                lines[at] = lines[at].partition(b":")[0] + b": " + put
            case _:
                lines[at] = lines[rng.randrange(len(lines))]
    text = b"\n".join(lines)
    return text if kind == 2 else spoilt_bytes(rng, text)


def fuzz_policies(seed: int, count: int, folder: Path) -> list[str]:
    """The faults of so many files, none of them a crash, slow, or without a place."""
    faults, file = list[str](), folder / "fuzzed.yaml"
    for number in range(count):
        text = _text(Random(f"{seed}-policy-{number}"))
        file.write_bytes(text)
        began = time.process_time()
        wrong = _wrong_with(file)
        spent = time.process_time() - began
        if wrong is None and spent > _SECONDS:
            wrong = f"took {spent:.1f} s"
        if wrong is not None:
            faults.append(f"policy {number}: {wrong}\n    {text[:300]!r}")
    return faults


def _wrong_with(file: Path) -> str | None:
    try:
        load_policy(file, {"PATH": "/bin"})
    except PolicyInvalid as invalid:
        if not invalid.problems:
            return "invalid, and nothing said why"
        places = [problem.place for problem in invalid.problems]
        if _is_text(file) and not all(place.line and place.column for place in places):
            return f"a problem without a place: {invalid}"
    except Exception as error:  # what is looked for
        return f"{error!r}"
    return None


def _is_text(file: Path) -> bool:
    """Else it is unreadable as a whole, and no place in it could be named."""
    try:
        return bool(file.read_bytes().decode())
    except UnicodeDecodeError:
        return False
