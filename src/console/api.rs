//! The paths of the interface, and what each one responds. `openapi.json` describes exactly these.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::body::Body;
use super::document;
use super::feed::{Feed, last_seq};
use super::order::{Order, OrderKind};
use super::problem::Problem;
use super::query;
use super::service::value_of;
use super::who::with_role;
use crate::admin::{AdminCommand, AdminResponse};
use crate::config::console::{Person, Role};
use crate::telemetry::metrics::ConsoleRefusal;
use crate::upstream::Slot;

const BODY_BYTES_MAX: usize = 16 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a path and method lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Page,
    OpenApi,
    Status,
    Slots,
    Tools,
    Clients,
    Rollout,
    Fleet,
    History,
    ShadowDiff,
    Series,
    Drawing,
    Events,
    Order(OrderKind),
}

/// Every path with its method. The last two are the rollback procedure's own spellings.
const TABLE: [(&str, Method, Endpoint); 22] = [
    ("/", Method::GET, Endpoint::Page),
    ("/api/v1/openapi.json", Method::GET, Endpoint::OpenApi),
    ("/api/v1/status", Method::GET, Endpoint::Status),
    ("/api/v1/slots", Method::GET, Endpoint::Slots),
    ("/api/v1/tools", Method::GET, Endpoint::Tools),
    ("/api/v1/clients", Method::GET, Endpoint::Clients),
    ("/api/v1/rollout", Method::GET, Endpoint::Rollout),
    ("/api/v1/fleet", Method::GET, Endpoint::Fleet),
    ("/api/v1/history", Method::GET, Endpoint::History),
    ("/api/v1/shadow/diff", Method::GET, Endpoint::ShadowDiff),
    ("/api/v1/series", Method::GET, Endpoint::Series),
    ("/api/v1/series.svg", Method::GET, Endpoint::Drawing),
    ("/api/v1/events", Method::GET, Endpoint::Events),
    ("/api/v1/rollout/start", Method::POST, Endpoint::Order(OrderKind::Start)),
    ("/api/v1/rollout/pause", Method::POST, Endpoint::Order(OrderKind::Pause)),
    ("/api/v1/rollout/resume", Method::POST, Endpoint::Order(OrderKind::Resume)),
    ("/api/v1/rollout/promote", Method::POST, Endpoint::Order(OrderKind::Promote)),
    ("/api/v1/rollout/rollback", Method::POST, Endpoint::Order(OrderKind::Rollback)),
    ("/api/v1/slots/switch", Method::POST, Endpoint::Order(OrderKind::Switch)),
    ("/api/v1/slots/retire", Method::POST, Endpoint::Order(OrderKind::Retire)),
    ("/api/v1/apil/status", Method::GET, Endpoint::Rollout),
    ("/api/v1/apil/rollback", Method::POST, Endpoint::Order(OrderKind::Rollback)),
];

/// The response to a request of this person at this address.
pub(super) async fn respond(
    request: Request<Incoming>,
    person: Result<Person, ConsoleRefusal>,
    peer: IpAddr,
    feed: &Arc<Feed>,
) -> Result<Response<Body>, Problem> {
    let endpoint = find(request.uri().path(), request.method())?;
    let may = |needed| {
        person.and_then(|person| with_role(person, needed)).map_err(|refusal| feed.refuse(refusal, peer))
    };
    match endpoint {
        // Neither holds anything of this guard.
        Endpoint::Page => return Ok(document::page()),
        Endpoint::OpenApi => return Ok(document::openapi()),
        Endpoint::Order(kind) => {
            let person = may(Role::Operator)?;
            return order(kind, request, (&person, peer), feed).await;
        }
        Endpoint::Status
        | Endpoint::Slots
        | Endpoint::Tools
        | Endpoint::Clients
        | Endpoint::Rollout
        | Endpoint::Fleet
        | Endpoint::History
        | Endpoint::ShadowDiff
        | Endpoint::Series
        | Endpoint::Drawing
        | Endpoint::Events => {}
    }
    let person = may(Role::Viewer)?;
    if endpoint == Endpoint::Events {
        let after = request.headers().get(&LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        return feed.subscribe(person, after).await;
    }
    read(endpoint, request.uri().query(), &person, feed).await
}

fn find(path: &str, method: &Method) -> Result<Endpoint, Problem> {
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let mut of_path = TABLE.iter().filter(|(known, ..)| *known == path).peekable();
    if of_path.peek().is_none() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "see /api/v1/openapi.json for what there is"));
    }
    let found = of_path.find(|(_, method, _)| method == wanted);
    found.map(|(.., endpoint)| *endpoint).ok_or_else(|| {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "see /api/v1/openapi.json for the method of this path")
    })
}

