//! What went wrong, as the rows of an attempt and of an end say it.

use crate::plan::{Assign, Expr, Settle};
use crate::schema::ColumnRef;
use crate::schema::execution::attempt;
use crate::state::{ClosedSet as _, FailureClass};
use crate::value::Storable as _;

/// Why an attempt or an execution failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, in the words of the worker or of the engine.
    pub message: String,
    /// Whether another attempt may help; `None` where the caller gave a word of its own.
    pub class: Option<FailureClass>,
}

impl Failure {
    /// A failure of a known class.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { message: message.into(), class: Some(class) }
    }

    /// A failure whose class is given as a word; unknown words are no class.
    #[must_use]
    pub fn of_category(category: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), class: FailureClass::parse(category) }
    }

    /// The columns of an attempt row that say so.
    #[must_use]
    pub fn of_attempt(&self) -> [(ColumnRef, Assign); 2] {
        [
            attempt::failure_message.set(Some(self.message.clone())),
            attempt::failure_class.set_chosen(self.class),
        ]
    }

    /// The same, of an attempt row that is inserted.
    #[must_use]
    pub fn row(&self) -> [(ColumnRef, Expr); 2] {
        [
            attempt::failure_message.put(Some(self.message.clone())),
            attempt::failure_class.put_expr(class_word(self.class)),
        ]
    }
}

/// The word of a class as a bound value: the class is data to a plan, not one of its cases.
#[must_use]
pub fn class_word(class: Option<FailureClass>) -> Expr {
    class.map(|class| class.as_str().to_owned()).into_expr()
}

/// An attempt that begins anew has not failed.
#[must_use]
pub fn forgiven() -> [(ColumnRef, Settle); 2] {
    [
        (attempt::failure_message.column(), Settle::Clear),
        (attempt::failure_class.column(), Settle::Clear),
    ]
}
