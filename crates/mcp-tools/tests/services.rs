//! Tools that call a service: where the call goes, what it carries, and what every kind of response becomes.

use std::net::TcpListener;

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::program::{start, start_in};
use crate::service::Service;
use crate::surface::block;

const SENT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nMessage sent";
const WORKERS: &str = r#"[{"nworkers": 3, "status": "running", "computingsite": "A", "resourcetype": "SCORE"},
    {"nworkers": 2, "status": "running", "computingsite": "B", "resourcetype": null}, {"nworkers": 4, "status": "submitted", "computingsite": "B"}]"#;

fn ok(body: &str) -> &'static str {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).leak()
}

/// Takes the moments of the call out, which must be two within this test, `hours` apart.
fn without_window(line: &str, hours: i64) -> String {
    let (path, query) = line.split_once('?').expect("a query");
    let mut moments = Vec::new();
    let kept = query.split_inclusive(['&', ' ']).filter(|part| {
        let moment = part.strip_prefix("lastupdate_from=").or(part.strip_prefix("lastupdate_to="));
        let moment = moment.map(|moment| moment.trim_end_matches(['&', ' ']));
        moments.extend(moment.map(|moment| moment.replace("%3A", ":").replace("%2B", "+")));
        moment.is_none()
    });
    let kept = kept.collect::<String>();
    let moments: Vec<jiff::Timestamp> =
        moments.iter().map(|moment| moment.parse().expect("a moment")).collect();
    assert_eq!(moments[1].as_microsecond() - moments[0].as_microsecond(), hours * 3_600_000_000);
    assert!(moments[1].duration_until(jiff::Timestamp::now()).as_secs() < 60);
    format!("{path}?{kept}")
}

fn with(variable: &str, url: &str) -> ToolServer {
    let home = tempfile::tempdir().expect("a directory");
    start_in(home, &[], &[(variable, url), ("MCP_TOOLS_ACTIVEMQ_AUTHORIZATION", "Basic c2VjcmV0")])
}

const ACTIVEMQ: &str = "MCP_TOOLS_ACTIVEMQ_URL";
const MONITOR: &str = "MCP_TOOLS_PANDA_MONITOR_URL";

#[test]
fn an_action_is_sent_to_its_queue_with_typed_values_and_nothing_that_was_not_given() {
    let service = Service::responding(SENT);
    let server = with(ACTIVEMQ, &format!("{}/broker/", service.url));
    let result = server.call(
        "swf_start_workflow",
        json!({ "workflow_name": "stf \"x\"", "namespace": "torre1", "realtime": false, "stf_interval": 0.5 }),
    );
    assert_eq!(
        block(&result),
        json!({ "success": true, "message": "The start of a workflow was requested.", "workflow_name": "stf \"x\"", "namespace": "torre1",
            "config": "fast_processing_default", "realtime": false })
    );
    let asked = service.next();
    assert_eq!(asked.line, "POST /broker/api/message/workflow_control?type=queue HTTP/1.1");
    assert!(asked.head.contains("authorization: Basic c2VjcmV0\r\n"), "{}", asked.head);
    let mut body: Value = serde_json::from_str(&asked.body).expect("JSON");
    let sent = body.as_object_mut().and_then(|body| body.remove("timestamp")).expect("a timestamp");
    assert!(sent.as_str().is_some_and(|sent| sent.parse::<jiff::Timestamp>().is_ok()), "{sent}");
    assert_eq!(
        body,
        json!({ "msg_type": "run_workflow", "source": "mcp", "workflow_name": "stf \"x\"", "namespace": "torre1", "config": "fast_processing_default",
            "realtime": false, "duration": 0, "params": { "namespace": "torre1", "stf_interval": 0.5 } })
    );
}

// A runner takes a command of its own namespace, or of none: one without it would start a run in any testbed.
#[test]
fn a_run_is_never_started_without_its_namespace() {
    let service = Service::responding(SENT);
    let server = with(ACTIVEMQ, &service.url);
    let told = block(&server.call("swf_start_workflow", json!({})));
    assert_eq!(told, json!({ "error": "Please give namespace: it is needed here." }));
    server.call("swf_start_workflow", json!({ "namespace": "torre1" }));
    let body: Value = serde_json::from_str(&service.next().body).expect("JSON");
    assert_eq!((&body["workflow_name"], &body["realtime"]), (&json!("stf_datataking"), &json!(true)));
}

