//! From the parser's tree to the typed one.
//!
//! Knows the closed list of what an expression may hold and the type rules of the module's
//! documentation. Refuses everything else by name, under the word, and says what there is instead.

use arrow::datatypes::Schema;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, Expr, ExtractSyntax, Spanned,
    UnaryOperator, Value,
};

use super::error::{Fault, Words};
use super::expr::{Comparison, Kind, Node, Operator, Set, Type, Unary};
use super::function::unsupported;
use super::leaf::literal;
use super::parse::parse;

/// Deepest tree: this many operations inside one another.
const MAX_DEPTH: usize = 100;

const OPERATORS: &str = "the operators are + - * / % = <> < <= > >= AND OR NOT, IN, BETWEEN, \
    IS [NOT] NULL and CASE";

/// Compiles `sql`. Columns it uses are added to `columns`, as indices of `schema`; a column's slot in
/// the tree is its place there.
pub(super) fn compile(sql: &str, schema: &Schema, columns: &mut Vec<usize>) -> Result<Node, Fault> {
    let (expr, words) = parse(sql)?;
    Checker {
        schema,
        columns,
        words,
        depth: 0,
    }
    .node(&expr)
}

pub(super) struct Checker<'a> {
    pub(super) schema: &'a Schema,
    pub(super) columns: &'a mut Vec<usize>,
    pub(super) words: Words,
    depth: usize,
}

