//! The typed tree of an expression, and its canonical text.
//!
//! Knows neither SQL's grammar (`check` builds the tree) nor Arrow's kernels (`eval` walks it), apart
//! from the one-row array that each literal carries. A tree that exists is well-typed: every
//! conversion is a node of its own. Two spellings of one tree have one canonical text, which is what
//! the feature-spec hash is taken over.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};

/// The type of a value inside an expression. Columns of other types become one of these on loading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    /// Of the literal NULL, before the place where it stands gives it another.
    Null,
    Boolean,
    Integer,
    Double,
    Text,
    Timestamp,
}

impl Type {
    /// How messages call a value of this type.
    pub fn noun(self) -> &'static str {
        match self {
            Type::Null => "NULL",
            Type::Boolean => "a boolean",
            Type::Integer => "an integer",
            Type::Double => "a double",
            Type::Text => "text",
            Type::Timestamp => "a timestamp",
        }
    }

    pub fn is_number(self) -> bool {
        matches!(self, Type::Integer | Type::Double)
    }

    pub fn arrow(self) -> DataType {
        match self {
            Type::Null | Type::Boolean => DataType::Boolean,
            Type::Integer => DataType::Int64,
            Type::Double => DataType::Float64,
            Type::Text => DataType::Utf8,
            Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// One expression, well-typed.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub ty: Type,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// An array of one row.
    Literal(ArrayRef),
    Column {
        slot: usize,
        name: String,
    },
    Cast(Box<Node>, Target),
    Unary(Unary, Box<Node>),
    /// Both sides have the type of the node.
    Arithmetic(Operator, Box<Node>, Box<Node>),
    /// Seconds from the second timestamp to the first.
    Elapsed(Box<Node>, Box<Node>),
    /// Both sides have one type.
    Compare(Comparison, Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Between(Box<Node>, Box<Node>, Box<Node>),
    In(Box<Node>, Set),
    /// With an operand the conditions have its type, without one they are boolean.
    Case {
        operand: Option<Box<Node>>,
        branches: Vec<(Node, Node)>,
        otherwise: Box<Node>,
    },
    Coalesce(Vec<Node>),
    NullIf(Box<Node>, Box<Node>),
    Least(Vec<Node>),
    Greatest(Vec<Node>),
    Extract(Part, Box<Node>),
}

/// What CAST makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Double,
    Real,
    BigInt,
    Int,
    Varchar,
    Boolean,
}

impl Target {
    pub fn ty(self) -> Type {
        match self {
            Target::Double | Target::Real => Type::Double,
            Target::BigInt | Target::Int => Type::Integer,
            Target::Varchar => Type::Text,
            Target::Boolean => Type::Boolean,
        }
    }
}

/// What takes one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unary {
    Negate,
    Not,
    IsNull,
    IsNotNull,
    Abs,
    Ln,
    Exp,
    Sqrt,
    Floor,
    Round,
    Length,
    Lower,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The part of a timestamp, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Year,
    Month,
    Day,
    /// Sunday is 0.
    DayOfWeek,
    Hour,
    Minute,
    Epoch,
}

/// The literals of an IN list, sorted.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub values: SetValues,
    /// The list held a NULL: what is not found is then unknown, not absent.
    pub has_null: bool,
}

#[derive(Clone, Debug)]
pub(super) enum SetValues {
    Integer(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<String>),
}

