//! The guest's file system: its `/init`, a few programs with the libraries they load, and the kernel modules.

use super::kernel::Kernel;
use crate::shell::{command, quiet, read, run};
use anyhow::{Context, Result};
use ober_programs::{CPIO, IP, LDD, Program, STRIP, XZ};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Modules for the card and for the checks in a VRF; their dependencies are added.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_net", "vrf"];
/// Programs of this machine that the guest runs.
const PROGRAMS: [&Program; 1] = [&IP];

/// Packs the archive `file`, with these modules beside those of every guest; its content is collected in `stage`.
pub(super) fn build(
    kernel: &Kernel,
    guest: &Path,
    modules: &[&str],
    stage: &Path,
    file: &Path,
) -> Result<()> {
    for directory in ["proc", "sys", "dev", "tmp", "run", "etc", "bin", "modules"] {
        fs::create_dir_all(stage.join(directory))
            .with_context(|| format!("create {directory} in {}", stage.display()))?;
    }
    add_program(stage, guest, "init")?;
    for program in PROGRAMS {
        add_program(stage, &program.path(), &format!("bin/{}", program.name()))?;
    }
    add_modules(stage, kernel, &[&MODULES, modules].concat())?;
    pack(stage, file)
}

/// Adds the program without its debug information, and every library the loader would load for it.
fn add_program(stage: &Path, program: &Path, name: &str) -> Result<()> {
    quiet(command(&STRIP).arg("-o").arg(stage.join(name)).arg(program))?;
    let loads = read(command(&LDD).arg(program))?;
    for library in loads
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let place = stage.join(library.trim_start_matches('/'));
        let directory = place.parent().unwrap_or(stage);
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        fs::copy(library, &place)
            .with_context(|| format!("copy {library} to {}", place.display()))?;
    }
    Ok(())
}

/// Adds the modules with numbered names, in the order to load them. Those of newer kernels are compressed.
fn add_modules(stage: &Path, kernel: &Kernel, names: &[&str]) -> Result<()> {
    for (number, module) in kernel.modules(names)?.iter().enumerate() {
        let name = module
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let place = stage.join("modules").join(format!("{number:02}-{name}"));
        fs::copy(module, &place)
            .with_context(|| format!("copy {} to {}", module.display(), place.display()))?;
        if place.extension().is_some_and(|kind| kind == "xz") {
            quiet(command(&XZ).arg("-d").arg(&place))?;
        }
    }
    Ok(())
}

fn pack(stage: &Path, file: &Path) -> Result<()> {
    let mut names = Vec::new();
    list(stage, stage, &mut names)?;
    let archive = File::create(file).with_context(|| format!("create {}", file.display()))?;
    let listing = file.with_extension("list");
    let mut writer =
        File::create(&listing).with_context(|| format!("create {}", listing.display()))?;
    for name in &names {
        writeln!(writer, "{}", name.display())
            .with_context(|| format!("write {}", listing.display()))?;
    }
    let input = File::open(&listing).with_context(|| format!("open {}", listing.display()))?;
    let mut cpio = command(&CPIO);
    cpio.args(["--quiet", "-o", "-H", "newc", "-R", "0:0"])
        .current_dir(stage);
    run(cpio.stdin(Stdio::from(input)).stdout(Stdio::from(archive)))
}

/// Lists every file and directory below, parents first, by its name within `stage`.
fn list(stage: &Path, directory: &Path, names: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry
            .with_context(|| format!("read {}", directory.display()))?
            .path();
        names.push(path.strip_prefix(stage).unwrap_or(&path).to_path_buf());
        if path.is_dir() && !path.is_symlink() {
            list(stage, &path, names)?;
        }
    }
    Ok(())
}
