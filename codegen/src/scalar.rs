//! Expressions, predicates and assignments as sea-query trees.
//!
//! The trees are the same for every dialect, except where the [`Dialect`] answers. The caller's
//! [`Operands`] supplies the values: a placeholder, or a column of an earlier step.

use ff_core::plan::value::ColumnType;
use ff_core::plan::{Assign, Compare, Expr as Scalar, Name, Openings, Path, Predicate};
use ff_core::schema::ColumnRef;
use sea_query::{Alias, BinOper, CaseStatement, Condition, Expr, ExprTrait, Func};

use crate::dialect::Dialect;
use crate::flags::is_flag;
use crate::writer::constant;

/// The source of the values of a statement.
pub(crate) trait Operands {
    /// The n-th value of the plan, of type `own`, for a column of type `ty`.
    fn slot(&mut self, slot: usize, own: ColumnType, ty: ColumnType) -> Expr;
    /// The value at `path` of a held row, for a column of type `ty`.
    fn held(&mut self, row: &Name, path: &Path, ty: ColumnType) -> Expr;
    /// The number of picked rows.
    fn picked_count(&mut self) -> Expr;
    /// The sum of a column over the picked rows.
    fn picked_sum(&mut self, column: ColumnRef) -> Expr;
    /// True if a column is written with its table, as it is wherever there may be several.
    fn qualifies_columns(&self) -> bool {
        true
    }
}

/// Renders scalars of one statement.
pub(crate) struct Scalars<'a, S> {
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) operands: &'a mut S,
    /// The qualifier of the columns of the row that predicates and assignments are about.
    pub(crate) subject: Option<&'a str>,
}

