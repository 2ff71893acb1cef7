//! By what the parts of clients in shared bounds are counted: numbers that a client keeps over a reload by its name.
//!
//! Places, streams and turns outlive a reload, while the order of the clients changes with the file. No number is given
//! twice. Must not know what is counted.

use std::collections::HashMap;

use crate::policy::{ClientId, Clients};
use crate::proxy::fairness::semaphore::Key;

/// The numbers of one configuration's clients.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// In the order of the clients.
    keys: Vec<Key>,
    next: Key,
}

impl Keys {
    /// Numbers for `clients`; those that `previous` knew by name keep theirs.
    pub(crate) fn new(clients: &Clients, previous: Option<(&Keys, &Clients)>) -> Keys {
        let mut next = previous.map_or(0, |(keys, _)| keys.next);
        let kept: HashMap<&str, Key> = previous
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
        Keys { keys, next }
    }

    /// The number of this client.
    pub(crate) fn of(&self, client: ClientId) -> Key {
        self.keys.get(client.index()).copied().unwrap_or(Key::MAX)
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
        let first = Keys::new(&before, None);
        let second = Keys::new(&after, Some((&first, &before)));
        assert_eq!(second.keys[1], first.keys[1], "b");
        let given: Vec<Key> = [second.keys[0], second.keys[2]].into();
        assert!(given.iter().all(|key| !first.keys.contains(key)), "{given:?}");
        // A name that comes back begins anew: what the former one held is still counted for it.
        let third = Keys::new(&before, Some((&second, &after)));
        assert_eq!(third.keys[1], first.keys[1]);
        assert!(!first.keys.contains(&third.keys[0]) && !second.keys.contains(&third.keys[0]));
    }
}