impl Set {
    /// The set of `literals`, which have type `ty`; `None` where sets of that type are not kept.
    pub fn of(ty: Type, literals: &[Node]) -> Option<Set> {
        let arrays: Vec<&ArrayRef> = literals.iter().filter_map(Node::as_literal).collect();
        let present = || arrays.iter().filter(|array| array.is_valid(0));
        let values = match ty {
            Type::Integer => {
                let mut values: Vec<i64> = present()
                    .map(|array| array.as_primitive::<Int64Type>().value(0))
                    .collect();
                values.sort_unstable();
                SetValues::Integer(values)
            }
            Type::Double => {
                let mut values: Vec<f64> = present()
                    .map(|array| array.as_primitive::<Float64Type>().value(0))
                    .collect();
                values.sort_unstable_by(f64::total_cmp);
                SetValues::Double(values)
            }
            Type::Text => {
                let mut values: Vec<String> = present()
                    .map(|array| array.as_string::<i32>().value(0).to_owned())
                    .collect();
                values.sort_unstable();
                SetValues::Text(values)
            }
            Type::Null | Type::Boolean | Type::Timestamp => return None,
        };
        Some(Set {
            values,
            has_null: present().count() < literals.len(),
        })
    }
}

impl Node {
    pub fn new(kind: Kind, ty: Type) -> Node {
        Node { kind, ty }
    }

    pub fn boolean(value: bool) -> Node {
        Node::literal(BooleanArray::from(vec![value]), Type::Boolean)
    }

    pub fn integer(value: i64) -> Node {
        Node::literal(Int64Array::from(vec![value]), Type::Integer)
    }

    pub fn double(value: f64) -> Node {
        Node::literal(Float64Array::from(vec![value]), Type::Double)
    }

    pub fn text(value: &str) -> Node {
        Node::literal(StringArray::from(vec![value]), Type::Text)
    }

    pub fn null(ty: Type) -> Node {
        Node {
            kind: Kind::Literal(new_null_array(&ty.arrow(), 1)),
            ty,
        }
    }

    fn literal(array: impl Array + 'static, ty: Type) -> Node {
        Node {
            kind: Kind::Literal(Arc::new(array)),
            ty,
        }
    }

    /// The array of a literal.
    pub fn as_literal(&self) -> Option<&ArrayRef> {
        match &self.kind {
            Kind::Literal(array) => Some(array),
            _ => None,
        }
    }

    /// This value as one of type `ty`, where that needs no CAST: NULL is of every type and an
    /// integer is a double. `None` where it does.
    pub fn coerce(self, ty: Type) -> Option<Node> {
        match (self.ty, ty) {
            (from, to) if from == to => Some(self),
            (Type::Null, _) => Some(Node::null(ty)),
            (Type::Integer, Type::Double) => Some(match self.as_literal() {
                Some(array) if array.is_valid(0) => {
                    Node::double(array.as_primitive::<Int64Type>().value(0) as f64)
                }
                Some(_) => Node::null(ty),
                None => self.cast(Target::Double),
            }),
            _ => None,
        }
    }

    pub fn cast(self, target: Target) -> Node {
        let kind = match (self.ty, target) {
            (Type::Double, Target::Double)
            | (Type::Integer, Target::BigInt)
            | (Type::Text, Target::Varchar)
            | (Type::Boolean, Target::Boolean) => self.kind,
            _ => Kind::Cast(Box::new(self), target),
        };
        Node {
            kind,
            ty: target.ty(),
        }
    }
}

