//! A guard in a fleet: limits that hold over all guards, and one rollout for all of them, agreed on through a store.
//!
//! `mcp-fleet` has the agreement; here it is put to use. Must not decide about rollouts, nor know how calls are served.

mod kept;
mod limits;
mod member;
mod report;
pub(crate) mod store;
mod tally_window;
mod words;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mcp_fleet::{
    FleetKey, FleetName, Identity, Incarnation, Limits, Member, MemberId, Moment, RedisStore, Settings,
};

pub(crate) use self::limits::LeasedRates;
use self::member::FleetMember;
use crate::config::fleet as config;
use crate::control::fleet::JoinFleet;
use crate::control::state_file::Followed;

/// What is needed to join a fleet, checked.
pub(crate) struct Membership {
    name: FleetName,
    member: MemberId,
    key: FleetKey,
    store: config::FleetStore,
    settings: Settings,
    limits: Limits,
    base: Instant,
}

impl Membership {
    /// From the configuration. These limits are counted with the others; moments count from `base`.
    ///
    /// # Errors
    /// Says which key is wrong, and how.
    pub(crate) fn new(config: &config::Fleet, limits: Limits, base: Instant) -> Result<Membership, String> {
        let key = FleetKey::new(config.key.0.as_bytes()).map_err(|error| format!("fleet.key: {error}"))?;
        Ok(Membership {
            name: FleetName::new(&config.name).map_err(|error| format!("fleet.name: {error}"))?,
            member: MemberId::new(&config.member).map_err(|error| format!("fleet.member: {error}"))?,
            key,
            store: config.store.clone(),
            settings: Settings::default(),
            limits,
            base,
        })
    }

    /// How the control plane joins. Each time it does is another start of this member.
    ///
    /// # Errors
    /// Says what is wrong with the store's address.
    pub(crate) fn join(self) -> Result<JoinFleet, String> {
        self.store()?;
        Ok(Box::new(move |followed| Ok(Box::new(self.member(followed)?))))
    }

    fn store(&self) -> Result<RedisStore, String> {
        store::open(self.name.clone(), &self.store, self.settings.response_timeout)
            .map_err(|error| format!("fleet.store: {error}"))
    }

    fn member(&self, followed: Option<Followed>) -> Result<FleetMember, String> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let incarnation = Incarnation::new(u64::try_from(started.as_micros()).unwrap_or(u64::MAX));
        let identity = Identity {
            fleet: self.name.clone(),
            key: self.key.clone(),
            member: self.member.clone(),
            incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: String::new(),
        };
        let kept = kept::kept(followed, self.name.as_str());
        let now = Moment::after_start(self.base.elapsed());
        let member = Member::new(self.settings.clone(), identity, kept, self.limits.clone(), now);
        let speaks = (self.store()?, self.settings.sync_interval);
        Ok(FleetMember::new(self.name.as_str().to_owned(), self.member.clone(), member, speaks, self.base))
    }
}
