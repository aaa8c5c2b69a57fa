//! Which database the user names: a file, or one of a PostgreSQL server.
//!
//! Invariant: nothing that is printed has a password. What is told of a URL is put together from its parts without one, and a URL that
//! cannot be read is not shown.

use crate::problem::{Problem, Result};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// The place of a database.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Target {
    File(PathBuf),
    #[cfg(feature = "postgres")]
    Server(Server),
}

impl Target {
    pub fn parse(argument: OsString) -> Result<Target> {
        if !is_server(&argument) {
            return Ok(Target::File(argument.into()));
        }
        #[cfg(feature = "postgres")]
        return Server::parse(&argument).map(Target::Server);
        #[cfg(not(feature = "postgres"))]
        Err(Problem::new(
            "this gtfs_import was built without PostgreSQL; build it with its feature `postgres`: \
             cargo run --release -p gtfs_import --features postgres -- FEED URL",
        ))
    }

    /// The journal's path if none is given. That of a server's database lies in the current folder.
    pub fn journal(&self) -> PathBuf {
        let mut name = match self {
            Target::File(path) => path.clone().into_os_string(),
            #[cfg(feature = "postgres")]
            Target::Server(server) => server.database.replace('/', "_").into(),
        };
        name.push(".journal");
        name.into()
    }
}

/// What is told of a database.
impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::File(path) => write!(formatter, "{path:?}"),
            #[cfg(feature = "postgres")]
            Target::Server(server) => write!(formatter, "{server:?}"),
        }
    }
}

/// True for an argument that names a server: a URL, or libpq's form from its host on. `./` before it makes it a file.
pub fn is_server(argument: &OsStr) -> bool {
    let begin = argument.as_encoded_bytes();
    ["postgres://", "postgresql://", "host="].iter().any(|form| begin.starts_with(form.as_bytes()))
}

#[cfg(feature = "postgres")]
pub use server::Server;

#[cfg(feature = "postgres")]
mod server {
    use super::*;
    use postgres::Config;
    use postgres::config::Host;
    use std::time::Duration;

    /// How long a server that does not answer is waited for, if the URL does not tell.
    const PATIENCE: Duration = Duration::from_secs(10);
    const HINT: &str = "a database of a server is named by postgres://USER:PASSWORD@HOST:PORT/DATABASE, or \
        postgres://USER@/DATABASE?host=FOLDER for a socket; write an @ or a / inside a part as %40 or %2F";

    /// A database of a PostgreSQL server.
    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    pub struct Server {
        url: String,
        /// From the environment, where other users cannot read it.
        password: Option<String>,
        /// Its name.
        pub database: String,
        /// Where the server is.
        place: String,
    }

    impl Server {
        pub fn parse(url: &OsStr) -> Result<Server> {
            // The parser's own text may have a part of the password.
            let config: Option<Config> = url.to_str().and_then(|url| url.parse().ok());
            let (Some(config), Some(url)) = (config, url.to_str()) else {
                return Err(Problem::new(format_args!("the URL of the database cannot be read; {HINT}")));
            };
            let Some(database) = config.get_dbname() else {
                return Err(Problem::new(format_args!("the URL of the database names no database; {HINT}")));
            };
            let places: Option<Vec<_>> = (0..config.get_hosts().len()).map(|number| place(&config, number)).collect();
            match places {
                Some(places) if !places.is_empty() => Ok(Server {
                    database: database.to_owned(),
                    place: places.join(", "),
                    url: url.to_owned(),
                    password: std::env::var("PGPASSWORD").ok().filter(|_| config.get_password().is_none()),
                }),
                _ => Err(Problem::new(format_args!("the URL of the database names no host; {HINT}"))),
            }
        }

        /// The settings of a connection.
        pub fn config(&self) -> Result<Config> {
            let mut config: Config = self.url.parse().map_err(|_error| Problem::new(HINT))?;
            if let Some(password) = &self.password {
                config.password(password);
            }
            if config.get_connect_timeout().is_none() {
                config.connect_timeout(PATIENCE);
            }
            if config.get_application_name().is_none() {
                config.application_name("gtfs_import");
            }
            Ok(config)
        }
    }

    /// The host and port of a number. None if the host has a part of a password: one with an `@` ends too early.
    fn place(config: &Config, number: usize) -> Option<String> {
        let host = match config.get_hosts().get(number)? {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        let port = config.get_ports().get(number).or(config.get_ports().first()).unwrap_or(&5432);
        (!host.contains('@')).then(|| format!("{host}:{port}"))
    }

    impl fmt::Debug for Server {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "{:?} of PostgreSQL at {}", self.database, self.place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_server_and_all_else_is_a_file() {
        for (argument, expected) in [
            ("postgres://h/d", true),
            ("postgresql://h/d", true),
            ("host=h dbname=d", true),
            ("./host=h dbname=d", false),
            ("file:out.db?mode=ro", false),
            ("postgres", false),
            ("postgres:d", false),
        ] {
            assert_eq!(is_server(OsStr::new(argument)), expected, "{argument}");
        }
    }

    #[cfg(not(feature = "postgres"))]
    #[test]
    fn without_the_feature_a_url_is_refused_with_the_way_to_get_it() {
        let problem = Target::parse("postgres://user:secret@h/d".into()).unwrap_err().to_string();
        assert!(problem.contains("its feature `postgres`") && problem.contains("--features postgres"), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_password_is_never_shown() {
        for (url, expected) in [
            ("postgres://u:secret@h/d", Ok("\"d\" of PostgreSQL at h:5432")),
            ("postgres://u:secret@h:1,i:2/d", Ok("\"d\" of PostgreSQL at h:1, i:2")),
            ("postgresql://u@%2Ftmp%2Fs/d?password=secret", Ok("\"d\" of PostgreSQL at /tmp/s:5432")),
            ("postgres://u@/d?host=/tmp/s&port=7", Ok("\"d\" of PostgreSQL at /tmp/s:7")),
            ("host=h dbname=d password=secret", Ok("\"d\" of PostgreSQL at h:5432")),
            // The password of each is `secret` with a sign that ends it too early.
            ("postgres://u:se@secret@h/d", Err("names no host")),
            ("host=h dbname=d password=my secret", Err("cannot be read")),
            ("postgres://u:secret@h:port/d", Err("cannot be read")),
            ("postgres://u:secret@h", Err("names no database")),
            ("postgres://u:secret@/d", Err("names no host")),
        ] {
            let target = Target::parse(url.into());
            let shown = target.as_ref().map(|target| format!("{target:?}")).map_err(|problem| problem.to_string());
            match expected {
                Ok(expected) => assert_eq!(shown.as_deref(), Ok(expected), "{url}"),
                Err(expected) => {
                    assert!(shown.as_ref().is_err_and(|shown| shown.contains(expected)), "{url}: {shown:?}")
                }
            }
            assert!(!format!("{shown:?}").contains("secret"), "{url}: {shown:?}");
        }
    }
}