/// The canonical text: every operation in parentheses, every conversion written.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Literal(array) => literal(f, array, self.ty),
            Kind::Column { name, .. } => write!(f, "\"{}\"", name.replace('"', "\"\"")),
            Kind::Cast(value, target) => write!(f, "CAST({value} AS {target})"),
            Kind::Unary(Unary::Negate, value) => write!(f, "(-{value})"),
            Kind::Unary(Unary::Not, value) => write!(f, "(NOT {value})"),
            Kind::Unary(Unary::IsNull, value) => write!(f, "({value} IS NULL)"),
            Kind::Unary(Unary::IsNotNull, value) => write!(f, "({value} IS NOT NULL)"),
            Kind::Unary(function, value) => write!(f, "{}({value})", function.name()),
            Kind::Arithmetic(Operator::Power, l, r) => write!(f, "POWER({l}, {r})"),
            Kind::Arithmetic(operator, l, r) => write!(f, "({l} {operator} {r})"),
            Kind::Elapsed(l, r) => write!(f, "({l} - {r})"),
            Kind::Compare(comparison, l, r) => write!(f, "({l} {comparison} {r})"),
            Kind::And(l, r) => write!(f, "({l} AND {r})"),
            Kind::Or(l, r) => write!(f, "({l} OR {r})"),
            Kind::Between(value, low, high) => write!(f, "({value} BETWEEN {low} AND {high})"),
            Kind::In(value, set) => write!(f, "({value} IN ({set}))"),
            Kind::Case {
                operand,
                branches,
                otherwise,
            } => {
                f.write_str("CASE ")?;
                if let Some(operand) = operand {
                    write!(f, "{operand} ")?;
                }
                for (condition, result) in branches {
                    write!(f, "WHEN {condition} THEN {result} ")?;
                }
                write!(f, "ELSE {otherwise} END")
            }
            Kind::Coalesce(values) => call(f, "COALESCE", values),
            Kind::Least(values) => call(f, "LEAST", values),
            Kind::Greatest(values) => call(f, "GREATEST", values),
            Kind::NullIf(l, r) => write!(f, "NULLIF({l}, {r})"),
            Kind::Extract(part, value) => write!(f, "EXTRACT({part} FROM {value})"),
        }
    }
}

fn literal(f: &mut fmt::Formatter<'_>, array: &ArrayRef, ty: Type) -> fmt::Result {
    if array.is_null(0) {
        return f.write_str("NULL");
    }
    match ty {
        Type::Boolean => f.write_str(if array.as_boolean().value(0) {
            "TRUE"
        } else {
            "FALSE"
        }),
        Type::Integer => write!(f, "{}", array.as_primitive::<Int64Type>().value(0)),
        Type::Double => write!(f, "{:?}", array.as_primitive::<Float64Type>().value(0)),
        Type::Text => f.write_str(&quoted(array.as_string::<i32>().value(0))),
        Type::Null | Type::Timestamp => unreachable!("there is no such literal but NULL"),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn call(f: &mut fmt::Formatter<'_>, name: &str, values: &[Node]) -> fmt::Result {
    let values: Vec<String> = values.iter().map(Node::to_string).collect();
    write!(f, "{name}({})", values.join(", "))
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = match &self.values {
            SetValues::Integer(values) => values.iter().map(i64::to_string).collect(),
            SetValues::Double(values) => values.iter().map(|v| format!("{v:?}")).collect(),
            SetValues::Text(values) => values.iter().map(|v| quoted(v)).collect(),
        };
        if self.has_null {
            words.push("NULL".to_owned());
        }
        f.write_str(&words.join(", "))
    }
}

impl Unary {
    pub fn name(self) -> &'static str {
        match self {
            Unary::Negate => "-",
            Unary::Not => "NOT",
            Unary::IsNull => "IS NULL",
            Unary::IsNotNull => "IS NOT NULL",
            Unary::Abs => "ABS",
            Unary::Ln => "LN",
            Unary::Exp => "EXP",
            Unary::Sqrt => "SQRT",
            Unary::Floor => "FLOOR",
            Unary::Round => "ROUND",
            Unary::Length => "LENGTH",
            Unary::Lower => "LOWER",
        }
    }
}

macro_rules! written {
    ($type:ident: $($value:ident => $text:literal),* $(,)?) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($type::$value => $text,)* })
            }
        }
    };
}
written!(Target: Double => "DOUBLE", Real => "REAL", BigInt => "BIGINT", Int => "INT",
    Varchar => "VARCHAR", Boolean => "BOOLEAN");
written!(Operator: Add => "+", Subtract => "-", Multiply => "*", Divide => "/", Remainder => "%",
    Power => "POWER");
written!(Comparison: Equal => "=", NotEqual => "<>", Less => "<", LessOrEqual => "<=",
    Greater => ">", GreaterOrEqual => ">=");
written!(Part: Year => "YEAR", Month => "MONTH", Day => "DAY", DayOfWeek => "DOW", Hour => "HOUR",
    Minute => "MINUTE", Epoch => "EPOCH");
