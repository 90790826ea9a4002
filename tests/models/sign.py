#!/usr/bin/env python3
"""Signs the package tests/data/model-signing/package with the reference tool of OpenSSF Model Signing.

    sign.py            sign again (the bytes differ each time: ECDSA is random)
    sign.py --check    the reference tool accepts the committed signature, and refuses each altered copy; the program
                       must decide the same, in src/package/tests/signature.rs
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable

from model_signing import hashing, signing, verifying

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "model-signing"
PACKAGE = DATA / "package"
SIGNATURE = "model.sig"


def sign() -> None:
    ignored = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
    config = signing.Config().use_elliptic_key_signer(private_key=DATA / "key.pem")
    config.set_hashing_config(ignored).sign(PACKAGE, PACKAGE / SIGNATURE)


def accepts(folder: pathlib.Path, key: str = "key") -> bool:
    """As `model_signing verify key FOLDER --signature FOLDER/model.sig --public_key KEY` decides."""
    ignored = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
    config = verifying.Config().use_elliptic_key_verifier(public_key=DATA / f"{key}.pub.pem")
    try:
        config.set_hashing_config(ignored).verify(folder, folder / SIGNATURE)
    except Exception as error:  # the reference raises what its libraries raise
        print(f"    {type(error).__name__}: {error}")
        return False
    return True


def append(name: str) -> Callable[[pathlib.Path], None]:
    def change(folder: pathlib.Path) -> None:
        path = folder / name
        path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")

    return change


def flip(key: str, place: int) -> Callable[[pathlib.Path], None]:
    """Changes a digit of the base64 that stands under `key`."""

    def change(folder: pathlib.Path) -> None:
        text = (folder / SIGNATURE).read_text()
        at = text.index(f'"{key}":"') + len(f'"{key}":"') + place
        digit = "A" if text[at] != "A" else "B"
        (folder / SIGNATURE).write_text(text[:at] + digit + text[at + 1 :])

    return change


def git(folder: pathlib.Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("not the model's")
    (folder / ".gitignore").write_text("not the model's")


# What is done to a copy, and whether it is still as it was signed.
COPIES: dict[str, tuple[Callable[[pathlib.Path], object], bool]] = {
    "as committed": (lambda folder: None, True),
    "with Git's files": (git, True),
    "with an empty folder": (lambda folder: (folder / "empty").mkdir(), True),
    "file changed": (append("model.onnx"), False),
    "file in a folder changed": (append("notes/README.md"), False),
    "file added": (append("extra.txt"), False),
    "file in a folder added": (append("notes/extra.txt"), False),
    "file removed": (lambda folder: (folder / "golden.json").unlink(), False),
    "link added": (lambda folder: (folder / "link").symlink_to("model.onnx"), False),
    "signature altered": (flip("sig", 40), False),
    "payload altered": (flip("payload", 40), False),
    "signature gone": (lambda folder: (folder / SIGNATURE).unlink(), False),
}


def check() -> int:
    bad = 0
    for name, (change, good) in COPIES.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "package"
            shutil.copytree(PACKAGE, folder)
            change(folder)
            passed = accepts(folder) == good
        print(f"{'ok' if passed else 'BAD'} {name}: {'accepted' if good == passed else 'refused'}")
        bad += not passed
    passed = not accepts(PACKAGE, key="other")
    print(f"{'ok' if passed else 'BAD'} other key")
    return bad + (not passed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="verify instead of sign")
    if parser.parse_args().check:
        sys.exit(1 if check() else 0)
    sign()


if __name__ == "__main__":
    main()
