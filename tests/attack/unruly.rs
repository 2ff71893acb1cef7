//! An unruly backend: answers at once, late, never, by halves, in streams, with garbage, or resets; and it can be killed.
//! Calm, it answers everything, and can hold calls back until so many are there.

use std::io::{Read, Result, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::dice::Dice;

/// A backend on a socket of its own.
pub(crate) struct Unruly {
    pub(crate) path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_down: AtomicBool,
    is_calm: AtomicBool,
    /// Calls that are held back, and how many must be there.
    held: AtomicUsize,
    gate: AtomicUsize,
    open: Mutex<Vec<UnixStream>>,
    seed: AtomicU64,
}

impl Unruly {
    pub(crate) fn start(folder: &Path, name: &str, seed: u64) -> Unruly {
        let path = folder.join(format!("{name}.sock"));
        let shared = Arc::new(Shared { seed: AtomicU64::new(seed), ..Shared::default() });
        let (place, of_thread) = (path.clone(), shared.clone());
        std::thread::spawn(move || serve(&place, &of_thread));
        Unruly { path, shared }
    }

    /// As SIGKILL does: the socket refuses, and every connection is gone.
    pub(crate) fn kill(&self) {
        self.shared.is_down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn revive(&self) {
        self.shared.is_down.store(false, Ordering::SeqCst);
    }

    /// From now on every call is answered, and none before `together` of them are there.
    pub(crate) fn calm(&self, together: usize) {
        self.shared.held.store(0, Ordering::SeqCst);
        self.shared.gate.store(together, Ordering::SeqCst);
        self.shared.is_calm.store(true, Ordering::SeqCst);
        self.revive();
    }
}

fn serve(path: &Path, shared: &Arc<Shared>) {
    loop {
        while shared.is_down.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let Ok(listener) = UnixListener::bind(path) else { return };
        let _ = listener.set_nonblocking(true);
        while !shared.is_down.load(Ordering::SeqCst) {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let _ = stream.set_nonblocking(false);
            let mut open = shared.open.lock().expect("no panic while held");
            open.extend(stream.try_clone());
            drop(open);
            let shared = shared.clone();
            std::thread::spawn(move || connection(stream, &shared));
        }
        drop(listener);
        let _ = std::fs::remove_file(path);
        for stream in shared.open.lock().expect("no panic while held").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn connection(mut stream: UnixStream, shared: &Shared) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut dice = Dice::new(shared.seed.fetch_add(1, Ordering::SeqCst));
    let mut buffer = Vec::new();
    while let Ok(Some(body)) = request(&mut stream, &mut buffer) {
        let message: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let answered = match probe(&message) {
            Some(answer) => stream.write_all(&answer).map(|()| true),
            None if shared.is_calm.load(Ordering::SeqCst) => {
                hold_back(shared);
                stream.write_all(&json_answer(&result(&message))).map(|()| true)
            }
            None => misbehave(&mut stream, &message, &mut dice),
        };
        if !answered.unwrap_or(false) {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Waits until as many calls are there as the gate needs.
fn hold_back(shared: &Shared) {
    let gate = shared.gate.load(Ordering::SeqCst);
    shared.held.fetch_add(1, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !shared.held.load(Ordering::SeqCst).is_multiple_of(gate) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The body of the next request.
fn request(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head
                .split("\r\ncontent-length:")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0_usize);
            if buffer.len() >= whole {
                let body = buffer[end + 4..whole].to_vec();
                buffer.drain(..whole);
                return Ok(Some(body));
            }
        }
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            read => buffer.extend_from_slice(&piece[..read]),
        }
    }
}

/// The guard's own requests get a good server's responses.
fn probe(message: &Value) -> Option<Vec<u8>> {
    let result = match message["method"].as_str()? {
        "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "unruly", "version": "1"}}),
        "tools/list" => json!({"tools": [{"name": "ok_a", "inputSchema": {"type": "object"}}]}),
        "server/discover" => {
            let error = json!({"code": -32601, "message": "Method not found"});
            return Some(json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error})));
        }
        "notifications/initialized" => {
            return Some(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec());
        }
        _ => return None,
    };
    Some(json_answer(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result})))
}

fn result(message: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})
}

fn json_answer(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Responds in some way. Returns whether the connection can go on.
fn misbehave(stream: &mut UnixStream, message: &Value, dice: &mut Dice) -> Result<bool> {
    let whole = json_answer(&result(message));
    let pause = |milliseconds: usize| std::thread::sleep(Duration::from_millis(milliseconds as u64));
    match dice.below(100) {
        0..50 => stream.write_all(&whole)?,
        50..62 => {
            pause(dice.below(120));
            stream.write_all(&whole)?;
        }
        62..74 => return events(stream, message, dice),
        74..80 => {
            let cut = dice.below(whole.len());
            stream.write_all(&whole[..cut])?;
            return Ok(false);
        }
        80..84 => return Ok(false),
        84..88 => {
            let bytes: Vec<u8> = (0..dice.below(300)).map(|_| dice.number().to_le_bytes()[0]).collect();
            stream.write_all(&bytes)?;
            return Ok(false);
        }
        88..91 => {
            pause(*dice.pick(&[500, 1500, 4000]));
            return Ok(false);
        }
        91..95 => {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")?;
            stream.write_all(&whole)?;
        }
        95..98 => stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno")?,
        _ => {
            stream.write_all(&whole)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// An event stream that ends well, is cut, or goes on for a while.
fn events(stream: &mut UnixStream, message: &Value, dice: &mut Dice) -> Result<bool> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    for _ in 0..dice.below(20) {
        stream.write_all(b"8\r\n: ping\n\n\r\n")?;
        std::thread::sleep(Duration::from_millis(dice.below(15) as u64));
    }
    if dice.chance(30) {
        return Ok(false);
    }
    let event = format!("data: {}\n\n", result(message));
    stream.write_all(format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len()).as_bytes())?;
    Ok(true)
}
