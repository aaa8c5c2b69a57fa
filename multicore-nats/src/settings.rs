//! How a process finds its server, and who it is there: from a builder, or from the environment.
//!
//! Invariant: secrets are read from files when they are needed, and are in no error and no `Debug`.

use crate::identity::Namespace;
use async_nats::{ConnectOptions, ServerAddr};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// All settings of the environment begin so.
const PREFIX: &str = "MULTICORE_HOSTS";

/// What the streams and subjects are called by default.
const NAMESPACE: &str = "mc";

#[derive(Clone)]
pub(crate) struct ServerSettings {
    pub(crate) servers: Vec<String>,
    pub(crate) namespace: String,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) user: Option<(String, PathBuf)>,
    pub(crate) allow_plaintext: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            servers: Vec::new(),
            namespace: NAMESPACE.to_string(),
            ca: None,
            certificate: None,
            credentials: None,
            token_file: None,
            user: None,
            allow_plaintext: false,
        }
    }
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSettings")
            .field("servers", &self.servers())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// The methods by which a builder sets its [`ServerSettings`], which it has as `server`.
macro_rules! server_settings {
    () => {
        /// The servers of one cluster, with commas between them, such as `tls://a:4222,tls://b:4222`. No default.
        pub fn server(mut self, servers: impl AsRef<str>) -> Self {
            self.server.set_servers(servers.as_ref());
            self
        }

        /// What keeps these jobs apart from others on the same server: 1 to 32 of the characters a-z, 0-9, `-` and `_`. Default: `mc`.
        pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
            self.server.namespace = namespace.into();
            self
        }

        /// A file of the certificate authorities that the server's certificate is checked by, in PEM. The connection is TLS then. Default: those of
        /// the system.
        pub fn ca(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.server.ca = Some(path.into());
            self
        }

        /// Files of this program's own certificate and of its key, in PEM. The connection is TLS then. Default: none.
        pub fn certificate(
            mut self,
            certificate: impl Into<std::path::PathBuf>,
            key: impl Into<std::path::PathBuf>,
        ) -> Self {
            self.server.certificate = Some((certificate.into(), key.into()));
            self
        }

        /// A file of credentials, as NATS makes them: a JWT with its seed. Default: none.
        pub fn credentials(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.server.credentials = Some(path.into());
            self
        }

        /// A file that has a token. Default: none.
        pub fn token_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.server.token_file = Some(path.into());
            self
        }

        /// A user, and a file that has the password. Default: none.
        pub fn user(mut self, name: impl Into<String>, password_file: impl Into<std::path::PathBuf>) -> Self {
            self.server.user = Some((name.into(), password_file.into()));
            self
        }

        /// Whether the connection may be plain text beyond this machine, where anybody on the way can read and change it. Default: false.
        pub fn allow_plaintext(mut self, allow: bool) -> Self {
            self.server.allow_plaintext = allow;
            self
        }
    };
}

pub(crate) use server_settings;

/// One server's address without the user that it may have.
fn without_user(server: &str) -> String {
    match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        (None, Some((_, place))) => place.to_string(),
        _ => server.to_string(),
    }
}

fn secret(path: &Path, what: &str) -> Result<String, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("cannot read the {what} in {}: {error}", path.display()))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(format!("the file {} has no {what}", path.display())),
        text => Ok(text.to_string()),
    }
}

