//! How fast bodies are scanned and outcomes read: `cargo bench --bench scan`.
//!
//! Every case asserts its result: a scan that stops early would look fast.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use mcp_guard::wire::response_scan::{Format, ResponseKind, ResponseScan};
use mcp_guard::wire::{Kind, Method, scan};

const MIB: usize = 1 << 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    scans(&mut criterion);
    outcomes(&mut criterion);
    criterion.final_summary();
}

/// A call of the 2026-07-28 era with these arguments.
fn call(arguments: &str) -> Vec<u8> {
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    format!(r#"{{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{{"name":"list_jobs","arguments":{arguments},"_meta":{meta}}}}}"#)
        .into_bytes()
}

/// A call whose body has exactly this many bytes: `text` over and over as one argument.
fn text_call(length: usize, text: &str) -> Vec<u8> {
    let room = length - call(r#"{"text":""}"#).len();
    // Whole repetitions only: a cut could fall inside an escape or a character.
    let text = text.repeat(room / text.len());
    call(&format!(r#"{{"text":"{text}{}"}}"#, " ".repeat(room - text.len())))
}

/// About this many bytes of small values.
fn dense(length: usize) -> String {
    let row =
        |id: usize| format!(r#"{{"id":{id},"site":"BNL_{}","ok":true,"load":[0.25,-1.5e3,null]}}"#, id % 50);
    let rows: Vec<String> = (0..).map(row).take(length / row(123_456).len()).collect();
    format!("[{}]", rows.join(","))
}

fn scans(criterion: &mut Criterion) {
    const LOG_LINE: &str = r#"2026-11-21 09:36:12 INFO pilot: job 6543 at \"BNL\" done in 12 s\n"#;
    let plain = "The quick brown fox jumps over the lazy dog; 0123456789. ";
    let cases = [
        ("call_300b", text_call(300, "site BNL, last 24 hours ")),
        ("text_4mib", text_call(4 * MIB, plain)),
        ("escaped_text_4mib", text_call(4 * MIB, LOG_LINE)),
        ("utf8_text_4mib", text_call(4 * MIB, "Größe der Datei, 世界 и мир; ")),
        ("dense_4mib", call(&format!(r#"{{"rows":{}}}"#, dense(4 * MIB)))),
    ];
    let mut group = criterion.benchmark_group("scan");
    for (name, body) in cases {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = scan(black_box(&body));
                let found = found.as_ref().map(|message| {
                    (message.kind, message.method, message.name.as_deref(), message.meta_version.as_deref())
                });
                let expect = (Kind::Request, Method::ToolsCall, Some("list_jobs"), Some("2026-07-28"));
                assert_eq!(found, Ok(expect), "{name}");
            });
        });
    }
    group.finish();
}

/// What a backend reads into one buffer at most.
const CHUNK: usize = 16 * 1024;

fn outcomes(criterion: &mut Criterion) {
    let result = |content: &str, rows: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":42,"result":{{"content":[{{"type":"text","text":{content}}}],"structuredContent":{{"result":{rows}}},"isError":true}}}}"#
        )
    };
    // What FastMCP sends for a tool that returns rows: the rows as text, then as JSON.
    let rows = dense(20 * 1024);
    let typical = result(&serde_json::Value::from(rows.as_str()).to_string(), &rows);
    let text = result(&format!("\"{}\"", "plain text of a report. ".repeat(2100)), "[]");
    let small = result(r#""3""#, "3");
    let events = |body: &str| {
        let note = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
        let note = format!("event: message\r\ndata: {note}\r\n\r\n").repeat(10);
        format!("{note}event: message\r\ndata: {body}\r\n\r\n")
    };
    let cases = [
        ("json_small", Format::Json, small),
        ("json_50kb", Format::Json, typical.clone()),
        ("text_50kb", Format::Json, text),
        ("dense_4mib", Format::Json, result("\"\"", &dense(4 * MIB))),
        ("sse", Format::EventStream, events(&typical)),
    ];
    let mut group = criterion.benchmark_group("outcome");
    for (name, format, body) in cases {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut scan = ResponseScan::new(format);
                for chunk in black_box(body.as_bytes()).chunks(CHUNK) {
                    scan.feed(chunk);
                }
                assert_eq!(scan.kind(), ResponseKind::ToolError);
            });
        });
    }
    group.finish();
}
