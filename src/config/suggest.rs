//! "Did you mean …?": the known name nearest to a misspelt one. Must not know what the names are for.

/// The known key that was probably meant by the unknown `key`; both are dotted paths.
pub(super) fn key(key: &str, known: &[String]) -> Option<String> {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let in_same_table = || {
        known
            .iter()
            .filter(|candidate| candidate.rsplit_once('.').unwrap_or(("", candidate)).0 == table)
            .filter_map(|candidate| candidate.rsplit('.').next())
    };
    if let Some(near) = nearest(name, in_same_table()) {
        return Some(near.to_owned());
    }
    // The right name in the wrong table is the other common mistake.
    known.iter().find(|candidate| candidate.rsplit('.').next() == Some(name)).cloned()
}

/// The candidate nearest to `name`, if any is near enough to be a slip.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    candidates
        .map(|candidate| (distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two names; one that merely adds a word to the other (`body_bytes_max`) counts as one edit.
fn distance(name: &str, candidate: &str) -> usize {
    let adds_a_word = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'))
            || long.strip_suffix(short).is_some_and(|rest| rest.ends_with('_'))
    };
    if name != candidate && (adds_a_word(name, candidate) || adds_a_word(candidate, name)) {
        return 1;
    }
    strsim::osa_distance(name, candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expect: Option<&str>) {
        let known =
            ["listen", "listen.address", "limits", "limits.body_bytes", "limits.waiting", "timeouts.waiting"]
                .map(str::to_owned);
        assert_eq!(key(input, &known).as_deref(), expect);
    }

    #[test]
    fn suggests_the_nearest_key_of_the_same_table_then_the_same_name_elsewhere() {
        check("listne", Some("listen"));
        check("listen.adress", Some("address"));
        check("limits.body_bytes_max", Some("body_bytes"));
        check("limits.Waiting", Some("waiting"));
        check("listen.waiting", Some("limits.waiting"));
        check("listen.colour", None);
        check("", None);
    }
}
