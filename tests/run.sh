#!/usr/bin/env bash
# Runs every test and says at the end what passed, what failed, and what was skipped and why.
#
#   tests/run.sh check    what needs neither Kafka nor Python packages: format, lints, unit tests
#   tests/run.sh all      the same, and the tests on real Kafka and those in Python
#   tests/run.sh soak     KILLS random kills (200) of seed SEED (the time), and 5,000 cases of each property;
#                         the report is tests/SOAK.md
#
# With CI=true nothing may be skipped. The crate is compiled with the crash points, so that the unit
# tests and the integration tests share one build.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
LOGS="$(mktemp -d)"
trap 'rm -rf "$LOGS"' EXIT
export PROBITY_SKIP_LOG="$LOGS/skipped"
touch "$PROBITY_SKIP_LOG"

passed=0
failed=0
failures=()

fail() {
    failures+=("$1")
    failed=$((failed + 1))
}

skip() {
    if [ "${CI:-}" = true ]; then
        fail "$1 (nothing may be skipped with CI=true)"
    else
        printf '%s\n' "$1" >>"$PROBITY_SKIP_LOG"
    fi
}

# step NAME COMMAND…: runs what has no tests to count; counts only a failure.
step() {
    local name="$1"
    shift
    printf '\n== %s\n' "$name"
    "$@" || fail "$name"
}

