//! What a unit of systemd and its drop-ins let a service connect to: `IPAddressAllow=`, `IPAddressDeny=`, `RestrictAddressFamilies=`.
//!
//! Must not know what wants to connect.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// What the service may connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnitNetwork {
    allowed: Vec<Network>,
    denied: Vec<Network>,
    families: Families,
}

/// An address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Families {
    #[default]
    All,
    Only(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

/// Where a service wants to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination<'d> {
    Address(IpAddr),
    /// It is not resolved here.
    Name(&'d str),
    UnixSocket,
}

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    Addresses,
    Families,
}

impl Obstacle {
    /// The settings of the unit that are meant.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Obstacle::Addresses => "IPAddressAllow=",
            Obstacle::Families => "RestrictAddressFamilies=",
        }
    }
}

impl UnitNetwork {
    /// That of an installed unit: the first file of its name counts, with the drop-ins of all folders in the order of their names.
    pub(super) fn installed(unit: &str, folders: &[&Path]) -> Option<UnitNetwork> {
        let text = folders.iter().find_map(|folder| std::fs::read_to_string(folder.join(unit)).ok())?;
        let mut drop_ins: Vec<PathBuf> = folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder.join(format!("{unit}.d"))).ok())
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
            .collect();
        drop_ins.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
        let mut network = UnitNetwork::default();
        network.read(&text);
        for path in drop_ins {
            // One that cannot be read is not known to forbid anything.
            network.read(&std::fs::read_to_string(path).unwrap_or_default());
        }
        Some(network)
    }

    fn read(&mut self, text: &str) {
        let text = text.replace("\\\n", " ");
        for (name, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            match name.trim_end() {
                "IPAddressAllow" => assign(&mut self.allowed, value),
                "IPAddressDeny" => assign(&mut self.denied, value),
                "RestrictAddressFamilies" => self.families.assign(value.trim()),
                _ => {}
            }
        }
    }

    /// What keeps the service from a destination, if anything does.
    pub(super) fn obstacle(&self, destination: Destination<'_>) -> Option<Obstacle> {
        const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let families = |address: &IpAddr| self.families.allow(family(address));
        match destination {
            Destination::UnixSocket => (!self.families.allow("AF_UNIX")).then_some(Obstacle::Families),
            Destination::Address(address) if !families(&address) => Some(Obstacle::Families),
            Destination::Address(address) => (!self.admits(address)).then_some(Obstacle::Addresses),
            Destination::Name(_) if !LOOPBACK.iter().any(families) => Some(Obstacle::Families),
            Destination::Name(name) if name.eq_ignore_ascii_case("localhost") => {
                (!LOOPBACK.into_iter().any(|address| self.admits(address))).then_some(Obstacle::Addresses)
            }
            Destination::Name(_) => (!self.admits_others()).then_some(Obstacle::Addresses),
        }
    }

    /// As systemd has it: what is allowed passes, then what is denied does not, and the rest passes.
    fn admits(&self, address: IpAddr) -> bool {
        let holds = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        holds(&self.allowed) || !holds(&self.denied)
    }

    /// Whether any address of another machine passes: that of a name may be one of those.
    fn admits_others(&self) -> bool {
        let denies_all = self.denied.iter().any(|network| network.bits == 0);
        !denies_all || self.allowed.iter().any(|network| !network.address.is_loopback())
    }
}

fn family(address: &IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "AF_INET",
        IpAddr::V6(_) => "AF_INET6",
    }
}

/// An empty value resets a list, any other adds to it.
fn assign(list: &mut Vec<Network>, value: &str) {
    if value.trim().is_empty() {
        list.clear();
    }
    list.extend(value.split_whitespace().flat_map(Network::of_word));
}