/// What there is to see.
async fn read(
    endpoint: Endpoint,
    query: Option<&str>,
    person: &Person,
    feed: &Arc<Feed>,
) -> Result<Response<Body>, Problem> {
    let ask = async |command| feed.service.ask(command, &person.name).await;
    match endpoint {
        Endpoint::Status => found(ask(AdminCommand::Status).await?),
        Endpoint::Rollout => found(ask(AdminCommand::Rollout).await?),
        Endpoint::Fleet => Ok(ok(&json!({ "fleet": value_of(ask(AdminCommand::Fleet).await?)? }))),
        Endpoint::History => found(ask(AdminCommand::History).await?),
        Endpoint::ShadowDiff => found(ask(AdminCommand::Shadow { show_arguments: false }).await?),
        Endpoint::Slots => {
            let (status, rollout) = (ask(AdminCommand::Status).await?, ask(AdminCommand::Rollout).await?);
            let latest = feed.latest();
            let releases = feed.releases().await;
            Ok(ok(&json!({ "slots": slots(&status, &rollout, &releases), "latest": latest })))
        }
        Endpoint::Tools => Ok(ok(&json!({ "tools": feed.tools() }))),
        Endpoint::Clients => {
            let tokens = ask(AdminCommand::Tokens).await?;
            Ok(ok(&json!({ "clients": feed.clients(), "tokens": value_of(tokens)? })))
        }
        Endpoint::Series => Ok(ok(&feed.picture(&query::view(query)?))),
        Endpoint::Drawing => Ok(document::drawing(feed.drawing(&person.name).await?)),
        Endpoint::Page | Endpoint::OpenApi | Endpoint::Events | Endpoint::Order(_) => {
            Err(Problem::internal("this path is served elsewhere"))
        }
    }
}

/// Every view of each slot in one object.
fn slots(status: &AdminResponse, rollout: &AdminResponse, releases: &BTreeMap<Slot, String>) -> Vec<Value> {
    let (AdminResponse::Status(status), AdminResponse::Rollout(report)) = (status, rollout) else {
        return Vec::new();
    };
    let of_proxy = |slot| status.slots.iter().find(|one| one.slot == slot);
    let all = report.status.slots.iter();
    all.map(|report| {
        let slot = report.slot;
        json!({ "slot": slot, "report": report, "connections": of_proxy(slot), "release": releases.get(&slot) })
    })
    .collect()
}

async fn order(
    kind: OrderKind,
    request: Request<Incoming>,
    (person, peer): (&Person, IpAddr),
    feed: &Arc<Feed>,
) -> Result<Response<Body>, Problem> {
    let fields = request.headers();
    let is_json =
        fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
            value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
    if !is_json {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json"));
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(Problem::malformed(format!("the body cannot be read: {error}"))),
        Err(_late) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly")),
    };
    let Order { command, reason, expected_seq } = Order::read(kind, &body)?;
    let (name, words) = (&person.name, command.as_str());
    let who = format!("{name} at the console: {reason}");
    let done = match must_be_last(expected_seq, &person.name, feed).await {
        Ok(()) => feed.service.ask(command, &who).await,
        Err(problem) => Err(problem),
    };
    match &done {
        Ok(_) => log::info!("console: command={words} by={name} from={peer} done, reason: {reason}"),
        Err(problem) => {
            log::warn!("console: command={words} by={name} from={peer} refused: {}", problem.detail());
        }
    }
    found(done?)
}

