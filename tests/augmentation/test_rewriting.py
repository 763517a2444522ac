"""Copies by a language model: from a server that misbehaves, from a tiny model that runs here, and what is checked."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elusive.augmentation.arms import ARMS, arm_named
from elusive.augmentation.copies import AugmentedDocument, augment_documents
from elusive.augmentation.rewrite_checks import checked
from elusive.augmentation.rewrite_prompts import Fact, rewrite_prompt
from elusive.augmentation.rewriting import REWRITES, Rewriter, check_rewrite, identity_of
from elusive.augmentation.stage import augment_corpus, rewrite_corpus, write_augmented
from elusive.augmentation.summary import AugmentedCorpus
from elusive.augmentation.survival import SpanCounts, count_stated
from elusive.config.augmentation import AugmentSettings
from elusive.config.models import ModelRef
from elusive.config.scoring import ScoreSettings
from elusive.config.server import RewriteSettings
from elusive.corpus.documents import Document, Span
from elusive.corpus.people.biographies import biography, people
from elusive.errors import ElusiveError
from elusive.models.loading import load_tokenizer
from elusive.scoring.sets import pair_sets
from elusive.scoring.stage import score_sets as make_scores
from elusive.training.fresh import CopyMaker

from ..corpus.llm.chat_server import Asked, Server, closed, completion, serving, status
from .test_copies import in_order, score_sets

DOCUMENTS = [biography(person, f"person-{number}") for number, person in enumerate(itertools.islice(people(5), 3), 1)]
SETTINGS = AugmentSettings(copies=2, clue_margin=0.0)
STYLES = [name for name, arm in ARMS.items() if arm.rewrites]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as told:
        told.write = echo
        yield told


def text_in(asked: Asked) -> str:
    return asked.prompt.partition("The text:\n")[2]


def echo(asked: Asked) -> str:
    """A good answer: the text with a sentence of the request's own."""
    return f"Answer {asked.body['seed']}. {text_in(asked)}"


def settings_of(server: Server, **changed: Any) -> RewriteSettings:
    quick = RewriteSettings(base_url=server.url, model="m", initial_backoff=0.01, max_backoff=0.2, retries=3, timeout=5)
    return dataclasses.replace(quick, **changed)


def originals(arm: str, tokenizer: Any) -> list[AugmentedDocument]:
    sets = in_order(score_sets(DOCUMENTS, tokenizer), DOCUMENTS)
    options: dict[str, Any] = {"trained": "large", "tokenizer": tokenizer, "score": ScoreSettings()}
    return list(augment_documents(DOCUMENTS, arm, sets, settings=SETTINGS, **options))


def rewriter_of(folder: Path, arm: str, tokenizer: Any, rewrite: RewriteSettings) -> Rewriter:
    folder.mkdir(exist_ok=True)
    options: dict[str, Any] = {"tokenizer": tokenizer, "settings": SETTINGS, "head_fields": ("name",)}
    return Rewriter(arm_named(arm), folder, rewrite=rewrite, **options)


@pytest.mark.parametrize("arm", STYLES)
def test_copies_from_a_server(arm: str, server: Server, tokenizer: Any, tmp_path: Path) -> None:
    rewriter = rewriter_of(tmp_path, arm, tokenizer, settings_of(server))
    items = originals(arm, tokenizer)
    made = list(rewriter.rewritten(DOCUMENTS, items))
    for document, item in zip(DOCUMENTS, made, strict=True):
        assert [text.copy for text in item.texts] == [0, 1, 2]
        assert item.texts[0].text == document.text
        assert all(text.text.endswith(document.text) and text.arm == arm for text in item.texts[1:])
        assert item.texts[1].text != item.texts[2].text
        assert item.texts[1].token_ids.tolist() == tokenizer(item.texts[1].text, add_special_tokens=False)["input_ids"]
        assert item.spans["company"] == SpanCounts(2, 2, 2, 2)
    # The facts that the contrast chose stand in the prompts, strongest first, each with its clue.
    asked = next(one for one in server.asked if text_in(one) == DOCUMENTS[0].text)
    clues = items[0].ranked.clues
    assert len(clues) > 1
    assert [asked.prompt.index(f"(about: {DOCUMENTS[0].text[one.start : one.end]})\n") > 0 for one in clues[:5]]
    counted = rewriter.summary()
    assert (counted.copies, counted.accepted, counted.rejected, counted.facts_kept) == (6, 6, {}, 1.0)
    assert (counted.requests, counted.prompt_tokens, counted.output_tokens) == (6, 600, 60)
    assert "6 of 6 copies rewritten, 100.0% of the facts word for word; 6 answered requests" in counted.in_words()


