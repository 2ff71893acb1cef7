//! Draws requests: valid ones, and every way to be none that this suite knows.

use crate::bodies;
use crate::dice::Dice;
use crate::draft::{Chunks, Draft};
use crate::faults::{self, Apache, Fault};
use crate::ledger::{CLIENTS, Client, FULL};

/// Ways to have no right token.
const WAYS_WITHOUT_TOKEN: usize = 16;

/// A page that may call, by default.
pub(crate) const ORIGIN: &str = "Origin: http://localhost:3000";

/// What must come of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// The backend's answer, byte for byte.
    Served,
    /// A refusal with one of these statuses; the connection lives on.
    Refused(&'static [u16]),
    /// A JSON-RPC error: under 200 with the request's id, or under 4xx.
    RpcError,
    /// A refusal of the frame: the connection ends, and nothing behind it is looked at.
    Fatal,
    /// Whatever the bytes say: they were changed at random.
    Unclear,
}

/// A drawn request.
pub(crate) struct Request {
    /// The group of the fault, or of what is valid.
    pub(crate) kind: &'static str,
    /// Which one of the group.
    pub(crate) name: &'static str,
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) client: &'static Client,
    pub(crate) want: Want,
    /// The request ends the connection.
    pub(crate) closes: bool,
    pub(crate) is_notification: bool,
    /// Of 2026-07-28, where a client that stops sending cancels its request.
    pub(crate) is_modern: bool,
}

/// What can be drawn, which depends on what stands before the backend.
#[derive(Clone, Copy)]
pub(crate) struct Grammar {
    /// Targets that reach the endpoint.
    pub(crate) targets: &'static [&'static str],
    /// Whether tools, JSON and paths are judged there.
    pub(crate) has_policy: bool,
    /// Whether a proxy stands before the guard that repairs some faults, and refuses some valid requests.
    pub(crate) is_behind_apache: bool,
}

impl Grammar {
    pub(crate) fn draw(&self, dice: &mut Dice, number: u64) -> Request {
        match dice.below(100) {
            0..40 => self.valid(dice, number),
            40..56 => {
                let which = dice.below(WAYS_WITHOUT_TOKEN);
                self.without_token(dice, number, which)
            }
            56..76 => self.framing(dice, number),
            76..78 if self.has_policy => self.elsewhere(dice, number),
            78..80 if self.has_policy => self.hygiene(dice, number),
            80..87 if self.has_policy => self.forbidden_tool(dice, number),
            87..93 if self.has_policy => self.bad_body(dice, number),
            _ => self.mutated(dice, number),
        }
    }

    /// A draft that is valid, from its client.
    pub(crate) fn draft(&self, dice: &mut Dice, client: &Client, body: Vec<u8>) -> Draft {
        let fields = [
            "Host: localhost".to_owned(),
            format!("Authorization: Bearer {}", client.token),
            "Content-Type: application/json".to_owned(),
        ];
        let mut draft =
            Draft::new(self.targets[0], fields.into_iter().map(String::into_bytes).collect(), body);
        if dice.chance(60) {
            draft.add("Accept: application/json, text/event-stream");
        }
        draft
    }

    pub(crate) fn request(
        &self,
        kind: &'static str,
        number: u64,
        client: &'static Client,
        draft: &Draft,
    ) -> Request {
        let bytes = [draft.head(), draft.wire_body().to_vec()].concat();
        Request {
            kind,
            name: kind,
            number,
            bytes,
            body: draft.body.clone(),
            client,
            want: Want::Served,
            closes: false,
            is_notification: false,
            is_modern: false,
        }
    }

    fn valid(&self, dice: &mut Dice, number: u64) -> Request {
        let client = dice.pick(CLIENTS);
        let is_notification = dice.chance(5);
        let is_modern = !is_notification && dice.chance(30);
        let tool = *dice.pick(client.tools);
        let body = match is_notification {
            true => bodies::notification(number),
            false => bodies::call(dice, number, tool, is_modern),
        };
        let mut draft = self.draft(dice, client, body);
        if is_modern {
            draft.add("MCP-Protocol-Version: 2026-07-28");
            draft.add("Mcp-Method: tools/call");
            draft.add(&format!("mcp-name: \t{tool} "));
        } else if dice.chance(30) {
            draft.add("MCP-Protocol-Version: 2025-06-18");
        }
        let closes = self.vary(dice, &mut draft);
        let mut request = self.request("valid", number, client, &draft);
        request.closes = closes;
        request.is_notification = is_notification;
        request.is_modern = is_modern;
        request
    }

