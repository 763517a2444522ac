"""The jobs in examples/cluster: their syntax, and that the command line knows each flag they give."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
CLUSTER = REPOSITORY / "examples" / "cluster"
OPTIONS = (REPOSITORY / "tests" / "cli" / "options.txt").read_text(encoding="utf-8")


def kuberay() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "kuberay.yaml").read_text(encoding="utf-8"))


def commands(name: str) -> list[str]:
    """The commands `elusive ...` of a job, each on one line."""
    if name.endswith(".yaml"):
        return [kuberay()["spec"]["entrypoint"]]
    lines = (CLUSTER / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = (re.search(r"\belusive (score|augment) .*", line) for line in lines if not line.startswith("#"))
    return [one[0] for one in found if one]


def test_every_job_is_tested():
    assert {path.name for path in CLUSTER.iterdir()} == {"slurm_array.sh", "slurm_ray.sh", "kuberay.yaml"}


@pytest.mark.parametrize("name", ["slurm_array.sh", "slurm_ray.sh"])
def test_bash_can_read_a_job(name: str):
    subprocess.run(["bash", "-n", CLUSTER / name], check=True)


@pytest.mark.parametrize(("name", "count"), [("slurm_array.sh", 2), ("slurm_ray.sh", 1), ("kuberay.yaml", 1)])
def test_the_command_line_knows_the_flags_of_a_job(name: str, count: int):
    assert len(commands(name)) == count
    for command in commands(name):
        verb = command.split()[1]
        known = OPTIONS.partition(f"elusive {verb}\n")[2].partition("\nelusive ")[0]
        flags = re.findall(r"(?<=\s)--[a-z-]+", command)
        assert flags
        assert [flag for flag in flags if not re.search(rf"{flag}\b", known)] == []


def test_volumes_and_gpus_of_the_kubernetes_job_fit_its_command():
    job = kuberay()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        spec = pod["template"]["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounted = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        assert set(mounted) <= volumes
        assert set(mounted.values()) == {"/data"}
    [worker] = cluster["workerGroupSpecs"]
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert float(limits["nvidia.com/gpu"]) >= 1
    assert int(limits["cpu"]) >= 4  # --ray-cpus 4
