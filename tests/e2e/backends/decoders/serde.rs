//! Rust: serde_json, as a tree (the last of equal keys) and as structs; and the careless decoder that the fuzz target `scan`
//! takes for its oracle. A line of hexadecimal in, a line of readings out. Not shipped: an example of Cargo's.

use std::error::Error;
use std::io::{BufRead as _, Write as _};

use serde::Deserialize;
use serde_json::{Value, json};

#[path = "../../../../fuzz/src/decoder.rs"]
#[expect(unreachable_pub, reason = "a crate of its own there")]
mod decoder;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

#[derive(Deserialize)]
struct Message {
    method: Option<String>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
    #[serde(rename = "_meta")]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let hex = |at| u8::from_str_radix(line.get(at..at + 2).unwrap_or_default(), 16);
        let body = (0..line.len()).step_by(2).map(hex).collect::<Result<Vec<u8>, _>>()?;
        let readings =
            json!({ "serde": tree(&body), "serde, structs": structs(&body), "careless": careless(&body) });
        writeln!(std::io::stdout().lock(), "{readings}")?;
    }
    Ok(())
}

fn tree(body: &[u8]) -> Value {
    let text = |value: &Value| value.as_str().map(str::trim).map(str::to_owned);
    match serde_json::from_slice::<Value>(body) {
        Ok(message) => {
            let params = &message["params"];
            json!([text(&message["method"]), text(&params["name"]), text(&params["_meta"][VERSION])])
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn structs(body: &[u8]) -> Value {
    let trim = |text: Option<String>| text.map(|text| text.trim().to_owned());
    match serde_json::from_slice::<Message>(body) {
        Ok(Message { method, params }) => {
            let (name, meta) = params.map_or((None, None), |params| (params.name, params.meta));
            json!([trim(method), trim(name), trim(meta.and_then(|meta| meta.version))])
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn careless(body: &[u8]) -> Value {
    match str::from_utf8(body).ok().and_then(decoder::read) {
        Some(call) => json!([call.method, call.name, call.version]),
        None => json!({ "error": "no object" }),
    }
}
