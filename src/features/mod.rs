//! Features: SQL expressions over the columns of an event, and the conditions of a policy.
//!
//! An expression is parsed and type-checked when a model package is loaded, with errors that point at
//! the word, and then evaluated column by column. This module does not know what a model is, where
//! its expressions come from, or what a NULL becomes in the model's matrix. It promises that the value
//! of a row is a function of that row alone and of nothing outside the batch, to the bit, and that
//! what compiled does not fail.
//!
//! # What an expression may hold
//!
//! Columns (`mcc`, `"a column"`; names are case-sensitive), literals (`1`, `1.5`, `1e-3`, `'text'`,
//! `TRUE`, `FALSE`, `NULL`), parentheses, `+ - * / %`, `= <> != < <= > >=`, `AND OR NOT`, `CASE` in both
//! forms, `IN` (a list of literals), `BETWEEN`, `IS [NOT] NULL`, `CAST`, `EXTRACT`, and the functions
//! ABS, COALESCE, EXP, FLOOR, GREATEST, LEAST, LENGTH, LN, LOWER, NULLIF, POWER, ROUND and SQRT. The
//! list is closed.
//!
//! # Types
//!
//! There are five, and no other conversion between them than that an integer may stand where a double
//! is due (the nearest double is taken). CAST does the rest.
//!
//! | type | columns of Arrow type |
//! |---|---|
//! | boolean | Boolean |
//! | integer, 64 bits | Int32, Int64 |
//! | double | Float32, Float64, Decimal128 (its unscaled integer divided by its power of ten, both as doubles: the nearest double for up to 15 digits) |
//! | text | Utf8 |
//! | timestamp, in µs UTC | Timestamp(µs, UTC), Date32 (its midnight) |
//!
//! # Rules
//!
//! - **NULL** in gives NULL out, as in SQL: comparisons with NULL are unknown; AND, OR and NOT are
//!   three-valued; a condition that is unknown is not met. COALESCE, LEAST and GREATEST pass over NULL.
//! - **What does not fit is NULL**, never an error: integers that overflow, division by zero, LN of zero
//!   or less, the root of a negative number, whatever else would be NaN or infinite, text that is no
//!   number. There is one zero: minus zero becomes zero.
//! - `+ - * %` of two integers is an integer. **`/` always gives a double**: `1 / 2` is 0.5. `%` has the
//!   sign of the left side. A number of another type than integer makes the whole operation a double.
//! - Values that meet (in a comparison, CASE, IN, BETWEEN, COALESCE, LEAST, GREATEST, NULLIF) have one
//!   type; if one of them is a double, the integers become doubles. Booleans have no order.
//! - The difference of two timestamps is in seconds, a double. Nothing else is computed with timestamps.
//! - EXTRACT takes YEAR, MONTH, DAY, DOW (Sunday is 0), HOUR, MINUTE, integers, and EPOCH, a double in
//!   seconds; all in UTC.
//! - ROUND and CAST to BIGINT or INT take the nearest integer, halves away from zero. FLOOR and ROUND
//!   keep the type. CAST to INT is NULL outside 32 bits; CAST to REAL rounds to 32 bits and is a double.
//!   FLOAT is REAL. A boolean casts to 1 or 0, an integer to TRUE unless it is 0, text to a number if it
//!   is one and nothing else. Doubles and timestamps have no text.
//! - Text is compared by code point. LENGTH counts characters. LOWER follows Unicode.
//! - A Float32 column is widened exactly: `score = 0.9` never holds for one, since 0.9 is no float.
//! - **Categories** turn the text of an expression into its code, and any other text into the code that is kept
//!   for it. NULL is no text, and stays NULL.

mod cast;
mod categories;
mod check;
mod choice;
mod error;
mod eval;
mod expr;
mod function;
mod leaf;
mod number;
mod parse;
#[cfg(test)]
mod tests;
mod text;
mod time;

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, Schema};