    /// Makes a valid request odd without making it invalid. Returns whether it ends the connection.
    fn vary(&self, dice: &mut Dice, draft: &mut Draft) -> bool {
        const ODD: &[&str] = &[
            "Cookie: a=b",
            "X-MCP-Client: full",
            "X_MCP_Client: full",
            "x-mcp-CLIENT:full",
            "X-Forwarded-For: 10.0.0.1",
            ORIGIN,
            "Proxy: http://elsewhere",
            "TE: trailers",
            "Connection: keep-alive",
            "Connection: X-Hop\r\nX-Hop: 1",
            "Connection: , x-nothing,",
            "Via: 1.0 fred",
            "X-Request-Id: chosen-by-the-client",
            "X-High: \u{e9}\u{4e2d}",
            "Connection: Upgrade\r\nUpgrade: h2c",
            "X-Empty:",
            "X-Blanks: \t b \t ",
            "Keep-Alive: timeout=5",
            "Accept-Encoding: gzip",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "Mcp-Session-Id: abc",
            "Mcp-Session-Id: abc, abc",
            "MCP-Protocol-Version: 2025-06-18\r\nmcp-protocol-version: 2025-06-18",
        ];
        draft.line = format!("POST {} HTTP/1.1", dice.pick(self.targets)).into_bytes();
        for _ in 0..dice.below(4) {
            let line = *dice.pick(ODD);
            let name = line.split(':').next().unwrap_or_default();
            // A nominated field is dropped on the way, and a second one may not be.
            let is_there = draft.fields.iter().any(|field| field.starts_with(name.as_bytes()));
            if !is_there {
                draft.add(line);
            }
        }
        match dice.below(10) {
            0 | 1 => draft.chunk(&Chunks::plain(1 + dice.below(64))),
            2 => draft.chunk(&Chunks { size: 50, after: ";a=\"b;c\"\r\n", ..Chunks::plain(0) }),
            3 => draft.chunk(&Chunks {
                size: 500,
                before: "000",
                last: "000\r\nX-MCP-Client: full\r\nContent-Length: 1\r\n\r\n",
                ..Chunks::plain(0)
            }),
            4 => draft.shuffle(dice),
            5 => {
                let text: Vec<u8> = draft.length.concat();
                draft.length = vec![text.to_ascii_uppercase()];
            }
            6 => draft.add("Expect: 100-continue"),
            _ => {}
        }
        let has_connection = draft.fields.iter().any(|line| line.starts_with(b"Connection"));
        let closes = !has_connection && dice.chance(4);
        if closes {
            draft.add("Connection: close");
        }
        closes
    }

    /// Without a right token, in the way `which`.
    fn without_token(&self, dice: &mut Dice, number: u64, which: usize) -> Request {
        let body = bodies::call(dice, number, "ok_a", false);
        let mut draft = self.draft(dice, FULL, body);
        let token = FULL.token;
        let swapped: String = token
            .chars()
            .map(|letter| {
                if letter.is_ascii_lowercase() {
                    letter.to_ascii_uppercase()
                } else {
                    letter.to_ascii_lowercase()
                }
            })
            .collect();
        let (name, line): (&'static str, String) = match which {
            0 => ("no token", String::new()),
            1 => ("empty token", "Authorization: Bearer".to_owned()),
            2 => ("empty authorization", "Authorization:".to_owned()),
            3 => ("wrong token", "Authorization: Bearer attack-token-of-nobody".to_owned()),
            4 => ("token cut", format!("Authorization: Bearer {}", &token[..token.len() - 1])),
            5 => ("token longer", format!("Authorization: Bearer {token}A")),
            6 => ("token in other case", format!("Authorization: Bearer {swapped}")),
            7 => ("another scheme", format!("Authorization: Basic {token}")),
            8 => ("no scheme", format!("Authorization: {token}")),
            9 => ("token in a cookie", format!("Cookie: Authorization=Bearer {token}; token={token}")),
            10 => ("token in another field", format!("X-Authorization: Bearer {token}")),
            11 => ("token with an underscore", format!("Authorization_: Bearer {token}")),
            12 => ("token of the proxy", format!("Proxy-Authorization: Bearer {token}")),
            13 => ("two tokens", format!("Authorization: Bearer {token}\r\nAuthorization: Bearer wrong")),
            14 => ("two tokens in one", format!("Authorization: Bearer {token}, Bearer {token}")),
            _ => ("token with a high byte", format!("Authorization: Bearer {token}\u{e9}")),
        };
        draft.remove("Authorization");
        if !line.is_empty() {
            draft.add(&line);
        }
        if dice.chance(10) {
            let target = format!("POST {}?access_token={token}&token={token} HTTP/1.1", self.targets[0]);
            draft.line = target.into_bytes();
        }
        if dice.chance(20) {
            draft.chunk(&Chunks::plain(1 + dice.below(90)));
        }
        let mut request = self.request("no token", number, FULL, &draft);
        request.name = name;
        request.want = Want::Refused(&[400, 401, 403]);
        request
    }

