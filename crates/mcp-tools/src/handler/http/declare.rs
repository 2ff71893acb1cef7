//! Validates and compiles `[tool.http]`, with every error reported at once.
//!
//! Must not call anything.

use std::time::Duration;

use hyper::Method;
use indexmap::IndexMap;
use serde_json::Value;

use super::patterns::Patterns;
use super::render::JsonTemplate;
use super::service::Services;
use super::tool::{HttpTool, NOW};
use crate::catalogue::file::{BeforeFile, HttpFile, HttpMethod, LetFile};
use crate::catalogue::{Input, Param};
use crate::handler::template::Template;

const TIME_DEFAULT: Duration = Duration::from_secs(15);
const TIME_MAX_MS: u64 = 45_000;

/// Compiles a declaration.
pub(crate) fn build(
    file: HttpFile,
    read_only: bool,
    input: &Input,
    services: &Services,
) -> Result<HttpTool, Vec<String>> {
    let mut builder = Builder { params: input.params(), used: Vec::new(), reasons: Vec::new() };
    let service = services.get(&file.service).cloned();
    if service.is_none() {
        builder.reasons.push(format!(
            "http.service: {} is not declared (hint: a [service.{}] table)",
            file.service, file.service
        ));
    }
    if !file.path.starts_with('/') || file.path.contains(['?', '#', ' ']) || file.path.contains("..") {
        builder.reasons.push("http.path: must start with / and hold no ?, #, blank or ..".into());
    }
    if read_only && file.method != HttpMethod::Get {
        builder.reasons.push("http.method: a tool that only reads must use GET".into());
    }
    let moments = builder.moments(file.moments);
    let defaults = builder.defaults(&file.defaults);
    builder.needs(&file.needs);
    let patterns = Patterns::build(file.patterns, builder.params, &mut builder.reasons);
    let names: Vec<String> = moments.keys().cloned().chain([NOW.to_owned()]).collect();
    let path = builder.template("http.path", &file.path);
    let query: IndexMap<String, Template> = file
        .query
        .iter()
        .map(|(key, text)| (key.clone(), builder.template(&format!("http.query.{key}"), text)))
        .collect();
    let json = builder.json("http.json", file.json.as_ref());
    builder.used.extend(path.names().map(str::to_owned));
    builder.used.extend(query.values().flat_map(|template| template.names().map(str::to_owned)));
    builder.used.extend(json.iter().flat_map(JsonTemplate::names));
    let not_found = file.not_found.as_ref().map(|text| builder.template("http.not_found", text));
    let result = builder.json("http.result", file.result.as_ref());
    let shown = not_found.iter().flat_map(|template| template.names().map(str::to_owned));
    let shown: Vec<String> = shown.chain(result.iter().flat_map(JsonTemplate::names)).collect();
    builder.names(&shown, &names);
    let time_max = builder.time_max(file.timeout_ms);
    let method = match file.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
    };
    let (needs, totals) = (file.needs, file.totals);
    match (service, builder.reasons.is_empty()) {
        (Some(service), true) => Ok(HttpTool {
            service,
            read_only,
            method,
            path,
            query,
            json,
            moments,
            defaults,
            needs,
            patterns,
            totals,
            result,
            not_found,
            time_max,
        }),
        (Some(_) | None, _) => Err(builder.reasons),
    }
}

struct Builder<'a> {
    params: &'a [Param],
    /// Names that have an effect on the request.
    used: Vec<String>,
    reasons: Vec<String>,
}

impl Builder<'_> {
    fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    fn moments(&mut self, declared: IndexMap<String, LetFile>) -> IndexMap<String, BeforeFile> {
        let mut moments = IndexMap::new();
        for (name, declared) in declared {
            if self.param(&name).is_some() || name == NOW {
                self.reasons.push(format!("http.let.{name}: the name is taken"));
            }
            match declared {
                LetFile::Before(before) => {
                    if self.param(&before.param).is_none() {
                        self.reasons.push(format!("http.let.{name}: there is no parameter {}", before.param));
                    } else {
                        self.used.push(before.param.clone());
                    }
                    moments.insert(name, before);
                }
                LetFile::Contains(_) | LetFile::Time(_) | LetFile::MinutesAgo(_) | LetFile::Object(_) => {
                    self.reasons.push(format!("http.let.{name}: only before has a place here"));
                }
            }
        }
        moments
    }

    fn defaults(&mut self, declared: &IndexMap<String, toml::Value>) -> IndexMap<String, Value> {
        let mut defaults = IndexMap::new();
        for (name, value) in declared {
            let value = serde_json::to_value(value).unwrap_or_default();
            match self.param(name) {
                None => self.reasons.push(format!("http.defaults: there is no parameter {name}")),
                Some(param) if !param.takes(&value) => {
                    self.reasons.push(format!("http.defaults.{name}: {value} is not of type {}", param.kind));
                }
                Some(_) => {
                    defaults.insert(name.clone(), value);
                }
            }
        }
        defaults
    }

    fn needs(&mut self, names: &[String]) {
        for name in names.iter().filter(|name| self.params.iter().all(|param| param.name != **name)) {
            self.reasons.push(format!("http.needs: there is no parameter {name}"));
        }
    }

    fn template(&mut self, key: &str, text: &str) -> Template {
        Template::parse(text).unwrap_or_else(|reason| {
            self.reasons.push(format!("{key}: {reason}"));
            Template::default()
        })
    }

    fn json(&mut self, key: &str, value: Option<&toml::Value>) -> Option<JsonTemplate> {
        let parsed = serde_json::to_value(value?)
            .map_err(|error| error.to_string())
            .and_then(|value: Value| JsonTemplate::parse(&value));
        parsed.map_err(|reason| self.reasons.push(format!("{key}: {reason}"))).ok()
    }

    /// Every name must exist, and every parameter must have an effect.
    fn names(&mut self, shown: &[String], computed: &[String]) {
        for name in self.used.iter().chain(shown) {
            if self.param(name).is_none() && !computed.contains(name) {
                self.reasons.push(format!("http: there is no parameter {name}"));
            }
        }
        for param in self.params.iter().filter(|param| !self.used.contains(&param.name)) {
            self.reasons.push(format!("http: the parameter {} has no effect", param.name));
        }
    }

    fn time_max(&mut self, given: Option<u64>) -> Duration {
        match given {
            Some(ms) if !(1..=TIME_MAX_MS).contains(&ms) => {
                self.reasons
                    .push(format!("http.timeout_ms: {ms} is not allowed; must be 1 to {TIME_MAX_MS}"));
                TIME_DEFAULT
            }
            Some(ms) => Duration::from_millis(ms),
            None => TIME_DEFAULT,
        }
    }
}
