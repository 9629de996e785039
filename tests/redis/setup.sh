#!/bin/sh
# Unpacks redis-server and valkey-server from Debian's packages into .redis at the root of the
# repository: nothing is installed, no root needed. Does nothing where they are there already.
# On bookworm Valkey is in the backports; the lists are kept in .redis too, the system's stay.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)/.redis
wanted=$(sha256sum < "$0" | cut -d ' ' -f 1)
[ "$(cat "$root/.installed" 2>/dev/null)" = "$wanted" ] && exit 0

. /etc/os-release
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null || [ ! -e "$keyring" ]; then
    echo "tests/redis/setup.sh: no Debian, so no servers; redis-server of PATH is used if there" >&2
    exit 0
fi
rm -rf "$root"
mkdir -p "$root/apt/lists/partial" "$root/apt/cache/archives/partial" "$root/debs"
mirror=http://deb.debian.org/debian
for suite in "$VERSION_CODENAME" "$VERSION_CODENAME-backports"; do
    echo "deb [signed-by=$keyring] $mirror $suite main"
done > "$root/apt/sources.list"

apt() {
    apt-get -qq -o Dir::State="$root/apt" -o Dir::State::status=/var/lib/dpkg/status \
        -o Dir::Cache="$root/apt/cache" -o Dir::Etc::SourceList="$root/apt/sources.list" \
        -o Dir::Etc::SourceParts=- -o APT::Sandbox::User= -o Acquire::Languages=none "$@"
}
apt update
cd "$root/debs"
apt download redis-server redis-tools valkey-server valkey-tools liblzf1 libjemalloc2 libatomic1
for package in *.deb; do
    dpkg -x "$package" "$root"
done
rm -rf "$root/apt" "$root/debs"
for server in redis valkey; do
    LD_LIBRARY_PATH=$(echo "$root"/usr/lib/*-linux-gnu) "$root/usr/bin/$server-server" --version
done
echo "$wanted" > "$root/.installed"
