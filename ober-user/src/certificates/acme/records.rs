//! The records that prove a name to be ours (DNS-01).

use std::collections::BTreeMap;

/// Values of TXT records by name, without a dot at its end. A name and its wildcard share one.
pub(super) type Records = BTreeMap<String, Vec<String>>;
