//! The changes of a decision, as a value.

use crate::model::error::EngineError;
use crate::plan::facts::{Facts, Row};
use crate::plan::{Assign, Guard, Mutation, Plan, Predicate, Return, Selection};
use crate::rules::fence::Fence;
use crate::rules::key::CORE;
use crate::rules::limit::held::permits_given_back;
use crate::rules::premise::{Premise, guards};
use crate::rules::suspension::close;
use crate::schema::ColumnRef;

/// The changes of a decision, and what they rely on beyond its premises.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    name: Option<&'static str>,
    mutations: Vec<Mutation>,
    relied: Vec<(&'static str, Predicate)>,
    before: Vec<Guard>,
    after: Vec<Guard>,
    unless: Vec<Guard>,
    selection: Option<Selection>,
    returns: Vec<Return>,
}

impl<M: IntoIterator<Item = Mutation>> From<M> for Changes {
    fn from(mutations: M) -> Self {
        Self::of(mutations)
    }
}

impl Changes {
    /// These changes.
    pub fn of(mutations: impl IntoIterator<Item = Mutation>) -> Self {
        Self { mutations: mutations.into_iter().collect(), ..Self::default() }
    }

    /// These changes, too.
    #[must_use]
    pub fn and(mut self, mutations: impl IntoIterator<Item = Mutation>) -> Self {
        self.mutations.extend(mutations);
        self
    }

    /// Gives the plan a name of its own, where an operation has several.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// Relies on more of a row than its premise says.
    #[must_use]
    pub fn relying_on(mut self, row: &'static str, holds: Predicate) -> Self {
        self.relied.push((row, holds));
        self
    }

    /// Holds further rows, which are locked before those of the premises: a flow and a group come
    /// before their executions.
    #[must_use]
    pub fn holding_first(mut self, guards: impl IntoIterator<Item = Guard>) -> Self {
        self.before.extend(guards);
        self
    }

    /// Holds further rows, which are locked after those of the premises.
    #[must_use]
    pub fn holding(mut self, guards: impl IntoIterator<Item = Guard>) -> Self {
        self.after.extend(guards);
        self
    }

    /// Refuses the plan while one of these rows exists and holds its predicate.
    #[must_use]
    pub fn unless(mut self, rows: impl IntoIterator<Item = Guard>) -> Self {
        self.unless.extend(rows);
        self
    }

    /// Works on rows that the database picks.
    #[must_use]
    pub fn picking(mut self, selection: Selection) -> Self {
        self.selection = Some(selection);
        self
    }

    /// Reports these values, too.
    #[must_use]
    pub fn returning(mut self, returns: impl IntoIterator<Item = Return>) -> Self {
        self.returns.extend(returns);
        self
    }

    /// Closes whatever the execution has open, as each end of an attempt must. An execution that
    /// was not read is relied on to have nothing open.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored word outside its set.
    pub fn closing(mut self, facts: &Facts) -> Result<Self, EngineError> {
        match facts.row(CORE) {
            Some(core) => {
                self.mutations = close::close_as_read(self.mutations, core)?;
                Ok(self)
            }
            None => Ok(self.relying_on(CORE, close::nothing_open())),
        }
    }

    /// The same for the holder of a lease: what its claim is known to have reserved is given back
    /// without a read.
    ///
    /// # Errors
    /// As [`Self::closing`].
    pub fn closing_under(mut self, fence: &Fence, facts: &Facts) -> Result<Self, EngineError> {
        if facts.row(CORE).is_some() || !fence.has_reservations {
            return self.closing(facts);
        }
        self.mutations = close::close_reserved(self.mutations);
        Ok(self.relying_on(CORE, close::no_waitpoints()))
    }

    /// Closes the wait of the execution that was read, where its work goes on: what it has reserved
    /// stays reserved.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a stored word outside its set.
    pub fn closing_wait(mut self, core: &Row) -> Result<Self, EngineError> {
        self.mutations = close::close_wait(self.mutations, core)?;
        Ok(self)
    }

    /// Gives back the permits of the execution: its work stops and goes on later. What it has
    /// reserved stays reserved.
    #[must_use]
    pub fn giving_back_permits(self) -> Self {
        self.and([permits_given_back()])
    }

    /// Adds a column to the change of the held execution's row.
    #[must_use]
    pub fn marking(mut self, column: (ColumnRef, Assign)) -> Self {
        close::mark(&mut self.mutations, column);
        self
    }

    /// The plan of an operation with these premises and changes.
    ///
    /// # Errors
    /// `Validation(Corruption)` when the stored version of a row is no number.
    pub fn planned<O>(
        self,
        name: &'static str,
        premises: Vec<Premise<O>>,
        facts: &Facts,
    ) -> Result<Plan, EngineError> {
        let Self { name: own, mutations, relied, before, after, unless, selection, returns } = self;
        let name = own.unwrap_or(name);
        let premises = guards(premises, &relied, facts)?;
        let guards = before.into_iter().chain(premises).chain(after).collect();
        Ok(Plan { name: name.into(), guards, unless, selection, mutations, returns })
    }
}
