"""`temper chat | generate | export | convert` from end to end, on toys."""

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli.chat import Chat
from flows.cli.main import main
from flows.stopping import Stopped
from tempering.errors import DataError
from tempering.exchange.export import export_model
from tempering.generation.sampling import Sampling
from tempering.models.find import find_model
from tempering.talk.chat_model import Speaker
from tests.exchange.hub_stand_in import HubStandIn
from tests.exchange.toy_models import ToyStore
from tests.flows.conftest import Answer

STORY = "Tell a story. Lily, ball, dog, park:"


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> ToyStore:
    toys = ToyStore(tmp_path_factory.mktemp("toys"))
    toys.model("pretrain", prompt_format="plain", seed=3)
    sft = toys.model("sft", seed=5)
    toys.adapter("dpo", sft)
    toys.model("reward_model", head="score")
    return toys


@pytest.fixture
def say(toys: ToyStore, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Call the command line on the toys' store."""

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        store = ["--store", str(toys.store.root)] if "--store" not in arguments else []
        try:
            code = main([str(one) for one in (*arguments, *store)])
        except SystemExit as error:
            code = int(error.code or 0)
        return Answer(code, *capfd.readouterr())

    return call


def rows(say: Callable[..., Answer], *arguments: object) -> list[dict[str, Any]]:
    done = say("generate", *arguments, "--json", "--max-new-tokens", 12)
    assert done.code == 0, done.err
    return json.loads(done.out)  # type: ignore[no-any-return]


# -- generate ------------------------------------------------------------------------------------


def test_seed_and_flags_decide_the_answer(say: Any) -> None:
    base = ["sft@latest", "--prompt", STORY]
    first = rows(say, *base)[0]
    assert first["prompt"] == STORY
    assert (first["index"], first["sample"]) == (0, 0)
    assert 0 < first["tokens"] <= 12
    assert rows(say, *base)[0] == first
    for flags in (
        ["--seed", 1],
        ["--temperature", 3],
        ["--top-k", 1],
        ["--top-p", 0.01],
        ["--min-p", 1],
        ["--greedy"],
        ["--format", "plain"],
    ):
        assert rows(say, *base, *flags)[0]["completion"] != first["completion"], flags
    greedy = rows(say, *base, "--greedy")[0]["completion"]
    assert {rows(say, *base, *one)[0]["completion"] for one in (["--top-k", 1], ["--min-p", 1])} == {greedy}
    assert rows(say, *base, "--greedy", "--repetition-penalty", 5)[0]["completion"] != greedy


def test_a_stop_text_ends_the_answer(say: Any) -> None:
    base = ["sft@latest", "--prompt", STORY, "--greedy"]
    whole = rows(say, *base)[0]
    stop = whole["completion"][4:6]
    cut = rows(say, *base, "--stop", "never said", "--stop", stop)[0]
    assert cut["completion"] == whole["completion"][: whole["completion"].index(stop)]
    assert cut["ended"] is True
    assert cut["tokens"] < whole["tokens"]


def test_several_prompts_and_samples_come_in_order(say: Any) -> None:
    prompts = ["one two three four", "five", "six seven"]
    flags = [flag for prompt in prompts for flag in ("--prompt", prompt)]
    found = rows(say, "sft@latest", *flags, "--num-return-sequences", 2, "--batch-size", 4)
    assert [(row["index"], row["sample"], row["prompt"]) for row in found] == [
        (number, sample, prompt) for number, prompt in enumerate(prompts) for sample in (0, 1)
    ]
    assert len({row["completion"] for row in found}) == 6
    printed = say("generate", "sft@latest", *flags, "--max-new-tokens", 4, "--greedy")
    assert [line for line in printed.out.splitlines() if line.startswith("[")] == [
        f"[{number}.0] {prompt}" for number, prompt in enumerate(prompts)
    ]
    refused = say("generate", "sft@latest", *flags, "--greedy", "--top-k", 3)
    assert (refused.code, "greedy decoding samples nothing" in refused.err) == (2, True)


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


def written(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Prompt files with the same 5 prompts, as text or as messages."""
    texts = [f"prompt {number}" for number in range(5)]
    text, lines, array, table = (folder / f"p.{end}" for end in ("txt", "jsonl", "json", "parquet"))
    text.write_text("\n\n".join(texts) + "\n")
    lines.write_text("".join(json.dumps({"prompt": messages(one), "id": 1}) + "\n" for one in texts))
    array.write_text(json.dumps([{"prompt": one} for one in texts]))
    pq.write_table(pa.table({"prompt": [messages(one) for one in texts]}), table)
    yield from ((text, False), (lines, True), (array, False), (table, True))


def test_files_in_and_out(say: Any, tmp_path: Path) -> None:
    for source, as_messages in written(tmp_path):
        for out in (tmp_path / "out.parquet", tmp_path / "out.jsonl"):
            done = say("generate", "sft@latest", "--file", source, "--out", out, "--max-new-tokens", 6,
                       "--batch-size", 1, "--num-return-sequences", 2)  # fmt: skip
            assert done.code == 0, done.err
            assert done.out == ""
            assert f"10 completions in {out}" in done.err
            if out.suffix == ".parquet":
                found = pq.read_table(out).to_pylist()
            else:
                found = [json.loads(line) for line in out.read_text().splitlines()]
            assert [(row["index"], row["sample"]) for row in found] == [
                (n, s) for n in range(5) for s in (0, 1)
            ]
            prompts = [row["prompt"] for row in found[::2]]
            texts = [f"prompt {number}" for number in range(5)]
            assert prompts == ([messages(text) for text in texts] if as_messages else texts)
            assert found == rows_of(say, source, 6)
    assert not list(tmp_path.glob(".tmp-*"))


def rows_of(say: Any, source: Path, length: int) -> list[dict[str, Any]]:
    done = say("generate", "sft@latest", "--file", source, "--json", "--max-new-tokens", length,
               "--batch-size", 1, "--num-return-sequences", 2)  # fmt: skip
    return json.loads(done.out)  # type: ignore[no-any-return]


def test_what_went_wrong_half_way_leaves_the_old_file(say: Any, tmp_path: Path, monkeypatch: Any) -> None:
    source = next(written(tmp_path))[0]
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    calls: list[int] = []
    real = Speaker.answer

    def breaks(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(Speaker, "answer", breaks)
    monkeypatch.setattr("tempering.talk.batches._WINDOW", 1)
    done = say("generate", "sft@latest", "--file", source, "--out", out, "--batch-size", 2)
    assert (done.code, out.read_text(), len(calls)) == (130, "old", 2)
    assert not list(tmp_path.glob(".tmp-*"))


# -- which model ---------------------------------------------------------------------------------


def completion(say: Any, ref: object) -> str:
    return str(rows(say, ref, "--prompt", STORY, "--greedy")[0]["completion"])


def test_every_way_to_name_a_model(say: Any, toys: ToyStore, tmp_path: Path) -> None:
    sft = toys.store.get("sft@latest")
    said = completion(say, "sft@latest")
    folder = export_model(sft, tmp_path / "out")  # type: ignore[arg-type]
    for ref in (sft.id, sft.path.name, sft.fingerprint[:10], sft.path, folder):
        assert completion(say, ref) == said, ref
    checkpoint = completion(say, "sft@latest/checkpoint_1K_tokens")
    assert checkpoint not in (said, "")
    assert completion(say, sft.path / "checkpoints" / "checkpoint_1K_tokens") == checkpoint


def test_a_folder_without_a_chat_template_goes_on_with_the_text(
    say: Any, toys: ToyStore, tmp_path: Path
) -> None:
    pretrain = toys.store.get("pretrain@latest")
    folder = export_model(pretrain, tmp_path / "base")  # type: ignore[arg-type]
    assert completion(say, folder) == completion(say, "pretrain@latest")
    chat = rows(say, "pretrain@latest", "--prompt", STORY, "--greedy", "--format", "chat")[0]["completion"]
    assert chat != completion(say, folder)


def test_an_adapter_speaks_on_its_base(say: Any, toys: ToyStore) -> None:
    import torch
    from peft import PeftModel

    from tempering.models.loading import load_causal_lm

    adapter, base = toys.store.get("dpo@latest"), toys.store.get("sft@latest")
    source = find_model("dpo@latest", toys.store)
    found = Speaker(source, Sampling(12, temperature=0))
    plain = PeftModel.from_pretrained(load_causal_lm(base.model_dir), adapter.model_dir)  # type: ignore[attr-defined]
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(found.model.model(ids).logits, plain(ids).logits)
    assert completion(say, "dpo@latest") != completion(say, "sft@latest")


def test_an_adapter_whose_base_is_gone_or_changed(say: Any, tmp_path: Path) -> None:
    toys = ToyStore(tmp_path / "other")
    base = toys.model("sft", seed=1)
    adapter = toys.adapter("dpo", base)
    base.path.rename(tmp_path / "away")
    store = ["--store", str(toys.store.root)]
    done = say("generate", "dpo@latest", "--prompt", "x", *store)
    assert done.code == 2
    assert "its base cannot be used" in done.err
    assert "merge[dpo]@latest" in done.err
    (tmp_path / "away").rename(base.path)
    assert say("generate", "dpo@latest", "--prompt", "x", *store).code == 0
    whole = (adapter.path / "manifest.json").read_bytes()
    ref = base.ref.model_copy(update={"payload_digest": "0" * 64})
    changed = adapter.manifest.model_copy(update={"inputs": {"model": ref}})
    (adapter.path / "manifest.json").write_bytes(changed.to_json())
    done = say("generate", "dpo@latest", "--prompt", "x", *store)
    assert done.code == 2
    assert "has been rebuilt with other weights" in done.err
    (adapter.path / "manifest.json").write_bytes(whole)
    weights = base.model_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    done = say("generate", "dpo@latest", "--prompt", "x", *store)
    assert done.code == 2
    assert "is damaged" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "reward_model@latest", "--prompt", "x"], "a reward model scores and does not write"),
        (["generate", "tokenizer@latest", "--prompt", "x"], "expected: a model artifact"),
        (["generate", "sfft@latest", "--prompt", "x"], "sft@latest"),
        (["generate", "sft@latest", "--prompt", " "], "--prompt is empty"),
        (["generate", "sft@latest", "--file", "nothing.txt"], "nothing.txt"),
        (["generate", "sft@latest", "--file", "EMPTY"], "holds no prompt"),
        (["generate", "sft@latest", "--file", "COLUMNS"], "line 1 has no column `prompt`, only question"),
        (["generate", "sft@latest", "--file", "ANSWERS"], "prompt"),
        (["generate", "sft@latest", "--file", "LONG"], "line 2: the prompt has"),
        (["generate", "sft@latest", "--prompt", "x", "--out", "a.csv"], ".parquet or .jsonl"),
        (["generate", "sft@latest", "--prompt", "x", "--out", "no/such/a.jsonl"], "not a folder"),
        (["generate", "sft@latest", "--prompt", "x", "--max-new-tokens", "96"], "less than 96"),
        (["generate", "sft@latest", "--prompt", "x", "--top-p", "0"], "is not between 0 and 1"),
        (["generate", "sft@latest", "--prompt", "x", "--temperature", "nan"], "is not between"),
        (["generate", "sft@latest", "--prompt", "x", "--greedy", "--num-return-sequences", "2"], "the same"),
        (["generate", "sft@latest", "--prompt", "x", "--stop", ""], "--stop is empty"),
        (["export", "dpo@latest", "OUT"], "--adapter"),
        (["export", "sft@latest", "OUT", "--public"], "--push OWNER/NAME"),
        (["export", "sft@latest", "OUT", "--push", "toy"], "OWNER/NAME"),
        (["export", "corpus@latest", "OUT"], "there is no artifact"),
        (["convert", "nothing.pt", "OUT"], "does not exist"),
    ],
)
def test_mistakes(say: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    files = {
        "EMPTY": "\n\n",
        "COLUMNS": '{"question": "x"}\n',
        "LONG": "short\n" + "word " * 300,
        "ANSWERS": json.dumps({"prompt": [{"role": "assistant", "content": "x"}]}),
    }
    for name, text in files.items():
        (tmp_path / f"{name}.{'jsonl' if text[0] == '{' else 'txt'}").write_text(text)
    named = {path.stem: str(path) for path in tmp_path.iterdir()} | {"OUT": str(tmp_path / "out")}
    done = say(*[named.get(one, one) for one in arguments])
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not (tmp_path / "out").exists()


# -- chat ----------------------------------------------------------------------------------------


def chat(
    toys: ToyStore, lines: list[Any], system: str | None = None, ref: str = "sft@latest", **sampling: Any
) -> tuple[Chat, str, str, int]:
    """Type `lines` (an exception is raised instead of typed); conversation, stdout, stderr, exit code."""
    given = iter(lines)

    def read() -> str:
        line = next(given, EOFError)
        if isinstance(line, str):
            return line
        raise line

    speaker = Speaker(find_model(ref, toys.store), Sampling(**{"max_new_tokens": 10} | sampling), 0)
    talk = Chat(speaker, system, io.StringIO(), io.StringIO())
    code = talk.run(read)
    return talk, talk.out.getvalue(), talk.err.getvalue(), code  # type: ignore[attr-defined]


def test_what_is_streamed_is_the_answer_and_history_counts(toys: ToyStore) -> None:
    talk, out, _, code = chat(toys, ["Hello", "And then?"], "Be brief.", temperature=0)
    assert code == 0
    assert [turn["role"] for turn in talk.history] == ["system", "user", "assistant", "user", "assistant"]
    assert out == "".join(turn["content"] + "\n" for turn in talk.turns if turn["role"] == "assistant")
    asked = talk.history[:-1]
    assert talk.turns[-1]["content"] == talk.speaker.answer([asked], 0)[0].text
    alone = talk.speaker.answer([asked[:1] + asked[-1:]], 0)[0].text
    assert talk.turns[-1]["content"] != alone, "what came before is read"


def test_commands(toys: ToyStore, tmp_path: Path) -> None:
    saved = tmp_path / "talk.jsonl"
    talk, _, err, _ = chat(
        toys,
        ["Hi", f"/save {saved}", f"/save {saved}", "/undo", "/system Be kind.", "One", "/reset", "", "/help",
         "/nonsense", "//path", "/save", "/quit", "never read"],
    )  # fmt: skip
    lines = saved.read_text().splitlines()
    assert json.loads(lines[0])["messages"][0]["content"] == "Hi"
    assert len(lines) == 1
    assert "File exists" in err
    assert talk.system == "Be kind."
    assert [turn["content"] for turn in talk.turns if turn["role"] == "user"] == ["/path"]
    for said in ("/reset  ", "there is no /nonsense", "/save needs a file"):
        assert said in err


def test_a_saved_conversation_is_training_data(toys: ToyStore, tmp_path: Path) -> None:
    from tempering.data.builders.chat import ChatConfig
    from tests.data.built import reasons_of

    saved = tmp_path / "talk.jsonl"
    chat(toys, ["Hi", f"/save {saved}"], "Be kind.", temperature=0)
    assert reasons_of(ChatConfig(kind="chat", path=saved)) == []


def test_ctrl_c_stops_an_answer_and_the_second_one_ends(toys: ToyStore, monkeypatch: Any) -> None:
    real = Speaker.stream

    def stops(self: Speaker, prepared: Any, seed: int) -> Iterator[str]:
        for number, piece in enumerate(real(self, prepared, seed)):
            if number == 2:
                raise KeyboardInterrupt
            yield piece

    monkeypatch.setattr(Speaker, "stream", stops)
    talk, out, err, code = chat(toys, ["Hello", "Again", KeyboardInterrupt, "never read"], temperature=0)
    assert code == 130
    assert [turn["role"] for turn in talk.turns] == ["user", "assistant"] * 2, "what was said is kept"
    assert out.splitlines()[0] == talk.turns[1]["content"] != ""
    assert "Ctrl-C again" in err
    assert chat(toys, [KeyboardInterrupt, "/help", KeyboardInterrupt, "/quit"])[3] == 0
    with pytest.raises(Stopped):
        chat(toys, [Stopped(signal.SIGTERM), "never read"])


def test_long_histories_lose_whole_turns_from_the_front(toys: ToyStore) -> None:
    talk, _, err, _ = chat(toys, [f"Question {number} about things" for number in range(6)], "Be brief.")
    assert "the conversation no longer fits: its first" in err
    assert len(talk.turns) == 12, "the whole of it is kept for /save"
    prepared = talk.speaker.prepare([*talk.history, {"role": "user", "content": "Last"}])
    text = talk.speaker.model.tokenizer.decode(prepared.ids)
    assert text.startswith("<|system|>Be brief.<|user|>")
    assert text.endswith("<|user|>Last<|assistant|>")
    assert prepared.dropped % 2 == 0 < prepared.dropped
    first = talk.turns[prepared.dropped]["content"]
    assert f"Be brief.<|user|>{first}<|assistant|>" in text
    assert len(prepared.ids) + talk.speaker.sampling.max_new_tokens <= 96
    one_more = [*talk.history[:1], *talk.turns[prepared.dropped - 2 :], {"role": "user", "content": "Last"}]
    assert len(talk.speaker.model.prompt(one_more)) > 96 - 10, "no more was dropped than had to be"


def test_one_question_too_long_is_said_and_forgotten(toys: ToyStore) -> None:
    talk, out, err, code = chat(toys, ["word " * 200, "Hi"])
    assert "shorten it, or lower --max-new-tokens" in err
    assert len(talk.turns) == 2
    assert code == 0
    assert len(out.splitlines()) >= 1
    with pytest.raises(DataError):
        talk.speaker.prepare([{"role": "user", "content": "word " * 200}])


def test_a_base_model_goes_on_from_the_end_of_a_long_text(toys: ToyStore) -> None:
    _, out, err, _ = chat(toys, ["word " * 200], ref="pretrain@latest", temperature=0)
    assert "tokens are not read" in err
    assert out.strip()


def test_chat_from_a_pipe(say: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n/system Be kind.\nHello\n"))
    done = say("chat", "sft@latest", "--greedy", "--max-new-tokens", 5)
    assert done.code == 0
    assert "> " not in done.out
    assert "a new conversation" in done.err


def test_streaming_holds_back_half_characters_and_half_stop_texts(toys: ToyStore) -> None:
    speaker = Speaker(find_model("sft@latest", toys.store), Sampling(10), stop=["END", "\n\n"])
    tokenizer = speaker.model.tokenizer
    ids = tokenizer("né, aEN bEND c", add_special_tokens=False)["input_ids"]

    class Says:
        def stream(self, *_: Any) -> Iterator[int]:
            yield from ids

    speaker.model.decoder = lambda: Says()  # type: ignore[method-assign, assignment, return-value]
    pieces = list(speaker.stream(speaker.prepare([{"role": "user", "content": "x"}]), 0))
    assert "".join(pieces) == "né, aEN b"
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) > 3


# -- export, push, convert -----------------------------------------------------------------------


def test_export_and_push(say: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    hub = HubStandIn("hf_OnlyInTheHeader")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    huggingface_hub.close_session()
    try:
        done = say(
            "export", "sft@latest", tmp_path / "out", "--dtype", "bf16", "--push", "ada/toy", "--public"
        )
        assert done.code == 0, done.err
        assert f"{hub.url}/ada/toy, commit 5eed" in done.out
        assert hub.private == {"ada/toy": False}
        assert hub.repos["ada/toy"]["model.safetensors"] == (tmp_path / "out/model.safetensors").read_bytes()
        hub.fail = {"/commit/": (403, "no rights")}
        done = say("export", "sft@latest", tmp_path / "two", "--push", "ada/toy")
        assert done.code == 2
        assert "only the push failed" in done.err
        assert (tmp_path / "two" / "model.safetensors").exists()
        assert hub.token not in done.err + done.out
    finally:
        hub.close()
        huggingface_hub.close_session()


def test_convert_then_generate(say: Any, toys: ToyStore, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    sft = toys.store.get("sft@latest")
    torch.save({"model": load_file(sft.path / "model/model.safetensors")}, tmp_path / "state.pt")
    done = say("convert", tmp_path / "state.pt", tmp_path / "out", "--like", sft.path / "model")
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "out")
    assert completion(say, tmp_path / "out") == completion(say, "sft@latest")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "state.pt"]
