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
pub enum Value<'a> {
    /// Of a closed set.
    Word(&'static str),
    Text(Cow<'a, str>),
    Number(i64),
}

/// Another trace that the span has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub trace_id: TraceId,
    pub span: SpanId,
}

/// One operation that is over. Its texts may be borrowed: it is encoded where it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Span<'a> {
    pub trace_id: TraceId,
    pub id: SpanId,
    pub parent: Option<Parent>,
    /// The caller's `tracestate`.
    pub trace_state: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub kind: Kind,
    pub begun: SystemTime,
    pub took: Duration,
    pub attributes: Vec<(&'static str, Value<'a>)>,
    pub status: Status,
    pub link: Option<Link>,
}

impl<'a> Span<'a> {
    /// The span of a request from outside.
    pub fn server(
        context: &TraceContext,
        name: impl Into<Cow<'a, str>>,
        begun: SystemTime,
        took: Duration,
    ) -> Span<'a> {
        Span {
            trace_id: context.trace_id,
            id: context.span,
            parent: context.parent.map(Parent::Remote),
            trace_state: Cow::Borrowed(""),
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
        name: impl Into<Cow<'a, str>>,
        begun: SystemTime,
        took: Duration,
    ) -> Span<'a> {
        let server = Span::server(context, name, begun, took);
        Span { id, parent: Some(Parent::Local(context.span)), kind: Kind::Client, ..server }
    }

    /// Adds an attribute whose values are a closed set.
    pub fn word(&mut self, key: &'static str, value: &'static str) {
        self.attributes.push((key, Value::Word(value)));
    }

    pub fn text(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        self.attributes.push((key, Value::Text(value.into())));
    }

    pub fn number(&mut self, key: &'static str, value: impl Into<i64>) {
        self.attributes.push((key, Value::Number(value.into())));
    }
}
