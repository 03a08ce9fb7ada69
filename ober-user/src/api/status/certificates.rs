//! The certificates in use, as shown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    pub held: Vec<Certificate>,
    /// Files in directories of certificates that are not used.
    pub refused: Vec<Refused>,
    /// Workers that do not have all of them.
    pub behind: Vec<Behind>,
    /// Certificates that an authority issues.
    pub issued: Vec<Issued>,
    /// Certificates put into workers while they served, since the daemon started.
    pub taken: u64,
}

/// A certificate and what it was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The file it came from.
    pub source: PathBuf,
    pub names: Vec<String>,
    pub issuer: String,
    /// Seconds since 1970.
    pub not_before: u64,
    /// Seconds since 1970.
    pub not_after: u64,
    /// `service-port` of the listeners that have it; none: it is shown to servers.
    pub listeners: Vec<String>,
    /// What is wrong with it, or with the file that was to replace it.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub file: PathBuf,
    pub problem: String,
}

/// A certificate that is obtained by ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub names: Vec<String>,
    /// Is an order under way?
    pub ordering: bool,
    /// Orders in a row that came to nothing.
    pub failures: u32,
    /// Why the last order failed, if it did.
    pub error: Option<String>,
    /// When it is ordered next, in seconds since 1970.
    pub next: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    pub worker: usize,
    pub problem: String,
}
