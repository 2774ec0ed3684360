"""One run of a pipeline on the command line, from the config to the exit code.

Where everything is cached, it says so and starts nothing, not even Prefect. Otherwise a `Session` does
the work: the fork server and the Prefect server start in the background while Prefect is imported.
"""

from flows.display import Display
from flows.options import Options
from flows.pipeline import open_session
from flows.session import Ended
from flows.stopping import stop_behind
from tempering.printable import clock


def run_pipeline(options: Options, display: Display) -> Ended:
    """Plan, run what is not cached, and record the run.

    Raises:
        UserError: before anything starts.
    """
    session = open_session(options, display)
    # Whatever happens, the record says how the run ended.
    try:
        if session.planned.all_cached:
            session.reuse()
        else:
            from flows.prefect_run import run_shown

            run_shown(session)
    except BaseException as error:
        session.run.finish("failed" if stop_behind(error) is None else "cancelled")
        raise
    return session.end()


def summary(ended: Ended, seconds: float) -> str:
    """The lines printed at the end of a run: counts, time and reports."""
    counts: dict[str, int] = {}
    for row in ended.rows:
        counts[row["action"]] = counts.get(row["action"], 0) + 1
    actions = ", ".join(f"{number} {action}" for action, number in counts.items())
    return "\n".join([f"{actions} in {clock(seconds)}", *(f"report: {page}" for page in ended.pages)])
