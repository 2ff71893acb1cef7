//! Any text as a catalogue of tools.

use mcp_tools::judge_catalogue;

use super::config::check_line;

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    include_bytes!("../../conf/tools/base.toml"),
    b"[[tool]]\nname = \"hello\"\ndescription = \"Says hello.\"\nread_only = true\nparams.who = { type = \"string\", required = true }\ntext = \"hello {who}\"\n",
    b"[[tool]]\nname = \"t\"\ndescription = \"d\"\nread_only = true\nparams.n = { type = \"integer\", default = 1 }\n[tool.sql]\nquery = \"select :n as n\"\n",
    b"[service.s]\nbase_url = \"http://127.0.0.1:9/api\"\n[[tool]]\nname = \"h\"\ndescription = \"d\"\nread_only = true\nparams.q = { type = \"string\" }\n[tool.http]\nservice = \"s\"\nmethod = \"GET\"\npath = \"/x\"\nquery = { q = \"{q}\" }\n",
];

/// A catalogue is a list of legal, different names, or every problem on a line of its own; asked twice, it is the same.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let judged = judge_catalogue(text);
    assert_eq!(judge_catalogue(text), judged);
    match judged {
        Ok(mut names) => {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            assert!(
                names.iter().all(|name| !name.is_empty() && name.len() <= 128 && name.bytes().all(legal))
            );
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
        Err(problems) => problems.split('\n').for_each(check_line),
    }
}
