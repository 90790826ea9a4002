//! The functions of an expression, CAST and EXTRACT, and the words for what is none of them.
//!
//! Knows each function's arguments and result. Refuses aggregates, windows and every extra that SQL
//! allows around a call: a feature is a function of one event.

use sqlparser::ast::{
    DataType as SqlType, DateTimeField, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Spanned,
};
use sqlparser::tokenizer::Span;

use super::check::Checker;
use super::error::{Fault, Words, did_you_mean};
use super::expr::{Kind, Node, Operator, Part, Target, Type, Unary};

const FUNCTIONS: [&str; 15] = [
    "ABS", "CAST", "COALESCE", "EXP", "EXTRACT", "FLOOR", "GREATEST", "LEAST", "LENGTH", "LN",
    "LOWER", "NULLIF", "POWER", "ROUND", "SQRT",
];
const TYPES: &str = "the types are DOUBLE, REAL, BIGINT, INT, VARCHAR and BOOLEAN";
const PARTS: &str = "the parts are YEAR, MONTH, DAY, DOW, HOUR, MINUTE and EPOCH";

impl Checker<'_> {
    pub(super) fn function(&mut self, function: &Function) -> Result<Node, Fault> {
        let name = function.name.to_string().to_uppercase();
        let span = function.name.span();
        if !FUNCTIONS.contains(&name.as_str()) {
            return Err(unknown_function(&name, span));
        }
        let Some(arguments) = plain_arguments(function) else {
            let message = format!("`{name}` takes values in parentheses, and nothing else");
            return Err(Fault::new(span, message));
        };
        match (name.as_str(), arguments.as_slice()) {
            ("ABS", [value]) => self.of_number(Unary::Abs, value),
            ("ROUND", [value]) => self.of_number(Unary::Round, value),
            ("EXP", [value]) => self.call(Unary::Exp, Type::Double, value, Type::Double),
            ("LN", [value]) => self.call(Unary::Ln, Type::Double, value, Type::Double),
            ("SQRT", [value]) => self.call(Unary::Sqrt, Type::Double, value, Type::Double),
            ("LENGTH", [value]) => self.call(Unary::Length, Type::Text, value, Type::Integer),
            ("LOWER", [value]) => self.call(Unary::Lower, Type::Text, value, Type::Text),
            ("POWER", [base, exponent]) => self.arithmetic(Operator::Power, base, exponent),
            ("NULLIF", [value, null]) => {
                let [value, null] = self.alike([value, null], &name)?;
                let ty = value.ty;
                Ok(Node::new(Kind::NullIf(value.into(), null.into()), ty))
            }
            ("COALESCE", [_, ..]) => {
                let values = self.alike_all(&arguments, &name)?;
                let ty = values[0].ty;
                Ok(Node::new(Kind::Coalesce(values), ty))
            }
            ("LEAST" | "GREATEST", [_, ..]) => {
                let values = self.ordered_all(&arguments, &name)?;
                let ty = values[0].ty;
                let kind = if name == "LEAST" {
                    Kind::Least
                } else {
                    Kind::Greatest
                };
                Ok(Node::new(kind(values), ty))
            }
            _ => {
                let message = format!("this is not how `{name}` is called");
                Err(Fault::new(span, message).hint(format!("write {}", usage(&name))))
            }
        }
    }

    fn call(
        &mut self,
        unary: Unary,
        takes: Type,
        argument: &Expr,
        gives: Type,
    ) -> Result<Node, Fault> {
        let argument = self.of_type(argument, takes, unary.name())?;
        Ok(Node::new(Kind::Unary(unary, argument.into()), gives))
    }

    pub(super) fn cast(&mut self, value: &Expr, data_type: &SqlType) -> Result<Node, Fault> {
        let node = self.node(value)?;
        let Some(target) = cast_target(data_type) else {
            let written = data_type.to_string();
            let after_as = self.words.after(value.span().end, "AS").end;
            let word = self.words.after(after_as, &written);
            return Err(Fault::new(word, format!("CAST makes no `{written}`")).hint(TYPES));
        };
        let hint = match (node.ty, target) {
            (Type::Null, _) => return Ok(Node::null(target.ty())),
            (Type::Timestamp, _) => "EXTRACT(EPOCH FROM x) gives seconds",
            (Type::Double, Target::Varchar) => "write CAST(CAST(x AS BIGINT) AS VARCHAR)",
            (Type::Double | Type::Text, Target::Boolean) => "write a comparison, as in x <> 0",
            (Type::Boolean | Type::Integer | Type::Double | Type::Text, _) => {
                return Ok(node.cast(target));
            }
        };
        let message = format!("CAST makes no {target} of {}", node.ty.noun());
        Err(Fault::new(value.span(), message).hint(hint))
    }

    pub(super) fn extract(&mut self, field: &DateTimeField, value: &Expr) -> Result<Node, Fault> {
        let part = match field {
            DateTimeField::Year => Part::Year,
            DateTimeField::Month => Part::Month,
            DateTimeField::Day => Part::Day,
            DateTimeField::Dow => Part::DayOfWeek,
            DateTimeField::Hour => Part::Hour,
            DateTimeField::Minute => Part::Minute,
            DateTimeField::Epoch => Part::Epoch,
            other => {
                let word = self.words.before(value.span().start, &other.to_string());
                return Err(Fault::new(word, format!("EXTRACT knows no `{other}`")).hint(PARTS));
            }
        };
        let value = self.of_type(value, Type::Timestamp, "EXTRACT")?;
        let ty = if part == Part::Epoch {
            Type::Double
        } else {
            Type::Integer
        };
        Ok(Node::new(Kind::Extract(part, value.into()), ty))
    }
}

