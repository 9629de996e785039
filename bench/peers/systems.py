"""What a system under test is: how it is found, told what to do, and spoken to."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from bench.places import PEERS

CONFIGS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Place:
    """Where one start of a system happens. directory: its own, empty."""

    directory: Path
    port: int
    spare_port: int
    upstream_port: int

    def configured(self, name: str) -> str:
        """The path of a file from beside this one, with the ports filled in."""
        text = (CONFIGS / name).read_text()
        values = {"PORT": self.port, "UPSTREAM": self.upstream_port}
        written = self.directory / name
        written.write_text(Template(text).safe_substitute(values))
        return str(written)


@dataclass(frozen=True, slots=True)
class Launch:
    """How it is started and spoken to.

    path, headers, model: of its chat completions; model takes the name's place in bodies.
    port_file: where it writes the port that it chose itself.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = "/v1/chat/completions"
    headers: tuple[str, ...] = ()
    model: str = "mock"
    port_file: Path | None = None


@dataclass(frozen=True, slots=True)
class System:
    """One system under test. program: what to run; None: not installed."""

    name: str
    program: Callable[[], Path | None]
    version: Callable[[Path], str]
    launch: Callable[[Path, Place], Launch]


def installed(peer: str, path: str, on_path: str = "") -> Callable[[], Path | None]:
    """Finds what peers.sh has put there, or else a program of the machine's own."""

    def find() -> Path | None:
        program = PEERS / peer / path
        if program.exists():
            return program
        found = shutil.which(on_path) if on_path else None
        return Path(found) if found else None

    return find


def said(flag: str) -> Callable[[Path], str]:
    """The version that a program prints."""

    def version(program: Path) -> str:
        done = subprocess.run((program, flag), capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
        return found.group() if found else "?"

    return version


def packaged(package: str) -> Callable[[Path], str]:
    """The version of a Python package beside the program's interpreter."""

    def version(program: Path) -> str:
        found = program.parent.parent.glob(f"lib/python*/site-packages/{package}-*.dist-info")
        return next((path.name.split("-")[1].removesuffix(".dist") for path in found), "?")

    return version
