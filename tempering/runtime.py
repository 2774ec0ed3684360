"""Runtime settings: how and where a stage runs, never what it computes.

All fields are runtime fields: recorded in the manifest, never hashed into a fingerprint, so that
the same pipeline run on another machine finds its artifacts again.
"""

from typing import Literal

from tempering.config import Config, runtime_field


class RuntimeConfig(Config):
    """Device, threads and scheduling of a run."""

    device: Literal["auto", "cpu", "cuda", "mps"] = runtime_field(
        "auto", description="where models run; auto takes a GPU where there is one"
    )
    threads: int | None = runtime_field(
        None, ge=1, description="CPU threads of a stage's process; null leaves it to torch"
    )
    max_parallel_stages: int = runtime_field(
        1, ge=1, description="training stages that may run at the same time"
    )
    strict_code: bool = runtime_field(
        False, description="rebuild an artifact whose stage's source code has changed since it was made"
    )
