"""`temper artifacts adopt PATH --as pretrain`: an external model becomes an artifact of this store.

It is the stage `adopt`, run by hand and called like the stage it stands in for, so that
`pretrain@latest` names it afterwards.
"""

import argparse
import shlex
import sys
from typing import Any

from flows.cli.command import open_store
from tempering.model_config import AdoptConfig
from tempering.validation import validate


def add_adopt(parser: Any) -> None:
    """The arguments of `temper artifacts adopt`."""
    parser.add_argument(
        "source", metavar="PATH", help="folder in Hugging Face layout, or owner/name on the Hub"
    )
    parser.add_argument(
        "--as",
        dest="stage",
        metavar="STAGE",
        default="pretrain",
        help="the stage it stands for",
    )
    parser.add_argument("--revision", default="main", help="commit, tag or branch, for a Hub name")
    parser.add_argument(
        "--prompt-format",
        choices=("auto", "chat", "plain", "role_markers", "turn_markers"),
        default="auto",
        help="how it wants to be prompted (auto: chat where it has a chat template, else plain)",
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run Python code that comes with the model"
    )


def adopt_command(args: argparse.Namespace) -> int:
    """Adopt the model and print the artifact's id; one already in the store is named again."""
    from flows.cli.output import print_json, stdout_to_stderr
    from flows.process.workers import prepare_environment

    settings = {
        "name_or_path": args.source,
        "revision": args.revision,
        "prompt_format": args.prompt_format,
        "trust_remote_code": args.trust_remote_code,
    }
    config = validate(AdoptConfig, settings, "temper artifacts adopt")
    store = open_store(args, writable=True)
    with stdout_to_stderr(args.json):
        prepare_environment()
        artifact = _adopt(store, config, args.stage)
    if args.json:
        print_json({**artifact.manifest.model_dump(mode="json"), "path": str(artifact.path)})
    else:
        print(artifact.id)
    return 0


def _adopt(store: Any, config: AdoptConfig, stage: str) -> Any:
    import tasks  # noqa: F401  registers the stages
    from tempering.artifacts.resolve import build
    from tempering.artifacts.stage import get_stage

    def say(level: str, text: str) -> None:
        print(text, file=sys.stderr)

    check_kind(config, stage)
    run = store.runs.start("adopt", command=shlex.join(sys.argv), config=config.model_dump(mode="json"))
    try:
        artifact = build(store, get_stage("adopt"), config, node=stage, on_log=say)
    except BaseException as error:
        run.stage(stage, "failed", error=str(error))
        run.finish("failed")
        raise
    run.stage(stage, "run", artifact=artifact.id, fingerprint=artifact.fingerprint)
    run.finish("completed")
    if artifact.manifest.stage != stage:
        say("info", f"it is in the store already, as {artifact.manifest.stage}; {stage}@latest names it now")
    return artifact


def check_kind(config: AdoptConfig, stage: str) -> None:
    """Refuse a name that a stage cannot have, and a reward model for a language model (or vice versa)."""
    from flows.config import PipelineConfig
    from flows.sections import NAME
    from tempering.artifacts.stage import section_kinds, stages
    from tempering.errors import ArtifactError, UserError
    from tempering.exchange.adopt import check_folder, head_of, source_folder

    kinds = section_kinds()
    taken = {*stages(), *PipelineConfig.model_fields, "runs"} - set(kinds)
    if not NAME.fullmatch(stage) or stage in taken:
        raise UserError(
            f"--as {stage}: a training stage cannot have this name",
            expected=f"a stage of your pipeline, such as {', '.join(kinds)}",
        )
    if stage not in kinds:  # of a user's own pipeline: nobody here can say what it makes
        return
    folder = source_folder(config)
    head = head_of(folder, check_folder(folder, config))
    if head != kinds[stage].head:
        fitting = [name for name, kind in kinds.items() if kind.head == head]
        raise ArtifactError(
            f"{config.name_or_path} is a {'reward model' if head == 'score' else 'causal language model'}",
            expected=f"what the stage {stage} makes",
            fix=f"adopt it --as {' or '.join(fitting)}",
        )
