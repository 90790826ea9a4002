"""Asks probity itself whether it would start with a package."""

import subprocess

from .trees import Refused

# A dependency is not there, such as ONNX Runtime: nothing is said of the package.
UNREACHABLE = 3


def check(program, folder, out):
    """What `probity model check` says of the package in `folder`, which is to become `out`; and whether it could look.

    Nobody asks for a signature: the package is signed when it is complete. Raises Refused where a start would refuse it.
    """
    command = [program, "model", "check", str(folder), "--set", "model.trust_key="]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise Refused(f"{program} cannot be run: {error.strerror}. Name probity with --probity, or pass --no-check") from None
    said = "".join((ran.stdout, ran.stderr)).replace(str(folder), str(out)).rstrip()
    if ran.returncode not in (0, UNREACHABLE):
        raise Refused(
            f"{program} model check refuses the package, so {out} is not written:\n{said}\n"
            "If that is for the configuration it was asked with, name another in PROBITY_CONFIG, or pass --no-check"
        )
    return said, ran.returncode == 0
