use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_tests::{HarnessError, NodeProcess, PATIENCE, ProcessCluster};
use tokio::time::Instant;

use crate::common::{Outcome, looking, one, session, three, wait_applied};

/// quorated's exit code for a refused start.
const REFUSED: i32 = 2;

/// A stopped node with one session, alone in its cluster, and its directory.
async fn stopped() -> Result<(ProcessCluster, PathBuf), HarnessError> {
    let mut cluster = one().await?;
    cluster.client()?.create(session("a", "1")).await?;
    cluster.stop(1).await?;
    let dir = cluster.node(1)?.spec().data_dir.clone();
    Ok((cluster, dir))
}

/// Starts node 1, which must refuse, and returns what it said. It must say so at once, and name `path`.
async fn refusal(cluster: &mut ProcessCluster, path: &Path) -> Result<String, HarnessError> {
    refusal_of(cluster, 1, path).await
}

async fn refusal_of(cluster: &mut ProcessCluster, id: u64, path: &Path) -> Result<String, HarnessError> {
    let already = cluster.node(id)?.log_text().len();
    cluster.node_mut(id)?.start()?;
    let status = cluster.wait_end(id, PATIENCE).await?;
    let said = cluster.node(id)?.log_text().split_off(already);
    assert_eq!(status.code(), Some(REFUSED), "{said}");
    assert!(said.contains(&path.display().to_string()), "it does not name {}:\n{said}", path.display());
    assert!(!said.contains("panicked"), "{said}");
    Ok(said)
}

/// Replaces the value of one of a node's flags.
fn set_flag(node: &mut NodeProcess, flag: &str, value: &str) {
    for argument in &mut node.spec_mut().arguments {
        if argument.to_string_lossy().starts_with(&format!("--{flag}=")) {
            *argument = format!("--{flag}={value}").into();
        }
    }
}

fn flip(path: &Path, offset: usize) -> std::io::Result<()> {
    let mut bytes = fs::read(path)?;
    let offset = offset.min(bytes.len().saturating_sub(1));
    bytes.iter_mut().skip(offset).take(1).for_each(|byte| *byte ^= 1);
    fs::write(path, bytes)
}

#[tokio::test]
async fn the_directory_of_another_node_is_refused() -> Outcome {
    let mut cluster = three().await?;
    cluster.stop(1).await?;
    cluster.stop(2).await?;
    let (one, two) = (cluster.node(1)?.spec().data_dir.clone(), cluster.node(2)?.spec().data_dir.clone());
    let aside = one.with_file_name("aside");
    fs::rename(&one, &aside)?;
    fs::rename(&two, &one)?;
    let said = refusal(&mut cluster, &one.join("identity")).await?;
    assert!(said.contains("node 2") && said.contains("node 1"), "{said}");
    // Put right again, both serve.
    fs::rename(&one, &two)?;
    fs::rename(&aside, &one)?;
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    assert_eq!(cluster.running().len(), 3);
    Ok(())
}

