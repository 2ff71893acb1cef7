//! The break table: what can happen to a part of a schema, and what each means for a caller of the live server.
//!
//! `docs/parity.md` has the same table. Must not know how a change is found.

use crate::parity::finding::Severity;

/// What happened to a part of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A required parameter that the live server does not know.
    RequiredParameterAdded,
    /// An optional parameter that the live server does not know.
    OptionalParameterAdded,
    /// A parameter that the candidate does not know.
    ParameterRemoved,
    /// Optional before.
    BecameRequired,
    /// Required before.
    BecameOptional,
    /// Neither type covers the other.
    TypeChanged,
    /// Some values are not accepted any more.
    TypeNarrowed,
    /// More values are accepted.
    TypeWidened,
    /// A value was taken out, or an enum put where there was none.
    EnumNarrowed,
    /// A value was added, or the enum dropped.
    EnumWidened,
    /// A call that leaves it out means something else.
    DefaultChanged,
    /// A minimum, maximum or length accepts less.
    BoundTightened,
    /// A minimum, maximum or length accepts more.
    BoundLoosened,
    /// `additionalProperties` became stricter.
    ExtraRefused,
    /// `additionalProperties` became laxer.
    ExtraAllowed,
    /// A variant of a union is not covered any more.
    VariantRemoved,
    /// A union covers more.
    VariantAdded,
    /// Any other keyword that validates.
    ConstraintChanged,
    /// A validating keyword is gone.
    ConstraintDropped,
    /// An `x-…` keyword.
    ExtensionChanged,
}

impl Change {
    /// Every change there is: the table in `docs/parity.md`.
    pub const ALL: [Change; 20] = [
        Change::RequiredParameterAdded,
        Change::OptionalParameterAdded,
        Change::ParameterRemoved,
        Change::BecameRequired,
        Change::BecameOptional,
        Change::TypeChanged,
        Change::TypeNarrowed,
        Change::TypeWidened,
        Change::EnumNarrowed,
        Change::EnumWidened,
        Change::DefaultChanged,
        Change::BoundTightened,
        Change::BoundLoosened,
        Change::ExtraRefused,
        Change::ExtraAllowed,
        Change::VariantRemoved,
        Change::VariantAdded,
        Change::ConstraintChanged,
        Change::ConstraintDropped,
        Change::ExtensionChanged,
    ];

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::RequiredParameterAdded => "required parameter added",
            Change::OptionalParameterAdded => "optional parameter added",
            Change::ParameterRemoved => "parameter removed",
            Change::BecameRequired => "parameter became required",
            Change::BecameOptional => "parameter became optional",
            Change::TypeChanged => "type changed",
            Change::TypeNarrowed => "type narrowed",
            Change::TypeWidened => "type widened",
            Change::EnumNarrowed => "enum narrowed",
            Change::EnumWidened => "enum widened",
            Change::DefaultChanged => "default changed",
            Change::BoundTightened => "bound tightened",
            Change::BoundLoosened => "bound loosened",
            Change::ExtraRefused => "unknown parameters are refused now",
            Change::ExtraAllowed => "unknown parameters are allowed now",
            Change::VariantRemoved => "variant removed",
            Change::VariantAdded => "variant added",
            Change::ConstraintChanged => "constraint changed",
            Change::ConstraintDropped => "constraint dropped",
            Change::ExtensionChanged => "extension keyword changed",
        }
    }

    /// The break table.
    pub fn severity(self) -> Severity {
        match self {
            Change::RequiredParameterAdded
            | Change::ParameterRemoved
            | Change::BecameRequired
            | Change::TypeChanged
            | Change::TypeNarrowed
            | Change::EnumNarrowed
            | Change::DefaultChanged
            | Change::BoundTightened
            | Change::ExtraRefused
            | Change::VariantRemoved
            | Change::ConstraintChanged => Severity::Break,
            Change::OptionalParameterAdded
            | Change::BecameOptional
            | Change::TypeWidened
            | Change::EnumWidened
            | Change::BoundLoosened
            | Change::ExtraAllowed
            | Change::VariantAdded
            | Change::ConstraintDropped => Severity::Compatible,
            Change::ExtensionChanged => Severity::Note,
        }
    }
}
