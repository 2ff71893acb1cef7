//! What a declaration says of its parameters and of itself: the schema that clients see, the arguments that are refused.

use serde_json::{Value, json};

use mcp_testkit::ToolServer;

use crate::catalogue::check;
use crate::program::{run, serve, text};

const CATALOGUE: &str = r#"
[[tool]]
name = "pick"
title = "Pick things"
description = "Returns nothing of what it gets."
read_only = false
annotations = { destructive = false, idempotent = true, open_world = false }
text = { body = "picked" }
[tool.params]
ids = { type = "array", items = "integer" }
any = { type = "array" }
level = { type = "integer", enum = [1, 2, 3], default = 2 }
share = { type = "number", minimum = 0.5, maximum = 1, default = 1 }
mood = { type = "string", enum = ["calm", "wild"], nullable = true, default = "calm" }
uid = { type = "string", format = "uuid" }
day = { type = "string", format = "date" }
at = { type = "string", format = "date-time" }
"#;

fn server() -> ToolServer {
    serve(CATALOGUE, &[])
}

#[test]
fn clients_see_item_types_enums_bounds_and_formats_of_parameters() {
    let listed = server().request("tools/list", json!({}))["result"]["tools"][0].clone();
    let properties = &listed["inputSchema"]["properties"];
    let expected = [
        ("ids", json!({ "default": null, "items": { "type": "integer" }, "title": "Ids", "type": "array" })),
        ("any", json!({ "default": null, "items": {}, "title": "Any", "type": "array" })),
        ("level", json!({ "default": 2, "enum": [1, 2, 3], "title": "Level", "type": "integer" })),
        ("share", json!({ "default": 1, "maximum": 1, "minimum": 0.5, "title": "Share", "type": "number" })),
        ("uid", json!({ "default": null, "format": "uuid", "title": "Uid", "type": "string" })),
        ("day", json!({ "default": null, "format": "date", "title": "Day", "type": "string" })),
        ("at", json!({ "default": null, "format": "date-time", "title": "At", "type": "string" })),
        (
            "mood",
            json!({
                "anyOf": [{ "enum": ["calm", "wild"], "type": "string" }, { "type": "null" }],
                "default": "calm", "title": "Mood",
            }),
        ),
    ];
    for (name, property) in expected {
        assert_eq!(properties[name], property, "{name}");
    }
}

#[test]
fn clients_see_the_title_and_all_four_annotations_of_a_tool() {
    let listed = server().request("tools/list", json!({}))["result"]["tools"][0].clone();
    assert_eq!(listed["title"], "Pick things");
    let expected = json!({
        "title": "Pick things", "readOnlyHint": false, "destructiveHint": false, "idempotentHint": true,
        "openWorldHint": false,
    });
    assert_eq!(listed["annotations"], expected);
}

#[test]
fn arguments_outside_item_type_enum_bounds_or_format_are_refused() {
    let server = server();
    let told = |arguments: &Value| {
        let result = server.call("pick", arguments.clone());
        (result["isError"] == json!(true), result["content"][0]["text"].as_str().expect("a text").to_owned())
    };
    for good in [
        json!({ "ids": [1, 2], "any": ["x", 1], "level": 3, "share": 0.75, "mood": null }),
        json!({ "uid": "0b0ebd1c-7a9a-4b3e-8f4c-0c3a3f4f5a6b", "day": "2026-11-28", "at": "2026-11-28T23:00:00Z" }),
        json!({ "level": "1", "share": "0.5" }),
    ] {
        assert_eq!(told(&good), (false, "picked".to_owned()), "{good}");
    }
    for (bad, named) in [
        (json!({ "ids": ["a"] }), "ids/0"),
        (json!({ "level": 4 }), "level"),
        (json!({ "share": 0.4 }), "share"),
        (json!({ "mood": "sad" }), "mood"),
        (json!({ "uid": "abc" }), "uid"),
        (json!({ "day": "2026-02-30" }), "day"),
        (json!({ "at": "yesterday" }), "at"),
    ] {
        let (refused, text) = told(&bad);
        assert!(
            refused && text.starts_with(&format!("Invalid arguments for pick: {named}")),
            "{bad}: {text}"
        );
    }
}

