"""Stages that run in the process of the test."""

from typing import Any

from flows.process.workers import Workers
from tempering.artifacts.stage import get_stage


class Here(Workers):
    """Stages run in this process."""

    def run(self, function: Any, *arguments: Any, **options: Any) -> Any:
        _, name, draft, config, inputs = arguments
        return dict(get_stage(name)(draft, config, **inputs)), draft.outcome()
