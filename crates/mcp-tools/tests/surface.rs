//! The built-in catalogue: the 54 tools clients know, with the same names, parameters, types and defaults, and every
//! read tool answering something real from the embedded database.

use serde_json::{Map, Value, json};

use mcp_testkit::ToolServer;

use crate::program::start;

/// What the server at cutover had: name, parameters, types, required, defaults.
const FACTS: &str = include_str!("data/tools-54.json");

/// The twelve tools that write or act.
const WRITES: [&str; 12] = [
    "pcs_dataset_intake",
    "pcs_prodtask_intake",
    "pcs_prodtask_link_input",
    "pcs_prodtask_set_status",
    "swf_end_execution",
    "swf_kill_agent",
    "swf_record_ai_memory",
    "swf_send_message",
    "swf_start_user_testbed",
    "swf_start_workflow",
    "swf_stop_user_testbed",
    "swf_stop_workflow",
];

/// A call of every tool that reads the database, with arguments that the demonstration data satisfies.
pub(crate) fn read_calls() -> Vec<(&'static str, Value)> {
    let execution = json!({ "execution_id": "stf_datataking-torre-0042" });
    vec![
        ("swf_get_ai_memory", json!({ "username": "torre" })),
        ("panda_list_jobs", json!({})),
        ("panda_list_jobs", json!({ "taskid": 27740, "status": "failed", "limit": 1 })),
        ("panda_diagnose_jobs", json!({})),
        ("panda_diagnose_jobs", json!({ "error_component": "pilot" })),
        ("panda_list_tasks", json!({ "taskname": "SWF.100042" })),
        ("panda_error_summary", json!({})),
        ("panda_error_summary", json!({ "destinationse": "EIC-XRD" })),
        ("panda_get_activity", json!({ "days": 3 })),
        ("panda_list_queues", json!({ "vo": "eic", "search": "bnl" })),
        ("panda_get_queue", json!({ "panda_queue": "SWF_EPIC_BNL" })),
        ("panda_resource_usage", json!({})),
        ("panda_study_job", json!({ "pandaid": 90013 })),
        ("pcs_list_tags", json!({ "tag_type": "p", "category": "dis" })),
        ("pcs_get_tag", json!({ "tag_label": "e1" })),
        ("pcs_search_tags", json!({ "query": "pythia" })),
        ("pcs_dataset_list", json!({ "limit": 2 })),
        ("pcs_dataset_list", json!({ "stage": "evgen", "source_kind": "csv_manifest" })),
        ("pcs_dataset_get", json!({ "dataset_name": "evgen.DIS.NC.10x100.q2min1" })),
        ("pcs_prodtask_list", json!({ "public_catalog_issue": 211 })),
        ("pcs_prodtask_get", json!({ "name": "prod-26.02-dis-nc-10x100" })),
        ("pcs_prodtask_artifact", json!({ "name": "prod-26.02-dis-nc-10x100" })),
        ("pcs_prodtask_artifact", json!({ "name": "prod-26.02-dis-nc-10x100", "fmt": "panda" })),
        ("swf_get_system_state", json!({ "username": "torre" })),
        ("swf_list_agents", json!({})),
        ("swf_list_agents", json!({ "status": "exited" })),
        ("swf_get_agent", json!({ "name": "fastmon-agent-epic-01" })),
        ("swf_list_namespaces", json!({})),
        ("swf_get_namespace", json!({ "namespace": "torre1" })),
        ("swf_list_logs", json!({ "level": "warning" })),
        ("swf_list_logs", json!({ "execution_id": "stf_datataking-torre-0042", "search": "HEARTBEAT" })),
        ("swf_get_log_entry", json!({ "log_id": 5 })),
        ("swf_check_agent_manager", json!({ "username": "torre" })),
        ("swf_get_testbed_status", json!({ "username": "torre" })),
        ("swf_list_workflow_definitions", json!({})),
        ("swf_list_workflow_executions", json!({})),
        ("swf_list_workflow_executions", json!({ "currently_running": true })),
        ("swf_get_workflow_execution", execution.clone()),
        ("swf_list_messages", json!({ "agent": "data-agent-torre1-01" })),
        ("swf_list_runs", json!({})),
        ("swf_get_run", json!({ "run_number": 100042 })),
        ("swf_list_stf_files", json!({ "run_number": 100041 })),
        ("swf_get_stf_file", json!({ "stf_filename": "swf.100042.000001.stf" })),
        ("swf_list_tf_slices", json!({ "status": "queued" })),
        ("swf_get_tf_slice", json!({ "tf_filename": "swf.100042.000001.tf.001", "slice_id": 1 })),
        ("swf_get_workflow_monitor", execution),
        ("swf_list_workflow_monitors", json!({})),
    ]
}

fn listed(server: &ToolServer) -> Vec<Value> {
    let answer = server.request("tools/list", json!({}));
    answer["result"]["tools"].as_array().expect("tools").clone()
}

fn json_type(fact: &str) -> &str {
    match fact {
        "str" | "str|null" => "string",
        "int" => "integer",
        "num" => "number",
        "bool" => "boolean",
        "arr" => "array",
        "obj" => "object",
        other => panic!("unknown type {other}"),
    }
}

