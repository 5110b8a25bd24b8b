#!/bin/bash
# A shell on a compute node with a GPU, to try things before they become jobs. Run it on a login node:
#
#   bash pace_jobs/slurm/interactive_gpu.sh  # any GPU, one hour
#   GPU=A100 TIME=02:00:00 bash pace_jobs/slurm/interactive_gpu.sh
#
# On PACE ICE a job has at most 16 GPU-hours, also one with a shell in it: leave it with `exit` when you are done.
# In the shell: nvidia-smi; hpopt pace doctor; hpopt worker STUDY --storage SERVER --device cuda --time-limit 30

set -euo pipefail

# ---- settings: edit them here, or set them in the environment ----
GPU=${GPU:-}                                         # kind of GPU, e.g. A100; empty: any
CPUS=${CPUS:-4}                                      # cores
MEMORY=${MEMORY:-16000M}                             # memory of the job
TIME=${TIME:-01:00:00}                               # time limit
OPTIONS=${OPTIONS:-}                                 # more options of srun
# -------------------------------------------------------------------

# OPTIONS is split into words on purpose
# shellcheck disable=SC2086
exec srun --job-name=hpopt-shell --nodes=1 --ntasks=1 --cpus-per-task="$CPUS" --mem="$MEMORY" --time="$TIME" \
    --gres="gpu:${GPU:+$GPU:}1" $OPTIONS --pty bash -l