#[test]
fn a_message_to_all_goes_to_the_topic_with_its_metadata() {
    let service = Service::responding(SENT);
    let server = with(ACTIVEMQ, &service.url);
    let result =
        server.call("swf_send_message", json!({ "message": "hi {there}", "metadata": { "a": [1, "{b}"] } }));
    assert_eq!(block(&result)["message_type"], "announcement");
    let asked = service.next();
    assert_eq!(asked.line, "POST /api/message/epictopic?type=topic HTTP/1.1");
    let body: Value = serde_json::from_str(&asked.body).expect("JSON");
    assert_eq!((&body["message"], &body["metadata"]), (&json!("hi {there}"), &json!({ "a": [1, "{b}"] })));
}

const PATHS: &str = r#"
[service.s]
base_url_env = "MCP_TOOLS_ACTIVEMQ_URL"
[[tool]]
name = "open"
description = "d"
read_only = false
params.username = { type = "string" }
[tool.http]
service = "s"
method = "POST"
path = "/api/message/agent_control.{username}"
query = { type = "queue" }
"#;

#[test]
fn no_argument_leads_out_of_its_place_in_the_path_or_the_query() {
    let service = Service::responding(SENT);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("paths.toml");
    std::fs::write(&file, PATHS).expect("writes");
    let file = file.display().to_string();
    let server = start_in(home, &["--catalog", &file], &[(ACTIVEMQ, &service.url)]);
    for (username, place) in [
        ("tom", "tom"),
        ("../admin", "..%2Fadmin"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("x\r\nHost: evil", "x%0D%0AHost%3A%20evil"),
        ("\u{fc}%2f", "%C3%BC%252f"),
    ] {
        server.call("open", json!({ "username": username }));
        let expected = format!("POST /api/message/agent_control.{place}?type=queue HTTP/1.1");
        assert_eq!(service.next().line, expected);
    }
    for username in [json!(null), json!(""), json!("."), json!("..")] {
        let told = block(&server.call("open", json!({ "username": username })));
        assert!(told["error"].as_str().is_some_and(|told| told.contains("username")), "{told}");
    }

    let monitor = Service::responding(ok(WORKERS));
    let server = with(MONITOR, &monitor.url);
    server.call("panda_harvester_workers", json!({ "site": "A&b=c" }));
    assert_eq!(
        without_window(&monitor.next().line, 1),
        "GET /harvester/getworkerstats/?computingsite=A%26b%3Dc HTTP/1.1"
    );
    server.call("panda_harvester_workers", json!({ "hours": 6 }));
    assert_eq!(without_window(&monitor.next().line, 6), "GET /harvester/getworkerstats/?HTTP/1.1");
}

#[test]
fn records_of_a_service_are_added_up() {
    let monitor = Service::responding(ok(WORKERS));
    let server = with(MONITOR, &monitor.url);
    let mut told = block(&server.call("panda_harvester_workers", json!({})));
    told.as_object_mut().and_then(|told| told.remove("time_window")).expect("a time window");
    assert_eq!(
        told,
        json!({ "total": 9, "by_status": { "running": 5, "submitted": 4 }, "by_site": { "A": 3, "B": 6 },
            "by_resourcetype": { "SCORE": 3, "unknown": 6 } })
    );
    let broken = Service::responding(ok("{\"error\": \"no\"}"));
    let result = with(MONITOR, &broken.url).call("panda_harvester_workers", json!({}));
    assert_eq!(result["isError"], json!(true));
    assert_eq!(
        result["content"][0]["text"],
        "panda_monitor responded with something else than a list of records"
    );
    let far = server.call("panda_harvester_workers", json!({ "hours": i64::MAX }));
    assert!(block(&far)["error"].as_str().is_some_and(|told| told.contains("hours")), "{far}");
}

// ActiveMQ, Composite Destinations: "use , to separate destinations"; Wildcards: "." separates, "*" and ">" match.
#[test]
fn a_name_of_a_destination_holds_nothing_a_broker_could_read_as_two() {
    let service = Service::responding(SENT);
    let server = with(ACTIVEMQ, &service.url);
    let hostile = [
        "bob,workflow_control",
        "bob,topic://epictopic",
        "bob?consumer.exclusive=true",
        "*",
        "bob.>",
        "bob/../admin",
        "bob\nadmin",
        "b\u{f6}b",
        "",
        " bob",
        &"b".repeat(65),
    ];
    let refused = |tool: &str, arguments: Value, name: &str| {
        let result = server.call(tool, arguments);
        let told = block(&result)["error"].as_str().unwrap_or_default().to_owned();
        assert!(told.starts_with(name) && told.contains("must match ^["), "{result}");
    };
    for value in hostile {
        refused("swf_stop_user_testbed", json!({ "username": value }), "username");
        refused("swf_start_user_testbed", json!({ "username": value }), "username");
    }
    for value in ["../../etc/passwd", "a/b", ".hidden", "a b"] {
        refused("swf_start_user_testbed", json!({ "username": "bob", "config_name": value }), "config_name");
        refused("swf_start_workflow", json!({ "namespace": "n", "config": value }), "config");
    }
    server.call("swf_stop_user_testbed", json!({ "username": "bob.O-Neil_2" }));
    // Only the last call was sent.
    assert_eq!(service.next().line, "POST /api/message/agent_control.bob.O-Neil_2?type=queue HTTP/1.1");
    assert!(service.asked.try_recv().is_err());
}

#[test]
fn every_argument_in_a_path_of_the_shipped_catalogue_has_a_pattern() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/tools");
    let mut paths = 0;
    for file in std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()) {
        let Some("toml") = file.extension().and_then(|kind| kind.to_str()) else { continue };
        let text = std::fs::read_to_string(&file).expect("reads");
        let catalogue: toml::Table = toml::from_str(&text).expect("TOML");
        for tool in catalogue.get("tool").and_then(toml::Value::as_array).into_iter().flatten() {
            let Some(path) = tool.get("http").and_then(|http| http["path"].as_str()) else { continue };
            for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                paths += 1;
                let pattern = tool["http"].get("patterns").and_then(|patterns| patterns.get(name));
                assert!(pattern.is_some(), "{}: {} has no pattern for {name}", file.display(), tool["name"]);
            }
        }
    }
    assert!(paths >= 2, "the shipped catalogue has paths with arguments: {paths}");
}

