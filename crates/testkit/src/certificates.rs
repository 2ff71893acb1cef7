//! Certificates that a test makes with `openssl`: authorities, and what they sign.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A folder of certificates `NAME.pem` with keys `NAME.key`.
pub struct Certificates {
    folder: TempDir,
}

impl Default for Certificates {
    fn default() -> Certificates {
        Certificates::new()
    }
}

impl Certificates {
    /// A folder with the authority `ca`.
    pub fn new() -> Certificates {
        let certificates = Certificates { folder: tempfile::tempdir().expect("a temporary directory") };
        certificates.authority("ca");
        certificates
    }

    /// Where `NAME.pem` and its like are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a file of the folder holds.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect("a file of the folder")
    }

    /// One more authority.
    pub fn authority(&self, name: &str) {
        let subject = format!("-out {name}.pem -days 400 -subj /CN={name}");
        self.openssl(&format!("req -x509 {} {subject}", new_key(name)));
    }

    /// A certificate for these names (`DNS:localhost,URI:spiffe://a/b`), signed by an authority.
    pub fn issue(&self, name: &str, names: &str, by: &str) {
        self.request(name, names);
        self.sign(name, by);
    }

    fn sign(&self, name: &str, by: &str) {
        let signed = format!("-CA {by}.pem -CAkey {by}.key -CAcreateserial -days 400 -out {name}.pem");
        self.openssl(&format!("x509 -req -in {name}.csr {signed} -extfile {name}.ext"));
    }

    /// The same, long expired.
    pub fn issue_expired(&self, name: &str, names: &str, by: &str) {
        self.issue_until(name, names, by, "20200102000000Z");
    }

    /// The same, which expires after some seconds.
    pub fn issue_for_seconds(&self, name: &str, names: &str, by: &str, seconds: u32) {
        let asked = ["-u", "-d", &format!("+{seconds} seconds"), "+%Y%m%d%H%M%SZ"];
        let told = Command::new("date").args(asked).output().expect("date");
        let end = String::from_utf8(told.stdout).expect("a time");
        self.issue_until(name, names, by, end.trim());
    }

    fn issue_until(&self, name: &str, names: &str, by: &str, end: &str) {
        self.request(name, names);
        let rules = "[ca]\ndefault_ca = own\n[own]\ndatabase = index\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\n\
                     policy = names\nunique_subject = no\n[names]\ncommonName = supplied\n";
        std::fs::write(self.file("ca.cnf"), rules).expect("a writable directory");
        std::fs::write(self.file("index"), "").expect("a writable directory");
        let files = format!("-in {name}.csr -cert {by}.pem -keyfile {by}.key -out {name}.pem -notext");
        let dates = format!("-startdate 20200101000000Z -enddate {end}");
        self.openssl(&format!("ca -batch -rand_serial -config ca.cnf {files} {dates} -extfile {name}.ext"));
    }

    /// A certificate with an RSA key of this length.
    pub fn issue_rsa(&self, name: &str, names: &str, by: &str, bits: usize) {
        self.request_with(&format!("-newkey rsa:{bits} -nodes -keyout {name}.key"), name, names);
        self.sign(name, by);
    }

    fn request(&self, name: &str, names: &str) {
        self.request_with(&new_key(name), name, names);
    }

    fn request_with(&self, key: &str, name: &str, names: &str) {
        self.openssl(&format!("req {key} -out {name}.csr -subj /CN={name}"));
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.file(&format!("{name}.ext")), extensions).expect("a writable directory");
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let made = command.args(arguments.split(' ')).current_dir(self.folder()).output().expect("openssl");
        assert!(made.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

fn new_key(name: &str) -> String {
    format!("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key")
}
