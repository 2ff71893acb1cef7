//! The closed set of MCP methods.
//!
//! Must not know which of them a client may call: that is `policy`.

use super::fold::folds_to_any;

/// An MCP method, as far as policy, retries and metrics tell methods apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "a variant is the method of its name")]
pub enum Method {
    ToolsCall,
    ToolsList,
    Initialize,
    Discover,
    Ping,
    ResourcesList,
    ResourcesTemplatesList,
    ResourcesRead,
    ResourcesSubscribe,
    ResourcesUnsubscribe,
    PromptsList,
    PromptsGet,
    CompletionComplete,
    LoggingSetLevel,
    SubscriptionsListen,
    TasksGet,
    TasksUpdate,
    TasksCancel,
    TasksList,
    TasksResult,
    NotificationsInitialized,
    NotificationsCancelled,
    NotificationsProgress,
    NotificationsRootsListChanged,
    /// A JSON-RPC response that a client posts.
    Response,
    /// Anything else; its name is not kept.
    Other,
}

/// The member of `params` that the `Mcp-Name` field repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameSource {
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
    /// `params.taskId`
    TaskId,
}

/// What a call of the method does to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Repeating it is known to change nothing.
    Repeatable,
    /// Nothing that another client notices. What a tool changes is judged by tool; a subscription, a completion or a cancelled
    /// request is the client's own.
    Own,
    /// Something that other clients notice.
    Shared,
}

/// What sets a method apart.
struct MethodRow {
    method: Method,
    name: &'static str,
    effect: Effect,
    source: Option<NameSource>,
}

const fn row(method: Method, name: &'static str, effect: Effect, source: Option<NameSource>) -> MethodRow {
    MethodRow { method, name, effect, source }
}

/// One row a method, in the order of the enum. The names of the last two are labels only: no body calls them.
static TABLE: [MethodRow; Method::Other as usize + 1] = {
    use Effect::{Own, Repeatable, Shared};
    use NameSource::{Name, TaskId, Uri};
    [
        row(Method::ToolsCall, "tools/call", Own, Some(Name)),
        row(Method::ToolsList, "tools/list", Repeatable, None),
        row(Method::Initialize, "initialize", Repeatable, None),
        row(Method::Discover, "server/discover", Repeatable, None),
        // It checks whether the backend responds: repeating it would hide that it did not.
        row(Method::Ping, "ping", Own, None),
        row(Method::ResourcesList, "resources/list", Repeatable, None),
        row(Method::ResourcesTemplatesList, "resources/templates/list", Repeatable, None),
        row(Method::ResourcesRead, "resources/read", Own, Some(Uri)),
        row(Method::ResourcesSubscribe, "resources/subscribe", Own, Some(Uri)),
        row(Method::ResourcesUnsubscribe, "resources/unsubscribe", Own, Some(Uri)),
        row(Method::PromptsList, "prompts/list", Repeatable, None),
        row(Method::PromptsGet, "prompts/get", Own, Some(Name)),
        row(Method::CompletionComplete, "completion/complete", Own, None),
        // A level of logging often belongs to the whole server, and a task to any client that knows its id.
        row(Method::LoggingSetLevel, "logging/setLevel", Shared, None),
        row(Method::SubscriptionsListen, "subscriptions/listen", Own, None),
        row(Method::TasksGet, "tasks/get", Own, Some(TaskId)),
        row(Method::TasksUpdate, "tasks/update", Shared, Some(TaskId)),
        row(Method::TasksCancel, "tasks/cancel", Shared, Some(TaskId)),
        row(Method::TasksList, "tasks/list", Repeatable, None),
        row(Method::TasksResult, "tasks/result", Own, Some(TaskId)),
        row(Method::NotificationsInitialized, "notifications/initialized", Own, None),
        row(Method::NotificationsCancelled, "notifications/cancelled", Own, None),
        row(Method::NotificationsProgress, "notifications/progress", Own, None),
        row(Method::NotificationsRootsListChanged, "notifications/roots/list_changed", Own, None),
        row(Method::Response, "response", Own, None),
        row(Method::Other, "other", Own, None),
    ]
};

