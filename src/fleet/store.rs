//! The store of `[fleet]` as `mcp-fleet` takes it.

use std::time::Duration;

use mcp_fleet::{FleetName, RedisStore, StoreAddress, StoreError, Topology};

use crate::config::fleet::{self, FleetStore};

/// How long a connection may take to begin.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The store of this fleet; connects with its first exchange, each of which may take so long.
pub(crate) fn open(
    name: FleetName,
    store: &FleetStore,
    response_timeout: Duration,
) -> Result<RedisStore, StoreError> {
    let topology = match &store.topology {
        fleet::Topology::Single => Topology::Single,
        fleet::Topology::Sentinel { primary } => Topology::Sentinel { primary: primary.clone() },
        fleet::Topology::Cluster => Topology::Cluster,
    };
    let address = StoreAddress {
        urls: store.urls.iter().map(|url| url.text.0.clone()).collect(),
        topology,
        ca: store.ca.as_ref().map(|text| text.clone().into_bytes()),
        connect_timeout: CONNECT_TIMEOUT,
        response_timeout,
    };
    RedisStore::new(name, address)
}
