//! Code that no longer fits the steps that an earlier run recorded.

/// A step that an earlier run recorded, where the handler now asks for another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "step {position} is recorded as {stored:?}, and the handler asks for {asked:?}: its code has \
     changed; run the former code, or fork the execution from the first step that is to run anew"
)]
#[non_exhaustive]
pub struct ChangedSteps {
    /// The place of the step, counted from 0.
    pub position: u32,
    /// The name that is recorded there.
    pub stored: String,
    /// The name that the handler asks for.
    pub asked: String,
}

/// The treatment of a job that has recorded steps which no longer fit its handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChangedSteps {
    /// The job fails for good, and says which step is another one. Steps are found by their order.
    #[default]
    Fail,
    /// The job goes on: steps are found by their names, in the order of equal names. A step that is
    /// not recorded runs; one that the handler no longer has is passed over.
    Continue,
}
