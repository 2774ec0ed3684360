"""Runtime settings: how and where a stage runs, never what it computes.

All fields are runtime fields: recorded in the manifest, never hashed into a fingerprint, so that
the same pipeline run on another machine finds its artifacts again.
"""

from importlib.util import find_spec
from typing import Literal

from tempering.config import Config, runtime_field
from tempering.errors import ConfigError

Tracker = Literal["tensorboard", "wandb"]


class RuntimeConfig(Config):
    """Device, threads and scheduling of a run."""

    device: Literal["auto", "cpu", "cuda", "mps"] = runtime_field(
        "auto", description="where models run; auto takes a GPU where there is one"
    )
    threads: int | None = runtime_field(
        None, ge=1, le=4096, description="CPU threads of a stage's process; null leaves it to torch"
    )
    processes: int = runtime_field(
        1,
        ge=1,
        le=4096,
        description="processes that share the work of ppo and rloo, one a GPU; other stages take one",
    )
    max_parallel_stages: int = runtime_field(
        1, ge=1, le=1000, description="training stages that may run at the same time"
    )
    device_lease: bool = runtime_field(
        True,
        description="a GPU serves one stage at a time, of all runs and users of the machine; false shares it",
    )
    stop_grace: float = runtime_field(
        25.0,
        ge=0,
        le=86_400,
        description="seconds that a stopped training stage has to write a checkpoint before it is killed; "
        "a machine that is taken back usually leaves 30",
    )
    retries: int = runtime_field(
        2,
        ge=0,
        le=100,
        description="how often a stage whose process was killed or that the network failed is tried again in "
        "a run, from its checkpoint; what fails by itself is not",
    )
    strict_code: bool = runtime_field(
        False, description="rebuild an artifact whose stage's source code has changed since it was made"
    )
    store: str | None = runtime_field(
        None, description="folder of the artifact store; --store and TEMPER_STORE go before it"
    )
    report_url: str | None = runtime_field(
        None,
        pattern=r"^https?://\S+$",
        description="address of the server that shows reports, for the links on Prefect's pages; null takes "
        "that of `temper up`",
    )
    log_with: Tracker | None = runtime_field(
        None,
        description="where the log rows of training go besides metadata/; wandb stays offline unless "
        "WANDB_MODE says otherwise",
    )


def require_tracker(name: Tracker | None) -> None:
    """Refuse a tracker that is not installed, before anything is computed.

    Raises:
        ConfigError: with the command that installs it.
    """
    if name is None:
        return
    found = find_spec(name)
    if found is None or found.origin is None:  # a folder of that name, such as wandb's own, is no package
        raise ConfigError(
            f"log_with: {name}, and the package {name} is not installed",
            expected=f"the package {name}, or log_with: null; the log rows are in metadata/ in any case",
            fix=f"pip install 'tempering[{name}]'",
        )
