//! The data directory: one process, one owner, never made anew over old data.

use tempfile::TempDir;

use super::*;
use crate::disk::{Loss, SimulatedDisk};

const IDENTITY: Identity = Identity { cluster_id: 0xabc_0000_0001, node_id: 3 };

fn refusal(path: &Path, identity: Identity) -> String {
    DataDir::open(path, identity, 9).map(drop).unwrap_err().to_string()
}

#[test]
fn it_remembers_its_incarnation() {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("a/b/data");
    let dir = DataDir::open(&path, IDENTITY, 77).unwrap();
    assert!(dir.is_fresh());
    assert_eq!(dir.incarnation(), 77);
    drop(dir);
    let dir = DataDir::open(&path, IDENTITY, 78).unwrap();
    assert!(!dir.is_fresh());
    assert_eq!(dir.incarnation(), 77);
}

#[test]
fn in_use_is_refused_with_path_and_pid() {
    let temporary = TempDir::new().unwrap();
    let dir = DataDir::open(temporary.path(), IDENTITY, 1).unwrap();
    let error = refusal(temporary.path(), IDENTITY);
    assert!(error.contains(&temporary.path().display().to_string()), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    let clone = dir.clone();
    drop(dir);
    refusal(temporary.path(), IDENTITY);
    drop(clone);
    DataDir::open(temporary.path(), IDENTITY, 1).unwrap();
}

#[test]
fn anothers_is_refused_with_both_names() {
    let temporary = TempDir::new().unwrap();
    drop(DataDir::open(temporary.path(), IDENTITY, 1).unwrap());
    let error = refusal(temporary.path(), Identity { node_id: 4, ..IDENTITY });
    assert!(error.contains("node 3") && error.contains("node 4"), "{error}");
    let error = refusal(temporary.path(), Identity { cluster_id: 0xdef_0000_0001, ..IDENTITY });
    assert!(error.contains("00000abc00000001") && error.contains("00000def00000001"), "{error}");
    assert!(error.contains("identity"), "{error}");
}

#[test]
fn a_damaged_identity_is_an_error_and_stays() {
    let temporary = TempDir::new().unwrap();
    drop(DataDir::open(temporary.path(), IDENTITY, 1).unwrap());
    let file = temporary.path().join("identity");
    let sound = fs::read(&file).unwrap();
    for bit in 0..sound.len() * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &damaged).unwrap();
        refusal(temporary.path(), IDENTITY);
        assert_eq!(fs::read(&file).unwrap(), damaged);
    }
    for end in 0..sound.len() {
        fs::write(&file, &sound[..end]).unwrap();
        refusal(temporary.path(), IDENTITY);
    }
    fs::write(&file, &sound).unwrap();
    DataDir::open(temporary.path(), IDENTITY, 1).unwrap();
}

#[test]
fn data_without_an_identity_is_refused() {
    let temporary = TempDir::new().unwrap();
    let dir = DataDir::open(temporary.path(), IDENTITY, 1).unwrap();
    let vote = crate::Vote { term: 1, node: 1, committed: false };
    Floor::open(&dir).unwrap().promise(|floor| floor.vote = Some(vote)).unwrap();
    drop(dir);
    fs::remove_file(temporary.path().join("identity")).unwrap();
    assert!(refusal(temporary.path(), IDENTITY).contains("`floor` is there"));
    for name in ["log", "sessions"] {
        let temporary = TempDir::new().unwrap();
        fs::create_dir(temporary.path().join(name)).unwrap();
        assert!(refusal(temporary.path(), IDENTITY).contains(name));
    }
}

#[test]
fn a_kill_of_the_very_first_start_is_forgotten() {
    let temporary = TempDir::new().unwrap();
    let disk = SimulatedDisk::new();
    let (send, images) = std::sync::mpsc::channel();
    disk.on_step(move |files| {
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(3)] {
            send.send(files.image(loss)).unwrap();
        }
    });
    drop(DataDir::open_on(disk.disk(), temporary.path(), IDENTITY, 1).unwrap());
    disk.end_steps();
    let mut count = 0;
    for image in images.try_iter().chain([disk.image(Loss::Everything)]) {
        let copy = TempDir::new().unwrap();
        image.write(temporary.path(), copy.path()).unwrap();
        let dir = DataDir::open(copy.path(), IDENTITY, 2).unwrap();
        assert!(dir.is_fresh());
        Floor::open(&dir).unwrap();
        count += 1;
    }
    assert!(count > 10, "{count}");
}
