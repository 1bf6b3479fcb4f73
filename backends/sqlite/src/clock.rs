//! The time of a database file, on which all processes that share it agree.
//!
//! There is no server to ask, and the wall clock may be set at any moment: ten minutes ahead, and
//! every live lease would lapse. So processes use the clock that counts from the machine's start,
//! also while it sleeps, and one offset from there to the Unix epoch. The first process after a
//! start takes the offset from the wall clock and writes it to a note beside the file,
//! `PATH-clock`; other processes read it there. A process that opens the database ignores a note
//! that is half a day off.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ff_core::types::TimestampMs;

use crate::connect::Clock;

/// The error from which on a note is ignored: a machine that starts without a clock is years off
/// until it is set.
const BELIEVED_MS: i64 = 12 * 60 * 60 * 1_000;

/// The time between two readings of the note.
const LOOK_MS: i64 = 5_000;

type Millis = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock of the database in this file, or of one in memory without a file. `notes` allows it to
/// write the note.
pub(crate) fn of(file: Option<&Path>, notes: bool) -> Clock {
    let Some(machine) = Machine::this() else { return Arc::new(TimestampMs::now) };
    let shared = Shared::open(machine, file.map(note_beside), notes);
    Arc::new(move || shared.now())
}

fn note_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-clock");
    name.into()
}

/// The clocks of a machine.
struct Machine {
    /// A name of the machine's start that no other start has.
    start: String,
    /// Milliseconds since then.
    up: Millis,
    /// The wall clock.
    wall: Millis,
}

impl Machine {
    #[cfg(target_os = "linux")]
    fn this() -> Option<Self> {
        use rustix::time::{ClockId, clock_gettime};

        let start = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let up = || {
            let time = clock_gettime(ClockId::Boottime);
            time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
        };
        let wall = || TimestampMs::now().0;
        Some(Self { start: start.trim().to_owned(), up: Arc::new(up), wall: Arc::new(wall) })
    }

    /// Other systems use the wall clock.
    #[cfg(not(target_os = "linux"))]
    fn this() -> Option<Self> {
        None
    }
}

/// A clock that follows a note.
struct Shared {
    machine: Machine,
    note: Option<PathBuf>,
    distance_ms: AtomicI64,
    looked_ms: AtomicI64,
}

impl Shared {
    fn open(machine: Machine, note: Option<PathBuf>, notes: bool) -> Self {
        let up_ms = (machine.up)();
        let own_ms = (machine.wall)().saturating_sub(up_ms);
        let noted = || note.as_ref().and_then(|note| read(note, &machine.start));
        let believed =
            |noted_ms: &i64| noted_ms.saturating_sub(own_ms).saturating_abs() < BELIEVED_MS;

        let distance_ms = noted().filter(believed).unwrap_or_else(|| {
            if notes && let Some(note) = &note {
                // If the note cannot be written, this process uses its own offset.
                let _ = write(note, &machine.start, own_ms);
            }
            // Another process may have written at the same time; the last note counts for both.
            noted().filter(believed).unwrap_or(own_ms)
        });

        let (distance_ms, looked_ms) = (AtomicI64::new(distance_ms), AtomicI64::new(up_ms));
        Self { machine, note, distance_ms, looked_ms }
    }

    fn now(&self) -> TimestampMs {
        let up_ms = (self.machine.up)();
        if LOOK_MS <= up_ms.saturating_sub(self.looked_ms.load(Ordering::Relaxed)) {
            self.looked_ms.store(up_ms, Ordering::Relaxed);
            let noted = self.note.as_ref().and_then(|note| read(note, &self.machine.start));
            if let Some(noted_ms) = noted {
                self.distance_ms.store(noted_ms, Ordering::Relaxed);
            }
        }
        TimestampMs(up_ms.saturating_add(self.distance_ms.load(Ordering::Relaxed)))
    }
}

/// The offset that was noted since the machine's start.
fn read(note: &Path, start: &str) -> Option<i64> {
    let text = fs::read_to_string(note).ok()?;
    let (noted_start, distance) = text.trim().split_once(' ')?;
    (noted_start == start).then(|| distance.parse().ok()).flatten()
}

