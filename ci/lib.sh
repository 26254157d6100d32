# shellcheck shell=bash
# What ci/quickstart and ci/test share: install what is missing, the Python environment, the engine.
# Every failure is one line on stderr; exit code 3: something that is needed is missing or does not answer.

set -euo pipefail

readonly VENV=.venv
readonly POLICY=/usr/sbin/policy-rc.d
readonly ENGINE_LOG=$VENV/engine.log
ENGINE_PID=     # of the engine that we started ourselves
ENGINE_SERVICE= # of systemd, if we started that
KEEP_ENGINE=    # leave it running when the script ends well
OUR_POLICY=     # the file that keeps apt from starting services, if it is ours
OUR_VENV=       # the Python environment while it is half made
SCRATCH_DIR=$(mktemp -d)
readonly SCRATCH_DIR

finish() {
    local code=$?
    rm -rf "$SCRATCH_DIR"
    [[ -z $OUR_POLICY ]] || rm -f "$OUR_POLICY"
    [[ -z $OUR_VENV ]] || rm -rf "$OUR_VENV"
    [[ $code == 0 && -n $KEEP_ENGINE ]] || stop_engine
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >&2; }
die() {
    local code=$1
    shift
    say "error: $*"
    exit "$code"
}
is_root() { [[ $(id -u) == 0 ]]; }
has() { command -v "$1" >/dev/null 2>&1 || [[ -x /usr/sbin/$1 || -f $1 ]]; }
has_systemd() { [[ -d /run/systemd/system ]]; }

# --- packages -------------------------------------------------------------------------------------------------

# PROGRAM=PACKAGE, or a file's path in place of the program's name.
PROGRAMS=(git=git podman=podman mksquashfs=squashfs-tools mmdebstrap=mmdebstrap
    /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring)
is_root || PROGRAMS+=(squashfuse=squashfuse fusermount=fuse3 newuidmap=uidmap)

# Print the Debian package of each of PROGRAMS that is not here.
missing() {
    local pair
    for pair in "${PROGRAMS[@]}"; do
        has "${pair%%=*}" || echo "${pair#*=}"
    done
}

