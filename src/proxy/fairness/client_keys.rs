//! The keys of clients in shared bounds: numbers that a client keeps over a reload by its name.
//!
//! Permits, streams and turns outlive a reload, while the order of the clients changes with the file. No number is given
//! twice. Must not know what is counted.

use std::collections::HashMap;

use crate::policy::{ClientId, Clients};
use crate::proxy::fairness::per_client::ClientKey;

/// The numbers of one configuration's clients.
#[derive(Debug, Default)]
pub(crate) struct ClientKeys {
    /// In the order of the clients.
    keys: Vec<ClientKey>,
    next: ClientKey,
}

impl ClientKeys {
    /// Numbers for `clients`; those that `previous` knew by name keep theirs.
    pub(crate) fn new(clients: &Clients, previous: Option<(&ClientKeys, &Clients)>) -> ClientKeys {
        let mut next = previous.map_or(0, |(keys, _)| keys.next);
        let kept: HashMap<&str, ClientKey> = previous
            .into_iter()
            .flat_map(|(keys, old)| {
                old.iter().map(|client| client.name.as_str()).zip(keys.keys.iter().copied())
            })
            .collect();
        let mut number = |name: &str| {
            kept.get(name).copied().unwrap_or_else(|| {
                next = next.wrapping_add(1);
                next
            })
        };
        let keys = clients.iter().map(|client| number(&client.name)).collect();
        ClientKeys { keys, next }
    }

    /// The number of this client.
    pub(crate) fn of(&self, client: ClientId) -> ClientKey {
        self.keys.get(client.index()).copied().unwrap_or(ClientKey::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::{ClientConfig, TokenHash};

    fn clients(names: &[&str]) -> Clients {
        let client = |name: &&str| ClientConfig::new(name, vec![TokenHash::of(name.as_bytes())]);
        Clients::new(names.iter().map(client).collect()).unwrap()
    }

    #[test]
    fn a_client_keeps_its_number_whatever_else_the_file_says() {
        let (before, after) = (clients(&["a", "b"]), clients(&["new", "b", "newer"]));
        let first = ClientKeys::new(&before, None);
        let second = ClientKeys::new(&after, Some((&first, &before)));
        assert_eq!(second.keys[1], first.keys[1], "b");
        let given: Vec<ClientKey> = [second.keys[0], second.keys[2]].into();
        assert!(given.iter().all(|key| !first.keys.contains(key)), "{given:?}");
        // A name that comes back gets a new key: what the former client held is still counted under the old one.
        let third = ClientKeys::new(&before, Some((&second, &after)));
        assert_eq!(third.keys[1], first.keys[1]);
        assert!(!first.keys.contains(&third.keys[0]) && !second.keys.contains(&third.keys[0]));
    }
}
