//! The file of an archive: lines are appended, and those that the stored position covers count.
//!
//! The note beside the position says how long the file was and how it ended. So a run finds its own
//! file again, and cuts off what a run before wrote and did not finish.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ff_core::rules::archive::line::header;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// The bytes at the end of a file that its note is about.
const END: u64 = 4096;

/// A file that is open, and locked against other runs.
pub(super) struct ArchiveFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl ArchiveFile {
    /// Begins a file, which must be new. One with nothing but the first line was begun by a run
    /// that ended before its first position was stored.
    pub(super) fn begin(path: PathBuf, name: &str) -> Result<Self, Failure> {
        let mut archive = Self::open(path, true)?;
        let first = format!("{}\n", header());
        let begun =
            archive.start(first.len() as u64 + 1).map_err(|error| archive.failed(&error))?;
        if !first.as_bytes().starts_with(&begun) {
            let path = archive.path.display();
            let text = format!("{path} is there already, and this database has no archive {name}");
            return Err(Failure::new(text).with_help("name another file"));
        }

        archive.cut(0).map_err(|error| archive.failed(&error))?;
        archive.append_text(&first)?;
        archive.sync()?;
        sync_directory(&archive.path).map_err(|error| archive.failed(&error))?;
        Ok(archive)
    }

    /// Goes on with a file as the note says, and cuts off what comes behind.
    pub(super) fn go_on(path: PathBuf, name: &str, note: &str) -> Result<Self, Failure> {
        let refusal = |path: &Path, what: &str| {
            let text = format!("{} {what} that archive {name} was written to", path.display());
            let help = format!("ff subscribers drop {name} forgets it; the next run begins anew");
            Failure::new(text).with_help(help)
        };
        if let Ok(false) = path.try_exists() {
            return Err(refusal(&path, "is missing: it is the file"));
        }

        let mut archive = Self::open(path, false)?;
        let bytes = note.split_once(' ').and_then(|(bytes, _)| bytes.parse().ok());
        let is_there = bytes.is_some_and(|bytes| bytes <= archive.bytes);
        archive.bytes = bytes.filter(|_| is_there).unwrap_or_default();

        if !is_there || archive.note()? != note {
            return Err(refusal(&archive.path, "is not the file"));
        }
        archive.cut(archive.bytes).map_err(|error| archive.failed(&error))?;
        Ok(archive)
    }

    fn open(path: PathBuf, create: bool) -> Result<Self, Failure> {
        let named = |error: &io::Error| Failure::new(format!("{}: {error}", path.display()));
        let file = OpenOptions::new().read(true).write(true).create(create).open(&path);
        let file = file.map_err(|error| named(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(format!("{}: another run writes it", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(named(&error)),
        }
        let bytes = file.metadata().map_err(|error| named(&error))?.len();
        Ok(Self { path, file, bytes })
    }

    /// Appends lines. They are on the disk once [`Self::sync`] is done.
    pub(super) fn append(&mut self, lines: &[String]) -> Result<(), Failure> {
        let mut writer = BufWriter::new(&self.file);
        let mut written = Ok(());
        for line in lines {
            written = written.and_then(|()| writer.write_all(line.as_bytes()));
            written = written.and_then(|()| writer.write_all(b"\n"));
            self.bytes += line.len() as u64 + 1;
        }
        let written = written.and_then(|()| writer.flush());
        drop(writer);
        written.map_err(|error| self.failed(&error))
    }

    fn append_text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes += text.len() as u64;
        self.file.write_all(text.as_bytes()).map_err(|error| self.failed(&error))
    }

    /// Waits until everything is on the disk.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.failed(&error))
    }

    /// The length of the file.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The note of the file as it is: its length, and a digest of its end.
    pub(super) fn note(&self) -> Result<String, Failure> {
        let end = self.end().map_err(|error| self.failed(&error))?;
        Ok(format!("{} {}", self.bytes, hex::encode(Sha256::digest(&end))))
    }

    fn end(&self) -> io::Result<Vec<u8>> {
        let length = self.bytes.min(END);
        self.read(self.bytes - length, length)
    }

    /// The first bytes.
    fn start(&self, length: u64) -> io::Result<Vec<u8>> {
        self.read(0, length)
    }

    /// Some bytes of the file, which stays where it is written.
    fn read(&self, from: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))?;
        file.take(length).read_to_end(&mut bytes)?;
        file.seek(SeekFrom::Start(self.bytes))?;
        Ok(bytes)
    }

    /// Cuts off what is behind that length, and goes on there.
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.bytes = length;
        self.file.seek(SeekFrom::Start(length)).map(drop)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(format!("{}: {error}", self.path.display()))
    }
}

/// Waits until the name of a new file is on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_again_and_loses_what_the_note_does_not_cover() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let mut file = ArchiveFile::begin(path.clone(), "a").unwrap();
        assert!(ArchiveFile::begin(path.clone(), "a").is_err(), "locked");
        file.append(&["one".to_owned(), "two".to_owned()]).unwrap();
        let note = file.note().unwrap();
        file.append(&["thr".to_owned()]).unwrap();
        drop(file);

        let mut file = ArchiveFile::go_on(path.clone(), "a", &note).unwrap();
        file.append(&["three".to_owned()]).unwrap();
        drop(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\none\ntwo\nthree\n", header()));

        assert!(ArchiveFile::begin(path.clone(), "a").is_err(), "not new");
        std::fs::write(&path, text.replace("two", "TWO")).unwrap();
        assert!(ArchiveFile::go_on(path.clone(), "a", &note).is_err(), "changed");
        std::fs::write(&path, header()).unwrap();
        assert!(ArchiveFile::go_on(path.clone(), "a", &note).is_err(), "cut");
        ArchiveFile::begin(path, "a").unwrap();
    }
}
