//! How long mcp-tools takes for a message, beside HTTP: `cargo bench --bench tools`.
//!
//! Every case asserts its result: a call that fails would look fast.

#![allow(clippy::expect_used, reason = "a bench fails by panicking")]

use std::hint::black_box;

use criterion::Criterion;
use mcp_tools::InProcess;

/// name, method and parameters, what the result holds
const CASES: [(&str, &str, &str); 5] = [
    ("tools/list", r#""tools/list""#, "swf_list_runs"),
    (
        "tools/text",
        r#""tools/call","params":{"name":"get_server_instructions","arguments":{}}"#,
        "structuredContent",
    ),
    (
        "tools/sqlite indexed read",
        r#""tools/call","params":{"name":"swf_get_workflow_execution","arguments":{"execution_id":"stf_datataking-torre-0042"}}"#,
        "workflow_name",
    ),
    (
        "tools/sqlite four reads",
        r#""tools/call","params":{"name":"swf_get_run","arguments":{"run_number":100042}}"#,
        "stf_files_by_status",
    ),
    ("tools/sqlite page", r#""tools/call","params":{"name":"swf_list_runs"}"#, "total_count"),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = InProcess::new().expect("the built-in catalogue");
    for (name, asked, holds) in CASES {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":{asked}}}"#);
        let respond = || {
            let response = runtime.block_on(server.respond(black_box(body.as_bytes())));
            response.expect("a message")
        };
        let first = respond();
        let text = String::from_utf8(first.pieces.concat()).expect("text");
        assert!(first.status == 200 && text.contains(holds) && !text.contains(r#""isError":true"#), "{text}");
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| assert!(respond().pieces.iter().map(|piece| piece.len()).sum::<usize>() > 100));
        });
    }
    criterion.final_summary();
}
