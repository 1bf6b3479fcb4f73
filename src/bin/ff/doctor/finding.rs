//! A finding: what is wrong, how bad that is, and what mends it.

use serde::Serialize;

/// The weight of a finding, heaviest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Work stands still, or will soon be refused.
    Error,
    /// Something works worse than it could, or will stand still later.
    Warning,
    /// Something that an operator has done on purpose and may have forgotten.
    Note,
}

impl Severity {
    /// All of them, heaviest first.
    pub(super) const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Note];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    /// The severity of a number: an error above the second bound, a warning above the first.
    pub(super) fn above(number: f64, warning: f64, error: f64) -> Option<Self> {
        if error < number { Some(Self::Error) } else { (warning < number).then_some(Self::Warning) }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The kind of finding, as `docs/doctor.md` lists them.
    pub(crate) kind: &'static str,
    /// The thing that it is about: a lane, a scan, a setting.
    pub(crate) subject: String,
    /// The finding in words.
    pub(crate) sentence: String,
    /// The command or statement that mends it.
    pub(crate) command: String,
}
