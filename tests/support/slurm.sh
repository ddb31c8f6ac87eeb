#!/usr/bin/env bash
# A Slurm of one node on loopback, for tests: Debian or Ubuntu, as root, without systemd, cgroups or accounting database.
#
#   tests/slurm.sh up DIR      install what is missing, configure, start, and wait until the node takes jobs
#   tests/slurm.sh node DIR    start the node's daemon (slurmd) anew, after it was killed
#   tests/slurm.sh down DIR    cancel all jobs, and stop what `up` started
#
# Everything that it writes is below DIR, but for the link /etc/slurm/slurm.conf: the steps of jobs look only there.
# The node has a pretended GPU (/dev/null), and Slurm's own qsub, qstat and qdel in the manner of Torque.
set -euo pipefail

PACKAGES=(slurmctld slurmd slurm-client munge slurm-wlm-torque)
LINK=/etc/slurm/slurm.conf

fail() {
    echo "slurm.sh: $*" >&2
    exit 1
}

running() { # running DAEMON: print its process id, if it runs
    local pid
    pid=$(cat "$dir/$1.pid" 2> /dev/null) && [[ $(readlink "/proc/$pid/exe") == */"$1"* ]] && echo "$pid"
}

missing_packages() {
    local package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || echo "$package"
    done
}

install_packages() {
    local missing policy=/usr/sbin/policy-rc.d
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    if [ ! -e $policy ]; then # the packages must not start services of their own
        printf '#!/bin/sh\nexit 101\n' > $policy
        chmod +x $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } > "$dir/apt.log" 2>&1 ||
        fail "cannot install ${missing[*]}: $(tail -n 1 "$dir/apt.log")"
}

configure() {
    local host cpus memory
    host=$(hostname -s)
    cpus=$(env -u OMP_NUM_THREADS nproc) # which nproc would take for the machine's
    memory=$(awk '/^MemTotal:/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    echo "NodeName=$host Name=gpu File=/dev/null" > "$dir/gres.conf"
    : > "$dir/plugstack.conf"
    cat > "$dir/slurm.conf" << CONF
ClusterName=test
SlurmctldHost=$host
SlurmctldPort=26817
SlurmdPort=26818
# Only the address of the host's name is listened on, which mostly is a loopback address.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$dir/munge.socket
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
PlugStackConfig=$dir/plugstack.conf
# No cgroups: processes are found by their parents, and memory is polled.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=UsePss,OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# What can never run is refused at once, rather than left pending for ever.
EnforcePartLimits=ALL
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
# A node that is down has lost its jobs, and is taken back when it answers. One that is slow to answer is only busy.
SlurmdTimeout=300
JobRequeue=0
ReturnToService=2
KillWait=2
MinJobAge=86400
MessageTimeout=100
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host CPUs=$cpus RealMemory=$memory Gres=gpu:1
PartitionName=main Nodes=$host Default=YES DefaultTime=5 MaxTime=1-0
PartitionName=workq Nodes=$host DefaultTime=5 MaxTime=1-0
CONF
    mkdir -p "$dir"/{state,spool} "${LINK%/*}"
    ln -sfn "$dir/slurm.conf" $LINK
    [ -e "$dir/munge.key" ] || (umask 077 && head -c 128 /dev/urandom > "$dir/munge.key")
}

start() { # start DAEMON OPTION...: it forks as soon as it is ready
    [ -z "$(running "$1")" ] || return 0
    "$@" < /dev/null > "$dir/$1.out" 2>&1 || fail "$1 does not start: $(tail -n 1 "$dir/$1.out")"
}

start_node() {
    start slurmd -N "$(hostname -s)"
    local state=
    for _ in {1..1500}; do
        state=$(sinfo --noheader --format "%T %E" 2>&1) || true
        [[ $state =~ ^(idle|mixed|allocated)" " ]] && return
        sleep 0.2
    done
    fail "the node takes no jobs: $state"
}

up() {
    [ "$(id -u)" = 0 ] || fail "must be run by root"
    command -v apt-get > /dev/null || fail "this machine has no apt-get"
    if [ -e $LINK ] && [ "$(readlink $LINK)" != "$dir/slurm.conf" ]; then
        fail "$LINK is there: this machine has a Slurm of its own, or a test was killed and left it: then remove it"
    fi
    getent hosts "$(hostname -s)" > /dev/null || fail "this host's name has no address: add it to /etc/hosts"
    install_packages
    configure
    start munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munge.seed"
    start slurmctld -c # without the jobs of before
    start_node
}

stop() { # stop DAEMON: it has ten seconds to end by itself
    local pid
    pid=$(running "$1") || return 0
    kill "$pid"
    for _ in {1..50}; do
        [ -n "$(running "$1")" ] || return 0
        sleep 0.2
    done
    kill -KILL "$pid"
}

down() {
    local daemon
    [ -z "$(running slurmctld)" ] || timeout 10 scancel --user=root || true
    for daemon in slurmd slurmctld munged; do
        stop $daemon
    done
    [ "$(readlink $LINK)" != "$dir/slurm.conf" ] || rm $LINK
}

[ $# = 2 ] || fail "usage: tests/slurm.sh up|node|down DIR"
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
export SLURM_CONF=$dir/slurm.conf # gres.conf is looked for beside it
case $1 in
    up) up ;;
    node) start_node ;;
    down) down ;;
    *) fail "usage: tests/slurm.sh up|node|down DIR" ;;
esac
