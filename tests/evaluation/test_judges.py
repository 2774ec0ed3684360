"""Judges: who wins, what a tie is, what cannot be judged, and what a preference for a place does."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tempering.config import external_files
from tempering.errors import ConfigError, DataError, UserError
from tempering.evaluation.benchmarks.base import Tools
from tempering.evaluation.judges import AnyJudge, Verdict
from tempering.evaluation.judges.base import verdict_of_scores
from tempering.evaluation.judges.causal import letter_ids
from tempering.evaluation.judges.questions import BUILT_IN_TEMPLATE, Question, parse_choice

PROMPT = [{"role": "user", "content": "Tell a story."}]


def config(**settings: Any) -> Any:
    return TypeAdapter(AnyJudge).validate_python(settings)


@pytest.mark.parametrize(
    ("first", "second", "preference"),
    [(2.0, 1.0, 1.0), (1.0, 2.0, 0.0), (1.5, 1.5, 0.5), (math.nan, 1.0, None), (1.0, math.inf, None)],
)
def test_the_higher_score_wins_and_what_is_no_number_is_no_verdict(
    first: float, second: float, preference: float | None
) -> None:
    verdict = verdict_of_scores(first, second)
    assert verdict.preference == preference
    assert verdict.status == ("not a number" if preference is None else "ok")


def test_too_many_pairs_without_a_verdict_end_the_stage() -> None:
    judge = config(kind="reward_model", max_unjudged=0.25)
    some = [Verdict(1.0, "ok")] * 3
    assert len(judge.accepted([*some, Verdict(None, "http 500")])) == 4
    with pytest.raises(UserError, match=r"could not judge 2 of 5 pairs: 2 x http 500"):
        judge.accepted([*some, *[Verdict(None, "http 500")] * 2])
    assert judge.accepted([]) == []


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A", "A"),
        (" b.", "B"),
        ("[[A]]", "A"),
        ("[[C]]", "tie"),
        ("tie", "tie"),
        ("Both are fine.\nVerdict: B", "B"),
        ("**Answer:** A", "A"),
        ("The better answer is B.", "B"),
        ("A is better than B", None),
        ("Answer A", None),
        ("Assistant", None),
        ("I cannot say.", None),
        ("A\nNo, B is better.", None),
        ("", None),
        ("AB", None),
    ],
)
def test_what_is_a_choice(text: str, choice: str | None) -> None:
    assert parse_choice(text) == choice


def test_each_pair_is_asked_about_in_both_orders() -> None:
    straight, swapped = Question(BUILT_IN_TEMPLATE).both_orders([PROMPT], ["Once."], ["Twice."])
    assert "[Answer A]\nOnce.\n\n[Answer B]\nTwice.\n" in straight
    assert "[Answer A]\nTwice.\n\n[Answer B]\nOnce.\n" in swapped
    assert "[Question]\nTell a story.\n" in straight


@pytest.mark.parametrize("text", ["{{ nothing }}", "{{ ''.__class__.__mro__ }}", "{{ 1 / 0 }}", "{% if %}"])
def test_a_template_that_fails_is_a_message(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ask.jinja"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"ask\.jinja"):
        Question(file).render(PROMPT, "a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{{ first }} {% if %}", r"ask\.jinja cannot be read.*line 1"),
        (b"\xff {{ first }} {{ second }}", "expected: a Jinja file in UTF-8"),
        (b"{{ first }} {{ second }} {{ third }}", "'third' is undefined"),
        (b"{{ prompt }}", "does not use `first`"),
        (b"{{ first | upper }}", "does not use `second`"),
    ],
)
def test_a_bad_template_is_refused_when_a_run_is_planned(tmp_path: Path, text: bytes, message: str) -> None:
    """Planning reads the files of a config: before the first completion is written."""
    file = tmp_path / "ask.jinja"
    file.write_bytes(text)
    judge = config(kind="causal", model="sft", template=str(file))
    with pytest.raises(ConfigError, match=message) as refusal:
        external_files(judge)
    assert refusal.value.expected
    assert refusal.value.fix


def test_the_templates_bytes_are_the_identity_not_its_place(tmp_path: Path) -> None:
    from tempering.config import identity, named_files

    for name in ("a", "b"):
        (tmp_path / name).write_text("{{ prompt }} {{ first }} {{ second }}")
    one, other = (config(kind="causal", model="sft", template=str(tmp_path / name)) for name in "ab")
    assert identity(one) == identity(other)
    assert [name for name, _ in named_files(one)] == [name for name, _ in named_files(other)] == ["template"]
    with pytest.raises(ConfigError, match="does not exist"):
        config(kind="causal", model="sft", template=str(tmp_path / "c")).external_files()


def test_settings_are_checked() -> None:
    assert config(kind="causal", model="owner/name").model_names == ("owner/name",)
    with pytest.raises(ValidationError):
        config(kind="reward_model", max_unjudged=1.5)
    with pytest.raises(ConfigError, match="not an input"):
        config(kind="reward_model").build(Tools())


@pytest.mark.slow
def test_a_reward_model_judges_as_it_scores_one_by_one(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    reward_model = tiny("reward_model")
    judge = config(kind="reward_model").build(Tools(models={"reward_model": reward_model}))
    first, second = ["Lily ran.", "A dog.", "It was the end."], ["A dog.", "A dog.", "The park is big."]
    verdicts = judge.compare([PROMPT] * 3, first, second)
    alone = LearnedReward(reward_model.model_dir)
    for verdict, one, other in zip(verdicts, first, second, strict=True):
        scores = alone([PROMPT], [one])[0], alone([PROMPT], [other])[0]
        assert (verdict.score_first, verdict.score_second) == pytest.approx(scores, abs=1e-4)
        assert verdict.preference == (0.5 if one == other else float(scores[0] > scores[1]))


@pytest.mark.slow
def test_a_causal_judge_reads_what_transformers_says_of_the_letters(tiny: Any) -> None:
    """Unbatched, by a plain forward over the rendered question; and swapping a pair swaps its verdict."""
    import torch

    sft = tiny("sft")
    judge = config(kind="causal", model="sft").build(Tools(models={"sft": sft}))
    # As short as the tiny model's positions ask for.
    judge.question.template = judge.question.template.environment.from_string("{{ first }}|{{ second }}?")
    first, second = ["Lily ran.", "A dog."], ["A big dog sat down.", "A dog."]
    verdicts = judge.compare([PROMPT] * 2, first, second)
    speaker = judge.speaker
    names = [speaker.tokenizer.convert_tokens_to_ids(token) for token in ("A", "ĠA", "B", "ĠB")]
    expected = []
    for one, other in ((first[0], second[0]), (second[0], first[0])):
        text = speaker.tokenizer.apply_chat_template(
            [{"role": "user", "content": f"{one}|{other}?"}], add_generation_prompt=True, tokenize=False
        )
        ids = torch.tensor([speaker.tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            logs = speaker.model(input_ids=ids).logits[0, -1].float().log_softmax(-1)
        letters = [[number for number in pair if number is not None] for pair in (names[:2], names[2:])]
        expected.append([float(logs[pair].logsumexp(-1)) for pair in letters])
    (a, b), (c, d) = expected
    assert verdicts[0].score_first == pytest.approx((a + d) / 2, abs=1e-4)
    assert verdicts[0].score_second == pytest.approx((b + c) / 2, abs=1e-4)
    assert verdicts[0].preference == float(a + d > b + c)
    assert verdicts[1].preference == 0.5, "the same text on both sides"
    leads = [a > b, c > d, *[verdicts[1].note[4] == "+"] * 2]
    assert judge.facts == {"first_place_share": sum(leads) / 4, "first_place_questions": 4}
    swapped = judge.compare([PROMPT], second[:1], first[:1])
    assert swapped[0].preference == 1 - verdicts[0].preference
    # What does not fit is no verdict.
    judge.config = config(kind="causal", model="sft", max_unjudged=1)
    (long,) = judge.compare([PROMPT], ["word " * 3000], ["A dog."])
    assert (long.preference, long.status) == (None, "question too long")


@pytest.mark.slow
def test_a_letter_without_a_token_is_refused(tiny: Any) -> None:
    from tempering.data.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(tiny("sft").model_dir)
    assert letter_ids(tokenizer, "A") != letter_ids(tokenizer, "B")
    with pytest.raises(DataError, match="no token for the letter"):
        letter_ids(tokenizer, "Quintessence")
