//! Names of tools and parameters, made from names that may hold anything.

use std::collections::HashSet;

/// What APIs of models take.
const TOOL_NAME_MAX: usize = 64;
const PARAM_NAME_MAX: usize = 64;

/// Makes each name legal and different from those before it.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Names that differ from `taken` as well.
    pub(crate) fn beside(taken: &[&str]) -> Names {
        Names { taken: taken.iter().map(|name| (*name).to_owned()).collect() }
    }

    /// The name of a tool: 1 to 64 of A-Z a-z 0-9 _ -.
    pub(crate) fn tool(&mut self, wanted: &str) -> String {
        self.unique(legal(wanted, |letter| letter == '_' || letter == '-', "tool"), TOOL_NAME_MAX)
    }

    /// The name of a parameter, which templates and statements can hold.
    pub(crate) fn param(&mut self, wanted: &str) -> String {
        let name = legal(wanted, |letter| letter == '_', "value");
        let begins_with_digit = name.starts_with(|first: char| first.is_ascii_digit());
        self.unique(if begins_with_digit { format!("_{name}") } else { name }, PARAM_NAME_MAX)
    }

    fn unique(&mut self, name: String, length_max: usize) -> String {
        let short = |name: &str, length: usize| name.chars().take(length).collect::<String>();
        let mut candidate = short(&name, length_max);
        let mut count = 2;
        while !self.taken.insert(candidate.clone()) {
            let suffix = format!("_{count}");
            candidate = short(&name, length_max - suffix.len()) + &suffix;
            count += 1;
        }
        candidate
    }
}

/// Every run of other letters becomes one `_`, and none stands at an end that had none.
fn legal(wanted: &str, allowed: impl Fn(char) -> bool, instead: &str) -> String {
    let mut name = String::new();
    for letter in wanted.chars() {
        if letter.is_ascii_alphanumeric() || allowed(letter) {
            name.push(letter);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let ends_as_wanted = wanted.ends_with('_');
    let trimmed = if ends_as_wanted { name.as_str() } else { name.trim_end_matches('_') };
    if trimmed.is_empty() { instead.to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_legal_and_differ() {
        let mut names = Names::default();
        assert_eq!(names.tool("pets.list (all)"), "pets_list_all");
        assert_eq!(names.tool("pets-list"), "pets-list");
        assert_eq!(names.tool("pets list all"), "pets_list_all_2");
        assert_eq!(names.tool("日本"), "tool");
        let long = names.tool(&"x".repeat(100));
        assert_eq!(long.len(), 64);
        assert_eq!(names.tool(&"x".repeat(100)), format!("{}_2", "x".repeat(62)));
        let mut names = Names::beside(&["limit"]);
        assert_eq!(names.param("filter[name]"), "filter_name");
        assert_eq!(names.param("2nd"), "_2nd");
        assert_eq!(names.param("limit"), "limit_2");
        assert_eq!(names.param("_id"), "_id");
    }
}
