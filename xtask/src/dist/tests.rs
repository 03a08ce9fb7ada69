use super::contents::{CONTENTS, Source};
use super::deb;
use super::notices::{Package, listed};
use super::oci;
use super::program::{Shell, both_names, needs};
use super::sbom;
use crate::shell::root;
use std::collections::BTreeSet;

#[test]
fn every_file_of_a_package_has_one_place_from_the_root_and_its_source_is_in_the_repository() {
    let places: BTreeSet<&str> = CONTENTS.iter().map(|item| item.place).collect();
    assert_eq!(places.len(), CONTENTS.len());
    for item in CONTENTS {
        assert!(
            item.place.starts_with("/usr/") || item.place.starts_with("/etc/"),
            "{}",
            item.place
        );
        let is_run = ["/usr/bin/ober-user", "/usr/lib/ober/retire"].contains(&item.place);
        let mode = if is_run { 0o755 } else { 0o644 };
        assert_eq!(item.mode, mode, "{}", item.place);
        if let Source::File(path) | Source::Versioned(path) = item.source {
            assert!(root().join(path).is_file(), "{path}");
        }
    }
}

#[test]
fn a_link_of_a_package_points_at_a_file_beside_it_that_is_in_the_package() {
    for item in CONTENTS {
        let Source::Link(to) = item.source else {
            continue;
        };
        let (directory, _) = item.place.rsplit_once('/').unwrap();
        let is_there = CONTENTS.iter().any(|other| {
            other.place == format!("{directory}/{to}")
                || (other.place == directory && matches!(other.source, Source::Manual))
        });
        assert!(is_there, "{} -> {to}", item.place);
    }
}

#[test]
fn the_package_depends_on_the_newest_glibc_that_the_program_names() {
    let said = "Dynamic Section:\n  NEEDED               libgcc_s.so.1\n  NEEDED               libc.so.6\n\
                Version References:\n  required from libc.so.6:\n    0x09691a75 0x00 02 GLIBC_2.2.5\n    \
                0x069691b4 0x00 03 GLIBC_2.34\n    0x09691972 0x00 04 GLIBC_2.3.4\n    0x0 0x00 05 GLIBC_PRIVATE\n";
    assert_eq!(needs(said).unwrap(), "2.34");
    let control = deb::text("0.2.0-3", "2.34", 7);
    assert!(control.contains("\nVersion: 0.2.0-3\n"), "{control}");
    assert!(control.contains("libc6 (>= 2.34),"), "{control}");
    assert!(control.ends_with(".\n"), "{control}");
}

#[test]
fn a_program_with_a_library_that_the_package_does_not_depend_on_is_refused() {
    let error = needs("  NEEDED   libssl.so.3\n  GLIBC_2.34\n").unwrap_err();
    assert!(error.to_string().contains("libssl.so.3"), "{error}");
}

#[test]
fn completions_are_for_both_names_of_the_program() {
    let bash = "_ober-user() {\n}\n    complete -F _ober-user -o default ober-user\nfi\n";
    let both = both_names(Shell::Bash, bash).unwrap();
    assert_eq!(
        both,
        format!("{bash}complete -F _ober-user -o default ober\n")
    );
    let zsh = both_names(Shell::Zsh, "#compdef ober-user\n").unwrap();
    assert_eq!(zsh, "#compdef ober-user ober\n");
    assert!(both_names(Shell::Bash, "nothing").is_err());
    assert!(both_names(Shell::Zsh, "#compdef other").is_err());
}

#[test]
fn the_notices_name_each_crate_of_others_once() {
    let said = "ober-user v0.1.0 (/work/ober-user)|MIT\nring v0.17.1|Apache-2.0 AND ISC\n\
                serde_derive v1.0.0 (proc-macro)|MIT OR Apache-2.0\nring v0.17.1|Apache-2.0 AND ISC (*)\n";
    let package = |name: &str, version: &str, licence: &str| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
    };
    let expected = BTreeSet::from([
        package("ring", "0.17.1", "Apache-2.0 AND ISC"),
        package("serde_derive", "1.0.0", "MIT OR Apache-2.0"),
    ]);
    assert_eq!(listed(said), expected);
    let sbom = sbom::text(
        "0.2.0",
        &BTreeSet::from([package("old", "1.0.0", "MIT/Apache-2.0")]),
    );
    let component = "\"purl\": \"pkg:cargo/old@1.0.0\", \"licenses\": [{ \"expression\": \"MIT OR Apache-2.0\" }] }";
    assert!(sbom.contains(component), "{sbom}");
}

#[test]
fn the_image_runs_the_daemon_on_a_debian_below_the_packages_own_files() {
    let config = oci::config(&["aa".to_owned(), "bb".to_owned()]);
    for part in [
        "\"diff_ids\":[\"sha256:aa\",\"sha256:bb\"]",
        "\"Entrypoint\":[\"/usr/bin/ober-user\"],\"Cmd\":[\"run\"]",
        "\"StopSignal\":\"SIGTERM\"",
    ] {
        assert!(config.contains(part), "{config}");
    }
    assert_eq!(config.matches('{').count(), config.matches('}').count());
}
