#!/bin/bash
# A Slurm array without Ray: each task scores one part of a corpus that was cut into folders, part-0 to part-15.
#   sbatch examples/cluster/slurm_array.sh
# A task that was killed is started again with the same number (--requeue does it); it does only what is missing.
#SBATCH --job-name=elusive-score
#SBATCH --array=0-15
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail

part="part-${SLURM_ARRAY_TASK_ID:?start this with sbatch}"
for model in "${LARGE:=meta-llama/Meta-Llama-3-8B}" "${SMALL:=meta-llama/Llama-3.2-1B}"; do
    elusive score "corpora/$part" --output "scores/$part/${model##*/}" --model "$model" --queries all
done
elusive augment "corpora/$part" --output "augmented/$part" \
    --large "scores/$part/${LARGE##*/}" --small "scores/$part/${SMALL##*/}" --arm contrast-all
