//! Validates and compiles `[tool.http]`, with every error reported at once.
//!
//! Must not call anything.

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use indexmap::IndexMap;
use serde_json::Value;

use super::headers;
use super::patterns::Patterns;
use super::pick::Pick;
use super::refusal::Openness;
use super::render::{BodyTemplate, JsonTemplate, Pairs};
use super::service::{Service, Services};
use super::tool::{CLIENT, HttpTool, NOW, SUBJECT};
use crate::catalogue::file::{BeforeFile, HttpFile, HttpMethod, IdentityFile, LetFile, ListStyle};
use crate::catalogue::{Arguments, Input, Param, json_of};
use crate::handler::template::Template;

const TIME_DEFAULT: Duration = Duration::from_secs(15);
const TIME_MAX_MS: u64 = 600_000;

/// Compiles a declaration.
pub(crate) fn build(
    mut file: HttpFile,
    read_only: bool,
    identity: IdentityFile,
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
    let path = builder.path(&file.path);
    builder.reasons.extend(method_mistake(&file, read_only));
    let moments = builder.moments(std::mem::take(&mut file.moments));
    let defaults = builder.defaults(&file.defaults);
    builder.needs(&file.needs);
    let supplied = supplied(identity);
    builder.supplied(&supplied);
    let patterns = Patterns::build(&file.patterns, builder.params, &mut builder.reasons);
    let names: Vec<String> =
        moments.keys().cloned().chain(supplied.iter().map(|(name, _)| (*name).to_owned())).collect();
    let query = builder.query(&file, service.as_ref());
    let headers = builder.headers(&file.headers, service.as_ref());
    let body = builder.body(&file);
    builder.lists(&file);
    builder.used.extend(path.names().map(str::to_owned));
    builder.used.extend(query.names().map(str::to_owned));
    builder.used.extend(headers.iter().flat_map(|(_, template)| template.names().map(str::to_owned)));
    builder.used.extend(body.iter().flat_map(BodyTemplate::names));
    let pick = builder.pick(&file);
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
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    };
    let openness = Openness { tell_reason: file.tell_reason, log_reason: file.log_reason };
    let (needs, totals) = (file.needs, file.totals);
    match (service, builder.reasons.is_empty()) {
        (Some(service), true) => Ok(HttpTool {
            service,
            read_only,
            method,
            path,
            query,
            headers,
            body,
            moments,
            identity,
            defaults,
            needs,
            patterns,
            totals,
            pick,
            result,
            not_found,
            openness,
            time_max,
        }),
        (Some(_) | None, _) => Err(builder.reasons),
    }
}

/// A tool that only reads may use methods that change nothing, and `POST` where the declaration says that it reads.
fn method_mistake(file: &HttpFile, read_only: bool) -> Option<String> {
    let reason = match (file.method, read_only, file.reads) {
        (HttpMethod::Get, _, true) => "http.reads: has no effect: GET reads",
        (_, false, true) => "http.reads: is for a tool with read_only = true",
        (HttpMethod::Post, true, false) => {
            "http.method: a tool that only reads must use GET (hint: reads = true says of a POST that it only reads)"
        }
        (HttpMethod::Put | HttpMethod::Patch | HttpMethod::Delete, true, _) => {
            "http.method: a tool that only reads must use GET, or POST with reads = true"
        }
        (HttpMethod::Get, _, false) | (HttpMethod::Post, true, true) => return None,
        (HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch | HttpMethod::Delete, false, false) => {
            return None;
        }
    };
    Some(reason.to_owned())
}

/// The names that a call fills in itself, and what they are.
fn supplied(identity: IdentityFile) -> Vec<(&'static str, &'static str)> {
    let caller = [(CLIENT, identity.client), (SUBJECT, identity.subject)];
    let caller =
        caller.into_iter().filter(|(_, used)| *used).map(|(name, _)| (name, "the identity of the caller"));
    [(NOW, "the time of the call")].into_iter().chain(caller).collect()
}

struct Builder<'a> {
    params: &'a [Param],
    /// Names that have an effect on the request.
    used: Vec<String>,
    reasons: Vec<String>,
}

