"""Decisions by rules of a policy: what must be believed, and what nobody may sign.

The golden archive's policy has no rules, so the newest file is given one that has, with everything that follows."""

import pyarrow as pa

from mutants.base import NEWEST, Threat, mutant, replaced, resign, row_of, set_row
from mutants.forger import NEXT_ARCHIVER, Forger, sha256

ABROAD = 'rule abroad review "issuer_country <> acquirer_country"\n'
LARGE = 'rule large decline "amount_minor > 500000\\n  AND \\"näme\\" IS NOT NULL"\n'


def policy_with(archive: Forger, *rules: str, form: int = 2) -> str:
    """Puts the newest file's policy with these lines into the archive. Returns its name."""
    kept = archive.table(NEWEST)["policy_sha256"][0].as_py()
    text = archive.read(f"policies/{kept}.txt").decode().replace("policy 1\n", f"policy {form}\n")
    data = (text + "".join(rules)).encode()
    archive.write(f"policies/{sha256(data)}.txt", data)
    return sha256(data)


def put_policy(table: pa.Table, policy: str) -> pa.Table:
    return replaced(table, "policy_sha256", lambda values: [policy] * len(values))


def commit(archive: Forger, table: pa.Table, rules: list) -> None:
    """Commits the table with a column of rules, signed by who has every key."""
    columns = archive.read(f"columns/{archive.entry(NEWEST)['columns']}.txt") + b"rule:text\n"
    archive.write(f"columns/{sha256(columns)}.txt", columns)
    table = table.append_column("rule", pa.array(rules, pa.string()))
    archive.commit(NEWEST, table, NEXT_ARCHIVER, columns=sha256(columns))
    resign(archive)


# What the newest file's thresholds, 0.1 and 0.9, make of a score.
SCORES = {"approve": 0.0, "review": 0.5, "decline": 1.0}


def decided_by(archive: Forger, was: str, decision: str, rule: str, threshold: float | None = None) -> None:
    """Says that a rule made a decision out of what the score asks for."""
    table = put_policy(archive.table(NEWEST), policy_with(archive, ABROAD, LARGE))
    row = row_of(table, "kind", "scored")
    table = replaced(table, "score", set_row(row, SCORES[was]))
    table = replaced(table, "decision", set_row(row, decision))
    table = replaced(table, "threshold", set_row(row, threshold))
    commit(archive, table, set_row(row, rule)([None] * table.num_rows))


def under_policy(archive: Forger, policy: str) -> None:
    """Nothing but the policy is another."""
    table = archive.table(NEWEST)
    commit(archive, put_policy(table, policy), [None] * table.num_rows)


@mutant(Threat.USUAL, "gap", "in-flight")
def review_by_a_rule(archive):
    decided_by(archive, "approve", "review", "abroad")


@mutant(Threat.USUAL, "gap", "in-flight")
def decline_by_a_rule(archive):
    decided_by(archive, "review", "decline", "large")


@mutant(Threat.USUAL, "gap", "in-flight")
def rules_that_decided_nothing(archive):
    under_policy(archive, policy_with(archive, LARGE, ABROAD))


@mutant(Threat.WRONG, "policy")
def rule_that_the_policy_does_not_have(archive):
    decided_by(archive, "approve", "review", "home")


@mutant(Threat.WRONG, "policy")
def rule_that_asks_for_another_decision(archive):
    decided_by(archive, "approve", "decline", "abroad")


@mutant(Threat.WRONG, "policy")
def rule_that_makes_nothing_stricter(archive):
    decided_by(archive, "decline", "decline", "large")


@mutant(Threat.WRONG, "policy")
def rule_that_makes_a_decision_milder(archive):
    decided_by(archive, "decline", "review", "abroad")


@mutant(Threat.WRONG, "policy")
def rule_with_a_threshold(archive):
    decided_by(archive, "approve", "review", "abroad", 0.1)


@mutant(Threat.WRONG, "policy")
def stricter_than_the_score_without_a_rule(archive):
    decided_by(archive, "approve", "review", None)


@mutant(Threat.WRONG, "policy")
def rule_under_a_policy_without_rules(archive):
    table = archive.table(NEWEST)
    row = row_of(table, "kind", "scored")
    for name, value in (("score", 0.0), ("decision", "review"), ("threshold", None)):
        table = replaced(table, name, set_row(row, value))
    commit(archive, table, set_row(row, "abroad")([None] * table.num_rows))


@mutant(Threat.WRONG, "policy")
def rule_in_a_row_that_is_not_scored(archive):
    table = put_policy(archive.table(NEWEST), policy_with(archive, ABROAD))
    row = next(at for at, kind in enumerate(table["kind"].to_pylist()) if kind != "scored")
    commit(archive, table, set_row(row, "abroad")([None] * table.num_rows))


@mutant(Threat.WRONG, "policy")
def policy_of_a_form_to_come(archive):
    under_policy(archive, policy_with(archive, ABROAD, form=3))


@mutant(Threat.WRONG, "policy")
def policy_with_rules_in_the_form_without(archive):
    under_policy(archive, policy_with(archive, ABROAD, form=1))


@mutant(Threat.WRONG, "policy")
def policy_without_rules_in_the_form_with(archive):
    under_policy(archive, policy_with(archive))


@mutant(Threat.WRONG, "policy")
def policy_with_two_rules_of_one_name(archive):
    under_policy(archive, policy_with(archive, ABROAD, LARGE.replace("large", "abroad")))


@mutant(Threat.WRONG, "policy")
def policy_whose_rule_makes_decisions_milder(archive):
    under_policy(archive, policy_with(archive, ABROAD.replace("review", "approve")))


@mutant(Threat.WRONG, "policy")
def policy_whose_condition_is_written_in_another_way(archive):
    """One policy would have two names."""
    under_policy(archive, policy_with(archive, ABROAD.replace(">", "\\u003e")))


@mutant(Threat.WRONG, "policy")
def policy_with_more_rules_than_there_may_be(archive):
    rules = (ABROAD.replace("abroad", f"abroad-{n}") for n in range(65))
    under_policy(archive, policy_with(archive, *rules))
