//! From files to values that know their place in them.
//!
//! ```text
//! files     the files of a configuration, as written       source   places in them, faults with line and column
//! env       variables and what the machine has             tree     parsed, variables put in, merged
//! notation  spelling of periods, counts and rates          secret   files that hold keys
//! keys      two configurations compared key by key         error    faults as shown to an operator
//! ```
//! A secret is never shown: not in an error, not in a difference.

pub(crate) mod env;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod keys;
pub(crate) mod notation;
pub(crate) mod secret;
pub(crate) mod source;
pub(crate) mod tree;
