"""`elusive train` as users run it: alone, stopped at any moment, in two processes, with questions in its midst."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from elusive.cli.main import main
from elusive.runs.files import read_json, read_jsonl

from .. import loaded

SETTINGS = ["--method", "full", "--precision", "fp32", "--learning-rate", "1e-3", "--save-steps", "3"]
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten people, their questions, and 30 texts of the random arm."""
    folder = tmp_path_factory.mktemp("corpus")
    main(["generate", "--output", str(folder / "corpus"), "--people", "10"])
    main(["score", str(folder / "corpus"), "--output", str(folder / "scores")])
    flags = ["--large", str(folder / "scores"), "--arm", "random", "--alpha", "0.3", "--copies", "2"]
    main(["augment", str(folder / "corpus"), *flags, "--output", str(folder / "augmented")])
    return folder


def command(corpus, output, *flags):
    return [
        sys.executable,
        "-m",
        "elusive",
        "train",
        str(corpus / "augmented" / "train.jsonl"),
        "--output",
        str(output),
        *SETTINGS,
        *flags,
    ]


def environment(**extra):
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**kept, "OMP_NUM_THREADS": "1", **extra}


def run(arguments, **extra):
    done = subprocess.run(arguments, env=environment(**extra), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def started(arguments, output, *, ranks=1, fsdp=False, **extra):
    """Processes that have their libraries loaded; the command's own first words are left out."""
    if ranks == 1:
        return [loaded.start(arguments[3:], environment(**extra), output, fsdp=fsdp)]
    return loaded.start_together(arguments[3:], environment(**extra), output, ranks=ranks, fsdp=fsdp)


def finished(arguments, output, **options):
    """Run a training to its end."""
    try:
        loaded.finish(*started(arguments, output, **options))
    except AssertionError as error:
        printed = [path.read_text()[-4000:] for path in sorted(output.parent.glob(f"{output.name}*"))]
        raise AssertionError("\n".join(printed)) from error


def weights(folder):
    return load_file(folder / "model.safetensors")


def curve(folder, name="loss"):
    return [row[name] for row in read_jsonl(folder / "metrics.jsonl") if name in row]


def assert_same_bits(folder, other):
    one, two = weights(folder), weights(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def whole(corpus):
    """Two passes without a stop, questions after each."""
    flags = [
        "--epochs",
        "2",
        "--evaluate-at-epochs",
        "1",
        "2",
        "--questions",
        str(corpus / "corpus" / "questions.jsonl"),
    ]
    printed = run(command(corpus, corpus / "whole", *flags))
    assert "8 steps, packed" in printed
    return corpus / "whole", flags


def test_tokens_in_are_tokens_trained(corpus, whole):
    done = read_json(whole[0] / "done.json")
    assert (done["texts"], done["rows"], done["steps"], done["packed"]) == (30, 30, 8, True)
    assert done["tokens_trained"] == 2 * done["tokens"]


def test_questions_in_training_and_after_it_have_the_same_answers(corpus, whole, tmp_path):
    folder, _ = whole
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "em" in row]
    assert [(row["step"], row["epoch"], row["questions"]) for row in rows] == [
        (4, pytest.approx(32 / 30, abs=1e-6), 50),
        (8, 2.0, 50),
    ]
    questions = str(corpus / "corpus" / "questions.jsonl")
    main(["evaluate", "--model", str(folder), "--questions", questions, "--output", str(tmp_path / "after")])
    in_training, after = (
        [row["text"] for row in read_jsonl(where / "predictions.jsonl")]
        for where in (folder / "epoch-2", tmp_path / "after")
    )
    assert in_training == after
    assert [row["text"] for row in read_jsonl(folder / "epoch-1" / "predictions.jsonl")] != after
    assert read_json(folder / "epoch-2" / "metrics.json")["em"] == rows[-1]["em"]


def killed_once_there_is(pattern, arguments, folder, **options):
    """Start a run, and kill all its processes as soon as a file is there; again if it was done by then."""
    for _ in range(5):
        processes = started(arguments, folder.with_name("printed"), **options)
        deadline = time.monotonic() + 120
        while not list(folder.glob(pattern)):
            assert all(one.is_alive() for one in processes), "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        for one in processes:
            assert one.pid is not None
            with contextlib.suppress(ProcessLookupError):  # done by now
                os.kill(one.pid, signal.SIGSTOP)  # none goes on while the others are killed
        for one in processes:
            one.kill()
            one.join()
        if not (folder / "done.json").exists():
            assert {one.exitcode for one in processes} == {-signal.SIGKILL}
            return
        shutil.rmtree(folder)
    pytest.fail("the run was done each time before it could be killed")


@pytest.mark.parametrize("moment", ["after the first lines", "in a checkpoint", "while the model is written"])
def test_a_run_that_is_killed_goes_on_to_the_same_bits(corpus, whole, tmp_path, moment):
    folder, flags = whole
    arguments = command(corpus, tmp_path / "killed", *flags)
    waited_for = {
        "after the first lines": "metrics.jsonl",
        "in a checkpoint": "checkpoints/checkpoint-6/*",
        "while the model is written": "model.safetensors",
    }[moment]
    killed_once_there_is(waited_for, arguments, tmp_path / "killed")
    finished(arguments, tmp_path / "printed")
    assert_same_bits(folder, tmp_path / "killed")
    for name in ("loss", "learning_rate", "tokens", "em"):
        assert curve(tmp_path / "killed", name) == curve(folder, name)
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_adapters_on_four_bit_weights_go_on_to_the_same_bits(corpus, tmp_path):
    flags = ["--epochs", "2", "--method", "lora", "--quantization", "4bit", "--copies", "fresh"]
    whole, killed = (command(corpus, tmp_path / name, *flags) for name in ("whole", "killed"))
    finished(whole, tmp_path / "printed")
    killed_once_there_is("checkpoints/checkpoint-6/whole.json", killed, tmp_path / "killed")
    finished(killed, tmp_path / "printed")
    one, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert one == other


def test_two_processes_follow_the_curve_of_one(corpus, whole, tmp_path):
    folder, flags = whole
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    run([*torchrun, "-m", "elusive", *command(corpus, tmp_path / "two", *flags)[3:]])
    assert read_json(tmp_path / "two" / "done.json")["processes"] == 2
    assert curve(tmp_path / "two") == pytest.approx(curve(folder), abs=1e-4)
    assert curve(tmp_path / "two", "tokens") == curve(folder, "tokens")
    one, two = weights(folder), weights(tmp_path / "two")
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-4
    # The last step has six texts, of which each process takes three; 50 questions are shared as well.
    answers = [row["id"] for row in read_jsonl(tmp_path / "two" / "epoch-2" / "predictions.jsonl")]
    assert answers == [row["id"] for row in read_jsonl(folder / "epoch-2" / "predictions.jsonl")]


@pytest.mark.parametrize("method", ["full", "lora"])  # with adapters, also loaded by the main process alone
def test_two_processes_that_share_the_weights_follow_it_too(corpus, tmp_path, method):
    flags = ["--epochs", "2", "--method", method, "--average", "0.5", "--evaluate-at-epochs", "2"]
    flags += ["--questions", str(corpus / "corpus" / "questions.jsonl")]
    finished(command(corpus, tmp_path / "one", *flags), tmp_path / "printed")
    shares = {**FSDP, "FSDP_CPU_RAM_EFFICIENT_LOADING": "true" if method == "lora" else "false"}
    finished(command(corpus, tmp_path / "fsdp", *flags), tmp_path / "printed", ranks=2, fsdp=True, **shares)
    assert read_json(tmp_path / "fsdp" / "done.json")["processes"] == 2
    assert curve(tmp_path / "fsdp") == pytest.approx(curve(tmp_path / "one"), abs=1e-4)
    assert curve(tmp_path / "fsdp", "em") == curve(tmp_path / "one", "em")
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    one, two = load_file(tmp_path / "one" / name), load_file(tmp_path / "fsdp" / name)
    assert one.keys() == two.keys()
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-4


@pytest.mark.parametrize("shares", [{}, {**FSDP, "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}], ids=["DDP", "FSDP"])
def test_processes_that_are_killed_go_on_together(corpus, tmp_path, shares):
    """To the bit, from parts of a checkpoint that each process wrote."""
    flags = ["--epochs", "2"] if shares else ["--epochs", "2", "--l2-sp", "20"]
    whole, killed = (command(corpus, tmp_path / name, *flags) for name in ("whole", "killed"))
    together = {"ranks": 2, "fsdp": bool(shares), **shares}
    finished(whole, tmp_path / "printed", **together)
    killed_once_there_is("checkpoints/checkpoint-3/whole.json", killed, tmp_path / "killed", **together)
    finished(killed, tmp_path / "printed", **together)
    assert_same_bits(tmp_path / "whole", tmp_path / "killed")


def test_any_training_argument_passes_through(corpus, tmp_path):
    arguments = {"report_to": "tensorboard", "logging_steps": 1, "optim": "sgd"}
    flags = ["--epochs", "1", "--training-arguments", *(f"{key}={value}" for key, value in arguments.items())]
    board = {"TENSORBOARD_LOGGING_DIR": str(tmp_path / "board")}
    finished(command(corpus, tmp_path / "out", *flags), tmp_path / "printed", **board)
    assert len(curve(tmp_path / "out")) == 4
    assert list((tmp_path / "board").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--training-arguments", "optm=sgd"],
            "'optm' is no field of transformers' TrainingArguments. Did you mean 'optim'?",
        ),
        (
            ["--training-arguments", "learning_rate=1"],
            "expected no 'learning_rate'. Set train.learning_rate instead",
        ),
        (["--training-arguments", "dataloader_drop_last=true"], "It would change which tokens are seen"),
        (["--training-arguments", "fsdp=true"], "Weights are spread by `accelerate launch` with FSDP"),
        (["--training-arguments", "optim=nothing"], "nothing is not a valid OptimizerNames"),
        (
            ["--evaluate-at-epochs", "1"],
            "train.evaluate_at_epochs: expected questions, got none. Give --questions",
        ),
        (["--quantization", "8bit"], "cannot be trained themselves: expected method = lora, got full"),
    ],
)
def test_what_cannot_be_trained_is_refused(corpus, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        main(command(corpus, tmp_path / "out", *flags)[3:])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_questions_after_the_end_are_refused(corpus, tmp_path, capsys):
    flags = ["--epochs", "2", "--evaluate-at-epochs", "3", "--questions", str(corpus / "corpus" / "questions.jsonl")]
    with pytest.raises(SystemExit):
        main(command(corpus, tmp_path / "out", *flags)[3:])
    assert "train.evaluate_at_epochs: expected epochs up to train.epochs (2), got 3" in capsys.readouterr().err
    flags = ["--max-steps", "2", *flags[2:]]
    with pytest.raises(SystemExit):
        main(command(corpus, tmp_path / "out", *flags)[3:])
    assert "expected passes up to the last of the training, 0.533333, got 3" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "evaluate", "pretrain"])
def test_verbs_that_are_no_team_work_are_refused_to_several_processes(monkeypatch, capsys, verb):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stop:
        main([verb, "anything"])
    assert stop.value.code == 2
    assert f"elusive, process 1: `elusive {verb}` expects one process, got 2" in capsys.readouterr().err


def test_a_recipe_without_questions_is_told_before_anything_is_scored(tmp_path, capsys):
    (tmp_path / "texts.jsonl").write_text('{"text": "Ann was born in Oslo."}\n')
    recipe = f'output = "{tmp_path}/run"\narms = ["plain"]\n[corpus]\nsource = "{tmp_path}/texts.jsonl"\n'
    (tmp_path / "r.toml").write_text(recipe + '[score]\nqueries = "all"\n[train]\nevaluate_at_epochs = [1]\n')
    with pytest.raises(SystemExit):
        main(["run", str(tmp_path / "r.toml")])
    assert "expected a corpus with questions, got one without any" in capsys.readouterr().err
    assert not (tmp_path / "run" / "scores").exists()