impl Checker<'_> {
    pub(super) fn node(&mut self, expr: &Expr) -> Result<Node, Fault> {
        if self.depth == MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} operations are nested here");
            return Err(Fault::new(expr.span(), message));
        }
        self.depth += 1;
        let node = self.construct(expr)?;
        self.depth -= 1;
        Ok(node)
    }

    fn construct(&mut self, expr: &Expr) -> Result<Node, Fault> {
        match expr {
            Expr::Nested(inner) => self.node(inner),
            Expr::Value(value) => literal(&value.value, "", value.span),
            Expr::Identifier(ident) => self.column(ident),
            Expr::UnaryOp { op, expr: operand } => self.unary_operator(*op, operand, expr),
            Expr::BinaryOp { left, op, right } => self.binary_operator(left, op, right),
            Expr::IsNull(value) => self.null_test(Unary::IsNull, value),
            Expr::IsNotNull(value) => self.null_test(Unary::IsNotNull, value),
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => self.between(expr, low, high, *negated),
            Expr::InList {
                expr,
                list,
                negated,
            } => self.in_list(expr, list, *negated),
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Expr::Cast {
                kind: CastKind::Cast,
                expr,
                data_type,
                format: None,
            } => self.cast(expr, data_type),
            Expr::Extract {
                field,
                syntax: ExtractSyntax::From,
                expr,
            } => self.extract(field, expr),
            Expr::Floor {
                expr,
                field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
            } => self.of_number(Unary::Floor, expr),
            Expr::Function(function) => self.function(function),
            other => Err(unsupported(other, &self.words)),
        }
    }

    fn unary_operator(
        &mut self,
        operator: UnaryOperator,
        operand: &Expr,
        whole: &Expr,
    ) -> Result<Node, Fault> {
        match (operator, operand) {
            // The smallest integer is written with a minus, and is none without it.
            (UnaryOperator::Minus, Expr::Value(value))
                if matches!(value.value, Value::Number(..)) =>
            {
                literal(&value.value, "-", value.span)
            }
            (UnaryOperator::Minus, _) => self.of_number(Unary::Negate, operand),
            (UnaryOperator::Not, _) => {
                let operand = self.of_type(operand, Type::Boolean, "NOT")?;
                Ok(not(operand))
            }
            _ => {
                let message = format!("there is no operator `{operator}` before a value");
                let span = self.words.before(whole.span().start, &operator.to_string());
                Err(Fault::new(span, message).hint(OPERATORS))
            }
        }
    }

    fn binary_operator(
        &mut self,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
    ) -> Result<Node, Fault> {
        let compare = |comparison| (comparison, operator.to_string());
        let (comparison, user) = match operator {
            BinaryOperator::Plus => return self.arithmetic(Operator::Add, left, right),
            BinaryOperator::Minus => return self.arithmetic(Operator::Subtract, left, right),
            BinaryOperator::Multiply => return self.arithmetic(Operator::Multiply, left, right),
            BinaryOperator::Divide => return self.arithmetic(Operator::Divide, left, right),
            BinaryOperator::Modulo => return self.arithmetic(Operator::Remainder, left, right),
            BinaryOperator::And => return self.logic(Kind::And, left, right, "AND"),
            BinaryOperator::Or => return self.logic(Kind::Or, left, right, "OR"),
            BinaryOperator::Eq => compare(Comparison::Equal),
            BinaryOperator::NotEq => compare(Comparison::NotEqual),
            BinaryOperator::Lt => compare(Comparison::Less),
            BinaryOperator::LtEq => compare(Comparison::LessOrEqual),
            BinaryOperator::Gt => compare(Comparison::Greater),
            BinaryOperator::GtEq => compare(Comparison::GreaterOrEqual),
            other => {
                let span = self.words.after(left.span().end, &other.to_string());
                let fault = Fault::new(span, format!("there is no operator `{other}`"));
                return Err(fault.hint(OPERATORS));
            }
        };
        let [left, right] = match comparison {
            Comparison::Equal | Comparison::NotEqual => self.alike([left, right], &user)?,
            _ => self.ordered([left, right], &user)?,
        };
        Ok(Node::new(
            Kind::Compare(comparison, left.into(), right.into()),
            Type::Boolean,
        ))
    }

    /// Numbers give a number; the difference of two timestamps is the seconds between them.
    pub(super) fn arithmetic(
        &mut self,
        operator: Operator,
        left: &Expr,
        right: &Expr,
    ) -> Result<Node, Fault> {
        let user = operator.to_string();
        let (first, second) = (self.node(left)?, self.node(right)?);
        if operator == Operator::Subtract && first.ty == Type::Timestamp {
            let second = as_type(second, Type::Timestamp, right, &user)?;
            return Ok(Node::new(
                Kind::Elapsed(first.into(), second.into()),
                Type::Double,
            ));
        }
        let (first, second) = (
            as_number(first, left, &user)?,
            as_number(second, right, &user)?,
        );
        let integers = first.ty == Type::Integer && second.ty == Type::Integer;
        let ty = match operator {
            Operator::Divide | Operator::Power => Type::Double,
            _ if integers => Type::Integer,
            _ => Type::Double,
        };
        let [first, second] = [first, second].map(|side| {
            Box::new(
                side.coerce(ty)
                    .expect("a number is a double where one is due"),
            )
        });
        Ok(Node::new(Kind::Arithmetic(operator, first, second), ty))
    }

    fn logic(
        &mut self,
        kind: fn(Box<Node>, Box<Node>) -> Kind,
        left: &Expr,
        right: &Expr,
        user: &str,
    ) -> Result<Node, Fault> {
        let left = self.of_type(left, Type::Boolean, user)?;
        let right = self.of_type(right, Type::Boolean, user)?;
        Ok(Node::new(kind(left.into(), right.into()), Type::Boolean))
    }

    fn null_test(&mut self, test: Unary, value: &Expr) -> Result<Node, Fault> {
        let value = self.node(value)?;
        Ok(Node::new(Kind::Unary(test, value.into()), Type::Boolean))
    }

    fn between(
        &mut self,
        value: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
    ) -> Result<Node, Fault> {
        let [value, low, high] = self.ordered([value, low, high], "BETWEEN")?;
        let kind = Kind::Between(value.into(), low.into(), high.into());
        Ok(not_if(negated, Node::new(kind, Type::Boolean)))
    }

    fn in_list(&mut self, value: &Expr, list: &[Expr], negated: bool) -> Result<Node, Fault> {
        let members: Vec<&Expr> = std::iter::once(value).chain(list).collect();
        let mut nodes = self.alike_all(&members, "IN")?;
        let value_node = nodes.remove(0);
        let not_literal = nodes.iter().position(|node| node.as_literal().is_none());
        if let Some(index) = not_literal {
            let fault = Fault::new(list[index].span(), "IN takes a list of literals");
            return Err(fault.hint("write `x = a OR x = b` for other values"));
        }
        let Some(set) = Set::of(value_node.ty, &nodes) else {
            let message = format!(
                "IN takes numbers or text, and this is {}",
                value_node.ty.noun()
            );
            return Err(Fault::new(value.span(), message));
        };
        let node = Node::new(Kind::In(value_node.into(), set), Type::Boolean);
        Ok(not_if(negated, node))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        whens: &[CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Node, Fault> {
        let whens_of = whens.iter().map(|when| &when.condition);
        let (operand, conditions) = match operand {
            Some(operand) => {
                let compared: Vec<&Expr> = std::iter::once(operand).chain(whens_of).collect();
                let mut nodes = self.alike_all(&compared, "CASE")?;
                (Some(Box::new(nodes.remove(0))), nodes)
            }
            None => {
                let nodes = whens_of.map(|when| self.of_type(when, Type::Boolean, "WHEN"));
                (None, nodes.collect::<Result<Vec<_>, _>>()?)
            }
        };
        let results: Vec<&Expr> = whens
            .iter()
            .map(|when| &when.result)
            .chain(otherwise)
            .collect();
        let mut results = self.alike_all(&results, "CASE")?;
        let ty = results[0].ty;
        let otherwise = match otherwise {
            Some(_) => results.pop().expect("the last result is that of ELSE"),
            None => Node::null(ty),
        };
        let branches = conditions.into_iter().zip(results).collect();
        Ok(Node::new(
            Kind::Case {
                operand,
                branches,
                otherwise: otherwise.into(),
            },
            ty,
        ))
    }

    /// The values of `exprs`, brought to one type.
    pub(super) fn alike_all(&mut self, exprs: &[&Expr], user: &str) -> Result<Vec<Node>, Fault> {
        let mut nodes = Vec::with_capacity(exprs.len());
        let mut common = Type::Null;
        for expr in exprs {
            let node = self.node(expr)?;
            common = match (common, node.ty) {
                (common, ty) if common == ty || ty == Type::Null => common,
                (Type::Null, ty) => ty,
                (common, ty) if common.is_number() && ty.is_number() => Type::Double,
                (common, ty) => {
                    let message = format!(
                        "`{user}` takes values of one type, and this is {} after {}",
                        ty.noun(),
                        common.noun()
                    );
                    return Err(Fault::new(expr.span(), message).hint("CAST(x AS …) converts"));
                }
            };
            nodes.push(node);
        }
        let alike = nodes.into_iter().map(|node| {
            node.coerce(common)
                .expect("NULL is of every type, and an integer is a double")
        });
        Ok(alike.collect())
    }

    pub(super) fn alike<const N: usize>(
        &mut self,
        exprs: [&Expr; N],
        user: &str,
    ) -> Result<[Node; N], Fault> {
        let nodes = self.alike_all(&exprs, user)?;
        Ok(nodes
            .try_into()
            .expect("there is one node for each expression"))
    }

    /// The values of `exprs`, brought to one type that has an order.
    pub(super) fn ordered_all(&mut self, exprs: &[&Expr], user: &str) -> Result<Vec<Node>, Fault> {
        let nodes = self.alike_all(exprs, user)?;
        match nodes.first() {
            Some(node) if node.ty == Type::Boolean => Err(Fault::new(
                exprs[0].span(),
                format!("`{user}` does not order booleans"),
            )),
            _ => Ok(nodes),
        }
    }

    fn ordered<const N: usize>(
        &mut self,
        exprs: [&Expr; N],
        user: &str,
    ) -> Result<[Node; N], Fault> {
        let nodes = self.ordered_all(&exprs, user)?;
        Ok(nodes
            .try_into()
            .expect("there is one node for each expression"))
    }

    pub(super) fn of_type(&mut self, expr: &Expr, ty: Type, user: &str) -> Result<Node, Fault> {
        let node = self.node(expr)?;
        as_type(node, ty, expr, user)
    }

    /// What takes a number and gives one of the same type.
    pub(super) fn of_number(&mut self, unary: Unary, expr: &Expr) -> Result<Node, Fault> {
        let node = as_number(self.node(expr)?, expr, unary.name())?;
        let ty = node.ty;
        Ok(Node::new(Kind::Unary(unary, node.into()), ty))
    }
}

fn as_type(node: Node, ty: Type, expr: &Expr, user: &str) -> Result<Node, Fault> {
    let found = node.ty;
    node.coerce(ty).ok_or_else(|| {
        let wanted = if ty == Type::Double {
            "a number"
        } else {
            ty.noun()
        };
        let message = format!("`{user}` takes {wanted}, and this is {}", found.noun());
        Fault::new(expr.span(), message)
    })
}

fn as_number(node: Node, expr: &Expr, user: &str) -> Result<Node, Fault> {
    let ty = if node.ty == Type::Integer {
        Type::Integer
    } else {
        Type::Double
    };
    as_type(node, ty, expr, user)
}

fn not(node: Node) -> Node {
    Node::new(Kind::Unary(Unary::Not, node.into()), Type::Boolean)
}

fn not_if(negated: bool, node: Node) -> Node {
    if negated { not(node) } else { node }
}
