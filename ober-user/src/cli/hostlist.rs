//! `hostlist expand|fold`.

use clap::{Args, Subcommand};

use super::{Error, Outcome, screen::Screen};
use crate::names::hostlist::{Cap, disk::Disk, fold, names};

#[derive(Debug, Subcommand)]
pub(super) enum Hostlist {
    /// Print every name, one a line: n[1-3] gives n1, n2 and n3
    Expand(Expand),
    /// Print the shortest expression for names: n1,n2,n3 gives n[1-3]
    Fold(Expression),
}

#[derive(Debug, Args)]
pub(super) struct Expand {
    #[command(flatten)]
    expression: Expression,
    #[command(flatten)]
    json: super::Json,
}

#[derive(Debug, Args)]
pub(super) struct Expression {
    /// Names, addresses, ranges such as n[01-08] and 10.0.[0-3].[1-254], prefixes, @FILE, or - for standard input
    #[arg(value_name = "EXPR", required = true)]
    expressions: Vec<String>,
    /// Refuse more names than this
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000)]
    limit: usize,
}

impl Expression {
    fn names(&self) -> Result<Vec<String>, Error> {
        let whole = self.expressions.join(" ");
        let cap = Cap::new(self.limit).advising("use a prefix, or raise --limit");
        Ok(names(&whole, cap, &mut Disk)?)
    }
}

impl Hostlist {
    pub(super) fn run(self, screen: &mut Screen) -> Result<Outcome, Error> {
        match self {
            Self::Expand(expand) => {
                let names = expand.expression.names()?;
                if expand.json.json {
                    screen.json(&names)?;
                } else {
                    names.iter().try_for_each(|name| screen.line(name))?;
                }
            }
            Self::Fold(expression) => {
                let names = expression.names()?;
                screen.line(fold(names.iter().map(String::as_str)))?;
            }
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expansion_over_the_limit_names_the_option_that_raises_it() {
        let expression = Expression {
            expressions: vec!["n[1-20]".to_owned()],
            limit: 10,
        };
        let error = expression.names().unwrap_err().to_string();
        assert!(
            error.contains(
                "at least 20 names or addresses, over the limit of 10; use a prefix, or raise --limit\n"
            ),
            "{error}"
        );
    }
}
