//! The section `[lists.*]`: which clients are admitted. Expressions are the same for clients and for servers.

use std::collections::BTreeMap;

use ober_common::abi::LISTS;
use schemars::JsonSchema;
use serde::Deserialize;

use super::listener::OPEN;
use crate::{
    config::{
        FRONTEND_HTTP, Limits, ROUTERS,
        judge::Judge,
        text::{notation::At, source::Fault},
    },
    names::hostlist::{self, Cap, Unread, anchor},
};

/// An access list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "List")]
pub(crate) struct Raw {
    /// Hostlist expressions, addresses and prefixes, in force until `acl sync` replaces them.
    sources: Vec<At<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Expressions that are in force until `acl sync` replaces them.
    pub sources: Vec<String>,
}

/// The fault of an expression, and its column.
pub(super) fn message_of(error: &hostlist::Error) -> String {
    match (error.column(), error.fault()) {
        (Some(column), Some(fault)) if column > 1 => format!("{fault} (column {column} of it)"),
        (_, Some(fault)) => fault.to_string(),
        (_, None) => error.to_string(),
    }
}

impl Judge<'_> {
    pub(crate) fn lists(
        &mut self,
        written: BTreeMap<String, At<Raw>>,
        limits: &Limits,
    ) -> BTreeMap<String, List> {
        let mut lists: BTreeMap<String, List> = [FRONTEND_HTTP, ROUTERS]
            .map(|name| (name.to_owned(), List::default()))
            .into();
        for (name, At { value, span }) in written {
            self.name("a list", &name, &span);
            if name == OPEN {
                let message = "a list cannot be called `open`, the word for \"no list\"";
                self.refuse(Fault::new(span.clone(), message));
            }
            let sources = self.clients(value.sources, limits.expansion);
            lists.insert(name, List { sources });
            if lists.len() == LISTS as usize + 1 {
                let message =
                    format!("more than {LISTS} lists, `{FRONTEND_HTTP}` and `{ROUTERS}` included");
                self.refuse(Fault::new(span, message).help("join lists that are used alike"));
            }
        }
        lists
    }

    /// The expressions of a list. Files that they name are not read, and names are not resolved.
    fn clients(&mut self, written: Vec<At<String>>, most: usize) -> Vec<String> {
        self.expressions(written, |text| {
            let cap = &mut Cap::new(most);
            hostlist::visit(text, cap, &mut Unread, drop).map_err(|error| message_of(&error))
        })
    }

    /// Paths in expressions start at the directory of the configuration.
    pub(super) fn expressions(
        &mut self,
        written: Vec<At<String>>,
        judge: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let mut expressions = Vec::new();
        for At { value, span } in written {
            if value.trim().is_empty() {
                self.refuse(Fault::new(span, "an empty expression").help("remove it"));
                continue;
            }
            let judged = match anchor(&value, self.base) {
                Ok(anchored) => judge(&anchored).map(|()| anchored),
                Err(error) => Err(error.to_string()),
            };
            match judged {
                Ok(anchored) => expressions.push(anchored),
                Err(why) => self.refuse(Fault::new(span, why)),
            }
        }
        expressions
    }
}
