//! Any text as the guard's configuration.

use mcp_guard::fuzzing;

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"[listen]\naddress = \"127.0.0.1:8001\"\nmetrics = \"127.0.0.1:9464\"\nadmin = \"a.sock\"\nthreads = \"auto\"\n\n[slots.blue]\naddress = \"unix:b.sock\"\n",
    b"[paths]\nprefixes = [\"/swf-monitor/mcp\", \"/mcp\", \"/\"]\n[origin]\nallowed = [\"https://a.example\"]\nhosts = [\"a\"]\n[slots.green]\naddress = \"[::1]:9\"\nset_headers = { \"X-Guard-Auth\" = \"ok\" }\n",
    b"[limits]\nbody_bytes = 4_194_304\nheader_bytes = 0x4000\nheaders = 100\nconnections = 1\nin_flight = 32\nwaiting = 64\nheld = 256\n[slots.blue]\naddress = \"127.0.0.1:1\"\n",
    b"[timeouts]\nheader = \"10s\"\ntotal = \"1m\"\nwaiting = \"200ms\"\ndrain = \"1h\"\n[slots.blue]\naddress = \"127.0.0.1:1\"\nhost = \"localhost:80\"\naccept = \"json\"\npool_idle = \"4s\"\nquery = true\n",
    b"[routing]\nstable = \"green\"\nkey = \"request\"\n[protocol]\nmax_version = \"2025-11-25\"\n[errors]\nmode = \"http\"\n[log]\nformat = \"text\"\n[health]\nrise = 2\n[slots.green]\naddress = \"127.0.0.1:1\"\n",
    b"[auth]\nwrong_token_status = 401\ntoken_env = \"T\"\n[slots]\nblue = 1\n[slots.red]\nx = \"\\u0000\\u001b[31m\"\n\"a\\tb\" = [1, 2.5, 2027-01-31]\n",
];

/// Whatever is accepted is bounded; whatever is refused says why, on one line that a terminal can show.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match fuzzing::config(text) {
        Ok(numbers) => assert!(numbers.iter().all(|number| (1..=1 << 40).contains(number)), "{numbers:?}"),
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| check_line(problem));
        }
    }
}

/// Nothing of a file reaches a terminal or a log but as visible text on one line.
pub fn check_line(line: &str) {
    assert!(!line.trim().is_empty());
    assert!(!line.chars().any(char::is_control), "{line:?}");
}
