//! The families of issuers: set at each scrape from what is known of their keys.

use prometheus::IntGaugeVec;

use super::registration::Registration;
use crate::policy::identity::IssuerStatus;

/// The families.
pub(super) struct IssuerFamilies {
    keys: IntGaugeVec,
    reachable: IntGaugeVec,
    confirmed: IntGaugeVec,
}

impl IssuerFamilies {
    pub(super) fn new(add: &Registration<'_>) -> Result<IssuerFamilies, prometheus::Error> {
        Ok(IssuerFamilies {
            keys: add.gauges("mcp_guard_issuer_keys", "Usable keys of an issuer, by issuer.", &["issuer"])?,
            reachable: add.gauges(
                "mcp_guard_issuer_reachable",
                "Whether an issuer answered when its keys were last fetched (1) or not (0), by issuer.",
                &["issuer"],
            )?,
            confirmed: add.gauges(
                "mcp_guard_issuer_confirmed_timestamp_seconds",
                "When an issuer has last confirmed its keys, in seconds since the epoch, by issuer; absent for keys of a file.",
                &["issuer"],
            )?,
        })
    }

    /// Replaces what was known.
    pub(super) fn set(&self, issuers: &[IssuerStatus]) {
        for family in [&self.keys, &self.reachable, &self.confirmed] {
            family.reset();
        }
        for issuer in issuers {
            let label = [issuer.url.as_str()];
            self.keys.with_label_values(&label).set(i64::try_from(issuer.keys).unwrap_or(i64::MAX));
            self.reachable.with_label_values(&label).set(i64::from(issuer.reachable));
            if let Some(confirmed) = issuer.confirmed {
                self.confirmed.with_label_values(&label).set(i64::try_from(confirmed).unwrap_or(i64::MAX));
            }
        }
    }
}
