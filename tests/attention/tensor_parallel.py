"""Scores of tiny models whose heads are split over two processes: `python tensor_parallel.py FOLDER NAME ...`.

Each process writes what it got to FOLDER/rank-N.npz.
"""

import os
import socket
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.multiprocessing.spawn import start_processes
from transformers import AutoModelForCausalLM
from transformers.distributed.configuration_utils import DistributedConfig

from elusive.attention import capture
from elusive.attention.forward import check_layers
from elusive.attention.recorder import Recorder

TOKENS, LAYERS, HEADS = 40, 2, 4


def recorders() -> dict[str, Recorder]:
    """What to capture: the mean, every head, chosen heads, several weightings of the queries."""
    weights_BT = torch.ones(2, TOKENS)
    thirds_BMT = (torch.arange(TOKENS) // 15 == torch.arange(3)[:, None]).expand(2, -1, -1).float()
    chosen_LH = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
    return {
        "mean": Recorder(weights_BT, layers=LAYERS),
        "heads": Recorder(weights_BT, layers=LAYERS, per_head=True),
        "chosen": Recorder(weights_BT, layers=LAYERS, weights_LH=chosen_LH),
        "weightings": Recorder(thirds_BMT, layers=LAYERS),
    }


def captured(model: transformers.PreTrainedModel) -> dict[str, np.ndarray]:
    """What the recorders capture of two texts."""
    check_layers(model)
    ids_BT = torch.arange(2 * TOKENS).view(2, TOKENS) * 7 % 250 + 2
    results = {}
    for name, recorder in recorders().items():
        with torch.inference_mode():
            capture(model, recorder, ids_BT)
        results[name] = recorder.mean_over_layers(model).numpy()
        assert np.array_equal(recorder.mean_over_layers(model).numpy(), results[name]), "asking twice changes nothing"
        if recorder.per_head:
            results[f"{name}-each"] = torch.stack(recorder.received_of_layers).numpy()
    return results


def one_rank(rank: int, folder: str, names: list[str], port: int) -> None:
    """Load each model split over two processes, and capture its attention."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    split = DistributedConfig(tp_size=2, tp_plan="auto")
    results = {}
    for name in names:
        model = AutoModelForCausalLM.from_pretrained(
            Path(folder) / name, attn_implementation="elusive", distributed_config=split
        ).eval()
        results |= {f"{name}/{key}": array for key, array in captured(model).items()}
    np.savez(Path(folder) / f"rank-{rank}.npz", **results)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
    # Forked, so that both have the libraries at hand.
    start_processes(one_rank, args=(sys.argv[1], sys.argv[2:], free_port), nprocs=2, start_method="fork")
