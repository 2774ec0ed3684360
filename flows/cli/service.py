"""`temper up | down | status`: the service of this machine, which schedules, shows and runs deployments.

Exit codes of `status`: 0 all is well, 1 a part of the service does not work, 3 no service runs.
"""

import argparse
from pathlib import Path
from typing import Any

from flows.cli.command import add_command
from flows.cli.output import print_json
from flows.store_choice import DEFAULT_STORE, given_store

NOT_RUNNING = 3
_UP = """\
Keep a Prefect server, a worker and a report server up on this machine. A second call mends what is missing.

The auth string (user:password) comes from --auth-file or PREFECT_SERVER_API_AUTH_STRING, the URL of a
database with a password from PREFECT_SERVER_DATABASE_CONNECTION_URL. Both are kept in the service's folder,
STORE/.service, for the next start. To go without, end the service and remove `auth` or `database`."""
_STATUS = """\
Say what of the service works. Exit codes: 0 all is well, 1 a part of it does not work, 3 no service runs."""


def add_parser(commands: Any) -> None:
    """Add the subcommands."""
    start = add_command(
        commands, "up", up, "start, or mend, the service of this machine", description=_UP, json=False
    )
    start.add_argument("--port", type=int, metavar="N", help="of Prefect (default: 4200)")
    start.add_argument("--reports-port", type=int, metavar="N", help="of the reports (default: 4201)")
    start.add_argument("--host", help="where to listen (default: 127.0.0.1, this machine alone)")
    start.add_argument(
        "--database", metavar="URL", help="PostgreSQL (default: SQLite in the service's folder)"
    )
    start.add_argument("--auth-file", metavar="FILE", help="a file with one line user:password")
    start.add_argument(
        "--limit", type=int, metavar="N", help="runs at the same time (default: as it was; a new service: 1)"
    )
    start.add_argument(
        "--foreground",
        action="store_true",
        help="stay, and end with this process: for systemd and containers",
    )
    add_command(commands, "down", down, "end the service, its runs at a checkpoint", json=False)
    add_command(commands, "status", status, "say what of the service works", description=_STATUS)


def up(args: argparse.Namespace) -> int:
    """Start the service, or mend the one that runs."""
    from flows.service.settings import Settings

    settings = Settings.of(args)
    if args.foreground:
        from flows.service.supervisor import supervise

        return supervise(settings)
    from flows.service.start import start

    return start(settings)


def down(args: argparse.Namespace) -> int:
    """End the service."""
    from flows.service.start import stop

    return stop(_store(args))


def status(args: argparse.Namespace) -> int:
    """Print what works."""
    from flows.service.location import running

    service = running(_store(args))
    if service is None:
        if args.json:
            print_json({"running": False})
        else:
            print(f"no service runs for the store {_store(args)}; start one with `temper up`")
        return NOT_RUNNING
    from flows.service.health import examine

    health = examine(service)
    if args.json:
        print_json(health.facts())
    else:
        print("\n".join(health.lines()))
    return 0 if health.well() else 1


def _store(args: argparse.Namespace) -> Path:
    return Path(given_store(args) or DEFAULT_STORE).absolute()
