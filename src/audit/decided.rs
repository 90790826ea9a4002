//! Decides archived rows again: the policy of the archive over the recorded scores and events.
//!
//! Promises that a rule is asked as it was asked then: its condition, as the policy has it, over the columns that
//! the archived input schema declares. What a rule reads is archived, so nothing else is needed.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};

use super::archived::Archived;
use super::file::{column, optional_column};
use super::verify::violation;
use crate::decide::{CompiledPolicy, Policy, Ruled};
use crate::error::Result;
use crate::evidence::columns;
use crate::record::Decision;
use crate::schema::InputSchema;

/// A policy that decides archived rows.
pub struct Deciding {
    policy: CompiledPolicy,
    /// The columns of the input that are archived; none if no rule asks for one.
    events: SchemaRef,
}

/// What a policy makes of some rows.
pub struct Again {
    decisions: Vec<Decision>,
    ruled: Ruled,
}

/// What was recorded of some rows.
pub struct Verdicts {
    decisions: StringArray,
    rules: Option<StringArray>,
}

impl Deciding {
    /// `schema` is that of the input when the rows were decided; it is read only for rules.
    ///
    /// # Errors
    /// When the rules do not fit the schema.
    pub fn new(policy: Policy, schema: impl FnOnce() -> Result<InputSchema>) -> Result<Deciding> {
        let events = match policy.rules() {
            [] => Schema::empty(),
            _ => archived_fields(&schema()?),
        };
        let policy = CompiledPolicy::compile(policy, &events).map_err(|errors| {
            let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
            violation(format!(
                "the rules of a policy do not fit the archived input schema: {}",
                list.join("\n")
            ))
        })?;
        let events = Arc::new(events);
        Ok(Deciding { policy, events })
    }

    pub fn policy(&self) -> &Policy {
        self.policy.policy()
    }

    /// Decides rows of the archive that are scored.
    ///
    /// # Errors
    /// When a column of the event is missing, or of another type; or a score is not finite.
    pub fn decide(&self, scores: &[f32], rows: &RecordBatch) -> Result<Again, String> {
        if scores.iter().any(|score| !score.is_finite()) {
            return Err("a row is scored and has no score".to_owned());
        }
        let of_archive = |field: &FieldRef| {
            let name = format!("{}{}", columns::EVENT_PREFIX, field.name());
            column(rows, &name, field.data_type())
        };
        let events = self.events.fields().iter().map(of_archive);
        let events = events.collect::<Result<Vec<ArrayRef>, _>>()?;
        let len = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let events = RecordBatch::try_new_with_options(self.events.clone(), events, &len)
            .map_err(|error| error.to_string())?;
        let (decisions, ruled) = self.policy.decide(scores, &events);
        Ok(Again { decisions, ruled })
    }
}

/// The fields of the input that are not personal.
fn archived_fields(schema: &InputSchema) -> Schema {
    let fields = schema.arrow().fields().iter().zip(schema.fields());
    let archived = fields.filter(|(_, field)| !field.personal);
    Schema::new(archived.map(|(field, _)| field.clone()).collect::<Vec<_>>())
}

impl Verdicts {
    /// # Errors
    /// When a column is missing, or of another type.
    pub fn of(rows: &RecordBatch) -> Result<Verdicts, String> {
        let rules = optional_column(rows, columns::RULE, &DataType::Utf8)?;
        Ok(Verdicts {
            decisions: column(rows, columns::DECISION, &DataType::Utf8)?
                .as_string()
                .clone(),
            rules: rules.map(|rules| rules.as_string().clone()),
        })
    }

    fn rule(&self, row: usize) -> Option<&str> {
        let rules = self.rules.as_ref()?;
        rules.is_valid(row).then(|| rules.value(row))
    }

    /// Whether a row was decided so, and by the same rule or as well by none.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn compare(&self, again: &Again, row: usize) -> Result<(), &'static str> {
        let is_same = self.decisions.is_valid(row)
            && self.decisions.value(row) == again.decisions[row].as_str();
        if !is_same {
            Err("the policy does not give its decision")
        } else if self.rule(row) != again.ruled.of(row) {
            Err("the policy gives its decision, and not by the rule that is recorded")
        } else {
            Ok(())
        }
    }
}

