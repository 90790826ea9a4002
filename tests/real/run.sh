#!/usr/bin/env bash
# Real card transactions through real Kafka, and what came of it. `tests/real/run.py` says more.
#
#   tests/real/run.sh [--runs N]
#
# Where the data cannot be had the run is skipped, loudly; with CI=true nothing may be skipped.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export CACHE="${CACHE:-$HOME/.cache/probity}"
DATA="$(deploy/setup/realdata.sh)" || {
    status=$?
    [ "$status" -eq 3 ] || exit "$status"
    printf '\nSKIPPED: nothing was tested on real data: the data set cannot be had here\n' >&2
    [ "${CI:-}" != true ] || exit "$status"
    exit 0
}
PYTHON="$(deploy/setup/python.sh tests/python/oracles.lock)"
# The accounting tool of the tests has an environment of its own.
PROBITY_PYTHON="$(deploy/setup/python.sh tests/python/requirements.lock)"
KAFKA_LIBS="$(deploy/setup/kafka.sh)"
ORT_DYLIB_PATH="$(deploy/setup/onnxruntime.sh)"
export KAFKA_LIBS ORT_DYLIB_PATH PROBITY_PYTHON
cargo build --release --locked
exec "$PYTHON" -B tests/real/run.py --data "$DATA" \
    --probity "${CARGO_TARGET_DIR:-target}/release/probity" "$@"
