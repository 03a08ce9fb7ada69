use anyhow::Result;
use std::path::PathBuf;
pub(crate) fn run(_k: Option<&str>, _g: Option<PathBuf>) -> Result<()> {
    Ok(())
}
