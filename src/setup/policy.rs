//! The rules of a policy against the input schema.
//!
//! Promises that a policy that is ready to decide can be repeated from the archive: its rules read only
//! what is archived.

use std::path::Path;

use super::ill_typed;
use crate::decide::{CompiledPolicy, Policy};
use crate::error::{Fatal, Result};
use crate::schema::InputSchema;

/// Compiles the rules of a policy, which stand in the file `manifest`.
///
/// # Errors
/// When a rule does not fit the schema, or reads what is personal.
pub fn compile(policy: Policy, schema: &InputSchema, manifest: &Path) -> Result<CompiledPolicy> {
    let policy = CompiledPolicy::compile(policy, schema.arrow())
        .map_err(|errors| ill_typed(manifest, &errors))?;
    let personal = policy
        .reads()
        .find(|(_, index)| schema.fields()[*index].personal);
    if let Some((rule, index)) = personal {
        return Err(Fatal::usage(format!(
            "{}: rule `{}` reads `{}`, which the input schema marks personal; it is not archived, so nobody could \
             repeat the decision; let the producer compute what the rule needs of it",
            manifest.display(),
            rule.name,
            schema.fields()[index].name
        )));
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Rule;
    use crate::error::Exit;
    use crate::record::Decision;

    const SCHEMA: &str = r#"{"type": "record", "name": "event", "fields": [
        {"name": "amount", "type": "long"},
        {"name": "card", "type": "string", "personal": true}]}"#;

    fn compiled(when: &str) -> Result<CompiledPolicy> {
        let rule = Rule {
            name: "a-rule".to_owned(),
            when: when.to_owned(),
            decision: Decision::Review,
            description: None,
        };
        let policy = Policy::new("1", 0.5, 0.9).unwrap();
        let policy = policy.with_rules(vec![rule]).unwrap();
        let schema = InputSchema::parse(SCHEMA).unwrap();
        compile(policy, &schema, Path::new("model.toml"))
    }

    #[test]
    fn a_rule_that_reads_a_personal_field_is_refused() {
        assert!(compiled("amount > 5").is_ok());
        let refusal = compiled("amount > 5 AND card IS NULL").unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        let text = refusal.to_string();
        let says = "model.toml: rule `a-rule` reads `card`, which the input schema marks personal";
        assert!(text.starts_with(says), "{text}");
    }

    #[test]
    fn a_rule_that_does_not_fit_the_schema_is_refused_with_its_name_and_the_word() {
        let refusal = compiled("amount > 5 AND country <> 'DE'").unwrap_err();
        assert_eq!(refusal.exit, Exit::Usage);
        let text = refusal.to_string();
        let says = "model.toml: rule `a-rule`: there is no column `country`\n  \
                    1 | amount > 5 AND country <> 'DE'\n    |                ^^^^^^^";
        assert!(text.starts_with(says), "{text}");
    }
}
