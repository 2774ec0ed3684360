"""The deployed flow over the toy pipeline. `python -m toy_deployed FOLDER [SECONDS]` makes its deployment."""

import os
import sys
from datetime import timedelta

import toy_temper

toy_temper.install()

from flows.deployed import temper  # noqa: E402

__all__ = ["temper"]


def main(folder: str, seconds: str = "") -> None:
    """Print the deployment's id; with `seconds` it runs at this interval."""
    from prefect.deployments.runner import EntrypointType

    environment = {
        "TEMPER_STORE": os.environ["TEMPER_STORE"],
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    command = f"{sys.executable} -m prefect.engine"
    made = temper.to_deployment(
        "scheduled" if seconds else "toy",
        work_pool_name="temper",
        parameters={"config": "toy.yaml"},
        interval=timedelta(seconds=float(seconds)) if seconds else None,
        job_variables={"command": command, "env": environment, "working_dir": folder},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made.entrypoint = "toy_deployed.temper"
    print(made.apply())


if __name__ == "__main__":
    main(*sys.argv[1:])
