//! Admission: a check that finds every slot taken first ends the admissions that are over.

use super::{Executor, run};
use crate::contracts::CheckAdmissionResult;
use crate::model::error::EngineError;
use crate::rules::quota::admission::{CheckAdmission, Checked};

/// Asks a quota to admit an execution.
pub(super) async fn check(
    executor: &dyn Executor,
    check: &CheckAdmission,
) -> Result<CheckAdmissionResult, EngineError> {
    loop {
        match run(executor, check).await? {
            Checked::Answered(answer) => return Ok(answer),
            Checked::AfterLapse(lapsed) => {
                for lapse in lapsed {
                    run(executor, &lapse).await?;
                }
            }
        }
    }
}
