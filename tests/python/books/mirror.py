"""Copies an archive from a bucket into a folder, for all that reads folders.

    python -m books.mirror --bucket s3://BUCKET/PREFIX --archive FOLDER
"""

import argparse
import functools
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import boto3

# The one object that is replaced.
HINT = "ledger/checkpoint"

# In this order a copy agrees with itself, though the archive grows while it is made: a file is there before
# a checkpoint covers it, and an entry before its file.
ORDER = ("ledger/c", "segments/", "")


def mirror(url: str, folder: Path) -> None:
    """Fetches what is new. An object that is not what it was when it was fetched is an error: what is
    created stays."""
    place = urlsplit(url)
    prefix = place.path.strip("/") + "/"
    for part in ORDER:
        pages = client().get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=prefix + part)
        listed = [found for page in pages for found in page.get("Contents", [])]
        for found in listed:
            path = found["Key"].removeprefix(prefix)
            if is_of(part, path):
                copy(place.netloc, found, path, folder / path)


def is_of(part: str, path: str) -> bool:
    return next(each for each in ORDER if path.startswith(each)) == part


def copy(bucket: str, found: dict, path: str, target: Path) -> None:
    if path == HINT or not target.exists():
        fetch(bucket, found["Key"], target)
    # The ETag of an object that was put at once is its MD5.
    digest = hashlib.md5(target.read_bytes(), usedforsecurity=False).hexdigest()
    if path != HINT and found["ETag"].strip('"') != digest:
        raise ValueError(f"{bucket}: {found['Key']} has changed")


@functools.cache
def client():
    return boto3.client("s3")


def fetch(bucket: str, key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(client().get_object(Bucket=bucket, Key=key)["Body"].read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bucket", required=True, help="the archive's s3:// URL")
    parser.add_argument("--archive", type=Path, required=True, help="the folder")
    asked = parser.parse_args()
    mirror(asked.bucket, asked.archive)


if __name__ == "__main__":
    main()
