//! A request as the script's keys and arguments.

use std::time::Duration;

use crate::envelope::Stamp;
use crate::names::FleetName;
use crate::request::{Candidacy, Request, Write};

/// Keys and arguments of one call of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) keys: Vec<String>,
    pub(super) values: Vec<Vec<u8>>,
}

/// The bytes of a request on the wire: every value with its length.
#[cfg(test)]
pub(crate) fn request_bytes(fleet: &FleetName, request: &Request) -> usize {
    let arguments = arguments(fleet, request);
    let keys: usize = arguments.keys.iter().map(|key| key.len() + 6).sum();
    let values: usize = arguments.values.iter().map(|value| value.len() + 6).sum();
    // The command, the script's name and the number of keys.
    keys + values + 75
}

/// Puts a request down for the script, in the order that it reads.
pub(super) fn arguments(fleet: &FleetName, request: &Request) -> Arguments {
    // One hash tag: all keys of a fleet lie on one node of a cluster.
    let key = |name: &str| format!("{{mcp-fleet:{}}}:{name}", fleet.as_str());
    let mut keys: Vec<String> = ["head", "seen", "order", "starts", "records"].map(key).to_vec();
    keys.extend(request.shares.iter().map(|share| key(&format!("limit:{}", share.limit))));
    let terms = request.terms;
    let mut values: Vec<Vec<u8>> = vec![
        request.member.as_str().into(),
        number(request.incarnation.get()),
        number(request.id.0),
        millis(terms.leader_lease),
        millis(terms.share_lease),
        millis(terms.forget_after),
        millis(terms.settle),
        number(request.epoch),
    ];
    values.extend(stamp(request.seen));
    values.push(candidacy(request.candidacy).into());
    values.push(request.records_since.map(number).unwrap_or_default());
    values.extend(write(&request.write));
    values.push(request.record.clone().unwrap_or_default());
    values.push(number(request.known));
    values.push(request.leads.map(number).unwrap_or_default());
    values.push(millis(request.silent));
    for share in &request.shares {
        values.extend([number(share.rate), number(share.demand), number(share.holds)]);
    }
    Arguments { keys, values }
}

/// Kind, stamp and value of what is written, the writer's epoch, and the stamp that it replaces: nine values.
fn write(write: &Write) -> Vec<Vec<u8>> {
    let (kind, published, epoch, instead_of) = match write {
        Write::Nothing => ("", None, 0, Stamp::default()),
        Write::Offer(published) => ("offer", Some(published), 0, Stamp::default()),
        Write::Publish { epoch, instead_of, published } => ("publish", Some(published), *epoch, *instead_of),
    };
    let mut values = vec![kind.into()];
    values.extend(stamp(published.map(|published| published.stamp).unwrap_or_default()));
    values.push(published.map(|published| published.sealed.clone()).unwrap_or_default());
    values.push(number(epoch));
    values.extend(stamp(instead_of));
    values
}

fn stamp(stamp: Stamp) -> [Vec<u8>; 3] {
    [number(stamp.generation), number(stamp.epoch), number(stamp.writer.get())]
}

fn candidacy(candidacy: Candidacy) -> &'static str {
    match candidacy {
        Candidacy::Ready => "ready",
        Candidacy::Abstains => "abstains",
        Candidacy::Leaves => "leaves",
    }
}

fn number(value: u64) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn millis(span: Duration) -> Vec<u8> {
    span.as_millis().to_string().into_bytes()
}
