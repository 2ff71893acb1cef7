//! The keys of issuers on disk, so that a restart or an upgrade while an issuer is away does not refuse its tokens.
//!
//! One small file an issuer in `listen.state`, replaced whole. Keys are public; who can write there can also write the rollout's state.
//! What cannot be read is as good as nothing. Must not know how keys are fetched.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use mcp_host::files;
use sha2::{Digest, Sha256};

const HEAD: &str = "mcp-guard-issuer 1 ";
/// A set of keys, and the line before it.
const FILE_BYTES_MAX: u64 = (1 << 20) + 4096;

/// The file of one issuer.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    /// The first line but for the time: which issuer, and where its keys were found.
    issuer: String,
}

impl KeyFile {
    /// The file for an issuer whose keys come from this place.
    pub(super) fn new(folder: &Path, url: &str, source: &str) -> KeyFile {
        let issuer = format!("{HEAD}{url} {source} ");
        let digest = Sha256::digest(issuer.as_bytes());
        let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        KeyFile { path: folder.join(format!("issuer-{name}.keys")), issuer }
    }

    /// The keys that were saved last, and when their issuer confirmed them, in seconds since the epoch.
    pub(super) fn load(&self) -> Option<(Vec<u8>, u64)> {
        let mut bytes = Vec::new();
        File::open(&self.path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let line = memchr::memchr(b'\n', &bytes)?;
        let time = bytes[..line].strip_prefix(self.issuer.as_bytes())?;
        let confirmed = std::str::from_utf8(time).ok()?.parse().ok()?;
        bytes.drain(..=line);
        Some((bytes, confirmed))
    }

    /// Saves keys. Without the file they last as long as the process.
    pub(super) fn save(&self, keys: &[u8], confirmed: u64) {
        let content = [self.issuer.as_bytes(), confirmed.to_string().as_bytes(), b"\n", keys].concat();
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let saved = fs::create_dir_all(folder).and_then(|()| files::replace(&self.path, &content, 0o600));
        if let Err(error) = saved {
            log::warn!("{}: the keys of an issuer are not saved: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_keys_are_those_of_the_same_issuer_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = |url: &str, source: &str| KeyFile::new(&folder.path().join("state"), url, source);
        let one = file("https://a.example", "discovered");
        assert_eq!(one.load(), None);
        one.save(b"{\"keys\":\n[]}", 1_234);
        assert_eq!(one.load(), Some((b"{\"keys\":\n[]}".to_vec(), 1_234)));
        assert_eq!(file("https://a.example", "https://b.example/jwks").load(), None);
        assert_eq!(file("https://a.example/", "discovered").load(), None);
        for damaged in ["", "x", "mcp-guard-issuer 1 https://a.example discovered x\n{}"] {
            fs::write(&one.path, damaged).unwrap();
            assert_eq!(one.load(), None, "{damaged:?}");
        }
    }
}