    fn framing(&self, dice: &mut Dice, number: u64) -> Request {
        let groups = [faults::LENGTHS, faults::HEADS, faults::CHUNKS];
        let group = groups[dice.below(3)];
        let fault: &'static Fault = dice.pick(group);
        let client = dice.pick(CLIENTS);
        let body = bodies::call(dice, number, client.tools[0], false);
        let mut draft = self.draft(dice, client, body);
        (fault.bend)(&mut draft);
        let mut request = self.request("framing", number, client, &draft);
        request.name = fault.name;
        request.want = match fault.apache {
            Apache::Mended if self.is_behind_apache => Want::Unclear,
            Apache::Answered if self.is_behind_apache => Want::Refused(crate::places::APACHES_OWN),
            Apache::Refused | Apache::Mended | Apache::Answered => Want::Fatal,
        };
        request
    }

    fn forbidden_tool(&self, dice: &mut Dice, number: u64) -> Request {
        let bounded: Vec<&'static Client> = CLIENTS.iter().filter(|client| client.is_bounded).collect();
        let client = *dice.pick(&bounded);
        const NAMES: &[&str] = &["hidden", "OK_a", "ok", " ok_a", "act_a", "\\u0068idden", "ok\\u200b_a"];
        let is_modern = dice.chance(30);
        let tool = *dice.pick(NAMES);
        let body = bodies::call(dice, number, tool, is_modern);
        let mut draft = self.draft(dice, client, body);
        if is_modern {
            draft.add("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call");
            draft.add(&format!("Mcp-Name: {}", dice.pick(&["ok_a", "hidden"])));
        } else if dice.chance(30) {
            draft.add("Mcp-Name: ok_a");
        }
        let mut request = self.request("forbidden tool", number, client, &draft);
        request.name = tool;
        request.want = Want::RpcError;
        request
    }

    fn bad_body(&self, dice: &mut Dice, number: u64) -> Request {
        let bounded = CLIENTS.iter().find(|client| client.is_bounded).unwrap_or(FULL);
        let bad = dice.pick(bodies::BAD);
        let mut draft = self.draft(dice, bounded, bad.bytes(number));
        if dice.chance(20) && !draft.body.is_empty() {
            draft.chunk(&Chunks::plain(1 + dice.below(90)));
        }
        let mut request = self.request("bad JSON", number, bounded, &draft);
        request.name = bad.name;
        request.want = Want::RpcError;
        request
    }

    /// A head in which some bytes were changed. Half of them have no right token, nor one that a few bytes would make right.
    fn mutated(&self, dice: &mut Dice, number: u64) -> Request {
        let has_token = dice.chance(50);
        let mut request = match has_token {
            true => self.valid(dice, number),
            false => self.without_token(dice, number, if number.is_multiple_of(2) { 0 } else { 3 }),
        };
        let length = memchr::memmem::find(&request.bytes, b"\r\n\r\n").map_or(0, |at| at + 4);
        let body = request.bytes.split_off(length);
        let head = &mut request.bytes;
        for _ in 0..=dice.below(3) {
            let at = dice.below(head.len());
            match dice.below(5) {
                0 => head[at] ^= 1 << dice.below(8),
                1 => head[at] = *dice.pick(b"\r\n \t:,;0\0\x7f\xff/"),
                2 => drop(head.remove(at)),
                3 => head.insert(at, *dice.pick(b"\r\n \t:,;0A")),
                _ => {
                    let other = (at + 1) % head.len();
                    head.swap(at, other);
                }
            }
        }
        request.bytes.extend_from_slice(&body);
        request.kind = if has_token { "mutated" } else { "mutated, no token" };
        request.name = request.kind;
        request.want = Want::Unclear;
        request
    }
}
