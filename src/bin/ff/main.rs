//! The program `ff`, the command line of flowfabric-sql: arguments in, an exit code out.
//!
//! One file per command. A command talks to the engine and to `output`; it knows no rule and no
//! SQL. Its exit codes are those of `exit`.

mod approve;
mod archive;
mod bench;
mod budget;
mod bulk;
mod cancel;
mod catalogue;
mod clock;
mod command;
mod completions;
mod confirm;
mod demo;
mod dlq;
mod doctor;
mod events;
mod exit;
mod explain;
mod failure;
mod fairness;
mod filter;
mod flow;
mod fork;
mod global;
mod group;
mod ids;
mod import;
mod interrupt;
mod keys;
mod lanes;
mod leases;
mod limits;
mod line;
mod log;
mod ls;
mod metrics;
mod migrate;
mod next;
#[cfg(feature = "otel")]
mod otel;
mod output;
mod pages;
mod priority;
mod quota;
mod reconcile;
#[cfg(test)]
mod reference;
mod refusal;
mod replay;
mod result;
mod resume;
mod retain;
mod retry;
mod revoke;
mod scan;
mod schedule;
mod schema;
mod session;
mod show;
mod shown;
mod signal;
mod stats;
mod steps;
mod submit;
mod subscribers;
mod table;
mod tail;
mod trim;
mod tuning;
mod usage;
mod view;
mod waitpoints;
mod watchdog;
mod words;
mod work;
mod workers;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use failure::Failure;
use global::Global;
use interrupt::Interrupts;
use output::OnClosed;

/// The time that a stopped command gets to end.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// Durable execution on SQLite, Postgres and MariaDB: submit work, run it, look at it.
#[derive(Debug, Parser)]
#[command(name = "ff", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Submit executions, one JSON object per line.
    Submit(submit::Arguments),
    /// Run a command for each execution of a lane.
    Work(work::Arguments),
    /// List executions, newest first.
    Ls(ls::Arguments),
    /// Show one execution: its state, its attempts, what happened to it.
    Show(show::Arguments),
    /// Tell every reason why an execution is not running, and what would end each.
    Explain(explain::Arguments),
    /// Print the result of an execution as it is; on a terminal, with control characters escaped.
    Result(result::Arguments),
    /// Cancel an execution, even one that a worker runs.
    Cancel(cancel::Arguments),
    /// Let an execution that has ended run again.
    Replay(replay::Arguments),
    /// Submit an execution like another one, which keeps the results of some of its steps.
    Fork(fork::Arguments),
    /// List the durable steps that an execution has recorded.
    Steps(steps::Arguments),
    /// List open waitpoints, and the signals that they wait for.
    Waitpoints(waitpoints::Arguments),
    /// Deliver a signal to a waitpoint, with its token.
    Signal(signal::Arguments),
    /// Signal a waitpoint as an operator, without its token.
    Approve(approve::Arguments),
    /// Resume a suspended execution, whatever it waits for.
    Resume(resume::Arguments),
    /// Install and replace the keys that sign the tokens of waitpoints.
    Keys(keys::Arguments),
    /// Print what an execution writes while it runs.
    Tail(tail::Arguments),
    /// Print events: ends, leases, signals, operators' actions.
    Events(events::Arguments),
    /// Define, show and reset budgets, and report to them.
    Budget(budget::Arguments),
    /// Define and show quotas, and admit executions.
    Quota(quota::Arguments),
    /// List the named subscribers and how far they have read; drop one.
    Subscribers(subscribers::Arguments),
    /// Change the priority of a waiting execution.
    Priority(priority::Arguments),
    /// Cancel, replay or reprioritise many executions at once.
    Bulk(bulk::Arguments),
    /// Let executions that failed for good run again, many at once.
    Retry(retry::Arguments),
    /// List, redrive and purge executions that failed for good.
    Dlq(dlq::Arguments),
    /// Remove executions that have ended, with everything that belongs to them.
    Trim(trim::Arguments),
    /// Write executions that have ended to a file, with everything that belongs to them.
    Archive(archive::Arguments),
    /// Add the executions of an archive to this database.
    Import(import::Arguments),
    /// Count executions by lane, kind and state, and failures of the last hour by class.
    Stats(stats::Arguments),
    /// Look for what keeps executions from running, or soon will, and say what mends it.
    Doctor(doctor::Arguments),
    /// List workers, and what they hold.
    Workers(workers::Arguments),
    /// List lanes; pause, drain, disable and resume them.
    Lanes(lanes::Arguments),
    /// Set, show, list and remove limits of keys: so many run at once, or start in a time.
    Limits(limits::Arguments),
    /// Set, list and remove the weights by which keys share a lane.
    Fairness(fairness::Arguments),
    /// List the leases of running executions.
    Leases(leases::Arguments),
    /// Take leases back, of one execution or of one worker.
    Revoke(revoke::Arguments),
    /// Submit, list, show and cancel flows: executions that wait for each other.
    Flow(flow::Arguments),
    /// Create, list, preview and backfill schedules: cron expressions that submit executions.
    Schedule(schedule::Arguments),
    /// Run the scanners alone: lapsed leases, delays, deadlines, dependencies.
    Scan(scan::Arguments),
    /// Repair what rows derive from other rows, where it has drifted.
    Reconcile(reconcile::Arguments),
    /// Bring the database to the current schema.
    Migrate(migrate::Arguments),
    /// Measure the engine beside hand-written SQL, on a database that is made for it and removed.
    Bench(bench::Arguments),
    /// Print the plan and the SQL of an operation, in every dialect.
    Sql(catalogue::Arguments),
    /// Print the JSON Schema of what `--json` prints.
    Schema(schema::Arguments),
    /// Print the completions of a shell: `ff completions bash > /etc/bash_completion.d/ff`.
    Completions(completions::Arguments),
    /// Write a page of the manual for each command.
    Man(completions::ManArguments),
    /// Watch executions survive a killed worker, wait for each other, and wait for a person. Needs
    /// nothing, leaves nothing.
    Demo(demo::Arguments),
    /// The command that the demo's workers run.
    #[command(hide = true)]
    DemoTask,
    /// The watchdog that ends the commands of a killed worker.
    #[command(hide = true, name = watchdog::COMMAND)]
    WatchGroups(watchdog::Arguments),
}

