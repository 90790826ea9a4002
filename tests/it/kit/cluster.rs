//! Real Apache Kafka in KRaft mode, from its jars: one or more nodes on the loopback interface.
//!
//! Every node is broker and controller at once. A node that is started again has the same data,
//! the same address and the same identity as before.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Guarded, folder};

/// Any 16 bytes in base64: clusters of tests never meet.
const CLUSTER_ID: &str = "cHJvYml0eS10ZXN0LWtpdA";

/// What is the same on every node. Timeouts are short, so that fencing and aborting of what a test
/// killed takes seconds.
const SETTINGS: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
unclean.leader.election.enable=false
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.session.timeout.ms=18000
broker.heartbeat.interval.ms=1000
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=2
num.io.threads=4
background.threads=2
";

pub struct Cluster {
    nodes: Vec<Node>,
    bootstrap: String,
}

/// What Kafka runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jvm {
    /// As a small server: little heap, and no threads for collecting and compiling that would compete
    /// with the tests.
    Small,
    /// As somebody who measures would run it.
    #[allow(dead_code, reason = "for the benches")]
    Server,
}

struct Node {
    folder: PathBuf,
    libraries: PathBuf,
    jvm: Jvm,
    process: Mutex<Option<Guarded>>,
}

impl Cluster {
    /// Starts `size` nodes from the jars in `libraries`, and waits until all of them serve.
    pub fn start(name: &str, size: usize, libraries: &Path, jvm: Jvm) -> Cluster {
        let folder = folder(&format!("kafka-{name}"));
        let ports: Vec<Ports> = (0..size).map(|_| Ports::free()).collect();
        let bootstrap: Vec<String> = ports.iter().map(Ports::broker_address).collect();
        let cluster = Cluster {
            nodes: (0..size)
                .map(|i| Node::create(i, &folder, &ports, libraries, jvm))
                .collect(),
            bootstrap: bootstrap.join(","),
        };
        cluster.nodes.iter().for_each(Node::launch);
        cluster.nodes.iter().for_each(Node::wait_until_started);
        cluster
    }

    /// What clients take as `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// How many nodes there are: the highest replication factor.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Kills node `index` as `kill -9` does.
    pub fn kill(&self, index: usize) {
        self.nodes[index].kill();
    }

    /// Starts node `index` again and waits until it serves.
    pub fn start_again(&self, index: usize) {
        self.nodes[index].launch();
        self.nodes[index].wait_until_started();
    }
}

impl Jvm {
    fn options(self, small_heap: &str) -> Vec<String> {
        match self {
            Jvm::Small => vec![
                format!("-Xmx{small_heap}"),
                "-XX:+UseSerialGC".to_owned(),
                "-XX:TieredStopAtLevel=1".to_owned(),
            ],
            Jvm::Server => vec!["-Xmx2g".to_owned(), "-XX:+UseSerialGC".to_owned()],
        }
    }
}

impl Node {
    fn create(index: usize, cluster: &Path, ports: &[Ports], libraries: &Path, jvm: Jvm) -> Node {
        let folder = cluster.join(format!("node-{}", index + 1));
        fs::create_dir(&folder).unwrap();
        fs::write(
            folder.join("node.properties"),
            properties(index, &folder, ports),
        )
        .unwrap();
        let node = Node {
            folder,
            libraries: libraries.into(),
            jvm,
            process: Mutex::new(None),
        };
        node.format();
        node
    }

    fn format(&self) {
        let mut command = self.java(&Jvm::Small.options("64m"));
        command.args([
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            CLUSTER_ID,
        ]);
        command
            .arg("--config")
            .arg(self.folder.join("node.properties"));
        let done = command.output().expect("java can be run");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "cannot format Kafka's storage: {said}"
        );
    }

    fn launch(&self) {
        let mut command = self.java(&self.jvm.options("384m"));
        command
            .arg("kafka.Kafka")
            .arg(self.folder.join("node.properties"));
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "{} runs already", self.folder.display());
        *process = Some(Guarded::start(&command, &self.folder.join("log")));
    }

    fn wait_until_started(&self) {
        let process = self.process.lock().unwrap();
        process.as_ref().unwrap().wait_for("Kafka Server started");
    }

    fn kill(&self) {
        self.process
            .lock()
            .unwrap()
            .take()
            .expect("the node runs")
            .kill();
    }

    fn java(&self, options: &[String]) -> Command {
        let log4j = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/log4j2.properties");
        let mut command = Command::new("java");
        command.args(options);
        command.arg(format!("-Dlog4j2.configurationFile={log4j}"));
        command.arg("-cp").arg(self.libraries.join("*"));
        command
    }
}

fn properties(index: usize, folder: &Path, ports: &[Ports]) -> String {
    let replicas = ports.len().min(3);
    let in_sync = (replicas - 1).max(1);
    let own = &ports[index];
    let voters: Vec<String> = (1..)
        .zip(ports)
        .map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller))
        .collect();
    let own_settings = [
        format!("node.id={}", index + 1),
        format!("controller.quorum.voters={}", voters.join(",")),
        format!(
            "listeners=PLAINTEXT://{},CONTROLLER://127.0.0.1:{}",
            own.broker_address(),
            own.controller
        ),
        format!("log.dirs={}", folder.join("data").display()),
        format!("default.replication.factor={replicas}"),
        format!("min.insync.replicas={in_sync}"),
        format!("offsets.topic.replication.factor={replicas}"),
        format!("transaction.state.log.replication.factor={replicas}"),
        format!("transaction.state.log.min.isr={in_sync}"),
        format!("share.coordinator.state.topic.replication.factor={replicas}"),
        format!("share.coordinator.state.topic.min.isr={in_sync}"),
    ];
    format!("{SETTINGS}{}\n", own_settings.join("\n"))
}

struct Ports {
    broker: u16,
    controller: u16,
}

impl Ports {
    fn free() -> Ports {
        Ports {
            broker: free_port(),
            controller: free_port(),
        }
    }

    fn broker_address(&self) -> String {
        format!("127.0.0.1:{}", self.broker)
    }
}

/// A port that nobody listens on, below the range from which the system takes the ports of outgoing
/// connections: while a node is down, no client that dials may get its port.
fn free_port() -> u16 {
    const LOWEST: u16 = 16_000;
    const COUNT: u16 = 16_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own_start = u16::try_from(process::id() % u32::from(COUNT / 16)).unwrap() * 16;
    (0..COUNT)
        .map(|_| NEXT.fetch_add(1, Ordering::Relaxed))
        .map(|step| LOWEST + (own_start + step % COUNT) % COUNT)
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("some port is free")
}
