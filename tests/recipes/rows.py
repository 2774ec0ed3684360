"""Made-up files in the forms of the recipes' data sets, laid out as the `local.yaml` files expect them."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tempering import world

Row = dict[str, Any]


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _jsonl(path: Path, rows: Iterable[Row]) -> None:
    _lines(path, (json.dumps(row) for row in rows))


def _stories(n: int, seed: int = 0) -> list[str]:
    return [row["text"].replace("\n", " ") for row in world.corpus(n, seed)]


def babylm(data: Path) -> None:
    """Six corpora in their official forms, stories, reviews and one paradigm of minimal pairs."""
    corpora = data / "finetune" / "babylm"
    talk = [f"*MOT:\t{text}" for text in _stories(60, 1)]
    for name in ("childes", "bnc_spoken", "open_subtitles", "switchboard"):
        _lines(corpora / f"{name}.train", talk)
    articles = _stories(40, 2)
    _lines(
        corpora / "simple_wiki.train",
        (line for i, text in enumerate(articles) for line in (f"= = = T{i} = = =", text)),
    )
    books = _stories(40, 3)
    _lines(
        corpora / "gutenberg.train",
        (line for i, text in enumerate(books) for line in (f"= = = B{i} = = =", text)),
    )
    _lines(data / "rl" / "tinystories.txt", (f"{text}\n<|endoftext|>" for text in _stories(40, 4)))
    _jsonl(data / "rl" / "imdb.jsonl", ({"text": f"{text}<br />Good."} for text in _stories(40, 5)))
    pairs = world.minimal_pairs(200, 0)
    names = ("sentence_good", "sentence_bad")
    _jsonl(
        data / "evaluation" / "blimp" / "names.jsonl",
        ({**{name: pair[name] for name in names}, "UID": "names"} for pair in pairs),
    )


def squad(data: Path) -> None:
    """SQuAD's flat form."""
    rows = world.questions(160, 0)
    _jsonl(
        data / "finetune" / "squad.jsonl",
        (
            {
                "id": str(index),
                "title": "Stories",
                "context": row["context"],
                "question": row["question"],
                "answers": {"text": row["answers"], "answer_start": [row["context"].find(row["answers"][0])]},
            }
            for index, row in enumerate(rows)
        ),
    )


def ultrafeedback(data: Path) -> None:
    """UltraFeedback's form: a prompt, and two whole conversations."""
    _jsonl(
        data / "reward" / "ultrafeedback.jsonl",
        (
            {
                "prompt": pair["prompt"],
                "chosen": _conversation(pair["prompt"], pair["chosen"]),
                "rejected": _conversation(pair["prompt"], pair["rejected"]),
                "score_chosen": 8.0,
                "score_rejected": 5.0,
            }
            for pair in world.preferences(80, 0)
        ),
    )


def smoltalk(data: Path) -> None:
    """SmolTalk's form, and UltraFeedback's beside it."""
    rows = world.demonstrations(80, 0)
    _jsonl(
        data / "finetune" / "smoltalk.jsonl",
        ({"messages": _conversation(row["prompt"], row["completion"]), "source": "world"} for row in rows),
    )
    ultrafeedback(data)


def sentiment(data: Path) -> None:
    """Stories, reviews without labels, and labelled sentences that a word tells apart."""
    stories = data / "finetune" / "tinystories_head.txt.gz"
    stories.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(stories, "wt", encoding="utf-8") as file:
        file.writelines(f"{text}\n<|endoftext|>\n" for text in _stories(60, 6))
    _gz_rows(data / "finetune" / "imdb_reviews.jsonl.gz", [{"text": text} for text in _stories(40, 7)])
    words = ("dull", "moving")
    labelled = [
        {"text": f"a {words[place % 2]} film about {text[:40]} .", "label": place % 2}
        for place, text in enumerate(_stories(160, 8))
    ]
    _gz_rows(data / "reward" / "rotten_tomatoes.jsonl.gz", labelled)


def _gz_rows(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)


def _conversation(prompt: str, answer: str) -> list[Row]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer.strip()}]


FILES: dict[str, Callable[[Path], None]] = {
    "babylm-ppo": babylm,
    "pico-squad": squad,
    "llama3b-ultrafeedback": ultrafeedback,
    "qwen-smoltalk": smoltalk,
    "imdb-sentiment": sentiment,
}
"""Recipe -> what writes its files below a folder called `data`."""
