"""Settings: defaults, ranges, and TOML in and out."""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from elusive.config import toml
from elusive.config.augmentation import AugmentSettings
from elusive.config.corpus import CorpusSettings
from elusive.config.describe import describe
from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef, Models
from elusive.config.run import Recipe, ReportSettings
from elusive.config.scoring import ScoreSettings
from elusive.config.toml import assigned, dump_recipe, inline, load_recipe, to_table, with_overrides
from elusive.config.training import TrainSettings
from elusive.config.verbs import PretrainSettings, SweepRecipe
from elusive.errors import ElusiveError

KINDS = [
    CorpusSettings,
    ScoreSettings,
    AugmentSettings,
    TrainSettings,
    EvaluateSettings,
    ReportSettings,
    PretrainSettings,
    Recipe,
]


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, kind: type = Recipe) -> str:
    """The message with which a recipe is refused, after its path."""
    path = write(folder, text)
    with pytest.raises(ElusiveError) as caught:
        load_recipe(path, kind)
    return str(caught.value).removeprefix(f"{path}: ")


class TestDefaults:
    @pytest.mark.parametrize("kind", KINDS)
    def test_build_and_are_frozen(self, kind: type) -> None:
        settings = kind()
        name = dataclasses.fields(settings)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(settings, name, "other")

    def test_the_paper_s_training(self) -> None:
        train = TrainSettings()
        assert (train.method, train.lora_rank, train.lora_alpha, train.batch_size) == ("lora", 16, 16.0, 8)
        assert (train.warmup_ratio, train.lr_scheduler, train.max_grad_norm) == (0.1, "linear", 1.0)
        assert (AugmentSettings().copies, EvaluateSettings().shots) == (10, 5)

    def test_an_empty_recipe_is_all_defaults(self, tmp_path: Path) -> None:
        assert load_recipe(write(tmp_path, ""), Recipe) == Recipe()
        assert load_recipe(str(write(tmp_path, "")), PretrainSettings) == PretrainSettings()


