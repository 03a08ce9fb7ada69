//! The container image, as an archive that `podman load` and `skopeo` read: Debian with HAProxy, and above it the tree.
//! Written by the OCI image specification 1.0: every part is a blob named by its SHA-256.

use super::Release;
use super::tarball;
use crate::apt;
use crate::shell::{at_root, command, quiet, read};
use anyhow::{Context, Result};
use ober_programs::{GZIP, MMDEBSTRAP, SHA256SUM};
use std::fs;
use std::path::{Path, PathBuf};

/// Debian 13 has HAProxy 3.0.
const RELEASE: &str = "trixie";
/// The account of the workers, as `sysusers.d/ober.conf` makes it on a machine with systemd.
const ACCOUNT: &str = "chroot \"$1\" useradd --system --user-group --home-dir /var/lib/ober \
                       --shell /usr/sbin/nologin --comment 'Herr Ober workers' ober";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A part of the image, named by what it holds.
struct Blob {
    kind: &'static str,
    sum: String,
    size: u64,
}

/// `ober-VERSION-x86_64.oci.tar`, of a tree that is ready.
pub(super) fn pack(tree: &Path, work: &Path, release: &Release) -> Result<PathBuf> {
    let image = work.join("oci");
    let blobs = image.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("create {}", blobs.display()))?;
    let base = work.join("base.tar");
    debian(&base, work, release)?;
    let ours = work.join("ours.tar");
    tarball::tar(tree, &ours, release)?;
    let sums = [digest(&base)?, digest(&ours)?];
    let layers = [
        layer(&base, &blobs, release)?,
        layer(&ours, &blobs, release)?,
    ];
    let config = text(CONFIG, &config(&sums), &blobs)?;
    let manifest = text(MANIFEST, &manifest(&config, &layers), &blobs)?;
    write(
        &image.join("oci-layout"),
        "{\"imageLayoutVersion\":\"1.0.0\"}\n",
    )?;
    write(
        &image.join("index.json"),
        &index(&manifest, &release.version),
    )?;
    let file = release
        .into
        .join(format!("ober-{}-x86_64.oci.tar", release.version));
    tarball::tar(&image, &file, release)?;
    Ok(file)
}

/// A Debian with HAProxy and nothing that it does not need, as a tar archive.
fn debian(file: &Path, work: &Path, release: &Release) -> Result<()> {
    let settings = work.join("apt");
    fs::write(&settings, apt::settings()?).context("write apt's settings")?;
    let mut mmdebstrap = MMDEBSTRAP.args([
        "--quiet",
        "--variant=essential",
        "--mode=root",
        "--include=haproxy,passwd,ca-certificates",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--skip=output/dev",
    ]);
    mmdebstrap
        .arg(format!("--aptopt={}", settings.display()))
        .arg(format!("--customize-hook={ACCOUNT}"))
        .env("SOURCE_DATE_EPOCH", release.seconds())
        .arg(RELEASE)
        .arg(file);
    quiet(at_root(mmdebstrap).args(apt::sources(RELEASE)?))
        .with_context(|| format!("make Debian {RELEASE} for the container image"))
}

/// The compressed archive among the blobs.
fn layer(tar: &Path, blobs: &Path, release: &Release) -> Result<Blob> {
    let effort = if release.is_small { "-9" } else { "-1" };
    quiet(
        command(&GZIP)
            .args(["--no-name", effort, "--force"])
            .arg(tar),
    )
    .with_context(|| format!("compress {}", tar.display()))?;
    let mut packed = tar.as_os_str().to_owned();
    packed.push(".gz");
    blob(LAYER, Path::new(&packed), blobs)
}

/// A text among the blobs.
fn text(kind: &'static str, text: &str, blobs: &Path) -> Result<Blob> {
    let file = blobs.join("new");
    write(&file, text)?;
    blob(kind, &file, blobs)
}

/// Moves a file to the name of what it holds.
fn blob(kind: &'static str, file: &Path, blobs: &Path) -> Result<Blob> {
    let sum = digest(file)?;
    let facts = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?;
    fs::rename(file, blobs.join(&sum))
        .with_context(|| format!("put {} among the blobs", file.display()))?;
    Ok(Blob {
        kind,
        sum,
        size: facts.len(),
    })
}

fn digest(file: &Path) -> Result<String> {
    let said = read(command(&SHA256SUM).arg(file))?;
    let sum = said.split_whitespace().next();
    sum.map(str::to_owned)
        .with_context(|| format!("sha256sum wrote nothing about {}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// What is run, and which layers it consists of. `diff_ids` are the sums of the layers before they were compressed.
pub(super) fn config(sums: &[String; 2]) -> String {
    let [base, ours] = sums;
    format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{\"Entrypoint\":[\"/usr/bin/ober-user\"],\
         \"Cmd\":[\"run\"],\"Env\":[\"PATH=/usr/sbin:/usr/bin:/sbin:/bin\"],\"StopSignal\":\"SIGTERM\"}},\
         \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:{base}\",\"sha256:{ours}\"]}},\
         \"history\":[{{\"created_by\":\"Debian {RELEASE} with HAProxy\"}},{{\"created_by\":\"Herr Ober\"}}]}}\n"
    )
}

fn manifest(config: &Blob, layers: &[Blob; 2]) -> String {
    let [base, ours] = layers;
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{},\"layers\":[{},{}]}}\n",
        described(config),
        described(base),
        described(ours)
    )
}

fn index(manifest: &Blob, version: &str) -> String {
    let mut entry = described(manifest);
    entry.pop();
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{entry},\
         \"annotations\":{{\"org.opencontainers.image.ref.name\":\"localhost/ober:{version}\"}}}}]}}\n"
    )
}

fn described(blob: &Blob) -> String {
    let Blob { kind, sum, size } = blob;
    format!("{{\"mediaType\":\"{kind}\",\"digest\":\"sha256:{sum}\",\"size\":{size}}}")
}
