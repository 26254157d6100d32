#!/usr/bin/env bash
# Makes a small test image (Debian with Python, some image variables) as a squashfs file.
# Usage: mkimage.sh IMAGE.sqsh [MIRROR]   (needs root, mmdebstrap, squashfs-tools; about 20 s)
set -eu
image=${1:?usage: mkimage.sh IMAGE.sqsh [MIRROR]}
mirror=${2:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null \
  | sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p; s/^URIs: *//p' | sed -n 1p)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include=python3 bookworm "$work/root" "$mirror"
cd "$work/root"
mkdir -p opt/venv/bin
ln -s /usr/bin/python3 opt/venv/bin/python
mkdir -p opt/axolotl/bin
ln -s /usr/bin/python3 opt/axolotl/bin/python
echo "inside the test image" > etc/os-release-marker
# The image's own variables, as enroot keeps them.
cat > etc/environment <<'ENV'
PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
IMAGE_VAR=from-image
OVERRIDE_ME=image
ENV
# What the engine starts commands through: `sh -l /etc/rc COMMAND…`; it puts its own rc.local in place.
cat > etc/rc <<'RC'
cd /srv || exit 1
[ -s /etc/rc.local ] && . /etc/rc.local
exec "$@"
RC
touch etc/rc.local etc/fstab
cd - > /dev/null
mksquashfs "$work/root" "$image" -noappend -no-progress -comp zstd -Xcompression-level 1 -all-root > /dev/null
