//! Every secret that a configuration holds in the clear, so that none is quoted from what a backend sends.
//!
//! Clients' tokens are hashes and cannot be repeated, except the one in the environment. Must not know who quotes.

use super::dependencies::Check;
use super::environment::Environment;
use super::model::Config;
use super::model::RouteTarget;
use super::notify::Channel;
use crate::upstream::{Backend, Secrets, Slot, UpstreamAuthorization};

/// `token_env` names the variable of the client token: a backend that judges tokens itself may know it.
pub(super) fn held(config: &Config, token_env: &str, environment: &Environment<'_>) -> Secrets {
    let mut texts: Vec<String> = Vec::new();
    let backends = Slot::ALL.into_iter().filter_map(|slot| config.backend(slot));
    let own = config.routes.iter().filter_map(|route| match &route.target {
        RouteTarget::Own(backend) => Some(&**backend),
        RouteTarget::Slot(_) | RouteTarget::Stable => None,
    });
    for backend in backends.chain(own) {
        texts.extend(of_backend(backend));
    }
    for receiver in &config.rollout.receivers {
        match &receiver.channel {
            Channel::Generic { url } | Channel::Slack { url } => texts.push(url.0.clone()),
            Channel::PagerDuty { routing_key, .. } => texts.push(routing_key.0.clone()),
            Channel::Exec(_) => {}
        }
    }
    for dependency in &config.dependencies {
        match &dependency.check {
            Check::Redis { password, .. } => texts.extend(password.iter().map(|secret| secret.0.clone())),
            Check::Tool { .. } | Check::Tcp(_) | Check::Http { .. } | Check::Command(_) => {}
        }
    }
    texts.extend(config.fleet.iter().flat_map(|fleet| fleet.secrets()).map(str::to_owned));
    texts.extend((environment.variable)(token_env).and_then(|token| token.into_string().ok()));
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::super::routes::ROUTES_MAX;
    use super::super::slots::SET_HEADERS_MAX;
    use super::super::tests::NOTHING;
    use super::super::{Environment, build};

    /// What of `quoted` is left, with every variable set to its own name in front of a secret.
    fn cleaned(text: &str, quoted: &str) -> String {
        // But those that set a key of the file.
        let is_free = |name: &&str| !name.starts_with("MCP_GUARD_");
        let variable = |name: &str| {
            Some(name).filter(is_free).map(|name| OsString::from(format!("{name}-0123456789abcdef")))
        };
        let environment = Environment { variable: &variable, now: NOTHING.now, shown_pairs: None };
        let loaded = build(Path::new("guard.toml"), text, &environment);
        loaded.map_err(|found| found.problems).unwrap().config.secrets.clean_text(quoted)
    }

    #[test]
    fn the_client_token_is_a_secret_whatever_its_variable_is_called() {
        let slot = "[slots.blue]\naddress = \"127.0.0.1:1\"\n";
        for (auth, name) in [
            ("", "MCP_BEARER_TOKEN"),
            ("[auth]\ntoken_env = \"MCP_BEARER_TOKEN\"\n", "MCP_BEARER_TOKEN"),
            ("[auth]\ntoken_env = \"OTHER_TOKEN\"\n", "OTHER_TOKEN"),
        ] {
            let quoted = format!("got Bearer {name}-0123456789abcdef");
            assert_eq!(cleaned(&format!("{auth}{slot}"), &quoted), "got Bearer [secret]", "{auth}");
        }
    }

    #[test]
    fn every_secret_of_the_largest_configuration_is_removed() {
        let headers = |backend: usize| {
            let set = (0..SET_HEADERS_MAX).map(|n| format!("X-{n} = \"{backend:03}{n:03}-of-many-keys\""));
            format!("set_headers = {{ {} }}\n", set.collect::<Vec<_>>().join(", "))
        };
        let mut text = format!(
            "[slots.blue]\naddress = \"127.0.0.1:1\"\nauthorization = \"env:UPSTREAM\"\n{}",
            headers(0)
        );
        for n in 1..=ROUTES_MAX {
            let route =
                format!("name = \"r{n}\"\nprefix = \"/r{n}\"\nauth = \"none\"\naddress = \"127.0.0.1:2\"");
            text += &format!("[[route]]\n{route}\nauthorization = \"env:UP{n}\"\n{}", headers(n));
        }
        let mut secrets = vec!["MCP_BEARER_TOKEN-0123456789abcdef".to_owned()];
        for backend in 0..=ROUTES_MAX {
            let token = if backend == 0 { "UPSTREAM".to_owned() } else { format!("UP{backend}") };
            secrets.push(format!("{token}-0123456789abcdef"));
            secrets.extend((0..SET_HEADERS_MAX).map(|n| format!("{backend:03}{n:03}-of-many-keys")));
        }
        let quoted = cleaned(&text, &secrets.join(" "));
        let left: Vec<&str> = quoted.split(' ').filter(|word| *word != "[secret]").collect();
        assert!(left.is_empty(), "{} of {} are left: {:?}", left.len(), secrets.len(), left.first());
    }
}
