"""Where arms run, on machines that this one is not."""

import os
import queue
from types import SimpleNamespace

import pytest
import torch

from elusive.config.models import ModelRef, Models
from elusive.config.run import Recipe
from elusive.config.training import TrainSettings
from elusive.experiments import placement
from elusive.experiments.placement import gpu_places, processes_at_once, take_place


@pytest.fixture
def machine(monkeypatch):
    """Sixteen cores, 64 GiB of free memory, and as many GPUs as are asked for."""

    def build(gpus=0, free=64):
        monkeypatch.setattr(placement, "cores", lambda: 16)
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free * 2**30))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    return build


def test_each_core_trains_an_arm_while_the_memory_holds_them(machine):
    machine()
    assert processes_at_once(Recipe(), 20) == 16
    assert processes_at_once(Recipe(), 3) == 3
    machine(free=5)  # a little over 1 GiB for each of the embedded model's trainings
    assert processes_at_once(Recipe(), 20) == 4
    assert processes_at_once(Recipe(train=TrainSettings(method="full")), 20) == 4
    machine(free=0.1)
    assert processes_at_once(Recipe(), 20) == 1


def test_a_larger_model_takes_more_of_the_memory(machine, monkeypatch):
    machine()
    monkeypatch.setattr(placement, "_weights", lambda folder: 10**9)
    assert processes_at_once(Recipe(), 20) == 13  # 4 bytes a weight, and the process
    assert processes_at_once(Recipe(train=TrainSettings(method="full")), 20) == 4  # 16 bytes


def test_a_model_of_unknown_size_is_trained_alone(machine):
    machine()
    assert processes_at_once(Recipe(models=Models(large=ModelRef("google/gemma-2-9b"))), 20) == 1


def test_each_gpu_trains_an_arm(machine):
    machine(gpus=4)
    assert processes_at_once(Recipe(), 20) == 4
    assert processes_at_once(Recipe(parallel=6), 20) == 6
    assert gpu_places(Recipe(), 6) == [0, 1, 2, 3, 0, 1]
    assert processes_at_once(Recipe(models=Models(large=ModelRef("elusive/large", device="cpu"))), 20) == 16
    assert gpu_places(Recipe(models=Models(large=ModelRef("elusive/large", device="cpu"))), 2) == [None, None]


@pytest.mark.parametrize("device", ["cuda:1", "balanced"])
def test_a_device_that_was_named_is_taken_as_it_is(machine, device):
    machine(gpus=4)
    recipe = Recipe(models=Models(large=ModelRef("elusive/large", device=device)))
    assert processes_at_once(recipe, 20) == 1
    assert gpu_places(recipe, 1) == [None]


@pytest.mark.parametrize(("visible", "taken"), [("", "1"), ("5,7", "7")])
def test_a_process_settles_on_its_gpu(monkeypatch, visible, taken):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    places = queue.Queue()
    places.put(1)
    take_place(places, 3)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken
    assert threads == [3]


def test_a_process_on_a_core_sees_what_it_saw(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    places = queue.Queue()
    places.put(None)
    take_place(places, 0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
