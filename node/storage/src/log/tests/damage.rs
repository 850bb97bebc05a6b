//! Torn tails and flipped bits: an error, or harmless; never a wrong entry, never one less without a word.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::base::{Node, append, open_on, options, purge, record, save_vote};
use super::crash::Dice;
use crate::disk::SimulatedDisk;
use crate::log::planted::Bug;
use crate::{LogRecord, Threads, Vote};

type Content = (Vec<LogRecord>, Option<Vote>);

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A log of several files with a past: closed, and all of it noted in the floor.
fn sample() -> (TempDir, Content) {
    let mut node = Node::new(Threads::Inline);
    let log = node.open();
    for index in 0..60 {
        append(&log, vec![record(1, index, 130, 0)]);
    }
    save_vote(&log, 3);
    purge(&log, record(1, 9, 0, 0).id);
    log.truncate_after(Some(record(1, 49, 0, 0).id)).unwrap();
    append(&log, (50..58).map(|index| record(3, index, 90, 0)).collect());
    let content = (log.read(0, 99, u64::MAX).unwrap(), log.vote());
    log.close();
    (node.dir, content)
}

/// What a start finds in `path`, or the error.
fn found(path: &Path) -> Result<Content, String> {
    let disk = SimulatedDisk::new().disk();
    let opened = open_on(disk, path, options(Threads::Inline).0, Bug::None);
    let (log, _) = opened.map_err(|error| error.to_string())?;
    let records = log.read(0, 99, u64::MAX).map_err(|error| error.to_string())?;
    Ok((records, log.vote()))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("log")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| fs::metadata(file).unwrap().len() > 0);
    files.sort();
    files.push(dir.join("floor"));
    files
}

/// Opens the sample with one file changed; true if the change was noticed.
fn is_noticed(sample: &Path, content: &Content, file: &Path, what: &str, changed: &[u8]) -> bool {
    let temporary = TempDir::new().unwrap();
    copy(sample, temporary.path());
    fs::write(temporary.path().join(file.strip_prefix(sample).unwrap()), changed).unwrap();
    match found(temporary.path()) {
        Ok(found) => {
            assert!(found == *content, "{} {what}: something else, and no error", file.display());
            false
        }
        Err(error) => {
            assert!(error.contains(&temporary.path().display().to_string()), "it names no path: {error}");
            true
        }
    }
}

#[test]
fn the_sample_opens() {
    let (dir, content) = sample();
    assert!(files(dir.path()).len() >= 4);
    assert!(found(dir.path()).unwrap() == content);
}

#[test]
fn a_file_cut_anywhere_is_noticed_or_harmless() {
    let (dir, content) = sample();
    let mut noticed = 0;
    let files = files(dir.path());
    for file in files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "raftlog")) {
        let sound = fs::read(file).unwrap();
        for end in (0..sound.len()).step_by(61).chain(sound.len().saturating_sub(9)..sound.len()) {
            let what = format!("cut at {end}");
            noticed += usize::from(is_noticed(dir.path(), &content, file, &what, &sound[..end]));
        }
    }
    assert!(noticed > 50, "{noticed}");
}

#[test]
fn a_file_gone_is_noticed_or_harmless() {
    let (dir, content) = sample();
    for file in files(dir.path()) {
        let temporary = TempDir::new().unwrap();
        copy(dir.path(), temporary.path());
        fs::remove_file(temporary.path().join(file.strip_prefix(dir.path()).unwrap())).unwrap();
        let found = found(temporary.path());
        assert!(found.is_err() || found == Ok(content.clone()), "without {}", file.display());
    }
    let temporary = TempDir::new().unwrap();
    copy(dir.path(), temporary.path());
    fs::remove_dir_all(temporary.path().join("log")).unwrap();
    let error = found(temporary.path()).unwrap_err();
    assert!(error.contains("new node id"), "{error}");
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_harmless() {
    let (dir, content) = sample();
    let mut dice = Dice(7);
    let mut noticed = 0;
    for file in files(dir.path()) {
        let sound = fs::read(&file).unwrap();
        let bits = sound.len() as u64 * 8;
        // All of a header's last bytes, which no checksum covers, and any others.
        let header = (61 * 8)..(69 * 8).min(bits);
        let lengths = (69 * 8)..(85 * 8).min(bits);
        let others: Vec<_> = (0..60).map(|_| dice.roll(bits)).collect();
        for bit in header.step_by(5).chain(lengths.step_by(3)).chain(others) {
            let mut damaged = sound.clone();
            damaged[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
            let what = format!("bit {bit}");
            noticed += usize::from(is_noticed(dir.path(), &content, &file, &what, &damaged));
        }
    }
    assert!(noticed > 100, "{noticed}");
}

#[test]
fn an_older_log_is_refused() {
    let (dir, _) = sample();
    let older = TempDir::new().unwrap();
    copy(dir.path(), older.path());
    let disk = SimulatedDisk::new().disk();
    let (log, _) = open_on(disk, dir.path(), options(Threads::Inline).0, Bug::None).unwrap();
    append(&log, vec![record(3, 58, 10, 0)]);
    log.close();
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    copy(&older.path().join("log"), &dir.path().join("log"));
    let error = found(dir.path()).unwrap_err();
    assert!(error.contains("ends at index 57") && error.contains("index 58 of term 3"), "{error}");
    assert!(error.contains("new node id"), "{error}");
}