impl Network {
    /// The networks of one word of the setting; none where it is not understood.
    fn of_word(word: &str) -> Vec<Network> {
        let texts: &[&str] = match word {
            "any" => &["0.0.0.0/0", "::/0"],
            "localhost" => &["127.0.0.0/8", "::1"],
            "link-local" => &["169.254.0.0/16", "fe80::/64"],
            "multicast" => &["224.0.0.0/4", "ff00::/8"],
            _ => return Network::parse(word).into_iter().collect(),
        };
        texts.iter().filter_map(|text| Network::parse(text)).collect()
    }

    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        Some(Network { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let beyond = 32_u32.saturating_sub(self.bits);
                (own.to_bits() ^ other.to_bits()).checked_shr(beyond).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let beyond = 128_u32.saturating_sub(self.bits);
                (own.to_bits() ^ other.to_bits()).checked_shr(beyond).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Families {
    fn assign(&mut self, value: &str) {
        let (inverted, words) = match value.strip_prefix('~') {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let words: Vec<String> =
            words.split_whitespace().filter(|word| *word != "none").map(str::to_owned).collect();
        match (&mut *self, inverted) {
            (_, _) if value.is_empty() => *self = Families::All,
            (Families::All, false) => *self = Families::Only(words.into_iter().collect()),
            (Families::All, true) => *self = Families::AllBut(words.into_iter().collect()),
            (Families::Only(set), false) | (Families::AllBut(set), true) => set.extend(words),
            (Families::Only(set), true) | (Families::AllBut(set), false) => {
                set.retain(|word| !words.contains(word));
            }
        }
    }

    fn allow(&self, family: &str) -> bool {
        match self {
            Families::All => true,
            Families::Only(set) => set.contains(family),
            Families::AllBut(set) => !set.contains(family),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str =
        "IPAddressDeny=any\nIPAddressAllow=localhost\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n";

    #[track_caller]
    fn check(text: &str, destination: &str, expect: Option<Obstacle>) {
        let mut network = UnitNetwork::default();
        network.read(&format!("[Service]\n{text}"));
        let destination = match destination.parse() {
            Ok(address) => Destination::Address(address),
            Err(_) if destination == "unix" => Destination::UnixSocket,
            Err(_) => Destination::Name(destination),
        };
        assert_eq!(network.obstacle(destination), expect, "{text} {destination:?}");
    }

    #[test]
    fn what_a_unit_allows_is_reached_and_nothing_else() {
        let addresses = Some(Obstacle::Addresses);
        for here in ["127.0.0.2", "::1", "localhost", "LOCALHOST", "unix"] {
            check(SHIPPED, here, None);
        }
        for elsewhere in ["10.1.2.3", "2001:db8::1", "example.org"] {
            check(SHIPPED, elsewhere, addresses);
            check("", elsewhere, None);
            for opened in ["IPAddressAllow=any", "IPAddressDeny="] {
                check(&format!("{SHIPPED}{opened}"), elsewhere, None);
            }
        }
        let own_net = format!("{SHIPPED}IPAddressAllow=10.1.0.0/16 \\\n 2001:db8::/32\n");
        for (destination, expect) in [
            ("10.1.255.255", None),
            ("10.2.0.0", addresses),
            ("2001:db8:ffff::1", None),
            ("2001:db9::1", addresses),
            // Its addresses are not known.
            ("example.org", None),
        ] {
            check(&own_net, destination, expect);
        }
        check(&format!("{own_net}IPAddressAllow=\n"), "127.0.0.1", addresses);
        check(&format!("{own_net}IPAddressAllow=\n"), "localhost", addresses);
        check("IPAddressDeny=192.0.2.0/24", "192.0.2.7", addresses);
        check("IPAddressDeny=192.0.2.0/24", "192.0.3.7", None);
    }

    #[test]
    fn an_address_family_that_a_unit_restricts_is_not_reached() {
        let families = Some(Obstacle::Families);
        check("RestrictAddressFamilies=AF_UNIX", "127.0.0.1", families);
        check("RestrictAddressFamilies=AF_UNIX", "localhost", families);
        check("RestrictAddressFamilies=AF_UNIX", "unix", None);
        check("RestrictAddressFamilies=AF_UNIX\nRestrictAddressFamilies=AF_INET", "127.0.0.1", None);
        check("RestrictAddressFamilies=AF_INET", "::1", families);
        check("RestrictAddressFamilies=AF_INET", "example.org", None);
        check("RestrictAddressFamilies=~AF_INET6", "::1", families);
        check("RestrictAddressFamilies=none", "unix", families);
        check("RestrictAddressFamilies=none\nRestrictAddressFamilies=", "unix", None);
    }

    #[test]
    fn drop_ins_of_all_folders_count_in_the_order_of_their_names() {
        let (lib, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = Destination::Address("10.1.2.3".parse().unwrap());
        let obstacle = || {
            UnitNetwork::installed("a.service", &[etc.path(), lib.path()]).map(|unit| unit.obstacle(there))
        };
        assert_eq!(obstacle(), None, "without a unit nothing is known");
        std::fs::write(lib.path().join("a.service"), SHIPPED).unwrap();
        assert_eq!(obstacle(), Some(Some(Obstacle::Addresses)));
        for (folder, name, text, expect) in [
            (&lib, "10-open.conf", "IPAddressAllow=any\n", None),
            (&etc, "20-close.conf", "IPAddressAllow=\n", Some(Obstacle::Addresses)),
            (&etc, "30-note", "IPAddressAllow=any\n", Some(Obstacle::Addresses)),
            (&lib, "30-open.conf", "# IPAddressDeny=any\nIPAddressDeny=\n", None),
        ] {
            let drop_ins = folder.path().join("a.service.d");
            std::fs::create_dir_all(&drop_ins).unwrap();
            std::fs::write(drop_ins.join(name), text).unwrap();
            assert_eq!(obstacle(), Some(expect), "{name}");
        }
    }
}
