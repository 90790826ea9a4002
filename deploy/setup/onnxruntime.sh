#!/usr/bin/env bash
# Makes sure that ONNX Runtime's shared library is in the cache, and prints its path.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

REQUIREMENTS="$ROOT/deploy/setup/onnxruntime.txt"
VERSION="$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$REQUIREMENTS")"
LIBRARY="libonnxruntime.so.$VERSION"
FOLDER="$CACHE/onnxruntime-$VERSION"

# The wheel is asked for by its own Python version, not by the one that runs here: of the wheel
# only the C library is used.
download_wheel() {
    local machine
    machine="$(uname -m)"
    python3 -m venv "$STAGING/pip"
    "$STAGING/pip/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: --implementation cp --python-version 3.11 \
        --platform "manylinux_2_28_$machine" --dest "$STAGING" --requirement "$REQUIREMENTS" >&2
}

unpack_library() {
    python3 - "$STAGING" "onnxruntime/capi/$LIBRARY" <<'PYTHON'
import pathlib
import sys
import zipfile

folder, member = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (folder / pathlib.PurePosixPath(member).name).write_bytes(archive.read(member))
wheel.unlink()
PYTHON
    rm -rf "$STAGING/pip"
}

lock_cache
if [ ! -e "$FOLDER/$LIBRARY" ]; then
    say "fetching ONNX Runtime $VERSION"
    open_staging
    download_wheel || fail "ONNX Runtime $VERSION could not be fetched from the Python package index"
    unpack_library
    publish "$FOLDER"
fi
printf '%s\n' "$FOLDER/$LIBRARY"
