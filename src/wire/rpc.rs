//! The closed set of MCP methods, and JSON-RPC error objects.

/// An MCP method, as far as policy, retries and metrics tell methods apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

impl Method {
    /// The method of this exact name.
    pub fn from_name(name: &str) -> Method {
        let _ = name;
        todo!()
    }

    /// The name on the wire, `other` for [`Method::Other`]: a metric label.
    pub fn as_str(self) -> &'static str {
        todo!()
    }

    /// Whether repeating it is known to change nothing (`initialize`, `server/discover`, `ping`, `*/list`): only these
    /// may be sent again once a byte has reached a backend.
    pub fn repeatable(self) -> bool {
        todo!()
    }
}

/// A JSON-RPC error object's parts, rendered by [`write_error`].
#[derive(Debug, Clone)]
pub struct ErrorParts<'a> {
    /// The raw JSON of the request's `id`; `None` renders `null`.
    pub id: Option<&'a [u8]>,
    pub code: i32,
    pub message: &'a str,
    /// Raw JSON of `data`, if any.
    pub data: Option<&'a str>,
}

/// Appends `{"jsonrpc":"2.0","id":…,"error":{…}}` to `out`.
pub fn write_error(out: &mut Vec<u8>, parts: &ErrorParts<'_>) {
    let _ = (out, parts);
    todo!()
}
