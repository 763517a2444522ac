"""Copies that a language model writes: requests for each document, answers that are kept, checks, and what it took."""

import dataclasses
import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from elusive.config.augmentation import AugmentSettings
from elusive.config.server import RewriteSettings
from elusive.corpus.documents import Document
from elusive.corpus.llm.chat import AnswerLog, Request, TokenUsage
from elusive.corpus.llm.model import Asked, LanguageModel
from elusive.corpus.sentences import sentences
from elusive.errors import ElusiveError
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.terminal import note

from .arm import Arm
from .copies import AugmentedDocument, AugmentedText
from .draws import copy_generator
from .edits import CopyWriter
from .rankings import RankedDocument
from .rewrite_checks import Checked, checked
from .rewrite_prompts import Fact, prompts_hash, rewrite_prompt
from .summary import Rewrites
from .survival import count_stated

REWRITES = "rewrites.jsonl"
"""Every request for a copy and the answer to it, a line each, in the arm's folder."""

_DOCUMENTS_AT_ONCE = 64
_REPEATED = "another copy again"


class Rewriter:
    """Writes one arm's copies, document by document, and counts what that took.

    A request is named by a hash of all that its answer depends on, so one that was answered is never sent again: not
    after a stop, not for another copy that asks the same, nor by a run whose other settings have changed.

    Args:
        arm: one that rewrites.
        folder: where answers are kept, in REWRITES.
        tokenizer: of the model to be trained.
        settings: copies, seed.
        rewrite: the model, and what is asked of its answers.
        head_fields: fields of head entities.
    """

    def __init__(
        self,
        arm: Arm,
        folder: Path,
        *,
        tokenizer: PreTrainedTokenizerFast,
        settings: AugmentSettings,
        rewrite: RewriteSettings,
        head_fields: Sequence[str],
    ) -> None:
        self.arm, self.settings, self.rewrite, self.head_fields = arm, settings, rewrite, head_fields
        self.log = AnswerLog(folder / REWRITES)
        self._writer = CopyWriter(tokenizer, settings)
        self._model = LanguageModel(rewrite, self.log, note)
        self._began = time.monotonic()
        self._faults: Counter[str] = Counter()
        self._kept: list[float] = []
        self._wanted = self._accepted = 0
        self._rejected = ""

    def rewritten(
        self,
        documents: Iterable[Document],
        augmented: Iterable[AugmentedDocument],
        progress: ProgressFunction = silent,
        total: int = 0,
    ) -> Iterator[AugmentedDocument]:
        """The documents with the copies that passed; some documents may have fewer than were asked for, or none.

        Args:
            documents: the corpus.
            augmented: of each its original, and its clues: those of the facts to name first come first.
            progress: called with (documents done, all).
            total: how many documents there are.

        Raises:
            ElusiveError: if the server refuses or does not answer, or no copy of any document passed.
        """
        rows, done = iter(zip(documents, augmented, strict=True)), 0
        while batch := list(itertools.islice(rows, _DOCUMENTS_AT_ONCE)):
            works = [_Copies(self, document, item) for document, item in batch]
            # Each document asks for its copies one after the other, so as many documents as requests are under way.
            self._model.do([work.ask for work in works])
            for work, (document, item) in zip(works, batch, strict=True):
                yield self._with_copies(document, item, work.found)
            done += len(batch)
            progress(done, total)
        if self._wanted and not self._accepted:
            raise ElusiveError(
                f"None of the {self._wanted:,} copies of {self.arm.name} passed the checks ({self._reasons()}); the "
                f"first answer that did not begins {self._rejected[:120]!r}. All answers are in {self.log.path}. "
                "Take a model that follows instructions, or lower what [rewrite] asks of its answers, and run again."
            )

    def summary(self) -> Rewrites:
        """What was asked and written, and what it took."""
        usage = TokenUsage.of(self.log)
        return Rewrites(
            self._wanted,
            self._accepted,
            dict(self._faults),
            sum(self._kept) / len(self._kept) if self._kept else None,
            **dataclasses.asdict(usage),
            seconds=round(time.monotonic() - self._began, 1),
            cost_in_words=usage.line(self.rewrite),
        )

    def _with_copies(
        self, document: Document, item: AugmentedDocument, found: Sequence[tuple[int, Checked]]
    ) -> AugmentedDocument:
        ids = self._writer.token_ids([one.text for _, one in found]) if found else []
        copies = [
            AugmentedText(document.id, copy, self.arm.name, one.text, of_copy)
            for (copy, one), of_copy in zip(found, ids, strict=True)
        ]
        stated = count_stated(document, [one.text for _, one in found], self.head_fields) if found else {}
        return dataclasses.replace(item, texts=(*item.texts[:1], *copies), spans=stated)

    def count(self, one: Checked, fault: str | None) -> None:
        """Count one answer."""
        if fault:
            self._faults[fault] += 1
            self._rejected = self._rejected or one.text
            return
        self._accepted += 1
        if one.kept is not None:
            self._kept.append(one.kept)

    def want(self, copies: int) -> None:
        """Count copies that are to be written."""
        self._wanted += copies

    def _reasons(self) -> str:
        return ", ".join(f"{fault}: {count:,}" for fault, count in self._faults.most_common())


