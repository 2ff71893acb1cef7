//! The rules that a fleet's safety rests on, by name, so that a test can break one and see it found.
//!
//! Outside tests no rule can be broken: [`Rules::keep`] is then a constant.

/// One rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "the store's rules are kept by its script"))]
pub(crate) enum Rule {
    /// The store takes a state only under the epoch of its writer.
    EpochOfWriter,
    /// The store carries out no late request.
    RequestOrder,
    /// A store without memory settles before it takes a leader.
    Settle,
    /// The store counts what a member may still use.
    CountHeldShares,
    /// The store keeps a part for members that are cut off.
    ReserveForSilent,
    /// A member follows no lower generation.
    NeverBack,
    /// A member follows only what is sealed.
    Seal,
    /// A member offers a settling store the state that it follows.
    Offer,
    /// A member admits calls to the candidate only under the store's state.
    CatchUp,
    /// A member ejects its own failing candidate by itself.
    LocalEject,
    /// A leader stops when its lease has ended.
    LeaseEnd,
    /// A leader writes above a member that is ahead.
    WriteAbove,
    /// A leader puts its own state in place of another one only if no live member follows a later one.
    Yield,
    /// A leader puts back what it has written, though it was not told so, and what is gone since.
    PutBack,
    /// A way back that has waited is written only above the state that it was made from.
    MadeFrom,
    /// Only windows of the present generation are merged.
    WindowOfGeneration,
    /// Nothing moves forward without the windows of all live members, and a majority of the known ones.
    Quorum,
    /// Nothing moves forward while configurations differ.
    Agreement,
    /// A share of a limit ends with its time.
    ShareEnd,
}

/// Which rules are kept: all of them, unless a test says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    #[cfg(test)]
    broken: Option<Rule>,
}

impl Rules {
    /// Whether this rule is kept.
    #[cfg(not(test))]
    pub(crate) const fn keep(self, _: Rule) -> bool {
        true
    }

    /// Whether this rule is kept.
    #[cfg(test)]
    pub(crate) fn keep(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// All rules but this one.
    #[cfg(test)]
    pub(crate) fn without(rule: Rule) -> Rules {
        Rules { broken: Some(rule) }
    }
}

#[cfg(test)]
impl Rule {
    /// Every rule whose breach random schedules find soon. Where all depends on milliseconds, they do not: `RequestOrder`, `Offer`,
    /// `Yield`, `PutBack` and `MadeFrom` have tests of their own.
    pub(crate) const ALL: [Rule; 14] = [
        Rule::EpochOfWriter,
        Rule::Settle,
        Rule::CountHeldShares,
        Rule::ReserveForSilent,
        Rule::NeverBack,
        Rule::Seal,
        Rule::CatchUp,
        Rule::LocalEject,
        Rule::LeaseEnd,
        Rule::WriteAbove,
        Rule::WindowOfGeneration,
        Rule::Quorum,
        Rule::Agreement,
        Rule::ShareEnd,
    ];
}