class TestRoundTrip:
    @pytest.mark.parametrize(
        "settings",
        [
            Recipe(),
            Recipe(
                output='runs/"Zürich" \\ 1',
                title="Ein Lauf 😀",
                arms=("random", "contrast-all", "distance"),
                seeds=(3, 0, 2),
                corpus=CorpusSettings(source="a.jsonl", format="jsonl", limit=5, name_position="random"),
                models=Models(
                    large=ModelRef(
                        "some/model",
                        revision="abc",
                        dtype="bfloat16",
                        device="cuda:1",
                        layers=(3, 0),
                        heads=("3.1", "10.0"),
                    ),
                    small=ModelRef("other/model", heads=("0.0",)),
                    other=ModelRef("a/third", quantization="8bit"),
                    trained="other",
                ),
                score=ScoreSettings(
                    queries="all",
                    head_fields=(),
                    include_self=False,
                    renormalise=True,
                    excluded_tokens=(".", '"', "\n"),
                ),
                augment=AugmentSettings(alpha=0.7, beta=0.005, unseen_tokens="keep"),
                train=TrainSettings(method="lora", learning_rate=1e-5, epochs=0.5, gradient_checkpointing=True),
                evaluate=EvaluateSettings(shots=0),
                report=ReportSettings(cue_field="company"),
            ),
            PretrainSettings(),
            PretrainSettings(seed=4, tokens=123_456, questioned_ratio=1.0, question_ratio=0.0, precision="fp32"),
        ],
    )
    def test_toml(self, tmp_path: Path, settings: Any) -> None:
        assert load_recipe(write(tmp_path, dump_recipe(settings)), type(settings)) == settings

    def test_table_holds_json_types_only(self) -> None:
        table = to_table(Recipe())
        assert table["arms"] == ["plain", "random-matched", "attention", "contrast-cues", "insert-contrast+reorder"]
        assert table["score"]["excluded_tokens"] == [".", ","]

    def test_integers_stand_for_floats(self, tmp_path: Path) -> None:
        alpha = load_recipe(write(tmp_path, "[augment]\nalpha = 1"), Recipe).augment.alpha
        assert alpha == 1.0
        assert isinstance(alpha, float)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("titel = 'x'", "unknown key 'titel'. Did you mean 'title'?"),
            ("[augmnt]\nalpha = 0.5", "unknown key 'augmnt'. Did you mean 'augment'?"),
            ("[augment]\nalfa = 0.5", "augment: unknown key 'alfa'. Did you mean 'alpha'?"),
            (
                "[report]\nxyz = 1",
                "report: unknown key 'xyz'. Known keys: documents, browsed, cue_field, cue_documents.",
            ),
            ("[corpus]\npeople = '100'", "corpus: people: expected int, got '100'."),
            ("[corpus]\npeople = 1.5", "corpus: people: expected int, got 1.5."),
            ("[corpus]\npeople = true", "corpus: people: expected int, got True."),
            ("[augment]\nalpha = false", "augment: alpha: expected float, got False."),
            ("[augment]\nblank = 1", "augment: blank: expected bool, got 1."),
            ("title = 5", "title: expected str, got 5."),
            ("corpus = 'biographies'", "corpus: expected a table, got 'biographies'."),
            ("arms = 'plain'", "arms: expected a list, got 'plain'."),
            ("seeds = [0, '1']", "seeds: expected int, got '1'."),
            ("[score]\nhead_fields = [1]", "score: head_fields: expected str, got 1."),
            ("[models.large]\nlayers = ['1']", "models: large: layers: expected int, got '1'."),
            ("[models.small]\nheads = [1.0]", "models: small: heads: expected str, got 1.0."),
            ("[models]\ntrained = 'other'", "models.other.name: expected a folder or hub name, got ''."),
            (
                "[score]\nqueries = 'cue'",
                "score: queries: expected one of cues, spans, all, got 'cue'. Did you mean 'cues'?",
            ),
            ("[score]\nqueries = 3", "score: queries: expected one of cues, spans, all, got 3."),
            ("arms = ['plain', 1]", "arms: expected str, got 1."),
            ("[augment]\nalpha = 1.5", "augment.alpha: expected a probability in [0, 1], got 1.5."),
        ],
    )
    def test_message(self, tmp_path: Path, text: str, message: str) -> None:
        assert refusal(tmp_path, text) == message

    def test_pretrain_recipes_have_their_own_keys(self, tmp_path: Path) -> None:
        assert refusal(tmp_path, "layer = 2", PretrainSettings) == "unknown key 'layer'. Did you mean 'layers'?"
        assert refusal(tmp_path, "arms = ['plain']", PretrainSettings).startswith("unknown key 'arms'.")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ElusiveError, match=r"No recipe at .*nowhere\.toml\. Give the path of a TOML recipe"):
            load_recipe(tmp_path / "nowhere.toml", Recipe)

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ElusiveError, match=r"expected a file, got a folder"):
            load_recipe(tmp_path, Recipe)

    def test_not_toml(self, tmp_path: Path) -> None:
        assert "is not valid TOML" in refusal(tmp_path, "title = ")
        (tmp_path / "bytes.toml").write_bytes(b'title = "\xff"')
        with pytest.raises(ElusiveError, match="is not valid TOML"):
            load_recipe(tmp_path / "bytes.toml", Recipe)


