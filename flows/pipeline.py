"""A pipeline before it runs: what its config and the store say, and what would be refused later.

All mistakes that can be known are found here, for `temper plan`, `temper run` and a worker alike.
"""

import os
import shlex
import sys
from collections.abc import Iterable

from flows.build import build_graph
from flows.config import load_pipeline
from flows.display import Display
from flows.fitting import check_fit
from flows.graph import Node
from flows.options import Options
from flows.pages.pages import Pages
from flows.plan import PlanRow, downstream, forced_nodes, plan, select
from flows.process.server_check import require_server
from flows.process.workers import Workers
from flows.reuse import with_reused
from flows.runner import Runner
from flows.service.location import running
from flows.session import Planned, Session
from flows.store_choice import DEFAULT_STORE
from tempering.artifacts.store import Store
from tempering.config import configs_in
from tempering.errors import ConfigError, UserError
from tempering.model_size import least_parameters
from tempering.printable import size
from tempering.rewards.endpoint.config import EndpointConfig
from tempering.runtime import require_tracker
from tempering.training.config import PretrainConfig


def plan_pipeline(options: Options, *, writable: bool = False) -> Planned:
    """Load the config and compare it with the store, without running anything.

    Raises:
        UserError: the config, an override, a stage's name or the store is wrong.
    """
    config = load_pipeline(options.config, options.overrides)
    runtime = config.runtime
    if options.strict_code:
        runtime = runtime.model_copy(update={"strict_code": True})
    nodes = build_graph(config)
    store = Store(options.store or runtime.store or DEFAULT_STORE, writable=writable)
    nodes = with_reused(nodes, options.reuse, store)
    _check_options(nodes, options)
    nodes = _with_parents(nodes, options.only)
    # A retry keeps its parameters: what its first attempt was forced to make is there.
    done = store.runs.made_in(options.flow_run) if options.flow_run else set()
    force, start, only = options.force, options.start, _with_gates(nodes, options.only)
    rows = plan(nodes, store, force, start, only, runtime.strict_code, pipeline=config.name, done=done)
    check_fit(rows, store)
    forced = frozenset(forced_nodes(nodes, force, start) - done)
    return Planned(options, config, runtime, store, tuple(nodes), tuple(rows), forced)


def _check_options(nodes: list[Node], options: Options) -> None:
    """Refuse to force what `--only` does not run, which would be passed over."""
    chosen = select(nodes, options.only)
    forced = {f"--force {name}": select(nodes, name) for name in options.force}
    reused = {node.name for node in nodes if node.reuse is not None}
    for option, names in forced.items():
        if names and names <= reused:
            raise UserError(
                f"{option} makes again what --reuse takes as it is", fix="leave one of the two out"
            )
    forced |= {f"--from {options.start}": downstream(nodes, select(nodes, options.start))}
    for option, names in forced.items():
        if chosen and names and not names & chosen:
            raise UserError(
                f"{option} makes nothing again that --only {options.only} runs",
                expected=f"one of: {', '.join(sorted(chosen))}",
                fix="leave one of the two out",
            )


def _with_parents(nodes: list[Node], only: str | None) -> list[Node]:
    """With `only`: these nodes and everything they are made from; later ones must not run."""
    if only is None:
        return nodes
    names = select(nodes, only)
    for node in reversed(nodes):
        if node.name in names:
            names.update(node.before())
    return [node for node in nodes if node.name in names]


def _with_gates(nodes: list[Node], only: str | None) -> list[str]:
    """What `only` names, and the gates before it: they are looked at again, and need no training."""
    names = select(nodes, only)
    gates = {gate for node in nodes if node.name in names for gate in node.after}
    return sorted(names | gates)


def open_session(options: Options, display: Display) -> Session:
    """Plan, and open the run's record.

    Raises:
        UserError: before the store has a record of the run.
    """
    planned = plan_pipeline(options, writable=True)
    if not planned.all_cached:
        require_tracker(planned.runtime.log_with)
        require_memory(planned.rows)
        require_keys(planned.rows)
        note = "" if options.flow_run else require_server()  # a worker's has just sent us here
        if note:
            display.note(note)
    run = planned.store.runs.start(
        planned.config.name, command=shlex.join(sys.argv), config=planned.config.model_dump(mode="json")
    )
    pages = Pages(display, planned.config.name, _reports(planned))
    runner = Runner(
        planned.store,
        planned.runtime,
        pages,
        Workers(),
        forced=planned.forced,
        nodes=planned.nodes,
        fingerprints={row.stage: row.fingerprint for row in planned.rows},
        name=planned.config.name,
        command=run.record.command,
    )
    return Session(planned, run, runner, pages)


def _reports(planned: Planned) -> str | None:
    """The address that links to reports begin with: the configured one, else that of the store's service."""
    service = running(planned.store.root)
    return planned.runtime.report_url or (service.reports_url if service else None)


def require_memory(rows: Iterable[PlanRow]) -> None:
    """Refuse a new model whose weights alone are more than this machine's memory, before anything is made."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for row in rows:
        config = row.node.config if row.node is not None and row.action == "run" else None
        if isinstance(config, PretrainConfig) and config.model is None:
            weights = 4 * least_parameters(config.architecture.sizes())
            if weights > memory:
                raise ConfigError(
                    f"{row.stage}: the weights of its model need at least {size(weights)}",
                    expected=f"a model that this machine can hold; it has {size(memory)} of memory",
                    fix="make the architecture smaller, or run it on a larger machine",
                )


def require_keys(rows: Iterable[PlanRow]) -> None:
    """Refuse a server whose key is not in the environment, before the stages that come first are trained."""
    for row in rows:
        if row.node is not None and row.action != "cached":
            for config in configs_in(row.node.config):
                if isinstance(config, EndpointConfig):
                    config.key()
