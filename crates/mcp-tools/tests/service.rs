//! A REST service of a test: it sends the same response to every request and keeps what it was asked.
//!
//! Knows nothing of the program that calls it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) asked: Receiver<Asked>,
}

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Asked {
    /// The value of a header field; names are in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Service {
    pub(crate) fn responding(response: impl Into<Vec<u8>>) -> Service {
        let response = response.into();
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (send, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
                let length = head
                    .to_ascii_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                let _ = reader.read_exact(&mut body);
                let line = head.lines().next().unwrap_or_default().to_owned();
                let _ = send.send(Asked { line, head, body: String::from_utf8_lossy(&body).into_owned() });
                let _ = reader.into_inner().write_all(&response);
            }
        });
        Service { url, asked }
    }

    #[track_caller]
    pub(crate) fn next(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(10)).expect("the service is asked")
    }
}
