"""The package folder: its files, and the checks that must pass before it is there."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from . import distributions, exact, leaves, models, start
from .trees import Refused, next_float

CHUNK_SIZES = [1, 4, 16, 64]
BACKGROUND_ROWS_MAX = 200
GOLDEN_ROWS = 64
GOLDEN_THRESHOLDS = 16

# What the reader of a package allows between golden contributions and its own.
CONTRIBUTION_TOLERANCE = 1e-6
PROBABILITY_TOLERANCE = 1e-6

FEATURE_KEYS = ("name", "sql", "type", "impute", "categories", "unknown", "unit", "range", "description", "personal")
RULE_KEYS = ("name", "when", "decision", "description")
REASON_KEYS = ("code", "features", "raises", "lowers")

# Model runs, of one tree each, that are spent on Shapley values by their definition: about a minute.
BRUTE_FORCE_MAX = 10**9
SHAP_BACKGROUND_MAX = 100
# Rows that features are shuffled in, where contributions are not known.
SHUFFLED_ROWS = 10_000


def pack(
    model, data, out, name, version, *, features=None, reasons=None, language="en", review=0.5, decline=0.9,
    policy_version="1", rules=None, other=None, background_rows=50, permutations=2, seed=1, facts=None, probity=None,
):
    """Writes the folder `out`, which must not exist, and returns what was measured.

    model      a trained model, not a file
    data       a sample of the model's input: {column: values}, or a table with `columns` such as pandas has
    features   [{"name": …, "sql": …, "impute": …}] in the model's order, with the keys of [[feature]] in model.toml; by
               default the columns, each by its name. Where there are `categories`, the sample holds their codes
    reasons    [{"code": …, "features": […], "raises": {language: text}, "lowers": {…}}]; by default one per feature
    other      {language: text} of what is in no listed reason; by default probity's own words
    rules      [{"name": …, "when": …, "decision": …}], which make decisions stricter
    facts      {what: text} for MODEL_CARD.md: where the data came from, what the model is for, how good it is
    probity    the program that is to check the package before it is there; by default nobody asks it

    Raises Refused where the model cannot be packed, or the package does not give what the model gives.
    """
    out = Path(out)
    if out.exists():
        raise Refused(f"{out} is there already. Name a new folder, or delete it")
    for what, word in (("name", name), ("version", version), ("policy version", policy_version)):
        if not re.fullmatch(r"[A-Za-z0-9._+-]{1,64}", word):
            raise Refused(f"the {what} is {word!r}; write 1 to 64 ASCII letters, digits, `.`, `_`, `+` or `-`")
    if any(isinstance(bound, (str, bool)) for bound in (review, decline)) or not 0.0 <= review <= decline <= 1.0:
        raise Refused(f"review {review} and decline {decline}: write thresholds from 0 to 1, and none for review above decline's")
    checked_tables("feature", features or [], FEATURE_KEYS, FEATURE_KEYS[:1])
    checked_tables("reason", reasons or [], REASON_KEYS, REASON_KEYS)
    if other is not None and not (isinstance(other, dict) and all(isinstance(words, str) for words in other.values())):
        raise Refused("reasons.other is no table of texts; write one for each language, like { en = \"Everything else\" }")
    rules = checked_tables("policy.rule", rules or [], RULE_KEYS, RULE_KEYS[:3])
    if not 1 <= background_rows <= BACKGROUND_ROWS_MAX:
        raise Refused(f"{background_rows} background rows; 1 to {BACKGROUND_ROWS_MAX} are allowed")
    columns = {str(column): data[column] for column in (data.columns if hasattr(data, "columns") else data)}
    width = len(features) if features else len(columns)
    source = models.source(model, width)
    features = checked_features(source, features, list(columns))
    codes = [codes_of(each) for each in features]
    sample = np.column_stack([as_float32(each["name"], columns[each["name"]]) for each in features])
    # A value that is imputed is missing to whoever looks for drift.
    given = {each["name"]: sample[:, number].copy() for number, each in enumerate(features)}
    for number, each in enumerate(features):
        if "impute" in each:
            sample[np.isnan(sample[:, number]), number] = np.float32(each["impute"])
    if len(sample) < 2 or np.any(np.isinf(sample)):
        raise Refused("the sample needs at least 2 rows, and no infinite value")
    for number, each in enumerate(features):
        unlisted = codes[number] is not None and set(sample[:, number][~np.isnan(sample[:, number])].tolist()) - codes[number]
        if unlisted:
            raise Refused(
                f"column {each['name']} of the sample has {min(unlisted)!r}, which is no code of its categories. The sample "
                "holds what the model is fed, as `probity score --features` writes it"
            )
    onnx_bytes = source.graph.SerializeToString(deterministic=True)
    accepts = [may and "impute" not in each for may, each in zip(accepts_missing(source, sample), features, strict=True)]
    for number, each in enumerate(features):
        if not accepts[number] and np.any(np.isnan(sample[:, number])):
            raise Refused(f"feature {each['name']} is missing in the sample, and the model takes no missing value there: give it `impute`")

    coded = {number for number, known in enumerate(codes) if known is not None}
    background = exact.synthetic(sample, background_rows, seed, coded)
    golden = golden_rows(source, sample, accepts, seed + 1, features, codes)
    measured = {
        "sample": compare(source, onnx_bytes, sample), "background": compare(source, onnx_bytes, background),
        "golden": compare(source, onnx_bytes, golden), "copies": exact.copies(np.concatenate([background, golden]), sample),
    }
    score, margin = run(onnx_bytes, golden, CHUNK_SIZES[-1])
    sizes = [size for size in CHUNK_SIZES if all(a.tobytes() == b.tobytes() for a, b in zip(run(onnx_bytes, golden, size), (score, margin)))]
    known, measured["contributions"] = contributions(source, background, golden, margin)

    names = [each["name"] for each in features]
    if known is not None:
        important = distributions.by_contribution(names, known[1])
    else:
        some = sample[np.linspace(0, len(sample) - 1, min(SHUFFLED_ROWS, len(sample))).astype(int)]
        important = distributions.by_shuffling(names, lambda rows: run(onnx_bytes, rows, CHUNK_SIZES[-1])[1], some, seed)
    reference = distributions.reference(run(onnx_bytes, sample, CHUNK_SIZES[-1])[0], given, important)
    document = {"onnxruntime": onnxruntime.__version__, "chunk_rows": CHUNK_SIZES[-1], "columns": table(names, golden)}
    document |= {"score": encode(score), "margin": encode(margin)}
    if known is not None:
        document |= {"base": encode(np.array([known[0]])), "contributions": table(names, known[1])}
    reasons = reasons or default_reasons(names, language)
    files = {
        "model.onnx": onnx_bytes,
        "background.json": as_json({"columns": table(names, background)}),
        "golden.json": as_json(document),
        "reference.json": reference.encode(),
        "model.toml": manifest(
            name, version, sizes, policy_version, review, decline, rules, source.method, permutations, language, other, features, reasons
        ).encode(),
        "MODEL_CARD.md": card(name, version, source, features, accepts, sample, background, measured, facts or {}, seed).encode(),
    }
    measured["check"] = write(out, files, probity)
    return measured


def checked_features(source, features, columns):
    """The features in the model's order, with the names that the model has if it has any."""
    if source.names is not None and features is None and set(source.names) == set(columns):
        columns = source.names
    features = [dict(each) for each in features] if features else [{"name": column, "sql": column} for column in columns]
    names = [each["name"] for each in features]
    if source.names is not None and list(source.names) != names:
        raise Refused(f"the model was trained with the features {', '.join(source.names)}, in this order; given are {', '.join(names)}")
    for number, each in enumerate(features):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", each["name"]) or names.count(each["name"]) > 1:
            raise Refused(f"feature name {each['name']!r}: write at most 64 ASCII letters, digits and `_`, a letter first, each name once")
        if each["name"] not in columns:
            raise Refused(f"the sample has no column {each['name']}")
        if each.get("type", "float32") != "float32":
            raise Refused(f"feature {each['name']} is {each['type']}, but the model is packed with one matrix of float32; leave `type` out")
        if ("categories" in each) != ("unknown" in each):
            raise Refused(f"feature {each['name']}: `categories` and `unknown` belong together; write both, or neither")
        each.setdefault("sql", each["name"])
        if source.impute is not None and each.setdefault("impute", source.impute[number]) != source.impute[number]:
            raise Refused(f"feature {each['name']}: the model's own pipeline imputes {source.impute[number]}, not {each['impute']}")
    return features