impl Builder<'_> {
    /// A parameter of such a name would never reach the service.
    fn supplied(&mut self, supplied: &[(&str, &str)]) {
        let params = self.params;
        for (name, what) in
            supplied.iter().filter(|(name, _)| params.iter().any(|param| param.name == **name))
        {
            self.reasons.push(format!("params.{name}: is {what} in [tool.http] (hint: another name)"));
        }
    }

    fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    fn moments(&mut self, declared: IndexMap<String, LetFile>) -> IndexMap<String, BeforeFile> {
        let mut moments = IndexMap::new();
        for (name, declared) in declared {
            if self.param(&name).is_some() || [NOW, CLIENT, SUBJECT].contains(&name.as_str()) {
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
            let value = match json_of(value) {
                Ok(value) => value,
                Err(reason) => {
                    self.reasons.push(format!("http.defaults.{name}: {reason}"));
                    continue;
                }
            };
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

    fn path(&mut self, text: &str) -> Template {
        if !text.starts_with('/') || text.contains(['?', '#', ' ']) || text.contains("..") {
            self.reasons.push("http.path: must start with / and hold no ?, #, blank or ..".into());
        }
        let path = self.template("http.path", text);
        // A template with a mistake is empty.
        let filled = path.fill(&Arguments::default(), |_, _| Ok::<_, String>("x".into()));
        if filled.is_ok_and(|filled| filled.starts_with('/') && PathAndQuery::try_from(filled).is_err()) {
            let reason = "has a letter that cannot stand in a URL (hint: %20 for a blank, %C3%BC for \u{fc})";
            self.reasons.push(format!("http.path: {reason}"));
        }
        path
    }

    fn pairs(
        &mut self,
        key: &str,
        declared: &IndexMap<String, String>,
        lists: &IndexMap<String, ListStyle>,
    ) -> Pairs {
        let parsed =
            |(name, text): (&String, &String)| (name.clone(), self.template(&format!("{key}.{name}"), text));
        Pairs { templates: declared.iter().map(parsed).collect(), lists: lists.clone() }
    }

    fn headers(
        &mut self,
        declared: &IndexMap<String, String>,
        service: Option<&Service>,
    ) -> Vec<(HeaderName, Template)> {
        let mut headers: Vec<(HeaderName, Template)> = Vec::new();
        for (name, text) in declared {
            let key = format!("http.headers.{name}");
            let template = self.template(&key, text);
            match headers::declared_name(name) {
                Err(reason) => self.reasons.push(format!("{key}: {reason}")),
                Ok(name) if headers.iter().any(|(known, _)| *known == name) => {
                    self.reasons.push(format!("{key}: is declared twice"));
                }
                Ok(name) if service.is_some_and(|service| service.headers.has(&name)) => {
                    self.reasons.push(format!("{key}: is a header of the service"));
                }
                Ok(name) => headers.push((name, template)),
            }
        }
        headers
    }

    fn query(&mut self, file: &HttpFile, service: Option<&Service>) -> Pairs {
        let sent = file.query.keys().filter(|key| service.is_some_and(|service| service.query.has(key)));
        let reasons: Vec<String> =
            sent.map(|key| format!("http.query.{key}: is a key of the service")).collect();
        self.reasons.extend(reasons);
        self.pairs("http.query", &file.query, &file.lists)
    }

    fn body(&mut self, file: &HttpFile) -> Option<BodyTemplate> {
        if let (Some(_), None) = (&file.content_type, &file.json) {
            self.reasons.push("http.content_type: is the media type of json, which is not given".into());
        }
        match (&file.form, &file.json) {
            (Some(_), Some(_)) => {
                self.reasons.push("http: has json and form; a request has one body".into());
                None
            }
            (Some(_), None) if file.method == HttpMethod::Get => {
                self.reasons.push("http.form: GET has no body (hint: query)".into());
                None
            }
            (Some(form), None) => Some(BodyTemplate::Form(self.pairs("http.form", form, &file.lists))),
            (None, json) => {
                let media_type = self.media_type(file.content_type.as_deref());
                let json = self.json("http.json", json.as_ref())?;
                Some(BodyTemplate::Json { media_type, json })
            }
        }
    }

    fn media_type(&mut self, given: Option<&str>) -> HeaderValue {
        let json = HeaderValue::from_static("application/json");
        let Some(given) = given else { return json };
        let essence = given.split(';').next().unwrap_or_default().trim();
        let is_json = essence == "application/json" || (essence.contains('/') && essence.ends_with("+json"));
        match HeaderValue::from_str(given) {
            Ok(value) if is_json => value,
            Ok(_) | Err(_) => {
                self.reasons
                    .push("http.content_type: must be application/json or a type that ends in +json".into());
                json
            }
        }
    }

    /// A style of a list must be of a parameter that is a list, and alone in a query or a form.
    fn lists(&mut self, file: &HttpFile) {
        let form = file.form.iter().flat_map(IndexMap::values);
        let alone: Vec<&String> = file.query.values().chain(form).collect();
        for name in file.lists.keys() {
            let kind = self.param(name).map(|param| param.kind);
            let reason = match kind {
                None => format!("there is no parameter {name}"),
                Some("array" | "any") if alone.iter().any(|text| **text == format!("{{{name}}}")) => continue,
                Some("array" | "any") => format!("has no effect: query and form lack \"{{{name}}}\""),
                Some(kind) => format!("is for a list; the parameter is of type {kind}"),
            };
            self.reasons.push(format!("http.lists.{name}: {reason}"));
        }
    }

    fn pick(&mut self, file: &HttpFile) -> Option<Pick> {
        let pick = Pick::parse(file.pick.as_ref()?, &mut self.reasons)?;
        let reason = match &pick {
            Pick::One(_) | Pick::Many(_) if file.totals.is_empty() && file.result.is_some() => {
                "http.pick: has no effect beside result"
            }
            Pick::Many(_) if !file.totals.is_empty() => {
                "http.pick: must be one list beside totals, not a table"
            }
            Pick::One(_) | Pick::Many(_) => return Some(pick),
        };
        self.reasons.push(reason.to_owned());
        None
    }

    fn json(&mut self, key: &str, value: Option<&toml::Value>) -> Option<JsonTemplate> {
        let parsed = json_of(value?).and_then(|value| JsonTemplate::parse(&value));
        parsed.map_err(|reason| self.reasons.push(format!("{key}: {reason}"))).ok()
    }

    /// Every name must exist, and every parameter must have an effect.
    fn names(&mut self, shown: &[String], computed: &[String]) {
        for name in self.used.iter().chain(shown) {
            if self.param(name).is_none() && !computed.contains(name) {
                let hint = match name.as_str() {
                    CLIENT | SUBJECT => format!(" (hint: identity = {{ {name} = true }} of the tool)"),
                    _ => String::new(),
                };
                self.reasons.push(format!("http: there is no parameter {name}{hint}"));
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
