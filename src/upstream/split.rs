//! The slots and the split: an immutable value that a request reads once, when it is admitted.

/// A place where a backend lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    Blue,
    Green,
}

impl Slot {
    /// Both slots, in the order they are shown.
    pub const ALL: [Slot; 2] = [Slot::Blue, Slot::Green];

    /// The name in config, metrics and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::Blue => "blue",
            Slot::Green => "green",
        }
    }

    /// The other slot.
    pub fn other(self) -> Slot {
        match self {
            Slot::Blue => Slot::Green,
            Slot::Green => Slot::Blue,
        }
    }
}

/// Which slot a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    stable: Slot,
}

impl Split {
    /// All traffic to one slot.
    pub fn all(stable: Slot) -> Split {
        Split { stable }
    }

    /// The slot that serves by default and is rolled back to.
    pub fn stable(&self) -> Slot {
        self.stable
    }

    /// The slot for this key (the client's name, or the request id).
    pub fn pick(&self, key: &[u8]) -> Slot {
        let _ = key;
        self.stable
    }
}
