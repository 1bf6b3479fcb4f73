//! How much opening a database may change.

/// How much opening a database may change. One that does not fit the binary is always refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// Makes the database where there is none, and brings an older one to the current schema.
    #[default]
    Create,
    /// Refuses where there is none; brings an older one to the current schema.
    Existing,
    /// Refuses where there is none or an older one. Changes nothing.
    Current,
}

impl Opening {
    /// The same without making a database.
    #[must_use]
    pub const fn without_creation(self) -> Self {
        match self {
            Self::Create | Self::Existing => Self::Existing,
            Self::Current => Self::Current,
        }
    }
}
