//! The check of a whole file before anything of it is imported: that its lines make up whole
//! executions and flows, and which lines a later one supersedes.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::plan::value::Value;
use crate::rules::archive::line::LineError;
use crate::rules::archive::record::{Record, Subject};
use crate::schema::execution::exec_core;

/// A file, as far as it was checked.
#[derive(Clone, Debug, Default)]
pub struct CheckedFile {
    /// The highest event number of each outbox, by table.
    pub highest: BTreeMap<&'static str, i64>,
    /// The last line of each execution and flow, by the event that it was archived at.
    last: HashMap<Uuid, i64>,
    /// The event of the line before.
    at: i64,
    /// The thing whose parts came last, and that is not whole yet.
    in_parts: Option<Subject>,
    /// The members of the flow that is not whole yet, and the flow.
    in_flow: Option<(Uuid, u64)>,
}

impl CheckedFile {
    /// Adds the next line.
    ///
    /// # Errors
    /// A line that does not follow the one before.
    pub fn add(&mut self, record: &Record) -> Result<(), LineError> {
        self.check_order(record)?;
        self.check_flow(record)?;

        self.at = record.at;
        self.in_parts = record.is_part.then_some(record.subject);
        self.count_numbers(record);
        if !record.is_part {
            self.last.insert(uuid_of(record.subject), record.at);
        }
        Ok(())
    }

    /// Checks that the file ends with a whole execution or flow.
    ///
    /// # Errors
    /// A file that was cut off.
    pub fn finish(&self) -> Result<(), LineError> {
        let cut = self.in_parts.is_some() || self.in_flow.is_some();
        if cut { Err(error("rows", "the file ends before the rest of it")) } else { Ok(()) }
    }

    /// True if a later line is about the same execution or flow, archived again.
    #[must_use]
    pub fn is_superseded(&self, record: &Record) -> bool {
        self.last.get(&uuid_of(record.subject)).is_some_and(|last| record.at < *last)
    }

    fn check_order(&self, record: &Record) -> Result<(), LineError> {
        if record.at < self.at {
            return Err(error("at", "is before that of the line before"));
        }
        match self.in_parts {
            Some(before) if before != record.subject => {
                Err(error("part", "the rest of the line before is missing"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the members of a flow come together, and the flow behind them.
    fn check_flow(&mut self, record: &Record) -> Result<(), LineError> {
        if self.in_flow.is_some() && record.at != self.at {
            return Err(error("at", "the flow of the lines before is missing"));
        }
        match record.subject {
            Subject::Execution(_) if record.is_part => {}
            Subject::Execution(_) => {
                let core = record.rows_of(exec_core::REF).first();
                let flow = core.and_then(|row| row.value(exec_core::flow_id.column()));
                match (flow, self.in_flow) {
                    (Some(Value::Uuid(flow)), None) => self.in_flow = Some((*flow, 1)),
                    (Some(Value::Uuid(flow)), Some((own, members))) if own == *flow => {
                        self.in_flow = Some((own, members + 1));
                    }
                    (_, None) => {}
                    (_, Some(_)) => {
                        return Err(error("execution", "stands among members of another flow"));
                    }
                }
            }
            Subject::Flow(_) if record.is_part => {}
            Subject::Flow(key) => {
                let (flow, members) = self.in_flow.take().unwrap_or((key.uuid, 0));
                if flow != key.uuid {
                    return Err(error("flow", "is not that of the members before"));
                }
                if Some(members) != record.members {
                    return Err(error("members", format!("there were {members} before this line")));
                }
            }
        }
        Ok(())
    }

    fn count_numbers(&mut self, record: &Record) {
        for (table, rows) in &record.rows {
            let Some(number) = table.0.identity() else { continue };
            let numbers = rows.iter().filter_map(|row| match row.value(number) {
                Some(Value::Int(number)) => Some(*number),
                Some(_) | None => None,
            });
            if let Some(most) = numbers.max() {
                let highest = self.highest.entry(table.0.name).or_default();
                *highest = most.max(*highest);
            }
        }
    }
}

fn uuid_of(subject: Subject) -> Uuid {
    match subject {
        Subject::Execution(key) => key.uuid,
        Subject::Flow(key) => key.uuid,
    }
}

fn error(field: &str, what: impl Into<String>) -> LineError {
    LineError { field: field.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::facts::Row;
    use crate::rules::flow::key::FlowKey;
    use crate::rules::key::ExecutionKey;
    use crate::schema::outbox::lease_event;

    /// A line about an execution, which may be a member of a flow.
    fn execution(at: i64, id: u128, flow: Option<u128>) -> Record {
        let flow = flow.map_or(Value::Null, |flow| Value::Uuid(Uuid::from_u128(flow)));
        let core = Row::new(vec![(exec_core::flow_id.column(), flow)]);
        let event = Row::new(vec![(lease_event::event_id.column(), Value::Int(at * 10))]);
        Record {
            at,
            subject: Subject::Execution(ExecutionKey { partition: 0, uuid: Uuid::from_u128(id) }),
            is_part: false,
            members: None,
            rows: vec![(exec_core::REF, vec![core]), (lease_event::REF, vec![event])],
        }
    }

    fn part(of: &Record) -> Record {
        Record { is_part: true, rows: Vec::new(), ..of.clone() }
    }

    fn flow(at: i64, id: u128, members: u64) -> Record {
        let subject = Subject::Flow(FlowKey { partition: 0, uuid: Uuid::from_u128(id) });
        Record { at, subject, is_part: false, members: Some(members), rows: Vec::new() }
    }

    fn check(records: &[Record]) -> Result<CheckedFile, LineError> {
        let mut file = CheckedFile::default();
        records.iter().try_for_each(|record| file.add(record))?;
        file.finish()?;
        Ok(file)
    }

    #[test]
    fn lines_make_up_whole_executions_and_flows() {
        let (one, two) = (execution(1, 1, None), execution(2, 2, None));
        let (a, b) = (execution(5, 3, Some(9)), execution(5, 4, Some(9)));
        check(&[part(&one), part(&one), one.clone(), two.clone()]).unwrap();
        check(&[one.clone(), part(&a), a.clone(), b.clone(), flow(5, 9, 2)]).unwrap();
        check(&[flow(5, 9, 0)]).unwrap();
        for (records, field) in [
            (vec![two.clone(), one.clone()], "at"),
            (vec![part(&one), two.clone()], "part"),
            (vec![part(&one)], "rows"),
            (vec![a.clone(), b.clone()], "rows"),
            (vec![a.clone(), flow(5, 9, 2)], "members"),
            (vec![a.clone(), flow(5, 8, 1)], "flow"),
            (vec![a.clone(), execution(6, 1, None)], "at"),
            (vec![a.clone(), execution(5, 1, None)], "execution"),
            (vec![a, execution(5, 1, Some(8))], "execution"),
        ] {
            assert_eq!(check(&records).unwrap_err().field, field, "{records:?}");
        }
    }

    #[test]
    fn the_last_line_about_a_thing_counts_and_the_highest_numbers_are_known() {
        let records = [execution(1, 1, None), execution(2, 2, None), execution(3, 1, None)];
        let file = check(&records).unwrap();
        let superseded = records.each_ref().map(|record| file.is_superseded(record));
        assert_eq!(superseded, [true, false, false]);
        assert_eq!(file.highest, BTreeMap::from([("ff_lease_event", 30)]));
    }
}
