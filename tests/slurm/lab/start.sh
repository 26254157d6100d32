#!/usr/bin/env bash
# Starts munged, MariaDB, slurmdbd, slurmctld and one slurmd a node on loopback, without systemd.
# Usage: start.sh DIR [PORT]   (needs root; DIR is new or left by an earlier start.sh;
#                               ports PORT to PORT+7, default 16800)
# Then: export SLURM_CONF=DIR/etc/slurm.conf
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: start.sh DIR [PORT]}
port=${2:-16800}
[ "$(id -u)" = 0 ] || { echo "start.sh: needs root" >&2; exit 1; }
PATH=$PATH:/usr/sbin:/sbin
for program in munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd sbatch cc; do
  command -v "$program" > /dev/null || missing="${missing:-} $program"
done
if [ -n "${missing:-}" ]; then
  echo "start.sh: not installed:$missing (apt-get install" \
    "slurm-wlm slurmctld slurmd slurmdbd munge mariadb-server libslurm-dev gcc libc6-dev)" >&2
  exit 1
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
nodes=(nid001 nid002 nid003 nid004)

mkdir -p "$dir"/{etc,run,log,state,lib,dev} "${nodes[@]/#/$dir/spool/}"
chmod 755 "$dir" "$dir"/{etc,run,log,spool,lib,dev}
for i in 0 1 2 3; do
  [ -e "$dir/dev/nvidia$i" ] || mknod -m 666 "$dir/dev/nvidia$i" c 1 3
done
fill=(-e "s|@DIR@|$dir|g" -e "s|@PORT_CTLD@|$port|" -e "s|@PORT_DBD@|$((port + 1))|" -e "s|@PORT_SQL@|$((port + 2))|")
for i in 1 2 3 4; do
  fill+=(-e "s|@PORT_NODE$i@|$((port + 3 + i))|")
done
for f in slurm.conf slurmdbd.conf gres.conf plugstack.conf; do
  sed "${fill[@]}" "$here/$f" > "$dir/etc/$f"
done
chmod 600 "$dir/etc/slurmdbd.conf"
cc -shared -fPIC -O2 -Wall -Wextra -o "$dir/lib/spank_environment.so" "$here/spank_environment.c"
install -m 755 "$here/edf_resolve.py" "$dir/lib/edf_resolve.py"

# Names of the nodes for the jobs: a private /etc/hosts, bound over the system's
# in the mount namespace of each slurmd only; the machine's own file stays as it is.
cp /etc/hosts "$dir/etc/hosts"
echo "127.0.0.1 ${nodes[*]}" >> "$dir/etc/hosts"

if [ ! -e "$dir/etc/munge.key" ]; then
  (umask 077 && dd if=/dev/urandom of="$dir/etc/munge.key" bs=1024 count=1 status=none)
fi
# --force: the parents of DIR may be world-writable, /tmp among them.
munged --force --key-file="$dir/etc/munge.key" --socket="$dir/run/munge.socket" \
  --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
  --seed-file="$dir/run/munged.seed" 2>> "$dir/log/munged.log"

# A MariaDB of our own for slurmdbd, on a loopback port and a private socket.
sql=(mariadb --no-defaults -S "$dir/run/mysql/socket")
if [ ! -d "$dir/mysql" ]; then
  install -d -o mysql "$dir/mysql"
  mariadb-install-db --no-defaults --user=mysql --datadir="$dir/mysql" \
    --auth-root-authentication-method=socket > "$dir/log/mariadb-install.log" 2>&1
fi
install -d -o mysql "$dir/run/mysql"
mariadbd --no-defaults --user=mysql --datadir="$dir/mysql" --socket="$dir/run/mysql/socket" \
  --bind-address=127.0.0.1 --port=$((port + 2)) --pid-file="$dir/run/mysql/pid" \
  --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --skip-log-bin \
  < /dev/null > "$dir/log/mariadbd.log" 2>&1 &
for _ in $(seq 100); do
  "${sql[@]}" -e "select 1" > /dev/null 2>&1 && break
  sleep 0.1
done
"${sql[@]}" -e "create database if not exists slurm_acct;
  create user if not exists slurm@'127.0.0.1' identified by 'lab';
  grant all on slurm_acct.* to slurm@'127.0.0.1'"

export SLURM_CONF=$dir/etc/slurm.conf
slurmdbd   # finds slurmdbd.conf beside SLURM_CONF
for _ in $(seq 100); do
  sacctmgr -n -i show cluster > /dev/null 2>&1 && break
  sleep 0.1
done
sacctmgr -Q -i add cluster testlab > /dev/null 2>&1 || true
sacctmgr -Q -i add account a000 cluster=testlab description=lab organization=lab > /dev/null 2>&1 || true
for user in "$(id -un)" games; do   # games: a user that is not root and exists on every Debian
  sacctmgr -Q -i add user "$user" account=a000 cluster=testlab defaultaccount=a000 > /dev/null 2>&1 || true
done
slurmctld -f "$SLURM_CONF"
for n in "${nodes[@]}"; do
  "$here/node.sh" "$dir" "$n"
done

for _ in $(seq 300); do
  idle=$(sinfo -h -N -p normal -o %T 2>/dev/null | grep -c '^idle$' || true)
  [ "$idle" = "${#nodes[@]}" ] && exit 0
  sleep 0.1
done
echo "start.sh: the nodes did not become idle" >&2
sinfo -N -l >&2 || true
exit 1
