#!/bin/sh
# Installs what plumb needs and this machine lacks, by Debian package name: `make deps` runs this before it builds.
# A thing counts as present when it can be used, whoever provides it. Nothing is installed or fetched when all is there.

say() { printf 'deps: %s\n' "$*"; }

# ---- ways to see that a thing is there ----

program() { command -v "$1"; }
library() { pkg-config --exists "$1"; }
module() { lua5.4 -e "assert(package.searchpath('$1', package.path .. ';' .. package.cpath))"; }
readable() { test -r "$1"; }

# ---- what is needed ----

# need PACKAGE REASON TEST...: adds the package to `missing`, with a line in `reasons`, unless the test succeeds.
need() {
    package=$1 reason=$2
    shift 2
    "$@" >/dev/null 2>&1 && return
    missing="$missing $package"
    reasons="$reasons$(printf '  %-24s %s' "$package" "$reason")
"
}

# plumb can't be built without these; the list is the Makefile's PACKAGES.
look_for_libraries() {
    missing='' reasons=''
    need pkg-config 'tells the compiler where the libraries are' program pkg-config
    need liblua5.4-dev 'Lua 5.4, the language of plumb' library lua5.4
    need libopenblas-pthread-dev 'fast matrix products' library openblas
    need libreadline-dev 'editing lines at the prompt' library readline
    need zlib1g-dev 'reading compressed data sets' library zlib
}

look_for_all() {
    look_for_libraries
    need lua5.4 'the standalone Lua that the tests compare plumb with' program lua5.4
    need lua-argparse 'options of the scripts' module argparse
    need lua-dkjson 'settings and summaries as JSON' module dkjson
    need lua-filesystem 'folders, in the tests' module lfs
    need gnuplot-nox 'draws the figures' program gnuplot
    need dataset-fashion-mnist 'a data set, also used where MNIST can not be had' \
        readable /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
    need curl 'fetches MNIST' program curl
    need ca-certificates 'lets curl know whom it talks to' readable /etc/ssl/certs/ca-certificates.crt
    need lua-busted 'runs the tests' module busted.runner
    need lua-check 'checks the Lua files (make lint)' program luacheck
    need bsdutils 'the program script: a terminal for the tests of the prompt' program script
    need valgrind 'counts instructions (make counts)' program valgrind
    need strace 'shows the tests which programs a plot starts' program strace
}

# ---- installing ----

apt_get() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null
}

install_missing() {
    if [ "$(id -u)" = 0 ]; then
        as_root=''
    elif program sudo >/dev/null; then
        as_root=sudo
    else
        say "these packages are missing, and only root can install them (there is no sudo):"
        printf '%s' "$reasons"
        say "as root, run: apt-get install$missing"
        exit 1
    fi
    say "installing, which can take some minutes:"
    printf '%s' "$reasons"
    apt_get update || say "not every list of packages could be refreshed; going on with those that are here"
    # One package that this system doesn't have must not keep the others away.
    apt_get install -y --no-install-recommends $missing || for package in $missing; do
        apt_get install -y --no-install-recommends "$package" || say "$package could not be installed"
    done
}

look_for_all
if [ -z "$missing" ]; then
    say "all is there"
    exit 0
fi
if program apt-get >/dev/null && program dpkg >/dev/null; then
    install_missing
else
    say "this is no Debian-like system; by its own means, please install what these Debian packages hold:"
    printf '%s' "$reasons"
fi

look_for_libraries
if [ -n "$missing" ]; then
    say "plumb can't be built without:$missing"
    exit 1
fi
look_for_all
[ -z "$missing" ] || say "going on without:$missing"
