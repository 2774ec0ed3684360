"""What a run or a plan is asked for: by a command line, or by the parameters of a flow run."""

import argparse
import shlex
from dataclasses import dataclass

from flows.store_choice import given_store


@dataclass(frozen=True)
class Options:
    """Which pipeline, and which of its stages."""

    config: str
    overrides: tuple[str, ...] = ()
    store: str | None = None
    start: str | None = None
    only: str | None = None
    force: tuple[str, ...] = ()
    reuse: tuple[str, ...] = ()
    """`STAGE=ID`: artifacts in the places of stages."""
    port: int | None = None
    strict_code: bool = False
    flow_run: str | None = None
    """The flow run of Prefect of which this is an attempt."""

    @property
    def retry(self) -> str:
        """The command that makes what a run has left: without what was forced, which it may have made."""
        options = [f"--reuse={word}" for word in self.reuse]
        options += [f"--only={self.only}"] if self.only else []
        options += [f"--store={self.store}"] if self.store else []
        options += ["--strict-code"] if self.strict_code else []
        return shlex.join(["temper", "run", self.config, *self.overrides, *options])

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "Options":
        """The options in parsed arguments."""
        return cls(
            config=args.config,
            overrides=tuple(args.overrides),
            store=given_store(args),
            start=args.start,
            only=args.only,
            force=tuple(args.force),
            reuse=tuple(args.reuse),
            port=args.port,
            strict_code=args.strict_code,
        )