#[test]
fn a_service_that_is_not_configured_is_named_in_band() {
    let server = start(&[]);
    let result = server.call("swf_stop_workflow", json!({ "execution_id": "e" }));
    assert_eq!(result["isError"], json!(false));
    let told = block(&result);
    assert_eq!(
        told["error"],
        "This tool needs the service activemq, which is not configured: the operator of mcp-tools must set MCP_TOOLS_ACTIVEMQ_URL to its base URL."
    );
    let killed = server.call("swf_kill_agent", json!({ "name": "daq" }));
    assert_eq!(killed["isError"], json!(true));
    assert!(killed["content"][0]["text"].as_str().is_some_and(|told| told.contains("Nothing was done")));
}

#[track_caller]
fn check(response: &'static str, told: &str) {
    let service = Service::responding(response);
    let server = with(ACTIVEMQ, &service.url);
    let result = server.call("swf_stop_workflow", json!({ "execution_id": "e" }));
    assert_eq!((result["isError"].clone(), result["content"][0]["text"].clone()), (json!(true), json!(told)));
}

#[test]
fn every_refusal_of_a_service_becomes_an_error_that_says_what_may_have_happened() {
    check(
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "activemq refused this server's credentials",
    );
    check(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "activemq did not accept the call (status 404)",
    );
    check(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "activemq redirected the call; redirects are not followed",
    );
    let doubt = "whether it was carried out is unknown, check before you repeat it";
    let told = format!("activemq failed with status 500; {doubt}");
    check("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nsecret", &told);
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        &format!("the connection to activemq broke; {doubt}"),
    );
    check("nonsense\r\n\r\n", &format!("the connection to activemq broke; {doubt}"));
}

#[test]
fn a_service_that_is_down_is_distinguished_from_one_that_failed() {
    let free = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let server = with(ACTIVEMQ, &format!("http://{free}"));
    let result = server.call("swf_stop_workflow", json!({ "execution_id": "e" }));
    assert_eq!(result["content"][0]["text"], "activemq cannot be reached; nothing was done, try again later");
    let line = server.wait_for_log("\"event\":\"call\"");
    assert!(line.contains("\"writes\":true") && line.contains("\"unavailable\""), "{line}");
}
