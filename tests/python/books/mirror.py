"""Copies an archive from a bucket into a folder, for all that reads folders."""

import functools
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import boto3


# The one object that is replaced.
HINT = "ledger/checkpoint"


def mirror(url: str, folder: Path) -> None:
    """Fetches what is new. An object that is not what it was when it was fetched is an error: what is
    created stays."""
    place = urlsplit(url)
    prefix = place.path.strip("/") + "/"
    for page in client().get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=prefix):
        for found in page.get("Contents", []):
            path = found["Key"].removeprefix(prefix)
            target = folder / path
            if path == HINT or not target.exists():
                fetch(place.netloc, found["Key"], target)
            # The ETag of an object that was put at once is its MD5.
            digest = hashlib.md5(target.read_bytes(), usedforsecurity=False).hexdigest()
            if path != HINT and found["ETag"].strip('"') != digest:
                raise ValueError(f"{url}: {found['Key']} has changed")


@functools.cache
def client():
    return boto3.client("s3")


def fetch(bucket: str, key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(client().get_object(Bucket=bucket, Key=key)["Body"].read())