fn cast_target(data_type: &SqlType) -> Option<Target> {
    match data_type {
        SqlType::Double(ExactNumberInfo::None) | SqlType::DoublePrecision => Some(Target::Double),
        SqlType::Real | SqlType::Float(ExactNumberInfo::None) => Some(Target::Real),
        SqlType::BigInt(None) => Some(Target::BigInt),
        SqlType::Int(None) | SqlType::Integer(None) => Some(Target::Int),
        SqlType::Varchar(None) | SqlType::Text => Some(Target::Varchar),
        SqlType::Boolean | SqlType::Bool => Some(Target::Boolean),
        _ => None,
    }
}

/// The arguments of a call that is a name and values, without DISTINCT, OVER, FILTER and the like.
fn plain_arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let plain = list.duplicate_treatment.is_none()
        && list.clauses.is_empty()
        && matches!(function.parameters, FunctionArguments::None)
        && function.within_group.is_empty()
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.over.is_none()
        && !function.uses_odbc_syntax;
    if !plain {
        return None;
    }
    let values = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    });
    values.collect()
}

fn usage(name: &str) -> &'static str {
    match name {
        "CAST" => "CAST(x AS DOUBLE)",
        "EXTRACT" => "EXTRACT(HOUR FROM x)",
        "POWER" => "POWER(x, y)",
        "NULLIF" => "NULLIF(x, y)",
        "COALESCE" => "COALESCE(x, y, …)",
        "LEAST" => "LEAST(x, y, …)",
        "GREATEST" => "GREATEST(x, y, …)",
        "ABS" => "ABS(x)",
        "EXP" => "EXP(x)",
        "FLOOR" => "FLOOR(x)",
        "LENGTH" => "LENGTH(x)",
        "LN" => "LN(x)",
        "LOWER" => "LOWER(x)",
        "ROUND" => "ROUND(x)",
        _ => "SQRT(x)",
    }
}

fn unknown_function(name: &str, span: Span) -> Fault {
    let hint = did_you_mean(name, FUNCTIONS)
        .unwrap_or_else(|| format!("the functions are {}", FUNCTIONS.join(", ")));
    Fault::new(span, format!("there is no function `{name}`")).hint(hint)
}

/// The error for a construct that is not in the list.
pub(super) fn unsupported(expr: &Expr, words: &Words) -> Fault {
    let span = expr.span();
    let unknown = |name: &str| unknown_function(name, words.before(span.start, name));
    let construct = match expr {
        Expr::Floor { .. } => {
            let word = words.before(span.start, "FLOOR");
            return Fault::new(word, "this is not how `FLOOR` is called").hint("write FLOOR(x)");
        }
        Expr::Ceil { .. } => return unknown("CEIL"),
        Expr::Position { .. } => return unknown("POSITION"),
        Expr::Substring { .. } => return unknown("SUBSTRING"),
        Expr::Trim { .. } => return unknown("TRIM"),
        Expr::Overlay { .. } => return unknown("OVERLAY"),
        Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. } => {
            return Fault::new(span, "a column has one name, without dots")
                .hint("write \"a.b\" in double quotes if the dot is part of the name");
        }
        Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => {
            "LIKE or another pattern"
        }
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => "a query",
        Expr::IsTrue(_) | Expr::IsNotTrue(_) | Expr::IsFalse(_) | Expr::IsNotFalse(_) => {
            "IS TRUE or IS FALSE"
        }
        Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => "IS DISTINCT FROM",
        Expr::TypedString(_) | Expr::Interval(_) => "a DATE, TIMESTAMP or INTERVAL literal",
        Expr::Cast { .. } => "a cast other than CAST(x AS type)",
        Expr::Tuple(_) => "a list of values outside IN",
        _ => "this construct",
    };
    Fault::new(span, format!("an expression cannot hold {construct}")).hint(format!(
        "it may hold columns, literals, operators, CASE, IN, BETWEEN, IS NULL and the functions {}",
        FUNCTIONS.join(", ")
    ))
}
