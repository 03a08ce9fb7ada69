//! The package for RHEL and its kin, by `rpmbuild`.

use super::Release;
use super::tree::files;
use crate::shell::{command, quiet};
use anyhow::{Context, Result};
use ober_programs::RPMBUILD;
use std::fs;
use std::path::{Path, PathBuf};

/// The package, of a tree that is ready.
pub(super) fn package(tree: &Path, work: &Path, release: &Release) -> Result<PathBuf> {
    let (version, revision) = release
        .version
        .split_once('-')
        .unwrap_or((&release.version, "1"));
    let spec = work.join("ober.spec");
    fs::write(
        &spec,
        text(tree, version, revision, &release.program.glibc()?)?,
    )
    .context("write the spec")?;
    let mut rpmbuild = command(&RPMBUILD);
    rpmbuild.args(["-bb", "--quiet", "--target", "x86_64"]);
    for (name, value) in [
        ("_topdir", work.join("rpm").display().to_string()),
        ("_rpmdir", release.into.display().to_string()),
        (
            "_build_name_fmt",
            "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm".to_owned(),
        ),
        // Nothing of this machine or of the moment.
        ("_buildhost", "localhost".to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
        // The program is stripped, and its needs are written in the spec.
        ("__os_install_post", "%{nil}".to_owned()),
        ("debug_package", "%{nil}".to_owned()),
        ("_build_id_links", "none".to_owned()),
        ("_binary_payload", "w19T1.zstdio".to_owned()),
    ] {
        rpmbuild.args(["--define", &format!("{name} {value}")]);
    }
    rpmbuild
        .arg(&spec)
        .env("SOURCE_DATE_EPOCH", release.seconds());
    quiet(&mut rpmbuild).context("make the rpm")?;
    let file = format!("ober-{version}-{revision}.x86_64.rpm");
    Ok(release.into.join(file))
}

/// The spec. The scripts do what those of the Debian package do; a new package's `posttrans` runs after the old one is gone.
fn text(tree: &Path, version: &str, revision: &str, glibc: &str) -> Result<String> {
    let files: Vec<String> = files(tree)?
        .iter()
        .map(|place| {
            let is_configuration = place.starts_with("/etc/");
            let kind = if is_configuration {
                "%config(noreplace) "
            } else {
                ""
            };
            format!("{kind}{place}")
        })
        .collect();
    Ok(format!(
        "Name: ober\nVersion: {version}\nRelease: {revision}\nLicense: MIT\nAutoReqProv: no\n\
         Summary: S3 ingress with its filter, balancer and socket lookup in the kernel\n\
         Requires: haproxy >= 2.6, glibc >= {glibc}, libgcc, systemd, dbus\nRecommends: nftables, chrony\n\n\
         %description\nHerr Ober stands in front of a Ceph RGW or any S3 cluster.\n\n\
         %install\nmkdir -p %{{buildroot}}\ncp -a {tree}/. %{{buildroot}}/\n\n\
         %files\n%defattr(-,root,root,-)\n%dir /usr/lib/ober\n%dir /usr/share/ober\n%dir /usr/share/doc/ober\n{files}\n\n{SCRIPTS}",
        files = files.join("\n"),
        tree = tree.display()
    ))
}

const SCRIPTS: &str = "\
%post
systemd-sysusers ober.conf
systemd-tmpfiles --create ober.conf || :
if [ $1 = 1 ]; then systemctl enable ober.service >/dev/null 2>&1 || :; fi

%posttrans
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    systemctl try-restart ober.service 'ober@*.service' || echo 'ober: the new daemon did not start, see: systemctl status ober' >&2
fi

%preun
if [ $1 = 0 ]; then
    /usr/lib/ober/retire
    if [ -d /run/systemd/system ]; then systemctl disable ober.service || :; fi
fi

%postun
if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
";
