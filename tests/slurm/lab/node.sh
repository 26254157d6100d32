#!/usr/bin/env bash
# Starts one node's slurmd in namespaces of its own: its host name, and a /etc/hosts that knows the nodes.
# Usage: node.sh DIR NODE   (start.sh calls it; a test that killed a node calls it again)
set -euo pipefail
export SLURM_CONF=$1/etc/slurm.conf
exec unshare --mount --uts --propagation private bash -c '
  set -e
  mount --bind "$1/etc/hosts" /etc/hosts
  hostname "$2"
  exec /usr/sbin/slurmd -f "$SLURM_CONF" -N "$2"' _ "$1" "$2"