use crate::record::Digest;

pub use categories::Categories;
use error::Fault;
pub use error::{ExprError, Place};
use eval::{Inputs, evaluate};
use expr::{Node, Target, Type};

/// One feature, as it is written in the model package.
#[derive(Clone, PartialEq, Debug)]
pub struct Definition {
    pub name: String,
    pub sql: String,
    /// Stands for NULL.
    pub impute: Option<f64>,
    /// The expression is a text, and this says its number.
    pub categories: Option<Categories>,
}

/// What the input of the model wants. Integers and booleans cannot say "missing", so a package imputes them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum FeatureType {
    /// The nearest float of a number, or 1 and 0 of a boolean. NULL where a double is too large.
    #[default]
    Float32,
    /// A double, or an integer or a boolean as one.
    Float64,
    /// An integer, or a boolean as one.
    Int64,
    /// Text.
    Utf8,
    /// A boolean.
    Boolean,
}

impl FeatureType {
    pub const ALL: [FeatureType; 5] = [
        FeatureType::Float32,
        FeatureType::Float64,
        FeatureType::Int64,
        FeatureType::Utf8,
        FeatureType::Boolean,
    ];

    /// As it is written in `model.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FeatureType::Float32 => "float32",
            FeatureType::Float64 => "float64",
            FeatureType::Int64 => "int64",
            FeatureType::Utf8 => "string",
            FeatureType::Boolean => "boolean",
        }
    }

    /// Its column's type.
    #[must_use]
    pub fn arrow_type(self) -> DataType {
        match self {
            FeatureType::Float32 => DataType::Float32,
            FeatureType::Float64 => DataType::Float64,
            FeatureType::Int64 => DataType::Int64,
            FeatureType::Utf8 => DataType::Utf8,
            FeatureType::Boolean => DataType::Boolean,
        }
    }
}

/// What the features of some rows are.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// One array for each feature, in the order of the definitions.
    pub columns: Vec<ArrayRef>,
    /// For each column, the rows that have a value of their own, if the package stands in for others.
    given: Vec<Option<NullBuffer>>,
    /// The rows in which nothing was imputed; all of them if there is none.
    complete: Option<NullBuffer>,
}

impl Evaluated {
    /// Whether the model package stood in for a feature of the row.
    #[must_use]
    pub fn is_imputed(&self, row: usize) -> bool {
        self.complete.as_ref().is_some_and(|rows| rows.is_null(row))
    }

    /// The rows in which the feature of this index is neither missing nor imputed; `None`: all of them.
    #[must_use]
    pub fn known(&self, feature: usize) -> Option<&NullBuffer> {
        let given = self.given[feature].as_ref();
        given.or_else(|| self.columns[feature].nulls())
    }
}

/// The features of a model, ready to evaluate.
#[derive(Debug)]
pub struct FeatureSet {
    features: Vec<Feature>,
    columns: Columns,
    digest: Digest,
}

#[derive(Debug)]
struct Feature {
    name: String,
    node: Node,
    feature_type: FeatureType,
    impute: Option<f64>,
    categories: Option<Categories>,
}

