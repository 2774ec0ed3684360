"""The flow `temper`: what a worker imports, and what `temper run` calls.

A worker gives parameters alone: the config is read and planned in the flow run, the store is that of the
process (`TEMPER_STORE`). `temper run` has planned already, since mistakes end it before Prefect is imported,
and hands its session over. From there on both are the same code.

A retry keeps the parameters of the first attempt: what an earlier attempt has made is not forced again.
"""

import contextlib
import os
import signal
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import httpx
from prefect import flow, get_run_logger
from prefect._internal.concurrency.cancellation import CancelledError
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.states import Failed

from flows.contact import Contact
from flows.display import Display
from flows.flow import NO_ANSWER, Tasks, verdict
from flows.options import Options
from flows.pipeline import open_session
from flows.process.workers import prepare_environment
from flows.session import Session
from flows.stopping import Stopped
from tempering import __version__
from tempering.artifacts.atomic import file_trouble
from tempering.credentials import masked
from tempering.errors import UserError

PATIENCE = 4.0  # seconds that a stopped run may take to end in order
_session: ContextVar[Session | None] = ContextVar("session", default=None)


@flow(name="tempering", version=__version__, persist_result=False)
def temper(
    config: str,
    overrides: list[str] = [],  # noqa: B006  Prefect's form wants a list, and nobody changes it
    from_stage: str = "",  # not None: the form would show a switch in the place of a field
    only: str = "",
    force: list[str] = [],  # noqa: B006
    reuse: list[str] = [],  # noqa: B006
) -> State[Any]:
    """From raw text to an aligned language model. Stages that are in the store already are reused.

    Args:
        config: Path of the pipeline, from the folder that the worker runs in.
        overrides: Settings instead of the config's, one an item, such as ppo.learning_rate=1e-4
        from_stage: Run this stage and all after it again, such as ppo. Empty: only what has changed.
        only: Run this stage alone, with inputs from the store. Empty: all stages.
        force: Stages to run again, one an item, such as evaluate[ppo]
        reuse: Artifacts to take as they are, one an item, such as sft=sft@latest
    """
    session = _session.get()
    if session is not None:
        return _run(session)
    store = os.environ.get("TEMPER_STORE") or None
    options = Options(
        config,
        tuple(overrides),
        store,
        start=from_stage or None,
        only=only or None,
        force=tuple(force),
        reuse=tuple(reuse),
    )
    return _run_deployed(options)


def run_flow(session: Session) -> None:
    """Run a session as a flow run of Prefect's server, in this thread.

    What fails before the first stage begins is raised; after that the outcomes tell.

    Raises:
        PrefectHTTPStatusError, httpx.HTTPError: its server failed (`NO_ANSWER`).
    """
    options = session.planned.options
    token = _session.set(session)
    try:
        state = temper.with_options(flow_run_name=session.run.id)(
            config=options.config,
            overrides=[masked(word) for word in options.overrides],
            from_stage=options.start or "",
            only=options.only or "",
            force=list(options.force),
            reuse=list(options.reuse),
            return_state=True,
        )
        if not session.begun:
            state.result()
    except RuntimeError as error:
        if str(error).startswith("Failed to reach API"):
            raise httpx.ConnectError("it cannot be reached") from error
        raise
    finally:
        _session.reset(token)


def _run(session: Session) -> State[Any]:
    """Submit the tasks of all nodes; the state comes from what the stages came to."""
    flow_run = _context().flow_run
    assert flow_run is not None
    session.run.note_flow_run(str(flow_run.id))
    _label(flow_run, session)
    session.display.plan(session.planned.rows)
    tasks = Tasks(session)
    session.tell_again = tasks.tell_again
    tasks.submit()
    _wait(tasks)
    session.display.close()
    return verdict(session)


def _run_deployed(options: Options) -> State[Any]:
    """Plan and run in a worker's process; a mistake is the flow run's state, in one message."""
    flow_run = _context().flow_run
    assert flow_run is not None
    prepare_environment()
    try:
        session = open_session(replace(options, flow_run=str(flow_run.id)), Display())
    except (UserError, OSError) as error:
        mistake = file_trouble(error) or error
        if not isinstance(mistake, UserError):
            raise
        get_run_logger().error(masked(str(mistake)))
        return Failed(message=masked(str(mistake)))
    try:
        if not session.planned.all_cached:
            session.runner.workers.warm_up()
        contact = Contact(str(_context().client.api_url).rstrip("/"), session.display.note)
        with contact:
            state = _run(session)
        if contact.missed:  # Prefect has dropped what it could not send meanwhile
            contact.look(over=True)
            if not contact.lost:
                session.tell_again()
        session.end()
        return state
    except TerminationSignal as error:  # Cancel, a stopped worker, a spot notice
        # It often comes twice, from the machine and from the worker, which kills us when its patience ends.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        session.cancel(Stopped(error.signal))
        session.wait(session.planned.runtime.stop_grace + PATIENCE)
        session.end()
        raise
    except BaseException:  # whatever happens, the record says how the run ended
        session.run.finish("failed")
        raise
    finally:
        session.display.close()
        session.runner.workers.close()


def _context() -> FlowRunContext:
    context = FlowRunContext.get()
    assert context is not None
    return context


def _label(flow_run: FlowRun, session: Session) -> None:
    """Let the pages say which run this is: a deployment's runs get a generated name until here."""
    origin = "deployed" if flow_run.deployment_id else "temper run"
    tags = list(dict.fromkeys([session.planned.config.name, origin, *flow_run.tags]))
    with contextlib.suppress(*NO_ANSWER):
        _context().client.update_flow_run(flow_run.id, name=session.run.id, tags=tags)


def _wait(tasks: Tasks) -> None:
    """Wait for all tasks, also where Prefect wants to end a run whose slot it could not renew."""
    while True:
        try:
            while not tasks.wait(0.5):  # a cancellation reaches a thread that moves
                pass
            return
        except CancelledError:
            note = "Prefect's server has gone, and with it this run's slot; the stages go on"
            tasks.session.display.note(note)
