//! The changes that opening a database may make.

/// The changes that opening a database may make. A database that does not fit the binary is always
/// refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// Creates the database where there is none, and migrates an older one to the current schema.
    #[default]
    Create,
    /// Refuses where there is none; migrates an older one to the current schema.
    Existing,
    /// Refuses where there is none or an older one. Changes nothing.
    Current,
}

impl Opening {
    /// The same mode without creating a database.
    #[must_use]
    pub const fn without_creation(self) -> Self {
        match self {
            Self::Create | Self::Existing => Self::Existing,
            Self::Current => Self::Current,
        }
    }
}
