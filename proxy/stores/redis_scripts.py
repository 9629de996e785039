"""The Lua that runs in the server, and how it is named there."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True)
class Script:
    """sha: what a server calls it once it has been loaded."""

    name: str
    text: bytes

    @cached_property
    def sha(self) -> str:
        return sha1(self.text, usedforsecurity=False).hexdigest()


@lru_cache
def script(name: str) -> Script:
    """`redis_NAME.lua`, which lies beside this file."""
    return Script(name, files("proxy.stores").joinpath(f"redis_{name}.lua").read_bytes())
