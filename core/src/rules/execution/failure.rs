//! The message and class of a failure, as the rows of an attempt and of an end store them.

use crate::contracts::FailureReason;
use crate::model::policy::check::PAUSE_MAX_MS;
use crate::model::state::{ClosedSet as _, FailureClass};
use crate::plan::value::Storable as _;
use crate::plan::{Assign, Expr, OnTaken};
use crate::schema::ColumnRef;
use crate::schema::execution::attempt;

/// The longest message that is kept, in bytes; a longer one is cut, with a note.
const MESSAGE_MAX_BYTES: usize = 8 * 1024;

/// A failure message as every database stores it: NUL becomes U+FFFD, and it is cut at
/// `MESSAGE_MAX_BYTES`. To refuse such a message would be to refuse the end that it explains.
#[must_use]
pub fn said(message: impl Into<String>) -> String {
    let mut message = message.into();
    if message.contains('\0') {
        message = message.replace('\0', "\u{fffd}");
    }

    let whole = message.len();
    if MESSAGE_MAX_BYTES < whole {
        // A cut must not split a character.
        let cut = (0..=MESSAGE_MAX_BYTES).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(cut.unwrap_or(0));
        message.push_str(&format!("\u{2026} (cut, {whole} bytes in all)"));
    }

    message
}

/// The failure of an attempt or an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The message of the worker or of the engine, as [`said`] keeps it.
    pub message: String,
    /// The class, which says if another attempt may help; `None` where the caller gave a word of
    /// its own.
    pub class: Option<FailureClass>,
    /// The pause before another attempt that the worker asks for, ms.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A failure of a known class.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { message: said(message), class: Some(class), retry_after_ms: None }
    }

    /// A failure as a worker reports it: the message, and behind it the detail as text.
    #[must_use]
    pub fn reported(class: FailureClass, reason: FailureReason) -> Self {
        let FailureReason { message, detail, retry_after_ms } = reason;
        let detail = detail.filter(|detail| !detail.is_empty());
        let whole = match detail {
            Some(detail) => format!("{message}\n{}", String::from_utf8_lossy(&detail)),
            None => message,
        };
        // A pause of nothing would get around the bound of retries without one.
        let retry_after_ms = retry_after_ms.map(|pause| pause.clamp(1, PAUSE_MAX_MS));
        Self { retry_after_ms, ..Self::new(class, whole) }
    }

    /// A failure with its class given as a word; an unknown word is no class.
    #[must_use]
    pub fn of_category(category: &str, message: impl Into<String>) -> Self {
        let class = FailureClass::parse(category);
        Self { message: said(message), class, retry_after_ms: None }
    }

    /// The columns of an attempt row that hold the failure.
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
            attempt::failure_message.with(Some(self.message.clone())),
            attempt::failure_class.with_expr(class_word(self.class)),
        ]
    }
}

/// The word of a class as a bound value: the class is data to a plan, not one of its cases.
#[must_use]
pub fn class_word(class: Option<FailureClass>) -> Expr {
    class.map(|class| class.as_str().to_owned()).into_expr()
}

/// The conflict columns of an attempt that begins anew: it has not failed.
#[must_use]
pub fn forgiven() -> [(ColumnRef, OnTaken); 2] {
    [
        (attempt::failure_message.column(), OnTaken::Clear),
        (attempt::failure_class.column(), OnTaken::Clear),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters_and_says_so() {
        assert_eq!(said("out of luck"), "out of luck");
        assert_eq!(said("a\0b\0"), "a\u{fffd}b\u{fffd}");
        assert_eq!(said("x".repeat(8_192)).len(), 8_192);
        assert_eq!(
            said("x".repeat(8_193)),
            format!("{}… (cut, 8193 bytes in all)", "x".repeat(8_192))
        );
        let wide = said("\u{1f980}".repeat(5_000));
        assert_eq!(wide, format!("{}… (cut, 20000 bytes in all)", "\u{1f980}".repeat(2_048)));
        let odd = said(format!("xyz{}", "\u{1f980}".repeat(5_000)));
        assert_eq!(odd, format!("xyz{}… (cut, 20003 bytes in all)", "\u{1f980}".repeat(2_047)));
    }
}
