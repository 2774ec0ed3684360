"""A session of `temper run` as a flow run: of our own Prefect server, or of one that is there.

The store is the truth and Prefect its window. The flow has a thread of its own, so that a stop reaches the
main thread and not Prefect, which would wait for the stages. Where the server does not answer any more, the
stages go on and the terminal says that the pages are blind; a flow that ends or never begins is done without.
At the end a server that is back is told what it has missed, and one that is not is left behind.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait

from flows.contact import Contact
from flows.process.prefect_server import start_server, use_server
from flows.process.workers import prepare_environment
from flows.session import Session
from flows.stopping import stop_behind

_PATIENCE = 4.0  # seconds that a stopped flow may take to end in order
_START = 30.0  # seconds until the first stage begins
_LAST_WORDS = 5.0  # seconds that Prefect may take to hear how the run has ended ...
_CATCH_UP = 30.0  # ... where its server was away, since it tries again ever more seldom ...
_NO_TIME = 0.2  # ... and where its server is gone


def run_shown(session: Session) -> None:
    """Start the servers, then run the flow; a stop at any moment ends both.

    Raises:
        StoreError: the server does not start, or does not answer before anything is done.
    """
    try:
        _with_servers(session)
    except BaseException as error:
        stop = stop_behind(error)
        if stop is None:
            raise
        session.cancel(stop)


def _with_servers(session: Session) -> None:
    # The servers start in the background while Prefect is imported.
    root, port = session.planned.store.root, session.planned.options.port
    prepare_environment()
    server = start_server(root, port)
    try:
        with session.display:
            session.runner.workers.warm_up()
            use_server(server, root)
            from flows.dead_runs import close_dead_runs
            from flows.deployed import run_flow
            from flows.flow import NO_ANSWER, drain, give_up

            server.wait()
            if server.note:
                session.display.note(server.note)
            if port is not None or server.service is not None:
                session.display.note(f"Prefect's pages: {server.url.removesuffix('/api')}")
            contact = Contact(server.url, session.display.note)
            try:
                close_dead_runs(session.planned.store.runs, alone=server.process is not None)
                _follow(session, contact, lambda: run_flow(session))
            except NO_ANSWER as error:
                raise server.trouble(str(error).partition("\n")[0]) from None
            finally:
                session.display.close(_NO_TIME if contact.lost else _LAST_WORDS)
                drain(_NO_TIME if contact.lost else _LAST_WORDS)
                if session.begun:
                    contact.look(over=True)
                if contact.lost or not session.begun:
                    give_up()
                    drain(_LAST_WORDS)
    finally:
        session.runner.workers.close()
        server.stop()


def _follow(session: Session, contact: "Contact", flow: Callable[[], None]) -> None:
    """Call `flow` in a thread, and see that every node ends, whatever becomes of it."""
    flow_run, stages = _in_thread(flow), _in_thread(session.wait)
    try:
        with contact:
            # The flow begins the stages. If it fails before, nothing has been computed.
            begin = time.monotonic() + _START
            while not (session.begun or flow_run.done()) and time.monotonic() < begin:
                wait([flow_run], 0.1)
            if flow_run.done() and not session.begun:
                flow_run.result()
            # It waits for them; where it has ended or hangs, they go on without it.
            if session.begun:
                wait([flow_run, stages], return_when=FIRST_COMPLETED)
            if not session.wait(0):
                session.display.note(f"Prefect does not go on{_reason(flow_run)}; the stages do, without it")
                session.run_alone()
                stages.result()
            # A server that was away hears what it has missed.
            contact.look()
            wait([flow_run], _NO_TIME if contact.lost else _CATCH_UP if contact.missed else _LAST_WORDS)
            if contact.missed and not contact.lost:
                session.tell_again()
        if contact.lost or not _ended_well(flow_run):
            session.display.note("Prefect's pages have not heard how this run ended; the store has")
    except KeyboardInterrupt as stop:
        session.cancel(stop)
        session.wait(session.planned.runtime.stop_grace)
        with contextlib.suppress(Exception):
            flow_run.result(_PATIENCE)
        session.cancel_rest()


def _in_thread(work: Callable[[], object]) -> "Future[None]":
    """Call `work` in a daemon thread, which does not hold back the end of the process."""
    ended: Future[None] = Future()

    def call() -> None:
        try:
            work()
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return ended


def _ended_well(flow_run: "Future[None]") -> bool:
    return flow_run.done() and flow_run.exception() is None


def _reason(flow_run: "Future[None]") -> str:
    error = flow_run.exception() if flow_run.done() else None
    return "" if error is None else f": {str(error).partition(chr(10))[0] or type(error).__name__}"
