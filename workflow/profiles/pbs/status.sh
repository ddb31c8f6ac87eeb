#!/usr/bin/env bash
# Say what became of a job, as Snakemake wants to hear it: running, success or failed.
#
#   status.sh JOBID
#
# A job that ended is known to PBS Pro by its history (`qstat -x`), to Torque for a while (keep_completed).
set -uo pipefail

options=(-f)
if qstat --version 2>&1 | grep -q pbs_version; then # PBS Pro
    options+=(-x)
fi

answer=$(qstat "${options[@]}" "$1" 2>&1)
status=$?
if [[ $answer == *"job history"* ]]; then # of running jobs too, and OpenPBS calls that a success
    echo "status.sh: PBS does not keep what became of jobs (job_history_enable): $answer;" \
        "ask for it, or take cluster-generic-status-cmd out of the profile" >&2
    exit 1
fi
if ((status)); then
    if [[ $answer == *[Uu]nknown\ [Jj]ob* || $answer == *"finished"* ]]; then
        echo "status.sh: PBS does not know the job $1 any more, which is taken for a failure: $answer" >&2
        echo failed
    else # the server does not answer: it may later
        echo running
    fi
    exit
fi

field() { # field NAME: its value, in the words of PBS Pro or Torque
    sed -n "s/^[[:space:]]*$1 = //Ip" <<< "$answer"
}

case $(field job_state) in
    F | C) # finished; what was deleted before it began has no status
        if [[ $(field exit_status) == 0 ]]; then echo success; else echo failed; fi
        ;;
    ?*) echo running ;;
    *)
        echo "status.sh: qstat does not tell the state of the job $1: $answer" >&2
        echo running
        ;;
esac