impl FeatureSet {
    /// Compiles `definitions` for batches of schema `events`.
    ///
    /// # Errors
    ///
    /// One for each definition that is wrong: its grammar, its types, its impute value, or its name,
    /// which another has already.
    pub fn compile(
        definitions: &[(Definition, FeatureType)],
        events: &Schema,
    ) -> Result<FeatureSet, Vec<ExprError>> {
        let mut columns = Vec::new();
        let mut features: Vec<Feature> = Vec::with_capacity(definitions.len());
        let mut errors = Vec::new();
        for (index, (definition, feature_type)) in definitions.iter().enumerate() {
            let earlier = &definitions[..index];
            if earlier
                .iter()
                .any(|(other, _)| other.name == definition.name)
            {
                errors.push(refused(definition, "another feature has this name"));
                continue;
            }
            match Feature::compile(definition, *feature_type, events, &mut columns) {
                Ok(feature) => features.push(feature),
                Err(error) => errors.push(once(error, &errors)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let digest = digest(&features);
        Ok(FeatureSet {
            features,
            columns: Columns::new(events, columns),
            digest,
        })
    }

    /// The features of each row: one array for each feature, in the order of the definitions, each as
    /// long as `events`. NULL stays NULL where nothing is imputed.
    ///
    /// # Panics
    ///
    /// If a column is of another type than in the schema that the features were compiled for.
    #[must_use]
    pub fn evaluate(&self, events: &RecordBatch) -> Vec<ArrayRef> {
        self.complete(events).columns
    }

    /// As [`FeatureSet::evaluate`], and in which rows something was imputed.
    ///
    /// # Panics
    ///
    /// As [`FeatureSet::evaluate`].
    #[must_use]
    pub fn complete(&self, events: &RecordBatch) -> Evaluated {
        let inputs = self.columns.load(events);
        let evaluated = self
            .features
            .iter()
            .map(|feature| feature.evaluate(&inputs));
        let (columns, given): (Vec<ArrayRef>, Vec<Option<NullBuffer>>) = evaluated.unzip();
        let complete = given.iter().fold(None, |all, nulls| {
            NullBuffer::union(all.as_ref(), nulls.as_ref())
        });
        Evaluated {
            columns,
            given,
            complete,
        }
    }

    /// Which columns of the events the features read, by index.
    pub fn reads(&self) -> impl ExactSizeIterator<Item = usize> {
        self.columns.0.iter().map(|(index, _)| *index)
    }

    /// The names of the features, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.features.iter().map(|feature| feature.name.as_str())
    }

    /// The types of the features, in order.
    pub fn types(&self) -> impl ExactSizeIterator<Item = FeatureType> {
        self.features.iter().map(|feature| feature.feature_type)
    }

    /// The feature-spec hash: of names, types, canonical expressions, impute values and categories. White space,
    /// comments, case of keywords and redundant parentheses do not change it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Feature {
    fn compile(
        definition: &Definition,
        feature_type: FeatureType,
        events: &Schema,
        columns: &mut Vec<usize>,
    ) -> Result<Feature, ExprError> {
        let subject = subject(definition);
        let node = check::compile(&definition.sql, events, columns)
            .and_then(|node| match &definition.categories {
                Some(_) => of_categories(node),
                None => for_model(node, feature_type),
            })
            .map_err(|fault| fault.into_error(&subject, &definition.sql))?;
        if let Some(value) = definition.impute
            && !can_impute(feature_type, value)
        {
            let message = format!(
                "impute = {value:?} is no value of type {}",
                feature_type.as_str()
            );
            return Err(refused(definition, &message));
        }
        let is_no_code = |code: &f64| !holds(feature_type, *code);
        if let Some(code) = definition
            .categories
            .iter()
            .flat_map(Categories::codes)
            .find(is_no_code)
        {
            let message = format!(
                "the category's code {code:?} is no value of type {}",
                feature_type.as_str()
            );
            return Err(refused(definition, &message));
        }
        let name = definition.name.clone();
        // There is one zero here too.
        let impute = definition.impute.map(|value| value + 0.0);
        Ok(Feature {
            name,
            node,
            feature_type,
            impute,
            categories: definition.categories.clone(),
        })
    }

    /// The value in each row, and in which rows it was imputed: those are null in the second.
    fn evaluate(&self, inputs: &Inputs) -> (ArrayRef, Option<NullBuffer>) {
        let array = evaluate(&self.node, inputs).into_rows(inputs.rows);
        let array: ArrayRef = match &self.categories {
            Some(categories) => Arc::new(categories.encode(array.as_string())),
            None => array,
        };
        let array: ArrayRef = match self.feature_type {
            FeatureType::Float32 => Arc::new(cast::single(&array)),
            FeatureType::Int64 if self.categories.is_some() => {
                Arc::new(cast::whole(array.as_primitive()))
            }
            _ => array,
        };
        let Some(value) = self.impute else {
            return (array, None);
        };
        let filled: ArrayRef = match self.feature_type {
            FeatureType::Float32 => Arc::new(cast::filled::<Float32Type>(
                array.as_primitive(),
                value as f32,
            )),
            FeatureType::Float64 => {
                Arc::new(cast::filled::<Float64Type>(array.as_primitive(), value))
            }
            FeatureType::Int64 => Arc::new(cast::filled::<Int64Type>(
                array.as_primitive(),
                value as i64,
            )),
            FeatureType::Boolean => {
                let flags = array.as_boolean().iter();
                let filled = flags.map(|flag| Some(flag.unwrap_or(value != 0.0)));
                Arc::new(filled.collect::<BooleanArray>())
            }
            FeatureType::Utf8 => unreachable!("what cannot be imputed was refused"),
        };
        (filled, array.nulls().cloned())
    }
}

/// `node` as a feature of type `feature_type`.
fn for_model(node: Node, feature_type: FeatureType) -> Result<Node, Fault> {
    let found = node.ty;
    let fits = match (feature_type, found) {
        (FeatureType::Float32 | FeatureType::Float64 | FeatureType::Int64, Type::Boolean) => {
            Some(node.cast(Target::BigInt))
        }
        _ => Some(node),
    };
    let fits = fits.and_then(|node| match feature_type {
        FeatureType::Float32 if node.ty == Type::Integer => Some(node),
        FeatureType::Float32 | FeatureType::Float64 => node.coerce(Type::Double),
        FeatureType::Int64 => node.coerce(Type::Integer),
        FeatureType::Utf8 => node.coerce(Type::Text),
        FeatureType::Boolean => node.coerce(Type::Boolean),
    });
    fits.ok_or_else(|| {
        let wanted = format!(
            "the model wants {} here, and this is {}",
            feature_type.as_str(),
            found.noun()
        );
        let fault = Fault::whole(wanted);
        match (feature_type, found) {
            (FeatureType::Int64, Type::Double) => fault.hint("write CAST(… AS BIGINT)"),
            (FeatureType::Utf8, Type::Integer | Type::Boolean) => {
                fault.hint("write CAST(… AS VARCHAR)")
            }
            (_, Type::Timestamp) => fault.hint("EXTRACT(HOUR FROM …) and its kin give numbers"),
            _ => fault,
        }
    })
}

/// `node` as the text of a feature with categories.
fn of_categories(node: Node) -> Result<Node, Fault> {
    let found = node.ty;
    node.coerce(Type::Text).ok_or_else(|| {
        let fault = Fault::whole(format!(
            "categories are texts, and this is {}",
            found.noun()
        ));
        match found {
            Type::Integer | Type::Boolean => {
                fault.hint("write CAST(… AS VARCHAR), or leave `categories` and `unknown` out")
            }
            _ => fault.hint("leave `categories` and `unknown` out"),
        }
    })
}

/// Whether a feature of this type holds the code to the bit.
fn holds(feature_type: FeatureType, code: f64) -> bool {
    let is_exact = feature_type != FeatureType::Float32 || f64::from(code as f32) == code;
    is_exact && can_impute(feature_type, code)
}

fn can_impute(feature_type: FeatureType, value: f64) -> bool {
    match feature_type {
        FeatureType::Float32 => (value as f32).is_finite(),
        FeatureType::Float64 => value.is_finite(),
        // Below 2^53 every integer is a double, and the value is the one that was written.
        FeatureType::Int64 => value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0,
        FeatureType::Boolean => value == 0.0 || value == 1.0,
        FeatureType::Utf8 => false,
    }
}

/// The error without the list of all columns, if an earlier one has it.
fn once(mut error: ExprError, earlier: &[ExprError]) -> ExprError {
    let is_listed = |hint: &Option<String>| {
        let hint = hint.as_deref();
        hint.is_some_and(|hint| hint.starts_with(leaf::COLUMNS))
    };
    if is_listed(&error.hint) && earlier.iter().any(|other| is_listed(&other.hint)) {
        error.hint = None;
    }
    error
}

fn subject(definition: &Definition) -> String {
    format!("feature `{}`", definition.name)
}

fn refused(definition: &Definition, message: &str) -> ExprError {
    ExprError {
        subject: subject(definition),
        message: message.to_owned(),
        hint: None,
        sql: definition.sql.clone(),
        place: None,
    }
}

/// Why writing does not fail.
const MEMORY: &str = "writing to memory does not fail";

/// The first line is the version of the rules: it changes when an expression comes to mean another
/// value.
fn digest(features: &[Feature]) -> Digest {
    let mut text = String::from("probity features 1\n");
    for Feature {
        name,
        node,
        feature_type,
        impute,
        categories,
    } in features
    {
        write!(text, "{name:?} {feature_type:?} {node} {impute:?}").expect(MEMORY);
        if let Some(categories) = categories {
            write!(text, " {categories:?}").expect(MEMORY);
        }
        text.push('\n');
    }
    Digest::of(text.as_bytes())
}

/// A boolean expression over the columns of a batch: when a rule of the policy applies.
#[derive(Debug)]
pub struct Condition {
    node: Node,
    columns: Columns,
}

impl Condition {
    /// Compiles `sql` for batches of schema `schema`. The error calls it "condition"; whoever knows a
    /// better name puts it in [`ExprError::subject`].
    ///
    /// # Errors
    ///
    /// The grammar or the types are wrong, or the expression is not boolean.
    pub fn compile(sql: &str, schema: &Schema) -> Result<Condition, ExprError> {
        let mut columns = Vec::new();
        let node = check::compile(sql, schema, &mut columns)
            .and_then(|node| {
                let found = node.ty;
                let message = || format!("a condition is a boolean, and this is {}", found.noun());
                node.coerce(Type::Boolean)
                    .ok_or_else(|| Fault::whole(message()))
            })
            .map_err(|fault| fault.into_error("condition", sql))?;
        Ok(Condition {
            node,
            columns: Columns::new(schema, columns),
        })
    }

    /// Whether each row meets the condition; NULL where that is unknown, which is not met.
    ///
    /// # Panics
    ///
    /// If a column is of another type than in the schema that the condition was compiled for.
    #[must_use]
    pub fn evaluate(&self, batch: &RecordBatch) -> BooleanArray {
        let inputs = self.columns.load(batch);
        evaluate(&self.node, &inputs)
            .into_rows(inputs.rows)
            .as_boolean()
            .clone()
    }

    /// Which columns of the batch the condition reads, by index.
    pub fn reads(&self) -> impl ExactSizeIterator<Item = usize> {
        self.columns.0.iter().map(|(index, _)| *index)
    }

    /// One text for all spellings of the same condition.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.node.to_string()
    }
}

/// Where in a batch the columns are that expressions use, and of what type.
#[derive(Debug)]
struct Columns(Vec<(usize, DataType)>);

impl Columns {
    fn new(schema: &Schema, used: Vec<usize>) -> Columns {
        let typed = |index| (index, schema.field(index).data_type().clone());
        Columns(used.into_iter().map(typed).collect())
    }

    fn load(&self, batch: &RecordBatch) -> Inputs {
        let columns = self.0.iter().map(|(index, data_type)| {
            let column = batch.column(*index);
            assert_eq!(
                column.data_type(),
                data_type,
                "column {index} is as it was compiled for"
            );
            cast::load(column)
        });
        Inputs {
            columns: columns.collect(),
            rows: batch.num_rows(),
        }
    }
}
