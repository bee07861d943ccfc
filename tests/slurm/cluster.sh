#!/usr/bin/env bash
# A real Slurm of two nodes on this one machine, for tests: install it from the distribution's packages, start, stop.
#
#     tests/slurm/cluster.sh install | start | stop | status | restart-controller
#
# Needs root and a Debian. Everything is under $SPARSE_ORTHO_SLURM (/tmp/sparse-ortho-slurm) but slurm.conf: Snakemake's
# plugin drops SLURM_CONF, so the file must be where Slurm looks by itself. What was started is stopped by its own pid.
# Two node daemons of one machine need a slurmd that knows -N, as Debian's does; each believes that all cores are its own.
set -euo pipefail
HOME_OF="${SPARSE_ORTHO_SLURM:-/tmp/sparse-ortho-slurm}"
CONF=/etc/slurm/slurm.conf
HERE="$(hostname -s)"
NODES="node1 node2"

die() { echo "cluster.sh: $*" >&2; exit 1; }
alive() { [ -s "$HOME_OF/$1.pid" ] && kill -0 "$(cat "$HOME_OF/$1.pid")" 2>/dev/null; }

install_packages() {
  command -v slurmctld >/dev/null && command -v munged >/dev/null && return
  [ "$(id -u)" = 0 ] || die "needs root to install slurm-wlm and munge"
  command -v apt-get >/dev/null || die "needs a distribution with apt-get"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q slurm-wlm munge; } >"$HOME_OF/install.log" 2>&1 ||
    die "the packages could not be installed: $HOME_OF/install.log"
}

write_conf() {
  if [ -e "$CONF" ] && ! grep -q "made by sparse-ortho" "$CONF"; then die "$CONF is somebody else's"; fi
  mkdir -p /etc/slurm
  cat >"$CONF" <<CONF
# made by sparse-ortho, tests/slurm/cluster.sh
ClusterName=sparse-ortho
SlurmctldHost=$HERE(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$HOME_OF/munge.socket
StateSaveLocation=$HOME_OF/state
SlurmdSpoolDir=$HOME_OF/spool-%n
SlurmctldPidFile=$HOME_OF/slurmctld.pid
SlurmdPidFile=$HOME_OF/%n.pid
SlurmctldLogFile=$HOME_OF/slurmctld.log
SlurmdLogFile=$HOME_OF/%n.log
SlurmctldPort=16817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=86400
KillWait=5
OverTimeLimit=0
InactiveLimit=0
MailProg=/bin/true
NodeName=DEFAULT CPUs=$(nproc) Boards=1 SocketsPerBoard=1 CoresPerSocket=$(nproc) ThreadsPerCore=1 RealMemory=8000 State=UNKNOWN
NodeName=node1 NodeHostname=$HERE NodeAddr=127.0.0.1 Port=16818
NodeName=node2 NodeHostname=$HERE NodeAddr=127.0.0.1 Port=16819
PartitionName=all Nodes=node[1-2] Default=YES LLN=YES MaxTime=INFINITE State=UP
CONF
}

start_munge() {
  alive munged && return
  [ -s "$HOME_OF/munge.key" ] || head -c 1024 /dev/urandom >"$HOME_OF/munge.key"
  chmod 400 "$HOME_OF/munge.key"
  munged --force --key-file "$HOME_OF/munge.key" --socket "$HOME_OF/munge.socket" --pid-file "$HOME_OF/munged.pid" \
    --log-file "$HOME_OF/munged.log" --seed-file "$HOME_OF/munge.seed"
}

start_controller() {
  alive slurmctld || slurmctld -f "$CONF" >>"$HOME_OF/slurmctld.out" 2>&1 || die "slurmctld does not start: $HOME_OF/slurmctld.out"
}

wait_until_idle() {
  for _ in $(seq 60); do
    up="$(sinfo --noheader --Node --states idle,mixed,allocated,completing --responding --format %N 2>/dev/null || true)"
    [ "$(wc -w <<<"$up")" = "$(wc -w <<<"$NODES")" ] && return
    sleep 0.5
  done
  die "not all nodes came up: $HOME_OF/slurmctld.log, $HOME_OF/node1.log, $HOME_OF/node2.log"
}

start() {
  mkdir -p "$HOME_OF" "$HOME_OF/state"
  chmod 755 "$HOME_OF"
  install_packages
  write_conf
  start_munge
  start_controller
  for node in $NODES; do
    alive "$node" || slurmd -f "$CONF" -N "$node" >>"$HOME_OF/$node.out" 2>&1 || die "a slurmd does not start: $HOME_OF/$node.out"
  done
  wait_until_idle
}

stop_one() {
  alive "$1" || return 0
  local pid
  pid="$(cat "$HOME_OF/$1.pid")"
  kill "$pid"
  for _ in $(seq 40); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.25; done
  kill -9 "$pid"
}

stop() {
  for daemon in $NODES slurmctld munged; do stop_one "$daemon"; done
  if [ -e "$CONF" ] && grep -q "made by sparse-ortho" "$CONF"; then rm -f "$CONF"; fi
  rm -rf "$HOME_OF"
}

case "${1:-}" in
  install) mkdir -p "$HOME_OF"; install_packages ;;
  start) start ;;
  stop) stop ;;
  status) for daemon in munged slurmctld $NODES; do alive "$daemon" && echo "$daemon runs" || echo "$daemon is down"; done; sinfo ;;
  restart-controller) stop_one slurmctld; start_controller; wait_until_idle ;;
  *) die "say install, start, stop, status or restart-controller" ;;
esac
