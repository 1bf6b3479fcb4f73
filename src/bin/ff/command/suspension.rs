//! The file in which a command says what its execution waits for.

use std::io::Read as _;
use std::path::Path;

use ff_core::contracts::{ResumeCondition, SuspendArgs};
use ff_core::policy::TimeoutBehavior;
use ff_core::types::TimestampMs;
use serde::Deserialize;

/// The longest file, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// A suspension as the file describes it. The engine decides if such a condition can hold.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct SuspensionFile {
    /// The names of signals; each has a waitpoint of its own with that key.
    #[serde(default)]
    signals: Vec<String>,
    /// The number of these signals that are needed; all of them by default.
    need: Option<u32>,
    /// A condition in the engine's own form, instead of the signals.
    condition: Option<ResumeCondition>,
    /// The time after which the wait is given up.
    timeout_ms: Option<u64>,
    /// The consequence then.
    #[serde(default)]
    on_timeout: OnTimeout,
}

/// The consequence of a wait that is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnTimeout {
    #[default]
    Fail,
    Cancel,
    Expire,
    Resume,
    Escalate,
}

impl OnTimeout {
    const fn behavior(self) -> TimeoutBehavior {
        match self {
            Self::Fail => TimeoutBehavior::Fail,
            Self::Cancel => TimeoutBehavior::Cancel,
            Self::Expire => TimeoutBehavior::Expire,
            Self::Resume => TimeoutBehavior::AutoResumeWithTimeoutSignal,
            Self::Escalate => TimeoutBehavior::Escalate,
        }
    }
}

impl SuspensionFile {
    /// Reads the file.
    ///
    /// # Errors
    /// The fault, in words that quote nothing of the file but its members' names.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error| format!("FF_SUSPEND_FILE cannot be read: {error}");
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_too_long = u64::try_from(text.len()).is_ok_and(|length| FILE_MAX < length);
        if is_too_long {
            return Err(format!("FF_SUSPEND_FILE is longer than {FILE_MAX} bytes"));
        }

        let file: Self =
            serde_json::from_str(text).map_err(|error| format!("FF_SUSPEND_FILE: {error}"))?;
        match (&file.condition, file.signals.is_empty(), file.need) {
            (None, true, _) => Err("FF_SUSPEND_FILE: give signals or a condition".to_owned()),
            (Some(_), false, _) | (Some(_), true, Some(_)) => {
                Err("FF_SUSPEND_FILE: a condition takes the place of signals and need".to_owned())
            }
            (Some(_), true, None) | (None, false, _) => Ok(file),
        }
    }

    /// The suspension, from that time on.
    pub(super) fn args(self, now: TimestampMs) -> SuspendArgs {
        let until = self
            .timeout_ms
            .map(|ms| TimestampMs(now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))));
        let behavior = self.on_timeout.behavior();
        let condition = self.condition();

        let args = SuspendArgs::until(condition, now);
        match until {
            Some(until) => args.with_timeout(until, behavior),
            None => args,
        }
    }

    fn condition(self) -> ResumeCondition {
        if let Some(condition) = self.condition {
            return condition;
        }

        match (self.signals.as_slice(), self.need) {
            ([only], None | Some(1)) => ResumeCondition::signal(only),
            (all, None) => ResumeCondition::signals(all),
            (all, Some(need)) => ResumeCondition::signals_at(need, all),
        }
    }
}

#[cfg(test)]
mod tests {
    use ff_core::contracts::{CompositeBody, CountKind, SignalMatcher, WaitpointBinding};

    use super::*;

    fn args(text: &str) -> SuspendArgs {
        SuspensionFile::parse(text).unwrap().args(TimestampMs(1_000))
    }

    fn keys(args: &SuspendArgs) -> Vec<&str> {
        let keys = args.waitpoints.iter().filter_map(|waitpoint| match waitpoint {
            WaitpointBinding::Fresh { waitpoint_key, .. } => Some(waitpoint_key.as_str()),
            _ => None,
        });
        keys.collect()
    }

    #[test]
    fn signals_are_waited_for_at_waitpoints_of_their_name() {
        let one = args(r#"{"signals":["approved"]}"#);
        assert_eq!((keys(&one), one.timeout_at), (vec!["approved"], None));
        let ResumeCondition::Single { matcher, .. } = &one.resume_condition else { panic!() };
        assert_eq!(matcher, &SignalMatcher::ByName("approved".to_owned()));

        let all = args(r#"{"signals":["a","b"],"timeout_ms":500,"on_timeout":"resume"}"#);
        assert_eq!((keys(&all), all.timeout_at), (vec!["a", "b"], Some(TimestampMs(1_500))));
        assert_eq!(all.timeout_behavior, TimeoutBehavior::AutoResumeWithTimeoutSignal);
        let some = args(r#"{"signals":["a","b","c"],"need":2}"#);
        assert_eq!(keys(&some), ["a", "b", "c"]);
        let body = CompositeBody::count(
            2,
            CountKind::DistinctWaitpoints,
            None,
            ["a", "b", "c"].map(str::to_owned),
        );
        assert_eq!(some.resume_condition, ResumeCondition::Composite(body));
    }

    #[test]
    fn a_condition_may_be_given_in_full() {
        let json = r#"{"condition":{"Single":{"waitpoint_key":"k","matcher":"Wildcard"}}}"#;
        assert_eq!(keys(&args(json)), ["k"]);
        let operator = args(r#"{"condition":"OperatorOnly"}"#);
        assert_eq!(operator.waitpoints.len(), 1);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for (text, reason) in [
            ("", "FF_SUSPEND_FILE: EOF"),
            ("{}", "give signals or a condition"),
            (r#"{"signals":[]}"#, "give signals or a condition"),
            (r#"{"signals":["a"],"condition":"OperatorOnly"}"#, "takes the place"),
            (r#"{"need":1,"condition":"OperatorOnly"}"#, "takes the place"),
            (r#"{"signal":"a"}"#, "unknown field `signal`"),
            (r#"{"signals":["a"],"on_timeout":"wait"}"#, "unknown variant"),
        ] {
            let error = SuspensionFile::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let missing = SuspensionFile::read(Path::new("/no/such/file")).unwrap_err();
        assert!(missing.starts_with("FF_SUSPEND_FILE cannot be read"), "{missing}");
    }
}
