"""The gateway inside TensorZero's package, which takes a port of its own: CONFIG PORT_FILE."""

import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tensorzero import _start_http_gateway  # type: ignore[import-not-found] # its own venv's

gateway = _start_http_gateway(
    config_file=sys.argv[1],
    clickhouse_url=None,
    postgres_url=None,
    valkey_url=None,
    async_setup=False,
)
Path(sys.argv[2]).write_text(str(urlsplit(gateway.base_url).port))
signal.sigwait({signal.SIGTERM, signal.SIGINT})
