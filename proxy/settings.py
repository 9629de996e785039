"""What the command line says of a sidecar."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Ports 0 take free ones. store_url None: the policy's."""

    policy_path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 9090
    store_url: str | None = None
    drain_seconds: float = 30.0
