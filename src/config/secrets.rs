//! Every secret that a configuration holds in the clear, so that none is quoted from what a backend sends.
//!
//! Clients' tokens are hashes and cannot be repeated, except the one in the environment. Must not know who quotes.

use super::notify::Way;
use super::routes::Target;
use super::{Config, Surroundings};
use crate::upstream::{Backend, Secrets, Slot, UpstreamAuthorization};

/// The client token in the environment: a backend that judges tokens itself may know it.
const TOKEN_VARIABLE: &str = "MCP_BEARER_TOKEN";

pub(super) fn held(config: &Config, surroundings: &Surroundings<'_>) -> Secrets {
    let mut texts: Vec<String> = Vec::new();
    let backends = Slot::ALL.into_iter().filter_map(|slot| config.backend(slot));
    let own = config.routes.iter().filter_map(|route| match &route.target {
        Target::Own(backend) => Some(&**backend),
        Target::Slot(_) | Target::Stable => None,
    });
    for backend in backends.chain(own) {
        texts.extend(of_backend(backend));
    }
    for receiver in &config.rollout.receivers {
        match &receiver.way {
            Way::Generic { url } | Way::Slack { url } => texts.push(url.0.clone()),
            Way::PagerDuty { routing_key, .. } => texts.push(routing_key.0.clone()),
            Way::Exec(_) => {}
        }
    }
    texts.extend((surroundings.variable)(TOKEN_VARIABLE).and_then(|token| token.into_string().ok()));
    Secrets::new(texts.iter().map(String::as_str))
}

fn of_backend(backend: &Backend) -> impl Iterator<Item = String> {
    let token = match &backend.authorization {
        UpstreamAuthorization::Strip => None,
        UpstreamAuthorization::Bearer(token) => Some(token.clone()),
    };
    let fixed = backend.set_headers.iter().map(|(_, value)| value.clone());
    token.into_iter().chain(fixed)
}
