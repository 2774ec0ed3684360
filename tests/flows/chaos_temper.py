"""`temper` with the toy pipeline, in which something is killed: `python chaos_temper.py run CONFIG ...`.

CHAOS says what: `run 40` kills the run at its 40th operation on a file of the store, `stage 7` the first
process of a stage that makes so many. So the moments around a rename are hit as often as long waits.
ALONE runs the stages without Prefect, which takes most of a run's time.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")


def arm(number: int, once: str = "") -> None:
    """Kill this process at its `number`th change of a file in the store.

    Args:
        once: a file that the first to be killed makes; nobody is killed any more then.
    """
    left = number

    def hook(event: str, arguments: Any) -> None:
        nonlocal left
        if event not in CHANGES or "/store" not in str(arguments[0]):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        left -= 1
        if left == 0 and not (once and os.path.exists(once)):  # noqa: PTH110  a hook must not do much
            if once:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def alone(session: Any) -> None:
    """In the place of `run_shown`."""
    from flows.process.workers import prepare_environment

    prepare_environment()
    try:
        session.run_alone()
        session.wait()
    except KeyboardInterrupt as stop:
        session.cancel(stop)
        session.wait(30)
    finally:
        session.runner.workers.close()


who, _, count = os.environ.get("CHAOS", "").partition(" ")
if __name__ == "__main__":
    import toy_temper

    import flows.prefect_run
    import flows.retries
    from flows.cli.main import main

    toy_temper.install()
    flows.retries.FIRST_WAIT = 0.05
    if "ALONE" in os.environ:
        flows.prefect_run.run_shown = alone
    if who == "run":
        arm(int(count))
    sys.exit(main())
elif who == "stage":  # the fork server imports it, and every stage is forked from there
    os.register_at_fork(after_in_child=lambda: arm(int(count), os.environ["CHAOS_DONE"]))