impl ServerSettings {
    /// The settings of the environment; `None` if it names no server.
    pub(crate) fn from_env() -> Result<Option<ServerSettings>, String> {
        Self::from_variables(|name| {
            let name = format!("{PREFIX}{name}");
            match std::env::var(&name) {
                Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name} is no text")),
            }
        })
    }

    fn from_variables(get: impl Fn(&str) -> Result<Option<String>, String>) -> Result<Option<ServerSettings>, String> {
        let Some(servers) = get("")? else { return Ok(None) };
        let path = |name: &str| Ok::<_, String>(get(name)?.map(PathBuf::from));
        let both =
            |one: &str, other: &str| format!("{PREFIX}{one} and {PREFIX}{other} belong together: set both or none");
        let certificate = match (path("_CERT")?, path("_KEY")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(both("_CERT", "_KEY")),
        };
        let user = match (get("_USER")?, path("_PASSWORD_FILE")?) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => return Err(both("_USER", "_PASSWORD_FILE")),
        };
        let allow_plaintext = match get("_ALLOW_PLAINTEXT")?.as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(format!("{PREFIX}_ALLOW_PLAINTEXT is {other:?}: set it to 1 or 0")),
        };
        let mut settings = ServerSettings {
            namespace: get("_NAMESPACE")?.unwrap_or_else(|| NAMESPACE.to_string()),
            ca: path("_CA")?,
            certificate,
            credentials: path("_CREDS")?,
            token_file: path("_TOKEN_FILE")?,
            user,
            allow_plaintext,
            ..ServerSettings::default()
        };
        settings.set_servers(&servers);
        Ok(Some(settings))
    }

    /// Addresses with commas between them.
    pub(crate) fn set_servers(&mut self, servers: &str) {
        self.servers =
            servers.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::to_string).collect();
    }

    /// The servers for people.
    pub(crate) fn servers(&self) -> String {
        self.servers.iter().map(|server| without_user(server)).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn namespace(&self) -> Result<Namespace, String> {
        Namespace::new(&self.namespace).map_err(|error| error.to_string())
    }

    /// The addresses. Text that anybody on the way could read goes to this machine alone, unless that is allowed.
    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>, String> {
        if self.servers.is_empty() {
            return Err("no server is named: give one such as tls://host:4222".to_string());
        }
        let parse = |server: &String| {
            let shown = without_user(server);
            let address: ServerAddr = server.parse().map_err(|_| {
                format!("{shown:?} is no address of a server: write nats://host:port or tls://host:port")
            })?;
            let is_here = match address.host() {
                "localhost" => true,
                host => {
                    host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
                }
            };
            if !is_here && !self.allow_plaintext && !self.is_tls(&address) {
                return Err(format!(
                    "{shown} would be spoken to in plain text, which anybody on the way can read and change: use tls://, set a CA, or allow plain text"
                ));
            }
            Ok(address)
        };
        self.servers.iter().map(parse).collect()
    }

    /// What this process is called in the place where it is answered: its user, or else what it is.
    pub(crate) fn own_name(&self, role: &str) -> String {
        crate::identity::token(self.user.as_ref().map_or(role, |(user, _)| user))
    }

    /// Whether each connection is TLS, also one to a server of the cluster that only the others have named.
    pub(crate) fn requires_tls(&self, addresses: &[ServerAddr]) -> bool {
        addresses.iter().any(|address| self.is_tls(address))
    }

    fn is_tls(&self, address: &ServerAddr) -> bool {
        self.ca.is_some() || self.certificate.is_some() || address.scheme() == "tls"
    }

    /// Who this process is, for the client.
    pub(crate) fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new().name("multicore");
        let ways = [self.credentials.is_some(), self.token_file.is_some(), self.user.is_some()];
        if ways.iter().filter(|is_set| **is_set).count() > 1 {
            return Err("a process is known by its credentials, by a token or by a user: set one of them".to_string());
        }
        if let Some(path) = &self.credentials {
            let text = secret(path, "credentials")?;
            let parsed = options.credentials(&text);
            options = parsed.map_err(|_| format!("the file {} has no credentials that can be read", path.display()))?;
        }
        if let Some(path) = &self.token_file {
            options = options.token(secret(path, "token")?);
        }
        if let Some((user, path)) = &self.user {
            options = options.user_and_password(user.clone(), secret(path, "password")?);
        }
        if let Some(path) = &self.ca {
            fs::metadata(path).map_err(|error| format!("cannot read the CA {}: {error}", path.display()))?;
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = &self.certificate {
            for path in [certificate, key] {
                fs::metadata(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            }
            options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<ServerSettings>, String> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        ServerSettings::from_variables(|name| Ok(variables.get(name).map(|value| (*value).to_string())))
    }

    #[test]
    fn the_environment_is_read_or_refused() {
        assert!(settings(&[("_NAMESPACE", "x")]).unwrap().is_none());
        let read =
            settings(&[("", "tls://a:1, tls://b:2,"), ("_USER", "me"), ("_PASSWORD_FILE", "/p")]).unwrap().unwrap();
        assert_eq!(
            (read.servers.len(), &read.namespace[..], read.servers()),
            (2, "mc", "tls://a:1, tls://b:2".to_string())
        );
        for (variables, wanted) in [
            (&[("", "a"), ("_CERT", "c")][..], "MULTICORE_HOSTS_CERT and MULTICORE_HOSTS_KEY belong together"),
            (&[("", "a"), ("_PASSWORD_FILE", "c")], "MULTICORE_HOSTS_USER and MULTICORE_HOSTS_PASSWORD_FILE belong"),
            (&[("", "a"), ("_ALLOW_PLAINTEXT", "yes")], "set it to 1 or 0"),
        ] {
            let error = settings(variables).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn plain_text_stays_on_this_machine() {
        for (server, allowed, ca, is_taken) in [
            ("nats://127.0.0.1:4222", false, false, true),
            ("127.8.0.1", false, false, true),
            ("localhost:4222", false, false, true),
            ("nats://[::1]:4222", false, false, true),
            ("nats://10.0.0.1:4222", false, false, false),
            ("example.org", false, false, false),
            ("localhost.example.org", false, false, false),
            ("127.0.0.1.example.org", false, false, false),
            ("nats://10.0.0.1:4222", true, false, true),
            ("nats://10.0.0.1:4222", false, true, true),
            ("tls://10.0.0.1:4222", false, false, true),
        ] {
            let ca = ca.then(|| PathBuf::from("/ca"));
            let mut settings = ServerSettings { allow_plaintext: allowed, ca, ..ServerSettings::default() };
            settings.set_servers(&format!("nats://localhost,{server}"));
            let addresses = settings.addresses();
            assert_eq!(addresses.is_ok(), is_taken, "{server}: {addresses:?}");
        }
    }

    #[test]
    fn no_text_for_people_has_a_secret() {
        let mut settings = ServerSettings::default();
        settings.set_servers("nats://me:secret@10.0.0.1:4222,secret@:nonsense:");
        let texts = [format!("{settings:?}"), settings.servers(), settings.addresses().unwrap_err()];
        assert!(texts.iter().all(|text| !text.contains("secret")), "{texts:?}");
    }
}
