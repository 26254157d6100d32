#!/bin/sh
# Fills a new root file system from outside of it. Arguments: its folder, then the packages beside Debian's essential
# ones, which mmdebstrap (whose extract hook this is) has unpacked there and left in apt's cache.
#
# dpkg, tar and xz are this machine's and act on the folder (--root): where it is of another architecture, only the
# packages' own scripts are emulated, and that is three times as fast as a dpkg that is emulated itself.
set -eu
root=$1
shift

# This machine's settings of dpkg must not decide what the base holds: the folder's take their place below.
# No fsync for each file; no manuals and translations, also those that mmdebstrap has unpacked. What depends on what
# apt sees to: this dpkg takes a package for all architectures as one of this machine's, and would refuse it.
cat > "$root/etc/dpkg/dpkg.cfg.d/99bootstrap" << 'CFG'
force-unsafe-io
force-depends
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
CFG
rm -rf "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/doc/*

# The bundle of certificates is made three times otherwise, by thousands of small programs: once is enough.
bundle=/usr/sbin/update-ca-certificates
mkdir -p "$root/var/lib/dpkg"
: >> "$root/var/lib/dpkg/diversions"
dpkg-divert --root="$root" --quiet --local --no-rename --divert "$bundle.real" --add "$bundle"
ln -s /bin/true "$root$bundle"

# shellcheck disable=SC2016 # expanded inside
unshare --mount sh -euc '
    root=$1
    shift
    mount --bind "$root/etc/dpkg" /etc/dpkg
    export HOME=/nonexistent APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
    # All of them at once and in any order, as they need each other.
    dpkg --root="$root" --log=/dev/null --install "$root"/var/cache/apt/archives/*.deb
    # Newer mmdebstraps tell apt to call dpkg inside of the folder: it shall be the one outside, here too.
    apt-get --yes -o DPkg::Chroot-Directory=/ -o DPkg::Options::="--root=$root" -o DPkg::Options::=--log=/dev/null \
        install "$@"
' sh "$root" "$@"

rm "$root$bundle"
dpkg-divert --root="$root" --quiet --local --no-rename --remove "$bundle"
if [ -e "$root$bundle.real" ]; then
    mv "$root$bundle.real" "$root$bundle"
    chroot "$root" "$bundle"
fi

# What was forced above must be whole in the folder's own eyes.
chroot "$root" apt-get check

# A bootstrap takes names, resolver, mirror and settings over from the building machine: out with them.
for name in hostname resolv.conf; do
    rm -f "$root/etc/$name"
    install -m 644 /dev/null "$root/etc/$name"
done
rm -f "$root/etc/dpkg/dpkg.cfg.d/99bootstrap" "$root"/etc/apt/apt.conf.d/99mmdebstrap
echo "# A mirror of Debian goes here, to install packages in a running container." > "$root/etc/apt/sources.list"
