"""The file that --features names. It has the form of model.toml, so that the file of an older package will do.

What it says of features, reasons and rules goes into the package. Of the rest nothing is lost in silence: a key that
is made here, or that an option replaces, is named, and a key that nobody knows is refused.
"""

import tomllib
from pathlib import Path

from .trees import Refused

# Where a key of the file goes: to an argument of `pack`, or to nothing because it is made here.
MADE = None
KEYS = {
    "feature": "features", "reason": "reasons", "card": "facts", "policy.rule": "rules",
    "policy.version": "policy_version", "policy.review": "review", "policy.decline": "decline",
    "reasons.language": "language", "reasons.permutations": "permutations", "reasons.other": "other",
    "name": MADE, "version": MADE, "model": MADE, "output": MADE, "reasons.method": MADE, "reasons.background": MADE,
}
TABLES = ("policy", "reasons")


def read(path):
    """{key: value}, where a key in [policy] or [reasons] is written with a dot."""
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"--features {path}: no TOML: {error}") from None
    found = {}
    for key, value in document.items():
        if key in TABLES and isinstance(value, dict):
            found |= {f"{key}.{inner}": each for inner, each in value.items()}
        else:
            found[key] = value
    for key in found:
        if key not in KEYS:
            raise Refused(f"--features {path}: `{key}` is unknown here; write one of {', '.join(KEYS)}, or take it out")
    return found


def arguments(found, options):
    """What `pack` is told: the options, and what they leave to the file. And the keys of the file that are not used."""
    told = {argument: found[key] for key, argument in KEYS.items() if argument and key in found}
    replaced = [key for key, argument in KEYS.items() if key in found and options.get(argument) is not None]
    told |= {name: value for name, value in options.items() if value is not None}
    unused = [key for key in found if KEYS[key] is MADE]
    same = ("policy.review", "policy.decline", "policy.version")
    if "policy.version" in found and told["policy_version"] == found["policy.version"]:
        changed = [key for key in same if key in found and told[KEYS[key]] != found[key]]
        if changed:
            raise Refused(f"{', '.join(changed)} of the file is replaced, and policy.version is not: a policy with other thresholds has "
                          "a version of its own. Give --policy-version")
    return told, unused, replaced
