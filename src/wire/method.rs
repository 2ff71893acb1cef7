//! The closed set of MCP methods.
//!
//! Must not know which of them a client may call: that is `policy`.

use super::fold::folds_to_any;

/// An MCP method, as far as policy, retries and metrics tell methods apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "a variant is the method of its name")]
pub enum Method {
    Initialize,
    Discover,
    Ping,
    ToolsList,
    ToolsCall,
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

impl Method {
    /// Every method once: for metrics and tests.
    pub const ALL: [Method; 26] = [
        Method::Initialize,
        Method::Discover,
        Method::Ping,
        Method::ToolsList,
        Method::ToolsCall,
        Method::ResourcesList,
        Method::ResourcesTemplatesList,
        Method::ResourcesRead,
        Method::ResourcesSubscribe,
        Method::ResourcesUnsubscribe,
        Method::PromptsList,
        Method::PromptsGet,
        Method::CompletionComplete,
        Method::LoggingSetLevel,
        Method::SubscriptionsListen,
        Method::TasksGet,
        Method::TasksUpdate,
        Method::TasksCancel,
        Method::TasksList,
        Method::TasksResult,
        Method::NotificationsInitialized,
        Method::NotificationsCancelled,
        Method::NotificationsProgress,
        Method::NotificationsRootsListChanged,
        Method::Response,
        Method::Other,
    ];

    /// The method of this exact name.
    pub fn from_name(name: &str) -> Method {
        match name {
            "initialize" => Method::Initialize,
            "server/discover" => Method::Discover,
            "ping" => Method::Ping,
            "tools/list" => Method::ToolsList,
            "tools/call" => Method::ToolsCall,
            "resources/list" => Method::ResourcesList,
            "resources/templates/list" => Method::ResourcesTemplatesList,
            "resources/read" => Method::ResourcesRead,
            "resources/subscribe" => Method::ResourcesSubscribe,
            "resources/unsubscribe" => Method::ResourcesUnsubscribe,
            "prompts/list" => Method::PromptsList,
            "prompts/get" => Method::PromptsGet,
            "completion/complete" => Method::CompletionComplete,
            "logging/setLevel" => Method::LoggingSetLevel,
            "subscriptions/listen" => Method::SubscriptionsListen,
            "tasks/get" => Method::TasksGet,
            "tasks/update" => Method::TasksUpdate,
            "tasks/cancel" => Method::TasksCancel,
            "tasks/list" => Method::TasksList,
            "tasks/result" => Method::TasksResult,
            "notifications/initialized" => Method::NotificationsInitialized,
            "notifications/cancelled" => Method::NotificationsCancelled,
            "notifications/progress" => Method::NotificationsProgress,
            "notifications/roots/list_changed" => Method::NotificationsRootsListChanged,
            _ => Method::Other,
        }
    }

    /// The name on the wire; `response` and `other` for what has none. A metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Initialize => "initialize",
            Method::Discover => "server/discover",
            Method::Ping => "ping",
            Method::ToolsList => "tools/list",
            Method::ToolsCall => "tools/call",
            Method::ResourcesList => "resources/list",
            Method::ResourcesTemplatesList => "resources/templates/list",
            Method::ResourcesRead => "resources/read",
            Method::ResourcesSubscribe => "resources/subscribe",
            Method::ResourcesUnsubscribe => "resources/unsubscribe",
            Method::PromptsList => "prompts/list",
            Method::PromptsGet => "prompts/get",
            Method::CompletionComplete => "completion/complete",
            Method::LoggingSetLevel => "logging/setLevel",
            Method::SubscriptionsListen => "subscriptions/listen",
            Method::TasksGet => "tasks/get",
            Method::TasksUpdate => "tasks/update",
            Method::TasksCancel => "tasks/cancel",
            Method::TasksList => "tasks/list",
            Method::TasksResult => "tasks/result",
            Method::NotificationsInitialized => "notifications/initialized",
            Method::NotificationsCancelled => "notifications/cancelled",
            Method::NotificationsProgress => "notifications/progress",
            Method::NotificationsRootsListChanged => "notifications/roots/list_changed",
            Method::Response => "response",
            Method::Other => "other",
        }
    }

    /// Whether repeating it is known to change nothing (`initialize`, `server/discover`, `*/list`): only these may be
    /// sent again once a byte has reached a backend. A `ping` asks whether the backend answers; asking twice would hide
    /// that it did not.
    pub fn repeatable(self) -> bool {
        matches!(
            self,
            Method::Initialize
                | Method::Discover
                | Method::ToolsList
                | Method::ResourcesList
                | Method::ResourcesTemplatesList
                | Method::PromptsList
                | Method::TasksList
        )
    }

    /// Whether it changes something that another client can notice: such a method is not for clients that may only read.
    /// What a tool changes is judged by tool; a subscription, a completion or a cancelled request is the client's own.
    pub fn changes_something(self) -> bool {
        match self {
            // A task belongs to any client that knows its id, and a level of logging often to the whole server.
            Method::TasksUpdate | Method::TasksCancel | Method::LoggingSetLevel => true,
            Method::Initialize
            | Method::Discover
            | Method::Ping
            | Method::ToolsList
            | Method::ToolsCall
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::ResourcesRead
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe
            | Method::PromptsList
            | Method::PromptsGet
            | Method::CompletionComplete
            | Method::SubscriptionsListen
            | Method::TasksGet
            | Method::TasksList
            | Method::TasksResult
            | Method::NotificationsInitialized
            | Method::NotificationsCancelled
            | Method::NotificationsProgress
            | Method::NotificationsRootsListChanged
            | Method::Response
            | Method::Other => false,
        }
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
        match self {
            Method::ToolsCall | Method::PromptsGet => Some(NameSource::Name),
            Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                Some(NameSource::Uri)
            }
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel | Method::TasksResult => {
                Some(NameSource::TaskId)
            }
            Method::Initialize
            | Method::Discover
            | Method::Ping
            | Method::ToolsList
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::PromptsList
            | Method::CompletionComplete
            | Method::LoggingSetLevel
            | Method::SubscriptionsListen
            | Method::TasksList
            | Method::NotificationsInitialized
            | Method::NotificationsCancelled
            | Method::NotificationsProgress
            | Method::NotificationsRootsListChanged
            | Method::Response
            | Method::Other => None,
        }
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
        // These names are labels, not methods: a client that sends them asks for an unknown method.
        let unnamed = [Method::Response, Method::Other];
        for method in Method::ALL {
            let expect = if unnamed.contains(&method) { Method::Other } else { method };
            assert_eq!(Method::from_name(method.as_str()), expect);
        }
    }

    // Contract, section 7: "only `initialize`, `ping`, `*/list`, `server/discover` may be repeated. `tools/call` never is."
    // Of these, `ping` is not: its answer is news of the backend, and a second one is not the same news.
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