impl Command {
    /// The meaning of a closed stdout. Commands that change something ignore it.
    const fn on_closed(&self) -> OnClosed {
        match self {
            Self::Submit(_)
            | Self::Work(_)
            | Self::Cancel(_)
            | Self::Replay(_)
            | Self::Fork(_)
            | Self::Signal(_)
            | Self::Approve(_)
            | Self::Resume(_)
            | Self::Keys(_)
            | Self::Priority(_)
            | Self::Budget(_)
            | Self::Quota(_)
            | Self::Bulk(_)
            | Self::Retry(_)
            | Self::Subscribers(_)
            | Self::Trim(_)
            | Self::Archive(_)
            | Self::Import(_)
            | Self::Revoke(_)
            | Self::Scan(_)
            | Self::Reconcile(_)
            | Self::Migrate(_)
            | Self::Bench(_)
            | Self::Man(_)
            | Self::DemoTask
            | Self::WatchGroups(_) => OnClosed::GoOn,
            Self::Dlq(arguments) => arguments.on_closed(),
            Self::Flow(arguments) => arguments.on_closed(),
            Self::Lanes(arguments) => arguments.on_closed(),
            Self::Limits(arguments) => arguments.on_closed(),
            Self::Fairness(arguments) => arguments.on_closed(),
            Self::Schedule(arguments) => arguments.on_closed(),
            Self::Ls(_)
            | Self::Show(_)
            | Self::Explain(_)
            | Self::Result(_)
            | Self::Steps(_)
            | Self::Waitpoints(_)
            | Self::Tail(_)
            | Self::Events(_)
            | Self::Stats(_)
            | Self::Doctor(_)
            | Self::Workers(_)
            | Self::Leases(_)
            | Self::Sql(_)
            | Self::Schema(_)
            | Self::Completions(_)
            | Self::Demo(_) => OnClosed::End,
        }
    }

