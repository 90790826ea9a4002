#!/usr/bin/env bash
# Makes sure that the Python environment of a lock file is in the cache, and prints its interpreter.
#
#   python.sh tests/python/requirements.lock
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ "$#" -eq 1 ] && [ -r "$1" ] || fail "usage: python.sh LOCK-FILE"
LOCK="$1"
FOLDER="$CACHE/python-$({ python3 --version && cat "$LOCK"; } | short_hash)"

# Programs that pip writes name their interpreter by its path: they get the final one.
rename_interpreter() {
    grep -rlIF "$STAGING" "$STAGING/bin" | xargs -r sed -i "s|$STAGING|$FOLDER|g"
}

lock_cache
if [ ! -x "$FOLDER/bin/python" ]; then
    say "building the Python environment of $(basename "$LOCK")"
    open_staging
    python3 -m venv "$STAGING"
    "$STAGING/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
        --only-binary :all: --requirement "$LOCK" >&2 ||
        fail "the packages of $LOCK could not be installed from the Python package index"
    rename_interpreter
    publish "$FOLDER"
fi
printf '%s\n' "$FOLDER/bin/python"