class _Copies:
    """The copies of one document, asked for one after the other."""

    def __init__(self, rewriter: Rewriter, document: Document, item: AugmentedDocument) -> None:
        self.rewriter, self.document = rewriter, document
        self.facts = _facts(item.ranked)[: rewriter.rewrite.facts]
        spans = [document.text[span.start : span.end] for span in document.spans]
        clues = [document.text[clue.start : clue.end] for clue in item.ranked.clues]
        self.known = list(dict.fromkeys(spans or clues))
        self.entities = list(dict.fromkeys([*clues, *spans]))
        self.found: list[tuple[int, Checked]] = []

    async def ask(self, model: Asked) -> None:
        """Ask for every copy until one passes or its tries are used up."""
        rewriter, settings = self.rewriter, self.rewriter.rewrite
        rewriter.want(rewriter.settings.copies)
        for copy in range(1, rewriter.settings.copies + 1):
            for attempt in range(settings.tries):
                answer = await model.ask(self._request(copy, attempt))
                one = checked(answer.text, answer.cut_off, self.document.text, self.known, settings)
                repeated = any(one.text == other.text for _, other in self.found)
                fault = one.fault or (_REPEATED if repeated else None)
                rewriter.count(one, fault)
                if not fault:
                    self.found.append((copy, one))
                    break

    def _request(self, copy: int, attempt: int) -> Request:
        rewriter, settings = self.rewriter, self.rewriter.rewrite
        assert rewriter.arm.rewrites is not None
        generator = copy_generator(rewriter.settings.seed, self.document.id, copy, f"rewrite {attempt}")
        prompt = rewrite_prompt(rewriter.arm.rewrites, self.document.text, self.facts, self.entities, generator)
        seed = int(generator.integers(2**31))
        depends = (settings.engine, settings.model, settings.extra_body, settings.temperature, seed, prompt)
        name = hashlib.blake2b(json.dumps([*depends, settings.max_new_tokens]).encode(), digest_size=12).hexdigest()
        return Request(name, prompt, settings.temperature, seed, settings.max_new_tokens)


def _facts(ranked: RankedDocument) -> list[Fact]:
    """The sentences of the clues, in their order, each with its clue."""
    borders = dict(sentences(ranked.text))
    return [
        Fact(ranked.text[clue.sentence : borders[clue.sentence]].strip(), ranked.text[clue.start : clue.end])
        for clue in ranked.clues
    ]


def check_rewrite(settings: RewriteSettings) -> None:
    """Refuse settings that name no model, before anything is scored.

    Raises:
        ElusiveError: if none is named.
    """
    if not settings.model:
        raise ElusiveError(
            "rewrite.model: expected the name of a language model, got none. Write:\n  [rewrite]\n"
            '  base_url = "http://localhost:8000/v1"\n  model = "..."\n'
            '(or engine = "transformers", with the folder or hub name of a model that runs here).'
        )


def identity_of(settings: RewriteSettings) -> dict[str, Any]:
    """All that the copies depend on; where the server is, and how patient we are with it, is not part of it."""
    used = ("engine", "model", "temperature", "extra_body", "max_new_tokens", "facts", "tries")
    used += ("min_length_ratio", "max_length_ratio", "min_facts_kept")
    return {name: getattr(settings, name) for name in used} | {"prompts": prompts_hash()}