/// The property FastMCP generates for a parameter, as far as clients compare it.
fn expected_property(param: &Value) -> Map<String, Value> {
    let fact = param["type"].as_str().expect("a type");
    let mut property = Map::new();
    if fact == "str|null" {
        property.insert("anyOf".into(), json!([{ "type": "string" }, { "type": "null" }]));
    } else {
        property.insert("type".into(), json!(json_type(fact)));
    }
    if param["required"] == json!(false) {
        property.insert("default".into(), param["default"].clone());
    }
    if fact == "arr" {
        property.insert("items".into(), json!({}));
    }
    if fact == "obj" {
        property.insert("additionalProperties".into(), json!(true));
    }
    property
}

#[test]
fn has_exactly_the_tools_and_schemas_that_clients_know() {
    let server = start(&[]);
    let ours = listed(&server);
    let facts: Vec<Value> = serde_json::from_str(FACTS).expect("JSON");
    let names = |tools: &[Value]| {
        let mut names: Vec<String> =
            tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&ours), names(&facts));
    assert_eq!(ours.len(), 54);
    for fact in &facts {
        let tool = ours.iter().find(|tool| tool["name"] == fact["name"]).expect("compared above");
        let name = fact["name"].as_str().expect("a name");
        let params = fact["params"].as_array().expect("parameters");
        let schema = &tool["inputSchema"];
        let mut properties = schema["properties"].as_object().expect("properties").clone();
        let order: Vec<&String> = properties.keys().collect();
        let known: Vec<&str> = params.iter().map(|param| param["name"].as_str().expect("a name")).collect();
        assert_eq!(order, known, "{name}: parameters in their order");
        for (key, property) in &mut properties {
            let property = property.as_object_mut().expect("an object");
            let title = property.remove("title").expect("FastMCP titles every property");
            assert_eq!(title.as_str().expect("text").to_lowercase().replace(' ', "_"), *key);
            property.remove("description");
        }
        let expected: Map<String, Value> = params
            .iter()
            .map(|param| {
                (param["name"].as_str().expect("a name").to_owned(), Value::Object(expected_property(param)))
            })
            .collect();
        assert_eq!(Value::Object(properties), Value::Object(expected), "{name}");
        let required: Vec<&Value> = params
            .iter()
            .filter(|param| param["required"] == json!(true))
            .map(|param| &param["name"])
            .collect();
        assert_eq!(schema.get("required").cloned().unwrap_or(json!([])), json!(required), "{name}");
        assert_eq!(schema["title"], format!("{name}Arguments"));
        assert!(schema.get("$schema").is_none() && schema["type"] == "object", "{name}");
    }
}

#[test]
fn gives_each_bot_as_many_tools_as_it_expects() {
    let server = start(&[]);
    let tools = listed(&server);
    let count = |prefixes: &[&str]| {
        let named = |tool: &&Value| {
            prefixes.iter().any(|prefix| tool["name"].as_str().expect("a name").starts_with(prefix))
        };
        tools.iter().filter(named).count()
    };
    assert_eq!(count(&["panda_", "pcs_", "epic_"]), 22);
    assert_eq!(count(&["swf_", "panda_", "pcs_"]), 53);
}

#[test]
fn says_of_exactly_twelve_tools_that_they_write() {
    let server = start(&[]);
    let mut writes: Vec<String> = Vec::new();
    for tool in listed(&server) {
        if tool["annotations"]["readOnlyHint"] != json!(true) {
            writes.push(tool["name"].as_str().expect("a name").to_owned());
            let told = tool["description"].as_str().expect("text");
            let warned = ["WRITES", "ACTS", "Not possible"].iter().any(|word| told.contains(word));
            assert!(warned, "{}: the description does not say that it acts", tool["name"]);
        }
    }
    writes.sort();
    assert_eq!(writes, WRITES);
}

/// Whether a result holds something: a page has items, an object has a value that is neither null nor empty.
fn tells(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(object) => match object.get("items") {
            Some(items) => tells(items),
            None => object.values().any(tells),
        },
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
    }
}

/// The one JSON block of an answer.
#[track_caller]
pub(crate) fn block(result: &Value) -> Value {
    let text = result["content"][0]["text"].as_str().expect("a text block");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_read_tool_answers_something_real() {
    let server = start(&[]);
    let calls = read_calls();
    for (name, arguments) in &calls {
        let result = server.call(name, arguments.clone());
        assert_eq!(result["isError"], json!(false), "{name} {arguments}: {result}");
        let answer = block(&result);
        assert!(answer.get("error").is_none() && tells(&answer), "{name} {arguments}: {answer}");
    }
    // Each is called above, but for the three that need no database and the one that calls a service.
    let apart = ["get_server_instructions", "swf_list_available_tools", "panda_harvester_workers"];
    for tool in listed(&server) {
        let name = tool["name"].as_str().expect("a name");
        let called = calls.iter().any(|(called, _)| *called == name);
        assert!(called || apart.contains(&name) || WRITES.contains(&name), "{name} is not tried");
    }
}
