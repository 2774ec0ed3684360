"""Every file of the shared folder of real samples: how it is read, and what comes out of it.

One table for the test and for the documentation: `CASES` has each file once, read by `kind: auto`
unless `settings` say otherwise; `OTHERWISE` has other uses of the same files.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("TEMPERING_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real_sample(name: str) -> Path:
    """A file of the folder; without it the test is skipped, and the summary says so."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"no real samples in {SHARED}: set TEMPERING_SHARED_DATA to their folder")
    return path


@dataclass(frozen=True)
class Case:
    """How a file is read, and the rows, rejections, changes and columns without use that are expected."""

    row_type: str
    rows: int
    settings: dict[str, Any] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A file that no builder reads as it is: what the message must say, and the nearest row type."""

    reason: str
    nearest: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


EMPTY, SAME = "the content of a message is empty", "chosen and rejected are the same"
DIFFER, NO_ANSWER = "the prompts of chosen and rejected differ", "chosen: the last answer is empty"
TAIL = "trailing turns after the last answer cut off"
TAKEN_OUT, JOINED = "empty turns taken out", "turns of one role in a row joined"
LICENCE = "header or licence of Project Gutenberg taken off"
TWINS = "both sentences are the same"
# More than 1% of these rows are rejected for good reason.
TOLERANT = {"max_rejected_fraction": 0.05}
ANSWERS = {"rows": "prompt_completion"}
COLA = {"kind": "classification", "header": False, "columns": {"text": "3", "label": "1"}}
SUMMARY = {"prompt": "source", "completion": "system_output"}

BLIMP = (
    "adjunct_island",
    "anaphor_gender_agreement",
    "animate_subject_passive",
    "causative",
    "coordinate_structure_constraint_complex_left_branch",
    "coordinate_structure_constraint_object_extraction",
    "determiner_noun_agreement_1",
    "determiner_noun_agreement_irregular_1",
    "determiner_noun_agreement_irregular_2",
    "determiner_noun_agreement_with_adj_irregular_1",
    "determiner_noun_agreement_with_adj_irregular_2",
    "distractor_agreement_relational_noun",
    "ellipsis_n_bar_1",
    "existential_there_object_raising",
    "existential_there_quantifiers_1",
    "expletive_it_object_raising",
    "inchoative",
    "intransitive",
    "irregular_past_participle_adjectives",
    "irregular_plural_subject_verb_agreement_1",
    "irregular_plural_subject_verb_agreement_2",
    "left_branch_island_simple_question",
    "matrix_question_npi_licensor_present",
    "npi_present_2",
    "only_npi_licensor_present",
    "only_npi_scope",
    "passive_2",
    "principle_A_c_command",
    "principle_A_case_2",
    "principle_A_domain_1",
    "principle_A_domain_2",
    "principle_A_reconstruction",
    "regular_plural_subject_verb_agreement_2",
    "sentential_subject_island",
    "superlative_quantifiers_1",
    "superlative_quantifiers_2",
    "tough_vs_raising_1",
    "transitive",
    "wh_questions_object_gap",
    "wh_questions_subject_gap_long_distance",
    "wh_vs_that_no_gap",
    "wh_vs_that_with_gap",
    "wh_vs_that_with_gap_long_distance",
)
# Twins: rows of the original files whose two sentences are the same.
BLIMP_TWINS = {"principle_A_case_2": 5}

CASES: dict[str, Case | Refusal] = {
    "evaluation/alpaca_eval.json.gz": Case("prompt_completion", 551, rejected={f"completion: {EMPTY}": 2}),
    **{
        f"evaluation/blimp/{name}.jsonl.gz": Case(
            "minimal_pair",
            1000 - BLIMP_TWINS.get(name, 0),
            rejected={TWINS: BLIMP_TWINS[name]} if name in BLIMP_TWINS else {},
        )
        for name in BLIMP
    },
    "evaluation/blimp_supplement/hypernym.jsonl": Case("minimal_pair", 842),
    "evaluation/blimp_supplement/qa_congruence_easy.jsonl": Case("minimal_pair", 64),
    "evaluation/blimp_supplement/turn_taking.jsonl": Case("minimal_pair", 280),
    "evaluation/cola/in_domain_dev.tsv": Case("classification", 527, COLA),
    "evaluation/cola/in_domain_train.tsv.gz": Case("classification", 8551, COLA),
    "evaluation/entity_tracking_regular.jsonl.gz": Case("multiple_choice", 3152),
    "evaluation/glue_babylm/boolq.valid.jsonl.gz": Case("classification", 1635),
    "evaluation/glue_babylm/mrpc.train.jsonl.gz": Case("classification", 3668),
    "evaluation/glue_babylm/mrpc.valid.jsonl": Case("classification", 204),
    "evaluation/glue_babylm/rte.train.jsonl.gz": Case("classification", 2490),
    "evaluation/glue_babylm/rte.valid.jsonl": Case("classification", 139),
    "evaluation/glue_babylm/wsc.train.jsonl": Case("classification", 554),
    "evaluation/mt_bench/gpt-4.jsonl": Refusal("without their questions", "prompt_completion"),
    "evaluation/mt_bench/question.jsonl": Case(
        "prompt", 80, changed={"turns after the first not used": 80}, unused=("reference",)
    ),
    "evaluation/sst2_dev.tsv": Case("classification", 872),
    "evaluation/wug_adj_nominalization.jsonl": Case("word_forms", 200),
    "preference/alpaca_eval_gpt4_annotations_alpaca7b.json.gz": Case(
        "preference", 543, TOLERANT, rejected={"a tie": 10}
    ),
    "preference/dpo_en_demo.chat.jsonl.gz": Case("preference", 190),
    "preference/dpo_en_demo.json.gz": Case("preference", 190),
    "preference/hh_harmless_base_test.jsonl.gz": Case("preference", 1176, rejected={DIFFER: 3, NO_ANSWER: 2}),
    "preference/kto_en_demo.json.gz": Case("unpaired_preference", 199),
    "preference/stack_exchange_paired_tiny.json": Case("preference", 25),
    "preference/ultrafeedback_binarized.jsonl.gz": Case(
        "preference", 994, rejected={f"chosen: {EMPTY}": 1, f"rejected: {EMPTY}": 1, SAME: 1}
    ),
    "pretrain/babylm_childes.txt.gz": Case("text", 1950),
    "pretrain/babylm_gutenberg.jsonl.gz": Case("text", 9),
    "pretrain/babylm_simple_wiki.jsonl.gz": Case("text", 3298),
    "pretrain/babylm_switchboard.txt.gz": Case("text", 480),
    "pretrain/c4_demo.jsonl.gz": Case("text", 200),
    "pretrain/gutenberg_jungle_book.txt.gz": Case("text", 1, changed={LICENCE: 1}),
    "pretrain/gutenberg_railway_children.txt.gz": Case("text", 1, changed={LICENCE: 1}),
    "pretrain/tinystories_head.jsonl.gz": Case("text", 2316),
    "pretrain/tinystories_head.txt.gz": Case("text", 2316),
    "pretrain/tinystories_lower_part1.txt.gz": Refusal("nothing in it says where a document ends", "text"),
    "scored_conversations/dstc9_dialogues.json.gz": Refusal(
        "one object of columns, each a list of 1449 values", "scored_conversation"
    ),
    "scored_conversations/dstc9_scored.jsonl.gz": Case(
        "scored_conversation", 1449, changed={TAKEN_OUT: 261, JOINED: 257}
    ),
    "scored_conversations/fed_data.json.gz": Refusal("grades of several raters", "scored_conversation"),
    "scored_conversations/fed_scored.jsonl": Case("scored_conversation", 84),
    "scored_conversations/qags_xsum_summaries.json.gz": Case(
        "scored_conversation",
        239,
        {"kind": "scored", "columns": {**SUMMARY, "score": "scores.consistency"}},
    ),
    "scored_conversations/topical_chat_valid_freq.json.gz": Refusal(
        "the ratings are words", "scored_conversation"
    ),
    "scored_conversations/usr_topical_chat_ratings.json.gz": Case(
        "scored_conversation",
        234,
        {"kind": "scored", "columns": {**SUMMARY, "score": "scores.overall"}},
    ),
    "sentiment/imdb_reviews_unlabelled.jsonl.gz": Case("text", 335),
    "sentiment/rotten_tomatoes.jsonl.gz": Case("classification", 7108),
    "sft/alpaca_en_demo.json.gz": Case("prompt_completion", 659),
    "sft/glaive_toolcall_en_demo.json.gz": Case("messages", 206),
    "sft/identity_messages_parts.jsonl.gz": Case("messages", 350),
    "sft/lima_prompts_only.jsonl": Case("prompt", 685),
    "sft/self_instruct_seed_tasks.jsonl": Case("prompt_completion", 117),
    "sft/self_instruct_user_oriented.jsonl": Case("prompt_completion", 167),
    "sft/topical_chat_valid_freq.messages.jsonl.gz": Case("messages", 220, changed={TAIL: 166}),
    "sft/tulu_human_eval_completions.jsonl.gz": Case(
        "prompt_completion",
        717,
        {"kind": "prompt_response", "columns": {"completion": "completions.0.completion"}},
    ),
    "sft/vicuna_identity_sharegpt.json": Case("messages", 334),
    "sft/xquad.en.flat.jsonl.gz": Case("question", 612),
    "sft/xquad.en.json": Case("question", 612),
}

OTHERWISE: tuple[tuple[str, Case | Refusal], ...] = (
    (
        "preference/hh_harmless_base_test.jsonl.gz",
        Case("prompt", 1179, {"rows": "prompts"}, {NO_ANSWER: 2}, unused=("rejected",)),
    ),
    (
        "preference/stack_exchange_paired_tiny.json",
        Case("prompt_completion", 25, ANSWERS, unused=("response_k",)),
    ),
    (
        "preference/ultrafeedback_binarized.jsonl.gz",
        Case("prompt_completion", 996, ANSWERS, {f"completion: {EMPTY}": 1}, unused=("rejected",)),
    ),
    (
        "preference/ultrafeedback_binarized.jsonl.gz",
        Case("prompt", 997, {"rows": "prompts"}, unused=("rejected",)),
    ),
    (
        "preference/kto_en_demo.json.gz",
        Refusal("cannot be used as preference rows", settings={"rows": "preference"}),
    ),
    ("sft/xquad.en.json", Case("prompt_completion", 612, ANSWERS)),
    ("sft/xquad.en.json", Case("preference", 612, {"rows": "preference"})),
    ("sft/topical_chat_valid_freq.messages.jsonl.gz", Case("prompt", 220, {"rows": "prompts"})),
    ("sft/alpaca_en_demo.json.gz", Case("prompt", 659, {"rows": "prompts"}, unused=("output",))),
    ("pretrain/tinystories_head.txt.gz", Case("text", 2316, {"kind": "text"})),
    ("pretrain/babylm_childes.txt.gz", Case("text", 1575, {"kind": "babylm", "speakers": "strip"})),
    ("pretrain/babylm_switchboard.txt.gz", Case("text", 12000, {"kind": "text", "documents": "line"})),
    ("evaluation/cola/in_domain_dev.tsv", Case("classification", 527)),
    ("evaluation/cola/in_domain_train.tsv.gz", Case("classification", 8551)),
    ("sft/tulu_human_eval_completions.jsonl.gz", Refusal("`completions` holds several", "prompt_completion")),
    ("scored_conversations/qags_xsum_summaries.json.gz", Refusal("one score", "scored_conversation")),
)