#[tokio::test]
async fn the_directory_of_another_cluster_is_refused() -> Outcome {
    let (mut cluster, dir) = stopped().await?;
    cluster.node_mut(1)?.spec_mut().arguments.push("--cluster-name=another".into());
    let said = refusal(&mut cluster, &dir.join("identity")).await?;
    assert!(said.contains("cluster"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_its_user_serves_on() -> Outcome {
    let cluster = one().await?;
    let client = cluster.client()?;
    let created = client.create(session("a", "1")).await?;
    let owner = cluster.node(1)?.pid().ok_or("it does not run")?;
    let mut spec = cluster.node(1)?.spec().clone();
    spec.log = spec.log.with_file_name("log-of-the-second");
    let mut second = NodeProcess::new(spec);
    for flag in ["client-listen", "peer-listen", "admin-listen"] {
        set_flag(&mut second, flag, "127.0.0.1:0");
    }
    second.start()?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match second.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => return Err("the second process does not end".into()),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let said = second.log_text();
    assert_eq!(status.code(), Some(REFUSED), "{said}");
    assert!(said.contains(&second.spec().data_dir.display().to_string()), "{said}");
    assert!(said.contains(&owner.to_string()), "it does not name process {owner}:\n{said}");
    assert_eq!(client.get_with(&created.id, looking()).await?.version, 1);
    Ok(())
}

#[tokio::test]
async fn a_damaged_identity_is_refused_and_never_made_anew() -> Outcome {
    let (mut cluster, dir) = stopped().await?;
    let file = dir.join("identity");
    let sound = fs::read(&file)?;
    flip(&file, sound.len() / 2)?;
    refusal(&mut cluster, &file).await?;
    fs::write(&file, sound.get(..3).unwrap_or_default())?;
    refusal(&mut cluster, &file).await?;
    fs::remove_file(&file)?;
    refusal(&mut cluster, &file).await?;
    assert!(!file.exists(), "a new identity was made for old data");
    fs::write(&file, sound)?;
    cluster.node_mut(1)?.start()?;
    cluster.wait_ready(1).await?;
    Ok(())
}

#[tokio::test]
async fn a_damaged_floor_is_refused_and_one_bad_slot_is_not() -> Outcome {
    const SLOT_BYTES: usize = 4096;
    let (mut cluster, dir) = stopped().await?;
    let file = dir.join("floor");
    let sound = fs::read(&file)?;
    flip(&file, 20)?;
    flip(&file, SLOT_BYTES + 20)?;
    let said = refusal(&mut cluster, &file).await?;
    assert!(said.contains("new node id"), "it does not say what to do: {said}");
    fs::remove_file(&file)?;
    refusal(&mut cluster, &file).await?;
    fs::write(&file, sound)?;
    cluster.node_mut(1)?.start()?;
    cluster.wait_ready(1).await?;
    Ok(())
}

#[tokio::test]
async fn a_log_or_sessions_that_went_missing_are_refused() -> Outcome {
    let (mut cluster, dir) = stopped().await?;
    for part in ["log", "sessions"] {
        let aside = dir.with_file_name(format!("{part}-aside"));
        fs::rename(dir.join(part), &aside)?;
        let said = refusal(&mut cluster, &dir).await?;
        assert!(
            said.contains("new node id") || said.contains("new id"),
            "it does not say what to do: {said}"
        );
        // Whatever the refused start has made goes away again.
        if dir.join(part).exists() {
            fs::remove_dir_all(dir.join(part))?;
        }
        fs::rename(&aside, dir.join(part))?;
    }
    cluster.node_mut(1)?.start()?;
    cluster.wait_ready(1).await?;
    Ok(())
}

#[tokio::test]
async fn a_node_that_lost_its_disk_is_refused_under_its_old_id() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    let created = client.create(session("a", "1")).await?;
    let victim = cluster.a_follower().await?;
    cluster.node_mut(victim)?.kill()?;
    let dir = cluster.node(victim)?.spec().data_dir.clone();
    fs::remove_dir_all(&dir)?;
    let already = cluster.node(victim)?.log_text().len();
    cluster.node_mut(victim)?.start()?;
    let status = cluster.wait_end(victim, PATIENCE).await?;
    let said = cluster.node(victim)?.log_text().split_off(already);
    assert_ne!(status.code(), Some(0), "{said}");
    assert!(said.contains("new node id"), "it does not say what to do: {said}");
    assert_eq!(client.get_with(&created.id, looking()).await?.version, 1, "the others serve on");
    Ok(())
}

/// Copies a stopped node's data directory.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_older_copy_of_a_disk_is_refused_by_the_cluster() -> Outcome {
    let mut cluster = three().await?;
    let client = cluster.client()?;
    client.create(session("a", "1")).await?;
    let victim = cluster.a_follower().await?;
    let dir = cluster.node(victim)?.spec().data_dir.clone();
    let older = dir.with_file_name("older");
    cluster.stop(victim).await?;
    copy(&dir, &older)?;
    cluster.node_mut(victim)?.start()?;
    cluster.wait_ready(victim).await?;
    let created = client.create(session("a", "2")).await?;
    wait_applied(&cluster, victim, created.position.index).await?;

    cluster.node_mut(victim)?.kill()?;
    fs::remove_dir_all(&dir)?;
    fs::rename(&older, &dir)?;
    let already = cluster.node(victim)?.log_text().len();
    cluster.node_mut(victim)?.start()?;
    let status = cluster.wait_end(victim, PATIENCE).await?;
    let said = cluster.node(victim)?.log_text().split_off(already);
    assert_ne!(status.code(), Some(0), "{said}");
    assert!(said.contains("older copy") && said.contains("new node id"), "{said}");
    assert_eq!(client.get_with(&created.id, looking()).await?.version, 1, "the others serve on");
    Ok(())
}