class TestOverrides:
    @pytest.mark.parametrize(
        ("assignment", "parts", "value"),
        [
            ("title=x", ["title"], "x"),
            ("title=A b = c", ["title"], "A b = c"),
            ("title=", ["title"], ""),
            ('title="7"', ["title"], "7"),
            ("title='C:\\x'", ["title"], "C:\\x"),
            ("corpus.source=/data/it's here/*.jsonl", ["corpus", "source"], "/data/it's here/*.jsonl"),
            ("train.learning_rate=1e-4", ["train", "learning_rate"], 1e-4),
            ("train.packing = false", ["train", "packing"], False),
            ('arms=["plain", "contrast-cues"]', ["arms"], ["plain", "contrast-cues"]),
            ("arms=[plain,contrast-cues]", ["arms"], ["plain", "contrast-cues"]),
            ("models.large.heads=[3.1, x]", ["models", "large", "heads"], [3.1, "x"]),
            ("seeds=[0,1]", ["seeds"], [0, 1]),
            ("train.evaluate_at=[]", ["train", "evaluate_at"], []),
            ("evaluate.vllm={a = {b = 1}}", ["evaluate", "vllm"], {"a": {"b": 1}}),
            ('sweep.grid."train.learning_rate"=[5e-4]', ["sweep", "grid", "train.learning_rate"], [5e-4]),
            ("title=1\n[train]\nseed = 2", ["title"], "1\n[train]\nseed = 2"),
        ],
    )
    def test_keys_and_values_are_toml_s_or_text(self, assignment: str, parts: list[str], value: Any) -> None:
        assert assigned(assignment) == (parts, value)

    @pytest.mark.parametrize("assignment", ["train", "=1", "a b=1", "a..b=1", ""])
    def test_what_is_no_assignment(self, assignment: str) -> None:
        with pytest.raises(ElusiveError, match=r"Expected SECTION\.KEY=VALUE, e\.g\. train\.learning_rate=1e-4, got"):
            assigned(assignment)

    def test_the_table_is_changed_in_a_copy(self) -> None:
        table: dict[str, Any] = {"train": {"seed": 1, "training_arguments": {"a": 1, "b": 2}}}
        changed = with_overrides(
            table, ["train.training_arguments.a=3", "train.seed=4", "train.seed=5", "score.packed=true"]
        )
        assert changed == {"train": {"seed": 5, "training_arguments": {"a": 3, "b": 2}}, "score": {"packed": True}}
        assert table == {"train": {"seed": 1, "training_arguments": {"a": 1, "b": 2}}}
        assert with_overrides(table, ["train.training_arguments={c=1}"])["train"]["training_arguments"] == {"c": 1}, (
            "the whole value"
        )

    def test_a_value_has_no_settings(self) -> None:
        with pytest.raises(ElusiveError, match=r"seed\.x: expected seed to be a table of settings, got 2"):
            with_overrides({"train": {"seed": 2}}, ["train.seed.x=1"])

    def test_a_recipe_with_overrides_is_checked_as_a_whole(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[augment]\nalpha = 1.5\n")
        assert load_recipe(path, Recipe, ["augment.alpha=0.5"]).augment.alpha == 0.5
        with pytest.raises(ElusiveError, match=r"recipe\.toml with --set: augment: unknown key 'alfa'"):
            load_recipe(path, Recipe, ["augment.alfa=0.5"])

    @pytest.mark.parametrize(
        "value", [True, 3, 1e-4, 'a "b" \\ ü\n', ["x", 1], {"a.b": [1], "c": {"d": "e"}}, [], {}, -0.5]
    )
    def test_a_value_on_one_line_reads_back(self, value: Any) -> None:
        assert assigned(f"key={inline(value)}") == (["key"], value)


class TestDescription:
    def test_every_setting_has_words_and_a_default_that_a_recipe_takes(self, tmp_path: Path) -> None:
        for kind in (SweepRecipe, PretrainSettings):
            settings = [setting for section in describe(kind) for setting in section.settings]
            assert all(setting.doc and setting.values for setting in settings)
            changes = [f"{setting.path}={setting.default}" for setting in settings]
            assert load_recipe(write(tmp_path, ""), kind, changes) == kind()

    def test_sections_stand_in_order(self) -> None:
        sections = {section.name: section for section in describe(Recipe)}
        assert list(sections)[:2] == ["", "corpus"]
        assert sections["train"].settings[0].path == "train.method"
        assert [setting.name for setting in sections[""].settings if setting.is_list] == ["arms", "seeds"]


class TestRanges:
    @pytest.mark.parametrize(
        ("kind", "values", "message"),
        [
            (CorpusSettings, {"people": 0}, "corpus.people: expected at least 1, got 0."),
            (CorpusSettings, {"limit": -1}, "corpus.limit: expected 0 or more, got -1."),
            (ModelRef, {"layers": (0, -1)}, "layers: expected layers from 0, got (0, -1)."),
            (
                ModelRef,
                {"heads": ("1.0", "3")},
                """Expected a head as "layer.head" (e.g. "3.1"), both from 0, got '3'.""",
            ),
            (ScoreSettings, {"max_length": -1}, "score.max_length: expected 0 or more, got -1."),
            (ScoreSettings, {"max_batch_tokens": -1}, "score.max_batch_tokens: expected 0 or more, got -1."),
            (ScoreSettings, {"shard_documents": 0}, "score.shard_documents: expected at least 1, got 0."),
            (AugmentSettings, {"alpha": -0.1}, "augment.alpha: expected a probability in [0, 1], got -0.1."),
            (AugmentSettings, {"alpha": 1.01}, "augment.alpha: expected a probability in [0, 1], got 1.01."),
            (AugmentSettings, {"alpha": math.nan}, "augment.alpha: expected a probability in [0, 1], got nan."),
            (AugmentSettings, {"beta": -0.05}, "augment.beta: expected 0 or more, got -0.05."),
            (AugmentSettings, {"beta": math.inf}, "augment.beta: expected 0 or more, got inf."),
            (AugmentSettings, {"copies": -1}, "augment.copies: expected 0 or more, got -1."),
            (TrainSettings, {"lora_rank": 0}, "train.lora_rank: expected at least 1, got 0."),
            (TrainSettings, {"learning_rate": 0.0}, "train.learning_rate: expected above 0, got 0.0."),
            (TrainSettings, {"learning_rate": math.inf}, "train.learning_rate: expected above 0, got inf."),
            (TrainSettings, {"warmup_ratio": 1.1}, "train.warmup_ratio: expected a share in [0, 1], got 1.1."),
            (TrainSettings, {"weight_decay": -0.1}, "train.weight_decay: expected 0 or more, got -0.1."),
            (TrainSettings, {"max_grad_norm": -1.0}, "train.max_grad_norm: expected 0 or more, got -1.0."),
            (TrainSettings, {"epochs": 0.0}, "train.epochs: expected above 0, got 0.0."),
            (TrainSettings, {"epochs": math.inf}, "train.epochs: expected above 0, got inf."),
            (TrainSettings, {"max_steps": -1}, "train.max_steps: expected 0 or more, got -1."),
            (TrainSettings, {"batch_size": 0}, "train.batch_size: expected at least 1, got 0."),
            (TrainSettings, {"replay_batch_size": -1}, "train.replay_batch_size: expected 0 or more, got -1."),
            (TrainSettings, {"max_length": 1}, "train.max_length: expected 0 or at least 2, got 1."),
            (TrainSettings, {"seed": -1}, "train.seed: expected 0 or more, got -1."),
            (TrainSettings, {"save_steps": -1}, "train.save_steps: expected 0 or more, got -1."),
            (
                CorpusSettings,
                {"question_forms": {"year": "When?"}},
                "corpus.question_forms.year: expected a question with a field in braces, e.g. When was {name} born?, "
                "got 'When?'.",
            ),
            (EvaluateSettings, {"shots": -1}, "evaluate.shots: expected 0 or more, got -1."),
            (EvaluateSettings, {"max_new_tokens": 0}, "evaluate.max_new_tokens: expected at least 1, got 0."),
            (EvaluateSettings, {"max_batch_tokens": 0}, "evaluate.max_batch_tokens: expected at least 1, got 0."),
            (EvaluateSettings, {"resamples": 0}, "evaluate.resamples: expected at least 1, got 0."),
            (ReportSettings, {"documents": -1}, "report.documents: expected at least 0, got -1."),
            (PretrainSettings, {"people": 0}, "pretrain.people: expected at least 1, got 0."),
            (PretrainSettings, {"heads": 0}, "pretrain.heads: expected at least 1, got 0."),
            (PretrainSettings, {"seed": -1}, "pretrain.seed: expected at least 0, got -1."),
            (PretrainSettings, {"vocab_size": 258}, "pretrain.vocab_size: expected at least 259, got 258."),
            (PretrainSettings, {"tokens": 4095}, "pretrain.tokens: expected at least 4096, got 4095."),
            (
                PretrainSettings,
                {"questioned_ratio": 1.1},
                "pretrain.questioned_ratio: expected a share in [0, 1], got 1.1.",
            ),
            (
                PretrainSettings,
                {"question_ratio": 1.0},
                "pretrain.question_ratio: expected a share in [0, 1), got 1.0.",
            ),
            (
                PretrainSettings,
                {"hidden_size": 100},
                "pretrain.hidden_size: expected a multiple of twice the heads (8), got 100.",
            ),
            (PretrainSettings, {"learning_rate": 0.0}, "pretrain.learning_rate: expected above 0, got 0.0."),
            (PretrainSettings, {"warmup_ratio": -0.1}, "pretrain.warmup_ratio: expected a share in [0, 1], got -0.1."),
            (
                PretrainSettings,
                {"sequence_length": 513},
                "pretrain.sequence_length: expected at most context, got 513.",
            ),
            (Recipe, {"arms": ()}, "arms: expected at least one arm, got ()."),
            (Recipe, {"arms": ("plain", "plain")}, "arms: expected each arm once, got ('plain', 'plain')."),
            (Recipe, {"seeds": ()}, "seeds: expected at least one seed, got ()."),
            (Recipe, {"seeds": (1, 1)}, "seeds: expected each seed once, got (1, 1)."),
            (Recipe, {"seeds": (0, -1)}, "seeds: expected 0 or more, got (0, -1)."),
            (Recipe, {"parallel": -1}, "parallel: expected 0 or more, got -1."),
            (Recipe, {"threads": -1}, "threads: expected 0 or more, got -1."),
            (
                TrainSettings,
                {"gradient_accumulation_steps": 0},
                "train.gradient_accumulation_steps: expected at least 1, got 0.",
            ),
            (
                TrainSettings,
                {"evaluate_at_epochs": (1.0, 0.0)},
                "train.evaluate_at_epochs: expected epochs above 0, got (1.0, 0.0).",
            ),
        ],
    )
    def test_message(self, kind: Any, values: dict[str, Any], message: str) -> None:
        with pytest.raises(ElusiveError) as caught:
            kind(**values)
        assert str(caught.value) == message

    def test_limits_are_allowed(self) -> None:
        AugmentSettings(alpha=0.0, beta=0.0, copies=0)
        AugmentSettings(alpha=1.0)
        TrainSettings(max_length=2, warmup_ratio=1.0, max_grad_norm=0.0, save_steps=0)
        PretrainSettings(tokens=4096, vocab_size=259, sequence_length=256, context=256)


def test_a_number_that_no_float_holds_is_refused():
    with pytest.raises(ElusiveError, match=r"augment: beta: expected a number that a float can hold"):
        toml.from_table(Recipe, {"augment": {"beta": 10**400}}, "recipe")


@pytest.mark.parametrize("assignment", ["a=" + "[" * 5000, "a." * 5000 + "a=1", "title=" + "{a=" * 5000])
def test_an_assignment_nested_too_deeply_is_text_or_refused(assignment):
    with contextlib.suppress(ElusiveError):
        toml.from_table(Recipe, with_overrides({}, [assignment]), "--set")
