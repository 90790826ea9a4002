#!/usr/bin/env bash
# Compiles the stand-in for CUDA into FOLDER, under the names that ONNX Runtime's CUDA provider loads, and puts the
# provider beside it: build.sh FOLDER LIBONNXRUNTIME. Prints the library to name in ORT_DYLIB_PATH; LD_LIBRARY_PATH is
# FOLDER.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
FOLDER="$1" RUNTIME="$2"

# library NAME SOURCE…: with symbols of the version that is asked for, which is the library's name.
library() {
    local name="$1"
    shift
    printf '%s { global: *; };\n' "$name" >"$FOLDER/versions"
    cc -std=c11 -O2 -ffp-contract=off -Wall -Wextra -Werror -shared -fPIC -o "$FOLDER/$name" \
        -Wl,-soname,"$name" -Wl,--version-script="$FOLDER/versions" "$@" -lm
    rm "$FOLDER/versions"
}

mkdir -p "$FOLDER"
library libcudart.so.13 runtime.c kernels.c
library libcublas.so.13 cublas.c
library libcublasLt.so.13 cublaslt.c
library libcurand.so.10 -x c /dev/null
printf 'int cuTensorMapEncodeTiled(void) { return 801; }\n' | library libcuda.so.1 -x c -
ln -sf "$(dirname "$RUNTIME")"/libonnxruntime* "$FOLDER/"
printf '%s\n' "$FOLDER/$(basename "$RUNTIME")"
