"""`holdfast serve --workers N`: what all workers share is made here, and what each of them does."""

import gc
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace

import proxy.admin.server  # noqa: F401 - before the fork, for all workers
from proxy import logs
from proxy.admin.door import listen
from proxy.admin.token import admin_token
from proxy.app import Settings
from proxy.backend import crew_folder
from proxy.clock import SystemClock
from proxy.config.watch import PolicyWatcher
from proxy.errors import StoreUnavailable
from proxy.stores.redis_url import is_redis
from proxy.stores.urls import chain_key, secret_beside
from proxy.workers.board import Board
from proxy.workers.places import Places
from proxy.workers.ports import reserve
from proxy.workers.seat import Seat, Shared
from proxy.workers.supervisor import Supervisor


def supervise(
    settings: Settings,
    env: Mapping[str, str],
    workers: int,
    log_level: str,
    serve: Callable[[Settings, Mapping[str, str], Seat], None],
) -> int:
    """Has several workers `serve`; 0 after a drain. What can be seen to be wrong before they are
    started is raised, as by App."""
    watcher = PolicyWatcher(settings.policy_path, env, clock := SystemClock(), logs.log_warnings)
    store_url = settings.store_url or watcher.current.store_url
    _check_shared(store_url, env)
    data = reserve(settings.host, settings.port)
    admin = listen(settings.admin_host, settings.admin_port)
    port, admin_port = data.getsockname()[1], admin.getsockname()[1]
    token = admin_token(env, store_url, admin_port)
    settings = replace(settings, port=port, admin_port=admin_port, store_url=store_url)
    crew = f"{os.getpid()}-{secrets.token_hex(4)}"
    reloads = logging.getLogger(watcher.__module__)
    reloads.disabled = True  # each worker tells of its own

    def work(seat: Seat) -> int:
        reloads.disabled = False
        logs.configure(log_level, worker=seat.number)
        try:
            serve(settings, env, seat)
        except (StoreUnavailable, ValueError, OSError) as error:
            seat.complain(str(error))
            return 1
        return 0

    def ready() -> None:
        logs.log_ready(port, admin_port, store_url)

    gc.freeze()  # what is shared by now stays so: no collection writes to it
    shared = Shared(crew, Board(workers), watcher, admin, token, Places())
    try:
        return Supervisor(shared, work, clock, ready, settings.drain_seconds).run()
    finally:
        shutil.rmtree(crew_folder(env, crew), ignore_errors=True)


def _check_shared(store_url: str, env: Mapping[str, str]) -> None:
    """Whether several processes may have that store."""
    if secret_beside(store_url) is None and not is_redis(store_url):
        allowed = "sqlite:///PATH, redis://HOST"
        raise ValueError(f"--workers: {store_url} is one process's own (allowed: {allowed})")
    chain_key(store_url, env)
