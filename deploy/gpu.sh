#!/usr/bin/env bash
# What a GPU gives: the same answers as the CPU's, which nodes run where, rows and explanations a second.
#
#   deploy/gpu.sh LIBS              on the GPU of this machine; LIBS is a folder with ONNX Runtime for CUDA and the
#                                   libraries of CUDA (deploy/README.md says how to fill it)
#   deploy/gpu.sh --provider cpu    the same program on the CPU, to try it without a GPU
#
# Without a device, or without the libraries, it says so in one line and ends with 0. PROVIDER=tensorrt tries
# TensorRT, PROFILE=dev compiles without the release profile.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    printf 'usage: deploy/gpu.sh LIBS | --provider cpu\n' >&2
    exit 2
}

skip() {
    printf 'skipped: gpu: %s\n' "$*"
    exit 0
}

bench() {
    cargo bench --locked ${PROFILE:+--profile "$PROFILE"} --bench gpu -- --provider "$1"
}

has_device() {
    [ -e /dev/nvidia0 ] || nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU '
}

# library NAME: the file of that name in LIBS, or its newest version.
library() {
    find "$LIBS" -maxdepth 1 \( -name "$1" -o -name "$1.*" \) | sort -V | tail -n 1
}

on_cpu() {
    ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$(deploy/setup/onnxruntime.sh)}"
    export ORT_DYLIB_PATH
    bench cpu
}

on_gpu() {
    local provider="${PROVIDER:-cuda}" name
    has_device || skip "no NVIDIA device (no /dev/nvidia0, and nvidia-smi lists none)"
    [ -n "$LIBS" ] || skip "no folder with the libraries is named; make gpu LIBS=FOLDER"
    [ -d "$LIBS" ] || skip "$LIBS is no folder"
    LIBS="$(cd "$LIBS" && pwd)"
    for name in libonnxruntime.so libonnxruntime_providers_shared.so "libonnxruntime_providers_$provider.so" \
        libcudart.so libcublas.so libcublasLt.so libcurand.so; do
        [ -n "$(library "$name")" ] || skip "$LIBS has no $name; deploy/README.md says what belongs there"
    done
    # The providers must lie beside the library, and the loader must find what they load.
    ORT_DYLIB_PATH="$(library libonnxruntime.so)"
    export ORT_DYLIB_PATH LD_LIBRARY_PATH="$LIBS${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || true
    bench "$provider"
}

case "${1:-}" in
--provider)
    [ "${2:-}" = cpu ] || usage
    on_cpu
    ;;
-*) usage ;;
*)
    LIBS="${1:-}"
    on_gpu
    ;;
esac
