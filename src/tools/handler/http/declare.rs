//! `[tool.http]` judged and compiled; every reason at once.
//!
//! Must not call anything.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::render::JsonTemplate;
use super::{HttpTool, Services};
use crate::tools::catalogue::{HttpFile, HttpMethod, Input};
use crate::tools::handler::template::Template;

const TIME_DEFAULT: Duration = Duration::from_secs(15);
const TIME_MAX_MS: u64 = 45_000;

/// Compiles a declaration.
pub(in crate::tools::handler) fn build(
    file: HttpFile,
    read_only: bool,
    input: &Input,
    services: &Services,
) -> Result<HttpTool, Vec<String>> {
    let mut reasons = Vec::new();
    let service = services.get(&file.service).cloned();
    if service.is_none() {
        reasons.push(format!(
            "http.service: {} is not declared (hint: a [service.{}] table)",
            file.service, file.service
        ));
    }
    if !file.path.starts_with('/') || file.path.contains(['?', '#', ' ']) || file.path.contains("..") {
        reasons.push("http.path: must start with / and hold no ?, #, blank or ..".into());
    }
    if read_only && file.method != HttpMethod::Get {
        reasons.push("http.method: a tool that only reads must use GET".into());
    }
    let mut template = |key: &str, text: &str| {
        Template::parse(text).unwrap_or_else(|reason| {
            reasons.push(format!("{key}: {reason}"));
            Template::default()
        })
    };
    let path = template("http.path", &file.path);
    let query: indexmap::IndexMap<String, Template> = file
        .query
        .iter()
        .map(|(key, text)| (key.clone(), template(&format!("http.query.{key}"), text)))
        .collect();
    let not_found = file.not_found.as_ref().map(|text| template("http.not_found", text));
    let json = json_template("http.json", file.json.as_ref(), &mut reasons);
    let result = json_template("http.result", file.result.as_ref(), &mut reasons);

    let mut used: Vec<String> = path.names().map(str::to_owned).collect();
    used.extend(query.values().flat_map(|template| template.names().map(str::to_owned)));
    used.extend(json.iter().flat_map(JsonTemplate::names));
    let told = not_found.iter().flat_map(|template| template.names().map(str::to_owned));
    let all = used.iter().cloned().chain(told).chain(result.iter().flat_map(JsonTemplate::names));
    for name in all {
        if !input.params().iter().any(|param| param.name == name) {
            reasons.push(format!("http: there is no parameter {name}"));
        }
    }
    for param in input.params().iter().filter(|param| !used.contains(&param.name)) {
        reasons.push(format!("http: the parameter {} has no effect", param.name));
    }
    let time_max = match file.timeout_ms {
        Some(ms) if !(1..=TIME_MAX_MS).contains(&ms) => {
            reasons.push(format!("http.timeout_ms: {ms} is not allowed; must be 1 to {TIME_MAX_MS}"));
            TIME_DEFAULT
        }
        Some(ms) => Duration::from_millis(ms),
        None => TIME_DEFAULT,
    };
    let method = match file.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
    };
    match (service, reasons.is_empty()) {
        (Some(service), true) => {
            Ok(HttpTool { service, read_only, method, path, query, json, result, not_found, time_max })
        }
        (Some(_) | None, _) => Err(reasons),
    }
}

fn json_template(key: &str, value: Option<&toml::Value>, reasons: &mut Vec<String>) -> Option<JsonTemplate> {
    let parsed = serde_json::to_value(value?)
        .map_err(|error| error.to_string())
        .and_then(|value: Value| JsonTemplate::parse(&value));
    parsed.map_err(|reason| reasons.push(format!("{key}: {reason}"))).ok()
}
