//! `ff keys`: manages the keys that sign the tokens of waitpoints. No command prints a secret.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ff_core::contracts::{
    RotateWaitpointHmacSecretAllArgs, RotateWaitpointHmacSecretOutcome, SeedOutcome,
    SeedWaitpointHmacSecretArgs,
};

use super::Global;
use super::failure::Failure;
use super::filter::span;
use super::view::KeyView;

/// The number of random bytes in a secret.
const SECRET_LEN: usize = 32;

/// The longest file with a secret that is read, in bytes.
const FILE_MAX: u64 = 4 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Install the first key. If there is one already, it is kept.
    Seed {
        #[command(flatten)]
        key: Key,
    },
    /// Sign with a new key from now on.
    Rotate {
        #[command(flatten)]
        key: Key,
        /// The time for which tokens of the old key stay valid: 30m, 1h, 3d.
        #[arg(long, value_name = "SPAN", value_parser = span)]
        grace: i64,
    },
}

#[derive(Debug, clap::Args)]
struct Key {
    /// The key's name, which every token begins with.
    #[arg(value_name = "KID")]
    kid: String,
    /// The file with the secret, 64 hex digits; `-` is stdin. Without one, a random secret is made
    /// and stays in the database.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Key {
    fn secret_hex(&self) -> Result<String, Failure> {
        match &self.secret_file {
            Some(path) => read_secret(path),
            None => random_secret(),
        }
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let (answer, text) = match arguments.action {
        Action::Seed { key } => seed(global, &key).await?,
        Action::Rotate { key, grace } => rotate(global, &key, grace.unsigned_abs()).await?,
    };

    let output = global.output();
    if output.is_json() { Ok(output.json(&answer)?) } else { Ok(output.line(text)?) }
}

async fn seed(global: &Global, key: &Key) -> Result<(KeyView, String), Failure> {
    let args = SeedWaitpointHmacSecretArgs::new(key.kid.clone(), key.secret_hex()?);
    let seeded = global.open_or_create().await?.seed_waitpoint_hmac_secret(args).await;
    let seeded = seeded.map_err(|error| failure("seeding", key, &error))?;

    let was_given = key.secret_file.is_some();
    // A random secret differs from any other; only a given one can contradict the stored one.
    match seeded {
        SeedOutcome::AlreadySeeded { kid, same_secret: false } if was_given => {
            Err(Failure::new(format!("key {kid} is there already, with another secret")))
        }
        SeedOutcome::AlreadySeeded { kid, .. } => Ok((
            view(&kid, "already_seeded"),
            format!("key {kid} is there already: nothing was changed"),
        )),
        SeedOutcome::Seeded { kid } => Ok((view(&kid, "seeded"), signs(&kid))),
        _ => Err(Failure::new(format!("seeding key {}: the answer is unknown", key.kid))),
    }
}

async fn rotate(global: &Global, key: &Key, grace_ms: u64) -> Result<(KeyView, String), Failure> {
    let secret = key.secret_hex()?;
    let args = RotateWaitpointHmacSecretAllArgs::new(key.kid.clone(), secret, grace_ms);
    let rotated = global.open_existing().await?.rotate_waitpoint_hmac_secret_all(args).await;
    let rotated = rotated.map_err(|error| failure("rotating to", key, &error))?;

    let mut outcome = None;
    for entry in rotated.entries {
        outcome = Some(entry.result.map_err(|error| failure("rotating to", key, &error))?);
    }

    match outcome {
        Some(RotateWaitpointHmacSecretOutcome::Rotated { previous_kid, new_kid, gc_count }) => {
            let answer = KeyView {
                previous_kid: previous_kid.clone(),
                grace_ms: Some(grace_ms),
                removed: Some(u64::from(gc_count)),
                ..view(&new_kid, "rotated")
            };
            let old = previous_kid
                .map(|kid| format!("; tokens of {kid} stay valid for {} s", grace_ms / 1_000));
            Ok((answer, signs(&new_kid) + &old.unwrap_or_default()))
        }
        Some(RotateWaitpointHmacSecretOutcome::Noop { kid }) => {
            Ok((view(&kid, "noop"), format!("key {kid} is there already: nothing was changed")))
        }
        None => Err(Failure::new(format!("rotating to {}: no answer", key.kid))),
    }
}

fn view(kid: &str, outcome: &'static str) -> KeyView {
    KeyView { kid: kid.to_owned(), outcome, previous_kid: None, grace_ms: None, removed: None }
}

fn signs(kid: &str) -> String {
    format!("key {kid} signs from now on")
}

fn failure(what: &str, key: &Key, error: &ff_core::EngineError) -> Failure {
    Failure::engine(&format!("{what} key {}", key.kid), error)
}

/// The secret in a file, as hex. The engine checks it, and its refusal does not repeat it.
fn read_secret(path: &Path) -> Result<String, Failure> {
    let failure = |error| Failure::new(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(FILE_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).map_err(failure)?.take(FILE_MAX).read_to_string(&mut text)
    };

    read.map_err(failure)?;
    Ok(text.trim().to_owned())
}

/// A fresh secret from the operating system's random source, as hex.
pub(super) fn random_secret() -> Result<String, Failure> {
    let mut secret = [0; SECRET_LEN];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::new(format!("drawing a secret: {error}")))?;
    Ok(hex::encode(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_64_digits_and_differ() {
        let (one, two) = (random_secret().unwrap(), random_secret().unwrap());
        assert_eq!((one.len(), two.len()), (64, 64));
        assert_ne!(one, two);
    }

    #[test]
    fn a_secret_is_read_without_the_space_around_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "c0ffee\n").unwrap();
        assert_eq!(read_secret(&path).unwrap(), "c0ffee");
        assert!(read_secret(directory.path()).is_err());
        assert!(read_secret(&directory.path().join("missing")).is_err());
    }
}