impl Method {
    /// Every method once: for metrics and tests.
    pub const ALL: [Method; TABLE.len()] = {
        let mut all = [Method::Other; TABLE.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = TABLE[index].method;
            assert!(all[index] as usize == index, "the table is in the order of the enum");
            index += 1;
        }
        all
    };

    fn row(self) -> &'static MethodRow {
        &TABLE[self as usize]
    }

    /// The method of this exact name.
    pub fn from_name(name: &str) -> Method {
        TABLE[..Method::Response as usize]
            .iter()
            .find(|row| row.name == name)
            .map_or(Method::Other, |row| row.method)
    }

    /// The name on the wire; `response` and `other` for what has none. A metric label.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Whether repeating it is known to change nothing (`initialize`, `server/discover`, `*/list`): only these may be
    /// sent again once a byte has reached a backend.
    pub fn repeatable(self) -> bool {
        self.row().effect == Effect::Repeatable
    }

    /// Whether it changes something that another client can notice: such a method is not for clients that may only read.
    pub fn changes_something(self) -> bool {
        self.row().effect == Effect::Shared
    }

    /// Whether a careless program takes `name` for a known method, which it is not: by dropping white space and what
    /// cannot be seen, by ending it at a zero byte, or by ignoring case.
    #[cold]
    pub fn is_imitated_by(name: &str) -> bool {
        let known = |method: &Method| !matches!(method, Method::Response | Method::Other);
        let mut names = Method::ALL.iter().filter(|method| known(method)).map(|method| method.as_str());
        Method::from_name(name) == Method::Other && names.any(|known| folds_to_any(name.as_bytes(), &[known]))
    }

    /// What the method's `Mcp-Name` repeats, if it has one.
    pub fn name_source(self) -> Option<NameSource> {
        self.row().source
    }

    /// Whether 2026-07-28 demands `Mcp-Name`. It has no `resources/subscribe`, `resources/unsubscribe`, `tasks/result`:
    /// whether these carry one is their senders' affair, as long as it is the right one.
    pub fn requires_name(self) -> bool {
        self.name_source().is_some()
            && !matches!(
                self,
                Method::ResourcesSubscribe | Method::ResourcesUnsubscribe | Method::TasksResult
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imitation_is_what_trimming_or_folding_makes_a_known_method() {
        let known = Method::ALL.into_iter().filter(|method| Method::from_name(method.as_str()) == *method);
        for name in known.map(Method::as_str).filter(|name| *name != "other") {
            let imitations = [
                format!("{name} "),
                format!("\t{name}"),
                name.to_uppercase(),
                name.replacen('/', "\u{200b}/", 1) + "\0",
            ];
            for imitation in imitations {
                assert!(Method::is_imitated_by(&imitation), "{imitation:?}");
            }
            assert!(!Method::is_imitated_by(name) && !Method::is_imitated_by(&format!("{name}/x")), "{name}");
        }
        assert!(Method::is_imitated_by("ta\u{17f}\u{212a}s/cancel"));
        for own in ["", " ", "workflow/start", "other", "response", "Response"] {
            assert!(!Method::is_imitated_by(own), "{own}");
        }
    }

    #[test]
    fn every_name_leads_back_to_its_method() {
        // These names are labels, not methods: a client that sends them calls an unknown method.
        let unnamed = [Method::Response, Method::Other];
        for method in Method::ALL {
            let expect = if unnamed.contains(&method) { Method::Other } else { method };
            assert_eq!(Method::from_name(method.as_str()), expect);
        }
    }

    // Contract, section 7: "only `initialize`, `ping`, `*/list`, `server/discover` may be repeated. `tools/call` never is."
    // Of these, `ping` is not: its response is news of the backend, and a second one is not the same news.
    #[test]
    fn repeats_nothing_but_reads_of_the_catalogue() {
        let repeatable = |method: &Method| {
            let name = method.as_str();
            name.ends_with("/list") || ["initialize", "server/discover"].contains(&name)
        };
        for method in Method::ALL {
            assert_eq!(method.repeatable(), repeatable(&method), "{}", method.as_str());
        }
    }
}
