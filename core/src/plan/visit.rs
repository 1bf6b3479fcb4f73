//! The expressions of a plan or a query, in the order of their slots.
//!
//! Erasing values changes expressions; everything else only looks at them. One traversal is
//! written for both, so that the two orders cannot differ.

use super::{
    Assign, Expr, Guard, List, Lookup, Mutation, Openings, Pairing, Plan, Predicate, Query, Sums,
};

/// Defines `visit` or `visit_mut`, by the second argument, for everything that has expressions.
macro_rules! traversal {
    ($visit:ident, $visibility:vis $(, $mut:tt)?) => {
        impl Plan {
            /// Visits every expression of guards, selection, mutations and preventing rows, in the
            /// order of their slots.
            $visibility fn $visit(&$($mut)? self, visit: &mut impl FnMut(&$($mut)? Expr)) {
                for guard in &$($mut)? self.guards {
                    guard.$visit(visit);
                }

                if let Some(selection) = &$($mut)? self.selection {
                    selection.predicate.$visit(visit);
                    match &$($mut)? selection.pairing {
                        Pairing::UpTo { limit, rest } => {
                            limit.$visit(visit);
                            if let Some(rest) = rest {
                                rest.predicate.$visit(visit);
                            }
                        }
                        Pairing::Named(key) => {
                            for (_, expr) in key {
                                expr.$visit(visit);
                            }
                        }
                        Pairing::Every => {}
                    }
                }

                for mutation in &$($mut)? self.mutations {
                    mutation.$visit(visit);
                }
                for row in &$($mut)? self.unless {
                    row.$visit(visit);
                }
            }
        }

        impl Guard {
            /// Visits the expressions of the key, then those of the predicate.
            $visibility fn $visit(&$($mut)? self, visit: &mut impl FnMut(&$($mut)? Expr)) {
                for (_, expr) in &$($mut)? self.key {
                    expr.$visit(visit);
                }
                self.holds.$visit(visit);
            }
        }

        impl Mutation {
            /// Visits every expression, in the order of their slots.
            $visibility fn $visit(&$($mut)? self, visit: &mut impl FnMut(&$($mut)? Expr)) {
                match self {
                    Mutation::Insert { row: cells, .. }
                    | Mutation::Delete { target: cells, .. } => {
                        for (_, expr) in cells {
                            expr.$visit(visit);
                        }
                    }
                    Mutation::InsertEach { items, row, .. } => {
                        items.$visit(visit);
                        for (_, expr) in row {
                            expr.$visit(visit);
                        }
                    }
                    Mutation::Update { target, set, .. } => {
                        for (_, expr) in target {
                            expr.$visit(visit);
                        }
                        for (_, assign) in set {
                            match assign {
                                Assign::Set(expr)
                                | Assign::Keep(expr)
                                | Assign::Add(expr)
                                | Assign::Merge { members: expr, .. } => expr.$visit(visit),
                            }
                        }
                    }
                }
            }
        }

        impl Predicate {
            /// Visits every expression that stored columns are compared with.
            $visibility fn $visit(&$($mut)? self, visit: &mut impl FnMut(&$($mut)? Expr)) {
                match self {
                    Predicate::Always
                    | Predicate::OneOf(..)
                    | Predicate::NoneOf(..)
                    | Predicate::Null(_)
                    | Predicate::NotNull(_)
                    | Predicate::EmptyList(_)
                    | Predicate::FirstBelow(..)
                    | Predicate::NoneBelow(..)
                    | Predicate::EachList(_) => {}
                    Predicate::All(parts)
                    | Predicate::Any(parts)
                    | Predicate::AnyApart(parts) => {
                        for part in parts {
                            part.$visit(visit);
                        }
                    }
                    Predicate::Compare(_, _, expr)
                    | Predicate::Among(_, expr)
                    | Predicate::Contains(_, expr)
                    | Predicate::Covered(_, expr) => expr.$visit(visit),
                    Predicate::CoveredOrOpen(_, Openings { by, prefix, but }) => {
                        by.$visit(visit);
                        prefix.$visit(visit);
                        but.$visit(visit);
                    }
                    Predicate::After(pairs) => {
                        for (_, expr) in pairs {
                            expr.$visit(visit);
                        }
                    }
                }
            }
        }

        impl Expr {
            /// Visits the leaves: the expressions that consist of no others.
            $visibility fn $visit(&$($mut)? self, visit: &mut impl FnMut(&$($mut)? Expr)) {
                match self {
                    Expr::Plus(left, right) | Expr::Greatest(left, right) => {
                        left.$visit(visit);
                        right.$visit(visit);
                    }
                    Expr::Joined(parts) => {
                        for part in parts {
                            part.$visit(visit);
                        }
                    }
                    Expr::Object(members) => {
                        for (_, member) in members {
                            member.$visit(visit);
                        }
                    }
                    Expr::Value(..)
                    | Expr::Slot(..)
                    | Expr::Const(_)
                    | Expr::Null(_)
                    | Expr::Held(..)
                    | Expr::Item(..)
                    | Expr::PickedCount
                    | Expr::PickedSum(_) => visit(self),
                }
            }
        }
    };
}

traversal!(visit, pub);
traversal!(visit_mut, pub(super), mut);

impl Query {
    /// Visits every expression, in the order of their slots.
    pub(super) fn visit_mut(&mut self, visit: &mut impl FnMut(&mut Expr)) {
        match self {
            Query::Lookup(rows) => {
                for Lookup { key, .. } in rows {
                    for (_, expr) in key {
                        expr.visit_mut(visit);
                    }
                }
            }
            Query::List(List { predicate, of_each, limit, .. }) => {
                predicate.visit_mut(visit);
                if let Some(of_each) = of_each {
                    of_each.limit.visit_mut(visit);
                }
                limit.visit_mut(visit);
            }
            Query::Sums(Sums { predicate, .. }) => predicate.visit_mut(visit),
        }
    }
}