    /// True if the command reacts to a stop signal itself.
    const fn handles_interrupts(&self) -> bool {
        if let Self::Dlq(arguments) = self {
            return arguments.handles_interrupts();
        }
        if let Self::Stats(arguments) = self {
            return arguments.watches();
        }
        matches!(
            self,
            Self::Submit(_)
                | Self::Work(_)
                | Self::Bulk(_)
                | Self::Retry(_)
                | Self::Trim(_)
                | Self::Scan(_)
                | Self::Bench(_)
                | Self::WatchGroups(_)
        )
    }
}

/// Runs the command line of this process.
fn main() -> ExitCode {
    let mut arguments = match parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return usage::report(&error),
    };
    let json = arguments.global.json;
    arguments.global.session.on_closed = arguments.command.on_closed();

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    #[cfg(feature = "otel")]
    let traces = runtime.as_ref().ok().and_then(|runtime| otel::provider(runtime.handle()));
    // Held to the end, so that the last lines of the log are written, too.
    let _flush = log::start(
        arguments.global.log_format,
        #[cfg(feature = "otel")]
        traces.as_ref(),
    );

    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run_to_the_end(arguments));
            #[cfg(feature = "otel")]
            otel::flush(traces.as_ref());
            // A read of stdin that nothing ends must not hold the process.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::new(format!("starting the async runtime: {error}"))),
    };

    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            failure.exit_code()
        }
    }
}

/// The command line, with its exit codes below the help.
fn command_line() -> clap::Command {
    usage::with_signs(Arguments::command()).after_help(exit::table())
}

/// Reads a command line. Refuses a global option that would have no effect.
fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = command_line();
    let matches = command.try_get_matches_from_mut(line)?;

    if let Some((name, given)) = matches.subcommand() {
        let (unused, why) = match name {
            "migrate" => (&["no_migrate"][..], "which does nothing else than migrate"),
            "demo" => (&["db", "schema", "no_migrate"][..], "which makes a database of its own"),
            "bench" => (
                &["schema", "no_migrate", "synchronous", "utc", "local"][..],
                "which makes a database of its own, as durable as the engine's default",
            ),
            "sql" | "schema" | "completions" | "man" => {
                (&["db", "schema", "no_migrate"][..], "which opens no database")
            }
            _ => (&[][..], ""),
        };

        let is_given = |id: &&&str| given.value_source(id) == Some(ValueSource::CommandLine);
        if let Some(id) = unused.iter().find(is_given) {
            let option = id.replace('_', "-");
            let text =
                format!("the argument '--{option}' cannot be used with 'ff {name}', {why}\n");
            return Err(command.error(ErrorKind::ArgumentConflict, text));
        }
    }
    Arguments::from_arg_matches(&matches)
}

/// Runs the command until it is done, has failed or is stopped, and closes what it has opened.
async fn run_to_the_end(arguments: Arguments) -> Result<(), Failure> {
    let session = arguments.global.session.clone();
    let by_itself = arguments.command.handles_interrupts();
    let mut command = tokio::spawn(run(arguments));

    let done = tokio::select! {
        done = &mut command => {
            done.unwrap_or_else(|error| Err(Failure::new(format!("the command broke off: {error}"))))
        }
        stopped = interruption(), if !by_itself => {
            command.abort();
            // A read of stdin cannot be aborted; the command is not waited for then.
            let _ = tokio::time::timeout(STOP_GRACE, command).await;
            Err(stopped)
        }
    };

    session.close().await;
    done
}

