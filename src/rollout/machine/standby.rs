//! Which slot would serve in need, and whether a client is in the candidate's share: what an operator cannot see from numbers.
//!
//! Must not change anything.

use super::Rollout;
use crate::rollout::event::Health;

impl Rollout {
    /// Whether the configuration lets a slot that has never been stable stand by. It must speak what stable speaks, or the
    /// clients that use it would break.
    pub(in crate::rollout) fn stands_by(&self) -> bool {
        let other = self.state.candidate();
        let speaks = |slot| self.surface(slot).is_some_and(|surface| surface.modern);
        self.split_context.standby
            && !self.state.retired
            && self.known(other).configured
            && (speaks(other) || !speaks(self.state.stable))
    }

    /// Which slot stands by for stable, or why none does, as a sentence.
    pub(in crate::rollout) fn standby(&self) -> String {
        let (stable, other) = (self.state.stable, self.state.candidate());
        let (name, of) = (other.as_str(), stable.as_str());
        let none = |why: &str| format!("no slot stands by for {of}: {why}");
        if !self.known(other).configured {
            return none(&format!("{name} is not configured"));
        }
        let split = self.split();
        if split.ejected() == Some(stable) {
            return format!("{name} serves in place of {of}, which is not healthy");
        }
        if self.state.retired {
            return none(&format!("{name} was taken out of service (mcp-guard slots switch {name})"));
        }
        if self.planned().fallback(stable).is_none() {
            return match &self.state.run {
                Some(_) => none(&format!("{name} serves no client at this step")),
                None if self.split_context.standby => {
                    none(&format!("{name} does not speak what {of} speaks"))
                }
                None => {
                    none(&format!("{name} has not been stable (routing.standby = true lets it stand by)"))
                }
            };
        }
        match self.health(other) {
            Health::Healthy => format!("{name} stands by for {of}"),
            Health::Unhealthy(_) => none(&format!("{name} is not healthy")),
            Health::Unknown => none(&format!("{name} has not been probed often enough")),
        }
    }

    /// Says so where no client is in the candidate's share, as a sentence.
    pub fn empty_share(&self) -> Option<String> {
        let clients = &self.split_context.clients;
        let split = self.planned();
        let serves = split.candidate_weight().get() > 0 && !clients.is_empty();
        let candidate = self.state.candidate();
        let inside = |name: &str, key: &str| split.assign(name.as_bytes(), key.as_bytes()) == candidate;
        (serves && !clients.iter().any(|client| inside(&client.name, &client.key))).then(|| {
            format!(
                "none of the {} clients is in this share; name some under [clients] candidate",
                clients.len()
            )
        })
    }
}