def test_nothing_is_asked_again(server: Server, tokenizer: Any, tmp_path: Path) -> None:
    arm, items = "rewrite-paraphrase", originals("rewrite-paraphrase", tokenizer)
    server.misbehave = [status(500), closed, status(429, Retry_After="0.01")]
    server.write = lambda asked: echo(asked) if len(server.asked) < 6 else ""
    first = rewriter_of(tmp_path, arm, tokenizer, settings_of(server, max_concurrent_requests=1, tries=1))
    made = list(first.rewritten(DOCUMENTS, items))
    assert [len(item.texts) for item in made] == [3, 1, 1]
    assert first.summary().rejected == {"empty": 4}
    before = len(server.asked)
    lines = (tmp_path / REWRITES).read_text().splitlines()
    assert [json.loads(line)["request"]["max_tokens"] for line in lines] == [1024] * 6
    # The last line was cut off: that request alone is sent again.
    (tmp_path / REWRITES).write_text("\n".join(lines)[:-9])
    server.write = echo
    again = rewriter_of(tmp_path, arm, tokenizer, settings_of(server, tries=1))
    assert [len(item.texts) for item in again.rewritten(DOCUMENTS, items)] == [3, 1, 2]
    assert len(server.asked) == before + 1


def test_a_rejected_copy_is_asked_for_with_another_seed(server: Server, tokenizer: Any, tmp_path: Path) -> None:
    seen: set[str] = set()

    def write(asked: Asked) -> str:
        first = text_in(asked) not in seen
        seen.add(text_in(asked))
        return "I'm sorry, but I cannot help with that." if first else echo(asked)

    server.write = write
    rewriter = rewriter_of(tmp_path, "rewrite-active", tokenizer, settings_of(server))
    assert [len(one.texts) for one in rewriter.rewritten(DOCUMENTS, originals("rewrite-active", tokenizer))] == [3] * 3
    assert rewriter.summary().rejected == {"a refusal": 3}
    assert len({one.body["seed"] for one in server.asked}) == len(server.asked) == 9


def test_the_same_copy_twice_counts_once(server: Server, tokenizer: Any, tmp_path: Path) -> None:
    server.write = lambda asked: f"In short: {text_in(asked)}"
    rewriter = rewriter_of(tmp_path, "rewrite-paraphrase", tokenizer, settings_of(server))
    items = originals("rewrite-paraphrase", tokenizer)
    assert [len(one.texts) for one in rewriter.rewritten(DOCUMENTS, items)] == [2] * 3
    assert rewriter.summary().rejected == {"another copy again": 6}


