//! Servers as hostlist expressions with their terms behind: `rgw[01-04]:7480 weight=2 tier=1 max_connections=50`.

use std::num::NonZeroU16;

use super::{Found, ServerTerms, TooMany, found::Counted};
use crate::names::{
    hostlist::{self, Cap, Sources, Unread, expand_servers},
    notation::Miss,
};

/// Why an expression stands for no servers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{of}: {source}")]
    Miss { of: String, source: Miss },
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("{0}; write `weight=`, `tier=` or `max_connections=`")]
    Terms(String),
    #[error(transparent)]
    Hostlist(#[from] hostlist::Error),
}

/// The advice for expressions that stand for too many servers.
const RAISE: &str = "raise limits.servers if that is meant";

/// Is the expression one of servers? Files are not read.
pub fn judge(expression: &str, port: NonZeroU16, most: usize) -> Result<(), Error> {
    let expressions = [expression.to_owned()];
    expand(&mut Unread, &expressions, port, most).map(drop)
}

/// The servers of these expressions, in their order, names not yet resolved.
pub fn expand(
    sources: &mut dyn Sources,
    expressions: &[String],
    port: NonZeroU16,
    most: usize,
) -> Result<Vec<Found>, Error> {
    let mut found = Counted::new(most);
    for expression in expressions {
        let (expression, terms) = ServerTerms::split(expression).map_err(Error::Terms)?;
        let cap = Cap::new(most).advising(RAISE);
        for server in expand_servers(expression, port, cap, sources)? {
            let of = server.to_string();
            let server =
                Found::of(server.host, server.port).map_err(|source| Error::Miss { of, source })?;
            found.push(server.on(terms.into()))?;
        }
    }
    Ok(found.all())
}
