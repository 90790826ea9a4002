#!/usr/bin/env bash
# Makes sure that the program of tests/go is in the cache, and prints its path.
#
# The version of its only dependency is pinned in tests/go/go.mod, the content in tests/go/go.sum.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

SOURCES="$ROOT/tests/go"
"$ROOT/deploy/setup/system.sh" go
FOLDER="$CACHE/ledgercheck-$({ go version && cat "$SOURCES"/*; } | short_hash)"

# -modcacherw: who deletes the cache may do so with rm.
build() {
    cd "$SOURCES" &&
        GOMODCACHE="$CACHE/go/modules" GOCACHE="$CACHE/go/build" CGO_ENABLED=0 \
            go build -mod=readonly -modcacherw -buildvcs=false -o "$STAGING/ledgercheck" . >&2
}

lock_cache
if [ ! -x "$FOLDER/ledgercheck" ]; then
    say "building tests/go"
    open_staging
    build || fail "tests/go could not be built, or its modules not be fetched"
    publish "$FOLDER"
fi
printf '%s\n' "$FOLDER/ledgercheck"
