#!/usr/bin/env bash
# Submit a job of Snakemake's to PBS Pro (OpenPBS) or Torque, and print its id.
#
#   submit.sh QUEUE NAME THREADS MEMORY_MB MINUTES GPUS JOBSCRIPT
#
# What else a site wants to know (an account: -A NAME) comes in the environment variable KANBENCH_QSUB.
set -euo pipefail

if (($# != 7)); then
    echo "submit.sh: found $# arguments; allowed: QUEUE NAME THREADS MEMORY_MB MINUTES GPUS JOBSCRIPT" >&2
    exit 2
fi
queue=$1 name=$2 threads=$3 memory=$4 minutes=$5 gpus=$6 script=$7
logs=results/logs/pbs
# The jobs of a group run beside each other, and each takes the first GPU that it sees: they share one.
gpus=$((gpus > 0))

if qstat --version 2>&1 | grep -q pbs_version; then # PBS Pro
    resources=select=1:ncpus=$threads:mem=${memory}mb
    ((gpus == 0)) || resources+=:ngpus=$gpus
else # Torque
    resources=nodes=1:ppn=$threads
    ((gpus == 0)) || resources+=:gpus=$gpus
    resources+=,mem=${memory}mb
fi
resources+=$(printf ',walltime=%02d:%02d:00' $((minutes / 60)) $((minutes % 60)))

mkdir -p $logs
read -ra more <<< "${KANBENCH_QSUB:-}"
# Torque takes 15 letters of a name.
qsub -V -q "$queue" -N "${name:0:15}" -l "$resources" -j oe -o "$PWD/$logs/$(basename "$script" .sh).$(date +%s).log" "${more[@]}" "$script"
