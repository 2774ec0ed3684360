"""One run of a pipeline, from the config to the exit code: what `temper run` and `plan` do.

Where everything is cached it says so and starts nothing, not even Prefect. Otherwise a `Session` does
the work: the fork server and the Prefect server start in the background while Prefect is imported.
"""

import argparse
import shlex
import sys
from dataclasses import dataclass

from flows.build import build_graph
from flows.config import load_pipeline
from flows.display import Display
from flows.graph import Node
from flows.plan import forced_nodes, plan, select
from flows.process.workers import Workers
from flows.runner import Runner
from flows.session import Ended, Planned, Session
from flows.store_choice import DEFAULT_STORE, given_store
from tempering.artifacts.store import Store
from tempering.printable import clock
from tempering.runtime import require_tracker


@dataclass(frozen=True)
class Options:
    """What the command line says about a run or a plan."""

    config: str
    overrides: tuple[str, ...] = ()
    store: str | None = None
    start: str | None = None
    only: str | None = None
    force: tuple[str, ...] = ()
    port: int | None = None
    strict_code: bool = False

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "Options":
        """The options in the arguments that the command line has parsed."""
        return cls(
            args.config, tuple(args.overrides), given_store(args), args.start, args.only, tuple(args.force),
            args.port, args.strict_code,
        )  # fmt: skip


def plan_pipeline(options: Options, *, writable: bool = False) -> Planned:
    """Load the config and compare it with the store; computes nothing.

    Raises:
        UserError: the config, an override, a stage's name or the store is wrong.
    """
    config = load_pipeline(options.config, options.overrides)
    runtime = config.runtime
    if options.strict_code:
        runtime = runtime.model_copy(update={"strict_code": True})
    nodes = _wanted(build_graph(config), options.only)
    store = Store(options.store or runtime.store or DEFAULT_STORE, writable=writable)
    rows = plan(
        nodes, store, options.force, options.start, options.only, runtime.strict_code, pipeline=config.name
    )
    forced = frozenset(forced_nodes(nodes, options.force, options.start))
    return Planned(config, runtime, store, tuple(nodes), tuple(rows), forced)


def _wanted(nodes: list[Node], only: str | None) -> list[Node]:
    """With `only`: these nodes and what they are made from, since what comes after must not run."""
    if only is None:
        return nodes
    names = select(nodes, only)
    for node in reversed(nodes):
        if node.name in names:
            names.update(node.parents())
    return [node for node in nodes if node.name in names]


def run_pipeline(options: Options, display: Display) -> Ended:
    """Plan, run what is not cached, and keep a record of it.

    Raises:
        UserError: before anything was started.
    """
    planned = plan_pipeline(options, writable=True)
    if any(row.action != "cached" for row in planned.rows):
        require_tracker(planned.runtime.log_with)
    run = planned.store.runs.start(
        planned.config.name, command=shlex.join(sys.argv), config=planned.config.model_dump(mode="json")
    )
    workers = Workers()
    runner = Runner(
        planned.store,
        planned.runtime,
        display,
        workers,
        forced=planned.forced,
        nodes=planned.nodes,
        fingerprints={row.stage: row.fingerprint for row in planned.rows},
        name=planned.config.name,
    )
    session = Session(planned, options.port, run, runner, display)
    try:
        if all(row.action == "cached" for row in planned.rows):
            session.reuse()
        else:
            session.run_all()
    except BaseException:
        run.finish("failed")
        raise
    return session.end()


def summary(ended: Ended, seconds: float) -> str:
    """What people are told at the end of a run."""
    counts: dict[str, int] = {}
    for row in ended.rows:
        counts[row["action"]] = counts.get(row["action"], 0) + 1
    done = f"{', '.join(f'{number} {action}' for action, number in counts.items())} in {clock(seconds)}"
    return "\n".join([done, *(f"report: {page}" for page in ended.pages)])
