//! The table of keys: help, messages and checks all come from here, so they cannot disagree.

/// One setting as its sources know it.
#[derive(Debug)]
pub struct Key {
    /// As its flag is written, without the dashes: `node-id`.
    pub name: &'static str,
    /// What stands for the value in `--help`.
    pub value_name: &'static str,
    /// What it means, one sentence or two.
    pub help: &'static str,
    /// The default, in the value's own syntax or in words.
    pub default: &'static str,
    /// What is accepted; completes "is refused: ".
    pub allowed: &'static str,
    /// A value as users write it.
    pub example: &'static str,
}

impl Key {
    /// The environment variable: `QUORATED_NODE_ID`.
    #[must_use]
    pub fn environment(&self) -> String {
        format!("QUORATED_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// The key in the TOML file: `node_id`.
    #[must_use]
    pub fn toml(&self) -> String {
        self.name.replace('-', "_")
    }
}

const ADVERTISED: &str =
    "host:port with a port from 1 to 65535, such as node-1:7101 or [fd00::1]:7101, is allowed";
const LISTENED: &str = "an IP address and a port, such as 127.0.0.1:7101 or [::]:7101, is allowed";

/// Every key, in the order of `--help`.
pub const KEYS: &[Key] = &[
    Key {
        name: "node-id",
        value_name: "N",
        help: "This node's number in the list of members. Belongs to its data directory for ever: a node that lost its disk comes back under a new number.",
        default: "1",
        allowed: "a whole number from 1 to 18446744073709551615 that stands in members is allowed",
        example: "2",
    },
    Key {
        name: "cluster-name",
        value_name: "NAME",
        help: "The cluster's name, the same on every node: nodes of different clusters refuse each other.",
        default: "quorate",
        allowed: "1 to 64 characters of A-Z a-z 0-9 - _ . are allowed",
        example: "shop-prod",
    },
    Key {
        name: "data-dir",
        value_name: "DIR",
        help: "Where the log and the sessions are kept. Made when missing; belongs to one node and one process at a time.",
        default: "quorate-data",
        allowed: "a path that is not empty is allowed",
        example: "/var/lib/quorate",
    },
    Key {
        name: "client-listen",
        value_name: "IP:PORT",
        help: "Where clients are served (gRPC). Port 0 takes a free port.",
        default: "127.0.0.1:7101",
        allowed: LISTENED,
        example: "0.0.0.0:7101",
    },
    Key {
        name: "peer-listen",
        value_name: "IP:PORT",
        help: "Where the other nodes are served (gRPC, internal).",
        default: "127.0.0.1:7201",
        allowed: LISTENED,
        example: "0.0.0.0:7201",
    },
    Key {
        name: "admin-listen",
        value_name: "IP:PORT",
        help: "Where /livez and /readyz are served (HTTP).",
        default: "127.0.0.1:7301",
        allowed: LISTENED,
        example: "0.0.0.0:7301",
    },
    Key {
        name: "advertise-client",
        value_name: "HOST:PORT",
        help: "The address that clients are given for this node.",
        default: "client-listen; when that is every interface, the host of advertise-peer with the port of client-listen",
        allowed: ADVERTISED,
        example: "node-1.example:7101",
    },
    Key {
        name: "advertise-peer",
        value_name: "HOST:PORT",
        help: "The address that the other nodes are given for this node.",
        default: "this node's entry in members, else peer-listen",
        allowed: ADVERTISED,
        example: "node-1.example:7201",
    },
    Key {
        name: "advertise-admin",
        value_name: "HOST:PORT",
        help: "The address given for this node's admin listener.",
        default: "as advertise-client, from admin-listen",
        allowed: ADVERTISED,
        example: "node-1.example:7301",
    },
    Key {
        name: "members",
        value_name: "ID=HOST:PORT,..",
        help: "The nodes that found the cluster: every node's number and peer address, the same list on each of them. Founds the cluster at the first start; safe to repeat later.",
        default: "this node alone",
        allowed: "a list of number=host:port, separated by commas, each number from 1 and each address once, this node's node-id among them, is allowed",
        example: "1=node-1:7201,2=node-2:7201,3=node-3:7201",
    },
    Key {
        name: "timing",
        value_name: "lan|wan",
        help: "Timers: lan sends heartbeats every 20 ms and elects after 60 to 100 ms without one; wan takes ten times that.",
        default: "lan",
        allowed: "lan or wan is allowed",
        example: "wan",
    },
    Key {
        name: "read-mode",
        value_name: "lease|read-index",
        help: "How linearizable reads are confirmed: by the leader's lease (fast), or by asking a quorum for each batch (for machines whose hypervisor may pause them).",
        default: "lease",
        allowed: "lease or read-index is allowed",
        example: "read-index",
    },
    Key {
        name: "insecure",
        value_name: "true|false",
        help: "Allows listening beyond loopback without TLS: whoever reaches the ports can read and change every session.",
        default: "false",
        allowed: "true or false is allowed",
        example: "true",
    },
    Key {
        name: "log-format",
        value_name: "text|json",
        help: "How log lines are written to standard error.",
        default: "text",
        allowed: "text or json is allowed",
        example: "json",
    },
    Key {
        name: "log-level",
        value_name: "LEVEL",
        help: "Which log lines are written: error, warn, info, debug, trace or off for Quorate's own lines (the libraries below it then say only what is wrong), or tracing directives for all.",
        default: "info",
        allowed: "error, warn, info, debug, trace, off or tracing directives such as info,quorate_node=debug are allowed",
        example: "info,quorate_node=debug",
    },
    Key {
        name: "log-budget-bytes",
        value_name: "BYTES",
        help: "How much Raft log may wait to be persisted in the session store; near it, writes are slowed. Also bounds what a restart replays.",
        default: "1GiB",
        allowed: "64MiB to 1024GiB, as bytes or with KiB, MiB or GiB, is allowed",
        example: "4GiB",
    },
    Key {
        name: "in-flight-bytes",
        value_name: "BYTES",
        help: "How many bytes of clients' operations this node holds at once; the excess is refused with RESOURCE_EXHAUSTED, not applied.",
        default: "64MiB",
        allowed: "8MiB to 64GiB, as bytes or with KiB, MiB or GiB, is allowed",
        example: "256MiB",
    },
    Key {
        name: "session-cache-bytes",
        value_name: "BYTES",
        help: "Cache of the session store on disk. Sessions themselves are always all in memory.",
        default: "64MiB",
        allowed: "1MiB to 1024GiB, as bytes or with KiB, MiB or GiB, is allowed",
        example: "256MiB",
    },
    Key {
        name: "clock-offset-ms",
        value_name: "MS",
        help: "Added to this node's wall clock, to test what a wrong clock does.",
        default: "0",
        allowed: "a whole number of milliseconds, negative too, is allowed",
        example: "-3600000",
    },
    Key {
        name: "log-prefill-bytes",
        value_name: "BYTES",
        help: "Log files made ready at the first start, so that appends need no allocation.",
        default: "256MiB",
        allowed: "0 to 1GiB, as bytes or with KiB, MiB or GiB, is allowed",
        example: "0",
    },
    Key {
        name: "log-entries-kept",
        value_name: "N",
        help: "Log entries kept behind the persisted position, so that a node that was away briefly needs no snapshot. Fewer when they take more disk than log-budget-bytes.",
        default: "100000",
        allowed: "a whole number is allowed",
        example: "100",
    },
];
