use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_client::{Client, SessionId};
use quorate_tests::load::Workload;
use quorate_tests::{PATIENCE, ProcessCluster, Source};

use crate::common::{Outcome, looking, options, session, wait_applied};

/// Room for a node's files and some load.
const DISK_MIB: u64 = 160;
const WRITES: usize = 200;
/// A few of these need more space than the log has set aside, before the session store next needs any.
const LARGE_BYTES: usize = 512 << 10;

/// A small file system of its own at one path, seen only by who enters it. It lasts as long as its holder, which ends
/// with this process, however that ends: nothing stays mounted.
struct SmallDisk {
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts it at `path`, a directory.
    ///
    /// # Errors
    /// Why this machine cannot do that.
    fn mount(path: &Path) -> Result<SmallDisk, String> {
        let script = format!(
            "mount -t tmpfs -o size={DISK_MIB}m,mode=700 tmpfs \"$1\" && echo mounted && exec cat >/dev/null"
        );
        let holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("unshare cannot be started: {error}"))?;
        let mut disk = SmallDisk { holder, path: path.to_owned() };
        let mut said = String::new();
        if let Some(output) = disk.holder.stdout.take() {
            BufReader::new(output).read_line(&mut said).map_err(|error| error.to_string())?;
        }
        if said == "mounted\n" { Ok(disk) } else { Err("no tmpfs can be mounted by unshare".to_owned()) }
    }

    /// What a program is started with to see it.
    fn entrance(&self) -> Vec<OsString> {
        let of = self.holder.id();
        let namespaces = [format!("--user=/proc/{of}/ns/user"), format!("--mount=/proc/{of}/ns/mnt")];
        let [user, mount] = namespaces.map(OsString::from);
        vec!["nsenter".into(), user, mount, "--preserve-credentials".into(), "--".into()]
    }

    /// Another program's file, seen from outside.
    fn filler(&self) -> PathBuf {
        let seen = format!("/proc/{}/root{}", self.holder.id(), self.path.display());
        Path::new(&seen).join("filler")
    }

    /// Takes all of its space.
    fn fill(&self) -> std::io::Result<()> {
        let mut file = File::create(self.filler())?;
        let mut block = vec![0_u8; 1 << 20];
        while !block.is_empty() {
            match file.write(&block) {
                Ok(_) => {}
                // Down to the last page.
                Err(error) if error.kind() == ErrorKind::StorageFull => block.truncate(block.len() / 2),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the space back.
    fn clear(&self) -> std::io::Result<()> {
        fs::remove_file(self.filler())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Three nodes, each with a small disk for its data directory; why not, where that cannot be had.
fn lay_out() -> Result<Result<(ProcessCluster, Vec<SmallDisk>), String>, quorate_tests::HarnessError> {
    let mut cluster = ProcessCluster::lay_out(&options(3))?;
    let mut disks = Vec::new();
    for id in cluster.ids() {
        let spec = cluster.node_mut(id)?.spec_mut();
        let mounted = fs::create_dir(&spec.data_dir).map_err(|error| error.to_string());
        let disk = match mounted.and_then(|()| SmallDisk::mount(&spec.data_dir)) {
            Ok(disk) => disk,
            Err(reason) => return Ok(Err(reason)),
        };
        spec.program.splice(0..0, disk.entrance());
        disks.push(disk);
    }
    Ok(Ok((cluster, disks)))
}

/// Creates large sessions, noting those acknowledged.
async fn create_large(client: &Client, acknowledged: &mut Vec<SessionId>) -> Infallible {
    loop {
        // What fails was not acknowledged: nothing is promised of it.
        if let Ok(created) = client.create(session("a", vec![b'x'; LARGE_BYTES])).await {
            acknowledged.push(created.id);
        }
    }
}

#[tokio::test]
async fn a_node_whose_disk_is_full_stops_with_a_clear_error_and_the_others_serve_on() -> Outcome {
    let (mut cluster, disks) = match lay_out()? {
        Ok(made) => made,
        Err(reason) => {
            // Past the test's captured output.
            writeln!(std::io::stderr(), "LEFT OUT: the cluster test of a full disk: {reason}")?;
            return Ok(());
        }
    };
    cluster.start_all()?;
    cluster.wait_ready_all().await?;
    let client = cluster.client()?;
    let mut workload = Workload::new(&client, 8, 5);
    for role in ["leader", "follower"] {
        workload.start();
        workload.wait_acknowledged(WRITES, PATIENCE).await?;
        let leader = cluster.wait_leader().await?;
        let victim = if role == "leader" { leader } else { cluster.a_follower().await? };
        let disk = cluster.ids().iter().position(|id| *id == victim).and_then(|at| disks.get(at));
        let disk = disk.ok_or("no such disk")?;
        let already = cluster.node(victim)?.log_text().len();
        disk.fill()?;
        let mut large = Vec::new();
        let status = tokio::select! {
            status = cluster.wait_end(victim, PATIENCE) => status?,
            never = create_large(&client, &mut large) => match never {},
        };
        let said = cluster.node(victim)?.log_text().split_off(already);
        assert!(!status.success(), "{role}: {said}");
        let data_dir = cluster.node(victim)?.spec().data_dir.display().to_string();
        for part in [data_dir.as_str(), "No space left on device", "start the node again"] {
            assert!(said.contains(part), "{role}: it does not say \"{part}\":\n{said}");
        }

        workload.wait_acknowledged(WRITES, PATIENCE).await?;
        workload.rest().await;
        let verdict = workload.ledger().check(&client, &Source::Leader).await?;
        assert!(verdict.is_clean(), "the {role}'s disk is full: {verdict}");
        for id in &large {
            client.get_with(id, looking()).await?;
        }

        disk.clear()?;
        cluster.start_all()?;
        cluster.wait_ready_all().await?;
        let position = workload.ledger().position().ok_or("nothing was acknowledged")?;
        wait_applied(&cluster, victim, position.index).await?;
        let local = Source::Node(cluster.ports(victim)?.client.to_string());
        let verdict = workload.ledger().check(&client, &local).await?;
        assert!(verdict.is_clean(), "the {role} is back: {verdict}");
        let digests = cluster.digests().await?;
        assert!(digests.are_equal() && digests.are_of(&cluster.ids()), "{role}: {digests}");
    }
    assert_eq!(workload.counts().contradictions, Vec::<String>::new());
    cluster.stop_all().await?;
    Ok(())
}