#[test]
fn declarations_of_parameters_without_effect_or_sense_are_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("c.toml");
    let mut catalogue = String::new();
    let cases = [
        ("string\", minimum = 1", "minimum: is for an integer or a number; the parameter is of type string"),
        ("integer\", pattern = \"x\"", "pattern: is for a string; the parameter is of type integer"),
        ("integer\", format = \"uuid\"", "format: is for a string; the parameter is of type integer"),
        ("string\", items = \"string\"", "items: is for an array; the parameter is of type string"),
        ("integer\", minimum = 0.5", "minimum: 0.5 is not of type integer"),
        ("integer\", enum = [1, \"b\"]", "enum: \"b\" is not of type integer"),
        ("string\", enum = []", "enum: is empty; no value could be given"),
        (
            "boolean\", enum = [true]",
            "enum: is for a string, an integer or a number; the parameter is of type boolean",
        ),
        ("number\", minimum = 2, maximum = 1", "minimum: 2 is more than the maximum 1"),
        ("integer\", enum = [1, 2], default = 3", "default: 3 is not one of 1 or 2"),
        ("array\", items = \"string\", default = [1]", "default: 1 is not of type \"string\""),
        ("string\", format = \"date\", default = \"soon\"", "default: \"soon\" is not a \"date\""),
    ];
    for (at, (param, _)) in cases.iter().enumerate() {
        catalogue += &format!(
            "[[tool]]\nname = \"t{at}\"\ndescription = \"d\"\nread_only = true\ntext = {{ body = \"x\" }}\nparams.p = {{ type = \"{param} }}\n"
        );
    }
    catalogue += "[[tool]]\nname = \"reads\"\ntitle = \" \"\ndescription = \"d\"\nread_only = true\nannotations = { destructive = true }\ntext = { body = \"x\" }\n";
    std::fs::write(&file, catalogue).expect("writes");
    let told = text(&run(&["check", &file.display().to_string()]).stdout);
    let lines: Vec<&str> = told.lines().collect();
    for (at, (_, reason)) in cases.iter().enumerate() {
        let expected = format!(": tool.t{at}: params.p: {reason}");
        assert!(lines[at].ends_with(&expected), "{expected}\n{told}");
    }
    let rest = lines[cases.len()..].join("\n");
    assert!(
        rest.contains("title: is empty")
            && rest.contains("annotations: destructive and idempotent have no meaning"),
        "{told}"
    );
    assert!(rest.ends_with(&format!("{} problems", cases.len() + 2)), "{told}");
}

// Requirement: what TOML has and JSON lacks is refused wherever a value of the catalogue becomes JSON.
#[test]
fn a_date_or_an_infinite_number_in_a_value_is_refused_where_it_stands() {
    check(
        r#"
[service.fine]
base_url = "http://127.0.0.1:1"
[[tool]]
name = "sends"
description = "Sends."
read_only = false
params.a = { type = "string" }
[tool.http]
service = "fine"
method = "POST"
path = "/"
json = { a = "{a}", at = [1, 2026-01-01T10:00:00Z] }
result = { day = 2026-01-01 }
defaults = { a = 10:00:00 }

[[tool]]
name = "says"
description = "Says."
read_only = true
params.n = { type = "number", default = inf }
[tool.text]
body = "x"

[[tool]]
name = "tells"
description = "Tells."
read_only = true
params.s = { type = "string" }
[tool.refuse]
reason = "x"
[[tool.example]]
arguments = { s = 2026-01-01 }
[[tool.example]]
expect = { n = nan }
"#,
        &[
            "c.toml:4: tool.sends: http.defaults.a: a date or time is no value of JSON (hint: quote it: \"10:00:00\")",
            "c.toml:4: tool.sends: http.json: at: [1]: a date or time is no value of JSON (hint: quote it: \"2026-01-01T10:00:00Z\")",
            "c.toml:4: tool.sends: http.result: day: a date or time is no value of JSON (hint: quote it: \"2026-01-01\")",
            "c.toml:4: tool.sends: http: the parameter a has no effect",
            "c.toml:17: tool.says: params.n: default: inf is no number of JSON",
            "c.toml:25: tool.tells: example[1].arguments.s: a date or time is no value of JSON (hint: quote it: \"2026-01-01\")",
            "c.toml:25: tool.tells: example[2].expect: n: NaN is no number of JSON",
        ],
    );
}