# Install Debian packages, saying so first. Their services are not started: what is needed is started by us.
install_packages() {
    (($# > 0)) || return 0
    is_root || die 3 "not installed here: $*; ask your administrator for: apt-get install $*"
    has apt-get || die 3 "not installed here: $*; this machine has no apt-get, install them by its own package manager"
    say "installing with apt-get: $*"
    local log=$SCRATCH_DIR/apt.log
    if [[ ! -e $POLICY ]]; then
        OUR_POLICY=$POLICY
        install -m 755 /dev/stdin "$POLICY" <<<$'#!/bin/sh\nexit 101'
    fi
    # A mirror that fails may be one that we need nothing from: what counts is whether the packages come.
    apt-get -q -o Acquire::Retries=1 -o Acquire::http::Timeout=20 update >"$log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qy -o Acquire::Retries=2 -o Acquire::http::Timeout=30 \
        -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >>"$log" 2>&1 </dev/null ||
        die 3 "apt-get could not install $*: $(grep -m1 -E '^(E|Err|W):' "$log" || tail -n1 "$log")"
    [[ -z $OUR_POLICY ]] || rm -f "$OUR_POLICY"
}

# --- Python ---------------------------------------------------------------------------------------------------

# Print a Python that is new enough and can make environments.
find_python() {
    local python
    for python in python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

# Make the environment, or bring it to what the lock says; its stamp is the lock's hash.
setup_python() {
    local stamp=$VENV/requirements.sha256 log=$SCRATCH_DIR/pip.log python want
    want=$(sha256sum <requirements.lock)
    if [[ -x $VENV/bin/python && $(cat "$stamp" 2>/dev/null) == "$want" ]]; then
        return
    fi
    python=$(find_python) ||
        die 3 "Python 3.11 or newer with venv is needed; here is $(python3 --version 2>&1 | head -n1); install python3.11 and python3.11-venv"
    say "installing into $VENV: the Python packages of requirements.lock"
    if [[ ! -x $VENV/bin/python ]]; then
        OUR_VENV=$VENV
        # What went wrong is hidden by venv; mostly it is the disk.
        "$python" -m venv "$VENV" >"$log" 2>&1 ||
            die 3 "the Python environment $VENV cannot be made (disk:$(df -h --output=avail . | tail -n1) free): $(tail -n1 "$log")"
    fi
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check --no-input --retries 2 \
        --require-hashes -r requirements.lock >"$log" 2>&1 </dev/null || {
        ! grep -q 'Retrying (' "$log" ||
            die 3 "the Python package index does not answer: $(grep -m1 -oE "\[Errno[^']*|[Tt]imed out|[A-Za-z]+Error" "$log" | tail -n1)"
        die 3 "the Python packages cannot be installed: $(grep '^ERROR' "$log" | tail -n1)"
    }
    echo "$want" >"$stamp"
    OUR_VENV=
}

run_invoke() { "$VENV/bin/python" -m invoke "$@"; }

# --- engine ---------------------------------------------------------------------------------------------------

engine_answers() { "$VENV/bin/python" -c 'import docker; docker.from_env(timeout=10).ping()' 2>/dev/null; }

podman_socket() {
    if is_root; then echo /run/podman/podman.sock; else echo "${XDG_RUNTIME_DIR:-/tmp/podman-run-$(id -u)}/podman/podman.sock"; fi
}

# An engine is there, or one that we can start. A user needs none but Podman, which is one of PROGRAMS.
has_engine() {
    [[ -n ${DOCKER_HOST:-} || -S /var/run/docker.sock || -S $(podman_socket) ]] || has dockerd || ! is_root
}

# The image store of containerd, Docker's default from 29 on, packs every layer of a build anew (minutes), and shows none
# that could be read. A Docker that nobody has used yet keeps them as folders.
configure_docker() {
    local file=/etc/docker/daemon.json
    [[ ! -e $file ]] || return 0
    say "setting up Docker: layers are kept as folders ($file)"
    install -D -m 644 /dev/stdin "$file" <<<'{"features": {"containerd-snapshotter": false}}'
}

# Find an engine that answers, or start one; sets DOCKER_HOST where docker-py needs it.
ensure_engine() {
    engine_answers && return
    [[ -z ${DOCKER_HOST:-} ]] || die 3 "no engine answers at DOCKER_HOST=$DOCKER_HOST; start it, or unset DOCKER_HOST"
    local podman_host
    podman_host=unix://$(podman_socket)
    if [[ -S $(podman_socket) ]] && DOCKER_HOST=$podman_host engine_answers; then
        export DOCKER_HOST=$podman_host
    elif is_root && has dockerd && has_systemd; then
        say "starting the engine: systemctl start docker"
        ENGINE_SERVICE=docker
        systemctl start docker || die 3 "the engine did not start; see: journalctl -u docker"
    elif is_root && has dockerd; then
        start_engine dockerd
    elif ! is_root && has podman; then
        [[ $(podman info --format '{{.Store.GraphDriverName}}') != vfs ]] ||
            die 3 "Podman's storage here is vfs, which keeps a copy of the image for each build step; ask your administrator for: apt-get install fuse-overlayfs, then: podman system reset"
        (umask 077 && mkdir -p "$(dirname "$(podman_socket)")")
        export DOCKER_HOST=$podman_host
        start_engine podman system service --time=0 "$DOCKER_HOST"
    else
        die 3 "no engine answers, neither Docker nor Podman, and there is none to start: apt-get install docker.io"
    fi
    engine_answers || die 3 "the engine was started but does not answer"
}

start_engine() {
    say "starting the engine: $* (log: $ENGINE_LOG)"
    PATH=$PATH:/usr/sbin:/sbin setsid "$@" >"$ENGINE_LOG" 2>&1 </dev/null &
    ENGINE_PID=$!
    for _ in {1..120}; do
        engine_answers && return
        kill -0 "$ENGINE_PID" 2>/dev/null || break
        sleep 0.5
    done
    kill "$ENGINE_PID" 2>/dev/null || true
    die 3 "the engine ($1) did not come up: $(tail -n 3 "$ENGINE_LOG" | tr '\n' ' ')"
}

stop_engine() {
    # Its socket would start it again.
    [[ -z $ENGINE_SERVICE ]] || systemctl -q stop docker.socket docker
    [[ -n $ENGINE_PID ]] || return 0
    kill "$ENGINE_PID" 2>/dev/null || return 0
    wait "$ENGINE_PID" 2>/dev/null || true
}

# 127: the container was set up, all but the program that an empty folder cannot have.
podman_starts() {
    local code=0
    podman run --rm --network none --rootfs "$1:O" /none 2>&1 || code=$?
    [[ $code == 127 ]]
}

# Podman must be able to start a container in a folder. Where the machine gives root neither CAP_SYS_RESOURCE nor plain
# cgroups (nested virtual machines, CI sandboxes), its defaults fail; then root may set what is needed, once.
ensure_podman() {
    local root=$SCRATCH_DIR/root conf=$SCRATCH_DIR/containers.conf said runtime
    mkdir -p "$root"
    said=$(podman_starts "$root") && return
    is_root || die 3 "Podman cannot run a container here: ${said##*$'\n'}"
    for runtime in crun runc; do
        cat >"$conf" <<CONF
# Written by axolotl-env's ci/lib.sh: with its defaults Podman could not start a container on this machine:
# ${said##*$'\n'}
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[engine]
runtime = "$runtime"
CONF
        if CONTAINERS_CONF=$conf podman_starts "$root" >/dev/null; then
            say "setting up Podman: runtime $runtime and lower limits (/etc/containers/containers.conf.d/axolotl-env.conf), because: ${said##*$'\n'}"
            install -D -m 644 "$conf" /etc/containers/containers.conf.d/axolotl-env.conf
            return
        fi
    done
    die 3 "Podman cannot run a container here: ${said##*$'\n'}"
}

# Programs of an architecture (as uname -m says it) must run in containers: natively, or by the qemu that the kernel is
# told of, which installing it does not do where binfmt_misc is not mounted (containers, small virtual machines).
ensure_emulation() {
    local folder=/proc/sys/fs/binfmt_misc
    [[ $(uname -m) == "$1" || -e $folder/qemu-$1 ]] && return
    if [[ ! -e $folder/register ]]; then
        say "setting up emulation of $1: mount -t binfmt_misc none $folder"
        mount -t binfmt_misc none "$folder" || return
    fi
    [[ -e $folder/qemu-$1 ]] || update-binfmts --enable "qemu-$1"
}

# --- all of it ------------------------------------------------------------------------------------------------

set_up() {
    local -a packages
    mapfile -t packages < <(
        missing
        find_python >/dev/null || printf '%s\n' python3 python3-venv
        [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
        has_engine || echo docker.io
    )
    install_packages "${packages[@]}"
    [[ " ${packages[*]} " != *" docker.io "* ]] || configure_docker
    setup_python
    ensure_engine
    ensure_podman
}
