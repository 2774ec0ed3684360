"""Nodes in their own processes, without a pipeline and without Prefect: short work that no page has to show.

Planned, recorded, stopped and resumed as those of a pipeline are.
"""

import shlex
import sys
from collections.abc import Sequence

from flows.display import Display
from flows.fitting import check_fit
from flows.graph import Node
from flows.options import Options
from flows.pages.pages import Pages
from flows.plan import plan
from flows.process.workers import Workers
from flows.runner import Runner
from flows.session import Ended, Planned, Session
from flows.stopping import stop_behind
from tempering.artifacts.store import Store
from tempering.config import Config
from tempering.runtime import RuntimeConfig


def run_alone(
    name: str, config: Config, runtime: RuntimeConfig, store: Store, nodes: Sequence[Node], display: Display
) -> Ended:
    """Make what is not in the store, under a run's record called `name`.

    Raises:
        UserError: the nodes do not fit together, before anything starts.
    """
    rows = plan(nodes, store)
    check_fit(rows, store)
    planned = Planned(Options(""), config, runtime, store, tuple(nodes), tuple(rows), frozenset())  # type: ignore[arg-type]
    run = store.runs.start(name, command=shlex.join(sys.argv), config=config.model_dump(mode="json"))
    pages = Pages(display, name)
    fingerprints = {row.stage: row.fingerprint for row in rows}
    runner = Runner(store, runtime, pages, Workers(), nodes=nodes, fingerprints=fingerprints, name=name)
    session = Session(planned, run, runner, pages)
    # Whatever happens, the record says how the run ended.
    try:
        _work(session)
    except BaseException as error:
        run.finish("failed" if stop_behind(error) is None else "cancelled")
        raise
    return session.end()


def _work(session: Session) -> None:
    if session.planned.all_cached:
        session.reuse()
        return
    try:
        with session.display:
            session.runner.workers.warm_up()
            session.run_alone()
            session.wait()
    except BaseException as error:
        stop = stop_behind(error)
        if stop is None:
            raise
        session.cancel(stop)
        session.wait(session.planned.runtime.stop_grace)
    finally:
        session.runner.workers.close()