def checked_tables(what, tables, known, needed):
    """The tables, if each has the keys that are `needed` and none but those that are `known`."""
    if not isinstance(tables, (list, tuple)) or not all(isinstance(table, dict) for table in tables):
        raise Refused(f"write each {what} as a table [[{what}]]")
    for number, table in enumerate(tables, 1):
        for key in table:
            if key not in known:
                raise Refused(f"{what} {number}: `{key}` is unknown; write one of {', '.join(known)}, or take it out")
        for key in needed:
            if key not in table:
                raise Refused(f"{what} {number} has no `{key}`; write it")
    return tables


def codes_of(feature):
    """The numbers that the model can meet where a text was; None for a feature that is a number."""
    if "categories" not in feature:
        return None
    codes = [*feature["categories"].values(), feature["unknown"], *([feature["impute"]] if "impute" in feature else [])]
    if any(isinstance(code, (str, bool)) or float(np.float32(code)) != code for code in codes):
        raise Refused(f"feature {feature['name']}: a code of its categories is no number that a float32 holds exactly")
    return {float(code) for code in codes}


def as_float32(name, values):
    """Numbers become the 32-bit floats that the model will get; None and empty text are missing values."""
    try:
        values = [np.nan if value is None or (isinstance(value, str) and not value.strip()) else value for value in values]
        return np.array(values, np.float64).astype(np.float32)
    except (TypeError, ValueError):
        raise Refused(f"column {name} of the sample holds what is no number. Encode it before training, or leave it out") from None


