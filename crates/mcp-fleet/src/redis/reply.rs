//! The script's response as a reply. Nothing in it is trusted to have the right form.

use redis::Value;

use crate::envelope::Stamp;
use crate::names::{Incarnation, MemberId};
use crate::request::{Carried, LeaderLease, Reply, StoreError, Written};

/// Reads the response to a request with so many shares.
pub(super) fn reply(value: Value, shares: usize) -> Result<Reply, StoreError> {
    let Value::Array(fields) = value else { return Err(StoreError::Invalid("not a list")) };
    let mut fields = fields.into_iter();
    let now = number(fields.next())?;
    let carried = match &text(fields.next())?[..] {
        b"out" => Carried::Out,
        b"settling" => Carried::Settling,
        b"late" => Carried::Late,
        _ => return Err(StoreError::Invalid("neither carried out nor late")),
    };
    let epoch = number(fields.next())?;
    let leader = text(fields.next())?;
    let incarnation = Incarnation::from_store(number(fields.next())?);
    let left = number(fields.next())?;
    // A name that is none is no leader.
    let leader = str::from_utf8(&leader).ok().and_then(|name| MemberId::new(name).ok());
    let leader = leader.map(|member| LeaderLease { member, incarnation, left });
    let generation = number(fields.next())?;
    let stamp = Stamp {
        generation,
        epoch: number(fields.next())?,
        writer: Incarnation::from_store(number(fields.next())?),
    };
    let sealed = text(fields.next())?;
    let written = match &text(fields.next())?[..] {
        b"" => Written::Nothing,
        b"done" => Written::Done,
        b"refused" => Written::Refused,
        _ => return Err(StoreError::Invalid("neither written nor refused")),
    };
    let (live, known) = (number(fields.next())?, number(fields.next())?);
    let records_until = number(fields.next())?;
    let members = pairs(fields.next())?;
    let members =
        members.into_iter().filter_map(|(member, silent)| Some((member, digits(&silent)?))).collect();
    let records = pairs(fields.next())?;
    let granted: Vec<u64> =
        list(fields.next())?.into_iter().map(|share| number(Some(share))).collect::<Result<_, _>>()?;
    if granted.len() != shares && carried != Carried::Late {
        return Err(StoreError::Invalid("another number of shares"));
    }
    let sealed = (!sealed.is_empty()).then_some(sealed);
    let shares = granted;
    Ok(Reply {
        now,
        carried,
        epoch,
        leader,
        stamp,
        sealed,
        written,
        live,
        known,
        members,
        records,
        records_until,
        shares,
    })
}

fn list(value: Option<Value>) -> Result<Vec<Value>, StoreError> {
    match value {
        Some(Value::Array(values)) => Ok(values),
        _ => Err(StoreError::Invalid("a list is missing")),
    }
}

/// Names of members, each with a value; names that are none are left out.
fn pairs(value: Option<Value>) -> Result<Vec<(MemberId, Vec<u8>)>, StoreError> {
    let values = list(value)?;
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        let (name, value) = (text(Some(name))?, text(Some(value))?);
        if let Some(member) = str::from_utf8(&name).ok().and_then(|name| MemberId::new(name).ok()) {
            pairs.push((member, value));
        }
    }
    Ok(pairs)
}

fn text(value: Option<Value>) -> Result<Vec<u8>, StoreError> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        _ => Err(StoreError::Invalid("a text is missing")),
    }
}

fn number(value: Option<Value>) -> Result<u64, StoreError> {
    digits(&text(value)?).ok_or(StoreError::Invalid("not a number"))
}

fn digits(bytes: &[u8]) -> Option<u64> {
    str::from_utf8(bytes).ok()?.parse().ok()
}