/// Writes the note in one step: a reader finds the old note or the new one.
fn write(note: &Path, start: &str, distance_ms: i64) -> io::Result<()> {
    let mut draft = note.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);

    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);

    let mut file = options.open(&draft)?;
    io::Write::write_all(&mut file, format!("{start} {distance_ms}\n").as_bytes())?;
    fs::rename(&draft, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_MINUTES: i64 = 600_000;

    /// A machine with clocks that the test sets.
    struct Turned {
        up_ms: Arc<AtomicI64>,
        wall_ms: Arc<AtomicI64>,
        note: PathBuf,
        _directory: tempfile::TempDir,
    }

    impl Turned {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let note = note_beside(&directory.path().join("ff.db"));
            let (up_ms, wall_ms) = (AtomicI64::new(7_000), AtomicI64::new(1_700_000_000_000));
            let (up_ms, wall_ms) = (Arc::new(up_ms), Arc::new(wall_ms));
            Self { up_ms, wall_ms, note, _directory: directory }
        }

        fn process(&self, start: &str, notes: bool) -> Shared {
            let shown = |clock: &Arc<AtomicI64>| -> Millis {
                let clock = Arc::clone(clock);
                Arc::new(move || clock.load(Ordering::SeqCst))
            };
            let (up, wall) = (shown(&self.up_ms), shown(&self.wall_ms));
            Shared::open(Machine { start: start.into(), up, wall }, Some(self.note.clone()), notes)
        }

        fn pass(&self, ms: i64) {
            self.up_ms.fetch_add(ms, Ordering::SeqCst);
            self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        }

        fn set_wall(&self, step: i64) {
            self.wall_ms.fetch_add(step, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_no_process_whenever_it_opened() {
        let machine = Turned::new();
        let first = machine.process("a", true);
        let mut expected = first.now();
        for step in [TEN_MINUTES, -TEN_MINUTES, -TEN_MINUTES] {
            machine.set_wall(step);
            machine.pass(60_000);
            expected = TimestampMs(expected.0 + 60_000);
            assert_eq!(first.now(), expected);
            for notes in [true, false] {
                assert_eq!(machine.process("a", notes).now(), expected);
            }
        }
    }

    #[test]
    fn after_another_start_the_wall_clock_counts_again() {
        let machine = Turned::new();
        machine.process("a", true);
        machine.up_ms.store(3, Ordering::SeqCst);
        machine.set_wall(TEN_MINUTES);
        let wall = TimestampMs(machine.wall_ms.load(Ordering::SeqCst));
        // A process that only reads writes no note.
        assert_eq!(machine.process("b", false).now(), wall);
        assert!(fs::read_to_string(&machine.note).unwrap().starts_with("a "));
        assert_eq!(machine.process("b", true).now(), wall);
        assert!(fs::read_to_string(&machine.note).unwrap().starts_with("b "));
    }

    #[test]
    fn a_process_with_a_later_clock_moves_the_clock_of_all() {
        let machine = Turned::new();
        let early = machine.process("a", true);
        let years = 10 * 365 * 24 * 60 * 60 * 1_000;
        machine.set_wall(years);
        let late = machine.process("a", true);
        assert_eq!(late.now().0, machine.wall_ms.load(Ordering::SeqCst));
        machine.pass(LOOK_MS);
        assert_eq!(early.now(), late.now());
    }

    #[test]
    fn a_note_that_cannot_be_read_or_written_does_no_harm() {
        let machine = Turned::new();
        let wall = TimestampMs(machine.wall_ms.load(Ordering::SeqCst));
        fs::write(&machine.note, "nonsense").unwrap();
        assert_eq!(machine.process("a", false).now(), wall);
        let nowhere = Turned { note: "/no/such/directory/ff.db-clock".into(), ..Turned::new() };
        assert_eq!(nowhere.process("a", true).now(), wall);
    }
}