async fn interruption() -> Failure {
    match Interrupts::new() {
        Ok(mut interrupts) => {
            interrupts.next().await;
            Failure::interrupted()
        }
        Err(error) => Failure::new(format!("listening for signals: {error}")),
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let global = &arguments.global;
    match arguments.command {
        Command::Submit(arguments) => submit::run(global, arguments).await,
        Command::Work(arguments) => work::run(global, arguments).await,
        Command::Ls(arguments) => ls::run(global, arguments).await,
        Command::Show(arguments) => show::run(global, arguments).await,
        Command::Explain(arguments) => explain::run(global, arguments).await,
        Command::Result(arguments) => result::run(global, arguments).await,
        Command::Cancel(arguments) => cancel::run(global, arguments).await,
        Command::Replay(arguments) => replay::run(global, arguments).await,
        Command::Fork(arguments) => fork::run(global, arguments).await,
        Command::Steps(arguments) => steps::run(global, arguments).await,
        Command::Waitpoints(arguments) => waitpoints::run(global, arguments).await,
        Command::Signal(arguments) => signal::run(global, arguments).await,
        Command::Approve(arguments) => approve::run(global, arguments).await,
        Command::Resume(arguments) => resume::run(global, arguments).await,
        Command::Keys(arguments) => keys::run(global, arguments).await,
        Command::Tail(arguments) => tail::run(global, arguments).await,
        Command::Events(arguments) => events::run(global, arguments).await,
        Command::Budget(arguments) => budget::run(global, arguments).await,
        Command::Quota(arguments) => quota::run(global, arguments).await,
        Command::Priority(arguments) => priority::run(global, arguments).await,
        Command::Subscribers(arguments) => subscribers::run(global, arguments).await,
        Command::Trim(arguments) => trim::run(global, arguments).await,
        Command::Archive(arguments) => archive::run(global, arguments).await,
        Command::Import(arguments) => import::run(global, arguments).await,
        Command::Bulk(arguments) => bulk::run(global, arguments).await,
        Command::Retry(arguments) => retry::run(global, arguments).await,
        Command::Dlq(arguments) => dlq::run(global, arguments).await,
        Command::Doctor(arguments) => doctor::run(global, arguments).await,
        Command::Stats(arguments) => stats::run(global, arguments).await,
        Command::Workers(arguments) => workers::run(global, arguments).await,
        Command::Lanes(arguments) => lanes::run(global, arguments).await,
        Command::Limits(arguments) => limits::run(global, arguments).await,
        Command::Fairness(arguments) => fairness::run(global, arguments).await,
        Command::Leases(arguments) => leases::run(global, arguments).await,
        Command::Revoke(arguments) => revoke::run(global, arguments).await,
        Command::Flow(arguments) => flow::run(global, arguments).await,
        Command::Schedule(arguments) => schedule::run(global, arguments).await,
        Command::Scan(arguments) => scan::run(global, arguments).await,
        Command::Reconcile(arguments) => reconcile::run(global, arguments).await,
        Command::Migrate(arguments) => migrate::run(global, arguments).await,
        Command::Bench(arguments) => bench::run(global, arguments).await,
        Command::Sql(arguments) => catalogue::run(global, &arguments),
        Command::Schema(arguments) => schema::run(global, &arguments),
        Command::Completions(arguments) => completions::run(global, &arguments, command_line()),
        Command::Man(arguments) => completions::man(global, &arguments, command_line()),
        Command::Demo(arguments) => demo::run(global, arguments).await,
        Command::DemoTask => demo::task::run(),
        Command::WatchGroups(arguments) => watchdog::run(arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_all_commands_agree_with_themselves() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_option_without_effect_is_refused_by_its_name() {
        let read = |line: &str| parse(line.split(' ').map(OsString::from));
        for (line, option) in [
            ("ff migrate --no-migrate", "--no-migrate"),
            ("ff --db sqlite:x.db demo", "--db"),
            ("ff demo --schema s", "--schema"),
            ("ff bench --synchronous normal", "--synchronous"),
            ("ff sql --no-migrate claim", "--no-migrate"),
        ] {
            let text = read(line).unwrap_err().to_string();
            assert!(text.contains(option), "{line}: {text}");
        }
        for line in ["ff migrate --db sqlite:x.db", "ff demo --json", "ff ls --no-migrate"] {
            assert!(read(line).is_ok(), "{line}");
        }
    }
}