impl Archived<'_> {
    /// What decided the rows that name this policy and this input schema.
    ///
    /// # Errors
    /// When an object is missing or altered, or no policy or schema, or they do not fit.
    pub fn deciding(&mut self, policy: &str, schema: &str) -> Result<&Deciding> {
        let key = (policy.to_owned(), schema.to_owned());
        if !self.deciding.contains_key(&key) {
            let found = self.policy(policy)?;
            let deciding = Deciding::new(found, || self.schema(schema))?;
            self.deciding.insert(key.clone(), deciding);
        }
        Ok(&self.deciding[&key])
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Int64Array};
    use arrow::compute::cast;
    use arrow::datatypes::Field;

    use super::*;
    use crate::decide::Rule;
    use crate::error::Exit;

    const SCHEMA: &str = r#"{"type": "record", "name": "event", "fields": [
        {"name": "amount", "type": "long"},
        {"name": "card", "type": "string", "personal": true},
        {"name": "country", "type": ["null", "string"]}]}"#;

    fn deciding(when: &str) -> Result<Deciding> {
        let rule = |name: &str, when: &str| Rule {
            name: name.to_owned(),
            when: when.to_owned(),
            decision: Decision::Review,
            description: None,
        };
        let rules = vec![rule("large", when), rule("abroad", "country <> 'DE'")];
        let policy = Policy::new("1", 0.5, 0.9).unwrap();
        let schema = || Ok(InputSchema::parse(SCHEMA).unwrap());
        Deciding::new(policy.with_rules(rules).unwrap(), schema)
    }

    /// Archived rows with these columns.
    fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let field =
            |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    /// Four rows: of a large amount, from abroad, of a country that nobody knows, and of a high score.
    fn events() -> Vec<(&'static str, ArrayRef)> {
        let countries = StringArray::from(vec![Some("DE"), Some("FR"), None, Some("FR")]);
        // As other tools may have written it again.
        let kind = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
        vec![
            ("event_country", cast(&countries, &kind).unwrap()),
            (
                "event_amount",
                Arc::new(Int64Array::from(vec![900, 1, 1, 1])),
            ),
            (
                "score",
                Arc::new(Float32Array::from(vec![0.1, 0.1, 0.1, 0.6])),
            ),
        ]
    }

    const SCORES: [f32; 4] = [0.1, 0.1, 0.1, 0.6];

    fn recorded(decisions: [&str; 4], rules: Option<[Option<&str>; 4]>) -> RecordBatch {
        let mut columns = events();
        let decisions = StringArray::from_iter_values(decisions);
        columns.push(("decision", Arc::new(decisions)));
        if let Some(rules) = rules {
            columns.push(("rule", Arc::new(StringArray::from(rules.to_vec()))));
        }
        rows(columns)
    }

    /// What is otherwise in each row.
    fn compared(rows: &RecordBatch) -> Vec<Result<(), &'static str>> {
        let again = deciding("amount > 500").unwrap().decide(&SCORES, rows);
        let (again, verdicts) = (again.unwrap(), Verdicts::of(rows).unwrap());
        (0..SCORES.len())
            .map(|row| verdicts.compare(&again, row))
            .collect()
    }

    #[test]
    fn a_decision_and_its_rule_are_repeated_from_the_archived_event() {
        let decisions = ["review", "review", "approve", "review"];
        let rules = [Some("large"), Some("abroad"), None, None];
        let rows = recorded(decisions, Some(rules));
        assert_eq!(compared(&rows), [Ok(()); 4]);
    }

    #[test]
    fn another_decision_and_another_rule_are_told_apart() {
        let decisions = ["approve", "review", "approve", "review"];
        let rules = [None, Some("large"), Some("abroad"), Some("abroad")];
        let found = compared(&recorded(decisions, Some(rules)));
        let (decision, rule) = (
            Err("the policy does not give its decision"),
            Err("the policy gives its decision, and not by the rule that is recorded"),
        );
        assert_eq!(found, [decision, rule, rule, rule]);
        let without = recorded(["review", "review", "approve", "review"], None);
        assert_eq!(compared(&without), [rule, rule, Ok(()), Ok(())]);
    }

    #[test]
    fn a_rule_that_does_not_fit_the_archived_columns_is_an_integrity_violation() {
        for when in ["amuont > 5", "card = 'x'"] {
            let fatal = deciding(when).err().unwrap();
            assert_eq!(fatal.exit, Exit::Integrity);
            assert!(fatal.to_string().contains("rule `large`"), "{fatal}");
        }
        let missing = rows(events().split_off(1));
        let missing = deciding("amount > 5").unwrap().decide(&SCORES, &missing);
        assert!(missing.err().unwrap().contains("`event_country`"));
    }

    #[test]
    fn without_rules_neither_schema_nor_event_is_asked_for() {
        let policy = Policy::new("1", 0.5, 0.9).unwrap();
        let deciding = Deciding::new(policy, || Err(violation("nobody may ask"))).unwrap();
        let rows = rows(events().split_off(2));
        let again = deciding.decide(&SCORES, &rows).unwrap();
        let (approve, review) = (Decision::Approve, Decision::Review);
        assert_eq!(again.decisions, [approve, approve, approve, review]);
        let not_finite = deciding.decide(&[f32::NAN; 4], &rows);
        assert!(not_finite.is_err());
    }
}
