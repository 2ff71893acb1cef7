//! Which modules of each program may import which: the tables that `ARCHITECTURE.md` explains.

/// The crate's modules and what each may import from the crate. `ARCHITECTURE.md` says why.
pub(super) const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("http1", &[]),
    ("wire", &[]),
    ("policy", &["http1", "wire"]),
    ("tls", &[]),
    ("upstream", &["http1", "tls"]),
    ("parity", &["wire"]),
    ("client", &["wire", "upstream", "tls"]),
    ("worker", &[]),
    ("histogram", &[]),
    ("incident", &[]),
    ("systemd_journal", &[]),
    ("collect", &["wire", "upstream", "parity", "client"]),
    ("rollout", &["upstream"]),
    ("config", &["http1", "wire", "policy", "upstream", "parity", "rollout", "tls"]),
    ("dependency", &["wire", "upstream", "client", "config"]),
    ("identity", &["wire", "policy", "client", "config"]),
    (
        "telemetry",
        &["worker", "http1", "histogram", "wire", "policy", "upstream", "parity", "rollout", "config"],
    ),
    (
        "proxy",
        &["worker", "http1", "wire", "policy", "upstream", "parity", "rollout", "tls", "config", "telemetry"],
    ),
    (
        "control",
        &[
            "wire",
            "incident",
            "rollout",
            "upstream",
            "parity",
            "client",
            "collect",
            "config",
            "dependency",
            "telemetry",
        ],
    ),
    ("shadow", &["wire", "upstream", "parity", "client", "rollout", "config", "telemetry", "proxy"]),
    (
        "admin",
        &["shadow", "parity", "control", "policy", "rollout", "upstream", "proxy", "telemetry", "config"],
    ),
    (
        "release",
        &[
            "histogram",
            "incident",
            "rollout",
            "upstream",
            "client",
            "config",
            "control",
            "admin",
            "dependency",
            "systemd_journal",
        ],
    ),
    ("traces", &["wire", "policy", "upstream", "telemetry"]),
    ("fleet", &["policy", "rollout", "config", "control"]),
    ("series", &["upstream", "telemetry"]),
    (
        "console",
        &["upstream", "policy", "rollout", "tls", "config", "telemetry", "control", "admin", "series"],
    ),
    (
        "app",
        &[
            "policy",
            "identity",
            "fleet",
            "upstream",
            "parity",
            "tls",
            "config",
            "telemetry",
            "proxy",
            "control",
            "shadow",
            "admin",
            "release",
            "traces",
            "fleet",
            "console",
        ],
    ),
];

/// The same of mcp-fleet: everything but the stores and the courier is pure.
pub(super) const FLEET_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("moment", &[]),
    ("names", &[]),
    ("encoding", &[]),
    ("rules", &[]),
    ("settings", &[]),
    ("key", &["encoding", "names"]),
    ("envelope", &["encoding", "key", "names"]),
    ("record", &["encoding", "envelope", "key", "names"]),
    ("request", &["envelope", "names"]),
    ("store", &["request"]),
    ("limits", &["moment", "request", "rules"]),
    ("member", &["envelope", "key", "limits", "moment", "names", "record", "request", "rules", "settings"]),
    ("courier", &["member", "request", "store"]),
    ("redis", &["envelope", "names", "request", "store"]),
];

/// Its modules that read no clock and do no I/O.
pub(super) const FLEET_PURE: &[&str] = &[
    "moment", "names", "encoding", "rules", "settings", "key", "envelope", "record", "request", "limits",
    "member",
];

/// The same of mcp-tools: its folders and top-level files, the lowest first.
pub(super) const TOOLS_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("json", &[]),
    ("call_log", &[]),
    ("http_client", &[]),
    ("exact", &["json"]),
    ("catalogue", &["exact", "json"]),
    ("metrics", &["call_log"]),
    ("metrics_endpoint", &["metrics"]),
    ("database", &["call_log", "json", "metrics"]),
    ("traces", &["call_log"]),
    ("handler", &["call_log", "catalogue", "database", "exact", "http_client", "json", "metrics", "traces"]),
    ("protocol", &["catalogue", "handler", "json", "traces"]),
    ("registry", &["call_log", "catalogue", "database", "handler", "protocol"]),
    ("examples", &["catalogue", "exact", "handler", "json", "protocol", "registry"]),
    (
        "service",
        &["call_log", "catalogue", "database", "handler", "metrics", "protocol", "registry", "traces"],
    ),
    ("import", &["catalogue", "database", "http_client", "registry"]),
    ("entrance", &[]),
    ("listener", &["entrance"]),
    ("http", &["entrance", "protocol", "service"]),
    ("stdio", &["protocol", "service"]),
    ("connections", &["call_log", "entrance", "http", "listener", "service"]),
    ("server", &["call_log", "catalogue", "connections", "listener", "registry", "service"]),
];
