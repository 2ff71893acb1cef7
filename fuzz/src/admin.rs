//! Any bytes as a frame of the admin socket, either way.

use mcp_guard::fuzzing::{admin_answer, admin_request};

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"{\"version\":1,\"command\":\"status\"}\n",
    b"{\"version\":1,\"command\":\"history\"}\n",
    b"{\"version\":1,\"command\":{\"order\":{\"switch\":{\"to\":\"green\",\"force\":false}}}}\n",
    b"{\"version\":1,\"command\":{\"order\":\"pause\"}}\n",
    b"{\"version\":1,\"command\":{\"order\":{\"rollback\":{\"to\":\"canary\"}}}}\n",
    b"{\"version\":1,\"answer\":{\"refused\":\"user\"}}\n",
    b"{\"version\":1,\"answer\":{\"no\":\"a reason\"}}\n",
    b"{\"version\":1,\"answer\":{\"history\":[]}}\n",
];

/// What is understood is one line again, and that line means the same.
pub fn target(data: &[u8]) {
    for read in [admin_request, admin_answer] {
        if let Some(line) = read(data) {
            assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1));
            assert_eq!(read(&line).as_ref(), Some(&line));
        }
    }
}
