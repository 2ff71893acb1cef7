//! The examples of `docs/tools.md` and `docs/site-tools.md`: files are checked, commands run, in the order of the page.
//!
//! A TOML example with a name in its first line becomes that file; the others must be declarations that `check` accepts.
//! Commands run in the folder of these files, with SQLite, PostgreSQL and a REST service as the page has them.

use std::path::Path;
use std::process::{Command, Output};

use crate::pg::Postgres;
use crate::program::{run, text};
use crate::service::Service;

const TOOLS: &str = include_str!("../../../docs/tools.md");
const SITE: &str = include_str!("../../../docs/site-tools.md");

const TOOL: &str =
    "\n[[tool]]\nname = \"t\"\ndescription = \"d\"\nread_only = true\ntext = { body = \"x\" }\n";

/// The fenced examples of a page: language and text.
fn fences(page: &str) -> Vec<(&str, &str)> {
    let pieces = page.split("\n```").skip(1).step_by(2);
    pieces.filter_map(|piece| piece.split_once('\n')).collect()
}

/// What a command of the page needs around it.
struct Surroundings {
    home: tempfile::TempDir,
    postgres: Postgres,
    weather: Service,
}

impl Surroundings {
    fn new() -> Surroundings {
        let response = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"celsius\":7}";
        Surroundings {
            home: tempfile::tempdir().expect("a directory"),
            postgres: Postgres::start(),
            weather: Service::responding(response),
        }
    }

    fn run(&self, script: &str) -> Output {
        let program =
            Path::new(env!("CARGO_BIN_EXE_mcp-tools")).parent().expect("a folder").display().to_string();
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.home.path())
            .env("PATH", format!("{program}:/usr/bin:/bin"))
            .env("SHOP_URL", self.postgres.url())
            .env("WEATHER_URL", &self.weather.url)
            .env("WEATHER_KEY", "k")
            .output()
            .expect("bash runs")
    }

    /// Runs a fence of commands; returns what they print.
    #[track_caller]
    fn succeed(&self, script: &str) -> String {
        let output = self.run(script);
        let told = text(&output.stdout);
        assert!(output.status.success(), "{script}\n{told}\n{}", text(&output.stderr));
        told
    }
}

#[test]
fn every_example_of_the_page_about_tools_is_true() {
    let surroundings = Surroundings::new();
    let mut printed = String::new();
    let (mut files, mut scripts) = (0, 0);
    for (language, example) in fences(TOOLS) {
        match language {
            "toml" => {
                files += 1;
                let name = example.lines().next().and_then(|line| line.strip_prefix("# "));
                match name.filter(|name| name.ends_with(".toml") && !name.contains(' ')) {
                    Some(name) => {
                        std::fs::write(surroundings.home.path().join(name), example).expect("writes")
                    }
                    None => accepted(surroundings.home.path(), example),
                }
            }
            "sh" => {
                scripts += 1;
                printed += &surroundings.succeed(example);
            }
            "json" => {
                serde_json::from_str::<serde_json::Value>(example).expect("JSON");
            }
            // Commands that need a server or a database which the page does not make.
            "console" => {}
            other => panic!("an example in {other:?}"),
        }
    }
    assert!(
        files >= 8 && scripts >= 5,
        "{files} files and {scripts} scripts: is the page written otherwise?"
    );
    for expected in
        ["OK: 1 tools", "\"name\": \"bolt\"", "\"id\": 1", "\"celsius\": 7", "reads   weather(city)"]
    {
        assert!(printed.contains(expected), "{expected}\n{printed}");
    }
    assert!(!printed.contains("nut"), "the search finds one part\n{printed}");
    assert_eq!(surroundings.weather.next().line, "GET /v1/now/Upton HTTP/1.1");
}

/// A declaration that is not a whole file is checked beside a tool.
#[track_caller]
fn accepted(home: &Path, example: &str) {
    let file = home.join("example.toml");
    let whole = if example.contains("[[tool]]") { example.to_owned() } else { format!("{example}{TOOL}") };
    std::fs::write(&file, whole).expect("writes");
    // Another folder than that of the databases: only the declaration is looked at.
    let output = run(&["list", "--catalog", &file.display().to_string()]);
    assert!(output.status.success(), "{example}\n{}", text(&output.stderr));
}

#[test]
fn every_example_of_the_page_about_the_built_in_catalogue_is_true() {
    let home = tempfile::tempdir().expect("a directory");
    let program =
        Path::new(env!("CARGO_BIN_EXE_mcp-tools")).parent().expect("a folder").display().to_string();
    for (language, example) in fences(SITE) {
        assert_eq!(language, "sh");
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", example])
            .current_dir(home.path())
            .env("PATH", format!("{program}:/usr/bin:/bin"))
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "{example}\n{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("swf_list_runs"), "{}", text(&output.stdout));
    }
    assert!(std::fs::metadata(home.path().join("trial.sql")).is_ok_and(|file| file.len() > 10_000));
}