# tests NAME COMMAND…: runs a test runner, and counts what it says of itself.
tests() {
    local name="$1" log="$LOGS/output" status before skipped
    shift
    before="$failed"
    skipped="$(skips)"
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee "$log"
    status="${PIPESTATUS[0]}"
    # A Rust test that skips itself returns early, which its runner takes for passed.
    passed=$((passed - $(skips) + skipped))
    count_cargo "$name" "$log"
    count_unittest "$name" "$log"
    # A runner that does not compile, or dies, names no failed test.
    if [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; then
        fail "$name: ended with $status"
    fi
}

# test result: ok. 12 passed; 0 failed; 1 ignored; …
count_cargo() {
    local ok bad ignored
    while read -r ok bad ignored; do
        count "$1" "$ok" "$bad" "$ignored"
    done < <(sed -nE 's/^test result: .*\. ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored.*/\1 \2 \3/p' "$2")
}

# Ran 12 tests in 0.1s … FAILED (failures=1, errors=2, skipped=3)
count_unittest() {
    local ran bad skipped
    ran="$(sed -nE 's/^Ran ([0-9]+) tests? in .*/\1/p' "$2")"
    [ -n "$ran" ] || return 0
    bad="$(($(number_of failures "$2") + $(number_of errors "$2")))"
    skipped="$(number_of skipped "$2")"
    count "$1" "$((ran - bad - skipped))" "$bad" "$skipped"
}

number_of() {
    sed -nE "s/^(OK|FAILED) \(.*$1=([0-9]+).*/\2/p" "$2" | grep . || printf 0
}

count() {
    local name="$1" ok="$2" bad="$3" ignored="$4"
    passed=$((passed + ok))
    failed=$((failed + bad))
    [ "$bad" -eq 0 ] || failures+=("$name: $bad failed")
    [ "$ignored" -eq 0 ] || skip "$name: $ignored marked as ignored"
}

skips() {
    wc -l <"$PROBITY_SKIP_LOG"
}

# Property tests try the same cases each time here, so that red means that something changed. `soak` tries
# others, and more of them; PROPTEST_RNG_SEED chooses them too.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-1}"

# What is absent is an empty path: the tests that need it skip themselves, or fail with CI=true.
check() {
    ORT_DYLIB_PATH="$(deploy/setup/onnxruntime.sh)" || ORT_DYLIB_PATH=""
    export ORT_DYLIB_PATH
    step "format" cargo fmt --check
    step "lints" cargo clippy --locked --all-targets --features crash-points -- -D warnings
    step "lints, as released" cargo clippy --locked -- -D warnings
    tests "unit tests" cargo test --locked --features crash-points --lib
}

kafka_and_python() {
    deploy/setup/system.sh test && KAFKA_LIBS="$(deploy/setup/kafka.sh)" || KAFKA_LIBS=""
    PROBITY_PYTHON="$(deploy/setup/python.sh tests/python/requirements.lock)" || PROBITY_PYTHON=""
    export KAFKA_LIBS PROBITY_PYTHON
}

cuda_runtime() {
    PROBITY_CUDA_RUNTIME="$(deploy/setup/onnxruntime.sh cuda)" || PROBITY_CUDA_RUNTIME=""
    export PROBITY_CUDA_RUNTIME
}

go_program() {
    PROBITY_LEDGERCHECK="$(deploy/setup/go.sh)" || PROBITY_LEDGERCHECK=""
    export PROBITY_LEDGERCHECK
}

everything() {
    kafka_and_python
    cuda_runtime
    go_program
    check
    tests "integration tests" cargo test --locked --features crash-points --test it
    if [ -n "$PROBITY_PYTHON" ]; then
        tests "python tests" "$PROBITY_PYTHON" -B -m unittest discover --start-directory tests/python --verbose
    else
        skip "python tests: the Python environment is absent"
    fi
}

soak() {
    kafka_and_python
    go_program
    ORT_DYLIB_PATH="$(deploy/setup/onnxruntime.sh)" || ORT_DYLIB_PATH=""
    export ORT_DYLIB_PATH
    export PROBITY_KILLS="${KILLS:-200}" PROBITY_KILL_SEED="${SEED:-$(date +%s)}"
    export PROBITY_SOAK_REPORT="$LOGS/soak.json"
    local started="$SECONDS" load
    load="$(cut -d ' ' -f 1-3 /proc/loadavg)"
    tests "property tests" env PROPTEST_RNG_SEED="$PROBITY_KILL_SEED" PROPTEST_CASES=5000 \
        cargo test --locked --features crash-points --lib
    tests "soak" cargo test --locked --features crash-points --test it -- kills::random_kills
    [ -s "$PROBITY_SOAK_REPORT" ] || { fail "soak: no report"; return; }
    soak_report "$((SECONDS - started))" "$load" >"$LOGS/SOAK.md"
    mv "$LOGS/SOAK.md" tests/SOAK.md
    printf '\ntests/SOAK.md:\n\n'
    cat tests/SOAK.md
}

soak_report() {
    cat <<EOF
# Soak

Two processes share a consumer group while payments flow; one after the other is killed with \`kill -9\` at
a random time and started again. Then the accounting tool, which shares no code with probity, reads input,
scores, dead letters, evidence and archive, and compares them. \`make soak\` wrote this page.

| | |
|---|---|
| kills | $PROBITY_KILLS |
| seed | $PROBITY_KILL_SEED |
| commit | $(git describe --always --abbrev=12)$(git diff --quiet HEAD -- . ':!tests/SOAK.md' || printf ', changed') |
| date | $(date -u +%Y-%m-%d) |
| machine | $(nproc) cores, Linux $(uname -r | cut -d . -f 1-2), load average $2 at the start |
| duration | $1 s |

\`\`\`json
$(cat "$PROBITY_SOAK_REPORT")
\`\`\`

\`findings\` is empty: nothing missing, nothing twice, no score without its evidence, every message joins.
EOF
}

summary() {
    local skipped
    skipped="$(skips)"
    printf '\n'
    if [ "$skipped" -gt 0 ]; then
        printf 'skipped:\n'
        sed 's/^/  /' "$PROBITY_SKIP_LOG"
    fi
    if [ "$failed" -gt 0 ]; then
        printf 'failed:\n'
        printf '  %s\n' "${failures[@]}"
    fi
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
}

case "${1:-}" in
check) check ;;
all) everything ;;
soak) soak ;;
*)
    printf 'usage: tests/run.sh check|all|soak\n' >&2
    exit 2
    ;;
esac
summary
