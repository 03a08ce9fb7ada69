//! `http://host:port/path`, `https://...`, `unix:///path/to/socket`.

use std::{fmt, path::PathBuf};

use hyper::Uri;

/// An address for an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub at: Endpoint,
    /// Path and query; begins with `/`.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    /// `host` is a host name, or an address without brackets.
    Tcp {
        host: String,
        port: u16,
        tls: bool,
    },
}

impl Url {
    /// `None`: the text has none of the three forms, or contains a user or a fragment.
    pub fn read(text: &str) -> Option<Self> {
        if let Some(socket) = text.strip_prefix("unix://") {
            return socket.starts_with('/').then(|| Self {
                at: Endpoint::Unix(socket.into()),
                path: "/".to_owned(),
            });
        }
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || text.contains('#') {
            return None;
        }
        let host = authority.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        Some(Self {
            at: Endpoint::Tcp {
                host: bare.unwrap_or(host).to_owned(),
                port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
                tls,
            },
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.at, Endpoint::Tcp { tls: true, .. })
    }

    /// The same URL with this text appended to its path.
    #[must_use]
    pub fn join(&self, more: &str) -> Self {
        Self {
            at: self.at.clone(),
            path: format!("{}{more}", self.path.trim_end_matches('/')),
        }
    }

    /// The host name, or the address without brackets; `localhost` for a socket.
    pub fn name(&self) -> &str {
        match &self.at {
            Endpoint::Unix(_) => "localhost",
            Endpoint::Tcp { host, .. } => host,
        }
    }

    /// The value of the `Host` header.
    pub fn host(&self) -> String {
        match &self.at {
            Endpoint::Unix(_) => "localhost".to_owned(),
            Endpoint::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Endpoint::Unix(path) => write!(out, "unix://{}", path.display()),
            Endpoint::Tcp { tls, .. } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(out, "{scheme}://{}{}", self.host(), self.path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_displayed_as_it_was_read() {
        for text in [
            "http://consul:8500/v1/",
            "https://[fd00::1]:8501/a?b=c",
            "unix:///run/docker.sock",
        ] {
            assert_eq!(Url::read(text).unwrap().to_string(), text);
        }
        assert_eq!(Url::read("http://a").unwrap().to_string(), "http://a:80/");
        assert_eq!(
            Url::read("https://a/b").unwrap().to_string(),
            "https://a:443/b"
        );
    }

    #[test]
    fn a_text_that_is_no_usable_url_is_refused() {
        for text in [
            "",
            "a",
            "/a",
            "ftp://a/",
            "http://",
            "unix://a",
            "http://u:p@a/",
            "http://a/#b",
        ] {
            assert_eq!(Url::read(text), None, "{text}");
        }
    }
}
