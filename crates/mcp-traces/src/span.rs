//! A span as a value: what a program says about one operation. The exporter turns it into the wire's form.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::{SpanId, TraceContext, TraceId};

/// Which side of an operation a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request from outside.
    Server,
    /// A request to another program.
    Client,
    Internal,
}

/// Whether the operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Unset,
    Error,
}

/// The span above, and where it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// By the caller, in another process.
    Remote(SpanId),
    Local(SpanId),
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a closed set.
    Word(&'static str),
    Text(String),
    Number(i64),
}

/// Another trace that the span has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub trace_id: TraceId,
    pub span: SpanId,
}

/// One operation that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub trace_id: TraceId,
    pub id: SpanId,
    pub parent: Option<Parent>,
    /// The caller's `tracestate`.
    pub trace_state: String,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub begun: SystemTime,
    pub took: Duration,
    pub attributes: Vec<(&'static str, Value)>,
    pub status: Status,
    pub link: Option<Link>,
}

impl Span {
    /// The span of a request from outside.
    pub fn server(
        context: &TraceContext,
        name: impl Into<Cow<'static, str>>,
        begun: SystemTime,
        took: Duration,
    ) -> Span {
        Span {
            trace_id: context.trace_id,
            id: context.span,
            parent: context.parent.map(Parent::Remote),
            trace_state: String::new(),
            name: name.into(),
            kind: Kind::Server,
            begun,
            took,
            attributes: Vec::with_capacity(16),
            status: Status::Unset,
            link: None,
        }
    }

    /// A span of this process below another one, for a request to another program.
    pub fn client(
        context: &TraceContext,
        id: SpanId,
        name: impl Into<Cow<'static, str>>,
        begun: SystemTime,
        took: Duration,
    ) -> Span {
        let server = Span::server(context, name, begun, took);
        Span { id, parent: Some(Parent::Local(context.span)), kind: Kind::Client, ..server }
    }

    /// Adds an attribute whose values are a closed set.
    pub fn word(&mut self, key: &'static str, value: &'static str) {
        self.attributes.push((key, Value::Word(value)));
    }

    pub fn text(&mut self, key: &'static str, value: impl Into<String>) {
        self.attributes.push((key, Value::Text(value.into())));
    }

    pub fn number(&mut self, key: &'static str, value: impl Into<i64>) {
        self.attributes.push((key, Value::Number(value.into())));
    }
}
