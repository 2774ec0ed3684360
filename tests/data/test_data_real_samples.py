"""Every real sample loads through a builder, or is refused by name for a stated reason."""

from collections import Counter

import pytest
from pydantic import TypeAdapter

from tempering.data.builders import AutoConfig, Builder, build
from tempering.data.rows import Notice, Row, texts
from tempering.errors import DataError
from tests.data.built import rows_of
from tests.data.real_samples import CASES, OTHERWISE, SHARED, Refusal

ADAPTER = TypeAdapter(Builder)
ALL = [*CASES.items(), *OTHERWISE]


@pytest.fixture(scope="module")
def shared():
    if not (SHARED / "SOURCES.md").is_file():
        pytest.skip(
            f"no real samples in {SHARED}: {len(CASES)} sets are skipped, none of them counts as loaded; "
            "set TEMPERING_SHARED_DATA to their folder"
        )
    return SHARED


def configured(shared, file, given):
    # Spelled out, since the folders `evaluation` and the like would choose the use of the rows.
    return ADAPTER.validate_python({"kind": "auto", "path": shared / file, "eval_fraction": 0, **given})


def test_every_file_is_in_the_table(shared):
    files = {path.relative_to(shared).as_posix() for path in shared.rglob("*") if path.is_file()}
    assert files - {"SOURCES.md"} == set(CASES)


@pytest.mark.parametrize(
    ("file", "case"), ALL, ids=[f"{number}-{file}" for number, (file, _) in enumerate(ALL)]
)
def test_real_samples(shared, file, case):
    if isinstance(case, Refusal):
        with pytest.raises(DataError) as error:
            list(build(configured(shared, file, case.settings)))
        assert case.reason in str(error.value)
        assert file.split("/")[-1] in error.value.found
        assert error.value.fix
        assert not case.nearest or f"nearest row type is {case.nearest} (" in error.value.expected
        return
    config = configured(shared, file, case.settings)
    items = list(build(config))
    rows = [item for item in items if isinstance(item, Row)]
    assert (str(config.row_type), len(rows)) == (case.row_type, case.rows)
    others = [item for item in items if not isinstance(item, Row | Notice)]
    assert Counter(item.reason for item in others if not item.kept) == case.rejected
    assert Counter(item.reason for item in others if item.kept) == case.changed
    # All other columns of the file were read, or are kept beside the rows.
    assert {name for row in rows for name in row.unused} == set(case.unused)
    dropped = sum(case.rejected.values())
    assert dropped <= config.max_rejected_fraction * (dropped + len(rows))
    assert [type(item) for item in items].count(Notice) == isinstance(config, AutoConfig)


def test_both_forms_of_the_same_data_agree(shared):
    def both(one, other, **given):
        return (rows_of(configured(shared, file, given)) for file in (one, other))

    lines, records = both("pretrain/tinystories_head.txt.gz", "pretrain/tinystories_head.jsonl.gz")
    assert lines == records
    nested, flat = both("sft/xquad.en.json", "sft/xquad.en.flat.jsonl.gz")
    assert nested == flat
    sharegpt, chat = both("preference/dpo_en_demo.json.gz", "preference/dpo_en_demo.chat.jsonl.gz")
    assert sharegpt == chat


def test_nothing_of_the_quirks_is_left_in_the_rows(shared):
    def running(file, **given):
        config = configured(shared, file, given)
        return "\n".join(text for row in rows_of(config) for text in texts(config.row_type, row))

    assert "<br" not in running("sentiment/imdb_reviews_unlabelled.jsonl.gz")
    assert "<|endoftext|>" not in running("pretrain/tinystories_head.txt.gz")
    assert "*MOT:" not in running("pretrain/babylm_childes.txt.gz", kind="babylm", speakers="strip")
    book = running("pretrain/gutenberg_railway_children.txt.gz")
    assert "Project Gutenberg" not in book
    assert "They were not railway children to begin with. I don't suppose they had ever" in book
    assert '"name": "search_recipes"' in running("sft/glaive_toolcall_en_demo.json.gz")


def test_a_folder_of_one_form_is_one_data_set(shared):
    config = ADAPTER.validate_python({"kind": "auto", "path": shared / "evaluation" / "blimp_supplement"})
    assert config.eval_fraction == 1.0
    items = list(build(config))
    assert [type(item) for item in items].count(Notice) == 1
    good = Counter(item.values["paradigm"] for item in items if isinstance(item, Row))
    assert good == {"hypernym": 842, "qa_congruence_easy": 64, "turn_taking": 280}
