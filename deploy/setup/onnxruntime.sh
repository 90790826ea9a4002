#!/usr/bin/env bash
# Makes sure that ONNX Runtime's shared library is in the cache, and prints its path.
#
#   onnxruntime.sh         for the CPU
#   onnxruntime.sh cuda    of another version, with its CUDA provider beside it, for x86_64 (256 MB to fetch); CUDA's own
#                          libraries are not there
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case "${1:-cpu}" in
cpu)
    PACKAGE=onnxruntime PINS="$ROOT/deploy/setup/onnxruntime.txt"
    PROVIDERS=()
    ;;
cuda)
    PACKAGE=onnxruntime-gpu PINS="$ROOT/deploy/onnxruntime-gpu.txt"
    PROVIDERS=(libonnxruntime_providers_shared.so libonnxruntime_providers_cuda.so)
    ;;
*) fail "usage: onnxruntime.sh [cpu|cuda]" ;;
esac
VERSION="$(sed -n "s/^$PACKAGE==\([0-9.]*\).*/\1/p" "$PINS")"
LIBRARY="libonnxruntime.so.$VERSION"
FOLDER="$CACHE/$PACKAGE-$VERSION"

# The wheel is asked for by its own Python version, not by the one that runs here: of the wheel
# only the C libraries are used.
download_wheel() {
    local machine
    machine="$(uname -m)"
    python3 -m venv "$STAGING/pip"
    sed -n "/^$PACKAGE==/,/--hash/p" "$PINS" >"$STAGING/requirements"
    "$STAGING/pip/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: --implementation cp --python-version 3.11 \
        --platform "manylinux_2_28_$machine" --dest "$STAGING" --requirement "$STAGING/requirements" >&2
}

unpack_libraries() {
    python3 - "$STAGING" "$@" <<'PYTHON'
import pathlib
import sys
import zipfile

folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in sys.argv[2:]:
        (folder / name).write_bytes(archive.read(f"onnxruntime/capi/{name}"))
wheel.unlink()
PYTHON
    rm -rf "$STAGING/pip" "$STAGING/requirements"
}

lock_cache
if [ ! -e "$FOLDER/$LIBRARY" ]; then
    say "fetching ONNX Runtime $VERSION for ${1:-cpu}"
    open_staging
    download_wheel || fail "$PACKAGE $VERSION could not be fetched from the Python package index"
    unpack_libraries "$LIBRARY" ${PROVIDERS[@]+"${PROVIDERS[@]}"}
    publish "$FOLDER"
fi
printf '%s\n' "$FOLDER/$LIBRARY"
