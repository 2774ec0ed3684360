"""The process of an embedded Prefect server: `python -m flows.process.prefect_server_main DESCRIPTOR`.

It serves on a socket that its parent has bound, and ends when its stdin closes. With `--prepare` it
only migrates an empty database and keeps it for all stores of this installation, which saves the
first run ten seconds; `make setup` calls it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flows.process.own_pages import own_pages_only
from flows.process.prefect_server import STOP_LIMIT, environment, template
from tempering.artifacts.atomic import whole_file


def serve(descriptor: int) -> None:
    """Serve on an inherited socket until stdin closes. Runs in the server's own process."""
    servers: list[Any] = []  # the uvicorn server, once there is one
    # Before the imports, which take four seconds: the parent may die meanwhile.
    threading.Thread(target=_end_with_parent, args=(servers,), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    app: Any = create_app(final=True, ephemeral=bool(os.environ.get("PREFECT__SERVER_EPHEMERAL")))
    listener = socket.socket(fileno=descriptor)
    app = own_pages_only(app, listener.getsockname()[0])
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1)
    servers.append(uvicorn.Server(config))
    servers[0].capture_signals = contextlib.nullcontext  # a stop is the parent's, which then asks for the end
    with listener:
        servers[0].run(sockets=[listener])


def _end_with_parent(servers: list[Any]) -> None:
    # `stop` writes a byte to ask for an end in order; a closed pipe means that the parent has died.
    request = os.read(0, 1)
    if request and servers and servers[0].started:
        servers[0].should_exit = True
        time.sleep(STOP_LIMIT)
    os._exit(0)


def prepare() -> None:
    """Migrate an empty database once for this installation (10 s), so that no run has to."""
    path = template()
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as scratch:
        os.environ.update(environment(path.parent, scratch, "", web=False))
        from prefect.server.database import provide_database_interface

        async def migrate() -> None:
            database = provide_database_interface()
            await database.create_db()
            await (await database.engine()).dispose()

        asyncio.run(migrate())
        _checkpoint(scratch)


def _checkpoint(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")


if __name__ == "__main__":
    if sys.argv[1:] == ["--prepare"]:
        prepare()
    else:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        serve(int(sys.argv[1]))