impl<S: Operands> Scalars<'_, S> {
    /// The scalar, for a column of type `ty`.
    pub(crate) fn expr(&mut self, expr: &Scalar, ty: ColumnType) -> Expr {
        match expr {
            // A shape has no values left; a typed NULL stands for an erased one.
            Scalar::Value(..) | Scalar::Null(_) => self.dialect.null(ty),
            Scalar::Slot(own, slot) => self.operands.slot(*slot, *own, ty),
            Scalar::Const(text) => constant(text),
            Scalar::Held(row, path) => self.operands.held(row, path, ty),
            Scalar::Plus(left, right) => {
                let left = self.expr(left, ty);
                left.add(self.expr(right, ty))
            }
            Scalar::Greatest(left, right) => {
                // Written out, because the databases' own functions treat NULL differently.
                let larger = self.expr(left, ty).lt(self.expr(right, ty));
                let (own, other) = (self.expr(left, ty), self.expr(right, ty));
                Expr::Case(Box::new(CaseStatement::new().case(larger, other).finally(own)))
            }
            Scalar::PickedCount => self.operands.picked_count(),
            Scalar::PickedSum(column) => self.operands.picked_sum(*column),
            Scalar::Item(own, name) => self.dialect.item(name, *own),
            Scalar::Joined(parts) => {
                let parts = parts.iter().map(|part| self.expr(part, ColumnType::Text)).collect();
                self.dialect.joined(parts)
            }
            Scalar::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, member)| {
                        let ty = match member.ty() {
                            ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
                                ColumnType::BigInt
                            }
                            ColumnType::Bool
                            | ColumnType::Float
                            | ColumnType::Text
                            | ColumnType::Bytes
                            | ColumnType::Uuid
                            | ColumnType::Json
                            | ColumnType::TextList => ColumnType::Text,
                        };
                        (name, self.expr(member, ty))
                    })
                    .collect();
                self.dialect.json_object(members)
            }
        }
    }

    /// The stored column of the subject row.
    pub(crate) fn column(&self, column: ColumnRef) -> Expr {
        match self.subject {
            _ if !self.operands.qualifies_columns() => Expr::col(column.name),
            Some(subject) => Expr::col((Alias::new(subject), column.name)),
            None => Expr::col((column.table, column.name)),
        }
    }

    fn path(&self, path: &Path) -> Expr {
        let column = self.column(path.column);
        if path.keys.is_empty() { column } else { self.dialect.json_text(column, &path.keys) }
    }

    /// The condition that the subject row has this key, or this part of one.
    pub(crate) fn has_key(&mut self, key: &[(ColumnRef, Scalar)]) -> Condition {
        key.iter().fold(Condition::all(), |all, (column, expr)| {
            let value = self.expr(expr, column.ty);
            all.add(self.column(*column).eq(value))
        })
    }

    /// The condition of a predicate.
    pub(crate) fn predicate(&mut self, predicate: &Predicate) -> Condition {
        match predicate {
            Predicate::Always | Predicate::EachList(_) => Condition::all(),
            Predicate::All(parts) => {
                parts.iter().fold(Condition::all(), |all, part| all.add(self.predicate(part)))
            }
            Predicate::Any(parts) | Predicate::AnyApart(parts) => {
                parts.iter().fold(Condition::any(), |any, part| any.add(self.predicate(part)))
            }
            Predicate::Compare(path, compare, expr) => {
                let left = self.path(path);
                let right = self.expr(expr, path.ty());
                Condition::all().add(match compare {
                    Compare::Equal => left.eq(right),
                    Compare::Below => left.lt(right),
                    Compare::AtMost => left.lte(right),
                    Compare::Above => left.gt(right),
                })
            }
            Predicate::OneOf(column, names) => Condition::all().add(match names.as_slice() {
                [one] => self.column(*column).eq(constant(one)),
                many => self.column(*column).is_in(many.iter().map(|name| constant(name))),
            }),
            Predicate::NoneOf(column, names) => Condition::all()
                .add(self.column(*column).is_not_in(names.iter().map(|name| constant(name)))),
            Predicate::Among(column, expr) => {
                let stored = self.column(*column);
                let list = self.expr(expr, ColumnType::TextList);
                Condition::all().add(self.dialect.among(stored, column.ty, list))
            }
            Predicate::Contains(column, expr) => {
                let document = self.column(*column);
                let members = self.expr(expr, ColumnType::Json);
                Condition::all().add(self.dialect.json_contains(document, members))
            }
            Predicate::Null(column) => Condition::all().add(self.column(*column).is_null()),
            Predicate::NotNull(column) => {
                let stored = self.column(*column);
                Condition::all().add(if is_flag(*column) {
                    self.dialect.flag_is_set(stored)
                } else {
                    stored.is_not_null()
                })
            }
            Predicate::Covered(column, by) => {
                Condition::all().add(self.covered(*column, Covering::Named(by)))
            }
            Predicate::CoveredOrOpen(column, openings) => {
                Condition::all().add(self.covered(*column, Covering::Open(openings)))
            }
            Predicate::EmptyList(column) => {
                Condition::all().add(self.dialect.is_empty_list(self.column(*column)))
            }
            Predicate::FirstBelow(column, bound) => {
                Condition::all().add(self.dialect.begins_below(self.column(*column), bound))
            }
            Predicate::NoneBelow(column, bound) => {
                let below = self.dialect.begins_below(self.column(*column), bound);
                Condition::all().add(below.is_not(Expr::custom_keyword("TRUE")))
            }
            Predicate::After(pairs) => {
                let columns: Vec<Expr> =
                    pairs.iter().map(|(column, _)| self.column(*column)).collect();
                let values: Vec<Expr> =
                    pairs.iter().map(|(column, expr)| self.expr(expr, column.ty)).collect();
                Condition::all().add(self.dialect.comes_after(columns, values))
            }
        }
    }

    /// The condition that every text of a list column is covered.
    pub(crate) fn covered(&mut self, column: ColumnRef, by: Covering<'_>) -> Expr {
        let list = self.column(column);
        match by {
            Covering::Named(by) => {
                let by = self.expr(by, ColumnType::TextList);
                self.dialect.covered(list, by)
            }
            Covering::Open(Openings { by, prefix, but }) => {
                let by = self.expr(by, ColumnType::TextList);
                let prefix = self.expr(prefix, ColumnType::Text);
                let but = self.expr(but, ColumnType::TextList);
                self.dialect.covered_or_open(list, by, prefix, but)
            }
        }
    }

    /// The new value of the column.
    pub(crate) fn assign(&mut self, column: ColumnRef, assign: &Assign) -> Expr {
        let now = self.column(column);

        match assign {
            Assign::Set(expr) => self.expr(expr, column.ty),
            Assign::Keep(expr) => {
                let value = self.expr(expr, column.ty);
                Func::coalesce([now, value]).into()
            }
            Assign::Add(expr) => now.add(self.expr(expr, column.ty)),
            Assign::Merge { under: None, members } => {
                let members = self.expr(members, ColumnType::Json);
                self.dialect.json_merge(now, members)
            }
            Assign::Merge { under: Some(name), members } => {
                let members = self.expr(members, ColumnType::Json);
                self.dialect.json_merge_under(now, name, members)
            }
        }
    }
}

/// What covers the texts of a list.
#[derive(Clone, Copy)]
pub(crate) enum Covering<'a> {
    /// The texts of another list.
    Named(&'a Scalar),
    /// Those, and all with a certain beginning but for some.
    Open(&'a Openings),
}

impl<'a> Covering<'a> {
    /// The list column that a predicate covers, and by what; `None` for any other predicate.
    pub(crate) fn of(predicate: &'a Predicate) -> Option<(ColumnRef, Self)> {
        match predicate {
            Predicate::Covered(column, by) => Some((*column, Self::Named(by))),
            Predicate::CoveredOrOpen(column, openings) => Some((*column, Self::Open(openings))),
            Predicate::Always
            | Predicate::All(_)
            | Predicate::Any(_)
            | Predicate::AnyApart(_)
            | Predicate::Compare(..)
            | Predicate::OneOf(..)
            | Predicate::NoneOf(..)
            | Predicate::Among(..)
            | Predicate::Contains(..)
            | Predicate::Null(_)
            | Predicate::NotNull(_)
            | Predicate::EmptyList(_)
            | Predicate::FirstBelow(..)
            | Predicate::NoneBelow(..)
            | Predicate::EachList(_)
            | Predicate::After(_) => None,
        }
    }
}

/// `left operator right`, for an operator that sea-query does not name.
pub(crate) fn operator(left: Expr, operator: &'static str, right: Expr) -> Expr {
    left.binary(BinOper::Custom(operator), right)
}
