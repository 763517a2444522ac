#!/bin/bash
# One corpus over several nodes: Ray starts on each of them, and the command on the first. All of them see one file
# system, and have one environment with elusive[ray].
#   sbatch examples/cluster/slurm_ray.sh
#SBATCH --job-name=elusive-ray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail

first=$(scontrol show hostnames "${SLURM_JOB_NODELIST:?start this with sbatch}" | head -n 1)
srun ray symmetric-run --address "$first:6379" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    elusive score corpus --output scores/large --model meta-llama/Meta-Llama-3-8B --queries all \
    --engine ray --ray-address auto --ray-cpus 4 --ray-gpus 1