def test_no_good_answer_at_all_ends_with_the_reasons_and_writes_nothing(
    server: Server, tokenizer: Any, tmp_path: Path
) -> None:
    server.write = lambda asked: "zq " * 200
    rewriter = rewriter_of(tmp_path, "rewrite-paraphrase", tokenizer, settings_of(server))
    written = rewriter.rewritten(DOCUMENTS, originals("rewrite-paraphrase", tokenizer))
    with pytest.raises(ElusiveError, match=r"None of the 6 copies .* \(facts missing: 12\).* begins 'zq zq"):
        write_augmented(tmp_path, written, "rewrite-paraphrase", SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == [REWRITES]


def test_answers_that_failed_one_check_serve_another_run(server: Server, tokenizer: Any, tmp_path: Path) -> None:
    server.write = lambda asked: f"{asked.body['seed']} is all there is to say of this text, and of its like. " * 3
    models = {"large": ModelRef("elusive/large"), "small": ModelRef("elusive/small")}
    sets = pair_sets("cues", each=True)
    scores = make_scores(DOCUMENTS, tmp_path / "scores", sets, models=models, settings=ScoreSettings())
    own = load_tokenizer("elusive/large")
    options: dict[str, Any] = {"trained": "large", "tokenizer": own, "score": ScoreSettings(), "settings": SETTINGS}

    def run(**changed: Any) -> AugmentedCorpus:
        rewrite = settings_of(server, tries=1, **changed)
        return rewrite_corpus(DOCUMENTS, tmp_path / "texts", "rewrite-active", scores, rewrite=rewrite, **options)

    with pytest.raises(ElusiveError, match=r"\(facts missing: 6\)"):
        run()
    made = run(min_facts_kept=0.0)
    assert made == run(min_facts_kept=0.0)
    assert len(server.asked) == 6, "each once"
    assert made.rewrites is not None
    assert (made.texts, made.rewrites.accepted, made.rewrites.facts_kept) == (9, 6, 0.0)
    assert made.survival["company"].intact == 0.0
    with pytest.raises(ElusiveError, match=r"rewrite\.min_facts_kept: was 0\.0, now 0\.5"):
        run(min_facts_kept=0.5)
    with pytest.raises(ElusiveError, match="which a recipe names in"):
        augment_corpus(DOCUMENTS, tmp_path / "texts", "rewrite-active", scores, **options)


def test_a_server_that_refuses_ends_with_the_setting_to_change(server: Server, tokenizer: Any, tmp_path: Path) -> None:
    server.misbehave = [status(404)] * 9
    rewriter = rewriter_of(tmp_path, "rewrite-paraphrase", tokenizer, settings_of(server))
    with pytest.raises(ElusiveError, match=r"expected a server at rewrite\.base_url .* with the model 'm'"):
        list(rewriter.rewritten(DOCUMENTS, originals("rewrite-paraphrase", tokenizer)))


def test_requests_under_way_are_bounded(server: Server, tokenizer: Any, tmp_path: Path) -> None:
    answers = [completion(None), completion("x", finish_reason="length")]
    server.misbehave = [lambda handler, body, answer=answer: handler.say(200, answer) for answer in answers]
    rewriter = rewriter_of(tmp_path, "rewrite-paraphrase", tokenizer, settings_of(server, max_concurrent_requests=1))
    items = originals("rewrite-paraphrase", tokenizer)
    assert [len(one.texts) for one in rewriter.rewritten(DOCUMENTS, items)] == [2, 3, 3]
    assert rewriter.summary().rejected == {"empty": 1, "cut off": 1}
    # One document after the other: none waits between two of another's requests.
    assert [key for key, _ in itertools.groupby(map(text_in, server.asked))] == [one.text for one in DOCUMENTS]


def test_a_model_that_runs_here(tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    asks = RewriteSettings(
        engine="transformers",
        model=str(tmp_path / "model"),
        max_new_tokens=12,
        tries=1,
        min_facts_kept=0.0,
        min_length_ratio=0.0,
    )
    texts = []
    for folder in ("one", "two", "one"):
        rewriter = rewriter_of(tmp_path / folder, "rewrite-active", tokenizer, asks)
        with pytest.raises(ElusiveError, match=r"None of the 6 copies .* \(cut off: 6\)"):
            list(rewriter.rewritten(DOCUMENTS, originals("rewrite-active", tokenizer)))
        lines = map(json.loads, (tmp_path / folder / REWRITES).read_text().splitlines())
        texts.append([line["response"]["choices"][0]["message"]["content"] for line in lines])
    assert texts[0] == texts[1] == texts[2], "by seeds, and kept"
    assert len(set(texts[0])) == 6
    long = dataclasses.replace(asks, max_new_tokens=2000)
    with pytest.raises(ElusiveError, match="expected a prompt and an answer of at most 2,048 tokens together"):
        list(
            rewriter_of(tmp_path / "long", "rewrite-active", tokenizer, long).rewritten(
                DOCUMENTS, originals("rewrite-active", tokenizer)
            )
        )


TEXT = "Ada Byron wrote notes. She died in London."


@pytest.mark.parametrize(
    ("answer", "cut_off", "fault", "kept"),
    [
        ("Notes were written by ada  byron, who died in London.", False, None, 1.0),
        ("Byron, an author of notes, died there.", False, "facts missing", 0.0),
        ("Ada Byron did.", False, None, 0.5),
        (" \n", False, "empty", 0.0),
        ("Ada Byron wrote in London", True, "cut off", 1.0),
        ("I can’t rewrite what Ada Byron did in London.", False, "a refusal", 1.0),  # noqa: RUF001
        ("Ada.", False, "too short", 0.0),
        ("Ada Byron. " * 30, False, "too long", 0.5),
        ("Ada Byron  wrote notes.\nShe died in London.", False, "the text as it was", 1.0),
    ],
)
def test_checks(answer: str, cut_off: bool, fault: str | None, kept: float) -> None:
    found = checked(answer, cut_off, TEXT, ["Ada Byron", "London"], RewriteSettings())
    assert (found.fault, found.kept) == (fault, kept)
    assert checked("Ada did.", False, TEXT, [], RewriteSettings(min_length_ratio=0)).kept is None


@pytest.mark.parametrize(
    ("answer", "facts", "kept"),
    [
        ("O’Brien was born in 1905.", ["O’Brien", "1905"], 1.0),  # noqa: RUF001
        ("O'Brien was born in 1905.", ["O’Brien"], 1.0),  # noqa: RUF001
        ("She was born in Canada in 1905.", ["Ada", "5"], 0.0),
        ("1905年，王敏在北京大学学习。", ["北京", "1905"], 1.0),  # noqa: RUF001
        ("서울에서 태어났다.", ["서울"], 1.0),
    ],
)
def test_facts_are_found_as_they_are_written(answer: str, facts: list[str], kept: float) -> None:
    """A curly apostrophe is no other word and stays in the text; a name within a word is no name."""
    found = checked(answer, False, "O’Brien", facts, RewriteSettings(min_facts_kept=0, max_length_ratio=10))  # noqa: RUF001
    assert (found.text, found.kept, found.fault) == (answer, kept, None)


def test_prompts_name_facts_and_draw_tasks_and_entities() -> None:
    fact = Fact("She died in London.", "Ada Byron")

    def prompts(style: Any, entities: list[str]) -> set[str]:
        made = (np.random.default_rng(seed) for seed in range(40))
        return {rewrite_prompt(style, TEXT, [fact], entities, generator).split("\n")[0] for generator in made}

    prompt = rewrite_prompt("paraphrase", TEXT, [fact], [], np.random.default_rng(0))
    assert "\n- She died in London. (about: Ada Byron)\n" in prompt
    assert prompt.endswith(f"The text:\n{TEXT}")
    assert "about:" not in rewrite_prompt("paraphrase", TEXT, [], [], np.random.default_rng(0))
    assert (len(prompts("paraphrase", [])), len(prompts("active", []))) == (4, 5)
    pairs = prompts("entigraph", ["Ada Byron", "London", "{notes}", "London"])
    assert len(pairs) == 4, "three pairs and a triple"
    assert all("how " in one and "{entities}" not in one for one in pairs)
    assert len(prompts("entigraph", ["Ada"])) == 1


def test_spans_that_are_stated() -> None:
    document = Document("ada", TEXT, (Span("name", 0, 9), Span("city", 35, 41)))
    texts = ["ADA BYRON lived in London.", "She lived in London.", "Ada Byron."]
    assert count_stated(document, texts, ["name"]) == {"name": SpanCounts(3, 2), "city": SpanCounts(3, 2, 3, 1)}


def test_what_a_recipe_must_say() -> None:
    with pytest.raises(ElusiveError, match=r'rewrite\.model: expected the name .*\n  \[rewrite\]\n  base_url = "http'):
        check_rewrite(RewriteSettings())
    one, other = RewriteSettings(model="m"), RewriteSettings(model="m", base_url="http://elsewhere/v1", timeout=9)
    assert identity_of(one) == identity_of(other) != identity_of(RewriteSettings(model="m", facts=1))
    for name in STYLES:
        with pytest.raises(ElusiveError, match="none that rewrites"):
            arm_named(f"{name}+reorder")


def test_such_copies_are_not_drawn_anew(server: Server, tokenizer: Any, tmp_path: Path) -> None:
    arm = "rewrite-paraphrase"
    written = rewriter_of(tmp_path, arm, tokenizer, settings_of(server)).rewritten(DOCUMENTS, originals(arm, tokenizer))
    write_augmented(tmp_path, written, arm, SETTINGS)
    with pytest.raises(ElusiveError, match="are a language model's, which are not drawn anew"):
        CopyMaker(tmp_path / "ranking.parquet", tokenizer)