def accepts_missing(source, sample):
    """For each feature, whether the library gives a finite answer to a row that lacks it."""
    row, accepts = np.nan_to_num(sample[:1], nan=0.0), []
    for number in range(sample.shape[1]):
        without = row.copy()
        without[0, number] = np.nan
        try:
            accepts.append(bool(np.all(np.isfinite(source.raw(without)))))
        except Exception:  # each library has its own error for it
            accepts.append(False)
    return accepts


def golden_rows(source, sample, accepts, seed, features, codes):
    """Made-up rows: ordinary ones, all zero, all missing, all unknown, and each side of thresholds.

    Where a text was, the model meets its codes alone: no zero that is none, and nothing between two of them.
    """
    coded = {number for number, known in enumerate(codes) if known is not None}
    rows = list(exact.synthetic(sample, GOLDEN_ROWS, seed, coded))
    rows.append(np.array([features[number]["unknown"] if number in coded and 0.0 not in codes[number] else 0.0
                          for number in range(sample.shape[1])], np.float32))
    rows.append(np.where(accepts, np.float32(np.nan), rows[0]).astype(np.float32))
    if coded:
        rows.append(rows[0].copy())
        for number in coded:
            rows[-1][number] = features[number]["unknown"]
    thresholds = source.trees.thresholds() if source.trees is not None else []
    for number, (feature, threshold) in enumerate(thresholds[:: max(1, len(thresholds) // GOLDEN_THRESHOLDS)][:GOLDEN_THRESHOLDS]):
        for value in around(threshold, codes[feature]):
            if np.isfinite(value):
                rows.append(rows[number].copy())
                rows[-1][feature] = value
    return np.array(rows, np.float32)


def around(threshold, codes):
    """The values on both sides of a threshold, and its own."""
    if codes is None:
        return next_float(threshold, -np.inf), np.float32(threshold), next_float(threshold, np.inf)
    below, above = [code for code in codes if code <= threshold], [code for code in codes if code > threshold]
    return max(below, default=np.nan), min(above, default=np.nan)


def compare(source, onnx_bytes, rows):
    """The largest difference to the library, in units of what is allowed; more than 1 is refused."""
    score, margin = (values.astype(np.float64) for values in run(onnx_bytes, rows, CHUNK_SIZES[-1]))
    raw = source.raw(rows)
    sigmoid = 1.0 / (1.0 + np.exp(-np.clip(raw, -700, 700)))
    if source.is_probability:
        differences = np.abs(1.0 / (1.0 + np.exp(-margin)) - sigmoid) / PROBABILITY_TOLERANCE
        inside = np.abs(margin) < 9.2
        differences = np.maximum(differences, np.where(inside, np.abs(score - sigmoid) / PROBABILITY_TOLERANCE, 0.0))
    else:
        # Beyond 25 a library that gives probabilities only has lost the log-odds; there they must be beyond 24.
        lost = np.abs(raw) > 25.0
        differences = np.abs(margin - np.where(lost, margin, raw)) / (source.tolerance * np.maximum(1.0, np.abs(raw)))
        differences = np.where(lost & ((np.sign(raw) != np.sign(margin)) | (np.abs(margin) < 24.0)), np.inf, differences)
        differences = np.maximum(differences, np.abs(score - sigmoid) / max(PROBABILITY_TOLERANCE, source.tolerance))
    if source.trees is not None:
        leaves = source.trees.margin(rows)
        differences = np.maximum(differences, np.abs(leaves - margin) / (source.tolerance * np.maximum(1.0, np.abs(leaves))))
    worst = int(np.argmax(np.where(np.isnan(differences), np.inf, differences)))
    if not differences[worst] <= 1.0:
        raise Refused(
            f"the ONNX model does not give what {source.library} gives: log-odds {margin[worst]!r} and not {raw[worst]!r} "
            f"for the row {rows[worst].tolist()}"
        )
    return float(differences[worst])


def contributions(source, background, golden, margin):
    """Base and contributions from something else than probity, and how they were found; None for a method that is not exact."""
    unit = np.maximum(1.0, np.abs(margin.astype(np.float64)))
    if source.weights is not None:
        found, again = (exact.linear(weights, background, golden) for weights in source.weights)
        apart = np.max(np.abs(found - again) / unit[:, None])
        if not apart <= CONTRIBUTION_TOLERANCE / 2:
            base = float(np.mean(run_margin(source, background)))
            return (base, again), f"by the formula for linear models, from 32-bit weights; from 64-bit weights they differ by {apart:.1e}"
        return (float(np.mean(source.raw(background))), found), f"by the formula for linear models; from 32-bit weights within {apart:.1e}"
    if source.trees is None:
        return None, "none: the method is approximate"
    if by_definition(source, background, golden):
        found = exact.brute_force(source.raw, background, golden)
        again = exact.brute_force(source.trees.margin, background, golden)
        apart = max(np.max(np.abs(found[1] - again[1]) / unit[:, None]), np.max(abs(found[0] - again[0]) / unit))
        if not apart <= CONTRIBUTION_TOLERANCE:
            return again, f"by their definition, from 32-bit leaves; {source.library}'s own predictions differ by {apart:.1e}"
        return found, f"by their definition, from {source.library}'s own predictions; from 32-bit leaves within {apart:.1e}"
    found, how = by_shap(source, background, golden)
    if found is None:
        found, how = leaves.shapley(source.trees, background, golden), f"leaf by leaf, because {how}"
    apart = np.max(np.abs(found[0] + found[1].sum(axis=1) - source.trees.margin(golden)) / unit)
    if not apart <= CONTRIBUTION_TOLERANCE:
        raise Refused(f"contributions that were found {how} do not add up to the margin by {apart:.1e}")
    return found, f"{how}; they add up to the margin within {apart:.1e}"


def run_margin(source, rows):
    return run(source.graph.SerializeToString(deterministic=True), rows, CHUNK_SIZES[-1])[1].astype(np.float64)


def by_shap(source, background, golden):
    """What shap finds, and its name; or nothing, and why."""
    try:
        import shap
    except ImportError:
        return None, "shap is not installed"
    if len(background) > SHAP_BACKGROUND_MAX:
        return None, f"shap would use {SHAP_BACKGROUND_MAX} of the background rows"
    background, explained = source.trees.alike(background), source.trees.alike(golden)
    if source.for_shap is None or np.any(source.trees.shap_errs(background)):
        return None, "shap does not explain this model's log-odds with this background"
    others = int(np.sum(source.trees.shap_errs(explained)))
    if others:
        return None, f"shap explains {others} of the {len(golden)} golden rows as if they were others"
    explainer = shap.TreeExplainer(source.for_shap, data=background, feature_perturbation="interventional", model_output="raw")
    found = float(np.ravel(explainer.expected_value)[0]), np.asarray(explainer.shap_values(explained), np.float64)
    unit = np.maximum(1.0, np.abs(source.trees.margin(golden)))
    apart = np.max(np.abs(found[0] + found[1].sum(axis=1) - source.trees.margin(golden)) / unit)
    if not apart <= CONTRIBUTION_TOLERANCE:
        return None, f"those of shap do not add up to the margin by {apart:.1e}"
    return found, f"by shap {shap.__version__}"


def by_definition(source, background, golden):
    cost = len(golden) * 2 ** min(golden.shape[1], 64) * len(background) * len(source.trees.roots)
    return golden.shape[1] <= exact.FEATURES_MAX and cost <= BRUTE_FORCE_MAX


def run(onnx_bytes, rows, size):
    """Score and margin of every row, with one thread, in chunks of `size` rows; the last one is padded with its first row."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    found = []
    for start in range(0, len(rows), size):
        taken = np.arange(start, min(start + size, len(rows)))
        padded = np.concatenate([taken, np.full(size - len(taken), start)])
        found.append([output.reshape(-1)[: len(taken)] for output in session.run(["score", "margin"], {"input": rows[padded]})])
    return tuple(np.concatenate(each) for each in zip(*found, strict=True))


def encode(values):
    """Floats as the hexadecimal digits of their bits."""
    return {values.dtype.name: values.astype(values.dtype.newbyteorder(">")).tobytes().hex()}


def table(names, matrix):
    return {name: encode(np.ascontiguousarray(matrix[:, number])) for number, name in enumerate(names)}


def as_json(document):
    return (json.dumps(document, indent=1) + "\n").encode()


def default_reasons(names, language):
    reasons, codes = [], {"OTHER"}
    for name in names:
        code, number = name.upper()[:32], 2
        while code in codes:
            code, number = f"{name.upper()[:28]}_{number}", number + 1
        codes.add(code)
        texts = {key: {language: f"{name} is {{{name}}}"} for key in ("raises", "lowers")}
        reasons.append({"code": code, "features": [name], **texts})
    return reasons


def text(value):
    """JSON's strings are TOML's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def manifest(name, version, sizes, policy_version, review, decline, rules, method, permutations, language, other, features, reasons):
    lines = [f"name = {text(name)}", f"version = {text(version)}", "", "[model]", 'file = "model.onnx"', f"chunk_rows = {sizes}"]
    lines += ['golden = "golden.json"', 'reference = "reference.json"', 'card = "MODEL_CARD.md"', 'matrix = "input"', "", "[output]", 'probability = { name = "score" }', 'margin = { name = "margin" }']
    lines += ["", "[policy]", f"version = {text(policy_version)}", f"review = {float(review)!r}", f"decline = {float(decline)!r}"]
    for each in rules:
        lines += ["", "[[policy.rule]]"] + [f"{key} = {text(each[key])}" for key in RULE_KEYS if key in each]
    lines += ["", "[reasons]", f"method = {text(method)}", 'background = "background.json"', f"language = {text(language)}"]
    if method == "permutation":
        lines.append(f"permutations = {permutations}")
    if other:
        lines.append(f"other = {texts(other)}")
    for each in reasons:
        lines += ["", "[[reason]]", f"code = {text(each['code'])}", f"features = [{', '.join(map(text, each['features']))}]"]
        lines += [f"{key} = {texts(each[key])}" for key in ("raises", "lowers")]
    for each in features:
        lines += ["", "[[feature]]", f"name = {text(each['name'])}", f"sql = {text(each['sql'])}", 'type = "float32"']
        if "impute" in each:
            lines.append(f"impute = {float(each['impute'])!r}")
        if "categories" in each:
            listed = ", ".join(f"{text(key)} = {float(code)!r}" for key, code in each["categories"].items())
            lines += [f"categories = {{ {listed} }}", f"unknown = {float(each['unknown'])!r}"]
        if "range" in each:
            lines.append(f"range = [{', '.join(repr(float(value)) for value in each['range'])}]")
        lines += [f"{key} = {text(each[key])}" for key in ("unit", "description", "personal") if key in each]
    return "\n".join(lines) + "\n"


def texts(by_language):
    return f"{{ {', '.join(f'{text(code)} = {text(words)}' for code, words in by_language.items())} }}"


def card(name, version, source, features, accepts, sample, background, measured, facts, seed):
    allowed = "1e-6 of the probability" if source.is_probability else f"{source.tolerance:.0e} of the log-odds, or of 1 where they are smaller"
    exactness = "approximate" if source.method == "permutation" else "exact"
    rows = {"Library": source.library, **source.facts, "Features": len(features), "Reasons": f"{source.method}, {exactness}"} | facts
    needed = [each["name"] for each, may in zip(features, accepts, strict=True) if not may and "impute" not in each]
    lines = [f"# {name} {version}", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {str(value).replace('|', '/')} |" for key, value in rows.items()]
    lines += ["", "Nobody has stated: " + ", ".join(
        each for each in ("Intended use", "Training data", "Performance", "Limits", "Owner") if each not in facts) + "."]
    lines += ["", "## Checked when it was packed", "", f"Scores and log-odds of ONNX Runtime {onnxruntime.__version__} against the "
              f"library's own, where the most that is allowed is {allowed}:", ""]
    for key, count in (("sample", len(sample)), ("background", len(background))):
        lines.append(f"- {count} rows of the {key}: at most {measured[key]:.3f} of what is allowed")
    lines.append(f"- the golden rows, among them thresholds: at most {measured['golden']:.3f}")
    lines += ["", f"Golden contributions: {measured['contributions']}."]
    lines += ["", "## Background and golden rows", "", "Made up: each column has the quantiles of the sample's column, shuffled by itself "
              f"(seed {seed}), so columns are independent. {measured['copies']} of them have the same values as a row of the sample."]
    lines += ["", "## Reference", "", f"Drift is measured from the {len(sample)} rows of the sample: how many scores, and values of the "
              f"{min(distributions.FEATURES, len(features))} most important features, are in which of at most eleven bins. Edges are "
              "deciles, or all values where there are few. A sample that the model has seen makes its scores look surer than they are."]
    if needed:
        lines += ["", "## Missing values", "", f"The model takes none for {', '.join(needed)}, and no `impute` is set for them."]
    return "\n".join(lines) + "\n"


def write(out, files, probity):
    """The folder is there with all of its files, or not at all. What `probity` says of it, and whether it could look."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for file, content in files.items():
            (staging / file).write_bytes(content)
        staging.chmod(0o755)
        said = start.check(probity, staging, out) if probity else None
        os.rename(staging, out)
        return said
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
