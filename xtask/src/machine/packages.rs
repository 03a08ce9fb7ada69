//! The packages that the machine gets: the release, and the same once more with a higher version.

use crate::dist::{Format, Order};
use crate::shell::{command, read};
use anyhow::{Context, Result};
use ober_programs::SHA256SUM;
use std::path::{Path, PathBuf};

pub(super) struct Packages {
    program: Option<PathBuf>,
    first: PathBuf,
}

impl Packages {
    pub(super) fn make(program: Option<PathBuf>) -> Result<Self> {
        let first = make(program.as_deref(), 1, Format::Deb)?;
        Ok(Self { program, first })
    }

    pub(super) fn first(&self) -> &Path {
        &self.first
    }

    /// A package with a higher version.
    pub(super) fn next(&self) -> Result<PathBuf> {
        make(self.program.as_deref(), 2, Format::Deb)
    }

    /// The release in another form.
    pub(super) fn other(&self, format: Format) -> Result<PathBuf> {
        make(self.program.as_deref(), 1, format)
    }

    /// The other form with a higher version.
    pub(super) fn next_other(&self, format: Format) -> Result<PathBuf> {
        make(self.program.as_deref(), 2, format)
    }

    /// A name for what the first package holds.
    pub(super) fn name(&self) -> Result<String> {
        let sum = read(command(&SHA256SUM).arg(&self.first))?;
        Ok(sum.chars().take(12).collect())
    }
}

fn make(program: Option<&Path>, revision: u32, format: Format) -> Result<PathBuf> {
    let order = Order {
        program,
        revision: Some(revision),
        formats: &[format],
        given_away: false,
    };
    order.make()?.pop().context("no package was made")
}
