//! Who asks: the bearer token of a request, compared in constant time with the hashes of the configuration.

use std::sync::{PoisonError, RwLock};

use hyper::header::{self, HeaderMap};
use subtle::ConstantTimeEq;

use crate::config::console::{Person, Role};
use crate::policy::auth::TokenHash;
use crate::telemetry::metrics::ConsoleRefusal;

/// The person, who must have the role.
pub(super) fn with_role(person: Person, needed: Role) -> Result<Person, ConsoleRefusal> {
    if person.role < needed { Err(ConsoleRefusal::Role) } else { Ok(person) }
}

/// Everyone with a token.
pub(super) struct People(RwLock<Vec<Person>>);

impl People {
    pub(super) fn new(people: Vec<Person>) -> People {
        People(RwLock::new(people))
    }

    pub(super) fn replace(&self, people: Vec<Person>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = people;
    }

    /// The person of the token in these fields.
    pub(super) fn of(&self, fields: &HeaderMap) -> Result<Person, ConsoleRefusal> {
        let mut values = fields.get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value.as_bytes(),
            _ => return Err(ConsoleRefusal::NoToken),
        };
        let token = value.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        let token = token.ok_or(ConsoleRefusal::NoToken)?.1;
        self.find(&TokenHash::of(token.trim_ascii())).ok_or(ConsoleRefusal::UnknownToken)
    }

    /// Whether this person may still look.
    pub(super) fn has(&self, person: &Person) -> bool {
        self.find(&person.hash).is_some()
    }

    /// Compares with every hash, so that time tells nothing about which one it is.
    fn find(&self, hash: &TokenHash) -> Option<Person> {
        let people = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for person in people.iter() {
            if bool::from(person.hash.0.ct_eq(&hash.0)) {
                found = Some(person.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> People {
        let person =
            |name: &str, role| Person { name: name.to_owned(), hash: TokenHash::of(name.as_bytes()), role };
        People::new(vec![person("viewer", Role::Viewer), person("operator", Role::Operator)])
    }

    fn asked(people: &People, values: &[&str], needed: Role) -> Result<String, ConsoleRefusal> {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        people.of(&fields).and_then(|person| with_role(person, needed)).map(|person| person.name)
    }

    #[test]
    fn an_operator_may_look_and_a_viewer_may_not_give_orders() {
        let people = people();
        assert_eq!(asked(&people, &["Bearer viewer"], Role::Viewer), Ok("viewer".to_owned()));
        assert_eq!(asked(&people, &["bearer operator"], Role::Viewer), Ok("operator".to_owned()));
        assert_eq!(asked(&people, &["Bearer operator"], Role::Operator), Ok("operator".to_owned()));
        assert_eq!(asked(&people, &["Bearer viewer"], Role::Operator), Err(ConsoleRefusal::Role));
    }

    #[test]
    fn no_token_a_wrong_one_and_two_are_refused() {
        let people = people();
        for (values, refusal) in [
            (&[][..], ConsoleRefusal::NoToken),
            (&["Bearer no"], ConsoleRefusal::UnknownToken),
            (&["Basic viewer"], ConsoleRefusal::NoToken),
            (&["Bearer"], ConsoleRefusal::NoToken),
            (&["Bearer "], ConsoleRefusal::UnknownToken),
            (&["Bearer viewer", "Bearer viewer"], ConsoleRefusal::NoToken),
        ] {
            assert_eq!(asked(&people, values, Role::Viewer), Err(refusal), "{values:?}");
        }
    }

    #[test]
    fn a_token_that_was_taken_out_ends_at_once() {
        let people = people();
        let viewer = people.find(&TokenHash::of(b"viewer")).unwrap();
        people.replace(Vec::new());
        assert!(!people.has(&viewer));
        assert_eq!(asked(&people, &["Bearer viewer"], Role::Viewer), Err(ConsoleRefusal::UnknownToken));
    }
}
