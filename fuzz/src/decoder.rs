//! The most careless decoder that a backend may have: it ignores the case of keys as Go and Java do, ends them at a zero byte
//! as C does, takes the last of equal keys, and trims texts.
//!
//! Written apart from the guard's scan, character by character, so that the two can be held against each other. It reads
//! only what is JSON.

/// A JSON value, as far as a call is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A text, decoded; half a surrogate pair is U+FFFD.
    Text(String),
    /// The members in their order.
    Object(Vec<(String, Node)>),
    /// Anything else.
    Other,
}

/// What a careless backend reads of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Careless {
    /// The raw JSON of the id.
    pub id: Option<String>,
    /// Trimmed.
    pub method: Option<String>,
    /// Of the member that the method's name lies in; trimmed.
    pub name: Option<String>,
    /// Of `_meta`; trimmed.
    pub version: Option<String>,
}

/// Reads a body that is one JSON object.
pub fn read(body: &str) -> Option<Careless> {
    let mut decoder = Decoder { text: body.chars().collect(), at: 0, ids: Vec::new(), depth: 0 };
    let message = decoder.value()?;
    decoder.space();
    if decoder.at < decoder.text.len() {
        return None;
    }
    let Node::Object(_) = message else { return None };
    let method = message.text("method");
    let params = message.member("params");
    let name_of = |key| params.and_then(|params| params.text(key));
    let name = match method.as_deref() {
        Some("tools/call" | "prompts/get") => name_of("name"),
        Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => name_of("uri"),
        Some("tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result") => name_of("taskId"),
        _ => None,
    };
    let meta = params.and_then(|params| params.member("_meta"));
    let version = meta.and_then(|meta| meta.text("io.modelcontextprotocol/protocolVersion"));
    Some(Careless { id: decoder.ids.pop(), method, name, version })
}

/// As careless programs trim: white space of Unicode, control characters, and the byte order mark.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|one: char| one.is_whitespace() || one.is_control() || one == '\u{feff}')
}

/// A key as it is compared, where that concerns ASCII names: `encoding/json`, Java's `equalsIgnoreCase`, cJSON.
pub fn fold(key: &str) -> String {
    let one = |character| match character {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    let key = key.split('\0').next().unwrap_or_default();
    trim(key).chars().map(one).collect()
}

impl Node {
    /// The last member whose key folds to `name`.
    fn member(&self, name: &str) -> Option<&Node> {
        let Node::Object(members) = self else { return None };
        members.iter().rev().find(|(key, _)| fold(key) == fold(name)).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.member(name)? {
            Node::Text(text) => Some(trim(text).to_owned()),
            Node::Object(_) | Node::Other => None,
        }
    }
}

struct Decoder {
    text: Vec<char>,
    at: usize,
    /// The raw values of every key of the message that folds to `id`.
    ids: Vec<String>,
    depth: usize,
}

impl Decoder {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        self.at += 1;
        self.text.get(self.at - 1).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Node> {
        self.space();
        match self.peek()? {
            '"' => self.string().map(Node::Text),
            '{' => self.object(),
            '[' => {
                self.at += 1;
                self.space();
                let mut empty = self.peek() == Some(']');
                while !empty {
                    self.depth += 1;
                    self.value()?;
                    self.depth -= 1;
                    self.space();
                    match self.peek()? {
                        ',' => self.at += 1,
                        _ => empty = true,
                    }
                }
                (self.next()? == ']').then_some(Node::Other)
            }
            _ => {
                let ends = |one| matches!(one, ',' | '}' | ']' | ' ' | '\t' | '\r' | '\n');
                while self.peek().is_some_and(|one| !ends(one)) {
                    self.at += 1;
                }
                Some(Node::Other)
            }
        }
    }

    fn object(&mut self) -> Option<Node> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        let mut empty = self.peek() == Some('}');
        while !empty {
            self.space();
            let key = self.string()?;
            self.space();
            if self.next()? != ':' {
                return None;
            }
            self.space();
            let start = self.at;
            self.depth += 1;
            let value = self.value()?;
            self.depth -= 1;
            if self.depth == 0 && fold(&key) == "id" {
                self.ids.push(self.text[start..self.at].iter().collect());
            }
            members.push((key, value));
            self.space();
            match self.peek()? {
                ',' => self.at += 1,
                _ => empty = true,
            }
        }
        (self.next()? == '}').then_some(Node::Object(members))
    }

    fn string(&mut self) -> Option<String> {
        if self.next()? != '"' {
            return None;
        }
        let mut units = Vec::new();
        loop {
            match self.next()? {
                '"' => return Some(String::from_utf16_lossy(&units)),
                '\\' => units.push(match self.next()? {
                    'b' => 0x8,
                    'f' => 0xc,
                    'n' => 0xa,
                    'r' => 0xd,
                    't' => 0x9,
                    'u' => {
                        let digits: String = self.text.get(self.at..self.at + 4)?.iter().collect();
                        self.at += 4;
                        u16::from_str_radix(&digits, 16).ok()?
                    }
                    other => u16::try_from(u32::from(other)).ok()?,
                }),
                other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
            }
        }
    }
}
