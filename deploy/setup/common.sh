# What the set-up scripts share. Sourced, never run.
#
# Each script makes sure that one thing is in the cache and prints where it lies. A thing is built
# in a staging folder, checked against a committed SHA-256, and renamed into place: what has its
# final name is whole. Deleting the cache costs time and nothing else.
# shellcheck shell=bash

set -euo pipefail
export LC_ALL=C

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
CACHE="${CACHE:-$HOME/.cache/probity}"

# Progress and complaints go to stderr: stdout is the answer.
say() {
    printf 'setup: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 2
}

# One set-up at a time in one cache: two would fetch the same thing twice.
lock_cache() {
    mkdir -p "$CACHE"
    exec 9>"$CACHE/.lock"
    flock 9
}

# Opens a staging folder, removed when the script ends without having published it.
open_staging() {
    STAGING="$(mktemp -d "$CACHE/.staging-XXXXXX")"
    trap 'rm -rf "$STAGING"' EXIT
}

# publish FINAL: gives the staging folder its final name.
publish() {
    rm -rf "$1"
    chmod 755 "$STAGING"
    mv -T "$STAGING" "$1"
}

# The first 16 digits of the SHA-256 of what is read: names a cached thing by what made it.
short_hash() {
    sha256sum | cut -c 1-16
}