/// Refuses what was decided before the last transition, where the order names the one it was decided after.
async fn must_be_last(expected: Option<u64>, who: &str, feed: &Arc<Feed>) -> Result<(), Problem> {
    let Some(expected) = expected else { return Ok(()) };
    let rollout = feed.service.ask(AdminCommand::Rollout, who).await?;
    match last_seq(&rollout) {
        last if last == expected => Ok(()),
        last => Err(Problem::refused(format!(
            "expected_seq: {expected} is not the last transition, which is {last}: look again, then order"
        ))),
    }
}

fn found(response: AdminResponse) -> Result<Response<Body>, Problem> {
    value_of(response).map(|value| ok(&value))
}

fn ok(value: &impl Serialize) -> Response<Body> {
    // Plain data with text keys: serialising it cannot fail.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::fleet_report::{CandidateState, FleetReport, MemberReport};

    // "`/api/v1/openapi.json` is OpenAPI 3.1 and describes exactly this."
    #[test]
    fn the_description_names_exactly_what_is_served() {
        let described: Value = serde_json::from_str(document::OPENAPI).unwrap();
        assert!(described["openapi"].as_str().unwrap().starts_with("3.1."));
        let mut named = BTreeSet::new();
        for (path, methods) in described["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                named.insert((path.clone(), method.to_uppercase()));
            }
        }
        let served: BTreeSet<(String, String)> =
            TABLE.iter().map(|(path, method, _)| ((*path).to_owned(), method.to_string())).collect();
        assert_eq!(named, served);
    }

    // What a guard of a fleet says has the fields that are described, and no others.
    #[test]
    fn the_description_of_a_fleet_names_every_field() {
        let described: Value = serde_json::from_str(document::OPENAPI).unwrap();
        let report = FleetReport {
            name: "prod".to_owned(),
            member: "a".to_owned(),
            store_silent_ms: None,
            store_away: false,
            store_problem: None,
            generation: 1,
            leader: None,
            live: 1,
            known: 1,
            candidate: CandidateState::CatchingUp,
            holds: Vec::new(),
            members: vec![MemberReport {
                member: "a".to_owned(),
                version: "0.1.0".to_owned(),
                configuration: "plan=1".to_owned(),
                generation: 1,
                silent_ms: 0,
                slots: Vec::new(),
                ejected: None,
                clock_off_ms: None,
            }],
        };
        let value = serde_json::to_value(report).unwrap();
        let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
        for (name, value) in [("Fleet", &value), ("FleetMember", &value["members"][0])] {
            let schema = &described["components"]["schemas"][name];
            assert_eq!(fields(&schema["properties"]), fields(value), "{name}");
            assert_eq!(schema["required"].as_array().unwrap().len(), fields(value).len(), "{name}");
        }
        let states = &described["components"]["schemas"]["Fleet"]["properties"]["candidate"]["enum"];
        assert!(states.as_array().unwrap().contains(&value["candidate"]));
    }

    #[test]
    fn a_path_has_its_method_and_no_other() {
        assert_eq!(find("/", &Method::GET).unwrap(), Endpoint::Page);
        assert_eq!(find("/api/v1/status", &Method::HEAD).unwrap(), Endpoint::Status);
        let status = |path, method| find(path, &method).unwrap_err().status.as_u16();
        assert_eq!(status("/api/v1/status", Method::POST), 405);
        assert_eq!(status("/api/v1/rollout/start", Method::GET), 405);
        assert_eq!(status("/api/v1/status/", Method::GET), 404);
        assert_eq!(status("/api/v1/../v1/status", Method::GET), 404);
    }
}
