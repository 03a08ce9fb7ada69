use super::*;
use crate::apt::dependencies;

/// What `apt-cache depends` says of the packages of a machine's sources.
type Answers = &'static [(&'static str, &'static str)];

/// Debian 12: one package has everything.
const BOOKWORM: Answers = &[(
    "linux-image-6.1.0-57-amd64",
    "linux-image-6.1.0-57-amd64
  Depends: kmod
  Depends: linux-base
 |Depends: initramfs-tools
  Depends: <linux-initramfs-tool>
    dracut
    initramfs-tools
  Conflicts: linux-image-6.1.0-57-amd64-unsigned
  Suggests: linux-doc-6.1
",
)];

/// Debian 13: so it is still.
const TRIXIE: Answers = &[
    (
        "linux-image-amd64",
        "linux-image-amd64\n  Depends: linux-image-6.12.117+deb13-amd64\n",
    ),
    (
        "linux-image-6.12.117+deb13-amd64",
        "linux-image-6.12.117+deb13-amd64
  PreDepends: linux-base
  Depends: kmod
 |Depends: initramfs-tools
  Depends: <linux-initramfs-tool>
    dracut
    initramfs-tools
",
    ),
];

/// Its backports: the image, the modules and the list of built-in modules are packages of their own.
const BACKPORTS: Answers = &[
    (
        "linux-image-amd64",
        "linux-image-amd64
  Depends: linux-base-amd64
  Depends: linux-image-7.3.4+deb13-amd64
  Depends: linux-modules-amd64
",
    ),
    (
        "linux-image-7.3.4+deb13-amd64",
        "linux-image-7.3.4+deb13-amd64
  PreDepends: linux-base
 |Depends: dracut
 |Depends: initramfs-tools
  Depends: <linux-initramfs-tool>
  Depends: linux-base-7.3.4+deb13-amd64
  Depends: linux-binary-7.3.4+deb13-amd64
  Depends: linux-modules-7.3.4+deb13-amd64
",
    ),
    (
        "linux-base-7.3.4+deb13-amd64",
        "linux-base-7.3.4+deb13-amd64\n",
    ),
    (
        "linux-binary-7.3.4+deb13-amd64",
        "linux-binary-7.3.4+deb13-amd64\n  Depends: linux-base-7.3.4+deb13-amd64\n",
    ),
    (
        "linux-modules-7.3.4+deb13-amd64",
        "linux-modules-7.3.4+deb13-amd64\n  Depends: kmod\n  Depends: linux-base-7.3.4+deb13-amd64\n",
    ),
];

/// Asks for a package that these sources have.
fn depends(answers: Answers) -> impl Fn(&str) -> Result<Vec<String>> {
    move |package| {
        let known = answers.iter().find(|(name, _)| *name == package);
        let (_, said) = known.with_context(|| format!("apt has no {package}"))?;
        Ok(dependencies(said))
    }
}

#[test]
fn a_kernel_is_its_package_and_the_parts_of_a_kernel_that_it_needs() {
    for (answers, package, others) in [
        (BOOKWORM, "linux-image-6.1.0-57-amd64", &[][..]),
        (TRIXIE, "linux-image-6.12.117+deb13-amd64", &[]),
        (
            BACKPORTS,
            "linux-image-7.3.4+deb13-amd64",
            &["linux-base-", "linux-binary-", "linux-modules-"],
        ),
    ] {
        let found = parts(package, depends(answers)).unwrap();
        let mut expected = vec![package.to_owned()];
        expected.extend(others.iter().map(|it| format!("{it}7.3.4+deb13-amd64")));
        assert_eq!(found, expected);
    }
    let unknown = parts("linux-image-9-amd64", depends(BOOKWORM));
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("linux-image-9-amd64")
    );
}

#[test]
fn a_package_without_a_kernel_stands_for_the_kernel_that_it_depends_on() {
    for (answers, package, kernel) in [
        (TRIXIE, NEWEST, "linux-image-6.12.117+deb13-amd64"),
        (BACKPORTS, NEWEST, "linux-image-7.3.4+deb13-amd64"),
        (
            BOOKWORM,
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.1.0-57-amd64",
        ),
    ] {
        let found = image_of(package, depends(answers)(package).unwrap());
        assert_eq!(found, kernel);
    }
}

#[test]
fn of_the_kernels_of_a_release_the_highest_revision_is_taken_as_a_number() {
    let found = ["6.1.0-9", "6.1.0-57", "6.1.0-10"].map(|it| format!("linux-image-{it}-amd64"));
    assert_eq!(
        latest(found.to_vec()).as_deref(),
        Some("linux-image-6.1.0-57-amd64")
    );
    assert_eq!(latest(vec![]), None);
}

#[test]
fn the_image_is_found_in_boot_or_beside_the_modules() {
    for (version, modules, image) in [
        (
            "6.1.0-57-amd64",
            "lib/modules",
            "boot/vmlinuz-6.1.0-57-amd64",
        ),
        (
            "6.19.1+deb13-amd64",
            "usr/lib/modules",
            "boot/vmlinuz-6.19.1+deb13-amd64",
        ),
        (
            "7.3.4+deb13-amd64",
            "usr/lib/modules",
            "usr/lib/modules/7.3.4+deb13-amd64/vmlinuz",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join(modules).join(version)).unwrap();
        let refused = open(root.to_owned()).err().map(|it| it.to_string());
        assert!(refused.unwrap().contains("holds no image"), "{version}");
        let place = root.join(image);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "an image").unwrap();
        let kernel = open(root.to_owned()).unwrap();
        assert_eq!(kernel.version, version);
        assert_eq!(fs::read(kernel.image).unwrap(), b"an image");
    }
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir_all(empty.path().join("lib/modules")).unwrap();
    assert!(open(empty.path().to_owned()).is_err(), "it has no modules");
}
