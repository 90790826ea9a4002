#!/usr/bin/env bash
# Makes sure that the system has what cannot live in the cache.
#
#   system.sh build    compiler, make, headers, Python's venv: all that `make demo` needs
#   system.sh test     the same, and Java and Maven for the real Kafka of `make test`
#   system.sh go       Go, with which `make test` checks the ledger
#
# What is missing is found by using it, installed with apt-get where this user may, and named
# otherwise (exit 2).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

has() {
    command -v "$1" >/dev/null 2>&1
}

has_header() {
    has pkg-config && pkg-config --exists "$1"
}

has_venv() {
    has python3 && python3 -c 'import ensurepip, venv' >/dev/null 2>&1
}

has_java() {
    has java && java --version 2>/dev/null | awk 'NR == 1 { exit !($2 + 0 >= 17) }'
}

has_go() {
    has go && go version | awk '{ split(substr($3, 3), v, "."); exit !(v[1] + 0 > 1 || v[2] + 0 >= 19) }'
}

# need PACKAGE CHECK…: notes the Debian package when the check fails.
need() {
    local package="$1"
    shift
    "$@" || missing+=("$package")
}

look() {
    missing=()
    if [ "$1" = go ]; then
        need golang-go has_go
        return
    fi
    need gcc has cc
    need g++ has g++
    need make has make
    need pkg-config has pkg-config
    need libssl-dev has_header openssl
    need zlib1g-dev has_header zlib
    need python3-venv has_venv
    if [ "$1" = test ]; then
        need openjdk-17-jdk-headless has_java
        need maven has mvn
    fi
}

install() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo && sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    has apt-get || return 1
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq >&2 &&
        DEBIAN_FRONTEND=noninteractive "${as_root[@]}" \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

case "${1:-}" in
build | test | go) ;;
*) fail "usage: system.sh build|test|go" ;;
esac

has cargo || fail "cargo is missing: install Rust 1.95 or newer"
look "$1"
if [ "${#missing[@]}" -gt 0 ]; then
    install || true
    look "$1"
fi
if [ "${#missing[@]}" -gt 0 ]; then
    fail "missing, and not installable from here: as root, run: apt-get install ${missing[*]}"
fi
