#!/bin/sh
# Installs Herr Ober from this directory, or removes it again, where no package manager does. Needs root, systemd and
# HAProxy 2.6 or newer.
set -eu

usage="usage: ./install.sh [--remove [--purge]]
  without options    installs or upgrades
  --remove           stops the daemon, removes the programs; /etc/ober and /var/lib/ober stay
  --remove --purge   also removes the configuration, the lists and the history"
kept=/usr/share/ober/FILES
made=/usr/share/ober/DIRECTORIES
here=$(dirname "$0")

refuse() {
    echo "install.sh: $1" >&2
    exit 1
}

check() {
    [ "$(id -u)" = 0 ] || refuse "only root may do this: sudo ./install.sh"
    [ -d /run/systemd/system ] || refuse "systemd does not run here, and the daemon is a unit of it"
    if command -v dpkg-query >/dev/null && dpkg-query -W -f '${Status}' ober 2>/dev/null | grep -q ' installed$'; then
        refuse "the Debian package ober is installed here: use apt, or remove it first (apt remove ober)"
    fi
}

# Notes each directory that was not there, so that a removal takes it off again.
make_directory() {
    [ ! -d "$1" ] || return 0
    make_directory "$(dirname "$1")"
    mkdir "$1"
    directories="$1
$directories"
}

install_files() {
    [ "$(uname -m)" = x86_64 ] || refuse "this is the program for x86_64, and here is $(uname -m)"
    "$here/tree/usr/bin/ober-user" --version >/dev/null ||
        refuse "the program does not start here: it needs glibc 2.34 (Debian 12, Ubuntu 22.04, RHEL 9, or newer)"
    command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] ||
        echo "install.sh: haproxy is missing; install version 2.6 or newer before the daemon is started" >&2
    was=no
    directories=$(cat "$made" 2>/dev/null) || directories=
    [ ! -e /usr/bin/ober-user ] || was=yes
    # Each file is renamed into its place, so a running program keeps its own.
    while read -r file; do
        make_directory "$(dirname "$file")"
        cp -a "$here/tree$file" "$file.new"
        chown -h root:root "$file.new"
        mv -T "$file.new" "$file"
    done <"$here/FILES"
    cp "$here/FILES" "$kept"
    echo "$directories" >"$made"
    systemd-sysusers ober.conf
    systemd-tmpfiles --create ober.conf
    systemctl daemon-reload
    if [ "$was" = yes ]; then
        systemctl try-restart ober.service 'ober@*.service'
    else
        systemctl enable --now ober.service
    fi
    ober-user --version
}

remove_files() {
    [ -e "$kept" ] || refuse "$kept is missing: Herr Ober was not installed by this script"
    /usr/lib/ober/retire || refuse "nothing was removed; see above"
    systemctl disable ober.service
    while read -r file; do
        rm -f "$file"
    done <"$kept"
    directories=$(cat "$made" 2>/dev/null) || directories=
    rm -f "$kept" "$made"
    # The innermost come first.
    for directory in $directories; do
        [ ! -d "$directory" ] || rmdir --ignore-fail-on-non-empty "$directory"
    done
    systemctl daemon-reload
    if [ "${1:-}" = --purge ]; then
        # Keys and certificates are the administrator's and stay.
        rm -rf /var/lib/ober /var/cache/ober /run/ober /etc/ober/config.d
        rm -f /etc/ober/*.toml /etc/ober/*.toml.old
        [ ! -d /etc/ober ] || rmdir --ignore-fail-on-non-empty /etc/ober
    fi
}

check_and() { check; "$@"; }

case "${1:-}" in
'') check_and install_files ;;
--remove) check_and remove_files "${2:-}" ;;
*) echo "$usage" && [ "$1" = --help ] ;;
esac
