"""`temper deploy CONFIG` and `temper deployments`: what the service runs, and when.

A config that does not hold is refused before anything is created, with the message that `temper plan` gives.
"""

import argparse
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli.command import add_command, open_store
from flows.cli.output import console, print_json
from flows.store_choice import given_store
from tempering.errors import UserError

if TYPE_CHECKING:
    from flows.service.deployments import Deployed

_PARAMETERS = ("from_stage", "only", "force", "reuse")
_LISTS = ("force", "reuse")
_DEPLOY = """\
Create or update a deployment: the service (see `temper up`) runs CONFIG in this folder, at the times of its
schedule. A second call changes it: CONFIG, overrides and --param are those of the last call, and a schedule
that is given takes the place of the old one."""
_EXAMPLES = """\
examples:
  temper deploy configs/quickstart.yaml --cron "0 3 * * *" --timezone Europe/Berlin
  temper deploy configs/ppo.yaml ppo.learning_rate=1e-4 --interval 6h --name ppo-fast
  temper deploy configs/ppo.yaml --param from_stage=ppo --run      each run does PPO again; one now
  temper deploy configs/ppo.yaml --no-schedule                     by hand from now on
"""


def add_parser(commands: Any) -> None:
    """Add the subcommands."""
    parser = add_command(
        commands, "deploy", deploy, "have the service run a pipeline, on a schedule", description=_DEPLOY
    )
    parser.epilog = _EXAMPLES
    parser.add_argument("words", nargs="*", metavar="CONFIG key=value", help="a pipeline and overrides")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--cron", metavar="TEXT", help='when: "0 3 * * *" is each night at three')
    when.add_argument("--interval", metavar="TIME", help="how often: 30min, 6h, 1d")
    when.add_argument("--no-schedule", action="store_true", help="only when somebody starts it")
    parser.add_argument("--timezone", metavar="ZONE", help="of the schedule (default: UTC)")
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help=f"of each run: {', '.join(_PARAMETERS)}; may be repeated",
    )
    parser.add_argument("--name", help="of the deployment (default: the pipeline's)")
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--pause", action="store_true", help="keep the schedule from starting runs")
    state.add_argument("--resume", action="store_true", help="let it start them again")
    parser.add_argument("--run", action="store_true", help="start a run now")
    # What there is.
    parser = add_command(commands, "deployments", deployments, "list, start or delete deployments")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--run", metavar="NAME", help="start a run of NAME now")
    what.add_argument("--delete", metavar="NAME", help="delete NAME; what it has made stays")


def deploy(args: argparse.Namespace) -> int:
    """Create or update a deployment."""
    from flows.options import Options
    from flows.pipeline import plan_pipeline
    from flows.service.client import connected, server_of
    from flows.service.schedule import make_schedule

    # Mistakes first: whatever is wrong, nothing is created.
    parameters = _parameters(args.param)
    options = Options(
        config=args.config,
        overrides=tuple(args.overrides),
        store=given_store(args),
        start=parameters.get("from_stage"),
        only=parameters.get("only"),
        force=tuple(parameters.get("force", ())),
        reuse=tuple(parameters.get("reuse", ())),
    )
    planned = plan_pipeline(options)
    store = planned.store.root.absolute()
    schedule = make_schedule(args.cron, args.interval, args.timezone)
    service = server_of(store)
    # The deployment, and what its server made of it.
    with connected(service) as client:
        from flows.service import deployments as service_deployments

        spec = service_deployments.Spec(
            name=re.sub(r"[/%&<>]", "-", args.name or planned.config.name),
            store=store,
            folder=Path.cwd(),
            parameters={"config": args.config, "overrides": args.overrides, **parameters},
            schedule=schedule,
            paused=True if args.pause else False if args.resume else None,
            unscheduled=args.no_schedule,
        )
        new = service_deployments.deploy(client, spec)
        run = service_deployments.run(client, spec.name) if args.run else None
        deployed = service_deployments.look(client, spec.name)
    if args.json:
        print_json({**_facts(deployed), "new": new, "run": run})
        return 0
    print(f"{'deployed' if new else 'updated'} {deployed.name}: {_what(deployed)}; {_when(deployed)}")
    if run is not None:
        print(f"started the run {run}")
    return 0


def deployments(args: argparse.Namespace) -> int:
    """List them, or start or delete one."""
    from flows.service.client import connected, server_of

    with connected(server_of(open_store(args).root)) as client:
        from flows.service import deployments as service_deployments

        if args.run or args.delete:
            return _act(service_deployments, client, args)
        found = service_deployments.deployments(client)
    if args.json:
        print_json([_facts(each) for each in found])
    elif found:
        _print_table(found)
    else:
        print("no deployments; `temper deploy CONFIG` makes one")
    return 0


def _act(service_deployments: Any, client: Any, args: argparse.Namespace) -> int:
    facts: dict[str, str]
    if args.run:
        facts = {"deployment": args.run, "run": service_deployments.run(client, args.run)}
        line = f"started the run {facts['run']} of {args.run}"
    else:
        service_deployments.delete(client, args.delete)
        facts, line = {"deleted": args.delete}, f"deleted {args.delete}; what it has made stays in its store"
    if args.json:
        print_json(facts)
    else:
        print(line)
    return 0


def _parameters(words: list[str]) -> dict[str, Any]:
    """`--param NAME=VALUE` as the flow's parameters."""
    parameters: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if name not in _PARAMETERS or not sign or not value:
            raise UserError(
                f"--param {word} is none", expected=f"NAME=VALUE, NAME one of {', '.join(_PARAMETERS)}"
            )
        if name in _LISTS:
            parameters[name] = [*parameters.get(name, []), value]
        elif name in parameters:
            raise UserError(f"--param {name} is given twice", fix="leave one out")
        else:
            parameters[name] = value
    return parameters


def _facts(deployed: "Deployed") -> dict[str, Any]:
    return asdict(deployed)


def _what(deployed: "Deployed") -> str:
    """What its runs do, as on the command line."""
    words = [deployed.config, *deployed.overrides]
    for name in _PARAMETERS:
        value = deployed.parameters.get(name)
        words += [f"{name}={each}" for each in ([value] if isinstance(value, str) else value or [])]
    return " ".join(words)


def _when(deployed: "Deployed") -> str:
    schedule = " and ".join(deployed.schedules) or "no schedule"
    paused = ", paused" if deployed.paused else ""
    return schedule + paused


def _print_table(found: "list[Deployed]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "config", "schedule", "next run", "last run", "state"):
        table.add_column(name)
    for each in found:
        state = each.last_state or ""
        schedule = ("paused: " if each.paused else "") + (", ".join(each.schedules) or "-")
        cells = (each.name, _what(each), schedule, each.next_run or "", each.last_run or "", state)
        table.add_row(*(Text(cell) for cell in cells))
    console().print(table)
